//! The addresses of a machine that has a network of its own, as the kernel lists them for its leader in /proc/PID/net
//! (proc_pid_net(5)). Needs no privileges and enters nothing: these files are the kernel's, not the guest's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::fs::CWD;

use crate::sys::files::read_at;
use crate::sys::network::is_shared_with;

/// A guest can have as many routes and addresses as it likes; who looks at it reads so much of them.
const LIMIT: usize = 256 << 10;

/// `scope` of an address in if_inet6 that the loopback has (IPV6_ADDR_LOOPBACK, include/net/ipv6.h).
const SCOPE_HOST: u8 = 0x10;
/// That of a link-local one.
const SCOPE_LINK: u8 = 0x20;

/// Addresses of the network namespace of process `leader`, IPv4 first, without loopback ones, link-local ones last;
/// none where it is our own, which is the host's.
pub fn of(leader: i32) -> Vec<IpAddr> {
    if is_shared_with(leader) != Some(false) {
        return Vec::new();
    }
    listed(&leader.to_string())
}

/// The same of the host itself.
pub fn of_host() -> Vec<IpAddr> {
    listed("self")
}

fn listed(process: &str) -> Vec<IpAddr> {
    let read = |file: &str| {
        let data = read_at(CWD, format!("/proc/{process}/net/{file}"), LIMIT).unwrap_or_default();
        String::from_utf8_lossy(&data).into_owned()
    };
    let mut addresses: Vec<IpAddr> = local_ipv4(&read("fib_trie")).into_iter().map(IpAddr::V4).collect();
    addresses.extend(ipv6(&read("if_inet6")).into_iter().map(IpAddr::V6));
    addresses
}

/// The local addresses in a `fib_trie` text. A leaf is `|-- ADDRESS`, and the lines below it say what routes it has:
/// `/32 host LOCAL` is an address of the namespace.
fn local_ipv4(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in text.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim_end().parse::<Ipv4Addr>().ok();
        } else if line.trim_end() == "/32 host LOCAL" {
            found.extend(leaf.filter(|address| !address.is_loopback()));
        }
    }
    found
}

/// The addresses in an `if_inet6` text: address, interface number, prefix length, scope, flags, interface. Link-local ones
/// come last.
fn ipv6(text: &str) -> Vec<Ipv6Addr> {
    let mut found: Vec<(bool, Ipv6Addr)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let address = u128::from_str_radix(fields.next()?, 16).ok()?;
            let scope = u8::from_str_radix(fields.nth(2)?, 16).ok()?;
            (scope != SCOPE_HOST).then(|| (scope == SCOPE_LINK, Ipv6Addr::from_bits(address)))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, address)| address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 192.168.7.0/24 2 0 2
        |-- 192.168.7.0
           /24 link UNICAST
        |-- 192.168.7.23
           /32 host LOCAL
        |-- 192.168.7.255
           /32 link BROADCAST
Local:
     |-- 192.168.7.23
        /32 host LOCAL
     |-- 10.0.0.9
        /32 host LOCAL
     |-- 300.0.0.9
        /32 host LOCAL
";

    #[test]
    fn ipv4_addresses() {
        for (text, expected) in [
            (FIB_TRIE, vec![Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(192, 168, 7, 23)]),
            ("", vec![]),
            ("/32 host LOCAL\n", vec![]),
        ] {
            assert_eq!(local_ipv4(text).into_iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn ipv6_addresses() {
        let text = "\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000005054000000000001 02 40 20 80     eth0
20010db8000000000000000000000007 02 40 00 80     eth0
broken
20010db8 02
";
        let addresses: Vec<String> = ipv6(text).iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["2001:db8::7", "fe80::5054:0:0:1"]);
    }

    #[test]
    fn our_own_network_is_not_a_machines() {
        assert_eq!(of(i32::try_from(std::process::id()).unwrap()), Vec::<IpAddr>::new());
    }
}
