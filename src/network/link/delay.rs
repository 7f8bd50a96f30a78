//! Packets that are held back on purpose, so that others can test themselves (`--net-delay=`): netem at both ends of the machine's
//! pair (tc-netem(8)). What the host's end sends is what the machine receives; the machine's own end holds back what it sends, and
//! is root's in the machine, who may remove that half.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::network::plan::{LinkKind, NetworkPlan};
use crate::settings::network::InterfaceName;
use crate::sys::netlink::{CREATE, EXCLUSIVE, ROUTE, Requests, Socket, attribute};
use crate::sys::network::in_namespace;
use crate::sys::{SysError, SysResult};

use super::{LinkError, found};

/// Message kind and attributes (linux/rtnetlink.h).
const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;

/// TC_H_ROOT: what the interface sends (linux/pkt_sched.h).
const ROOT: u32 = u32::MAX;

/// Packets that are held at once; what comes beyond is dropped. tc's own 1000 would be a limit of throughput.
const LIMIT: u32 = 10_000;

/// Times of packet schedulers are counted in these (PSCHED_SHIFT, include/net/pkt_sched.h), so that 32 bits are 274 s: more than
/// [`crate::settings::network::parse_delay`] lets anybody want.
const TICK_NANOSECONDS: u64 = 64;

/// Has `host` and `guest` of each pair that leads somewhere hold back packets as `plan` says; `hosts` are the indices of the
/// host's ends.
///
/// # Errors
/// On kernels without netem.
pub(super) fn hold_back(
    socket: &mut Socket,
    plan: &NetworkPlan,
    hosts: &[u32],
    namespace: BorrowedFd<'_>,
) -> Result<(), LinkError> {
    let Some(microseconds) = plan.faults.delay else { return Ok(()) };
    for (link, index) in plan.links.iter().zip(hosts) {
        let (LinkKind::Veth | LinkKind::Bridge(_) | LinkKind::Zone(_), Some(host)) = (&link.kind, &link.host)
        else {
            continue;
        };
        let mut requests = Requests::default();
        netem(&mut requests, *index, host, microseconds);
        socket.carry_out(&requests).map_err(refused)?;
        let inside = || -> SysResult<()> {
            let mut socket = Socket::open(ROUTE)?;
            let mut requests = Requests::default();
            let index = found::expect(&mut socket, &link.guest)?.index;
            netem(&mut requests, index, &link.guest, microseconds);
            socket.carry_out(&requests).map(drop)
        };
        in_namespace(namespace, inside).and_then(|done| done).map_err(refused)?;
    }
    Ok(())
}

/// ENOENT is what the kernel says to kinds of schedulers that it has not.
fn refused(source: SysError) -> LinkError {
    match source.errno() {
        Errno::NOENT => LinkError::NoDelay { source },
        _ => LinkError::system("delay packets")(source),
    }
}

/// What the interface `index` sends is held back so long.
fn netem(to: &mut Requests, index: u32, name: &InterfaceName, microseconds: u64) {
    let ticks = microseconds.saturating_mul(1000) / TICK_NANOSECONDS;
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    // tcmsg: family and padding, index, handle, parent, info.
    let mut body: Vec<u8> = [0, index, 0, ROOT, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    attribute(&mut body, TCA_KIND, b"netem\0");
    // tc_netem_qopt: latency, limit; loss, gap, duplicates and jitter are none.
    let options: Vec<u8> = [ticks, LIMIT, 0, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    attribute(&mut body, TCA_OPTIONS, &options);
    to.push(RTM_NEWQDISC, CREATE | EXCLUSIVE, &body, format!("RTM_NEWQDISC {name} netem"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tc 6.1.0 sends for `tc qdisc add dev v0 root netem limit 10000 delay 12500us`, and with 5s, v0 being interface 3;
    /// but for the sequence number.
    #[test]
    #[cfg(target_endian = "little")]
    fn as_tc_says_it() {
        for (microseconds, latency) in
            [(12_500, [0xf0, 0xfa, 0x02, 0x00]), (5_000_000, [0xc8, 0x17, 0xa8, 0x04])]
        {
            let mut expected = vec![0x4c, 0, 0, 0, 0x24, 0, 0x05, 0x06];
            expected.extend([0; 8]);
            expected.extend([0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
            expected.extend([0x0a, 0, 1, 0, b'n', b'e', b't', b'e', b'm', 0, 0, 0]);
            expected.extend([0x1c, 0, 2, 0]);
            expected.extend(latency);
            expected.extend([0x10, 0x27, 0, 0]);
            expected.extend([0; 16]);
            let mut requests = Requests::default();
            netem(&mut requests, 3, &"v0".parse().unwrap(), microseconds);
            assert_eq!(requests.bytes(), expected, "{microseconds}");
            assert_eq!(requests.asked(0), "RTM_NEWQDISC v0 netem");
        }
    }
}
