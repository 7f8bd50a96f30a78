//! `spinney pause`: stops all processes of machines from running.

use serde_json::json;

use super::each;
use crate::cli::output::Output;
use crate::machine::Control;

const EXAMPLES: &str = "Examples:
  spinney pause web db   their processes stop where they are; memory and connections stay
  spinney resume web     and go on

Told to stop, a paused machine is resumed first.";

/// Stop all processes of machines from running
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PauseArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn pause(arguments: &PauseArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    each(&arguments.names, output, |machine| {
        Control::connect(machine)?.call("io.systemd.MachineInstance.Pause", json!({}))?;
        output.status(&format!("{} is paused", machine.name()));
        Ok(())
    })
}
