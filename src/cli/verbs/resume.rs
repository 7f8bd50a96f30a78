//! `spinney resume`: lets the processes of paused machines run again.

use serde_json::json;

use super::each;
use crate::cli::output::Output;
use crate::machine::Control;

const EXAMPLES: &str = "\
Examples:
  spinney resume web   it goes on where spinney pause stopped it";

/// Let the processes of paused machines run again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ResumeArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn resume(arguments: &ResumeArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    each(&arguments.names, output, |machine| {
        Control::connect(machine)?.call("io.systemd.MachineInstance.Resume", json!({}))?;
        output.status(&format!("{} runs", machine.name()));
        Ok(())
    })
}
