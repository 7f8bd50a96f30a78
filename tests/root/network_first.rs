//! The first frames of a link: they pass at once, and nobody has to ask for a neighbour that we know.

use std::process::Command;

use crate::command::run;
use crate::harness::{Context, Row, Test, TestResult};
use crate::network_links::{end, ip, once, stays, told};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] = [
        ("neighbours_are_known", neighbours_are_known),
        ("neighbours_are_forgotten", neighbours_are_forgotten),
        ("first_frames_pass", first_frames_pass),
    ];
    rows.map(|(name, test)| Test::new(format!("network_first::{name}"), test)).into()
}

/// Before either has sent anything.
fn neighbours_are_known(context: &Context) -> TestResult {
    for (option, device) in [("-n", None), ("--network-zone=lab", Some("vz-lab"))] {
        let machine = stays(context, &[option])?;
        let link = told(&machine.name)?.plan.links.remove(0);
        let host = link.host.ok_or("no host's end")?;
        let device = device.map_or(host.to_string(), str::to_owned);
        let (addresses, mac) = (link.addresses.ok_or("no addresses")?, link.mac.ok_or("no MAC address")?);
        let (v4, v6) = (addresses.v4.ok_or("no IPv4")?, addresses.v6.ok_or("no IPv6")?);
        let known = |family: &str| ip(&[family, "neigh", "show", "dev", &device]);
        assert_eq!(
            known("-4")?.trim_end(),
            format!("{} lladdr {mac} extern_learn STALE", v4.address),
            "{option}"
        );
        let line = format!("{} lladdr {mac} extern_learn STALE", v6.address);
        assert!(known("-6")?.lines().any(|known| known.trim_end() == line), "{option}: {}", known("-6")?);
        let of_device = ip(&["-o", "link", "show", "dev", &device])?;
        let at = of_device.split_once("link/ether ").ok_or("no MAC address")?.1;
        let at = at.split(' ').next().unwrap_or_default();
        let inside = machine.says("ip neigh show")?;
        for gateway in [v4.host.ok_or("no host")?.to_string(), v6.host.ok_or("no host")?.to_string()] {
            let line = format!("{gateway} dev host0 lladdr {at} ");
            assert!(inside.lines().any(|known| known.starts_with(&line)), "{option}: {line:?} in {inside}");
        }
        end(machine)?;
    }
    Ok(())
}

/// The zone's bridge stays for another machine.
fn neighbours_are_forgotten(context: &Context) -> TestResult {
    let stays = stays(context, &["--network-zone=lab"])?;
    let known = || ip(&["neigh", "show", "dev", "vz-lab"]);
    let before = known()?;
    let inside = once(context, &["--network-zone=lab"], "ip -o addr show dev host0")?;
    assert_eq!(inside.status, 0, "{inside:#?}");
    assert_eq!(known()?, before);
    end(stays)
}

/// On hosts that have no link but the machine's: its ends have the same index then, by which the kernel takes its time.
fn first_frames_pass(context: &Context) -> TestResult {
    const STARTS: usize = 4;
    let tree = context.tree("busybox")?;
    let options: [&[&str]; 2] = [&["-n", "--ip=10.9.0.2"], &["--network-zone=lab"]];
    for options in options {
        for _ in 0..STARTS {
            let mut command = Command::new("unshare");
            let script = "ip link set lo up; exec \"$@\"";
            command.args(["-n", "sh", "-ec", script, "sh"]).arg(context.spinney().get_program());
            command.args(["run", "-q", "-x", "-M", &context.machine_name()]).args(options).arg(&tree);
            let ping = "ping -q -c 1 -W 1 $(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p')";
            let ended = run(command.args(["--", "sh", "-c", ping]));
            assert_eq!(ended.status, 0, "{options:?}: {ended:#?}");
        }
    }
    let collected = run(context.spinney().arg("gc"));
    assert_eq!(collected.status, 0, "{collected:#?}");
    Ok(())
}
