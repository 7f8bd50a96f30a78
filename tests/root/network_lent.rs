//! Interfaces of the host that machines have for a while: each comes home as it went, whatever the machine did to it.

use std::process::Command;

use serde_json::Value;

use crate::command::{PATIENCE, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::{HostLinks, KILLED, end, ip, once, stays};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("through_a_reboot", through_a_reboot),
        ("as_it_was", as_it_was),
        ("killed", killed),
        ("killed_and_found", killed_and_found),
    ];
    rows.map(|(name, test)| Test::new(format!("network_lent::{name}"), test)).into()
}

/// A pair of the host's, of which `t-lent` is to be lent.
fn pair() -> Result<HostLinks, Stop> {
    HostLinks::add(&["t-lent", "t-far"], &["t-lent", "type", "veth", "peer", "name", "t-far"])
}

/// What ip(8) shows of `t-lent`: all that can be set, as JSON.
fn shown() -> Result<Value, Stop> {
    let all: Value = serde_json::from_str(&ip(&["-j", "-d", "link", "show", "t-lent"])?)?;
    let link = all.get(0).ok_or("no link")?;
    let mut flags: Vec<&str> =
        link["flags"].as_array().ok_or("no flags")?.iter().filter_map(Value::as_str).collect();
    // What is known of the other end takes its time.
    flags.retain(|flag| !["LOWER_UP", "NO-CARRIER"].contains(flag));
    let fields =
        ["ifname", "mtu", "group", "address", "ifalias", "altnames", "txqlen", "master", "promiscuity"];
    let mut shown: Value = fields.iter().map(|field| ((*field).to_owned(), link[*field].clone())).collect();
    shown["flags"] = flags.into();
    Ok(shown)
}

fn through_a_reboot(context: &Context) -> TestResult {
    let _pair = pair()?;
    let before = shown()?;
    let mac = before["address"].as_str().ok_or("no MAC")?;
    let name = context.machine_name();
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start_as(context, &name, &tree, &["--network-interface=t-lent:wan"], &[]);
    machine.ready()?;
    assert!(machine.says("ip -o link show wan")?.contains(mac));
    assert!(!ip(&["link"])?.contains("t-lent"));
    machine.says("ip link set wan down; ip link set wan mtu 1300 name other")?;
    let leader = machine.state()?.leader;
    let _ = run(context.spinney().args(["reboot", &name]));
    let deadline = std::time::Instant::now() + PATIENCE;
    while machine.state().is_ok_and(|state| state.leader == leader || state.ready_at.is_none()) {
        assert!(std::time::Instant::now() < deadline, "{}", machine.output());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let again = machine.says("ip -o link show wan")?;
    assert!(again.contains(mac) && again.contains("mtu 1500"), "{again}");
    machine.stop()?;
    assert_eq!(shown()?, before);
    // A machine that fails to start gives it back too.
    let failed = once(context, &["--network-interface=t-lent", "--network-ipvlan=t-far"], "true")?;
    if failed.status != 0 {
        assert_eq!(shown()?, before);
    }
    Ok(())
}

fn as_it_was(context: &Context) -> TestResult {
    let _pair = pair()?;
    let set = "t-lent mtu 1400 group 7 alias home address 02:00:00:00:00:07 txqueuelen 77";
    ip(&[&["link", "set"], set.split(' ').collect::<Vec<_>>().as_slice()].concat())?;
    ip(&["link", "property", "add", "dev", "t-lent", "altname", "t-lent-by-another-name"])?;
    for up in ["up", "down"] {
        ip(&["link", "set", "t-lent", up])?;
        let before = shown()?;
        let machine = stays(context, &["--network-interface=t-lent:wan"])?;
        machine
            .says("ip link set wan down; ip link set wan address 02:00:00:00:00:99; ip link set wan up")?;
        machine
            .says("ip addr add 192.0.2.5/24 dev wan; ip link set wan promisc on; ip link set wan mtu 1300")?;
        // With a tool that can do more: a name that another link has at home, and marks of a link of ours.
        let leader = machine.state()?.leader.to_string();
        let forged = format!("spinney {}", machine.name);
        for change in [
            &["link", "property", "add", "dev", "wan", "altname", "t-far"][..],
            &["link", "property", "del", "dev", "wan", "altname", "t-lent-by-another-name"],
            &["link", "set", "wan", "group", "1397770574", "alias", &forged, "txqueuelen", "5"],
            &["link", "add", "name", "br0", "type", "bridge"],
            &["link", "set", "wan", "master", "br0"],
        ] {
            let inside = [&["-t", &leader, "-n", "ip"], change].concat();
            run(Command::new("nsenter").args(inside)).ok()?;
        }
        end(machine)?;
        assert_eq!(shown()?, before, "{up}");
        assert!(!ip(&["addr", "show", "t-lent"])?.contains("192.0.2.5"));
    }
    Ok(())
}

/// An interface of software goes with a supervisor that is killed; what is left of it is no trouble to anyone.
fn killed(context: &Context) -> TestResult {
    let _pair = pair()?;
    let mut machine = stays(context, &["--network-interface=t-lent"])?;
    machine.signal(libc::SIGKILL);
    assert_eq!(machine.wait()?, KILLED);
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    Ok(())
}

/// One of hardware falls back to the host by itself, as the machine has left it: here another of the same address stands for it.
fn killed_and_found(context: &Context) -> TestResult {
    let _pair = pair()?;
    ip(&["link", "set", "t-lent", "mtu", "1400", "group", "7", "address", "02:00:00:00:00:07"])?;
    let before = shown()?;
    let mut machine = stays(context, &["--network-interface=t-lent:wan"])?;
    machine.signal(libc::SIGKILL);
    assert_eq!(machine.wait()?, KILLED);
    crate::network_links::soon(|| Ok(!ip(&["link"])?.contains("t-far")), "the pair stays")?;
    let _fallen = HostLinks::add(&["dev7"], &["dev7", "address", "02:00:00:00:00:07", "type", "bridge"])?;
    ip(&["link", "set", "dev7", "down", "mtu", "1300"])?;
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    let after = shown()?;
    ip(&["link", "del", "t-lent"])?;
    for field in ["ifname", "mtu", "group", "address", "flags"] {
        assert_eq!(after[field], before[field], "{field}: {after}");
    }
    Ok(())
}
