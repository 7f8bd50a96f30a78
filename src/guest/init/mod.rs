//! Which init a tree has.
//!
//! | file | PID 1 |
//! |---|---|
//! | `systemd` | systemd |
//! | `sysvinit` | sysvinit's init, with its own rc scripts or OpenRC's |
//! | `openrc` | openrc-init |
//! | `runit` | runit |
//! | `busybox` | the init applet of busybox, with its own scripts or OpenRC's |
//! | `finit` | finit |
//! | `unknown` | anything else |
//!
//! Each file has what gives its init away and its [`Contract`]. The program that will be executed decides, by what it is
//! linked with or has in it, never by which other files lie around: a tree may hold parts of several inits.

use std::fmt;
use std::path::{Path, PathBuf};

use super::architecture::Architecture;
use super::contract::Contract;
use super::error::TreeError;
use super::executable::{Executable, Format};
use crate::sys::in_root::{Root, absent_is_none};

mod busybox;
mod finit;
mod openrc;
mod runit;
mod systemd;
mod sysvinit;
mod unknown;

/// Where an init is looked for. /sbin/init decides where it is there: a tree whose init is another may still have
/// systemd's files. Without it systemd's own places count, as they do for systemd-nspawn(1), then the kernel's.
pub const PLACES: [&str; 6] =
    ["/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/etc/init", "/bin/init", "/init"];

/// Most of an init's program that is searched. Busybox, all applets, static, is 2 MiB.
const MAX_PROGRAM: usize = 8 << 20;

/// What runs as PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// systemd.
    Systemd,
    /// sysvinit's init.
    Sysvinit {
        /// What its inittab starts the services with.
        rc: Rc,
    },
    /// OpenRC's own init.
    Openrc,
    /// runit.
    Runit,
    /// Busybox's init applet.
    Busybox {
        /// What its inittab starts the services with.
        rc: Rc,
    },
    /// finit.
    Finit,
    /// None that we know.
    Unknown,
}

impl Init {
    /// Reads what [`DetectedInit`] says of itself, as a machine's state has it.
    pub fn from_words(words: &str) -> Self {
        const ALL: [Init; 8] = [
            Init::Systemd,
            Init::Sysvinit { rc: Rc::Openrc },
            Init::Sysvinit { rc: Rc::Scripts },
            Init::Openrc,
            Init::Runit,
            Init::Busybox { rc: Rc::Openrc },
            Init::Busybox { rc: Rc::Scripts },
            Init::Finit,
        ];
        // Longer names come first.
        let says = |init: &Init| {
            words.strip_prefix(&init.to_string()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        ALL.into_iter().find(says).unwrap_or(Self::Unknown)
    }
}

/// What starts the services where PID 1 only reads an inittab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rc {
    /// Scripts: /etc/init.d/rc, /etc/rc.d, /etc/init.d/rcS.
    Scripts,
    /// OpenRC.
    Openrc,
}

/// The version of an init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitVersion {
    /// The number before the first dot.
    pub major: u32,
    /// All of it.
    pub text: String,
}

impl InitVersion {
    /// Reads a version that begins with a number: `257`, `3.14`, `1.37.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { major: digits.parse().ok()?, text: text.to_owned() })
    }
}

/// The init of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedInit {
    /// Which it is.
    pub kind: Init,
    /// What to execute, in the tree.
    pub path: PathBuf,
    /// Its version where it can be told.
    pub version: Option<InitVersion>,
    /// What it is built for.
    pub architecture: Architecture,
}

impl DetectedInit {
    /// What we know of its behaviour.
    pub fn contract(&self) -> Contract {
        match self.kind {
            Init::Systemd => systemd::contract(self.version.as_ref().map(|version| version.major)),
            Init::Sysvinit { rc } => sysvinit::contract(rc),
            Init::Openrc => openrc::contract(),
            Init::Runit => runit::contract(),
            Init::Busybox { rc } => busybox::contract(rc),
            Init::Finit => finit::contract(),
            Init::Unknown => unknown::contract(),
        }
    }
}

impl DetectedInit {
    /// Whether it cannot boot on cgroup v2 and needs a named v1 hierarchy: systemd learned v2 for good in 231 (its NEWS).
    pub fn needs_legacy_cgroups(&self) -> bool {
        const FIRST_UNIFIED: u32 = 231;
        let old = |version: &InitVersion| version.major < FIRST_UNIFIED;
        self.kind == Init::Systemd && self.version.as_ref().is_some_and(old)
    }
}

impl fmt::Display for DetectedInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " {}", version.text))
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd",
            Self::Sysvinit { rc: Rc::Scripts } => "sysvinit",
            Self::Sysvinit { rc: Rc::Openrc } => "sysvinit with OpenRC",
            Self::Openrc => "openrc-init",
            Self::Runit => "runit",
            Self::Busybox { rc: Rc::Scripts } => "busybox init",
            Self::Busybox { rc: Rc::Openrc } => "busybox init with OpenRC",
            Self::Finit => "finit",
            Self::Unknown => "unknown init",
        })
    }
}

/// Finds the init of a tree, or tells what `explicit`, a path in the tree, is.
pub fn detect(root: &Root, explicit: Option<&Path>) -> Result<DetectedInit, TreeError> {
    if let Some(path) = explicit {
        let program = Executable::inspect(root, path)?
            .ok_or_else(|| TreeError::InitMissing { path: root.path().to_owned(), init: path.to_owned() })?;
        return identify(root, &program);
    }
    let mut unusable = None;
    for place in PLACES {
        match Executable::inspect(root, Path::new(place)) {
            Ok(Some(program)) => return identify(root, &program),
            Ok(None) => {}
            // A later place may do; if none does, the first fault says more than "no init".
            Err(error) => unusable = unusable.or(Some(error)),
        }
    }
    Err(unusable
        .unwrap_or_else(|| TreeError::NoInit { path: root.path().to_owned(), looked_at: PLACES.to_vec() }))
}

fn identify(root: &Root, program: &Executable) -> Result<DetectedInit, TreeError> {
    let (kind, version) = kind(root, program)?;
    Ok(DetectedInit { kind, path: program.path.clone(), version, architecture: program.architecture })
}

fn kind(root: &Root, program: &Executable) -> Result<(Init, Option<InitVersion>), TreeError> {
    if let Some(version) = systemd::by_libraries(program.needed()) {
        return Ok((Init::Systemd, version));
    }
    if matches!(program.format, Format::Script(_)) {
        return Ok((Init::Unknown, None));
    }
    // Busybox is the only one of size, 2 MB: where the name already says it, no more of it is read than has to be.
    if program.real_name.as_deref() == Some("busybox") {
        for piece in program.pieces_from_end(MAX_PROGRAM) {
            if let Some(version) = busybox::by_contents(&piece?) {
                return Ok((Init::Busybox { rc: rc(root)? }, version));
            }
        }
    }
    let contents = program.contents(MAX_PROGRAM)?;
    Ok(if let Some(version) = sysvinit::by_contents(&contents) {
        (Init::Sysvinit { rc: rc(root)? }, version)
    } else if let Some(version) = busybox::by_contents(&contents) {
        (Init::Busybox { rc: rc(root)? }, version)
    } else if openrc::by_contents(&contents) {
        (Init::Openrc, openrc::version(root)?)
    } else if runit::by_contents(&contents) {
        (Init::Runit, None)
    } else if let Some(version) = finit::by_contents(&contents) {
        (Init::Finit, version)
    } else if let Some(version) = systemd::by_contents(&contents) {
        (Init::Systemd, version)
    } else {
        (Init::Unknown, None)
    })
}

/// What the inittab starts: Alpine's runs openrc itself, Debian's runs /etc/init.d/rc, which OpenRC's package replaces.
fn rc(root: &Root) -> Result<Rc, TreeError> {
    const MAX_SCRIPT: usize = 64 << 10;
    for script in ["/etc/inittab", "/etc/init.d/rc"] {
        // A directory or FIFO of that name starts nothing either.
        let Ok(Some(contents)) = absent_is_none(root.read(script, MAX_SCRIPT)) else { continue };
        let code = contents.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        if code.into_iter().any(|line| find(line, b"/openrc").is_some()) {
            return Ok(Rc::Openrc);
        }
    }
    Ok(Rc::Scripts)
}

/// Where `needle` begins in `haystack`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut start = 0;
    while let Some(offset) = haystack.get(start..)?.iter().position(|byte| byte == first) {
        start += offset + 1;
        if haystack.get(start..)?.starts_with(rest) {
            return Some(start - 1);
        }
    }
    None
}

/// The version that follows the first `marker` that is followed by one.
fn version_after(haystack: &[u8], marker: &[u8]) -> Option<InitVersion> {
    const LONGEST: usize = 64;
    let mut rest = haystack;
    loop {
        rest = rest.get(find(rest, marker)? + marker.len()..)?;
        let word = rest.split(|byte| !byte.is_ascii_graphic()).next().unwrap_or_default();
        let word = word.get(..LONGEST).unwrap_or(word);
        if let Some(version) = InitVersion::parse(&String::from_utf8_lossy(word)) {
            return Some(version);
        }
    }
}

#[cfg(test)]
mod tests;
