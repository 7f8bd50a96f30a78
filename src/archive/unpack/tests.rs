//! Streams of friends and foes, unpacked in a directory of the test's.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tar::Header;

use super::*;
use crate::archive::by_hand::{archive, extended, file, listing, member};
use crate::archive::pack::{PackOptions, Packer};
use crate::archive::read;
use crate::archive::stream::{Sink, Watch};
use crate::sys::files::open_at;
use crate::sys::open_files::OpenFiles;

fn place(directory: &Path, naming: Naming) -> Place {
    let fd = open_at(rustix::fs::CWD, directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    Place { directory: Rc::new(fd), naming, directory_only: false, shown: "/dst".into() }
}

fn source(bytes: &[u8]) -> Source<'static> {
    let mut stream = tempfile::tempfile().unwrap();
    stream.write_all(bytes).unwrap();
    stream.rewind().unwrap();
    Source::new(stream.into(), Watch::default(), Box::new(|_| {}))
}

/// How unpacking ends, as text, and its notes.
fn unpacked(directory: &Path, bytes: &[u8], options: UnpackOptions) -> (String, Vec<String>) {
    let unpacker = Unpacker::new(source(bytes), place(directory, Naming::AsTheyAre), options);
    let (_, notes, result) = unpacker.run();
    (result.map_or_else(|error| error.to_string(), |()| "ok".to_owned()), notes.lines())
}

/// A name, the members, what is there afterwards.
type Row<'a> = (&'a str, Vec<Vec<u8>>, &'a [&'a str]);

const FORCE: UnpackOptions = UnpackOptions { replace: true, drop_privileges: false, owner: None };

#[test]
fn nothing_leads_out() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "precious").unwrap();
    let precious = format!("{}/precious", outside.path().display());
    let out = outside.path().to_str().unwrap();
    let rows: Vec<Row> = vec![
        ("parent", vec![file("../evil", "x"), file("a/../../evil", "x"), file("ok", "x")], &["ok"]),
        ("absolute", vec![file("/abs/ok", "x")], &["abs/", "abs/ok"]),
        (
            "through a link",
            vec![member(b'2', "l", out, b""), file("l/precious", "evil"), file("l/new", "evil")],
            &["l -> OUT"],
        ),
        (
            "directory over a link",
            vec![member(b'2', "l", out, b""), member(b'5', "l/", "", b"")],
            &["l -> OUT"],
        ),
        (
            "hard link through a link",
            vec![member(b'2', "l", out, b""), member(b'1', "h", "l/precious", b"")],
            &["l -> OUT"],
        ),
        (
            "hard link out",
            vec![member(b'1', "h", &precious, b""), member(b'1', "h", "../precious", b"")],
            &[],
        ),
        (
            "hard link to a link",
            vec![member(b'2', "l", &precious, b""), member(b'1', "h", "l", b""), file("h", "evil")],
            &["h", "l -> OUT/precious"],
        ),
        ("device", vec![member(b'3', "null", "", b""), member(b'4', "sda", "", b"")], &[]),
        ("no name", vec![file("", "x"), file(".", "x")], &[]),
    ];
    for (name, members, expected) in rows {
        let inside = tempfile::tempdir().unwrap();
        unpacked(inside.path(), &archive(&members), FORCE);
        let expected: Vec<String> = expected.iter().map(|line| line.replace("OUT", out)).collect();
        assert_eq!(listing(inside.path()), expected, "{name}");
        assert_eq!(listing(outside.path()), ["precious"], "{name}");
        assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "precious", "{name}");
    }
}

#[test]
fn streams_that_are_refused() {
    let whole = archive(&[file("a", "aaaa"), file("b", "bbbb")]);
    let mut damaged = whole.clone();
    damaged[1024] ^= 1;
    let deep = "d/".repeat(DEPTH_LIMIT + 1);
    let endless: Vec<Vec<u8>> = vec![extended(&[("path", &[b'x'; 600_000])]); 3];
    let rows: Vec<(&str, Vec<u8>, &str, &[&str])> = vec![
        ("empty", Vec::new(), "this is no tar stream", &[]),
        ("text", b"hello".repeat(300), "this is no tar stream", &[]),
        ("short", b"hello".to_vec(), "this is no tar stream", &[]),
        ("in a header", whole[..1100].to_vec(), "the tar stream ends in the middle", &["a"]),
        ("in data", whole[..514].to_vec(), "the tar stream ends in the middle", &[]),
        ("without an end", whole[..2048].to_vec(), "the tar stream ends in the middle", &["a", "b"]),
        ("checksum", damaged, "the tar stream is damaged: a header has the wrong checksum", &["a"]),
        (
            "depth",
            archive(&[extended(&[("path", deep.as_bytes())]), file("x", "")]),
            "the tar stream is refused: its directories are too deep",
            &[],
        ),
        (
            "name",
            archive(&[extended(&[("path", &[b'x'; 40_000])]), file("x", "")]),
            "the tar stream is refused: a name is too long",
            &[],
        ),
        ("headers", archive(&endless), "the tar stream is refused: its headers are too long", &[]),
        (
            "records",
            archive(&[member(b'x', "x", "", b"9 a=b\n"), file("x", "")]),
            "the tar stream is damaged: an extended header is wrong",
            &[],
        ),
        (
            "map",
            archive(&[
                extended(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]),
                file("x", "1\n0\n999\n"),
            ]),
            "the tar stream is damaged: the map of a sparse file is wrong",
            &[],
        ),
        (
            "map 0.1",
            archive(&[
                extended(&[("GNU.sparse.map", b"0,9,1,2"), ("GNU.sparse.size", b"9")]),
                file("x", "abc"),
            ]),
            "the tar stream is damaged: the map of a sparse file is wrong",
            &[],
        ),
    ];
    for (name, bytes, expected, left) in rows {
        let directory = tempfile::tempdir().unwrap();
        let (end, _) = unpacked(directory.path(), &bytes, UnpackOptions::default());
        assert_eq!(end, expected, "{name}");
        assert_eq!(listing(directory.path()), left, "{name}");
    }
}

#[test]
fn what_exists() {
    let setup = || {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "old").unwrap();
        fs::create_dir(directory.path().join("dir")).unwrap();
        fs::write(directory.path().join("dir/in"), "old").unwrap();
        symlink("file", directory.path().join("link")).unwrap();
        directory
    };
    let rows = [
        (file("file", "new"), r#""/dst/file" exists"#, "ok"),
        (file("link", "new"), r#""/dst/link" exists"#, "ok"),
        (file("dir/in", "new"), r#""/dst/dir/in" exists"#, "ok"),
        (member(b'2', "file", "x", b""), r#""/dst/file" exists"#, "ok"),
        (member(b'5', "dir", "", b""), "ok", "ok"),
        (
            file("dir", "new"),
            r#""/dst/dir" is a directory, and what is copied there is a file"#,
            r#""/dst/dir" is a directory, and what is copied there is a file"#,
        ),
        (
            member(b'5', "file/", "", b""),
            r#""/dst/file" is no directory, and what is copied there is a directory"#,
            r#""/dst/file" is no directory, and what is copied there is a directory"#,
        ),
    ];
    for (bytes, plain, force) in rows {
        for (options, expected) in [(UnpackOptions::default(), plain), (FORCE, force)] {
            let directory = setup();
            let before = listing(directory.path());
            let (end, _) = unpacked(directory.path(), &archive(std::slice::from_ref(&bytes)), options);
            assert_eq!(end, expected);
            // A link is replaced, never written through.
            if options.replace == (expected == "ok") {
                assert_eq!(listing(directory.path()).len(), before.len());
            }
            let through = fs::read_to_string(directory.path().join("file")).unwrap_or_default();
            assert!(bytes.starts_with(b"file") || through == "old", "{expected}: {through}");
        }
    }
}

#[test]
fn naming() {
    let bytes =
        archive(&[member(b'5', "top/", "", b""), file("top/a", "x"), member(b'1', "top/b", "top/a", b"")]);
    let rows: [(Naming, &[&str]); 4] = [
        (Naming::AsTheyAre, &["top/", "top/a", "top/b"]),
        (Naming::Rename("new".into()), &["new/", "new/a", "new/b"]),
        (Naming::Strip, &["a", "b"]),
        (Naming::Below("new".into()), &["new/", "new/top/", "new/top/a", "new/top/b"]),
    ];
    for (naming, expected) in rows {
        let directory = tempfile::tempdir().unwrap();
        let unpacker =
            Unpacker::new(source(&bytes), place(directory.path(), naming.clone()), UnpackOptions::default());
        let (counts, notes, result) = unpacker.run();
        assert!(result.is_ok() && notes == Notes::default(), "{naming:?}: {result:?} {notes:?}");
        assert_eq!(listing(directory.path()), expected, "{naming:?}");
        assert_eq!(counts.files, 2);
    }
}

#[test]
fn privileges_are_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut header = member(b'0', "su", "", b"");
    let mut tar = Header::from_byte_slice(&header).clone();
    tar.set_mode(0o6755);
    tar.set_cksum();
    header[..512].copy_from_slice(tar.as_bytes());
    let capability = extended(&[("SCHILY.xattr.security.capability", b"\x01\0\0\x02")]);
    let options = UnpackOptions { drop_privileges: true, ..UnpackOptions::default() };
    let (end, notes) = unpacked(directory.path(), &archive(&[capability, header]), options);
    assert_eq!(end, "ok");
    assert_eq!(
        notes,
        [
            "took the set-user-ID and set-group-ID bits off 1 file: \"su\"",
            "took the file capabilities off 1 file: \"su\"",
        ]
    );
    assert_eq!(fs::metadata(directory.path().join("su")).unwrap().permissions().mode() & 0o7777, 0o755);
}

/// Packs `tree` and gives the stream.
fn packed(tree: &Path) -> (File, Notes) {
    let stream = tempfile::tempfile().unwrap();
    let sink = Sink::new(stream.try_clone().unwrap().into(), Watch::default(), Box::new(|_| {}));
    let mut packer = Packer::new(sink, OpenFiles::of_this_process().unwrap(), PackOptions::default());
    let place = open_at(rustix::fs::CWD, tree, OFlags::PATH, Mode::empty()).unwrap();
    packer.add(b".", place).unwrap();
    let (_, notes) = packer.finish().unwrap();
    let mut stream = stream;
    stream.rewind().unwrap();
    (stream, notes)
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    let long = "n".repeat(200);
    fs::create_dir_all(root.join(&long).join(&long)).unwrap();
    fs::write(root.join(&long).join(&long).join("a\nb \u{e9}"), "data").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff\xfe")), "raw").unwrap();
    symlink("x".repeat(300), root.join("long-link")).unwrap();
    fs::hard_link(root.join(OsStr::from_bytes(b"\xff\xfe")), root.join("hard")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &[7; 300_000], 5 << 20).unwrap();
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::set_permissions(root.join(&long), fs::Permissions::from_mode(0o2511)).unwrap();
    let time = rustix::fs::Timespec { tv_sec: -5, tv_nsec: 123_456_789 };
    crate::sys::attributes::set_times(&sparse, time, time).unwrap();

    let (stream, notes) = packed(root);
    assert_eq!(notes.lines(), ["left out 1 socket: \"./socket\""]);
    let back = tempfile::tempdir().unwrap();
    let source = Source::new(stream.into(), Watch::default(), Box::new(|_| {}));
    let unpacker = Unpacker::new(source, place(back.path(), Naming::AsTheyAre), UnpackOptions::default());
    let (_, notes, result) = unpacker.run();
    assert!(result.is_ok() && notes == Notes::default(), "{result:?} {notes:?}");

    fs::remove_file(root.join("socket")).unwrap();
    assert_eq!(listing(back.path()), listing(root));
    let (old, new) =
        (fs::metadata(root.join("sparse")).unwrap(), fs::metadata(back.path().join("sparse")).unwrap());
    assert_eq!((new.size(), new.blocks()), (old.size(), old.blocks()));
    assert_eq!((new.mtime(), new.mtime_nsec()), (-5, 123_456_789));
    assert_eq!(fs::read(back.path().join("sparse")).unwrap(), fs::read(root.join("sparse")).unwrap());
    assert_eq!(fs::metadata(back.path().join("hard")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(back.path().join(&long)).unwrap().mode(), 0o042_511);
}

#[test]
fn streams_of_others() {
    // GNU tar's long names, an old sparse header by hand is in the root tests with the real tar(1).
    let name = "long/".repeat(60) + "name";
    let bytes = archive(&[
        member(b'g', "pax_global_header", "", b"19 comment=0123456\n"),
        member(b'V', "label", "", b""),
        member(b'L', "././@LongLink", "", format!("{name}\0").as_bytes()),
        file("cut", "x"),
        member(b'7', "contiguous", "", b"x"),
        member(0, "v7/", "", b""),
        member(b'Z', "unknown", "", b"data to pass over"),
        file("last", "x"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let (end, notes) = unpacked(directory.path(), &bytes, UnpackOptions::default());
    assert_eq!(
        (end.as_str(), notes),
        ("ok", vec!["left out 1 member of a type that is not known: \"unknown\"".to_owned()])
    );
    for path in [name.as_str(), "contiguous", "v7", "last"] {
        assert!(directory.path().join(path).exists(), "{path}");
    }
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000), kind: u8) {
        let mut stream = member(kind, "name", "link", &bytes);
        stream.extend(&bytes);
        let mut reader = read::Reader::new(source(&stream));
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}
