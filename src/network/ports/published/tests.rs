//! Tests of the ports and offers of a machine.

use rustix::process::{WaitOptions, waitpid};

use super::proxies::PAUSE;
use super::*;
use crate::settings::network::Protocol;
use crate::sys::fork::fork_from_test;
use crate::sys::process::set_resource_limit;

#[test]
fn long_ranges_are_for_rules_that_take_them() {
    let range = |address: Option<&str>| PortMapping {
        protocol: Protocol::Tcp,
        address: address.map(|address| address.parse().unwrap()),
        host: 40_000,
        guest: 40_000,
        count: 600,
    };
    let rows = [
        (None, true, true),
        (None, false, false),
        (Some("192.0.2.1"), true, true),
        (Some("127.0.0.1"), true, true),
        (Some("192.0.2.1"), false, false),
        (Some("2001:db8::1"), true, false),
        (Some("::1"), true, false),
    ];
    for (address, by_rules, expected) in rows {
        let mut ports = Ports::hold("x", &NetworkPlan::default(), None, by_rules).unwrap();
        ports.guest = vec!["10.213.0.2".parse().unwrap()];
        assert_eq!(ports.rules_take(&range(address)), expected, "{address:?} {by_rules}");
        if !expected {
            let refused = ports.publish(range(address));
            assert!(matches!(refused, Err(PortsError::TooMany { .. })), "{refused:?}");
        }
    }
}

#[test]
fn a_proxy_that_cannot_be_started_is_waited_with() {
    let child = || {
        let file = || std::fs::File::open("/proc/self/ns/net");
        let (Ok(namespace), Ok(mut ports)) = (file(), Ports::hold("x", &NetworkPlan::default(), None, false))
        else {
            return 2;
        };
        let mapping = PortMapping { protocol: Protocol::Tcp, address: None, host: 0, guest: 1, count: 1 };
        if ports.publish(mapping).is_err() {
            return 3;
        }
        // The next is the namespace's, and there is none for a channel; other tests may have fds beyond it.
        let Ok(next) = file() else { return 4 };
        let number = u64::from(std::os::fd::AsRawFd::as_raw_fd(&next).unsigned_abs());
        drop(next);
        if set_resource_limit(libc::RLIMIT_NOFILE, number + 1, 4096).is_err() {
            return 5;
        }
        let before = Instant::now();
        ports.entered(namespace.as_fd());
        for _ in 0..1000 {
            ports.on_ready(Instant::now());
        }
        let waits = ports.deadline().is_some_and(|at| at >= before + PAUSE);
        let told = Service::warnings(&mut ports).len();
        i32::from(!(waits && told == 1 && ports.proxies().is_empty()))
    };
    let pid = fork_from_test(child).expect("fork");
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
    assert_eq!(status.exit_status(), Some(0));
}
