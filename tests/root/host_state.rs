//! What of the host a machine could leave behind, as a set of lines that are compared before and after.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{TEST, program};

/// Directories of which nothing may be left.
const WATCHED: [&str; 4] =
    ["/run/spinney", "/run/systemd/nspawn-uid", "/var/lib/spinney", "/var/lib/machines"];

/// How long the kernel may take to end what a killed leader had: its processes die after it.
const KERNEL: Duration = Duration::from_secs(20);

/// The host at one moment.
#[derive(PartialEq, Eq)]
pub struct HostState {
    lines: BTreeSet<String>,
}

impl HostState {
    /// Looks. Of cgroups and processes only those count that belong to machines whose names begin with `prefix`, or
    /// run our own program: others may be at work on this host.
    pub fn look(prefix: &str) -> Self {
        let mut lines = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        lines.extend(mounts.lines().map(|line| format!("mount {line}")));
        for directory in WATCHED.map(Path::new) {
            files(directory, &mut lines);
        }
        for entry in fs::read_dir("/run").unwrap().flatten() {
            lines.insert(format!("file {}", entry.path().display()));
        }
        for entry in fs::read_dir("/var/log/journal").into_iter().flatten().flatten() {
            lines.insert(format!("file {}", entry.path().display()));
        }
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        lines.extend(
            hosts.lines().filter(|line| line.contains("spinney")).map(|line| format!("hosts {line}")),
        );
        // /sys/class/net is that of the network namespace which /sys was mounted in.
        let links = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        for link in links.lines().skip(2).filter_map(|line| line.split(':').next()) {
            lines.insert(format!("link {}", link.trim()));
        }
        for hierarchy in hierarchies(&mounts) {
            cgroups(&hierarchy, prefix, &mut lines);
        }
        processes(prefix, &mut lines);
        lines.retain(|line| !is_of_leases(line));
        Self { lines }
    }

    /// What is different now, one line each.
    pub fn changes(&self, prefix: &str) -> Vec<String> {
        let deadline = Instant::now() + KERNEL;
        loop {
            let now = Self::look(prefix);
            if now == *self || Instant::now() > deadline {
                let more = now.lines.difference(&self.lines).map(|line| format!("+ {line}"));
                let less = self.lines.difference(&now.lines).map(|line| format!("- {line}"));
                return more.chain(less).collect();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Addresses of machines outlive them: their records stay, and the directories that these are in.
fn is_of_leases(line: &str) -> bool {
    let Some(path) = line.strip_prefix("file ").and_then(|line| line.split(' ').next()) else { return false };
    let record = |path: &str| path.is_empty() || path.ends_with(".json") || path == "lock";
    let number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if let Some(rest) = path.strip_prefix("/var/lib/spinney/network") {
        return record(rest.trim_start_matches('/'));
    }
    match path.strip_prefix("/run/spinney/network") {
        Some(rest) => match rest.trim_start_matches('/').split_once('/') {
            Some((namespace, rest)) => number(namespace) && record(rest),
            None => number(rest.trim_start_matches('/')),
        },
        None => matches!(path, "/run/spinney" | "/var/lib/spinney"),
    }
}

fn files(path: &Path, lines: &mut BTreeSet<String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    lines.insert(format!(
        "file {} {:o} {}:{}",
        path.display(),
        metadata.mode(),
        metadata.uid(),
        metadata.gid()
    ));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            files(&entry.path(), lines);
        }
    }
}

/// Mount points of all cgroup hierarchies.
fn hierarchies(mounts: &str) -> Vec<PathBuf> {
    let cgroup = |line: &&str| {
        line.split_once(" - ")
            .is_some_and(|(_, right)| right.starts_with("cgroup ") || right.starts_with("cgroup2 "))
    };
    mounts.lines().filter(cgroup).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

fn cgroups(directory: &Path, prefix: &str, lines: &mut BTreeSet<String>) {
    let children: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    let path = directory.to_string_lossy();
    // Our parent of all machines' cgroups goes with the last one.
    if path.contains(prefix) || (directory.ends_with("spinney") && children.is_empty()) {
        lines.insert(format!("cgroup {path}"));
    }
    for child in children {
        cgroups(&child, prefix, lines);
    }
}

fn processes(prefix: &str, lines: &mut BTreeSet<String>) {
    let started = format!("{TEST}={prefix}");
    let program = fs::canonicalize(program()).unwrap_or_default();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path();
        let pid = process.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read =
            |name: &str| fs::read(path.join(name)).map(|text| String::from_utf8_lossy(&text).into_owned());
        let ours = fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program)
            && (read("environ").is_ok_and(|text| text.contains(&started))
                || read("cmdline").is_ok_and(|text| text.contains(prefix)))
            || read("cgroup").is_ok_and(|text| text.contains(prefix));
        // A zombie is gone but for its parent's attention.
        let zombie =
            read("stat").is_ok_and(|text| text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')));
        if ours && !zombie {
            let arguments = read("cmdline").unwrap_or_default().replace('\0', " ");
            lines.insert(format!("process {pid} {arguments}"));
        }
    }
}
