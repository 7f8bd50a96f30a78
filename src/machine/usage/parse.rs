//! The kernel's counters as text.

use super::{Io, Network};

/// The number behind `name` in lines of a name and a number (cgroup-v2.rst, "flat keyed").
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// v1 has no word for "no limit": it is the most that its page counter holds, LONG_MAX in whole pages (page_counter.h).
pub(super) fn is_unlimited(limit: u64) -> bool {
    /// The largest page that a kernel is built for.
    const LARGEST_PAGE: u64 = 256 << 10;
    limit > (u64::MAX >> 1) - LARGEST_PAGE
}

/// An io.stat text (cgroup-v2.rst): `254:0 rbytes=1 wbytes=2 ...`, a disk a line.
pub(super) fn io(text: &str) -> Io {
    let mut io = Io::default();
    for word in text.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        let value: u64 = value.parse().unwrap_or(0);
        match key {
            "rbytes" => io.read_bytes = io.read_bytes.saturating_add(value),
            "wbytes" => io.written_bytes = io.written_bytes.saturating_add(value),
            _ => {}
        }
    }
    io
}

/// A blkio text (blkio-controller.rst): `254:0 Read 1`, an operation a line, and a total at the end.
pub(super) fn legacy_io(text: &str) -> Io {
    let mut io = Io::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(operation), Some(value)) = (words.next(), words.next()) else { continue };
        let value: u64 = value.parse().unwrap_or(0);
        match operation {
            "Read" => io.read_bytes = io.read_bytes.saturating_add(value),
            "Write" => io.written_bytes = io.written_bytes.saturating_add(value),
            _ => {}
        }
    }
    io
}

/// A /proc/PID/net/dev text (proc_pid_net(5)): after the colon 8 numbers of what came in, then 8 of what went out.
pub(super) fn network(text: &str) -> Network {
    let mut network = Network::default();
    for line in text.lines() {
        let Some((interface, numbers)) = line.split_once(':') else { continue };
        if interface.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> =
            numbers.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
        let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let add = |sum: &mut u64, index| *sum = sum.saturating_add(number(index));
        add(&mut network.received_bytes, 0);
        add(&mut network.received_packets, 1);
        add(&mut network.sent_bytes, 8);
        add(&mut network.sent_packets, 9);
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n";
        for (name, expected) in [("usage_usec", Some(1234)), ("system_usec", Some(234)), ("usage", None)] {
            assert_eq!(field(text, name), expected, "{name}");
        }
        assert!(is_unlimited(9_223_372_036_854_771_712) && !is_unlimited(1 << 40));
    }

    #[test]
    fn disks() {
        let v2 =
            "254:0 rbytes=100 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\n7:0 rbytes=1 wbytes=2 rios=1 wios=1\n";
        assert_eq!(io(v2), Io { read_bytes: 101, written_bytes: 22 });
        let v1 = "254:0 Read 100\n254:0 Write 20\n254:0 Sync 110\n254:0 Async 10\n254:0 Discard 0\n254:0 Total 120\n\
                  7:0 Read 1\n7:0 Write 2\n7:0 Total 3\nTotal 123\n";
        assert_eq!(legacy_io(v1), Io { read_bytes: 101, written_bytes: 22 });
        for text in ["", "254:0\n", "x=y z", "254:0 rbytes=99999999999999999999"] {
            assert_eq!((io(text), legacy_io(text)), (Io::default(), Io::default()), "{text}");
        }
    }

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
                    colls carrier compressed\n    lo:     840      10    0    0    0     0          0         0      840 \
                    10    0    0    0     0       0          0\n  eth0:    1500      12    0    0    0     0          0 \
                    0      700       8    0    0    0     0       0          0\nveth1:1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n";
        let expected =
            Network { received_bytes: 1501, received_packets: 14, sent_bytes: 703, sent_packets: 12 };
        assert_eq!(network(text), expected);
        assert_eq!(network("eth0: 1\n"), Network { received_bytes: 1, ..Network::default() });
    }
}
