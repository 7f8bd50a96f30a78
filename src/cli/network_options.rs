//! Options of what a machine gets of the network, of every verb that starts machines. Names and meanings are systemd-nspawn's
//! (systemd-nspawn(1)) where it has them.

const HEADING: &str = "Networking options";

/// What was said of the network.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(args_override_self = true)]
pub struct NetworkOptions {
    /// A network of its own (default: yes), with loopback only where nothing else is asked for; no shares the host's
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = HEADING)]
    private_network: Option<String>,

    /// Put host0, the other end of a pair, into the bridge vz-ZONE (default: spinney for a boot, none for a command)
    #[arg(long, value_name = "ZONE", help_heading = HEADING)]
    network_zone: Option<String>,

    /// A pair of interfaces, host0 in the machine and ve-NAME on the host
    #[arg(short = 'n', long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "yes", help_heading = HEADING)]
    network_veth: Option<String>,

    /// Put the pair's end on the host, vb-NAME, into this bridge
    #[arg(long, value_name = "BRIDGE", help_heading = HEADING)]
    network_bridge: Option<String>,

    /// One more pair of interfaces
    #[arg(long, value_name = "HOST[:MACHINE]", help_heading = HEADING)]
    network_veth_extra: Vec<String>,

    /// Lend an interface of the host to the machine
    #[arg(long, value_name = "HOST[:MACHINE]", help_heading = HEADING)]
    network_interface: Vec<String>,

    /// A macvlan interface on one of the host's
    #[arg(long, value_name = "HOST[:MACHINE]", help_heading = HEADING)]
    network_macvlan: Vec<String>,

    /// An ipvlan interface on one of the host's
    #[arg(long, value_name = "HOST[:MACHINE]", help_heading = HEADING)]
    network_ipvlan: Vec<String>,

    /// The network namespace of this file
    #[arg(long, value_name = "PATH", help_heading = HEADING)]
    network_namespace_path: Option<String>,

    /// A port of the host that leads to the machine; also [ADDRESS:]HOST[-END][:MACHINE[-END]]
    #[arg(short, long, value_name = "[tcp|udp:]HOST[:MACHINE]", help_heading = HEADING)]
    port: Vec<String>,

    /// Address of host0, at most one of IPv4 and one of IPv6 (default: one that is kept for the machine)
    #[arg(long, value_name = "ADDRESS[/PREFIX]", help_heading = HEADING)]
    ip: Vec<String>,

    /// MAC address of host0
    #[arg(long, value_name = "MAC", help_heading = HEADING)]
    mac: Option<String>,

    /// Router, in place of the host
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING)]
    gateway: Vec<String>,

    /// Name server, in place of the host's
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING)]
    dns: Vec<String>,

    /// One more name that the machine resolves
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = HEADING)]
    hosts: Vec<String>,

    /// Offer a port or socket of the host inside of the machine
    #[arg(long, value_name = "[tcp|udp:]PORT[:INSIDE]", help_heading = HEADING)]
    offer: Vec<String>,

    /// Let it send from other addresses than its own (default: no)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    #[arg(help_heading = HEADING)]
    net_spoofing: Option<String>,

    /// Hold its packets back so long, each way
    #[arg(long, value_name = "TIME", help_heading = HEADING)]
    net_delay: Option<String>,

    /// Lose so many of its packets, each way
    #[arg(long, value_name = "PERCENT", help_heading = HEADING)]
    net_loss: Option<String>,
}

impl NetworkOptions {
    /// What was said, as options again.
    pub fn arguments(&self) -> Vec<String> {
        let single = [
            ("private-network", &self.private_network),
            ("network-zone", &self.network_zone),
            ("network-veth", &self.network_veth),
            ("network-bridge", &self.network_bridge),
            ("network-namespace-path", &self.network_namespace_path),
            ("mac", &self.mac),
            ("net-spoofing", &self.net_spoofing),
            ("net-delay", &self.net_delay),
            ("net-loss", &self.net_loss),
        ];
        let lists = [
            ("network-veth-extra", &self.network_veth_extra),
            ("network-interface", &self.network_interface),
            ("network-macvlan", &self.network_macvlan),
            ("network-ipvlan", &self.network_ipvlan),
            ("port", &self.port),
            ("ip", &self.ip),
            ("gateway", &self.gateway),
            ("dns", &self.dns),
            ("hosts", &self.hosts),
            ("offer", &self.offer),
        ];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let lists =
            lists.into_iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        single.chain(lists).map(|(name, value)| format!("--{name}={value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::keys;
    use clap::{Args, Command, FromArgMatches};

    fn parsed(line: &[String]) -> NetworkOptions {
        let command = NetworkOptions::augment_args(Command::new("x").no_binary_name(true));
        NetworkOptions::from_arg_matches(&command.try_get_matches_from(line).unwrap()).unwrap()
    }

    /// Every setting of the network has an option, and each option comes through.
    #[test]
    fn what_was_said_is_said_again() {
        let network: Vec<_> = keys::all().filter(|key| key.table == "network").collect();
        let mut line: Vec<String> = Vec::new();
        for key in &network {
            line.push(format!("--{}=one", key.name));
            line.extend(key.kind.is_list().then(|| format!("--{}=two", key.name)));
        }
        let mut again = parsed(&line).arguments();
        again.sort();
        line.sort();
        assert_eq!(again, line);
        let short = parsed(&["-n", "-p", "80", "--private-network"].map(str::to_owned));
        assert_eq!(short.arguments(), ["--private-network=yes", "--network-veth=yes", "--port=80"]);
        assert_eq!(parsed(&[]).arguments(), [""; 0]);
    }
}
