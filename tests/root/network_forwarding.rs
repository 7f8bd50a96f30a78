//! Packets of machines are forwarded, by interfaces that come later too, and nobody else's are: a host that was no router does not
//! become one.

use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spinney::network::link::forwarding::changes::ForwardingChanges;

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_host::{network, on_own_host, shell};
use crate::network_zone::pings;

pub fn tests() -> Vec<Test> {
    let single: [Row; 3] = [("no_router", no_router), ("later", later), ("kept", kept)];
    single.map(|(name, test)| Test::new(format!("network_forwarding::{name}"), test)).into()
}

/// A machine in a zone, on the host of the thread.
fn stays(context: &Context) -> Result<Machine, Stop> {
    let name = context.machine_name();
    let options = ["--network-zone=forward"];
    let mut machine = Machine::start_as(context, &name, &context.tree("busybox")?, &options, &[]);
    machine.ready()?;
    Ok(machine)
}

fn reaches(machine: &Machine, to: &str) -> Result<bool, String> {
    Ok(machine.shell(&format!("ping -c 1 -w 5 {to}"))?.status == 0)
}

/// The values of switches below /proc/sys/net of the thread's host.
fn values(paths: &[&str]) -> Result<String, String> {
    let paths: Vec<String> = paths.iter().map(|path| format!("/proc/sys/net/{path}")).collect();
    Ok(shell(&format!("cat {} | tr '\\n' ' '", paths.join(" ")))?.trim().to_owned())
}

/// Waits, as the kernel tells of changes from `changes` on, until they are these.
fn until(changes: &ForwardingChanges, paths: &[&str], expected: &str) -> TestResult {
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    while values(paths)? != expected {
        if poll(&mut [PollFd::new(changes, PollFlags::IN)], Some(&patience))? == 0 {
            return Err(Stop::Fail(format!("{paths:?}: {} for {expected}", values(paths)?)));
        }
        changes.any();
    }
    Ok(())
}

/// Hosts of two networks that this one is on reach each other by it if it is a router, and not for our machines' sake.
fn no_router(context: &Context) -> TestResult {
    on_own_host(|| {
        let lan = network("lan0", "192.0.2", "2001:db8:1")?;
        let dmz = network("dmz0", "198.51.100", "2001:db8:2")?;
        for (host, us4, us6) in
            [(&lan, "192.0.2.1", "2001:db8:1::1"), (&dmz, "198.51.100.1", "2001:db8:2::1")]
        {
            host.script(&format!("ip route add default via {us4}; ip -6 route add default via {us6}"))?;
        }
        let other_way = ["198.51.100.2", "2001:db8:2::2"];
        let through = |seconds: &str| other_way.map(|to| pings(&lan, to, seconds));
        let reset = values(&["ipv4/conf/lan0/forwarding", "ipv4/conf/dmz0/forwarding"])?;
        assert_eq!((through("0.4"), reset.as_str()), ([false; 2], "0 0"));
        let machine = stays(context)?;
        for to in ["192.0.2.2", "2001:db8:1::2", "198.51.100.2", "2001:db8:2::2"] {
            assert!(reaches(&machine, to)?, "{to}");
        }
        assert_eq!(through("0.4"), [false; 2], "the host is a router");
        // The control: what was dropped comes through where it is not. Nobody mends it meanwhile.
        let changes = spinney::network::nft::socket::Changes::follow()?;
        machine.signal(libc::SIGSTOP);
        shell(
            "nft delete element inet spinney opened4 '{ \"lan0\" }'; nft delete element inet spinney opened6 '{ \"lan0\" }'",
        )?;
        let passed = through("3");
        // It is mended, as all that is ours.
        machine.signal(libc::SIGCONT);
        while !spinney::network::rules::in_force()? {
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert!(poll(&mut [PollFd::new(&changes, PollFlags::IN)], Some(&patience))? > 0);
            changes.any();
        }
        assert_eq!((passed, through("0.4")), ([true; 2], [false; 2]));
        // Somebody who wants a router has one.
        shell("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")?;
        assert_eq!(through("5"), [true; 2]);
        assert!(reaches(&machine, "192.0.2.2")?);
        machine.stop()?;
        assert_eq!(through("3"), [true; 2]);
        Ok(())
    })
}

/// An uplink that comes while a machine runs leads on, and is put back with it.
fn later(context: &Context) -> TestResult {
    on_own_host(|| {
        let machine = stays(context)?;
        let changes = ForwardingChanges::follow()?;
        let wan = network("wan0", "192.0.2", "2001:db8:1")?;
        let each_has_one = std::path::Path::new("/proc/sys/net/ipv6/conf/all/force_forwarding").exists();
        let of_ipv6 =
            if each_has_one { "ipv6/conf/wan0/force_forwarding" } else { "ipv6/conf/all/forwarding" };
        let switches = ["ipv4/conf/wan0/forwarding", of_ipv6];
        until(&changes, &switches, "1 1")?;
        assert!(reaches(&machine, "192.0.2.2")? && reaches(&machine, "2001:db8:1::2")?);
        let dmz = network("dmz0", "198.51.100", "2001:db8:2")?;
        until(&changes, &["ipv4/conf/dmz0/forwarding"], "1")?;
        wan.script("ip route add default via 192.0.2.1")?;
        dmz.script("ip route add default via 198.51.100.1")?;
        assert!(!pings(&wan, "198.51.100.2", "0.4"), "it is a router for others too");
        machine.stop()?;
        run(context.spinney().arg("gc").stdin(Stdio::null())).ok()?;
        assert_eq!(values(&switches)?, "0 0");
        Ok(())
    })
}

/// Docker comes while a machine runs, and its forwarding is not switched off with ours.
fn kept(context: &Context) -> TestResult {
    on_own_host(|| {
        let _lan = network("lan0", "192.0.2", "2001:db8:1")?;
        let switches = ["ipv4/ip_forward", "ipv4/conf/lan0/forwarding"];
        let machine = stays(context)?;
        assert_eq!(values(&switches)?, "0 1");
        shell("echo 1 >/proc/sys/net/ipv4/ip_forward")?;
        machine.signal(libc::SIGKILL);
        drop(machine);
        run(context.spinney().arg("gc").stdin(Stdio::null())).ok()?;
        assert_eq!(values(&switches)?, "1 1");
        Ok(())
    })
}
