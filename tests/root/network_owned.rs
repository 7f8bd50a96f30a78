//! Whose links, addresses and network namespaces are: nobody takes another machine's, nor believes what is written of another host,
//! nor hears of a machine where to send.

use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{AddressFamily, SendFlags, SocketAddrV6, SocketType, ipproto, sockopt};
use spinney::sys::network::{NamespaceId, in_namespace};

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::{addresses, end, ip, once, soon, stays, told};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 6] = [
        ("links_of_others", links_of_others),
        ("routes_are_not_learned", routes_are_not_learned),
        ("switches_that_cannot_be_set", switches_that_cannot_be_set),
        ("namespaces_of_one_number", namespaces_of_one_number),
        ("leases_that_are_broken", leases_that_are_broken),
        ("leases_are_forgotten", leases_are_forgotten),
    ];
    rows.map(|(name, test)| Test::new(format!("network_owned::{name}"), test)).into()
}

fn links_of_others(context: &Context) -> TestResult {
    let one = stays(context, &["--network-zone=lab", "--network-veth-extra=t-x0:in0"])?;
    let name = &one.name;
    let links = || ip(&["-o", "link"]);
    let before = links()?;
    assert!(ip(&["link", "show", "t-x0"])?.contains(&format!("alias spinney {name}\n")));
    assert!(ip(&["link", "show", "vz-lab"])?.contains("alias spinney zone lab\n"));
    let host = told(name)?.plan.links.remove(0).host.ok_or("no host's end")?.to_string();
    for (option, link, owner) in [
        ("--network-veth-extra=t-x0:y", "t-x0", name.as_str()),
        ("--network-interface=t-x0", "t-x0", name),
        ("--network-veth-extra=vz-lab:y", "vz-lab", "zone lab"),
        (&format!("--network-veth-extra={host}:y"), &host, name),
        (&format!("--network-interface={host}"), &host, name),
    ] {
        let refused = once(context, &[option], "true")?;
        assert_eq!(refused.status, 125, "{option}: {refused:#?}");
        let line = format!(
            "spinney: error: an interface {link:?} is on this host already: that of {owner}\n  hint: another name than that"
        );
        assert!(refused.stderr.contains(&line), "{option}: {refused:#?}");
        assert_eq!(links()?, before, "{option}");
    }
    end(one)
}

/// Sends a router advertisement from `inside`, an interface of the machine.
fn advertise(machine: &Machine, inside: &str) -> TestResult {
    let namespace = fs::File::open(format!("/proc/{}/ns/net", machine.state()?.leader))?;
    // Type, code, checksum, hops, flags, lifetime, reachable time, retransmission (RFC 4861 4.2).
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend(1800_u16.to_be_bytes());
    message.extend([0; 8]);
    // The index of the interface is that of the machine.
    let index = machine.says(&format!("cat /sys/class/net/{inside}/ifindex"))?.parse()?;
    soon(|| Ok(machine.says(&format!("ip addr show dev {inside}"))?.contains("inet6 fe80")), "no address")?;
    let sent = in_namespace(namespace, || {
        let socket =
            rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
        sockopt::set_ipv6_multicast_hops(&socket, 255).unwrap();
        let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
        let send = || rustix::net::sendto(&socket, &message, SendFlags::empty(), &all_nodes);
        // The address may be tentative still.
        let deadline = std::time::Instant::now() + crate::command::PATIENCE;
        while send().is_err() {
            assert!(std::time::Instant::now() < deadline, "cannot send");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    Ok(sent.map_err(|error| error.to_string())?)
}

fn learned() -> Result<String, Stop> {
    ip(&["-6", "route", "show", "default"])
}

/// Neither by the interface's switches nor, where those are on, past the rules.
fn routes_are_not_learned(context: &Context) -> TestResult {
    let machine = stays(context, &["-n", "--network-veth-extra=t-x0:in0"])?;
    ip(&["link", "set", "t-x0", "up"])?;
    machine.says("ip link set in0 up")?;
    let host = told(&machine.name)?.plan.links.remove(0).host.ok_or("no host's end")?.to_string();
    for link in [host.as_str(), "t-x0"] {
        for switch in
            ["ipv6/conf/LINK/accept_ra", "ipv6/conf/LINK/accept_redirects", "ipv4/conf/LINK/accept_redirects"]
        {
            let path = Path::new("/proc/sys/net").join(switch.replace("LINK", link));
            assert_eq!(fs::read_to_string(&path)?, "0\n", "{}", path.display());
        }
    }
    advertise(&machine, "host0")?;
    advertise(&machine, "in0")?;
    // Of those that were sent before, nothing comes after this one that is heard.
    for link in [host.as_str(), "t-x0"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{link}/accept_ra"), "2")?;
    }
    assert_eq!(learned()?, "");
    advertise(&machine, "host0")?;
    advertise(&machine, "in0")?;
    soon(|| Ok(learned()?.contains("dev t-x0")), "the test's message is none")?;
    let learned = learned()?;
    assert!(!learned.contains(&host), "{learned}");
    end(machine)
}

fn switches_that_cannot_be_set(context: &Context) -> TestResult {
    let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script, "sh"]).arg(context.spinney().get_program());
    // In a user namespace the kernel makes no other /proc where something covers a part of this one.
    command.args(["run", "-q", "-x", "-M", &context.machine_name(), "--private-users=no"]);
    command.arg("--network-veth-extra=t-x0:in0");
    command.arg(context.tree("busybox")?).args(["--", "true"]);
    let ended = run(&mut command);
    assert_eq!(ended.status, 0, "{ended:#?}");
    let warning = "spinney: warning: the machine may tell this host routes over t-x0: net.ipv6.conf.t-x0.accept_ra, \
                   net.ipv6.conf.t-x0.accept_redirects cannot be set to 0 here\n";
    assert!(ended.stderr.contains(warning), "{ended:#?}");
    Ok(())
}

/// The directories of network namespaces below /run/spinney/network.
fn namespaces() -> Vec<NamespaceId> {
    let entries = fs::read_dir("/run/spinney/network").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn namespaces_of_one_number(context: &Context) -> TestResult {
    const TRIES: usize = 200;
    let before = namespaces();
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let within = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "ip link set lo up; readlink /proc/self/ns/net; exec \"$@\"";
        command.args(["-n", "sh", "-ec", script, "sh"]).arg(context.spinney().get_program());
        let output = run(command.args(arguments)).ok()?;
        let (number, rest) = output.split_once('\n').ok_or("no number")?;
        Ok::<_, Stop>((number.to_owned(), rest.to_owned()))
    };
    let tree = tree.to_str().ok_or("a path")?;
    let (first, _) = within(&["run", "-q", "-x", "-M", &name, "--network-zone=lab", tree, "--", "true"])?;
    let made: Vec<_> = namespaces().into_iter().filter(|id| !before.contains(id)).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    let mut same = None;
    for _ in 0..TRIES {
        let (number, listed) = within(&["net", "leases", "--no-legend"])?;
        if number == first {
            same = Some(listed);
            break;
        }
    }
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    assert_eq!(namespaces(), before);
    match same {
        Some(listed) => assert_eq!(listed, ""),
        None => return Err(Stop::Skip("no namespace has had the number of one before it".to_owned())),
    }
    Ok(())
}

/// Where the leases of the zone `lab` are on this host.
fn leases_of_lab() -> Result<PathBuf, Stop> {
    let ours = NamespaceId::ours().map_err(|error| error.to_string())?;
    Ok(Path::new("/run/spinney/network").join(ours.to_string()).join("lab.json"))
}

fn leases_that_are_broken(context: &Context) -> TestResult {
    let one = stays(context, &["--network-zone=lab"])?;
    let [address, _] = addresses(&one.name)?;
    let file = leases_of_lab()?;
    let text = fs::read(&file)?;
    fs::write(&file, &text[..text.len() / 2])?;
    let aside = PathBuf::from(format!("{}.broken", file.display()));
    let other = once(context, &["--network-zone=lab"], "true")?;
    assert_eq!(other.status, 0, "{other:#?}");
    let warning = format!(
        "spinney: warning: no sense can be made of the leases in {}, machines in them may get other addresses; it is now \
         lab.json.broken\n",
        file.display()
    );
    assert!(other.stderr.contains(&warning), "{other:#?}");
    assert_eq!(fs::read(&aside)?, &text[..text.len() / 2]);
    fs::remove_file(&aside)?;
    // Who runs has its address still.
    let refused = once(context, &["--network-zone=lab", &format!("--ip={address}")], "true")?;
    assert_eq!(refused.status, 125, "{refused:#?}");
    let line = format!("--ip={address} is the address of {}, which runs\n", one.name);
    assert!(refused.stderr.contains(&line), "{refused:#?}");
    end(one)
}

fn leases_are_forgotten(context: &Context) -> TestResult {
    let one = stays(context, &["--network-zone=lab"])?;
    assert_eq!(once(context, &["--network-zone=lab"], "true")?.status, 0);
    let forgotten = run(context.spinney().args(["net", "forget", "--all"]));
    assert_eq!(forgotten.status, 0, "{forgotten:#?}");
    assert!(forgotten.stderr.contains("machines are forgotten\n"), "{forgotten:#?}");
    let listed = run(context.spinney().args(["net", "leases", "--json"])).ok()?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let machines: Vec<&str> =
        listed.as_array().ok_or("no list")?.iter().filter_map(|lease| lease["machine"].as_str()).collect();
    assert_eq!(machines, [one.name.as_str()]);
    end(one)
}
