//! `spinney net` and its verbs, on a host that is a network namespace.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use spinney::network::lease::{self, Leases};

use crate::command::{Ended, PATIENCE, Process, run, shell_status};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::soon;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 5] = [
        ("leases", leases),
        ("capture", capture),
        ("delay", delay),
        ("rules", rules),
        ("terminate_while_it_starts", terminate_while_it_starts),
    ];
    rows.map(|(name, test)| Test::new(format!("network_verbs::{name}"), test)).into()
}

fn net(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().arg("net").args(arguments).stdin(Stdio::null()))
}

/// The only object of `list` whose `field` is `name`.
fn of<'a>(list: &'a Value, field: &str, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|object| object[field] == name)
}

/// One that is about to start, and is held up, is ended as soon as it has a leader: not refused, to run from then on.
fn terminate_while_it_starts(context: &Context) -> TestResult {
    let name = context.machine_name();
    let held = Leases::open(&lease::directory())?;
    let mut command = context.spinney();
    command.args(["run", "-d", "-q", "-x", "--network-zone=t-verbs", "-M", &name]);
    command.arg(context.tree("busybox")?).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut starting = Process::spawn(&mut command);
    let journal = Path::new("/run/spinney/machines").join(&name).join("resources");
    soon(|| Ok(journal.exists()), "it does not begin")?;
    let mut ending = Process::spawn(context.spinney().args(["terminate", "-q", &name]).stdin(Stdio::null()));
    let files = format!("/proc/{}/fd", ending.pid());
    let waits = || -> Result<bool, Stop> {
        let open = std::fs::read_dir(&files)?.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
        Ok(open.into_iter().any(|file| file == Path::new("anon_inode:inotify")))
    };
    soon(waits, "it does not wait")?;
    drop(held);
    let status = ending.wait(PATIENCE).ok_or("it is not ended")?;
    assert_eq!(shell_status(status), 0);
    assert!(starting.wait(PATIENCE).is_some());
    assert!(!journal.exists());
    Ok(())
}

/// A name keeps its address over two runs, is listed, and can be forgotten when it does not run.
fn leases(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let options = ["-x", "--network-zone=t-verbs", "-p", "4321:80"];
        let mut machine = Machine::start_as(context, &name, &tree, &options, &[]);
        machine.ready()?;
        let all: Value = serde_json::from_str(&net(context, &["--json"]).ok()?)?;
        let zone = of(&all["zones"], "name", "t-verbs").ok_or("no zone")?;
        assert_eq!((&zone["bridge"], &zone["domain"]), (&"vz-t-verbs".into(), &"t-verbs.internal".into()));
        assert_eq!(zone["machines"], serde_json::json!([name]));
        let found = of(&all["machines"], "name", &name).ok_or("no machine")?;
        let inside = machine.says("ip -4 -o addr show host0 | awk '{ print $4 }'")?;
        assert_eq!(found["links"][0]["ipv4"], inside.trim());
        assert_eq!(found["ports"][0]["host"], 4321);
        let leases: Value = serde_json::from_str(&net(context, &["leases", "--json"]).ok()?)?;
        let lease = of(&leases, "machine", &name).ok_or("no lease")?;
        assert_eq!((&lease["zone"], &lease["running"]), (&"t-verbs".into(), &true.into()));
        assert_eq!(inside.trim().split('/').next(), lease["ipv4"].as_str());
        let refused = net(context, &["forget", &name]);
        let expected = format!(
            "spinney: error: the addresses of {name} are in use: it runs\n  hint: spinney stop {name}\n"
        );
        assert_eq!((refused.status, refused.stderr), (125, expected));
        seen.push(inside);
        machine.stop()?;
    }
    assert_eq!(seen[0], seen[1]);
    let forgotten = net(context, &["forget", &name]);
    let expected = format!("spinney: the addresses of {name} in the zone t-verbs are forgotten\n");
    assert_eq!((forgotten.status, forgotten.stderr), (0, expected));
    let again = net(context, &["forget", &name]);
    assert_eq!(again.status, 125);
    assert!(
        again.stderr.starts_with(&format!("spinney: error: no address is kept for {name}\n  hint: ")),
        "{again:#?}"
    );
    Ok(())
}

/// Frames of both directions are in the file; it ends with the machine.
fn capture(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let name = context.machine_name();
    let mut machine = Machine::start_as(context, &name, &tree, &["-x", "-n"], &[]);
    machine.ready()?;
    let file = context.subdirectory("capture").join("c.pcap");
    let mut command = context.spinney();
    command.args(["net", "capture", &name, "-q", "--snaplen=60", "-w"]).arg(&file).stdin(Stdio::null());
    let mut capture = Process::spawn(&mut command);
    // Its header is written when it listens.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < 24 {
        assert!(std::time::Instant::now() < deadline, "nothing is captured");
        std::thread::yield_now();
    }
    let gateway = machine.says("ip -4 route show default | awk '{ print $3 }'")?;
    let own = machine.says("ip -4 -o addr show host0 | awk '{ print $4 }' | cut -d/ -f1")?;
    machine.shell(&format!("ping -c 2 -s 1000 {}", gateway.trim()))?;
    machine.stop()?;
    let status = capture.wait(std::time::Duration::from_secs(10)).ok_or("it goes on after the machine")?;
    assert_eq!(status.code(), Some(0));
    let bytes = std::fs::read(&file)?;
    let addresses = [own.trim().parse::<std::net::Ipv4Addr>()?, gateway.trim().parse()?].map(|a| a.octets());
    let (mut out, mut back) = (0, 0);
    let mut rest = bytes.get(24..).ok_or("no header")?;
    while let Some((head, more)) = rest.split_at_checked(16) {
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let (frame, after) = more.split_at_checked(number(8)).ok_or("a record that is cut off")?;
        assert!(frame.len() <= 60 && number(12) >= frame.len());
        // ICMP of 1000 bytes: 14 of Ethernet, 20 of IP, 8 of ICMP.
        if number(12) == 1042 && frame.get(23) == Some(&1) {
            out += usize::from(frame[26..30] == addresses[0] && frame[30..34] == addresses[1]);
            back += usize::from(frame[26..30] == addresses[1] && frame[30..34] == addresses[0]);
        }
        rest = after;
    }
    assert_eq!((out, back, rest.len()), (2, 2, 0));
    let missing = net(context, &["capture", "no-such-machine", "-w", "/dev/null"]);
    assert_eq!(missing.status, 125);
    let counted = net(context, &["capture", &name, "--count=0"]);
    assert_eq!(counted.status, 125, "{counted:#?}");
    net(context, &["forget", &name]).ok()?;
    Ok(())
}

/// `--net-delay=` holds back what is sent each way, where the kernel has netem, which tc(8) knows; where not, it is refused, and
/// nothing is left.
fn delay(context: &Context) -> TestResult {
    let tc = |action: &str| {
        let words = ["qdisc", action, "dev", "lo", "root", "netem", "delay", "1ms"];
        run(std::process::Command::new("tc").args(words)).status
    };
    let has_netem = tc("add") == 0;
    let tree = context.tree("busybox")?;
    if has_netem {
        tc("delete");
        for options in [["-n", "--net-delay=40ms"], ["--network-zone=t-delay", "--net-delay=40ms"]] {
            let mut machine = Machine::start(context, &tree, &options);
            machine.ready()?;
            let told =
                machine.says("ping -c 2 $(ip -4 route show default | awk '{ print $3 }') | tail -1")?;
            // round-trip min/avg/max = 80.1/80.2/80.3 ms
            let least = told.split(['=', '/']).filter_map(|word| word.trim().parse::<f64>().ok()).next();
            assert!(least.is_some_and(|milliseconds| (80.0..120.0).contains(&milliseconds)), "{told}");
        }
        return Ok(());
    }
    let mut command = context.spinney();
    command
        .args(["run", "-q", "-x", "-n", "--net-delay=40ms", "-M", "t-slow"])
        .arg(&tree)
        .args(["--", "/bin/true"]);
    let ended = run(&mut command);
    let told = "spinney: error: this kernel cannot delay packets: it has no netem: rtnetlink(RTM_NEWQDISC ve-t-slow netem: \
         \"Specified qdisc kind is unknown\"): No such file or directory (os error 2)\n  hint: modprobe sch_netem: where \
         that is not there, the kernel was made without it; --net-loss= needs none\n";
    assert!(ended.status == 125 && ended.stderr.ends_with(told), "{ended:#?}");
    Ok(())
}

/// What the kernel has of a machine is told, what is missing of it, what somebody else has put there, and what others' chains do.
fn rules(context: &Context) -> TestResult {
    let shell = |script: &str| run(std::process::Command::new("sh").args(["-ec", script])).ok();
    let none = net(context, &["rules"]);
    assert_eq!(
        (none.status, none.stdout.as_str()),
        (0, "No rules: there are no machines with a network of ours.\n")
    );
    shell(
        "nft add table inet t-rules; nft 'add chain inet t-rules fw { type filter hook forward priority 9; policy drop; }'",
    )?;
    let options = ["--network-zone=t-rules", "-p", "8080:80", "--net-loss=1%"];
    let mut machine = Machine::start(context, &context.tree("busybox")?, &options);
    machine.ready()?;
    let name = machine.name.clone();
    let address = machine.says("ip -4 -o addr show host0 | awk '{ print $4 }' | cut -d/ -f1")?;
    let look = |arguments: &[&str]| -> Result<Value, Stop> {
        Ok(serde_json::from_str(&net(context, &[&["rules", "--json"], arguments].concat()).ok()?)?)
    };
    let state = |listing: &Value, set: &str, element: &str| -> Vec<String> {
        let lines = listing["elements"].as_array().into_iter().flatten();
        let same = lines.filter(|line| line["set"] == set && line["element"] == element);
        same.map(|line| format!("{} {}", line["of"], line["state"])).collect()
    };
    let port = format!("tcp . 8080 : {address} . 80");
    let listing = look(&[&name])?;
    assert_eq!(listing["in-force"], true);
    assert_eq!(state(&listing, "ports4", &port), [format!("\"{name}\" \"in-force\"")]);
    assert_eq!(state(&listing, "inside", "\"vz-t-rules\""), ["\"zone\" \"in-force\""]);
    assert_eq!(state(&listing, "lose-to", &format!("\"vb-{name}\" 1.000%")).len(), 1, "{listing}");
    let opened = serde_json::json!([
        { "table": "inet t-rules", "chain": "fw", "interface": "vz-t-rules", "does": "lets-pass-for-us" }
    ]);
    assert_eq!(listing["others"], opened);
    assert_eq!(listing["chains"], serde_json::json!([]));
    let text = net(context, &["rules"]).ok()?;
    assert!(text.starts_with("Rules of inet spinney and bridge spinney: in force\n\nOF "), "{text}");
    let chain = ["inet", "spinney", "early", "iifname", "@ports", "drop"];
    assert!(text.lines().any(|line| line.split_whitespace().eq(chain)), "{text}");
    // A supervisor that is stopped mends nothing.
    machine.signal(libc::SIGSTOP);
    shell(
        "nft delete element inet spinney ports4 '{ tcp . 8080 }'; nft add element inet spinney inside '{ \"odd\" }'",
    )?;
    shell("nft flush chain inet t-rules fw")?;
    let listing = look(&[&name])?;
    assert_eq!(listing["in-force"], false);
    assert_eq!(state(&listing, "ports4", &port), [format!("\"{name}\" \"missing\"")]);
    assert_eq!(state(&listing, "inside", "\"odd\""), ["null \"not-ours\""]);
    let does = |listing: &Value| -> Vec<String> {
        let others = listing["others"].as_array().into_iter().flatten();
        others.map(|other| other["does"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(does(&listing), ["drops-from", "drops-to"]);
    machine.signal(libc::SIGCONT);
    let unknown = net(context, &["rules", "no-such-machine"]);
    assert_eq!(unknown.status, 125, "{unknown:#?}");
    let mut alone = Machine::start(context, &context.tree("busybox")?, &["--private-network"]);
    alone.ready()?;
    let refused = net(context, &["rules", &alone.name]);
    let told = format!(
        "spinney: error: machine '{}' has no network that rules are about\n  hint: machines in a zone, and with \
         --network-veth, have one\n",
        alone.name
    );
    assert_eq!((refused.status, refused.stderr), (125, told));
    drop((machine, alone));
    shell("nft delete table inet t-rules")?;
    Ok(())
}
