//! Twenty systemd machines at once from one tree, with the inotify limits as the kernel has them by default.

use std::fs;
use std::time::Duration;

use crate::harness::{Context, Stop, Test, TestResult};
use crate::machine::Machine;

const MACHINES: usize = 20;

/// The kernel's default of fs.inotify.max_user_instances (fs/notify/inotify/inotify_user.c).
const INOTIFY_INSTANCES: u64 = 128;

/// What a supervisor may write to and share with nobody, but for the program's relocations: its heap, its stack, its maps. A build with
/// debug information and no optimisation has 900 KiB of it, most of that stack. How much of such a build's 80 MiB of code is mapped
/// depends on how the page cache came by it: PSS is `make bench`'s, which measures the release build.
const OWN_KIB: u64 = 1280;

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

    let own: Vec<u64> = machines.iter().map(|machine| own_kib(machine.supervisor())).collect();
    let used = || machines.iter().map(|machine| ticks(machine.supervisor())).sum::<u64>();
    let most = own.iter().max().unwrap();
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
        "# {MACHINES} supervisors: {} KiB of their own each, {most} at most; {idle} ticks of CPU in {WATCH:?}",
        own.iter().sum::<u64>() / own.len() as u64
    );
    assert!(*most < OWN_KIB, "{own:?}");

    machines.iter().for_each(|machine| machine.signal(libc::SIGTERM));
    for mut machine in machines {
        assert_eq!(machine.wait()?, 0, "{}", machine.output());
        assert!(!machine.messages().contains("does not stop"), "{}", machine.output());
    }
    Ok(())
}

/// Private_Dirty of all mappings but the program's (proc_pid_smaps(5)).
fn own_kib(pid: u32) -> u64 {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut of_program = false;
    let mut sum = 0;
    for line in text.lines() {
        match line
            .split_once(":")
            .filter(|(field, _)| field.starts_with(|first: char| first.is_ascii_uppercase()))
        {
            // The address range, and what is mapped there.
            None => of_program = line.ends_with(program.to_str().unwrap()),
            Some(("Private_Dirty", kib)) if !of_program => {
                sum += kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
            Some(_) => {}
        }
    }
    assert!(sum > 0, "no mappings of {pid}");
    sum
}

/// utime and stime (proc_pid_stat(5)).
fn ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}
