//! Memory and idle processor time of supervisors whose machines have booted.

use std::error::Error;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::contenders::Ground;
use super::timing::{ReadySocket, is_missing_program, power_off};

/// So many of ours at once.
const MACHINES: usize = 20;

/// So many of systemd-nspawn's: more than a dozen exhaust the inotify instances (fs.inotify.max_user_instances) that its
/// guests have in common.
const PEERS: usize = 5;

/// How long the guests may take to become quiet.
const SETTLE: Duration = Duration::from_secs(10);

/// How long they are watched.
const WATCH: Duration = Duration::from_secs(10);

/// What supervisors use.
pub(crate) struct Usage {
    pub(crate) name: &'static str,
    pub(crate) running: usize,
    /// Proportional set size of each (proc_pid_smaps(5)), in KiB, sorted.
    pub(crate) pss: Vec<u64>,
    /// What is resident of each, in KiB, sorted.
    pub(crate) rss: Vec<u64>,
    /// Clock ticks that all of them used while they were watched (proc_pid_stat(5)).
    pub(crate) ticks: u64,
    /// How long that was.
    pub(crate) watched: Duration,
}

/// Boots machines of ours, then of systemd-nspawn, and looks at their supervisors.
pub(crate) fn measure(ground: &Ground) -> Result<Vec<Usage>, Box<dyn Error>> {
    let boot = ["--private-network", "--volatile=overlay", "--notify-ready=yes"];
    let ours = usage("spinney", MACHINES, ground, |suffix| ground.spinney(suffix, &boot, &[]))?;
    // Each wants a cgroup of its own, which a host with systemd would give it as a unit.
    let peers = if ground.cgroups.is_empty() { 1 } else { PEERS };
    let peer = usage("systemd-nspawn", peers, ground, |suffix| {
        ground.nspawn(suffix, &["-U", "-b", boot[0], boot[1], boot[2]], &[])
    });
    let mut all = vec![ours];
    match peer {
        Ok(usage) => all.push(usage),
        Err(error) if is_missing_program(&*error) => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

fn usage(
    name: &'static str,
    running: usize,
    ground: &Ground,
    command: impl Fn(&str) -> Command,
) -> Result<Usage, Box<dyn Error>> {
    let mut machines = Machines(Vec::new());
    for number in 0..running {
        let suffix = format!("memory-{number}");
        let ready = ReadySocket::listen(ground, &suffix)?;
        let mut command = command(&suffix);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ground.enter_cgroup(&suffix)?;
        let machine = ready.spawn(&mut command);
        ground.leave_cgroup()?;
        machines.0.push(machine?);
        ready.wait()?;
    }
    sleep(SETTLE);
    let ticks = |machines: &Machines| machines.0.iter().map(ticks).sum::<Result<u64, Box<dyn Error>>>();
    let before = ticks(&machines)?;
    sleep(WATCH);
    let ticks = ticks(&machines)? - before;
    let sorted = |field| -> Result<Vec<u64>, Box<dyn Error>> {
        let mut values =
            machines.0.iter().map(|machine| memory(machine, field)).collect::<Result<Vec<_>, _>>()?;
        values.sort_unstable();
        Ok(values)
    };
    Ok(Usage { name, running, pss: sorted("Pss:")?, rss: sorted("Rss:")?, ticks, watched: WATCH })
}

/// Powers the machines off, all at once.
struct Machines(Vec<Child>);

impl Drop for Machines {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for machine in &mut self.0 {
                scope.spawn(|| power_off(machine));
            }
        });
    }
}

fn memory(machine: &Child, field: &str) -> Result<u64, Box<dyn Error>> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", machine.id()))?;
    let line =
        rollup.lines().find_map(|line| line.strip_prefix(field)).ok_or("smaps_rollup lacks a field")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn ticks(machine: &Child) -> Result<u64, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", machine.id()))?;
    // After the name, which may hold anything but ends at the last parenthesis, utime and stime are the 12th and 13th.
    let (_, fields) = stat.rsplit_once(')').ok_or("stat lacks a name")?;
    Ok(fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum())
}
