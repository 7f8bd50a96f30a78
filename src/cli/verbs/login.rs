//! `spinney login`: a login prompt of a machine.

use super::exec::terminal_type;
use super::{fail, one_or_named};
use crate::cli::output::Output;
use crate::machine::Error;
use crate::machine::exec::{Payload, Request, run};

const EXAMPLES: &str = "\
Examples:
  spinney login web    a login prompt; ^] three times within a second leaves it";

/// Get a login prompt of a running machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct LoginArguments {
    /// The machine (default: the only one that runs)
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Print no lines of our own
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn login(arguments: &LoginArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let request =
        Request { payload: Payload::Login, terminal: Some(terminal_type()), ..Request::command(Vec::new()) };
    let done = one_or_named(arguments.name.as_deref()).and_then(|machine| {
        // Who may not enter it is to hear that and nothing else.
        machine.launch_record()?;
        output.status(&format!(
            "{} asks who you are; ^] three times within a second leaves it",
            machine.name()
        ));
        run(&machine, &request)
    });
    done.unwrap_or_else(|error: Error| fail(&error, output))
}
