//! `spinney exec`: runs a command in a machine, its exit status is ours.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::machine::exec::{Payload, Request, run};
use crate::machine::{Error, MachineHandle};
use crate::settings::{ValueError, Variable, parse_duration};

const EXAMPLES: &str = "\
Examples:
  spinney exec web -- systemctl is-system-running
  spinney exec -t web bash                  a shell on a terminal; ^] three times within a second leaves it
  spinney exec -u alice -w /srv web make test
  tar c . | spinney exec web -- tar x -C /srv
  spinney exec --timeout=30s web -- apt-get update

Exit status: the command's, 128 and more for a signal; 124 when it took too long; 125 when spinney itself fails, 126 when \
the command cannot be executed, 127 when it is not found.";

/// Run a command in a running machine, get its exit status
#[derive(Debug, clap::Args)]
#[command(override_usage = "spinney exec [OPTIONS] NAME [--] COMMAND [ARG...]", after_help = EXAMPLES)]
pub struct ExecArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, num_args = 1..)]
    command: Vec<OsString>,

    /// Give it a terminal, and our own to it
    #[arg(short, long)]
    tty: bool,

    /// Accepted for docker's sake: stdin is always passed on
    #[arg(short, long)]
    interactive: bool,

    #[command(flatten)]
    common: CommonArguments,

    /// Run it here in the machine (default: /)
    #[arg(short, long, alias = "chdir", value_name = "PATH")]
    workdir: Option<PathBuf>,

    /// End it with SIGTERM when it takes longer, and then exit with 124
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,

    /// Kill it when it then goes on for so long
    #[arg(long, value_name = "TIME", default_value = "10s")]
    kill_after: String,
}

/// What all that runs something in a machine takes.
#[derive(Debug, clap::Args)]
pub(super) struct CommonArguments {
    /// Run it as this user of the machine (default: root)
    #[arg(short, long, alias = "uid", value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,

    /// Set an environment variable (by default to our own value)
    #[arg(short = 'E', long, short_alias = 'e', alias = "setenv", value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<OsString>,
}

impl CommonArguments {
    /// The variables; one that we do not have ourselves is left out, as systemd-nspawn(1) leaves it.
    pub(super) fn variables(&self) -> Result<Vec<(OsString, OsString)>, ValueError> {
        let mut variables = Vec::new();
        for text in &self.env {
            let variable = Variable::parse(text)?;
            if let Some(value) = variable.value.or_else(|| std::env::var_os(&variable.name)) {
                variables.push((variable.name.into(), value));
            }
        }
        Ok(variables)
    }
}

/// The terminal's type, for a program that gets one.
pub(super) fn terminal_type() -> String {
    std::env::var("TERM").ok().filter(|term| !term.is_empty()).unwrap_or_else(|| "vt220".to_owned())
}

/// Runs the verb, gives the exit status.
pub fn exec(arguments: &ExecArguments) -> u8 {
    let output = Output::new(false);
    let request = match request(arguments) {
        Ok(request) => request,
        Err(error) => {
            output.error(&error, Some(error.hint()));
            return EXIT_FAILURE;
        }
    };
    let done = named(&arguments.name)
        .and_then(|name| MachineHandle::find(&name))
        .and_then(|machine| run(&machine, &request));
    done.unwrap_or_else(|error: Error| fail(&error, output))
}

fn request(arguments: &ExecArguments) -> Result<Request, ValueError> {
    let time = |text: &str| parse_duration(text);
    Ok(Request {
        payload: Payload::Command(arguments.command.clone()),
        user: arguments.common.user.clone(),
        directory: arguments.workdir.clone(),
        environment: arguments.common.variables()?,
        terminal: arguments.tty.then(terminal_type),
        timeout: arguments.timeout.as_deref().map(time).transpose()?.flatten(),
        kill_after: time(&arguments.kill_after)?.unwrap_or(Duration::MAX),
    })
}
