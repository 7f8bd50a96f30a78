use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::sys::files::open_directory;

fn copied(from: &Path, to: &Path) -> Result<(Counts, Notes), Error> {
    fs::create_dir(to).unwrap();
    let (from, to) = (open_directory(from).unwrap(), open_directory(to).unwrap());
    copy_tree(from.as_fd(), to.as_fd(), CopyTreeOptions::default(), &mut |_| Ok(()))
}

#[test]
fn a_tree_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::create_dir_all(from.join("a/b")).unwrap();
    fs::write(from.join("a/b/file"), vec![7; 300_000]).unwrap();
    fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(from.join("a/b/file"), from.join("z")).unwrap();
    symlink("/nowhere", from.join("link")).unwrap();
    fs::hard_link(from.join("link"), from.join("a/link")).unwrap();
    let sparse = fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"x", 5 << 20).unwrap();
    fs::write(from.join("empty"), "").unwrap();
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5);
    fs::File::open(from.join("a")).unwrap().set_modified(stamp).unwrap();
    fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1777)).unwrap();

    let (counts, notes) = copied(&from, &to).unwrap();
    assert_eq!(notes, Notes::default());
    assert_eq!((counts.files, counts.directories), (6, 3));
    let of = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
    assert_eq!(fs::read(to.join("z")).unwrap(), vec![7; 300_000]);
    assert_eq!((of("z").ino(), of("z").mode() & 0o7777), (of("a/b/file").ino(), 0o4751));
    assert_eq!((of("link").ino(), of("link").nlink()), (of("a/link").ino(), 2));
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
    assert_eq!((of("a").mtime(), of("a").mtime_nsec(), of("a").mode() & 0o7777), (1_000_000, 5, 0o1777));
    assert_eq!(of("sparse").len(), 10 << 20);
    assert!(of("sparse").blocks() < 1000, "{} blocks", of("sparse").blocks());
    assert_eq!(fs::read(to.join("sparse")).unwrap(), fs::read(from.join("sparse")).unwrap());
}

#[test]
fn stops_when_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("file"), "x").unwrap();
    let (from, to) = (open_directory(&from).unwrap(), open_directory(&to).unwrap());
    let mut stop = |count| if count > 0 { Err(Error::Interrupted) } else { Ok(()) };
    let result = copy_tree(from.as_fd(), to.as_fd(), CopyTreeOptions::default(), &mut stop);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
}
