//! The addresses of hosts.
//!
//! `make build` links statically, and glibc's resolver would load the modules of nsswitch.conf(5) into such a program: those of
//! another version of glibc end it. So it looks into /etc/hosts and asks DNS by itself; a name that neither knows, as one of mDNS
//! or NIS, is looked up by the host's own getent(1).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::sys::names::use_own_modules_for_hosts;

/// Looks names up.
#[derive(Debug)]
pub(super) struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || look_up(name.as_str())).await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    static LINKED_STATICALLY: OnceLock<bool> = OnceLock::new();
    let is_static = *LINKED_STATICALLY.get_or_init(use_own_modules_for_hosts);
    let error = match (name, 0).to_socket_addrs() {
        Ok(found) if found.len() > 0 => return Ok(found.collect()),
        Ok(_) => io::Error::other("it has no address"),
        Err(error) => error,
    };
    let mut others = if is_static { by_getent(name) } else { Vec::new() };
    if others.is_empty() && is_localhost(name) {
        others = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    }
    match others.is_empty() {
        true => Err(error),
        false => Ok(others.into_iter().map(|address| SocketAddr::new(address, 0)).collect()),
    }
}

/// What needs nobody to know it (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

/// By all means that the host has.
fn by_getent(name: &str) -> Vec<IpAddr> {
    let output = Command::new("getent")
        .args(["--", "ahosts", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.map(|output| addresses(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

/// The addresses in what `getent ahosts` prints: each thrice, for each kind of socket.
fn addresses(text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for address in text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_getent() {
        let text = "::1             STREAM host\n::1             DGRAM\n::1             RAW\n192.0.2.1 STREAM\nnonsense\n\n";
        let expected: Vec<IpAddr> = vec!["::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        assert_eq!(addresses(text), expected);
        assert_eq!(addresses(""), Vec::<IpAddr>::new());
    }

    #[test]
    fn localhost() {
        for (name, expected) in
            [("localhost", true), ("a.localhost.", true), ("xlocalhost", false), ("localhost.example", false)]
        {
            assert_eq!(is_localhost(name), expected, "{name}");
        }
        assert!(look_up("a.localhost").unwrap().iter().all(|address| address.ip().is_loopback()));
    }
}
