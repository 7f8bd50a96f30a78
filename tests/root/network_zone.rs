//! A zone of namespaces that are no machines, made as machines' links are, to try rules with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use spinney::network::rules::machine::{LinkRules, MachineRules, Place};
use spinney::settings::network::{InterfaceName, MacAddress};

use crate::network_host::{Namespace, network, shell};

/// Namespaces of guests m2, m3, ... on the bridge vz-lab of the thread's namespace, and one that is its LAN.
pub struct Zone {
    pub guests: Vec<Namespace>,
    pub lan: Namespace,
}

impl Zone {
    /// With two guests.
    pub fn new() -> Result<Self, String> {
        shell(
            "ip link add name vz-lab type bridge && ip link set vz-lab up
             ip address add 10.213.0.1/22 dev vz-lab && ip address add fd00:213::1/64 dev vz-lab nodad
             for at in ipv4/ip_forward ipv6/conf/all/forwarding; do
                 echo 1 >/proc/sys/net/$at
             done",
        )?;
        let guests = [2, 3].map(|number| {
            let guest = Namespace::new();
            shell(&format!(
                "ip link add name vb-m{number} type veth peer name host0 netns {} address 02:00:00:00:00:0{number}
                 ip link set vb-m{number} master vz-lab up",
                guest.pid()
            ))?;
            guest.script(&format!(
                "ip link set host0 up && ip address add 10.213.0.{number}/22 dev host0
                 ip address add fd00:213::{number}/64 dev host0 nodad
                 ip route add default via 10.213.0.1 && ip -6 route add default via fd00:213::1"
            ))?;
            Ok(guest)
        });
        let lan = network("lan0", "192.0.2", "2001:db8")?;
        Ok(Self { guests: guests.into_iter().collect::<Result<_, String>>()?, lan })
    }
}

/// The machine whose namespace is guest `number - 2` of a zone.
pub fn machine(number: u8) -> MachineRules {
    let name = |text: &str| -> InterfaceName { text.parse().unwrap() };
    MachineRules {
        name: format!("m{number}"),
        links: vec![LinkRules {
            host: name(&format!("vb-m{number}")),
            place: Place::Zone(name("vz-lab")),
            mac: Some(MacAddress([2, 0, 0, 0, 0, number])),
            v4: Some([10, 213, 0, number].into()),
            v6: Some(format!("fd00:213::{number}").parse().unwrap()),
        }],
        ports: Vec::new(),
        dns_port: Some(40000 + u16::from(number)),
        dns: vec!["10.213.0.1".parse().unwrap(), "fd00:213::1".parse().unwrap()],
        partitions: Vec::new(),
        loss: None,
    }
}

/// Whether something answers a ping within `seconds`.
pub fn pings(from: &Namespace, to: &str, seconds: &str) -> bool {
    let script = format!("exec ping -n -q -c 1 -i 0.2 -w {seconds} {to}");
    from.try_script(&script).status == 0
}

/// What connecting comes to: what the other side calls us, or why it does not come to it.
pub fn connects(to: &str) -> Result<String, std::io::ErrorKind> {
    let to: SocketAddr = to.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3)).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut peer = String::new();
    stream.read_to_string(&mut peer).map_err(|error| error.kind())?;
    Ok(peer)
}

/// Serves on `at` of the thread's namespace until the test ends: tells each client its address.
pub fn serve(at: &str) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(peer.as_bytes());
        }
    });
}
