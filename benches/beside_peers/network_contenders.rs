//! Who is measured on the network: pairs of links with nothing around them, and machines of ours and of peers.

use std::error::Error;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::contenders::Ground;
use super::network_host::{Namespace, Running};
use super::timing::power_off;

/// Addresses of a pair that is configured by hand.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// Addresses in the first zone of a host.
const ZONE_HOST: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 1);
const ZONE_GUEST: Ipv4Addr = Ipv4Addr::new(10, 213, 0, 2);

/// What nearly any host with a firewall does with each packet, and the least that one can do that knows connections.
const ONE_RULE: &str = "table inet bench { chain input { type filter hook input priority 0;
    ct state established,related accept
}; }";

/// What lxc-net of Debian's lxc sets up for lxcbr0.
const LXC_NET: &str = "table inet lxc { chain input { type filter hook input priority filter; policy accept;
    iifname lxcbr0 udp dport { 53, 67 } accept
    iifname lxcbr0 tcp dport { 53, 67 } accept
}; chain forward { type filter hook forward priority filter; policy accept;
    iifname lxcbr0 accept
    oifname lxcbr0 accept
}; }
table ip lxc { chain postrouting { type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.9.0.0/24 ip daddr != 10.9.0.0/24 counter masquerade
}; }";

/// Configures a guest whose link is there.
const IN_GUEST: &str =
    "address add 10.9.0.2/24 dev host0\nlink set host0 up\nroute add default via 10.9.0.1\n";

/// One way to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A machine of ours with a link of its own.
    Ours,
    /// A machine of ours in a zone.
    OursInZone,
    /// A veth pair and nothing else.
    Pair,
    /// The same once more: what two alike differ by is noise.
    PairAgain,
    /// The same on a host that keeps track of connections.
    PairOneRule,
    /// A veth pair whose host's end is in a bridge.
    Bridge,
    /// systemd-nspawn, its link configured by hand.
    Nspawn,
    /// LXC, its link put in a bridge by hand.
    Lxc,
}

impl Kind {
    /// What tables call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "spinney -n",
            Self::OursInZone => "spinney in a zone",
            Self::Pair => "bare veth pair",
            Self::PairAgain => "the same again",
            Self::PairOneRule => "with one rule of state",
            Self::Bridge => "bare veth pair in a bridge",
            Self::Nspawn => "nspawn --network-veth",
            Self::Lxc => "lxc, veth in a bridge",
        }
    }

    fn program(self, ground: &Ground) -> Command {
        const SLEEP: &[&str] = &["/bin/sleep", "infinity"];
        match self {
            // The host's programs know them by `--ip=`, and do not have to look.
            Self::Ours => ground.spinney("link", &["-x", "-n", "--ip=10.9.0.2"], SLEEP),
            Self::OursInZone => {
                ground.spinney("zone", &["-x", "--network-zone=spinney", "--ip=10.213.0.2"], SLEEP)
            }
            Self::Pair | Self::PairAgain | Self::PairOneRule | Self::Bridge => {
                let mut command = Command::new("unshare");
                command.args(["--net", "--"]).args(SLEEP);
                command
            }
            // Read-only: it locks the tree for itself otherwise.
            Self::Nspawn => ground.nspawn("nspawn", &["--network-veth", "--read-only"], SLEEP),
            Self::Lxc => ground.lxc_with_link(SLEEP),
        }
    }

    /// Starts it on a host of its own. Links that nobody else configures are configured with one call of ip(8) a side.
    pub(crate) fn start(self, ground: &Ground) -> Result<Path<'_>, Box<dyn Error>> {
        let host = Namespace::new_host()?;
        match self {
            Self::PairOneRule => host.nft(ONE_RULE)?,
            Self::Lxc => host.nft(LXC_NET)?,
            _ => {}
        }
        let log = fs::File::create(ground.work.join("log-network"))?;
        let mut command = self.program(ground);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        ground.enter_cgroup(&format!("network-{self:?}"))?;
        let begun = Instant::now();
        let child = host.within(|| command.spawn());
        ground.leave_cgroup()?;
        let machine = Machine { ground, kind: self, child: Running(child??) };
        self.connect(host, machine, begun).map_err(|error| {
            let log = fs::read_to_string(ground.work.join("log-network")).unwrap_or_default();
            format!("{}: {error}\n{log}", self.name()).into()
        })
    }

    fn connect<'a>(
        self,
        host: Namespace,
        machine: Machine<'a>,
        begun: Instant,
    ) -> Result<Path<'a>, Box<dyn Error>> {
        let guest = host.of_guest(machine.child.0.id())?;
        let (gateway, address) = match self {
            Self::OursInZone => (ZONE_HOST, ZONE_GUEST),
            _ => (HOST, GUEST),
        };
        let on_host = |end: &str| format!("address add {HOST}/24 dev {end}\nlink set {end} up\n");
        match self {
            Self::Ours | Self::OursInZone => {}
            Self::Pair | Self::PairAgain | Self::PairOneRule => {
                let pair = format!("link add name veth0 type veth peer name host0 netns {}\n", guest.path());
                host.ip(&(pair + &on_host("veth0")))?;
                guest.ip(IN_GUEST)?;
            }
            Self::Bridge => {
                let pair = format!(
                    "link add name bridge0 type bridge\nlink add name veth0 type veth peer name host0 netns {}\n\
                     link set veth0 master bridge0 up\n",
                    guest.path()
                );
                host.ip(&(pair + &on_host("bridge0")))?;
                guest.ip(IN_GUEST)?;
            }
            Self::Nspawn => {
                let end = other_end(&guest, &host)?;
                host.ip(&on_host(&end))?;
                guest.ip(IN_GUEST)?;
            }
            Self::Lxc => {
                let end = other_end(&guest, &host)?;
                host.ip(&format!(
                    "link add name lxcbr0 type bridge\nlink set {end} master lxcbr0 up\n{}",
                    on_host("lxcbr0")
                ))?;
            }
        }
        Ok(Path { begun, address, gateway, guest, host, _machine: machine })
    }
}

/// The host's end of a peer's pair. Both are on the host at first, and called something else.
fn other_end(guest: &Namespace, host: &Namespace) -> Result<String, Box<dyn Error>> {
    guest.links()?.wait_for(|name| name == "host0")?;
    host.links()?.wait_for(|_| true)
}

/// A host, a guest, and a way between them.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    /// When its program was started.
    pub(crate) begun: Instant,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) guest: Namespace,
    pub(crate) host: Namespace,
    _machine: Machine<'a>,
}

/// What holds the guest, ended in its own way when dropped.
#[derive(Debug)]
struct Machine<'a> {
    ground: &'a Ground,
    kind: Kind,
    child: Running,
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let suffix = match self.kind {
            Kind::Ours => "link",
            Kind::OursInZone => "zone",
            Kind::Lxc => {
                let _ = self.ground.lxc_stop("lxc-link").stderr(Stdio::null()).status();
                return;
            }
            // Killed, it would leave what it runs behind.
            Kind::Nspawn => {
                let _ = power_off(&mut self.child.0);
                return;
            }
            _ => return,
        };
        let name = self.ground.machine(suffix);
        let ended = self.ground.verb(&["terminate", "-q", &name]).stderr(Stdio::null()).status();
        if ended.is_ok_and(|status| status.success()) {
            let _ = self.child.0.wait();
        }
    }
}
