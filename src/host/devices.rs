//! Devices of this host, by their nodes and by their drivers. Looked at only for machines that are given some.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Stat};
use rustix::io::Errno;

use crate::sys::files::{entries, open_directory, read_at};
use crate::sys::{SysError, SysResult};

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its path below what was asked for; empty for that itself.
    pub below: PathBuf,
    /// A block device, not a character device.
    pub block: bool,
    /// Major and minor number.
    pub numbers: (u32, u32),
    /// Its permissions.
    pub mode: u32,
}

/// A path that is none of a device.
fn no_device(path: &Path) -> SysError {
    SysError::new("stat", format!("{path:?}, not a device"), Errno::NODEV)
}

fn stat(path: &Path) -> SysResult<Stat> {
    rustix::fs::stat(path).map_err(|errno| SysError::new("stat", format!("{path:?}"), errno))
}

fn node(below: PathBuf, stat: &Stat) -> Option<Node> {
    let block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        _ => return None,
    };
    let numbers = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Some(Node { below, block, numbers, mode: stat.st_mode & 0o7777 })
}

/// The device at `path`, or those in that directory and its subdirectories (/dev/snd, /dev/dri).
///
/// # Errors
/// When it is not there, or holds no device.
pub fn nodes(path: &Path) -> SysResult<Vec<Node>> {
    let found = stat(path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Ok(vec![node(PathBuf::new(), &found).ok_or_else(|| no_device(path))?]);
    }
    let mut nodes = Vec::new();
    collect(path, Path::new(""), 0, &mut nodes)?;
    if nodes.is_empty() { Err(no_device(path)) } else { Ok(nodes) }
}

fn collect(path: &Path, below: &Path, depth: u32, nodes: &mut Vec<Node>) -> SysResult<()> {
    /// No directory of devices is deeper (/dev/bus/usb/001), nor has more.
    const DEPTH: u32 = 4;
    const MOST: usize = 1024;
    for (name, kind) in entries(open_directory(&path.join(below))?)? {
        let below = below.join(&name);
        match kind {
            FileType::Directory if depth < DEPTH => collect(path, &below, depth + 1, nodes)?,
            FileType::BlockDevice | FileType::CharacterDevice if nodes.len() < MOST => {
                let found = stat(&path.join(&below))?;
                nodes.extend(node(below, &found));
            }
            _ => {}
        }
    }
    nodes.sort_by(|one, other| one.below.cmp(&other.below));
    Ok(())
}

/// Major numbers of the driver `name`.
///
/// # Errors
/// When this host has no such driver.
pub fn majors(block: bool, name: &str) -> SysResult<Vec<u32>> {
    const PATH: &str = "/proc/devices";
    let text = read_at(CWD, PATH, 1 << 20)?;
    let majors = majors_in(&String::from_utf8_lossy(&text), block, name);
    if majors.is_empty() {
        let kind = if block { "block" } else { "character" };
        return Err(SysError::new("read", format!("{PATH}, {kind} driver {name:?}"), Errno::NODEV));
    }
    Ok(majors)
}

/// Those of a /proc/devices text: two sections with a number and a name a line. One driver can have several numbers.
fn majors_in(text: &str, block: bool, name: &str) -> Vec<u32> {
    let mut in_section = false;
    let mut majors = Vec::new();
    for line in text.lines() {
        match line {
            "Character devices:" => in_section = !block,
            "Block devices:" => in_section = block,
            _ if in_section => {
                let pair = line.trim_start().split_once(' ');
                majors.extend(
                    pair.filter(|(_, known)| *known == name)
                        .and_then(|(number, _)| number.parse::<u32>().ok()),
                );
            }
            _ => {}
        }
    }
    majors
}

/// The numbers of the disk that `path` is a node of, or is a file on. The kernel limits whole disks, not partitions.
///
/// # Errors
/// When it is not there, or on no disk.
pub fn disk(path: &Path) -> SysResult<(u32, u32)> {
    let found = stat(path)?;
    let device = match FileType::from_raw_mode(found.st_mode) {
        FileType::BlockDevice => found.st_rdev,
        _ => found.st_dev,
    };
    let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
    let sysfs = PathBuf::from(format!("/sys/dev/block/{}:{}", numbers.0, numbers.1));
    if !sysfs.exists() {
        return Err(SysError::new("stat", format!("{path:?}, not on a block device"), Errno::NOTBLK));
    }
    if !sysfs.join("partition").exists() {
        return Ok(numbers);
    }
    let whole = read_at(CWD, sysfs.join("../dev"), 64)?;
    let whole = String::from_utf8_lossy(&whole).trim().to_owned();
    let parsed =
        whole.split_once(':').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| SysError::new("read", format!("{sysfs:?}/../dev, {whole:?}"), Errno::BADMSG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers() {
        let text = "Character devices:\n  1 mem\n136 pts\n137 pts\n 10 misc\n\nBlock devices:\n  7 loop\n254 virtblk\n";
        for (block, name, expected) in [
            (false, "pts", vec![136, 137]),
            (true, "loop", vec![7]),
            (false, "loop", vec![]),
            (true, "pts", vec![]),
            (false, "p", vec![]),
        ] {
            assert_eq!(majors_in(text, block, name), expected, "{name}");
        }
    }

    #[test]
    fn nodes_of_this_host() {
        let null = nodes(Path::new("/dev/null")).unwrap();
        assert_eq!((null.len(), null[0].block, null[0].numbers), (1, false, (1, 3)));
        assert!(nodes(Path::new("/dev")).unwrap().iter().any(|node| node.below == Path::new("null")));
        for (path, errno) in
            [("/etc/passwd", Errno::NODEV), ("/dev/none", Errno::NOENT), ("/etc", Errno::NODEV)]
        {
            assert_eq!(nodes(Path::new(path)).unwrap_err().errno(), errno, "{path}");
        }
    }

    #[test]
    fn what_is_on_no_disk() {
        assert_eq!(disk(Path::new("/proc")).unwrap_err().errno(), Errno::NOTBLK);
        assert_eq!(disk(Path::new("/dev/none")).unwrap_err().errno(), Errno::NOENT);
    }
}
