//! Which settings files a machine has, and reading them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::refused::SettingsError;
use crate::sys::files::{entries, open_at, open_directory, read_all};

/// Far more than any settings file has.
const LIMIT: usize = 1 << 20;

/// By what a file is told from a later one of the same name (stat(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stamp {
    inode: (u64, u64),
    size: u64,
    written: (i64, i64),
}

/// A file that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileSeen {
    /// Its path.
    pub path: PathBuf,
    /// Which it was; `None` where there was none.
    pub stamp: Option<Stamp>,
}

/// Reads settings files, and remembers which.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) seen: Vec<FileSeen>,
}

impl Reader {
    /// The text of `path`; `None` where there is no such file.
    pub(super) fn read(&mut self, path: &Path) -> Result<Option<(Rc<Path>, String)>, SettingsError> {
        let refused = |problem: &str, hint: &str| SettingsError::File {
            path: path.to_owned(),
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        };
        // A fifo would be waited for, and none is meant to be read here.
        let file = match open_at(CWD, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
        {
            Ok(file) => file,
            Err(error) if error.errno() == Errno::NOENT && !is_link(path) => {
                self.seen.push(FileSeen { path: path.to_owned(), stamp: None });
                return Ok(None);
            }
            // There is no directory for it.
            Err(error) if error.errno() == Errno::NOTDIR => {
                self.seen.push(FileSeen { path: path.to_owned(), stamp: None });
                return Ok(None);
            }
            Err(error) if error.errno() == Errno::NOENT => {
                return Err(refused("it is a link to nothing", "remove the link, or make what it points to"));
            }
            Err(error) => {
                let hint = match error.errno() {
                    Errno::ACCESS => "try again with sudo",
                    Errno::LOOP => "the link leads back to itself",
                    _ => "--settings=no goes without settings files",
                };
                return Err(refused(&error.errno().to_string(), hint));
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| refused(&errno.to_string(), "try again"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => {
                return Err(refused("it is a directory", "settings are in a file of this name"));
            }
            _ => return Err(refused("it is not a regular file", "settings are in a file of this name")),
        }
        let stamp = stamp_of(&stat);
        self.seen.push(FileSeen { path: path.to_owned(), stamp: Some(stamp) });
        let bytes =
            read_all(&file, LIMIT + 1).map_err(|error| refused(&error.errno().to_string(), "try again"))?;
        if bytes.len() > LIMIT {
            return Err(refused("it is larger than 1 MiB", "settings files are short texts"));
        }
        let line_of = |at: usize| 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(refused(
                &format!("it has a NUL byte on line {}", line_of(at)),
                "settings files are texts",
            ));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some((path.into(), text.to_owned()))),
            Err(error) => {
                let line = line_of(error.valid_up_to());
                Err(refused(&format!("it is not UTF-8 on line {line}"), "settings files are UTF-8 texts"))
            }
        }
    }
}

fn stamp_of(stat: &rustix::fs::Stat) -> Stamp {
    Stamp {
        inode: (stat.st_dev, stat.st_ino),
        size: stat.st_size.unsigned_abs(),
        written: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    }
}

/// What `path` is now.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    rustix::fs::stat(path).ok().as_ref().map(stamp_of)
}

/// The drop-ins that a machine's file has now; none for other files.
pub(super) fn drop_ins_of(file: &Path) -> Vec<PathBuf> {
    let is_machines = file.parent().and_then(Path::file_name).is_some_and(|name| name == "machines")
        && file.extension().is_some_and(|extension| extension == "toml");
    let directory = file.to_str().filter(|_| is_machines).map(|file| format!("{file}.d"));
    directory.and_then(|directory| drop_ins(Path::new(&directory)).ok()).unwrap_or_default()
}

/// The `*.toml` files in `directory`, by name, without hidden ones.
pub(super) fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let listed = match open_directory(directory).and_then(entries) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        listed => listed.map_err(|error| SettingsError::File {
            path: directory.to_owned(),
            problem: error.errno().to_string(),
            hint: "it is the directory of drop-ins; try again with sudo".to_owned(),
        })?,
    };
    let mut names: Vec<_> = listed.into_iter().map(|(name, _)| name).collect();
    names.retain(|name| {
        let bytes = name.as_encoded_bytes();
        bytes.ends_with(b".toml") && !bytes.starts_with(b".")
    });
    names.sort();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}
