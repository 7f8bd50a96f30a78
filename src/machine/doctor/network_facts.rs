//! Looks at what lies between a machine and the internet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::machine::MachineHandle;
use crate::network::dns::host_servers::{HostServers, RESOLV_CONF};
use crate::network::host::HostNetwork;
use crate::network::link::forwarding::closed;
use crate::network::nft::Nfnetlink;
use crate::network::plan::LinkKind;
use crate::network::rules::{self, foreign, foreign::Obstacle};
use crate::network::state::NetworkState;
use crate::network::subnet::Subnet;
use crate::sys::sysctl;

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The machine has an interface with addresses whose router is this host: what it is behind here.
    pub behind: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The interface that each of them is routed to, by its name; `None` where there is no route.
    pub routed_to: Vec<Option<String>>,
    /// Interfaces of the host with a default route of IPv4.
    pub uplinks4: Vec<String>,
    /// The same of IPv6.
    pub uplinks6: Vec<String>,
    /// Of these and of `behind`: those that do not forward IPv4, and by which switch.
    pub not_forwarding4: Vec<(String, String)>,
    /// The same of IPv6, where the machine has an address of it.
    pub not_forwarding6: Vec<(String, String)>,
    /// Whether the rules are in force; `None` if that cannot be told.
    pub in_force: Option<bool>,
    /// Chains of others that drop what it sends or gets.
    pub obstacles: Vec<Obstacle>,
    /// What is to be said of iptables-legacy.
    pub legacy: Option<String>,
    /// Name servers that were asked, and whether they answered.
    pub servers: Vec<(SocketAddr, bool)>,
    /// Interfaces of `uplinks4` with a strict filter of reverse paths (rp_filter, 1).
    pub strict: Vec<String>,
    /// The largest packets of `behind`, and of the uplink with the smallest ones.
    pub mtu: Option<(u32, u32)>,
}

impl NetworkFacts {
    /// Looks at `machine`.
    pub fn of(machine: &MachineHandle) -> Self {
        let state = machine.network_state();
        let mut facts = Self::default();
        let Some(behind) = behind(&state) else { return facts };
        let host = HostNetwork::look().unwrap_or_default();
        facts.addresses = state.addresses().collect();
        facts.routed_to = facts.addresses.iter().map(|address| routed_to(&host, *address)).collect();
        facts.uplinks4 = uplinks(&host, true);
        facts.uplinks6 = uplinks(&host, false);
        let not_forwarding = |v4: bool, uplinks: &[String]| -> Vec<(String, String)> {
            let has = facts.addresses.iter().any(|address| address.is_ipv4() == v4);
            let all = uplinks.iter().chain([&behind]).filter(|_| has);
            all.filter_map(|interface| Some((interface.clone(), closed(interface, v4)?))).collect()
        };
        facts.not_forwarding4 = not_forwarding(true, &facts.uplinks4);
        facts.not_forwarding6 = not_forwarding(false, &facts.uplinks6);
        let strict = |interface: &String| {
            let of = |name: &str| sysctl::number(&format!("ipv4/conf/{name}/rp_filter")).unwrap_or(0);
            of("all").max(of(interface)) == 1
        };
        facts.strict = facts.uplinks4.iter().filter(|interface| strict(interface)).cloned().collect();
        let mtu = |interface: &String| sysctl::number(&format!("ipv6/conf/{interface}/mtu"));
        let smallest = facts.uplinks4.iter().chain(&facts.uplinks6).filter_map(mtu).min();
        facts.mtu = mtu(&behind).zip(smallest);
        facts.in_force = rules::in_force().ok();
        let obstacles = Nfnetlink::open().and_then(|mut nft| foreign::obstacles(&mut nft, &behind));
        facts.obstacles = obstacles.unwrap_or_default();
        facts.legacy = rules::legacy_warning(&behind);
        facts.servers = servers(&state.plan.upstream_dns);
        facts.behind = Some(behind);
        facts
    }
}

/// The interface of the host that the machine is behind.
fn behind(state: &NetworkState) -> Option<String> {
    let (link, _) = state.plan.main()?;
    match &link.kind {
        LinkKind::Zone(zone) => Some(zone.bridge().to_string()),
        LinkKind::Veth => link.host.as_ref().map(ToString::to_string),
        _ => None,
    }
}

fn routed_to(host: &HostNetwork, address: IpAddr) -> Option<String> {
    // A default route leads anywhere.
    let routes = host
        .routes
        .iter()
        .filter(|route| route.prefix > 0 && Subnet::of(route.destination, route.prefix).contains(address));
    let best = routes.max_by_key(|route| route.prefix)?;
    Some(host.link(*best.interfaces.first()?)?.name.clone())
}

fn uplinks(host: &HostNetwork, v4: bool) -> Vec<String> {
    let defaults = host.routes.iter().filter(|route| route.prefix == 0 && route.destination.is_ipv4() == v4);
    let mut names: Vec<String> = defaults
        .flat_map(|route| &route.interfaces)
        .filter_map(|index| host.link(*index))
        .map(|link| link.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn servers(given: &[IpAddr]) -> Vec<(SocketAddr, bool)> {
    /// MAXNS of resolv.h.
    const MOST: usize = 3;
    let mut servers = HostServers::new(given, Path::new(RESOLV_CONF));
    let mut tries = servers.tries(Instant::now());
    let mut asked: Vec<(SocketAddr, bool)> = Vec::new();
    for _ in 0..MOST {
        let Some((server, _)) = tries.next_server() else { break };
        if asked.iter().any(|(before, _)| *before == server) {
            break;
        }
        asked.push((server, answers(server)));
    }
    asked
}

/// Whether a name server answers to a question for the servers of the root (RFC 1035 4.1): whatever it says.
fn answers(server: SocketAddr) -> bool {
    const QUESTION: [u8; 17] = [0x53, 0x70, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let ask = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(server)?;
        socket.send(&QUESTION)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(length >= 12 && answer.first_chunk() == QUESTION.first_chunk::<2>())
    };
    ask().unwrap_or(false)
}
