//! `spinney attach`: the console of a running machine on this terminal.

use super::{fail, one_or_named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::cli::refusal::Message;

use crate::machine::attach::{Detached, Options, attach as connect};

const EXAMPLES: &str = "\
Examples:
  spinney attach web                  its console, from the last screen on
  spinney attach --read-only web      look, and type nothing; ^C leaves
  echo 'systemctl status' | spinney attach web
                                      type that, show the rest

^] three times within a second detaches; the machine goes on. Several may be attached at once.";

/// Connect to the console of a running machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct AttachArguments {
    /// The machine (default: the only one that runs)
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Show its console and type nothing
    #[arg(short, long)]
    read_only: bool,

    /// Show so many lines of what was there before (default: a screen)
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u16>,

    /// Print no lines of our own
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn attach(arguments: &AttachArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    let options = Options { read_only: arguments.read_only, lines: arguments.lines };
    let done = one_or_named(arguments.name.as_deref()).and_then(|machine| {
        let name = machine.name().to_string();
        let terminal = rustix::termios::isatty(rustix::stdio::stdin());
        let how = connect(&machine, options, |keys| match (terminal, keys) {
            (true, true) => output.status(&format!("on the console of {name}; ^] three times leaves it")),
            (true, false) => output.status(&format!("watching the console of {name}; ^C leaves it")),
            (false, _) => {}
        })?;
        Ok((name, how))
    });
    match done {
        Ok((_, Detached::ByUser)) => 0,
        Ok((name, Detached::MachineEnded)) => {
            output.status(&format!("{name} is off"));
            0
        }
        Ok((name, Detached::CutOff)) => {
            let error =
                Message::new(format!("{name} cut us off, since its output was not read for too long"));
            output.error(&error, Some(&format!("it goes on; spinney attach {name} connects again")));
            EXIT_FAILURE
        }
        Err(error) => fail(&error, output),
    }
}
