//! A hundred Debian machines from one tree at once: all come up, the host does little for each, the tree is in memory once,
//! all go, and nothing is left.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::command::run;
use crate::detached::Detached;
use crate::harness::{Context, Stop, Test, TestResult};
use spinney::supervisor::state::Phase;

const MACHINES: usize = 100;

/// So many boot at the same time: more of them do not boot faster on a few processors, but each takes longer.
const AT_ONCE: usize = 8;

/// Processor time of the program and the supervisor, a machine, until it is ready, but for what the loader does: three times what
/// `make bench` holds the release build to, since this one is not optimised and the host has other things to do.
const HOST_WORK: Duration = Duration::from_millis(30);

/// Of the memory that a leader has mapped from files of the tree, what would be its own if all were counted alike: a
/// hundredth, and some.
const OWN_SHARE: f64 = 0.03;

/// What a supervisor may use of memory, as in [`crate::many`].
const PSS_KIB: u64 = 4096;

/// Free memory below which a hundred machines are not tried: they take a tenth of it.
const MEMORY_KIB: u64 = 4 << 20;

pub fn tests() -> Vec<Test> {
    vec![Test::new("hundred::at_once", at_once)]
}

fn at_once(context: &Context) -> TestResult {
    let tree = context.tree("debian-12")?;
    let available = memory("MemAvailable:");
    if available < MEMORY_KIB {
        return Err(Stop::Skip(format!("{available} KiB of memory are free, {MEMORY_KIB} wanted")));
    }
    let children = || cpu_of_children();
    let (before, cached) = (children(), page_cache());
    let begun = Instant::now();
    let machines = boot_all(context, |name| {
        Detached::start_as(context, name, &tree, &["--private-network", "-q"], &[])
    })?;
    let took = begun.elapsed();
    let command_line = children() - before;

    // All at the same time, each with ids of its own.
    let states = machines.iter().map(Detached::state).collect::<Result<Vec<_>, _>>()?;
    assert!(states.iter().all(|state| state.phase == Phase::Ready));
    let mut bases: Vec<u32> = states.iter().map(|state| state.id_base).collect();
    bases.sort_unstable();
    bases.dedup();
    assert_eq!(bases.len(), MACHINES, "some share their ids");
    let listed = run(context.spinney().args(["list", "-q"]));
    assert_eq!(listed.stdout.lines().filter(|name| name.starts_with(&context.prefix)).count(), MACHINES);

    let supervisors: Duration = states.iter().map(|state| cpu_of(state.supervisor)).sum();
    let loading = loading(context)?;
    let each = (supervisors + command_line) / u32::try_from(MACHINES)?;
    let most = states.iter().map(|state| rollup(state.supervisor, "Pss:")).max().unwrap_or(0);
    let shares: Vec<f64> = states.iter().map(|state| own_share(state.leader)).collect();
    let worst = shares.iter().copied().fold(0.0, f64::max);
    println!(
        "# {MACHINES} machines ready after {took:.1?}; {each:.1?} of host work each (supervisors {supervisors:.2?}, \
         command lines {command_line:.2?}; to load the program takes {loading:.1?}); supervisor PSS at most {most} KiB; of the tree's pages that a leader has \
         mapped {:.2} % are its own; {} KiB of memory a machine, {} KiB of page cache",
        worst * 100.0,
        available.saturating_sub(memory("MemAvailable:")) / MACHINES as u64,
        page_cache().saturating_sub(cached) / MACHINES as u64,
    );
    let each = each.saturating_sub(loading);
    assert!(each <= HOST_WORK, "{each:?} of host work a machine, beside the loader's");
    assert!(most < PSS_KIB, "a supervisor uses {most} KiB");
    assert!(worst < OWN_SHARE, "page cache is not shared: {shares:?}");

    let told = Instant::now();
    let names = machines.iter().map(|machine| machine.name.as_str());
    let stopped = run(context.spinney().args(["stop", "-q"]).args(names));
    assert_eq!((stopped.status, stopped.stderr.as_str()), (0, ""), "{stopped:#?}");
    assert!(machines.iter().all(|machine| machine.ended(Duration::ZERO)));
    println!("# all off after {:.1?}", told.elapsed());
    Ok(())
}

/// Boots them all, some at a time; the first fault ends it.
fn boot_all(
    context: &Context,
    boot: impl Fn(&str) -> Result<Detached, String> + Sync,
) -> Result<Vec<Detached>, String> {
    let names: Vec<String> = (0..MACHINES).map(|_| context.machine_name()).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let fault = Mutex::new(None);
    let locked = |fault: &Mutex<Option<String>>| fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if locked(&fault).is_some() {
                        break;
                    }
                    match boot(name) {
                        Ok(machine) => done.lock().unwrap_or_else(PoisonError::into_inner).push(machine),
                        Err(error) => *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
                    }
                }
            });
        }
    });
    let machines = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    locked(&fault).map_or(Ok(machines), Err)
}

/// Processor time of a program that does nothing: an unoptimised one is ten times as large as that of the bench.
fn loading(context: &Context) -> Result<Duration, Stop> {
    const STARTS: u32 = 20;
    let before = cpu_of_children();
    for _ in 0..STARTS {
        run(context.spinney().arg("--version")).ok()?;
    }
    Ok((cpu_of_children() - before) / STARTS)
}

/// Processor time of a process that lives, and not of its children (proc_pid_schedstat(5)).
fn cpu_of(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Processor time of all children that we have waited for, and theirs: cutime and cstime (proc_pid_stat(5)).
pub fn cpu_of_children() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[13..15].iter().map(|field| TICK * field.parse::<u32>().unwrap()).sum()
}

/// A field of what a process uses of memory in all, in KiB (proc_pid_smaps(5)).
fn rollup(pid: i32, field: &str) -> u64 {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap(), field)
}

/// What of the file pages that a process has mapped is its own, shared ones divided among those who share them.
fn own_share(pid: i32) -> f64 {
    let mapped = rollup(pid, "Rss:") - rollup(pid, "Anonymous:");
    rollup(pid, "Pss_File:") as f64 / mapped as f64
}

/// A field of /proc/meminfo, in KiB.
fn memory(field: &str) -> u64 {
    kib(&fs::read_to_string("/proc/meminfo").unwrap(), field)
}

/// Pages of files on disk, in KiB.
fn page_cache() -> u64 {
    memory("Cached:") - memory("Shmem:")
}

fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
