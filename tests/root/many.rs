//! Twenty systemd machines at once from one tree, with the inotify limits as the kernel has them by default.

use std::fs;
use std::time::Duration;

use crate::harness::{Context, Stop, Test, TestResult};
use crate::machine::Machine;

const MACHINES: usize = 20;

/// The kernel's default of fs.inotify.max_user_instances (fs/notify/inotify/inotify_user.c).
const INOTIFY_INSTANCES: u64 = 128;

/// Bounds for a build with debug information and no optimisation; `make bench` holds the release build to its own.
const PSS_KIB: u64 = 4608;

/// How long idleness is watched, and how many clock ticks (10 ms) all supervisors together may use in it.
const WATCH: Duration = Duration::from_secs(2);
const TICKS: u64 = 1;
const WINDOWS: usize = 5;

pub fn tests() -> Vec<Test> {
    vec![Test::new("many::twenty_at_once", twenty_at_once)]
}

fn twenty_at_once(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let limit: u64 = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances")?.trim().parse()?;
    if limit > INOTIFY_INSTANCES {
        return Err(Stop::Skip(format!("fs.inotify.max_user_instances was raised to {limit} here")));
    }
    let mut machines: Vec<Machine> = (0..MACHINES).map(|_| Machine::start(context, &tree, &[])).collect();
    for machine in &mut machines {
        machine.ready()?;
    }
    for machine in &machines {
        assert_eq!(machine.says("systemctl is-system-running --wait")?, "running", "{}", machine.name);
    }
    let mut bases: Vec<u32> = machines.iter().map(|machine| machine.state().unwrap().id_base).collect();
    bases.sort_unstable();
    bases.dedup();
    assert_eq!(bases.len(), MACHINES, "some share their ids");

    let pss: Vec<u64> = machines.iter().map(|machine| pss_kib(machine.supervisor())).collect();
    let used = || machines.iter().map(|machine| ticks(machine.supervisor())).sum::<u64>();
    let most = pss.iter().max().unwrap();
    // What guests still have to say after their boot is no idleness: the best of some windows counts.
    let window = || {
        let before = used();
        std::thread::sleep(WATCH);
        used() - before
    };
    let idle = (0..WINDOWS)
        .map(|_| window())
        .find(|ticks| *ticks <= TICKS)
        .expect("supervisors that are never idle");
    println!(
        "# {MACHINES} supervisors: {} KiB PSS each, {most} at most; {idle} ticks of CPU in {WATCH:?}",
        pss.iter().sum::<u64>() / pss.len() as u64
    );
    assert!(*most < PSS_KIB, "{pss:?}");

    machines.iter().for_each(|machine| machine.signal(libc::SIGTERM));
    for mut machine in machines {
        assert_eq!(machine.wait()?, 0, "{}", machine.output());
        assert!(!machine.messages().contains("does not stop"), "{}", machine.output());
    }
    Ok(())
}

fn pss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// utime and stime (proc_pid_stat(5)).
fn ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}
