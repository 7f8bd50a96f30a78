//! `spinney shell`: a login shell in a machine, with a session of logind's where there is one.

use std::ffi::OsString;
use std::time::Duration;

use super::exec::{CommonArguments, terminal_type};
use super::{fail, one_or_named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::machine::Error;
use crate::machine::exec::{Payload, Request, run};

const EXAMPLES: &str = "\
Examples:
  spinney shell                             root's shell, in the only machine that runs
  spinney shell alice@web
  spinney shell alice@web systemctl --user status
                                            one command, found by alice's login shell

^] three times within a second leaves the shell. Exit status: the shell's; 125 when spinney itself fails.";

/// Get a login shell in a running machine
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney shell [OPTIONS] [[USER@]NAME [COMMAND [ARG...]]]", after_help = EXAMPLES)]
pub struct ShellArguments {
    /// The machine, and whose shell (default: root's)
    #[arg(value_name = "[USER@]NAME")]
    name: Option<String>,

    /// A command instead, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, num_args = 0..)]
    command: Vec<OsString>,

    #[command(flatten)]
    common: CommonArguments,

    /// Print no lines of our own
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn shell(arguments: &ShellArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let environment = match arguments.common.variables() {
        Ok(environment) => environment,
        Err(error) => {
            output.error(&error, Some(error.hint()));
            return EXIT_FAILURE;
        }
    };
    let (user, name) = divided(arguments.name.as_deref());
    let terminal = rustix::termios::isatty(rustix::stdio::stdin());
    let request = Request {
        payload: Payload::Shell(arguments.command.clone()),
        user: user.map(str::to_owned).or_else(|| arguments.common.user.clone()),
        directory: None,
        environment,
        terminal: terminal.then(terminal_type),
        timeout: None,
        kill_after: Duration::MAX,
    };
    let done = one_or_named(name).and_then(|machine| {
        if terminal && arguments.command.is_empty() {
            // As for a login: who may not enter it is to hear that and nothing else.
            machine.launch_record()?;
            output.status(&format!("in {}; ^] three times within a second leaves it", machine.name()));
        }
        run(&machine, &request)
    });
    done.unwrap_or_else(|error: Error| fail(&error, output))
}

/// `USER@NAME`: the user, the machine.
fn divided(text: Option<&str>) -> (Option<&str>, Option<&str>) {
    match text.map(|text| text.rsplit_once('@').ok_or(text)) {
        None => (None, None),
        Some(Err(name)) => (None, Some(name)),
        Some(Ok((user, name))) => {
            (Some(user).filter(|user| !user.is_empty()), Some(name).filter(|name| !name.is_empty()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_machines() {
        let table = [
            (None, (None, None)),
            (Some("web"), (None, Some("web"))),
            (Some("alice@web"), (Some("alice"), Some("web"))),
            (Some("alice@"), (Some("alice"), None)),
            (Some("@web"), (None, Some("web"))),
            (Some("a@b@web"), (Some("a@b"), Some("web"))),
        ];
        for (text, expected) in table {
            assert_eq!(divided(text), expected, "{text:?}");
        }
    }
}
