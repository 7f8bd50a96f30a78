//! `spinney terminate`: ends machines at once.

use super::each_found;
use crate::cli::output::Output;
use crate::machine::terminate::{Terminated, find, terminate as end};

const EXAMPLES: &str = "\
Examples:
  spinney terminate web    end it now; what it had not written to disk is lost

It works when the guest hangs, and when its supervisor does; one that is starting is ended as soon as it
can be. spinney stop lets a machine end by itself.";

/// End machines at once, without asking them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TerminateArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the verb, gives the exit status.
pub fn terminate(arguments: &TerminateArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    each_found(&arguments.names, output, find, |machine| {
        let how = end(machine)?;
        let name = machine.name();
        if how == Terminated::WithSupervisor {
            output.warning(&format!(
                "the supervisor of {name} did not answer: it was killed, and what it left is removed"
            ));
        }
        output.status(&format!("{name} is gone"));
        Ok(())
    })
}
