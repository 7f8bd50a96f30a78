//! Where an image came from: one JSON record an image, `STATE/images/NAME.json`.
//!
//! A record is about one image, not about a name: of an image that something else has put in its place it says nothing. It
//! is written when the image has its name, renamed and removed with it; one whose image is gone is swept.

use std::path::PathBuf;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::name::ImageName;
use super::store::{Image, ImageKind, Store};
use crate::sys::files::{entries, make_directories, open_directory, read_at, remove_file_at, replace_at};
use crate::sys::{FdPath, SysError};

/// The directory of records in the state directory.
const DIRECTORY: &str = "images";

const SUFFIX: &str = ".json";

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
    let path = directory(store);
    let failed = || Error::system("write down where the image came from in", &path);
    let origin = Origin { inode: inode(image).unwrap_or(0), ..origin.clone() };
    let mut text = serde_json::to_vec_pretty(&origin)
        .map_err(|_| failed()(SysError::new("write", "a record as JSON", Errno::INVAL)))?;
    text.push(b'\n');
    let directory = make_directories(&path, 0o755).map_err(failed())?;
    replace_at(&directory, &file(&image.name), &text, 0o644).map_err(failed())
}

/// Where `image` came from, where that is known.
pub fn of(store: &Store, image: &Image) -> Option<Origin> {
    let directory = open_directory(&directory(store)).ok()?;
    let text = read_at(directory, file(&image.name), LIMIT).ok()?;
    let origin: Origin = serde_json::from_slice(&text).ok()?;
    // A layered image is put together anew when it is changed.
    (image.kind == ImageKind::Layered || inode(image) == Some(origin.inode)).then_some(origin)
}

/// Forgets where `name` came from.
///
/// # Errors
/// When the record cannot be removed.
pub fn remove(store: &Store, name: &ImageName) -> Result<(), Error> {
    match open_directory(&directory(store)).and_then(|directory| remove_file_at(directory, file(name))) {
        Err(error) if error.errno() != Errno::NOENT => {
            Err(Error::system("forget where the image came from in", directory(store))(error))
        }
        _ => Ok(()),
    }
}

/// What was called `old` is called `new`.
///
/// # Errors
/// When the record cannot be renamed.
pub fn rename(store: &Store, old: &ImageName, new: &ImageName) -> Result<(), Error> {
    let Ok(opened) = open_directory(&directory(store)) else { return Ok(()) };
    let (from, to) = (file(old), file(new));
    // One that has the name already is of an image that is gone.
    match rustix::fs::renameat_with(&opened, &from, &opened, &to, RenameFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => {
            let call = SysError::new("renameat", format!("{}, {from:?}, {to:?}", FdPath::of(&opened)), errno);
            Err(Error::system("rename the record in", directory(store))(call))
        }
    }
}

/// Removes records whose images are gone. What fails is left for the next time.
pub fn sweep(store: &Store) {
    let Ok(directory) = open_directory(&directory(store)) else { return };
    for (entry, _) in entries(&directory).unwrap_or_default() {
        let name = entry.to_str().and_then(|entry| entry.strip_suffix(SUFFIX)?.parse::<ImageName>().ok());
        let gone = name.is_some_and(|name| matches!(store.find(&name), Err(Error::NoImage { .. })));
        if gone {
            let _ = remove_file_at(&directory, &entry);
        }
    }
}

fn directory(store: &Store) -> PathBuf {
    store.state.join(DIRECTORY)
}

fn file(name: &ImageName) -> String {
    format!("{name}{SUFFIX}")
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
    }
}
