//! `spinney net` and its own verbs.

mod capture;
mod doctor;
mod leases;
mod partition;
mod rules;
mod zones;

const EXAMPLES: &str = "\
Examples:
  spinney net                              zones with their networks, machines with their addresses
  spinney net --json | jq '.machines[].ports'
  spinney net leases                       which addresses are kept for which machines
  spinney net forget web                   keep none for web any more
  spinney net capture web | tcpdump -nr -  what web sends and receives, live
  spinney net capture web -w web.pcap -c 100
  spinney net rules web                    the rules for its packets that are in force
  spinney net doctor web                   why it does not reach the internet
  spinney net partition db1 db2            keep two machines from each other";

/// Show the networks of machines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct NetArguments {
    #[command(subcommand)]
    verb: Option<NetVerb>,

    #[command(flatten)]
    zones: zones::ZonesArguments,
}

/// Verbs below `spinney net`.
#[derive(Debug, clap::Subcommand)]
enum NetVerb {
    Leases(leases::LeasesArguments),
    Forget(leases::ForgetArguments),
    Capture(capture::CaptureArguments),
    Rules(rules::RulesArguments),
    Doctor(doctor::DoctorArguments),
    Partition(partition::PartitionArguments),
}

/// Runs the verb, gives the exit status.
pub fn net(arguments: &NetArguments) -> u8 {
    match &arguments.verb {
        None => zones::zones(&arguments.zones),
        Some(NetVerb::Leases(arguments)) => leases::leases(arguments),
        Some(NetVerb::Forget(arguments)) => leases::forget(arguments),
        Some(NetVerb::Capture(arguments)) => capture::capture(arguments),
        Some(NetVerb::Rules(arguments)) => rules::rules(arguments),
        Some(NetVerb::Doctor(arguments)) => doctor::doctor(arguments),
        Some(NetVerb::Partition(arguments)) => partition::partition(arguments),
    }
}
