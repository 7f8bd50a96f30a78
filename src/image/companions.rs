//! What else there is of an image by its name: its settings, its root hash and verity data. They go where it goes, as with
//! machinectl (systemd's image_settings_path(), image_roothash_path()).

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::Error;
use super::name::ImageName;
use super::store::{Image, Store};
use crate::settings::Places;
use crate::sys::files::{entries, make_directory_at, open_at, open_directory, remove_tree_at};
use crate::sys::{SysError, SysResult, sys};

/// What is beside an image.
const BESIDE: [&str; 5] = [".nspawn", ".toml", ".roothash", ".roothash.p7s", ".verity"];

/// The companions that there are of image `name` whose own path is `path`.
pub fn of(store: &Store, name: &ImageName, path: &Path) -> Vec<PathBuf> {
    possible(store, name, path).into_iter().filter(|path| rustix::fs::lstat(path).is_ok()).collect()
}

/// All that there may be, in an order that does not depend on the name.
fn possible(store: &Store, name: &ImageName, path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut found: Vec<PathBuf> = BESIDE.map(|suffix| directory.join(format!("{name}{suffix}"))).into();
    // Those in /etc are of images of the system.
    if store.is_system() {
        let places = Places::default();
        found.extend(places.nspawn.iter().map(|directory| directory.join(format!("{name}.nspawn"))));
        let machines = places.spinney.join("machines");
        found.extend([".toml", ".toml.d"].map(|suffix| machines.join(format!("{name}{suffix}"))));
        found.push(places.spinney.join("autostart").join(name.as_str()));
    }
    found
}

/// Removes those of `image`.
///
/// # Errors
/// The first fault; the others are removed.
pub fn remove(store: &Store, image: &Image) -> Result<(), Error> {
    let mut result = Ok(());
    for path in of(store, &image.name, &image.path) {
        // A directory of drop-ins is one of them.
        if let Err(error) = remove_tree_at(CWD, &path) {
            result = result.and(Err(Error::system("remove", &path)(error)));
        }
    }
    result
}

/// Renames those of `image` to those of `new`; where there are some of that name, they stay.
///
/// # Errors
/// The first fault; the others are renamed.
pub fn rename(store: &Store, image: &Image, new: &ImageName) -> Result<(), Error> {
    each(store, image, new, |from, to| {
        let call = || format!("{from:?}, {to:?}, RENAME_NOREPLACE");
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
            .map_err(|errno| SysError::new("renameat2", call(), errno))
    })
}

/// Files that were copied for an image that is not there yet: removed when dropped, unless they are [kept](Copied::keep).
#[derive(Debug, Default)]
pub struct Copied(Vec<PathBuf>);

impl Copied {
    /// The image is there.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        for path in &self.0 {
            // Whoever wants them gone does so by name; there is nobody to tell.
            let _ = remove_tree_at(CWD, path);
        }
    }
}

/// Copies those of `image` for a clone `new`, but for what makes a machine start with the host.
///
/// # Errors
/// The first fault; nothing is copied then.
pub fn copy(store: &Store, image: &Image, new: &ImageName) -> Result<Copied, Error> {
    let autostart = Places::default().spinney.join("autostart");
    let copied = std::cell::RefCell::new(Copied::default());
    each(store, image, new, |from, to| {
        if from.starts_with(&autostart) || rustix::fs::lstat(from).is_err() || rustix::fs::lstat(to).is_ok() {
            return Ok(());
        }
        copied.borrow_mut().0.push(to.to_owned());
        copy_file(from, to)
    })?;
    Ok(copied.into_inner())
}

fn each(
    store: &Store,
    image: &Image,
    new: &ImageName,
    act: impl Fn(&Path, &Path) -> SysResult<()>,
) -> Result<(), Error> {
    let mut result = Ok(());
    let pairs = possible(store, &image.name, &image.path).into_iter().zip(possible(store, new, &image.path));
    for (from, to) in pairs {
        match act(&from, &to) {
            Err(error) if !matches!(error.errno(), Errno::NOENT | Errno::EXIST) => {
                result = result.and(Err(Error::system("make", &to)(error)));
            }
            _ => {}
        }
    }
    result
}

/// Copies a file, or the files of a directory. One that is there stays.
fn copy_file(from: &Path, to: &Path) -> SysResult<()> {
    let source = open_at(CWD, from, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let stat = sys("fstat", rustix::fs::fstat(&source), || format!("{from:?}"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            drop(make_directory_at(CWD, to, 0o755)?);
            let list = entries(open_directory(from)?)?;
            let files = list.into_iter().filter(|(_, kind)| *kind != FileType::Directory);
            files.into_iter().try_for_each(|(name, _)| copy_file(&from.join(&name), &to.join(&name)))
        }
        FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let target = open_at(CWD, to, flags, Mode::from_raw_mode(stat.st_mode & 0o777))?;
            let copied = std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(target));
            copied.map(drop).map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                SysError::new("copy_file_range", format!("{from:?}, {to:?}"), errno)
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageKind;

    #[test]
    fn beside_images() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        let path = |name: &str| temporary.path().join(name);
        let image =
            |name: &str| Image { name: name.parse().unwrap(), path: path(name), kind: ImageKind::Directory };
        let web = image("web");
        let names = |name: &str| -> Vec<String> {
            let found = of(&store, &name.parse().unwrap(), &path(name));
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        for file in ["web.nspawn", "web.toml", "web.roothash", "web2.nspawn"] {
            std::fs::write(path(file), file).unwrap();
        }
        std::fs::write(path("db.toml"), "mine").unwrap();
        assert_eq!(names("web"), ["web.nspawn", "web.toml", "web.roothash"]);
        let copied = copy(&store, &web, &"db".parse().unwrap()).unwrap();
        assert_eq!(names("db").len(), 3);
        // The clone did not come to be; what a person had written stays.
        drop(copied);
        assert_eq!(names("db"), ["db.toml"]);
        copy(&store, &web, &"db".parse().unwrap()).unwrap().keep();
        assert_eq!(names("db"), ["db.nspawn", "db.toml", "db.roothash"]);
        assert_eq!(std::fs::read_to_string(path("db.toml")).unwrap(), "mine");
        assert_eq!(std::fs::read_to_string(path("db.nspawn")).unwrap(), "web.nspawn");
        rename(&store, &web, &"new".parse().unwrap()).unwrap();
        assert_eq!((names("web").len(), names("new").len()), (0, 3));
        remove(&store, &image("new")).unwrap();
        assert_eq!((names("new").len(), names("web2")), (0, vec!["web2.nspawn".to_owned()]));
    }
}
