//! Links of machines: each kind, with its names, MAC and IP addresses; that machines, their siblings and the host reach each other
//! from the first instruction on; and that nothing of it is left, however the machine ends.
//!
//! The host is the network namespace of the tests (`own_host`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use spinney::network::state::NetworkState;

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::host_state::HostState;
use crate::machine::Machine;

/// Points at which only a supervisor of a machine with links can be killed.
const POINTS: [&str; 7] =
    ["network-noted", "network-prepared", "links", "rules", "services", "teardown-rules", "teardown-network"];

/// Exit status of what SIGKILL has ended.
const KILLED: i32 = 128 + 9;

const HUNDRED: usize = 100;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 13] = [
        ("zone", zone),
        ("pair", pair),
        ("bridge", bridge),
        ("macvlan", macvlan),
        ("ipvlan", ipvlan),
        ("extra", extra),
        ("lent", lent),
        ("lent_and_killed", lent_and_killed),
        ("namespace_path", namespace_path),
        ("refusals", refusals),
        ("reboot", reboot),
        ("forwarding", forwarding),
        ("hundred", hundred),
    ];
    let points = POINTS.map(|point| {
        Test::new(format!("network_links::killed::{point}"), move |context| killed_at(context, point))
    });
    rows.map(|(name, test)| Test::new(format!("network_links::{name}"), test))
        .into_iter()
        .chain(points)
        .collect()
}

/// ip(8) on the host; what it makes goes with this.
struct HostLinks(Vec<&'static str>);

impl HostLinks {
    fn add(names: &[&'static str], arguments: &[&str]) -> Result<Self, Stop> {
        ip(&[&["link", "add", "name"], arguments].concat())?;
        for name in names {
            ip(&["link", "set", name, "up"])?;
        }
        Ok(Self(names.to_vec()))
    }
}

impl Drop for HostLinks {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = run(Command::new("ip").args(["link", "del", name]));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String, Stop> {
    Ok(run(Command::new("ip").args(arguments)).ok()?)
}

/// The network of `machine` as its supervisor tells it.
fn told(name: &str) -> Result<NetworkState, Stop> {
    let text = fs::read_to_string(format!("/run/spinney/machines/{name}/network"))?;
    Ok(serde_json::from_str(&text)?)
}

/// A machine that stays: a command in the busybox tree.
fn stays(context: &Context, options: &[&str]) -> Result<Machine, Stop> {
    let name = context.machine_name();
    let mut machine =
        Machine::start_as(context, &name, &context.tree("busybox")?, options, &["--", "sleep", "1000"]);
    machine.ready()?;
    Ok(machine)
}

/// Runs `script` as a machine's only command.
fn once(context: &Context, options: &[&str], script: &str) -> Result<Ended, Stop> {
    let mut command = context.spinney();
    command.args(["run", "-q", "-x", "-M", &context.machine_name()]).args(options);
    command.arg(context.tree("busybox")?).args(["--", "sh", "-c", script]);
    Ok(run(&mut command))
}

/// Ends a machine whose command is none that would power it off.
fn end(mut machine: Machine) -> TestResult {
    machine.signal(libc::SIGTERM);
    assert_eq!(machine.wait()?, 128 + libc::SIGTERM, "{}", machine.output());
    Ok(())
}

/// What a command has of the host's network goes behind its back.
fn soon(is_so: impl Fn() -> Result<bool, Stop>, else_what: &str) -> TestResult {
    let deadline = std::time::Instant::now() + crate::command::PATIENCE;
    while !is_so()? {
        assert!(std::time::Instant::now() < deadline, "{else_what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

/// What `ping` says, by `from` or else by the host.
fn ping(from: Option<&Machine>, to: &str) -> TestResult {
    match from {
        Some(machine) => machine.says(&format!("ping -c1 -W2 {to}")).map(drop)?,
        None => run(Command::new("ping").args(["-c1", "-W2", to])).ok().map(drop)?,
    }
    Ok(())
}

/// IPv4 and IPv6 address of a machine's only interface that has some.
fn addresses(name: &str) -> Result<[String; 2], Stop> {
    let state = told(name)?;
    let (_, addresses) = state.plan.main().ok_or("no addresses")?;
    let v4 = addresses.v4.ok_or("no IPv4")?.address.to_string();
    Ok([v4, addresses.v6.ok_or("no IPv6")?.address.to_string()])
}

fn zone(context: &Context) -> TestResult {
    // The first instruction finds it all there, as a machine without a user namespace does.
    for options in [&["--network-zone=lab"] as &[&str], &["--network-zone=lab", "--private-users=no"]] {
        let script = "ip -o addr show host0; ip route; ip -6 route; \
                      ping -c1 -W2 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') >/dev/null && echo reached";
        let first = once(context, options, script)?;
        assert_eq!(first.status, 0, "{first:#?}");
        for expected in
            ["inet 10.213.", "inet6 fd", "inet6 fe80:", "default via 10.213.", "default via fd", "reached\n"]
        {
            assert!(first.stdout.contains(expected), "{expected}: {first:#?}");
        }
        assert!(!first.stdout.contains("tentative"), "{first:#?}");
    }
    let (one, two) = (stays(context, &["--network-zone=lab"])?, stays(context, &["--network-zone=lab"])?);
    let plan = told(&one.name)?.plan;
    let link = plan.links.first().ok_or("no link")?;
    let host = link.host.as_ref().ok_or("no host's end")?.as_str();
    assert!(host.starts_with("vb-"), "{host}");
    let shown = ip(&["-d", "link", "show", host])?;
    assert!(shown.contains("master vz-lab") && shown.contains("state forwarding"), "{shown}");
    assert!(shown.contains(&link.host_mac.ok_or("no MAC")?.to_string()), "{shown}");
    if let Some(whole) = &link.host_alternative {
        assert!(shown.contains(&format!("altname {whole}")), "{shown}");
    }
    let inside = one.says("cat /sys/class/net/host0/address")?;
    assert_eq!(inside.trim(), link.mac.ok_or("no MAC")?.to_string());
    let (ours, theirs) = (addresses(&one.name)?, addresses(&two.name)?);
    assert!(ours != theirs);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        ping(Some(&one), theirs)?;
        ping(Some(&two), ours)?;
        ping(None, ours)?;
    }
    end(one)?;
    // The bridge goes with the last one only.
    ping(None, &theirs[0])?;
    end(two)?;
    soon(|| Ok(!ip(&["link"])?.contains("vz-lab")), "the bridge stays")
}

fn pair(context: &Context) -> TestResult {
    let machine = stays(context, &["-n"])?;
    let plan = told(&machine.name)?.plan;
    let host = plan.links.first().and_then(|link| link.host.as_ref()).ok_or("no host's end")?.to_string();
    assert!(host.starts_with("ve-"), "{host}");
    for address in addresses(&machine.name)? {
        ping(None, &address)?;
    }
    let gateway = machine.says("ip route")?;
    assert!(gateway.starts_with("default via 10.213."), "{gateway}");
    let router = gateway.split(' ').nth(2).ok_or("no gateway")?.to_owned();
    ping(Some(&machine), &router)?;
    // A process of its own finds the same in it.
    let seen = run(context.spinney().args(["exec", &machine.name, "--", "ip", "route"]));
    assert_eq!(seen.stdout.trim(), gateway.trim(), "{seen:#?}");
    end(machine)?;
    Ok(())
}

fn bridge(context: &Context) -> TestResult {
    let _bridge = HostLinks::add(&["br-t"], &["br-t", "type", "bridge", "forward_delay", "0"])?;
    ip(&["addr", "add", "192.0.2.1/24", "dev", "br-t"])?;
    let machine = stays(context, &["--network-bridge=br-t", "--ip=192.0.2.7/24", "--gateway=192.0.2.1"])?;
    ping(Some(&machine), "192.0.2.1")?;
    ping(None, "192.0.2.7")?;
    assert!(machine.says("ip route")?.starts_with("default via 192.0.2.1 dev host0"));
    end(machine)?;
    assert!(ip(&["link", "show", "br-t"])?.contains("UP"));
    Ok(())
}

fn macvlan(context: &Context) -> TestResult {
    let _pair = HostLinks::add(&["t-up", "t-far"], &["t-up", "type", "veth", "peer", "name", "t-far"])?;
    ip(&["addr", "add", "192.0.2.1/24", "dev", "t-far"])?;
    let machine = stays(context, &["--network-macvlan=t-up", "--ip=192.0.2.9/24"])?;
    ping(Some(&machine), "192.0.2.1")?;
    let shown = machine.says("ip -o link show mv-t-up")?;
    let link = told(&machine.name)?.plan.links.remove(0);
    assert!(shown.contains(&link.mac.ok_or("no MAC")?.to_string()), "{shown}");
    end(machine)?;
    Ok(())
}

/// Where the kernel has none of them, it says so.
fn ipvlan(context: &Context) -> TestResult {
    let _pair = HostLinks::add(&["t-up", "t-far"], &["t-up", "type", "veth", "peer", "name", "t-far"])?;
    let ended = once(context, &["--network-ipvlan=t-up"], "ip -o link show iv-t-up")?;
    if run(Command::new("ip").args(["link", "add", "link", "t-up", "name", "t-iv", "type", "ipvlan"])).status
        == 0
    {
        assert_eq!(ended.status, 0, "{ended:#?}");
        return Ok(());
    }
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert!(
        ended.stderr.contains("spinney: error: this kernel has no ipvlan interfaces: rtnetlink("),
        "{ended:#?}"
    );
    assert!(ended.stderr.contains("\n  hint: --network-macvlan="), "{ended:#?}");
    Ok(())
}

fn extra(context: &Context) -> TestResult {
    let machine = stays(context, &["--network-veth-extra=t-x0:in0", "--network-veth-extra=t-x1"])?;
    let inside = machine.says("ls /sys/class/net")?;
    assert_eq!(inside.split_whitespace().collect::<Vec<_>>(), ["in0", "lo", "t-x1"]);
    ip(&["addr", "add", "192.0.2.1/24", "dev", "t-x0"])?;
    machine.says("ip addr add 192.0.2.2/24 dev in0")?;
    ping(None, "192.0.2.2")?;
    end(machine)?;
    Ok(())
}

fn lent(context: &Context) -> TestResult {
    let _pair = HostLinks::add(&["t-lent", "t-far"], &["t-lent", "type", "veth", "peer", "name", "t-far"])?;
    let mac = fs::read_to_string("/proc/self/net/dev").map(|_| ip(&["-o", "link", "show", "t-lent"]))??;
    let mac =
        mac.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("no MAC")?.to_owned();
    let name = context.machine_name();
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start_as(context, &name, &tree, &["--network-interface=t-lent:wan"], &[]);
    machine.ready()?;
    assert!(machine.says("ip -o link show wan")?.contains(&mac));
    assert!(!ip(&["link"])?.contains("t-lent"));
    // Whatever it is called by then, and through a reboot.
    machine.says("ip link set wan down; ip link set wan name other")?;
    let leader = machine.state()?.leader;
    let _ = run(context.spinney().args(["reboot", &name]));
    let deadline = std::time::Instant::now() + crate::command::PATIENCE;
    while machine.state().is_ok_and(|state| state.leader == leader || state.ready_at.is_none()) {
        assert!(std::time::Instant::now() < deadline, "{}", machine.output());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(machine.says("ip -o link show wan")?.contains(&mac));
    machine.stop()?;
    let back = ip(&["-o", "link", "show", "t-lent"])?;
    assert!(back.contains(&mac), "{back}");
    // A machine that fails to start gives it back too.
    let failed = once(context, &["--network-interface=t-lent", "--network-ipvlan=t-far"], "true")?;
    if failed.status != 0 {
        ip(&["link", "show", "t-lent"])?;
    }
    Ok(())
}

/// An interface of software goes with a supervisor that is killed; what is left of it is no trouble to anyone.
fn lent_and_killed(context: &Context) -> TestResult {
    let _pair = HostLinks::add(&["t-lent", "t-far"], &["t-lent", "type", "veth", "peer", "name", "t-far"])?;
    let mut machine = stays(context, &["--network-interface=t-lent"])?;
    machine.signal(libc::SIGKILL);
    assert_eq!(machine.wait()?, KILLED);
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    Ok(())
}

/// A process in a network namespace of its own.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Self, Stop> {
        let mut unshare = Command::new("unshare");
        let child = unshare.args([
            "-n",
            "sh",
            "-c",
            "ip link set lo up; ip link add name br-in type bridge; echo; exec sleep 1000",
        ]);
        let mut child = child.stdout(Stdio::piped()).spawn()?;
        let mut ready = [0];
        std::io::Read::read_exact(child.stdout.as_mut().ok_or("no pipe")?, &mut ready)?;
        Ok(Self(child))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn namespace_path(context: &Context) -> TestResult {
    let namespace = Namespace::new()?;
    let option = format!("--network-namespace-path=/proc/{}/ns/net", namespace.0.id());
    let machine = stays(context, &[&option])?;
    assert!(machine.says("ip -o link")?.contains("br-in"));
    let seen = run(context.spinney().args(["exec", &machine.name, "--", "ip", "-o", "link"]));
    assert!(seen.stdout.contains("br-in"), "{seen:#?}");
    end(machine)?;
    Ok(())
}

fn refusals(context: &Context) -> TestResult {
    let _links = HostLinks::add(&["t-up", "t-far"], &["t-up", "type", "veth", "peer", "name", "t-far"])?;
    let _zone = HostLinks::add(&["vz-taken"], &["vz-taken", "type", "bridge"])?;
    let file = context.directory.join("file");
    fs::write(&file, "")?;
    let file = format!("--network-namespace-path={}", file.display());
    let rows: [(&[&str], &str); 8] = [
        (&["--network-bridge=br-none"], "this host has no bridge \"br-none\"\n"),
        (&["--network-bridge=t-up"], "interface \"t-up\" is no bridge\n"),
        (&["--network-macvlan=none0"], "this host has no interface \"none0\"\n"),
        (&["--network-interface=none0"], "this host has no interface \"none0\"\n"),
        (
            &["--network-veth-extra=t-up:x"],
            "an interface \"t-up\" is on this host already, and is none of ours\n",
        ),
        (
            &["--network-zone=taken"],
            "an interface \"vz-taken\" is on this host already, and is none of ours\n",
        ),
        (
            &["--network-namespace-path=/run/netns/none"],
            "\"/run/netns/none\" is no network namespace: openat(",
        ),
        (&[&file], " is no network namespace: setns("),
    ];
    for (options, expected) in rows {
        let ended = once(context, options, "true")?;
        assert_eq!(ended.status, 125, "{options:?}: {ended:#?}");
        assert!(ended.stderr.contains(expected), "{options:?}: {ended:#?}");
        assert!(ended.stderr.contains("\n  hint: "), "{options:?}: {ended:#?}");
    }
    Ok(())
}

fn reboot(context: &Context) -> TestResult {
    let name = context.machine_name();
    let mut machine =
        Machine::start_as(context, &name, &context.tree("busybox")?, &["--network-zone=lab"], &[]);
    machine.ready()?;
    let (before, leader) = (addresses(&name)?, machine.state()?.leader);
    let rebooted = run(context.spinney().args(["reboot", &name]));
    assert_eq!(rebooted.status, 0, "{rebooted:#?}");
    let deadline = std::time::Instant::now() + crate::command::PATIENCE;
    while machine.state().is_ok_and(|state| state.leader == leader || state.ready_at.is_none()) {
        assert!(std::time::Instant::now() < deadline, "{}", machine.output());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(addresses(&name)?, before);
    for address in &before {
        ping(None, address)?;
    }
    machine.stop()?;
    Ok(())
}

/// Switches of the host's interfaces are set while a machine needs them, and put back.
fn forwarding(context: &Context) -> TestResult {
    let _pair = HostLinks::add(&["t-up", "t-far"], &["t-up", "type", "veth", "peer", "name", "t-far"])?;
    ip(&["addr", "add", "192.0.2.1/24", "dev", "t-up"])?;
    let switch = |path: &str| fs::read_to_string(Path::new("/proc/sys/net").join(path)).unwrap_or_default();
    let seen = || {
        ["ipv4/conf/t-up/forwarding", "ipv4/conf/vz-lab/forwarding", "ipv6/conf/vz-lab/accept_ra"]
            .map(|path| switch(path).trim().to_owned())
    };
    let before = seen();
    assert_eq!(before[0], "0");
    let (one, two) = (stays(context, &["--network-zone=lab"])?, stays(context, &["--network-zone=lab"])?);
    assert_eq!(seen(), ["1", "1", "0"]);
    end(one)?;
    assert_eq!(seen(), ["1", "1", "0"]);
    end(two)?;
    soon(|| Ok(seen() == before), "switches stay")
}

/// All reach each other, each has an address of its own, and keeps it when it is started again.
fn hundred(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let names: Vec<String> = (0..HUNDRED).map(|_| context.machine_name()).collect();
    let options = ["--network-zone=lab", "-q"];
    let mut machines: Vec<Machine> = Vec::new();
    for names in names.chunks(8) {
        let started = machines.len();
        let start =
            |name: &String| Machine::start_as(context, name, &tree, &options, &["--", "sleep", "1000"]);
        machines.extend(names.iter().map(start));
        machines[started..].iter_mut().try_for_each(Machine::ready)?;
    }
    let all = names.iter().map(|name| addresses(name)).collect::<Result<Vec<_>, _>>()?;
    let unique: BTreeSet<&String> = all.iter().flatten().collect();
    assert_eq!(unique.len(), 2 * HUNDRED);
    // Everyone the next one, and one of them all others.
    for (machine, next) in machines.iter().zip(all.iter().cycle().skip(1)) {
        ping(Some(machine), &next[0])?;
    }
    let others: Vec<&str> = all.iter().map(|both| both[1].as_str()).collect();
    let script = format!("for to in {}; do ping -c1 -W2 $to >/dev/null || echo $to; done", others.join(" "));
    assert_eq!(machines[0].says(&script)?, "");
    for machine in &machines {
        machine.signal(libc::SIGTERM);
    }
    for machine in &mut machines {
        machine.wait()?;
    }
    for (name, before) in names.iter().zip(&all) {
        let again = run(context
            .spinney()
            .args(["run", "-x", "-M", name])
            .args(options)
            .arg(&tree)
            .args(["--", "ip", "-o", "addr", "show", "host0"]));
        assert!(before.iter().all(|address| again.stdout.contains(address)), "{before:?}: {again:#?}");
    }
    Ok(())
}

fn killed_at(context: &Context, point: &str) -> TestResult {
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let before = HostState::look(&context.prefix);
    let die = || -> TestResult {
        let ended = run(context
            .spinney()
            .env("SPINNEY_FAULT", point)
            .args(["run", "-q", "-x", "-M", &name, "--network-zone=lab", "--network-veth-extra=t-x"])
            .arg(&tree)
            .args(["--", "true"]));
        assert_eq!(ended.status, KILLED, "{point}: {ended:#?}");
        Ok(())
    };
    let nothing_left = |after: &str| match before.changes(&context.prefix) {
        left if left.is_empty() => Ok(()),
        left => Err(Stop::Fail(format!("after {after}:\n{}", left.join("\n")))),
    };
    die()?;
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    nothing_left("gc")?;
    die()?;
    let mut next = context.spinney();
    next.args(["run", "-q", "-x", "-M", &name, "--network-zone=lab"]).arg(&tree).args(["--", "true"]);
    let next = run(&mut next);
    assert_eq!(next.status, 0, "{next:#?}");
    nothing_left("the next start")
}
