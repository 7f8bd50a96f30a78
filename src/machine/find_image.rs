//! Images by name, in the directories where systemd looks for them (machinectl(1), "Files and directories").
//!
//! An image is a directory, a block device, a disk image, layers, or a directory of versions of one of these; or a symlink
//! to one. What begins with a dot is a download that is not whole yet, or the host itself (`.host`): no image.

use std::path::PathBuf;

use super::error::Error;
use crate::image::{self, Store};
use crate::settings::{MachineName, Places, files_of};

/// The tree of machine `name`: what its settings call its directory, else the image of this name.
///
/// # Errors
/// [`Error::NoImage`] where there is none, [`Error::ImageKind`] where it is something that is no image,
/// [`Error::Settings`] when its settings are wrong.
pub fn find(name: &MachineName) -> Result<PathBuf, Error> {
    if let Some(directory) = files_of(name, &Places::default())?.directory {
        return Ok(directory);
    }
    find_in(&Store::system(), name)
}

fn find_in(store: &Store, name: &MachineName) -> Result<PathBuf, Error> {
    // Whatever can name a machine can name an image.
    let image = name.as_str().parse().map_err(|source| Error::Name { source })?;
    match store.find(&image) {
        Ok(image) => Ok(image.path),
        Err(image::Error::System { source, .. }) => Err(Error::system("look for images")(source)),
        Err(image::Error::NoImage { name, nearest }) => {
            let file = |directory: &PathBuf| directory.join(&name).is_file();
            match store.search.iter().find(|directory| file(directory)) {
                Some(directory) => {
                    Err(Error::ImageKind { path: directory.join(&name), name, kind: "a file" })
                }
                None => Err(Error::NoImage { name, nearest }),
            }
        }
        Err(_) => Err(Error::NoImage { name: name.to_string(), nearest: None }),
    }
}

/// The names of all images that can be those of machines.
pub fn names() -> Vec<String> {
    names_in(&Store::system())
}

fn names_in(store: &Store) -> Vec<String> {
    let images = store.all().unwrap_or_default().into_iter().map(|image| image.name.to_string());
    images.filter(|name| name.parse::<MachineName>().is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    #[test]
    fn images() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let (first, second) = (temporary.path().join("first"), temporary.path().join("second"));
        for directory in
            ["first/web", "first/.#tar", "second/web", "second/db", "second/lay.mstack", "second/x.v/x_1"]
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
            ("x", Ok("second/x.v/x_1")),
            ("notes", Err("\"notes\" is a file, which is no image")),
        ];
        let store = Store { search: vec![missing, first, second], ..Store::at(temporary.path()) };
        for (name, expected) in rows {
            let found = find_in(&store, &name.parse().expect("a name"));
            let found = found.map(|path| path.strip_prefix(temporary.path()).expect("below").to_owned());
            match (found, expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path, Path::new(expected)),
                (Err(error), Err(expected)) => assert_eq!(error.to_string(), *expected),
                (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
            }
        }
        assert_eq!(names_in(&store), ["alias", "db", "disk", "lay", "web", "x"]);
    }
}
