//! `spinney net` and its own verbs.

mod doctor;
mod partition;

const EXAMPLES: &str = "\
Examples:
  spinney net doctor web                   why it does not reach the internet
  spinney net partition db1 db2            keep two machines from each other, to test what they make of it";

/// Show the networks of machines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct NetArguments {
    #[command(subcommand)]
    verb: NetVerb,
}

/// Verbs below `spinney net`.
#[derive(Debug, clap::Subcommand)]
enum NetVerb {
    Doctor(doctor::DoctorArguments),
    Partition(partition::PartitionArguments),
}

/// Runs the verb, gives the exit status.
pub fn net(arguments: &NetArguments) -> u8 {
    match &arguments.verb {
        NetVerb::Doctor(arguments) => doctor::doctor(arguments),
        NetVerb::Partition(arguments) => partition::partition(arguments),
    }
}
