//! Images by name, in the directories where systemd looks for them (machinectl(1), "Files and directories").
//!
//! An image is a directory, a block device, a disk image, layers, or a directory of versions of one of these; or a symlink
//! to one. What begins with a dot is a download that is not whole yet, or the host itself (`.host`): no image.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::error::Error;
use crate::settings::{MachineName, Places, files_of, nearest};
use crate::sys::SysError;
use crate::sys::files::{entries, open_directory};

/// Where images are, the first that has one wins.
pub const SEARCH_PATH: [&str; 6] = [
    "/etc/machines",
    "/run/machines",
    "/var/lib/machines",
    "/var/lib/container",
    "/usr/local/lib/machines",
    "/usr/lib/machines",
];

/// Suffixes of images that are no plain directories, and what has them (systemd.mstack(7), systemd.v(7)).
const SUFFIXES: [(&str, FileType); 5] = [
    (".raw", FileType::RegularFile),
    (".mstack", FileType::Directory),
    (".v", FileType::Directory),
    (".raw.v", FileType::Directory),
    (".mstack.v", FileType::Directory),
];

/// The tree of machine `name`: what its settings call its directory, else the image of this name.
///
/// # Errors
/// [`Error::NoImage`] where there is none, [`Error::ImageKind`] where it is something that is no image,
/// [`Error::Settings`] when its settings are wrong.
pub fn find(name: &MachineName) -> Result<PathBuf, Error> {
    if let Some(directory) = files_of(name, &Places::default())?.directory {
        return Ok(directory);
    }
    find_in(&SEARCH_PATH.map(Path::new), name)
}

fn find_in(directories: &[&Path], name: &MachineName) -> Result<PathBuf, Error> {
    for directory in directories {
        let path = directory.join(name.as_str());
        match file_type(&path)? {
            Some(FileType::Directory | FileType::BlockDevice) => return Ok(path),
            Some(_) => return Err(kind_error(name, path, "a file")),
            None => {}
        }
        for (suffix, wanted) in SUFFIXES {
            let path = directory.join(format!("{name}{suffix}"));
            if file_type(&path)? == Some(wanted) {
                return Ok(path);
            }
        }
    }
    let names = names_in(directories);
    let nearest = nearest(name.as_str(), names.iter().map(String::as_str)).map(str::to_owned);
    Err(Error::NoImage { name: name.to_string(), nearest })
}

/// The names of all images.
pub fn names() -> Vec<String> {
    names_in(&SEARCH_PATH.map(Path::new))
}

fn names_in(directories: &[&Path]) -> Vec<String> {
    let mut names = Vec::new();
    for directory in directories {
        let list = open_directory(directory).and_then(entries).unwrap_or_default();
        names.extend(list.into_iter().filter_map(|(name, _)| {
            let name = name.into_string().ok()?;
            let found = file_type(&directory.join(&name)).ok().flatten()?;
            let of_kind = SUFFIXES.iter().rev().find(|(suffix, _)| name.ends_with(suffix));
            let image = match of_kind {
                Some((suffix, wanted)) => (found == *wanted).then(|| name.strip_suffix(suffix))??,
                None => {
                    matches!(found, FileType::Directory | FileType::BlockDevice).then_some(name.as_str())?
                }
            };
            image.parse::<MachineName>().is_ok().then(|| image.to_owned())
        }));
    }
    names.sort();
    names.dedup();
    names
}

fn kind_error(name: &MachineName, path: PathBuf, kind: &'static str) -> Error {
    Error::ImageKind { name: name.to_string(), path, kind }
}

/// The administrator's own symlinks are followed.
fn file_type(path: &Path) -> Result<Option<FileType>, Error> {
    match rustix::fs::statat(CWD, path, AtFlags::empty()) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => {
            Err(Error::system("look for images")(SysError::new("newfstatat", format!("{path:?}"), errno)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn images() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let (first, second) = (temporary.path().join("first"), temporary.path().join("second"));
        for directory in
            ["first/web", "first/.#tar", "second/web", "second/db", "second/lay.mstack", "second/x.v"]
        {
            std::fs::create_dir_all(temporary.path().join(directory)).expect("make");
        }
        for file in ["second/disk.raw", "second/notes"] {
            std::fs::write(temporary.path().join(file), "").expect("write");
        }
        symlink("db", second.join("alias")).expect("symlink");
        symlink("nowhere", second.join("dangling")).expect("symlink");
        let missing = temporary.path().join("missing");
        let rows: &[(&str, Result<&str, &str>)] = &[
            ("web", Ok("first/web")),
            ("db", Ok("second/db")),
            ("alias", Ok("second/alias")),
            ("dangling", Err("no image \"dangling\"")),
            ("dbb", Err("no image \"dbb\"; did you mean \"db\"?")),
            ("disk", Ok("second/disk.raw")),
            ("lay", Ok("second/lay.mstack")),
            ("x", Ok("second/x.v")),
            ("notes", Err("\"notes\" is a file, which is no image")),
        ];
        let directories = [missing.as_path(), &first, &second];
        for (name, expected) in rows {
            let found = find_in(&directories, &name.parse().expect("a name"));
            let found = found.map(|path| path.strip_prefix(temporary.path()).expect("below").to_owned());
            match (found, expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path, Path::new(expected)),
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), *expected),
                (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
            }
        }
        assert_eq!(names_in(&directories), ["alias", "db", "disk", "lay", "web", "x"]);
    }
}
