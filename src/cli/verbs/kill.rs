//! `spinney kill`: sends a signal to processes of machines.

use super::each;
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::machine::signal::{Whom, send};
use crate::settings::{SignalNumber, ValueError};

const EXAMPLES: &str = "\
Examples:
  spinney kill web                                SIGTERM to all of its processes
  spinney kill --kill-whom=leader -s RTMIN+4 web  have its systemd power off
  spinney kill -s KILL web                        the end of all of its processes

It needs nothing of the supervisor.";

/// Send a signal to processes of machines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = "spinney kill [OPTIONS] NAME...")]
pub struct KillArguments {
    /// The machines
    #[arg(value_name = "NAME", num_args = 0..)]
    names: Vec<String>,

    /// Whom: leader (PID 1), supervisor, all (default)
    #[arg(long, alias = "kill-who", value_name = "WHOM", default_value = "all", hide_default_value = true)]
    kill_whom: String,

    /// Which signal (default: SIGTERM); help lists them
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGTERM", hide_default_value = true)]
    signal: String,
}

/// Runs the verb, gives the exit status.
pub fn kill(arguments: &KillArguments) -> u8 {
    let output = Output::new(false);
    if arguments.signal == "help" {
        output.text(&(SignalNumber::names().join("\n") + "\n"));
        return 0;
    }
    if arguments.names.is_empty() {
        output.error(&Message::new("no machine given"), Some("spinney kill [OPTIONS] NAME..."));
        return EXIT_FAILURE;
    }
    let parsed = whom(&arguments.kill_whom).and_then(|whom| Ok((whom, arguments.signal.parse()?)));
    match parsed {
        Ok((whom, signal)) => each(&arguments.names, output, |machine| send(machine, whom, signal)),
        Err(error) => {
            output.error(&error, Some(error.hint()));
            EXIT_FAILURE
        }
    }
}

fn whom(text: &str) -> Result<Whom, ValueError> {
    match text {
        "leader" => Ok(Whom::Leader),
        "supervisor" => Ok(Whom::Supervisor),
        "all" => Ok(Whom::All),
        _ => Err(ValueError::new(text, "is nobody in a machine", "one of: leader, supervisor, all")),
    }
}
