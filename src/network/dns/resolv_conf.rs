//! `resolv.conf` (resolv.conf(5)): which servers the host asks, and how patiently.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Servers that are asked, at most. glibc asks three (MAXNS); more would only be waited for.
pub const MOST_SERVERS: usize = 8;

/// The port of name servers.
const PORT: u16 = 53;

/// What it says that concerns us. What it says of `search` and `ndots` is for who asks: the guest has its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// In their order.
    pub servers: Vec<SocketAddr>,
    /// How long one is waited for.
    pub timeout: Duration,
    /// How often each is asked.
    pub attempts: u32,
    /// They are asked in turn.
    pub rotate: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: Duration::from_secs(5), attempts: 2, rotate: false }
    }
}

impl ResolvConf {
    /// Of servers that somebody has named.
    pub fn of_servers(servers: &[IpAddr]) -> Self {
        let servers = servers.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
        Self { servers, ..Self::default() }
    }

    /// Reads the file's text; `index` knows interfaces, for scopes of link-local addresses. What is not understood is passed over, as
    /// glibc does.
    pub fn parse(text: &str, index: impl Fn(&str) -> Option<u32>) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| server(word, &index));
                    if conf.servers.len() < MOST_SERVERS {
                        conf.servers.extend(server);
                    }
                }
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            // A file without any, or none at all, means one on this host (resolv.conf(5)).
            conf.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        conf
    }

    /// glibc's limits (RES_MAXRETRANS and RES_MAXRETRY of resolv.h).
    fn option(&mut self, option: &str) {
        let number = |text: &str| text.parse::<u64>().ok();
        match option.split_once(':') {
            Some(("timeout", text)) => {
                let seconds = number(text).map(|seconds| seconds.clamp(1, 30));
                self.timeout = seconds.map_or(self.timeout, Duration::from_secs);
            }
            Some(("attempts", text)) => {
                let attempts = number(text).and_then(|attempts| u32::try_from(attempts.clamp(1, 5)).ok());
                self.attempts = attempts.unwrap_or(self.attempts);
            }
            None if option == "rotate" => self.rotate = true,
            _ => {}
        }
    }
}

fn server(word: &str, index: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, PORT));
    }
    let (address, scope) = word.split_once('%')?;
    let scope = scope.parse().ok().or_else(|| index(scope))?;
    Some(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, PORT, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let index = |name: &str| (name == "eth0").then_some(2);
        let read = |text: &str| {
            let conf = ResolvConf::parse(text, index);
            let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
            (servers.join(" "), conf.timeout.as_secs(), conf.attempts, conf.rotate)
        };
        let of = |servers: &str, timeout, attempts, rotate| (servers.to_owned(), timeout, attempts, rotate);
        let table = [
            ("", of("127.0.0.1:53", 5, 2, false)),
            ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n", of("127.0.0.53:53", 5, 2, false)),
            (
                "# x\n; y\nnameserver 192.0.2.1 # a\n  nameserver\t2001:db8::1\nnameserver 192.0.2.3",
                of("192.0.2.1:53 [2001:db8::1]:53 192.0.2.3:53", 5, 2, false),
            ),
            (
                "nameserver fe80::1%eth0\nnameserver fe80::2%7",
                of("[fe80::1%2]:53 [fe80::2%7]:53", 5, 2, false),
            ),
            (
                "nameserver fe80::1%none\nnameserver\nnameserver x\nnameserverx 192.0.2.1",
                of("127.0.0.1:53", 5, 2, false),
            ),
            ("options timeout:1 attempts:3 rotate", of("127.0.0.1:53", 1, 3, true)),
            ("options timeout:0 attempts:99", of("127.0.0.1:53", 1, 5, false)),
            ("options timeout:x attempts: rotate:1", of("127.0.0.1:53", 5, 2, false)),
            ("options timeout:99999999999999999999", of("127.0.0.1:53", 5, 2, false)),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert_eq!(ResolvConf::parse(&"nameserver 192.0.2.1\n".repeat(20), index).servers.len(), 8);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: String) {
            let _ = ResolvConf::parse(&format!("nameserver {text}\noptions {text}"), |_| Some(1));
        }
    }
}
