//! Devices that a machine gets or may use: docker's `--device=` and systemd's `DeviceAllow=`.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::settings::ValueError;

/// What may be done with a device; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAccess {
    /// Opened for reading.
    pub read: bool,
    /// Opened for writing.
    pub write: bool,
    /// Made, by mknod(2).
    pub make: bool,
}

/// `--device=PATH[:GUESTPATH][:ACCESS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceGrant {
    /// The host's node, or a directory of such.
    pub path: PathBuf,
    /// Where in the machine, below /dev.
    pub target: PathBuf,
    /// What the machine may do with it.
    pub access: DeviceAccess,
}

/// `--device-allow=DEVICE [ACCESS]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAllow {
    /// Which devices.
    pub devices: Devices,
    /// What the machine may do with them.
    pub access: DeviceAccess,
}

/// Some devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    /// The one with this node on the host.
    Node(PathBuf),
    /// All of a driver, by its name in /proc/devices.
    Driver {
        /// Block devices, or character devices.
        block: bool,
        /// The driver's name.
        name: String,
    },
    /// By their numbers.
    Numbers {
        /// Block devices, or character devices.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number; `None` is all.
        minor: Option<u32>,
    },
}

impl DeviceAccess {
    /// All three.
    pub const ALL: Self = Self { read: true, write: true, make: true };

    fn parse(text: &str) -> Option<Self> {
        let known = !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter));
        let has = |letter| text.contains(letter);
        known.then(|| Self { read: has('r'), write: has('w'), make: has('m') })
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        [(self.read, "r"), (self.write, "w"), (self.make, "m")]
            .into_iter()
            .filter(|(has, _)| *has)
            .try_for_each(|(_, letter)| f.write_str(letter))
    }
}

const GRANT_HINT: &str = "PATH[:GUESTPATH][:ACCESS], for example /dev/fuse or /dev/sdb:/dev/data:r";

impl FromStr for DeviceGrant {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| Err(ValueError::new(text, problem, GRANT_HINT));
        let parts: Vec<&str> = text.split(':').collect();
        let (path, target, access) = match parts[..] {
            [path] => (path, path, None),
            // docker takes the second part for either.
            [path, second] if second.starts_with('/') => (path, second, None),
            [path, second] => (path, path, Some(second)),
            [path, target, access] => (path, if target.is_empty() { path } else { target }, Some(access)),
            _ => return refused("has too many parts"),
        };
        if !Path::new(path).is_absolute() {
            return refused("is not the path of a device");
        }
        let access = match access.map(DeviceAccess::parse) {
            None => DeviceAccess::ALL,
            Some(Some(access)) => access,
            Some(None) => return refused("has an access that is not of the letters r, w and m"),
        };
        let target = Path::new(target);
        let below_dev = target.strip_prefix("/dev").is_ok_and(|rest| rest != Path::new(""));
        if !below_dev || target.components().any(|part| part == Component::ParentDir) {
            return Err(ValueError::new(
                text,
                "would put a device elsewhere than below /dev",
                "a device opens only in the machine's /dev: /dev/sdb:/dev/data",
            ));
        }
        Ok(Self { path: PathBuf::from(path), target: target.to_path_buf(), access })
    }
}

impl fmt::Display for DeviceGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.target.display(), self.access)
    }
}

const ALLOW_HINT: &str = "a node, char-DRIVER, block-DRIVER or 'c MAJOR:MINOR', then r, w, m of them: '/dev/loop0 rw', \
                          'char-input r', 'b 7:* rwm'";

impl FromStr for DeviceAllow {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, ALLOW_HINT);
        let words: Vec<&str> = text.split_whitespace().collect();
        let (devices, access) = match words[..] {
            [kind @ ("c" | "char" | "b" | "block"), numbers, ref rest @ ..] => {
                let devices = numbered(kind.starts_with('b'), numbers);
                (devices.ok_or_else(|| refused("has no device numbers"))?, rest)
            }
            [device, ref rest @ ..] => (named(device).ok_or_else(|| refused("names no device"))?, rest),
            [] => return Err(refused("names no device")),
        };
        let access = match *access {
            [] => DeviceAccess::ALL,
            [access] => DeviceAccess::parse(access)
                .ok_or_else(|| refused("has an access that is not of the letters r, w and m"))?,
            _ => return Err(refused("has too many parts")),
        };
        Ok(Self { devices, access })
    }
}

fn numbered(block: bool, numbers: &str) -> Option<Devices> {
    let (major, minor) = numbers.split_once(':')?;
    let minor = match minor {
        "*" => None,
        minor => Some(minor.parse().ok()?),
    };
    Some(Devices::Numbers { block, major: major.parse().ok()?, minor })
}

fn named(device: &str) -> Option<Devices> {
    let driver = |block, name: &str| Devices::Driver { block, name: name.to_owned() };
    match (device.strip_prefix("char-"), device.strip_prefix("block-")) {
        (Some(name), _) if !name.is_empty() => Some(driver(false, name)),
        (_, Some(name)) if !name.is_empty() => Some(driver(true, name)),
        _ => device.starts_with('/').then(|| Devices::Node(PathBuf::from(device))),
    }
}

impl fmt::Display for DeviceAllow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |block: &bool| if *block { "block" } else { "char" };
        match &self.devices {
            Devices::Node(path) => write!(f, "{}", path.display())?,
            Devices::Driver { block, name } => write!(f, "{}-{name}", kind(block))?,
            Devices::Numbers { block, major, minor: Some(minor) } => {
                write!(f, "{} {major}:{minor}", kind(block))?;
            }
            Devices::Numbers { block, major, minor: None } => write!(f, "{} {major}:*", kind(block))?,
        }
        write!(f, " {}", self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants() {
        for (text, expected) in [
            ("/dev/fuse", Ok("/dev/fuse:/dev/fuse:rwm")),
            ("/dev/fuse:r", Ok("/dev/fuse:/dev/fuse:r")),
            ("/dev/sdb:/dev/data", Ok("/dev/sdb:/dev/data:rwm")),
            ("/dev/sdb:/dev/data:mr", Ok("/dev/sdb:/dev/data:rm")),
            ("/dev/sdb::rw", Ok("/dev/sdb:/dev/sdb:rw")),
            ("/srv/node:/dev/x", Ok("/srv/node:/dev/x:rwm")),
            ("fuse", Err("is not the path of a device")),
            ("", Err("is not the path of a device")),
            ("/dev/fuse:x", Err("has an access that is not of the letters r, w and m")),
            ("/dev/fuse:", Err("has an access that is not of the letters r, w and m")),
            ("/dev/a:/dev/b:r:w", Err("has too many parts")),
            ("/dev/sdb:/opt/data", Err("would put a device elsewhere than below /dev")),
            ("/dev/sdb:/dev", Err("would put a device elsewhere than below /dev")),
            ("/dev/sdb:/dev/../etc/x", Err("would put a device elsewhere than below /dev")),
            ("/srv/node", Err("would put a device elsewhere than below /dev")),
        ] {
            let parsed = text.parse::<DeviceGrant>();
            let shown = parsed.as_ref().map(ToString::to_string);
            assert_eq!(shown.as_deref().map_err(|error| error.problem()), expected, "{text}");
            if let Ok(shown) = shown {
                assert_eq!(shown.parse::<DeviceGrant>(), parsed, "{text}");
            }
        }
    }

    #[test]
    fn allowed_devices() {
        for (text, expected) in [
            ("/dev/loop0 rw", Ok("/dev/loop0 rw")),
            ("/dev/loop0", Ok("/dev/loop0 rwm")),
            ("char-pts r", Ok("char-pts r")),
            ("block-loop  w", Ok("block-loop w")),
            ("c 1:3 rwm", Ok("char 1:3 rwm")),
            ("block 7:* m", Ok("block 7:* m")),
            ("b 7:0", Ok("block 7:0 rwm")),
            ("", Err("names no device")),
            ("loop0", Err("names no device")),
            ("char-", Err("names no device")),
            ("c 1", Err("has no device numbers")),
            ("c x:y r", Err("has no device numbers")),
            ("/dev/loop0 rx", Err("has an access that is not of the letters r, w and m")),
            ("/dev/loop0 r w", Err("has too many parts")),
        ] {
            let parsed = text.parse::<DeviceAllow>();
            let shown = parsed.as_ref().map(ToString::to_string);
            assert_eq!(shown.as_deref().map_err(|error| error.problem()), expected, "{text}");
            if let Ok(shown) = shown {
                assert_eq!(shown.parse::<DeviceAllow>(), parsed, "{text}");
            }
        }
    }
}
