//! Packets of machines go through this host: the kernel's switches for that, set for as few interfaces as can be, noted, and put
//! back with the last machine.
//!
//! IPv4 has a switch for each interface that packets come in by (net.ipv4.conf.IFACE.forwarding). IPv6 has had one since Linux 6.17
//! (force_forwarding); before, there is one for all, which makes the host a router that hears no router advertisements unless
//! told to (accept_ra=2): interfaces that have heard some are told so first.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::network::host::HostNetwork;
use crate::sys::SysResult;
use crate::sys::sysctl::{self, read, write};

use super::shared::Shared;

/// The thing that machines share, and the note of what was changed for it.
pub(super) const THING: &str = "forwarding";
pub(super) const CHANGED: &str = "changed";

/// A switch that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    /// Its path below /proc/sys/net.
    path: String,
    /// What it was.
    before: String,
    /// What it is now.
    set: String,
}

/// A switch that is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    path: String,
    value: &'static str,
    /// Only where it has this value.
    from: Option<&'static str>,
}

/// What of IPv6 forwarding a kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ipv6 {
    /// None: no IPv6 at all.
    None,
    /// The switch for all.
    Global,
    /// One for each interface.
    EachInterface,
}

impl Ipv6 {
    fn of_kernel() -> Self {
        match (read("ipv6/conf/all/force_forwarding"), read(ALL6)) {
            (Some(_), _) => Self::EachInterface,
            (None, Some(_)) => Self::Global,
            (None, None) => Self::None,
        }
    }
}

/// The switch of IPv6 for all interfaces.
const ALL6: &str = "ipv6/conf/all/forwarding";

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

/// Lets packets of `machine` through, which come in by `own` interfaces of ours, and those that answer to them by the
/// host's others. Gives switches that cannot be set, as where /proc/sys is read-only.
pub(super) fn join(
    shared: &Shared,
    machine: &str,
    own: &[String],
    host: &HostNetwork,
) -> SysResult<Vec<String>> {
    shared.join(THING, machine)?;
    let mut changes: Vec<Change> = serde_json::from_slice(&shared.read(CHANGED)?).unwrap_or_default();
    let before = changes.len();
    let uplinks: Vec<&str> = host.uplinks().map(|link| link.name.as_str()).collect();
    let mut failed = Vec::new();
    let wanted = wanted(&uplinks, Ipv6::of_kernel());
    for wanted in &wanted {
        let now = read(&wanted.path);
        let Some(now) = now.filter(|now| now != wanted.value && wanted.from.is_none_or(|from| now == from))
        else {
            continue;
        };
        changes.push(Change { path: wanted.path.clone(), before: now, set: wanted.value.to_owned() });
    }
    if changes.len() > before {
        // Before it is done, as all that is made.
        shared.write(CHANGED, &serde_json::to_vec(&changes).unwrap_or_default())?;
    }
    let changed =
        changes.get(before..).unwrap_or_default().iter().map(|change| (&change.path, change.set.as_str()));
    let of_own = own.iter().flat_map(|name| own_switches(name));
    for (path, value) in changed.map(|(path, value)| (path.clone(), value)).chain(of_own) {
        match write(&path, value) {
            // An interface that went meanwhile, or a kernel without IPv6.
            Err(error) if error.errno() == Errno::NOENT => {}
            Err(_) => failed.push(path.replace('/', ".")),
            Ok(()) => {}
        }
    }
    Ok(failed)
}

/// `machine` needs nothing let through any more; after the last all is as it was, but for what somebody else has set since.
pub(super) fn leave(shared: &Shared, machine: &str) -> SysResult<()> {
    if !shared.leave(THING, machine)? {
        return Ok(());
    }
    let changes: Vec<Change> = serde_json::from_slice(&shared.read(CHANGED)?).unwrap_or_default();
    for change in changes.iter().rev() {
        if read(&change.path).is_some_and(|now| now == change.set) {
            match write(&change.path, &change.before) {
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

fn wanted(uplinks: &[&str], ipv6: Ipv6) -> Vec<Wanted> {
    let always = |path: String, value| Wanted { path, value, from: None };
    let mut wanted: Vec<Wanted> =
        uplinks.iter().map(|name| always(format!("ipv4/conf/{name}/forwarding"), "1")).collect();
    match ipv6 {
        Ipv6::None => {}
        Ipv6::EachInterface => {
            wanted
                .extend(uplinks.iter().map(|name| always(format!("ipv6/conf/{name}/force_forwarding"), "1")));
        }
        Ipv6::Global => {
            wanted.extend(uplinks.iter().map(|name| Wanted {
                path: format!("ipv6/conf/{name}/accept_ra"),
                value: "2",
                from: Some("1"),
            }));
            wanted.push(always(ALL6.to_owned(), "1"));
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches() {
        let lines = |uplinks: &[&str], ipv6| -> Vec<String> {
            let line = |wanted: Wanted| match wanted.from {
                Some(from) => format!("{} {from}->{}", wanted.path, wanted.value),
                None => format!("{} {}", wanted.path, wanted.value),
            };
            wanted(uplinks, ipv6).into_iter().map(line).collect()
        };
        let table: [(&[&str], Ipv6, &[&str]); 4] = [
            (&[], Ipv6::EachInterface, &[]),
            (&["eth0"], Ipv6::None, &["ipv4/conf/eth0/forwarding 1"]),
            (
                &["eth0", "wg.0"],
                Ipv6::EachInterface,
                &[
                    "ipv4/conf/eth0/forwarding 1",
                    "ipv4/conf/wg.0/forwarding 1",
                    "ipv6/conf/eth0/force_forwarding 1",
                    "ipv6/conf/wg.0/force_forwarding 1",
                ],
            ),
            (
                &["eth0"],
                Ipv6::Global,
                &[
                    "ipv4/conf/eth0/forwarding 1",
                    "ipv6/conf/eth0/accept_ra 1->2",
                    "ipv6/conf/all/forwarding 1",
                ],
            ),
        ];
        for (uplinks, ipv6, expected) in table {
            assert_eq!(lines(uplinks, ipv6), expected, "{uplinks:?} {ipv6:?}");
        }
    }
}
