//! Packets of machines go through this host: the kernel's switches for that, set for as few interfaces as can be, noted, and put
//! back with the last machine.
//!
//! IPv4 has a switch for each interface that packets come in by (net.ipv4.conf.IFACE.forwarding). IPv6 has had one since Linux 6.17
//! (force_forwarding); before, there is one for all, which makes the host a router that hears no router advertisements unless
//! told to (accept_ra=2): interfaces that have heard some are told so first.
//!
//! A switch lets everything through that comes in there, not what is for machines alone: the interfaces that we have opened are
//! told to the [rules](crate::network::rules), which drop the rest, and that before anything is switched.
//!
//! | file | what it owns |
//! |---|---|
//! | `note` | what was changed, as data |
//! | [`changes`] | is told when routes or switches change |

pub mod changes;
mod note;

use rustix::io::Errno;

use crate::network::host::HostNetwork;
use crate::sys::SysResult;
use crate::sys::network::NamespaceId;
use crate::sys::sysctl::{self, read, write};

use super::shared::{self, Shared};
use note::{ALL6, Interface, Ipv6, Note, Seen};

pub use note::Opened;

/// The thing that machines share, and the note of what was changed for it.
pub(super) const THING: &str = "forwarding";
pub(super) const CHANGED: &str = "changed";

impl Ipv6 {
    fn of_kernel() -> Self {
        match (read("ipv6/conf/all/force_forwarding"), read(ALL6)) {
            (Some(_), _) => Self::EachInterface,
            (None, Some(_)) => Self::Global,
            (None, None) => Self::None,
        }
    }
}

impl Seen<'_> {
    fn of(host: &HostNetwork) -> Self {
        let uplinks: Vec<u32> = host.uplinks().map(|link| link.index).collect();
        let others = host.links.iter().filter(|link| !link.ours && !link.is_loopback());
        let interfaces = others.map(|link| Interface {
            name: link.name.clone(),
            index: link.index,
            uplink: uplinks.contains(&link.index),
        });
        Self { ipv6: Ipv6::of_kernel(), interfaces: interfaces.collect(), value: &read }
    }
}

/// The switch that would have packets forwarded that come in by `interface`, where it is off; of IPv4, or of IPv6.
pub fn closed(interface: &str, v4: bool) -> Option<String> {
    let path = match (v4, Ipv6::of_kernel()) {
        (true, _) => format!("ipv4/conf/{interface}/forwarding"),
        (false, Ipv6::None) => return None,
        (false, Ipv6::Global) => ALL6.to_owned(),
        // Either is enough (ip6_forward()).
        (false, Ipv6::EachInterface) if sysctl::number(ALL6) != Some(0) => return None,
        (false, Ipv6::EachInterface) => format!("ipv6/conf/{interface}/force_forwarding"),
    };
    (sysctl::number(&path) == Some(0)).then_some(path)
}

/// The interfaces of this network namespace that forward because of us.
pub fn opened() -> Opened {
    let note = NamespaceId::ours().and_then(|namespace| shared::peek(namespace, CHANGED));
    Note::parse(&note.unwrap_or_default()).opened()
}

/// Notes that `machine` has packets that go through the host, and which switches have to be set for that: nothing is set so far.
pub(super) fn join(shared: &Shared, machine: &str, host: &HostNetwork) -> SysResult<()> {
    shared.join(THING, machine)?;
    renew(shared, host)
}

/// Sets what is noted, and the switches of `own` interfaces of ours, which go with them. Gives those that cannot be set, as where
/// /proc/sys is read-only.
pub(super) fn set(shared: &Shared, own: &[String]) -> SysResult<Vec<String>> {
    let mut note = Note::parse(&shared.read(CHANGED)?);
    let writes = note.take_writes();
    let some = !writes.is_empty();
    let own = own.iter().flat_map(|name| own_switches(name)).map(|(path, value)| (path, value.to_owned()));
    let mut failed = Vec::new();
    for (path, value) in writes.into_iter().chain(own) {
        match write(&path, &value) {
            // An interface that went meanwhile, or a kernel without IPv6.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(_) => failed.push(path.replace('/', ".")),
            Ok(()) => {}
        }
    }
    if some {
        put(shared, &note)?;
    }
    Ok(failed)
}

/// Notes what has become of the host's interfaces and switches, if packets of any machine go through it.
pub(super) fn follow(shared: &Shared) -> SysResult<()> {
    match shared.users(THING)?.is_empty() {
        true => Ok(()),
        false => renew(shared, &HostNetwork::look()?),
    }
}

fn renew(shared: &Shared, host: &HostNetwork) -> SysResult<()> {
    let before = shared.read(CHANGED)?;
    let mut note = Note::parse(&before);
    note.follow(&Seen::of(host));
    // Before it is done, as all that is made.
    match note == Note::parse(&before) && !before.is_empty() {
        true => Ok(()),
        false => put(shared, &note),
    }
}

/// `machine` needs nothing let through any more; after the last all is as it was, but for what somebody else has set or needs since.
pub(super) fn leave(shared: &Shared, machine: &str) -> SysResult<()> {
    if !shared.leave(THING, machine)? {
        return Ok(());
    }
    let note = Note::parse(&shared.read(CHANGED)?);
    if note.has_changes() {
        for (path, value) in note.undo(&Seen::of(&HostNetwork::look()?)) {
            match write(&path, &value) {
                Err(error) if error.errno() != Errno::NOENT => return Err(error),
                _ => {}
            }
        }
    }
    shared.forget(CHANGED)
}

/// Sets the switches of the interface `name` of ours, as far as they can be.
pub(super) fn own(name: &str) {
    for (path, value) in own_switches(name) {
        let _ = write(&path, value);
    }
}

/// The switches of an interface of ours, which go with it. No advertisement of a machine makes the host take routes or
/// addresses of it.
fn own_switches(name: &str) -> [(String, &'static str); 4] {
    [
        (format!("ipv4/conf/{name}/forwarding"), "1"),
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/accept_dad"), "0"),
        (format!("ipv6/conf/{name}/force_forwarding"), "1"),
    ]
}

fn put(shared: &Shared, note: &Note) -> SysResult<()> {
    shared.write(CHANGED, &serde_json::to_vec(note).unwrap_or_default())
}
