//! Which machines are started with the host, where no systemd does it, and what their start depends on.
//!
//! A machine is enabled by a file of its name in `/etc/spinney/autostart`, whose content is nobody's, or by its settings,
//! which also say what it depends on:
//!
//! ```toml
//! [autostart]
//! enabled = true            # or the file; a false here forbids it
//! requires = ["db"]         # started with it, and before it; without db it is not started
//! wants = ["cache"]         # started with it, and before it
//! after = ["proxy"]         # before it, if it is started at all
//! delay = "5s"              # waits so long after all these
//! ```

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;
use super::schedule::Needs;
use crate::settings::{Autostart, MachineName, Places, files_of};
use crate::sys::files::{entries, make_directories, open_at, open_directory, remove_file_at};
use crate::sys::{SysError, SysResult};

/// Files that enable machines.
const MARKERS: &str = "/etc/spinney/autostart";

/// Settings of machines.
const SETTINGS: &str = "/etc/spinney/machines";

/// All machines that are enabled, by name.
///
/// # Errors
/// When the settings of one cannot be read, or a directory.
pub fn enabled() -> Result<Vec<MachineName>, Error> {
    let mut names = names_in(MARKERS, "")?;
    names.extend(names_in(SETTINGS, ".toml")?);
    names.sort();
    names.dedup();
    let mut enabled = Vec::new();
    for name in names {
        if is_enabled(&name)? {
            enabled.push(name);
        }
    }
    Ok(enabled)
}

/// Whether machine `name` is enabled.
///
/// # Errors
/// When its settings cannot be read.
pub fn is_enabled(name: &MachineName) -> Result<bool, Error> {
    let said = settings_of(name)?.enabled;
    Ok(said.unwrap_or_else(|| Path::new(MARKERS).join(name.as_str()).exists()))
}

/// What the start of machine `name` depends on.
///
/// # Errors
/// When its settings cannot be read, or name what is no machine.
pub fn needs(name: &MachineName) -> Result<Needs, Error> {
    let Autostart { requires, wants, after, delay, .. } = settings_of(name)?;
    Ok(Needs { requires, wants, after, delay })
}

/// Enables machine `name`; says whether it was not before.
///
/// # Errors
/// When its settings say that it is not, or /etc cannot be written.
pub fn enable(name: &MachineName) -> Result<bool, Error> {
    if settings_of(name)?.enabled == Some(false) {
        return Err(said_in_settings(name, false));
    }
    if is_enabled(name)? {
        return Ok(false);
    }
    let make = || -> SysResult<()> {
        let markers = make_directories(Path::new(MARKERS), 0o755)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW;
        open_at(markers, name.as_str(), flags, Mode::from_raw_mode(0o644)).map(drop)
    };
    make().map(|()| true).map_err(Error::system("enable the machine"))
}

/// Disables machine `name`; says whether it was enabled before.
///
/// # Errors
/// When its settings say that it is enabled, or /etc cannot be written.
pub fn disable(name: &MachineName) -> Result<bool, Error> {
    if settings_of(name)?.enabled == Some(true) {
        return Err(said_in_settings(name, true));
    }
    let was = is_enabled(name)?;
    remove_file_at(CWD, Path::new(MARKERS).join(name.as_str()))
        .map_err(Error::system("disable the machine"))?;
    Ok(was)
}

fn settings_path(name: &MachineName) -> PathBuf {
    Path::new(SETTINGS).join(format!("{name}.toml"))
}

fn said_in_settings(name: &MachineName, enabled: bool) -> Error {
    Error::AutostartInSettings { path: settings_path(name), enabled }
}

fn settings_of(name: &MachineName) -> Result<Autostart, Error> {
    Ok(files_of(name, &Places::default())?.autostart)
}

/// The machines that `directory` has a file for: NAME and `suffix`. Other files are none of ours.
fn names_in(directory: &str, suffix: &str) -> Result<Vec<MachineName>, Error> {
    let list = open_directory(Path::new(directory)).and_then(entries);
    let list = match list {
        Err(error) if error.errno() == Errno::NOENT => return Ok(Vec::new()),
        list => list.map_err(Error::system("look for machines that are enabled"))?,
    };
    let name = |(name, kind): (std::ffi::OsString, FileType)| {
        let name = name.to_str()?.strip_suffix(suffix)?.parse().ok()?;
        (kind != FileType::Directory).then_some(name)
    };
    Ok(list.into_iter().filter_map(name).collect())
}

/// Whether systemd is the host's PID 1 (sd_booted(3)).
pub fn is_systemd_host() -> bool {
    rustix::fs::lstat("/run/systemd/system")
        .map_err(|errno| SysError::new("lstat", "/run/systemd/system", errno))
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
