//! A hundred machines at once from one tree, and the list of many: what only a manager of machines is asked for, so that no
//! peer stands beside it.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::contenders::Ground;

/// Machines of the crowd, and how many of them boot at the same time.
const MACHINES: usize = 100;
const AT_ONCE: usize = 8;

/// Records that are listed, and how often.
const RECORDS: usize = 500;
const ROUNDS: usize = 21;

/// All that `spinney` keeps of machines that run.
const REGISTRY: &str = "/run/spinney/machines";
const SCRATCH: &str = "/var/lib/spinney/scratch";

/// What it keeps of machines that ran.
const ARCHIVE: &str = "/var/log/spinney";

/// How long a machine may take to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a crowd took.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) machines: usize,
    /// Until all were ready.
    pub(crate) ready: Duration,
    /// Until all were gone.
    pub(crate) gone: Duration,
    /// Processor time of the command line and of the supervisor, a machine.
    pub(crate) command_line: Duration,
    /// The same, of the supervisor.
    pub(crate) supervisor: Duration,
    /// Of each supervisor (proc_pid_smaps(5)), in KiB, sorted.
    pub(crate) pss: Vec<u64>,
    /// What the host has less of memory, a machine, in KiB: guests, supervisors and the kernel's own for them.
    pub(crate) memory: u64,
    /// Of the file pages that a leader has mapped, the share that is its own: a hundredth where all share one tree.
    pub(crate) own_share: f64,
    /// Files in /run and on disk for a machine, in KiB.
    pub(crate) state: u64,
    /// Files of its layer.
    pub(crate) layer: u64,
}

/// Boots and ends the crowd.
pub(crate) fn measure(ground: &Ground) -> Result<Crowd, Box<dyn Error>> {
    let (memory, children) = (meminfo("MemAvailable:")?, cpu_of_children()?);
    let begun = Instant::now();
    let machines = boot_all(ground, "crowd", &ground.tree(), &["-d", "-x", "--private-network"])?;
    let ready = begun.elapsed();
    let count = u32::try_from(MACHINES)?;
    let mut crowd = Crowd {
        machines: MACHINES,
        ready,
        gone: Duration::ZERO,
        command_line: (cpu_of_children()? - children) / count,
        supervisor: Duration::ZERO,
        pss: Vec::new(),
        memory: memory.saturating_sub(meminfo("MemAvailable:")?) / u64::from(count),
        own_share: 0.0,
        state: used(Path::new(REGISTRY)) / u64::from(count),
        layer: used(Path::new(SCRATCH)) / u64::from(count),
    };
    for machine in &machines.0 {
        let (supervisor, leader) = (&machine["supervisor"], &machine["leader"]);
        crowd.supervisor += cpu_of(supervisor)? / count;
        crowd.pss.push(rollup(supervisor, "Pss:")?);
        let mapped = rollup(leader, "Rss:")? - rollup(leader, "Anonymous:")?;
        crowd.own_share = crowd.own_share.max(rollup(leader, "Pss_File:")? as f64 / mapped as f64);
    }
    crowd.pss.sort_unstable();
    let told = Instant::now();
    drop(machines);
    crowd.gone = told.elapsed();
    Ok(crowd)
}

/// Times of `spinney list` of many records, sorted. They are of machines whose supervisor is this very process.
pub(crate) fn measure_list(ground: &Ground) -> Result<Vec<Duration>, Box<dyn Error>> {
    let _records = Records::make(ground)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let listed = ground.verb(&["list"]).stderr(Stdio::inherit()).output()?;
        times.push(begun.elapsed());
        let count = String::from_utf8_lossy(&listed.stdout).matches("bench-record-").count();
        if !listed.status.success() || count != RECORDS {
            return Err(format!("spinney list shows {count} machines of {RECORDS}").into());
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// Records, which go with this.
struct Records(Vec<PathBuf>);

impl Records {
    fn make(ground: &Ground) -> Result<Self, Box<dyn Error>> {
        let process = std::process::id();
        let stat = fs::read_to_string("/proc/self/stat")?;
        let started: u64 =
            stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(19)).ok_or("stat")?.parse()?;
        let mut records = Self(Vec::new());
        for number in 0..RECORDS {
            let name = format!("bench-record-{number}");
            let path = Path::new(REGISTRY).join(&name);
            fs::create_dir_all(&path)?;
            let state = json!({
                "name": name, "phase": "ready", "leader": process, "leader-started": started,
                "supervisor": process, "supervisor-started": started, "tree": ground.work.join("tree"),
                "ephemeral": true, "background": true, "uuid": "0c1d2e3f-0000-4000-8000-000000000000",
                "started-at": 1_795_322_354_000_000_u64, "ready-at": 1_795_322_354_312_000_u64,
                "init": "systemd 252", "os": "Debian GNU/Linux 12 (bookworm)", "id-base": 655_360,
                "id-size": 65536, "cgroup": format!("/spinney/{name}/payload"), "boots": 1,
                "status": "Startup finished in 260ms.",
            });
            fs::write(path.join("state"), serde_json::to_vec_pretty(&state)?)?;
            records.0.push(path);
        }
        Ok(records)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        for record in &self.0 {
            let _ = fs::remove_file(record.join("state"));
            let _ = fs::remove_dir(record);
        }
        let _ = fs::remove_dir(REGISTRY);
        let _ = fs::remove_dir("/run/spinney");
    }
}

/// State files of machines that run; they are ended when dropped.
pub(crate) struct Machines(pub(crate) Vec<Value>);

/// Boots them all from `tree` with `options`, so many at a time; their names end in `suffix` and a number. After a fault those that are booting come up, so that they can be ended.
pub(crate) fn boot_all(
    ground: &Ground,
    suffix: &str,
    tree: &Path,
    options: &[&str],
) -> Result<Machines, Box<dyn Error>> {
    let mut machines = Machines(Vec::new());
    let mut booting: Vec<(String, Child)> = Vec::new();
    let mut next = 0;
    let mut fault = None;
    while !booting.is_empty() || (next < MACHINES && fault.is_none()) {
        while booting.len() < AT_ONCE && next < MACHINES && fault.is_none() {
            let suffix = format!("{suffix}-{next}");
            let mut command = ground.spinney_of(tree, &suffix, options, &[]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            booting.push((ground.machine(&suffix), command.spawn()?));
            next += 1;
        }
        let mut still = Vec::new();
        for (name, mut child) in booting.drain(..) {
            match child.try_wait()? {
                None => still.push((name, child)),
                Some(status) if status.success() => {
                    let state = fs::read(Path::new(REGISTRY).join(&name).join("state"))?;
                    machines.0.push(serde_json::from_slice(&state)?);
                }
                Some(status) => fault = Some(format!("{name} does not boot: {status}")),
            }
        }
        booting = still;
        std::thread::sleep(Duration::from_millis(2));
    }
    fault.map_or(Ok(machines), |fault| Err(fault.into()))
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in &self.0 {
            let _ = Command::new("kill").arg(machine["supervisor"].to_string()).status();
        }
        let deadline = Instant::now() + PATIENCE;
        let lives = |machine: &Value| Path::new(&format!("/proc/{}/exe", machine["supervisor"])).exists();
        while self.0.iter().any(lives) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        for name in self.0.iter().filter_map(|machine| machine["name"].as_str()) {
            let _ = fs::remove_dir_all(Path::new(ARCHIVE).join(name));
        }
        let _ = fs::remove_dir(ARCHIVE);
    }
}

/// Processor time of a process (proc_pid_schedstat(5)).
pub(crate) fn cpu_of(pid: &Value) -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?))
}

/// Processor time of all children that we have waited for: cutime and cstime (proc_pid_stat(5)), in ticks of 10 ms.
pub(crate) fn cpu_of_children() -> Result<Duration, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields = text.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u32 = fields.skip(13).take(2).map(|field| field.parse::<u32>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(10) * ticks)
}

fn rollup(pid: &Value, field: &str) -> Result<u64, Box<dyn Error>> {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, field)
}

pub(crate) fn meminfo(field: &str) -> Result<u64, Box<dyn Error>> {
    kib(&fs::read_to_string("/proc/meminfo")?, field)
}

fn kib(text: &str, field: &str) -> Result<u64, Box<dyn Error>> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or_else(|| format!("no {field}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// What the files below `path` take on their file system, in KiB.
fn used(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    let below: u64 = if metadata.is_dir() {
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| used(&entry.path())).sum()
    } else {
        0
    };
    metadata.blocks() / 2 + below
}
