//! The directory that they are in: what is read of it, what of ours comes and goes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::{DIRECTORY, MachinedFile, SERVICE, started_at};
use crate::supervisor::registry::remove_if_empty;
use crate::sys::files::{
    entries, make_directories, open_directory, read_at, remove_file_at, replace_by, while_parents_vanish,
};
use crate::sys::{SysError, SysResult};

/// What is before the unit's name in that of the link to its machine's file.
const UNIT_LINK: &str = "unit:";

/// A longer one is none.
const LIMIT: usize = 64 << 10;

impl MachinedFile {
    /// Writes it, whole or not at all; one of a living machine of somebody else's stays. Says whether it was written.
    ///
    /// # Errors
    /// When /run is full.
    pub fn write(&self) -> SysResult<bool> {
        while_parents_vanish(|| {
            let directory = make_directories(Path::new(DIRECTORY), 0o755)?;
            let before = read_in(&directory, &self.name)?;
            if before.as_ref().is_some_and(|before| !before.is_of(self.supervisor) && before.is_alive()) {
                return Ok(false);
            }
            let unfinished = unfinished(&self.name, std::process::id());
            replace_by(&directory, &unfinished, &self.name, self.text().as_bytes(), 0o644)?;
            self.link(&directory)?;
            Ok(true)
        })
    }

    /// Whether it is of a machine of ours, with that supervisor.
    fn is_of(&self, supervisor: i32) -> bool {
        self.service == SERVICE && self.supervisor == supervisor
    }

    fn link(&self, directory: &OwnedFd) -> SysResult<()> {
        if self.unit.is_empty() {
            return Ok(());
        }
        let link = self.unit_link();
        // A unit may have several machines: it is the first one's, until that ends.
        if linked(directory, &link).is_some_and(|file| file.is_alive()) {
            return Ok(());
        }
        gone(remove_file_at(directory, &link))?;
        match rustix::fs::symlinkat(&self.name, directory, &link) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(SysError::new("symlinkat", format!("{:?}, {link:?}", self.name), errno)),
        }
    }

    fn unit_link(&self) -> String {
        format!("{UNIT_LINK}{}", self.unit)
    }
}

/// The file that a unit's link leads to.
fn linked(directory: &OwnedFd, link: &str) -> Option<MachinedFile> {
    let name = rustix::fs::readlinkat(directory, link, Vec::new()).ok()?;
    read_in(directory, name.to_str().ok()?).ok()?
}

/// What is written of the machine `name`; `None` for nothing.
///
/// # Errors
/// When it cannot be read.
pub fn read(name: &str) -> SysResult<Option<MachinedFile>> {
    match open_directory(Path::new(DIRECTORY)) {
        Ok(directory) => read_in(&directory, name),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_in(directory: &OwnedFd, name: &str) -> SysResult<Option<MachinedFile>> {
    match read_at(directory, name, LIMIT) {
        Ok(text) => Ok(MachinedFile::parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the file of `name` that a supervisor of ours wrote, and directories that are empty then.
///
/// # Errors
/// The first fault; that nothing is there is none.
pub fn remove_ours(name: &str, supervisor: i32) -> SysResult<()> {
    match read(name)? {
        Some(file) if file.is_of(supervisor) => remove(&file),
        _ => remove_directories(),
    }
}

/// Removes `file` and its link, and directories that are empty then.
///
/// # Errors
/// The first fault; that nothing is there is none.
pub fn remove(file: &MachinedFile) -> SysResult<()> {
    if let Ok(directory) = open_directory(Path::new(DIRECTORY)) {
        let link = file.unit_link();
        let to = rustix::fs::readlinkat(&directory, &link, Vec::new());
        gone(remove_file_at(&directory, &file.name))?;
        if to.is_ok_and(|to| to.to_bytes() == file.name.as_bytes()) {
            gone(remove_file_at(&directory, &link))?;
            let next = all(&directory).find(|next| next.unit == file.unit && next.is_alive());
            next.map_or(Ok(()), |next| next.link(&directory))?;
        }
    }
    remove_directories()
}

/// All that it says of machines.
pub fn read_all() -> Vec<MachinedFile> {
    open_directory(Path::new(DIRECTORY)).map(|directory| all(&directory).collect()).unwrap_or_default()
}

fn all(directory: &OwnedFd) -> impl Iterator<Item = MachinedFile> {
    let names =
        entries(directory).unwrap_or_default().into_iter().filter_map(|(name, _)| name.into_string().ok());
    let names = names.filter(|name| !name.starts_with('.') && !name.contains(':'));
    names.filter_map(move |name| read_in(directory, &name).ok().flatten().filter(|file| file.name == name))
}

/// Removes the files of machines of ours whose leader and supervisor are dead and that nothing else is known of: no machine
/// `is_known` that could do it. Gives their names.
pub fn sweep(is_known: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(directory) = open_directory(Path::new(DIRECTORY)) else { return Vec::new() };
    let is_lost = |file: &MachinedFile| {
        file.service == SERVICE && !file.is_supervised() && !file.is_alive() && !is_known(&file.name)
    };
    let lost = all(&directory).filter(is_lost);
    lost.filter(|file| remove(file).is_ok()).map(|file| file.name).collect()
}

/// What a file is called while process `writer` writes it.
fn unfinished(name: &str, writer: u32) -> String {
    format!(".#{name}.{writer}")
}

/// The process that writes the file called `entry`; `None` for one that is finished, or systemd's.
fn writer_of(entry: &str) -> Option<i32> {
    entry.strip_prefix(".#")?.rsplit_once('.')?.1.parse().ok()
}

/// Removes what writers that were killed left unfinished.
///
/// # Errors
/// The first fault; that nothing is there is none.
pub fn sweep_unfinished() -> SysResult<()> {
    let directory = match open_directory(Path::new(DIRECTORY)) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        opened => opened?,
    };
    for (entry, _) in entries(&directory)? {
        let writer = entry.to_str().and_then(writer_of);
        if writer.is_some_and(|writer| started_at(writer).is_none()) {
            gone(remove_file_at(&directory, &entry))?;
        }
    }
    remove_directories()
}

/// Who has directories of its own in /run/systemd makes that of the machines too, for others to watch (sd_login_monitor_new(3)):
/// systemd at boot, elogind when it starts.
const MADE_BY_OTHERS: [&str; 2] = ["/run/systemd/system", "/run/systemd/seats"];

fn remove_directories() -> SysResult<()> {
    if MADE_BY_OTHERS.iter().any(|path| rustix::fs::lstat(*path).is_ok()) {
        return Ok(());
    }
    let run = open_directory(Path::new("/run"))?;
    gone(remove_if_empty(&run, "systemd/machines"))?;
    gone(remove_if_empty(&run, "systemd"))
}

/// That it is gone already is as good.
fn gone(removed: SysResult<()>) -> SysResult<()> {
    match removed {
        Err(error) if error.errno() == Errno::NOENT => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes() {
        for name in ["web", "web.7", "a-b"] {
            assert_eq!(writer_of(&unfinished(name, 41)), Some(41));
            assert_eq!(writer_of(name), None);
            // As systemd names them.
            for random in ["0123456789abcdef", "1234567890123456"] {
                assert_eq!(writer_of(&format!(".#{name}{random}")), None);
            }
        }
    }
}
