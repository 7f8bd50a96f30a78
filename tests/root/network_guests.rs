//! Guests of all sorts have the network that we gave them, whatever manages networks in them, and boot no slower for it.
//!
//! Each machine's host is a network namespace of its own.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use spinney::network::state::NetworkState;

use crate::command::{PATIENCE, Process, capture, contents, run};
use crate::harness::{Context, Stop, Test, TestResult, program};
use crate::machine::Machine;

/// Who manages the network of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "so it is called")]
enum Manager {
    /// systemd-networkd with systemd-resolved, and a boot that waits for them.
    Networkd,
    /// The same, whose administrator wants DHCP for `host0`.
    NetworkdDhcp,
    /// NetworkManager, and a boot that waits for it.
    NetworkManager,
    /// ifupdown, which knows of `lo` alone.
    Ifupdown,
    /// The same, whose administrator wants DHCP for `host0`.
    IfupdownDhcp,
    /// dhcpcd, which takes every interface.
    Dhcpcd,
    /// busybox's client, run by hand.
    Udhcpc,
    /// Nobody.
    Nothing,
}

use Manager::{Dhcpcd, Ifupdown, IfupdownDhcp, NetworkManager, Networkd, NetworkdDhcp, Nothing, Udhcpc};

impl Manager {
    /// Asks for its addresses, whatever we do.
    fn insists(self) -> bool {
        matches!(self, NetworkdDhcp | IfupdownDhcp | Dhcpcd | Udhcpc)
    }
}

/// Trees and the managers that are tried in them.
const ROWS: [(&str, &[Manager]); 9] = [
    ("debian-11", &[Networkd, NetworkManager, Ifupdown, NetworkdDhcp, IfupdownDhcp, Dhcpcd, Nothing]),
    ("debian-12", &[Networkd, NetworkManager, Ifupdown, IfupdownDhcp, Nothing]),
    ("debian-13", &[Networkd, NetworkManager, Ifupdown, NetworkdDhcp, Dhcpcd, Nothing]),
    ("debian-forky", &[Networkd, NetworkManager, Ifupdown, NetworkdDhcp, IfupdownDhcp, Nothing]),
    ("debian-13-openrc", &[Nothing]),
    ("debian-13-sysvinit", &[Nothing]),
    ("debian-13-runit", &[Nothing]),
    ("debian-13-finit", &[Nothing]),
    ("busybox", &[Nothing, Udhcpc]),
];

/// From the link to its addresses, the best of [`TRIES`].
const LINK_TO_ADDRESS: Duration = Duration::from_millis(50);
/// How long a program that waits for the network may take.
const WAIT_ONLINE: Duration = Duration::from_secs(1);
/// How much longer a boot may take for its network, and what is no matter of the network.
const SLOWER: f64 = 1.3;
const NOISE: Duration = Duration::from_millis(100);
/// How often a time is taken that was too long: others are at work on the host.
const TRIES: usize = 5;

pub fn tests() -> Vec<Test> {
    let row = |(tree, managers): (&'static str, &'static [Manager])| {
        managers.iter().map(move |manager| {
            let name = format!("network_guests::{tree}::{manager:?}").to_lowercase();
            Test::new(name, move |context| guest(context, tree, *manager))
        })
    };
    ROWS.into_iter().flat_map(row).collect()
}

/// A tree in which `manager` runs: the cached one, or a copy of links to its files.
fn variant(context: &Context, tree: &str, manager: Manager) -> Result<PathBuf, Stop> {
    if matches!(manager, Nothing) {
        return context.tree(tree);
    }
    let name = if tree == "busybox" { tree.to_owned() } else { format!("{tree}-network") };
    let copy = context.directory.join("tree");
    let source = context.tree(&name)?;
    let linked = run(Command::new("cp").arg("-al").arg(&source).arg(&copy));
    if linked.status != 0 {
        // Another file system.
        let _ = fs::remove_dir_all(&copy);
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&source).arg(&copy)).ok()?;
    }
    let enable = |unit: &str, by: &str| -> TestResult {
        let wants = copy.join(format!("etc/systemd/system/{by}.wants"));
        fs::create_dir_all(&wants)?;
        Ok(symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit))?)
    };
    let write = |path: &str, text: &str| -> TestResult {
        let path = copy.join(path);
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        // Never through a link to the cached tree's file.
        let _ = fs::remove_file(&path);
        Ok(fs::write(path, text)?)
    };
    let waits = |unit: &str| -> TestResult {
        enable(unit, "network-online.target")?;
        write(
            "etc/systemd/system/needs-network.service",
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
        )?;
        let wants = copy.join("etc/systemd/system/multi-user.target.wants");
        Ok(symlink("../needs-network.service", wants.join("needs-network.service"))?)
    };
    match manager {
        Networkd | NetworkdDhcp => {
            enable("systemd-networkd.service", "multi-user.target")?;
            enable("systemd-resolved.service", "multi-user.target")?;
            waits("systemd-networkd-wait-online.service")?;
            symlink("../run/systemd/resolve/stub-resolv.conf", copy.join("etc/resolv.conf"))?;
            if manager == NetworkdDhcp {
                write(
                    "etc/systemd/network/20-lan.network",
                    "[Match]\nName=host0\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n",
                )?;
            }
        }
        NetworkManager => {
            enable("NetworkManager.service", "multi-user.target")?;
            waits("NetworkManager-wait-online.service")?;
            symlink(
                "/lib/systemd/system/NetworkManager.service",
                copy.join("etc/systemd/system/dbus-org.freedesktop.NetworkManager.service"),
            )?;
        }
        Ifupdown => enable("networking.service", "multi-user.target")?,
        IfupdownDhcp => {
            enable("networking.service", "multi-user.target")?;
            write(
                "etc/network/interfaces",
                "auto lo host0\niface lo inet loopback\niface host0 inet dhcp\n",
            )?;
        }
        Dhcpcd => enable("dhcpcd.service", "multi-user.target")?,
        Udhcpc => {
            write(
                "etc/udhcpc.script",
                "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\necho \"$ip/$mask $router $dns $domain\" >/run/lease\n",
            )?;
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(copy.join("etc/udhcpc.script"), fs::Permissions::from_mode(0o755))?;
        }
        Nothing => {}
    }
    Ok(copy)
}

/// A machine, and the watch on its addresses.
struct Guest {
    machine: Machine,
    /// From the link to the addresses in the machine.
    link_to_address: Duration,
    /// From our start to the end of its boot.
    boot: Duration,
    state: NetworkState,
    watch: (Process, fs::File),
}

/// What the kernel calls addresses that may not be used yet (IFA_F_TENTATIVE, linux/if_addr.h).
const TENTATIVE: u32 = 0x40;

impl Guest {
    fn start(context: &Context, tree: &Path) -> Result<Self, Stop> {
        let started = Instant::now();
        let mut machine = launch(context, tree, &[], &[]);
        let supervisor = machine.supervisor();
        let seen = |path: String, text: &str| fs::read_to_string(path).is_ok_and(|file| file.contains(text));
        let deadline = Instant::now() + PATIENCE;
        let mut link = None;
        let (state, leader) = loop {
            // The host's end, by its name in a bridge.
            if link.is_none() && seen(format!("/proc/{supervisor}/net/dev"), "vb-") {
                link = Some(Instant::now());
            }
            if let (Ok(state), Some(network)) = (machine.state(), network_state(&machine.name))
                && has_addresses(state.leader, &network)
            {
                break (network, state.leader);
            }
            if Instant::now() > deadline {
                return Err(format!("no addresses come\n{}", machine.output()).into());
            }
            std::thread::sleep(Duration::from_micros(500));
        };
        let link_to_address = link.ok_or("no link was seen on the host")?.elapsed();
        let file = capture();
        let mut monitor = Command::new("nsenter");
        monitor.args(["-t", &leader.to_string(), "-n", "ip", "-o", "monitor", "address"]);
        let monitor = Process::spawn(monitor.stdout(file.try_clone()?));
        machine.ready()?;
        Ok(Self { machine, link_to_address, boot: started.elapsed(), state, watch: (monitor, file) })
    }

    /// What `ip -j` says in its network namespace.
    fn ip(&self, arguments: &[&str]) -> Result<Vec<Value>, Stop> {
        let text = self.outside(&[&["ip", "-j"], arguments].concat())?;
        Ok(if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text)? })
    }

    /// Runs a program of the host in its network namespace.
    fn outside(&self, argv: &[&str]) -> Result<String, Stop> {
        let leader = self.machine.state()?.leader.to_string();
        Ok(run(Command::new("nsenter").args(["-t", &leader, "-n"]).args(argv)).ok()?)
    }

    /// Addresses that were taken from the machine since its init began.
    fn taken(&self) -> Vec<String> {
        let lines = contents(&self.watch.1);
        lines.lines().filter(|line| line.starts_with("Deleted")).map(str::to_owned).collect()
    }
}

fn launch(context: &Context, tree: &Path, options: &[&str], rest: &[&str]) -> Machine {
    let name = context.machine_name();
    let mut command = Command::new("unshare");
    command
        .arg("--net")
        .arg(program())
        .args(["run", "-x", "-M", &name, "--console=read-only", "--notify-ready"])
        .args(options)
        .arg(tree)
        .args(rest)
        .stdin(std::process::Stdio::null())
        .env_remove("NOTIFY_SOCKET")
        .env_remove("SPINNEY_FAULT")
        .env(crate::harness::TEST, &context.prefix);
    Machine::spawn(context, &name, command)
}

fn network_state(name: &str) -> Option<NetworkState> {
    let text = fs::read_to_string(format!("/run/spinney/machines/{name}/network")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether the network namespace of `leader` has all addresses of `network`, ready for use.
fn has_addresses(leader: i32, network: &NetworkState) -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/{leader}/net/{name}")).unwrap_or_default();
    let (v4, v6) = (read("fib_trie"), read("if_inet6"));
    let mut any = false;
    network.addresses().all(|address| {
        any = true;
        match address {
            IpAddr::V4(address) => v4.contains(&format!("-- {address}\n")),
            IpAddr::V6(address) => v6.lines().any(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let wanted = format!("{:032x}", u128::from(address));
                fields.first() == Some(&wanted.as_str())
                    && fields
                        .get(4)
                        .and_then(|flags| u32::from_str_radix(flags, 16).ok())
                        .is_some_and(|flags| flags & TENTATIVE == 0)
            }),
        }
    }) && any
}

fn guest(context: &Context, tree_name: &str, manager: Manager) -> TestResult {
    let tree = variant(context, tree_name, manager)?;
    let guest = Guest::start(context, &tree)?;
    if manager == Udhcpc {
        guest.machine.says("udhcpc -i host0 -n -q -f -s /etc/udhcpc.script")?;
    }
    let wanted: Vec<IpAddr> = guest.state.addresses().collect();
    assert_eq!(wanted.iter().filter(|address| address.is_ipv6()).count(), 1, "{wanted:?}");
    assert_eq!(wanted.len(), 2, "{wanted:?}");
    // One that asks has taken away what it was given first, waits a little for its answer, and writes one thing after the other.
    let deadline = Instant::now() + PATIENCE;
    let is_set = || {
        let found = addresses(&guest)?;
        let problem = || format!("addresses of host0: {found:?}, not {wanted:?}\n{}", guest.machine.output());
        holds(found == wanted, problem)?;
        routes(&guest)?;
        resolver(&guest, manager)
    };
    loop {
        match is_set() {
            Err(Stop::Fail(_)) if manager.insists() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            done => break done?,
        }
    }
    if !manager.insists() {
        assert_eq!(guest.taken(), Vec::<String>::new(), "addresses that went meanwhile");
    }
    asked(&guest, manager)?;
    online(&guest, manager)?;
    let failed = match guest.machine.state()?.init.starts_with("systemd") {
        true => guest.machine.says("systemctl --failed --no-legend")?,
        false => String::new(),
    };
    assert_eq!(failed, "", "failed units");
    let gateway = |v6: bool| gateways(&guest).into_iter().find(|gateway| gateway.is_ipv6() == v6);
    for gateway in [gateway(false), gateway(true)].into_iter().flatten() {
        guest.outside(&["ping", "-n", "-c", "1", "-W", "2", &gateway.to_string()])?;
    }
    times(context, &tree, manager, guest)
}

/// Fails with `problem` where something does not hold, yet.
fn holds(condition: bool, problem: impl FnOnce() -> String) -> TestResult {
    if condition { Ok(()) } else { Err(Stop::Fail(problem())) }
}

/// The addresses of `host0` that lead anywhere, IPv4 first.
fn addresses(guest: &Guest) -> Result<Vec<IpAddr>, Stop> {
    let found = guest.ip(&["address", "show", "dev", "host0", "scope", "global"])?;
    let mut addresses: Vec<IpAddr> = found
        .iter()
        .filter_map(|link| link["addr_info"].as_array())
        .flatten()
        .filter(|address| address["tentative"] != true)
        .filter_map(|address| address["local"].as_str()?.parse().ok())
        .collect();
    addresses.sort();
    Ok(addresses)
}

fn gateways(guest: &Guest) -> Vec<IpAddr> {
    let Some((_, addresses)) = guest.state.plan.main() else { return Vec::new() };
    let v4 = addresses.v4.and_then(|family| family.gateway).map(IpAddr::V4);
    let v6 = addresses.v6.and_then(|family| family.gateway).map(IpAddr::V6);
    v4.into_iter().chain(v6).collect()
}

/// There is a default route of each family, over the gateway or, if advertised, over its link-local address.
fn routes(guest: &Guest) -> TestResult {
    for gateway in gateways(guest) {
        let family = if gateway.is_ipv6() { "-6" } else { "-4" };
        let routes = guest.ip(&[family, "route", "show", "default"])?;
        let over = |route: &Value| {
            let over: Option<IpAddr> = route["gateway"].as_str().and_then(|over| over.parse().ok());
            over == Some(gateway) || matches!(over, Some(IpAddr::V6(over)) if over.is_unicast_link_local())
        };
        let problem = || format!("default routes: {routes:#?}\n{}", guest.machine.output());
        holds(!routes.is_empty() && routes.iter().all(over), problem)?;
    }
    Ok(())
}

/// Its programs find our name server, or its own resolver, which was told of ours.
fn resolver(guest: &Guest, manager: Manager) -> TestResult {
    let servers: Vec<String> = guest.state.plan.dns.iter().map(ToString::to_string).collect();
    let domain = guest.state.plan.domain.clone().ok_or("no domain")?;
    let file = guest.machine.says("cat /etc/resolv.conf")?;
    let named: Vec<&str> = file.lines().filter_map(|line| line.strip_prefix("nameserver ")).collect();
    if matches!(manager, Networkd | NetworkdDhcp) {
        holds(named == ["127.0.0.53"], || format!("not that of resolved: {file}"))?;
        let told = guest.machine.says("resolvectl status")?;
        holds(told.contains(&servers[0]) && told.contains(&domain), || format!("resolved says {told}"))?;
    } else {
        let only_ours = named.iter().all(|named| servers.iter().any(|server| server == named));
        holds(named.contains(&servers[0].as_str()) && only_ours, || format!("not {servers:?}: {file}"))?;
    }
    holds(file.contains(&domain), || format!("no {domain:?}: {file}"))
}

/// Who asks was answered.
fn asked(guest: &Guest, manager: Manager) -> TestResult {
    match manager {
        NetworkdDhcp => {
            let status = guest.machine.says("networkctl status host0 --no-pager")?;
            assert!(status.contains("20-lan.network") && status.contains("(DHCP"), "{status}");
        }
        Udhcpc => {
            let lease = guest.machine.says("cat /run/lease")?;
            let gateway = gateways(guest)[0];
            let domain = guest.state.plan.domain.clone().unwrap_or_default();
            let (_, addresses) = guest.state.plan.main().ok_or("no network")?;
            let v4 = addresses.v4.ok_or("no IPv4")?;
            assert_eq!(lease, format!("{}/{} {gateway} {gateway} {domain}", v4.address, v4.prefix));
        }
        IfupdownDhcp | Dhcpcd => {
            let programs = guest.machine.says("cat /proc/[0-9]*/comm")?;
            assert!(programs.lines().any(|name| matches!(name, "dhclient" | "dhcpcd")), "{programs}");
        }
        _ => {}
    }
    Ok(())
}

/// What waits for the network does so for less than a second.
fn online(guest: &Guest, manager: Manager) -> TestResult {
    let program = match manager {
        Networkd | NetworkdDhcp => "/lib/systemd/systemd-networkd-wait-online --timeout=20",
        NetworkManager => "nm-online -q -s -t 20",
        _ => return Ok(()),
    };
    let asked = || -> Result<Duration, Stop> {
        let asked = Instant::now();
        guest.machine.says(program)?;
        Ok(asked.elapsed())
    };
    // The second time there is nothing to wait for: that is what the program takes on a host that has other things to do.
    let (took, program_takes) = (asked()?, asked()?);
    assert!(took < WAIT_ONLINE + program_takes, "{program} took {took:?}, and {program_takes:?} again");
    Ok(())
}

/// The link had its addresses at once, and the boot took no longer than one without network.
fn times(context: &Context, tree: &Path, manager: Manager, guest: Guest) -> TestResult {
    let mut told = Vec::new();
    let (mut address, mut with) = (guest.link_to_address, guest.boot);
    // Killed, not asked to stop: some take seconds to power off, which is no matter of the network.
    drop(guest);
    // Who waits for an answer has decided to.
    let measured = !manager.insists();
    let mut without = if measured { boot_without(context, tree)? } else { with };
    for _ in 0..TRIES {
        let compared = if measured { format!(", {without:?} without network") } else { String::new() };
        told.push(format!("{address:?} from the link to its addresses; {with:?} to boot{compared}"));
        let slow = with > without + NOISE && with.as_secs_f64() > without.as_secs_f64() * SLOWER;
        if address <= LINK_TO_ADDRESS && !slow {
            eprintln!("    {}", told.join("\n"));
            return Ok(());
        }
        let again = Guest::start(context, tree)?;
        (address, with) = (address.min(again.link_to_address), with.min(again.boot));
        drop(again);
        if measured {
            without = boot_without(context, tree)?.max(without);
        }
    }
    Err(Stop::Fail(told.join("\n")))
}

fn boot_without(context: &Context, tree: &Path) -> Result<Duration, Stop> {
    let started = Instant::now();
    let masks =
        ["systemd-networkd", "NetworkManager"].map(|name| format!("systemd.mask={name}-wait-online.service"));
    let systemd = tree.join("lib/systemd/systemd").exists();
    let masks: Vec<&str> = if systemd { masks.iter().map(String::as_str).collect() } else { Vec::new() };
    let mut machine = launch(context, tree, &["--boot", "--private-network"], &masks);
    machine.ready()?;
    Ok(started.elapsed())
}
