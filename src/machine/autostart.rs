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
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::error::Error;
use super::schedule::Needs;
use crate::settings::{MachineName, parse_duration};
use crate::sys::files::{entries, make_directories, open_at, open_directory, read_at, remove_file_at};
use crate::sys::{SysError, SysResult};

/// Files that enable machines.
const MARKERS: &str = "/etc/spinney/autostart";

/// Settings of machines.
const SETTINGS: &str = "/etc/spinney/machines";

/// Settings larger than this are none.
const LIMIT: usize = 1 << 20;

/// The longest delay that makes sense before a machine's start.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 3600);

/// The part of a machine's settings that matters here.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Autostart {
    enabled: Option<bool>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    wants: Vec<String>,
    #[serde(default)]
    after: Vec<String>,
    delay: Option<Span>,
}

/// `5` or `"5s"`.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Span {
    Seconds(u32),
    Text(String),
}

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
    let settings = settings_of(name)?;
    parsed(settings).map_err(|problem| bad(name, problem))
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

fn bad(name: &MachineName, problem: String) -> Error {
    Error::AutostartSettings { path: settings_path(name), problem }
}

fn settings_of(name: &MachineName) -> Result<Autostart, Error> {
    match read_at(CWD, settings_path(name), LIMIT) {
        Ok(text) => parse(&String::from_utf8_lossy(&text)).map_err(|problem| bad(name, problem)),
        Err(error) if error.errno() == Errno::NOENT => Ok(Autostart::default()),
        Err(source) => Err(Error::system("read the machine's settings")(source)),
    }
}

fn parse(text: &str) -> Result<Autostart, String> {
    /// All else is not ours to judge.
    #[derive(Deserialize)]
    struct Settings {
        autostart: Option<Autostart>,
    }
    let settings: Settings = toml::from_str(text).map_err(|error| {
        let line =
            error.span().map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}{}", error.message().replace('\n', " "))
    })?;
    Ok(settings.autostart.unwrap_or_default())
}

fn parsed(settings: Autostart) -> Result<Needs, String> {
    let names = |key: &str, names: Vec<String>| -> Result<Vec<MachineName>, String> {
        let parse = |name: String| name.parse().map_err(|error| format!("autostart.{key}: {error}"));
        names.into_iter().map(parse).collect()
    };
    let delay = match settings.delay {
        None => Duration::ZERO,
        Some(Span::Seconds(seconds)) => Duration::from_secs(seconds.into()),
        Some(Span::Text(text)) => parse_duration(&text)
            .map_err(|error| format!("autostart.delay: {error}"))?
            .ok_or("autostart.delay: a machine that waits for ever is not enabled")?,
    };
    Ok(Needs {
        requires: names("requires", settings.requires)?,
        wants: names("wants", settings.wants)?,
        after: names("after", settings.after)?,
        delay: delay.min(LONGEST_DELAY),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let name = |text: &str| text.parse::<MachineName>().expect("a name");
        let none = Needs::default;
        let rows: &[(&str, Result<Needs, &str>)] = &[
            ("", Ok(none())),
            ("[limits]\nmemory = \"1G\"\n", Ok(none())),
            ("[autostart]\nenabled = true\n", Ok(none())),
            (
                "[autostart]\nrequires = [\"db\", \"web-1\"]\nwants = [\"c\"]\nafter = [\"p\"]\ndelay = 5\n",
                Ok(Needs {
                    requires: vec![name("db"), name("web-1")],
                    wants: vec![name("c")],
                    after: vec![name("p")],
                    delay: Duration::from_secs(5),
                }),
            ),
            ("[autostart]\ndelay = \"2min\"", Ok(Needs { delay: Duration::from_secs(120), ..none() })),
            ("\n[autostart]\nrequries = []", Err("line 3: unknown field `requries`")),
            (
                "[autostart]\nrequires = \"db\"",
                Err("line 2: invalid type: string \"db\", expected a sequence"),
            ),
            ("[autostart]\nafter = [\"-\"]", Err("autostart.after: \"-\" ")),
            ("[autostart]\ndelay = \"infinity\"", Err("autostart.delay: a machine that waits for ever")),
            ("[autostart]\ndelay = \"soon\"", Err("autostart.delay: \"soon\" ")),
            ("[autostart", Err("line 1: ")),
        ];
        for (text, expected) in rows {
            match (parse(text).and_then(parsed), expected) {
                (Ok(needs), Ok(expected)) => assert_eq!(needs, *expected, "{text}"),
                (Err(problem), Err(expected)) if problem.starts_with(expected) => {}
                (result, expected) => panic!("{text}: {result:?}, not {expected:?}"),
            }
        }
    }
}
