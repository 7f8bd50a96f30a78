//! Where an image came from: one JSON record an image, `STATE/images/NAME.json`.
//!
//! A record is about one image, not about a name: of an image that something else has put in its place it says nothing. That
//! of an image that is being made is on its side, as `STATE/images/NAME.next`, before the image has its name: whenever
//! its maker is killed, what there is says where it came from, the old one or the new. Records are renamed and removed with
//! their image; those whose image is gone are swept.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::CWD;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::lock::lock_name;
use super::name::ImageName;
use super::store::{Image, ImageKind, Store};
use crate::sys::files::{entries, make_directories, open_directory, read_at, remove_file_at, replace_at};
use crate::sys::in_root::absent_is_none;
use crate::sys::{FdPath, SysError, sys};

/// The directory of records in the state directory.
const DIRECTORY: &str = "images";

const SUFFIX: &str = ".json";

/// What an image is to be known by that has not its name yet, or has had it for a moment.
const NEXT: &str = ".next";

/// Far more than any record has.
const LIMIT: usize = 1 << 16;

/// Where an image came from. Texts may be a server's: not fit to be printed as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Origin {
    /// What was done to get it: `pull`, `import`, `clone`, `commit`, `bootstrap`.
    pub action: String,
    /// What was asked for: `debian:trixie`, or an OCI reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Where it was fetched from, or the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The digest of what was fetched: `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why it was believed: `signed by …`, `sha256 of the user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The image that it is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// When, in microseconds since 1970.
    pub when: u64,
    /// The inode number of the image, filled in by [`write`].
    pub inode: u64,
}

impl Origin {
    /// One of now.
    pub fn new(action: &str) -> Self {
        Self { action: action.to_owned(), when: super::layers::records::now(), ..Self::default() }
    }

    /// In a few words, what it was made of.
    pub fn words(&self) -> Option<&str> {
        self.reference.as_deref().or(self.source.as_deref()).or(self.parent.as_deref())
    }
}

/// Writes down where `image` came from.
///
/// # Errors
/// When the state directory cannot be written to.
pub fn write(store: &Store, image: &Image, origin: &Origin) -> Result<(), Error> {
    put(store, &file(&image.name), &Origin { inode: inode(image).unwrap_or(0), ..origin.clone() })?;
    // Whatever there was before is older.
    withdraw(store, &image.name);
    Ok(())
}

/// Writes down where `content`, which is about to be called `name`, came from. Until [`settle`] it is on its side.
///
/// # Errors
/// When the state directory cannot be written to.
pub(super) fn prepare(
    store: &Store,
    name: &ImageName,
    content: impl AsFd,
    origin: &Origin,
) -> Result<(), Error> {
    let stat = sys("fstat", rustix::fs::fstat(&content), || FdPath::of(&content).to_string())
        .map_err(Error::system("look at image", name.as_str()))?;
    // That of the image that has the name now, where who gave it that died before it settled.
    if let Ok(directory) = open_directory(&directory(store)) {
        sweep_next(store, &directory, name);
    }
    put(store, &next(name), &Origin { inode: stat.st_ino, ..origin.clone() })
}

/// The image `name` has its name: what was prepared for it is all that is known of it, if `prepared`. A fault is no harm:
/// [`of`] finds it where it is.
pub(super) fn settle(store: &Store, name: &ImageName, prepared: bool) {
    let Ok(directory) = open_directory(&directory(store)) else { return };
    if prepared {
        let _ = rustix::fs::renameat(&directory, next(name), &directory, file(name));
    } else {
        let _ = remove_file_at(&directory, file(name));
        let _ = remove_file_at(&directory, next(name));
    }
}

/// The image that was to be called `name` will not be: forgets what was prepared for it.
pub(super) fn withdraw(store: &Store, name: &ImageName) {
    let _ = open_directory(&directory(store)).and_then(|directory| remove_file_at(directory, next(name)));
}

fn put(store: &Store, entry: &str, origin: &Origin) -> Result<(), Error> {
    let path = directory(store);
    let failed = || Error::system("write down where the image came from in", &path);
    let mut text = serde_json::to_vec_pretty(origin)
        .map_err(|_| failed()(SysError::new("write", "a record as JSON", Errno::INVAL)))?;
    text.push(b'\n');
    let directory = make_directories(&path, 0o755).map_err(failed())?;
    replace_at(&directory, entry, &text, 0o644).map_err(failed())
}

/// Where `image` came from, where that is known.
pub fn of(store: &Store, image: &Image) -> Option<Origin> {
    let directory = open_directory(&directory(store)).ok()?;
    let read = |entry: String| -> Option<Origin> {
        serde_json::from_slice(&read_at(&directory, entry, LIMIT).ok()?).ok()
    };
    let inode = inode(image);
    let is_its = |origin: &Origin| inode == Some(origin.inode);
    if let Some(origin) = read(next(&image.name)).filter(is_its) {
        return Some(origin);
    }
    // A layered image is put together anew when it is changed.
    read(file(&image.name)).filter(|origin| image.kind == ImageKind::Layered || is_its(origin))
}

/// Forgets where `name` came from.
///
/// # Errors
/// When the record cannot be removed.
pub fn remove(store: &Store, name: &ImageName) -> Result<(), Error> {
    let Ok(opened) = open_directory(&directory(store)) else { return Ok(()) };
    let mut result = Ok(());
    for entry in [file(name), next(name)] {
        if let Err(error) = absent_is_none(remove_file_at(&opened, entry)) {
            let failed = Error::system("forget where the image came from in", directory(store));
            result = result.and(Err(failed(error)));
        }
    }
    result
}

/// What was called `old` is called `new`.
///
/// # Errors
/// When the record cannot be renamed.
pub fn rename(store: &Store, old: &ImageName, new: &ImageName) -> Result<(), Error> {
    let Ok(opened) = open_directory(&directory(store)) else { return Ok(()) };
    for (from, to) in [(file(old), file(new)), (next(old), next(new))] {
        // One that has the name already is of an image that is gone.
        match rustix::fs::renameat(&opened, &from, &opened, &to) {
            Ok(()) => {}
            Err(Errno::NOENT) => drop(remove_file_at(&opened, &to)),
            Err(errno) => {
                let call = format!("{}, {from:?}, {to:?}", FdPath::of(&opened));
                let error = SysError::new("renameat", call, errno);
                return Err(Error::system("rename the record in", directory(store))(error));
            }
        }
    }
    Ok(())
}

/// Removes records whose images are gone. What fails is left for the next time.
pub fn sweep(store: &Store) {
    let Ok(directory) = open_directory(&directory(store)) else { return };
    for (entry, _) in entries(&directory).unwrap_or_default() {
        let text = entry.to_str();
        let named = |suffix| text.and_then(|entry| entry.strip_suffix(suffix)?.parse::<ImageName>().ok());
        if let Some(name) = named(SUFFIX) {
            if matches!(store.find(&name), Err(Error::NoImage { .. })) {
                let _ = remove_file_at(&directory, &entry);
            }
        } else if let Some(name) = named(NEXT) {
            // Whoever has the name locked is at it.
            if let Ok(_lock) = lock_name(&name) {
                sweep_next(store, &directory, &name);
            }
        }
    }
}

/// What a killed command prepared for `name`, which is locked.
fn sweep_next(store: &Store, directory: &OwnedFd, name: &ImageName) {
    let prepared = read_at(directory, next(name), LIMIT).ok();
    let prepared = prepared.and_then(|text| serde_json::from_slice::<Origin>(&text).ok());
    let is_shown = store
        .find(name)
        .is_ok_and(|image| prepared.is_some_and(|prepared| inode(&image) == Some(prepared.inode)));
    if is_shown {
        settle(store, name, true);
    } else {
        let _ = remove_file_at(directory, next(name));
    }
}

fn directory(store: &Store) -> PathBuf {
    store.state.join(DIRECTORY)
}

fn file(name: &ImageName) -> String {
    format!("{name}{SUFFIX}")
}

fn next(name: &ImageName) -> String {
    format!("{name}{NEXT}")
}

fn inode(image: &Image) -> Option<u64> {
    rustix::fs::statat(CWD, &image.path, rustix::fs::AtFlags::empty()).ok().map(|stat| stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_of_one_image() {
        let temporary = tempfile::tempdir().unwrap();
        let store = Store::at(temporary.path());
        let make = |name: &str| {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
            store.find(&name.parse().unwrap()).unwrap()
        };
        let rename_file = |old: &str, new: &str| {
            std::fs::rename(temporary.path().join(old), temporary.path().join(new)).unwrap();
        };
        let web = make("web");
        assert_eq!(of(&store, &web), None);
        let origin = Origin { reference: Some("debian:trixie".to_owned()), ..Origin::new("pull") };
        write(&store, &web, &origin).unwrap();
        let known = of(&store, &web).unwrap();
        assert_eq!(Origin { inode: 0, ..known.clone() }, origin);
        assert_eq!(known.words(), Some("debian:trixie"));
        // Renamed with the image.
        rename(&store, &web.name, &"db".parse().unwrap()).unwrap();
        rename_file("web", "db");
        let db = store.find(&"db".parse().unwrap()).unwrap();
        assert_eq!((of(&store, &db), of(&store, &web)), (Some(known), None));
        // Another one in its place: of that nothing is known.
        rename_file("db", "old");
        assert_eq!(of(&store, &make("db")), None);
        sweep(&store);
        let records = || std::fs::read_dir(temporary.path().join(".#spinney/images")).unwrap().count();
        assert_eq!(records(), 1);
        rename_file("db", "new");
        sweep(&store);
        assert_eq!(records(), 0);
        remove(&store, &db.name).unwrap();
        // Prepared for one that takes another's place: each is known by its own, whenever its maker is killed.
        let web = make("web");
        let of_new = Origin { reference: Some("debian:sid".to_owned()), ..Origin::new("pull") };
        write(&store, &web, &origin).unwrap();
        let fresh = make("fresh");
        prepare(&store, &web.name, open_directory(&fresh.path).unwrap(), &of_new).unwrap();
        let words = |image: &Image| of(&store, image).and_then(|origin| origin.reference);
        assert_eq!(words(&web).as_deref(), Some("debian:trixie"));
        rename_file("web", "old2");
        rename_file("fresh", "web");
        assert_eq!(words(&web).as_deref(), Some("debian:sid"));
        sweep(&store);
        assert_eq!((words(&web).as_deref(), records()), (Some("debian:sid"), 1));
        // Its maker died before the image had its name.
        prepare(&store, &web.name, open_directory(&make("third").path).unwrap(), &origin).unwrap();
        sweep(&store);
        assert_eq!((words(&web).as_deref(), records()), (Some("debian:sid"), 1));
        // It has its name, and another one is to take its place.
        prepare(&store, &web.name, open_directory(&web.path).unwrap(), &of_new).unwrap();
        remove_file_at(open_directory(&directory(&store)).unwrap(), "web.json").unwrap();
        prepare(&store, &web.name, open_directory(&make("fourth").path).unwrap(), &origin).unwrap();
        assert_eq!((words(&web).as_deref(), records()), (Some("debian:sid"), 2));
        sweep(&store);
        prepare(&store, &db.name, open_directory(&web.path).unwrap(), &origin).unwrap();
        sweep(&store);
        assert_eq!(records(), 1);
        settle(&store, &web.name, false);
        assert_eq!(words(&web), None);
    }
}
