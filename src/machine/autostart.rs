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

use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use super::error::Error;
use super::schedule::Needs;
use crate::settings::{Autostart, MachineName, OfFiles, Places, files_of};
use crate::sys::files::{entries, make_directories, open_directory, remove_file_at, replace_at};

/// Files that enable machines.
const MARKERS: &str = "/etc/spinney/autostart";

/// Settings of machines.
const SETTINGS: &str = "/etc/spinney/machines";

/// Which machines are started with the host.
#[derive(Debug, Default)]
pub struct Enabled {
    /// Those that are enabled.
    pub machines: Vec<MachineName>,
    /// Those of which it cannot be told, and why not.
    pub unknown: Vec<(MachineName, Error)>,
}

/// All machines that are enabled, by name; and those of which it cannot be told, with the reason: a slip in the file of
/// one is no reason not to start the others.
///
/// # Errors
/// When a directory cannot be read.
pub fn enabled() -> Result<Enabled, Error> {
    let mut names = names_in(MARKERS, "", Entries::Files)?;
    names.extend(names_in(SETTINGS, ".toml", Entries::Files)?);
    names.extend(names_in(SETTINGS, ".toml.d", Entries::Directories)?);
    names.sort();
    names.dedup();
    let mut enabled = Enabled::default();
    for name in names {
        match is_enabled(&name) {
            Ok(true) => enabled.machines.push(name),
            Ok(false) => {}
            Err(error) => enabled.unknown.push((name, error)),
        }
    }
    Ok(enabled)
}

/// Whether machine `name` is enabled.
///
/// # Errors
/// When its settings cannot be read.
pub fn is_enabled(name: &MachineName) -> Result<bool, Error> {
    let said = settings_of(name)?.autostart.enabled;
    Ok(said.unwrap_or_else(|| Path::new(MARKERS).join(name.as_str()).exists()))
}

/// What the start of machine `name` depends on.
///
/// # Errors
/// When its settings cannot be read, or name what is no machine.
pub fn needs(name: &MachineName) -> Result<Needs, Error> {
    let Autostart { requires, wants, after, delay, .. } = settings_of(name)?.autostart;
    Ok(Needs { requires, wants, after, delay })
}

/// Enables machine `name`; says whether it was not before.
///
/// # Errors
/// When its settings say that it is not, or /etc cannot be written.
pub fn enable(name: &MachineName) -> Result<bool, Error> {
    refuse_what_settings_say(name, false)?;
    if is_enabled(name)? {
        return Ok(false);
    }
    // In place of what bears its name and is no file: a link that leads nowhere.
    let make = || replace_at(make_directories(Path::new(MARKERS), 0o755)?, name.as_str(), b"", 0o644);
    make().map(|()| true).map_err(Error::system("enable the machine"))
}

/// Disables machine `name`; says whether it was enabled before.
///
/// # Errors
/// When its settings say that it is enabled, or /etc cannot be written.
pub fn disable(name: &MachineName) -> Result<bool, Error> {
    refuse_what_settings_say(name, true)?;
    let was = is_enabled(name)?;
    remove_file_at(CWD, Path::new(MARKERS).join(name.as_str()))
        .map_err(Error::system("disable the machine"))?;
    Ok(was)
}

/// An administrator's own word is not for us to go behind: whether the settings of machine `name` leave it to others to say that
/// it is not `enabled`.
///
/// # Errors
/// When they do not, or cannot be read.
pub fn refuse_what_settings_say(name: &MachineName, enabled: bool) -> Result<(), Error> {
    let settings = settings_of(name)?;
    match settings.enabled_by {
        Some(path) if settings.autostart.enabled == Some(enabled) => {
            Err(Error::AutostartInSettings { path, enabled })
        }
        _ => Ok(()),
    }
}

fn settings_of(name: &MachineName) -> Result<OfFiles, Error> {
    Ok(files_of(name, &Places::default())?)
}

/// What of a directory counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    Files,
    Directories,
}

/// The machines that `directory` has an entry for: NAME and `suffix`. Others are none of ours.
fn names_in(directory: &str, suffix: &str, wanted: Entries) -> Result<Vec<MachineName>, Error> {
    let list = open_directory(Path::new(directory)).and_then(entries);
    let list = match list {
        Err(error) if error.errno() == Errno::NOENT => return Ok(Vec::new()),
        list => list.map_err(Error::system("look for machines that are enabled"))?,
    };
    let name = |(name, kind): (std::ffi::OsString, FileType)| {
        let name = name.to_str()?.strip_suffix(suffix)?.parse().ok()?;
        ((kind == FileType::Directory) == (wanted == Entries::Directories)).then_some(name)
    };
    Ok(list.into_iter().filter_map(name).collect())
}
