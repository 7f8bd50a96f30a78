//! From a machine's start to its first ping: each machine is started on a new host, whose tables, bridge and addresses are part of it.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with,
};

use super::contenders::Ground;
use super::network_contenders::Kind;
use super::network_host::{GLANCE, Namespace, PATIENCE};
use super::timing::{ContenderTimes, PAUSE, Times, is_missing_program};

/// Who is measured, ours first, each with the most that our median may be of its.
const KINDS: [(Kind, Option<f64>); 5] = [
    (Kind::Ours, None),
    (Kind::OursInZone, None),
    (Kind::Nspawn, Some(1.0)),
    (Kind::Lxc, None),
    (Kind::Pair, None),
];

/// What was measured.
pub(crate) struct FirstPings {
    /// From the start until the host's ping is answered, and the machine's of its gateway.
    pub(crate) rows: [Times; 2],
    /// From both ends of our machine's link being up until the host's ping is answered, sorted; with a link of its own, in a zone.
    pub(crate) since_link: [Vec<Duration>; 2],
}

/// Measures all in turns.
pub(crate) fn measure(ground: &Ground, rounds: usize) -> Result<FirstPings, Box<dyn Error>> {
    let mut kept = Vec::new();
    for (kind, target) in KINDS {
        match once(kind, ground) {
            Ok(_) => kept.push((kind, target, Vec::new())),
            Err(error) if is_missing_program(&*error) && !kept.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    for _ in 0..rounds {
        for (kind, _, pings) in &mut kept {
            pings.push(once(*kind, ground)?);
        }
    }
    let row = |title, of: fn(&Ping) -> Duration| {
        let contenders = kept.iter().map(|(kind, target, pings)| {
            let mut seconds: Vec<f64> = pings.iter().map(|ping| of(ping).as_secs_f64()).collect();
            seconds.sort_by(f64::total_cmp);
            ContenderTimes { name: kind.name(), target: *target, seconds }
        });
        Times { key: "network", title, contenders: contenders.collect() }
    };
    let since_link = [Kind::Ours, Kind::OursInZone].map(|ours| {
        let pings = kept.iter().filter(|(kind, ..)| *kind == ours).flat_map(|(.., pings)| pings);
        let mut times: Vec<Duration> = pings.map(|ping| ping.since_link).collect();
        times.sort_unstable();
        times
    });
    let rows = [
        row("from the start of a command to the host's first ping of it", |ping| ping.from_host),
        row("from the start of a command to its first ping of the gateway", |ping| ping.from_guest),
    ];
    Ok(FirstPings { rows, since_link })
}

/// Times of one machine.
#[derive(Debug, Clone, Copy, Default)]
struct Ping {
    from_host: Duration,
    from_guest: Duration,
    since_link: Duration,
}

fn once(kind: Kind, ground: &Ground) -> Result<Ping, Box<dyn Error>> {
    std::thread::sleep(PAUSE);
    let path = kind.start(ground)?;
    let mut links = [path.host.links()?, path.guest.links()?];
    let up = loop {
        let mut all = Vec::new();
        for side in &mut links {
            all.push(side.look()?);
        }
        if all.iter().all(|side| !side.is_empty() && side.iter().all(|(_, up)| *up)) {
            break path.begun.elapsed();
        }
        if path.begun.elapsed() > PATIENCE {
            return Err(format!("{}: the link does not come up: {all:?}", kind.name()).into());
        }
        std::thread::sleep(GLANCE);
    };
    path.host.hurry_neighbours()?;
    path.guest.hurry_neighbours()?;
    let host = Echo::new(&path.host)?;
    let guest = Echo::new(&path.guest)?;
    let (mut from_host, mut from_guest) = (None, None);
    while path.begun.elapsed() < PATIENCE {
        for (echo, to, answered) in
            [(&host, path.address, &mut from_host), (&guest, path.gateway, &mut from_guest)]
        {
            if answered.is_none() {
                echo.ask(to);
                *answered = echo.answers().contains(&to).then(|| path.begun.elapsed());
            }
        }
        if let (Some(from_host), Some(from_guest)) = (from_host, from_guest) {
            return Ok(Ping { from_host, from_guest, since_link: from_host.saturating_sub(up) });
        }
        std::thread::sleep(GLANCE);
    }
    Err(format!(
        "{}: no answer (host {from_host:?}, guest {from_guest:?}, link up after {up:?})",
        kind.name()
    )
    .into())
}

/// Asks for echoes (RFC 792), of any address.
#[derive(Debug)]
pub(crate) struct Echo(OwnedFd);

/// Types of messages.
const ECHO: u8 = 8;
const REPLY: u8 = 0;

impl Echo {
    /// From `from`.
    pub(crate) fn new(from: &Namespace) -> Result<Self, Box<dyn Error>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let open = || socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::ICMP));
        Ok(Self(from.within(open)??))
    }

    /// Sends a question. Where there is no way yet, it is lost.
    pub(crate) fn ask(&self, to: Ipv4Addr) {
        /// Identifier 1, sequence number 1, and the checksum of both and the type (RFC 1071).
        const MESSAGE: [u8; 8] = [ECHO, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        let _ = sendto(&self.0, &MESSAGE, SendFlags::empty(), &SocketAddr::V4(SocketAddrV4::new(to, 0)));
    }

    /// Who has answered since it was looked last.
    pub(crate) fn answers(&self) -> Vec<Ipv4Addr> {
        let mut answers = Vec::new();
        let mut packet = [0; 128];
        while let Ok((length, _)) = recv(&self.0, &mut packet, RecvFlags::empty()) {
            // The IPv4 header is before it (raw(7)).
            let header = usize::from(packet[0] & 0xf) * 4;
            if header < length && packet.get(header) == Some(&REPLY) {
                answers.push(Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]));
            }
        }
        answers
    }
}
