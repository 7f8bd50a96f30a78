//! Real machines and the rules of their packets: made with them, mended when somebody flushes all, gone with them, killed or not.

use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spinney::network::nft::Nfnetlink;
use spinney::network::nft::socket::Changes;
use spinney::network::rules;

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::{Machine, run_inside, state_of};

pub fn tests() -> Vec<Test> {
    let single: [Row; 4] =
        [("mended", mended), ("after_a_kill", after_a_kill), ("watcher_dies", watcher_dies), ("busy", busy)];
    single.map(|(name, test)| Test::new(format!("network_firewall::{name}"), test)).into()
}

/// A machine in the zone that machines have by default.
fn stays(context: &Context) -> Result<Machine, Stop> {
    let name = context.machine_name();
    let options = ["--network-zone=fw"];
    let mut machine =
        Machine::start_as(context, &name, &context.tree("busybox")?, &options, &["--", "sleep", "1000"]);
    machine.ready()?;
    Ok(machine)
}

fn tables() -> usize {
    Nfnetlink::open().unwrap().tables().unwrap().len()
}

fn ruleset() -> Result<String, String> {
    run(Command::new("nft").args(["list", "ruleset"])).ok()
}

/// Flushes all rules of the host and waits until ours are there again, as the kernel tells of each change.
fn flush_and_wait() -> Result<(), Stop> {
    let changes = Changes::follow()?;
    run(Command::new("nft").args(["flush", "ruleset"])).ok()?;
    let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
    while !rules::in_force()? {
        if poll(&mut [PollFd::new(&changes, PollFlags::IN)], Some(&patience))? == 0 {
            return Err(Stop::Fail("nobody mends the rules".to_owned()));
        }
        changes.any();
    }
    Ok(())
}

/// What is in the tables but for the order of elements.
fn sorted(listed: &str) -> Vec<String> {
    let mut words: Vec<String> = listed
        .split([',', '\n', '{', '}'])
        .map(|part| part.replace("elements =", "").trim().to_owned())
        .collect();
    words.sort();
    words
}

fn mended(context: &Context) -> TestResult {
    let (one, two) = (stays(context)?, stays(context)?);
    let listed = ruleset()?;
    for machine in [&one, &two] {
        assert!(listed.contains(&format!("comment \"{}\"", machine.name)), "{listed}");
    }
    flush_and_wait()?;
    assert_eq!(sorted(&ruleset()?), sorted(&listed));
    // A guest sees nothing of them: its own tables are empty.
    let inside = run_inside(
        &state_of(&one.name)?,
        "cat /proc/net/ip_tables_names 2>/dev/null; ls /proc/net/netfilter",
    )?;
    assert!(!inside.stdout.contains("spinney"));
    drop(one);
    run(context.spinney().arg("gc")).ok()?;
    assert!(tables() == 2);
    drop(two);
    run(context.spinney().arg("gc")).ok()?;
    assert_eq!(ruleset()?, "");
    Ok(())
}

fn after_a_kill(context: &Context) -> TestResult {
    let machine = stays(context)?;
    assert_eq!(tables(), 2);
    machine.signal(9);
    drop(machine);
    run(context.spinney().arg("gc")).ok()?;
    assert_eq!(tables(), 0);
    Ok(())
}

/// Another supervisor takes the place of the one that watched.
fn watcher_dies(context: &Context) -> TestResult {
    let (first, second) = (stays(context)?, stays(context)?);
    first.signal(9);
    drop(first);
    flush_and_wait()?;
    assert!(ruleset()?.contains(&format!("comment \"{}\"", second.name)));
    drop(second);
    run(context.spinney().arg("gc")).ok()?;
    assert_eq!(tables(), 0);
    Ok(())
}

/// CPU time of a process, in ticks (proc_pid_stat(5), utime and stime).
fn ticks(pid: u32) -> Result<u64, Stop> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").ok_or("no name")?;
    Ok(fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
}

/// Somebody who adds elements and rules all the time costs the watcher next to nothing, and it mends all the same.
fn busy(context: &Context) -> TestResult {
    let machine = stays(context)?;
    let base = "add table ip other\nadd set ip other s { type ipv4_addr; }\nadd chain ip other c { type filter hook forward priority 5; }\n";
    let elements = (0..1500).map(|n| format!("add element ip other s {{ 10.0.{}.{} }}\n", n / 250, n % 250));
    let rules = (0..300).map(|n| format!("add rule ip other c ip saddr 10.0.0.{} counter\n", n % 250));
    let script = context.subdirectory("busy").join("changes");
    std::fs::write(&script, elements.chain(rules).fold(base.to_owned(), |all, line| all + &line))?;
    let before = ticks(machine.supervisor())?;
    // Each line is a change of its own.
    run(Command::new("nft").arg("-i").stdin(std::fs::File::open(&script)?)).ok()?;
    let taken = ticks(machine.supervisor())? - before;
    assert!(taken <= 20, "{taken} ticks");
    assert_eq!(
        run(Command::new("nft").args(["list", "set", "ip", "other", "s"])).ok()?.matches("10.0.").count(),
        1500
    );
    flush_and_wait()?;
    assert!(!machine.messages().contains("error"), "{}", machine.messages());
    drop(machine);
    run(context.spinney().arg("gc")).ok()?;
    assert_eq!(tables(), 0);
    Ok(())
}
