//! Streams of friends and foes, unpacked in a fresh directory. What needs root or real tools is in the root tests.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::*;
use crate::archive::by_hand::{archive, extended, file, listing, member};

/// A directory below one that nothing may touch.
fn directories() -> (tempfile::TempDir, std::path::PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "precious").unwrap();
    let inside = outside.path().join("inside");
    fs::create_dir(&inside).unwrap();
    (outside, inside)
}

/// How it ends as text, and its notes.
fn extracted(directory: &Path, bytes: &[u8], options: &ExtractOptions<'_>) -> (String, Vec<String>) {
    match extract(bytes, File::open(directory).unwrap(), options) {
        Ok(extracted) => ("ok".to_owned(), extracted.notes.lines()),
        Err(error) => (error.to_string(), Vec::new()),
    }
}

/// A name, the members, what is there afterwards.
type Row<'a> = (&'a str, Vec<Vec<u8>>, &'a [&'a str]);

#[test]
fn nothing_leads_out() {
    let (link, hard) = (b'2', b'1');
    let rows: Vec<Row> = vec![
        ("parent", vec![file("../evil", "x"), file("a/../../evil", "x"), file("ok", "x")], &["ok"]),
        ("only dots", vec![file("..", "x"), member(b'5', "../..", "", b"")], &[]),
        ("absolute", vec![file("/abs/ok", "x"), file("//x", "x")], &["abs/", "abs/ok", "x"]),
        (
            "through a link",
            vec![member(link, "l", "..", b""), file("l/precious", "evil"), file("l/new", "evil")],
            &["l -> .."],
        ),
        (
            "through an absolute link",
            vec![member(link, "l", "OUT", b""), file("l/precious", "evil"), member(b'5', "l/new", "", b"")],
            &["l -> OUT"],
        ),
        (
            "a directory that becomes a link",
            vec![
                member(b'5', "d", "", b""),
                member(link, "d", "..", b""),
                file("d/precious", "evil"),
                file("d/new", "evil"),
            ],
            &["d -> .."],
        ),
        (
            "a directory above that becomes a link, while we are in it",
            vec![file("d/e/f", "x"), member(link, "d", "..", b""), file("d/e/precious", "evil")],
            &["d/", "d/e/", "d/e/f", "d/e/precious"],
        ),
        (
            "a link that becomes a directory",
            vec![member(link, "l", "..", b""), member(b'5', "l/", "", b""), file("l/precious", "x")],
            &["l/", "l/precious"],
        ),
        (
            "hard link through a link",
            vec![member(link, "l", "..", b""), member(hard, "h", "l/precious", b"")],
            &["l -> .."],
        ),
        (
            "hard link out",
            vec![
                member(hard, "h", "OUT/precious", b""),
                member(hard, "h", "../precious", b""),
                member(hard, "h", "..", b""),
            ],
            &[],
        ),
        (
            "hard link to a link, then written",
            vec![
                member(link, "l", "../precious", b""),
                member(hard, "h", "l", b""),
                file("h", "evil"),
                file("l", "evil"),
            ],
            &["h", "l"],
        ),
        (
            "hard link to a directory",
            vec![member(b'5', "d", "", b""), member(hard, "h", "d", b""), member(hard, "i", "", b"")],
            &["d/"],
        ),
        ("devices", vec![member(b'3', "null", "", b""), member(b'4', "sda", "", b"")], &[]),
        ("no name", vec![file("", "x"), file(".", "x"), member(link, "./", "..", b"")], &[]),
        (
            "a name with a zero",
            vec![extended(&[("path", b"a\0b")]), file("x", "x"), file("ok", "x")],
            &["ok"],
        ),
        (
            "a name too long for the file system",
            vec![extended(&[("path", &[b'n'; 256])]), file("x", "x"), file("ok", "x")],
            &["ok"],
        ),
    ];
    for (name, members, expected) in rows {
        let (outside, inside) = directories();
        let out = outside.path().to_str().unwrap();
        let members: Vec<_> = members
            .into_iter()
            .map(|bytes| match bytes.windows(3).position(|window| window == b"OUT") {
                Some(at) => {
                    let text = bytes[at..].split(|byte| *byte == 0).next().unwrap();
                    let text = String::from_utf8(text.to_vec()).unwrap().replace("OUT", out);
                    member(bytes[156], std::str::from_utf8(&bytes[..1]).unwrap(), &text, b"")
                }
                None => bytes,
            })
            .collect();
        assert_eq!(extracted(&inside, &archive(&members), &ExtractOptions::default()).0, "ok", "{name}");
        let expected: Vec<String> = expected.iter().map(|line| line.replace("OUT", out)).collect();
        assert_eq!(listing(&inside), expected, "{name}");
        assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "precious", "{name}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "{name}");
    }
}

#[test]
fn what_comes_twice() {
    let rows: Vec<Row> = vec![
        ("file", vec![file("a", "old, and long"), file("a", "new")], &["a"]),
        ("link, then file", vec![member(b'2', "a", "b", b""), file("b", "b"), file("a", "new")], &["a", "b"]),
        ("file, then link", vec![file("a", "x"), member(b'2', "a", "b", b"")], &["a -> b"]),
        ("file, then directory", vec![file("a", "x"), member(b'5', "a", "", b"")], &["a/"]),
        ("directory, then file", vec![member(b'5', "a", "", b""), file("a", "x")], &["a"]),
        ("full directory, then file", vec![file("a/b", "x"), file("a", "x")], &["a/", "a/b"]),
        ("file, then fifo", vec![file("a", "x"), member(b'6', "a", "", b"")], &["a"]),
        (
            "hard link to itself",
            vec![file("a", "new"), member(b'1', "a", "a", b""), member(b'1', "./a", "/a", b"")],
            &["a"],
        ),
        (
            "hard link, then its first name again",
            vec![file("b", "old"), member(b'1', "c", "b", b""), file("b", "newer")],
            &["b", "c"],
        ),
        (
            "hard link in place of another file",
            vec![file("a", "old"), file("b", "new"), member(b'1', "a", "b", b"")],
            &["a", "b"],
        ),
    ];
    for (name, members, expected) in rows {
        let (_outside, inside) = directories();
        assert_eq!(extracted(&inside, &archive(&members), &ExtractOptions::default()).0, "ok", "{name}");
        assert_eq!(listing(&inside), expected, "{name}");
        if expected.contains(&"a") && !name.ends_with("fifo") && name != "directory, then file" {
            assert_eq!(fs::read_to_string(inside.join("a")).unwrap(), "new", "{name}");
        }
        if name.starts_with("hard link, then") {
            assert_eq!(fs::read_to_string(inside.join("c")).unwrap(), "old");
        }
    }
}

#[test]
fn streams_that_are_refused() {
    let whole = archive(&[file("a", "aaaa"), file("b", "bbbb")]);
    let deep = "d/".repeat(DEPTH_LIMIT + 1);
    let sized = |size: u64, kind: u8| {
        let mut header = tar::Header::from_byte_slice(&member(kind, "big", "", b"")).clone();
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let many: Vec<u8> = (0..=crate::archive::entry::ATTRIBUTES_LIMIT)
        .flat_map(|number| {
            let mut record = Vec::new();
            crate::archive::pax::append(&mut record, format!("SCHILY.xattr.user.{number}").as_bytes(), b"");
            record
        })
        .collect();
    let old_sparse = |size: u64, pieces: &[(u64, u64)]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_size(0);
        for (place, (offset, length)) in header.as_gnu_mut().unwrap().sparse.iter_mut().zip(pieces) {
            place.set_offset(*offset);
            place.set_length(*length);
        }
        header.as_gnu_mut().unwrap().set_real_size(size);
        header.as_old_mut().name[0] = b's';
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let map = "the tar stream is damaged: the map of a sparse file is wrong";
    let headers = "the tar stream is refused: its headers are too long";
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "this is no tar stream"),
        ("text", b"hello".repeat(300), "this is no tar stream"),
        ("in a header", whole[..1100].to_vec(), "the tar stream ends in the middle"),
        ("in data", whole[..514].to_vec(), "the tar stream ends in the middle"),
        ("in padding", whole[..600].to_vec(), "the tar stream ends in the middle"),
        ("without an end", whole[..2048].to_vec(), "the tar stream ends in the middle"),
        ("members", archive(&vec![file("a", ""); 5]), "the tar stream is refused: it has too many members"),
        ("data", archive(&[sized(1 << 20, b'0')]), "the tar stream is refused: it has too much data"),
        ("data that nobody writes", sized(1 << 20, b'Z'), "the tar stream is refused: it has too much data"),
        ("the largest size", sized(u64::MAX, b'0'), "the tar stream is refused: it has too much data"),
        (
            "the largest size, as text",
            archive(&[extended(&[("size", b"18446744073709551615")]), file("x", "")]),
            "the tar stream is refused: it has too much data",
        ),
        (
            "a size that overflows",
            archive(&[extended(&[("size", b"18446744073709551616")]), file("x", "")]),
            "the tar stream is damaged: an extended header is wrong",
        ),
        ("a header of the largest size", sized(u64::MAX, b'x'), headers),
        ("a long name of the largest size", sized(u64::MAX, b'L'), headers),
        ("a label of the largest size", sized(u64::MAX, b'V'), headers),
        ("headers without end", member(b'x', "x", "", b"").repeat(5000), headers),
        ("labels without end", member(b'V', "x", "", b"").repeat(5000), headers),
        ("global headers without end", member(b'g', "x", "", b"").repeat(5000), headers),
        (
            "depth",
            archive(&[extended(&[("path", deep.as_bytes())]), file("x", "")]),
            "the tar stream is refused: its directories are too deep",
        ),
        (
            "name",
            archive(&[extended(&[("path", &[b'x'; 40_000])]), file("x", "")]),
            "the tar stream is refused: a name is too long",
        ),
        (
            "link",
            archive(&[extended(&[("linkpath", &[b'x'; 40_000])]), member(b'2', "x", "", b"")]),
            "the tar stream is refused: a name is too long",
        ),
        (
            "attributes",
            archive(&[member(b'x', "x", "", &many), file("x", "")]),
            "the tar stream is refused: a member has too many extended attributes",
        ),
        ("sparse, beyond its end", archive(&[old_sparse(9, &[(8, 2)])]), map),
        ("sparse, overflow", archive(&[old_sparse(u64::MAX, &[(u64::MAX, 2)])]), map),
        ("sparse, overlapping", archive(&[old_sparse(99, &[(0, 9), (8, 2)])]), map),
        ("sparse, data missing", archive(&[old_sparse(99, &[(0, 9)])]), map),
        (
            "sparse, a map that is too long",
            archive(&[
                extended(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]),
                file("x", "9999999\n"),
            ]),
            map,
        ),
        (
            "sparse, a map without end",
            archive(&[
                extended(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")]),
                file("x", &"0".repeat(2048)),
            ]),
            map,
        ),
    ];
    let limits = Limits { members: 4, bytes: (1 << 20) - 1 };
    for (name, bytes, expected) in rows {
        let (_outside, inside) = directories();
        let options = ExtractOptions { limits, ..ExtractOptions::default() };
        assert_eq!(extracted(&inside, &bytes, &options).0, expected, "{name}");
    }
}

#[test]
fn a_reader_that_fails_ends_it() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("cancelled"))
        }
    }
    let (_outside, inside) = directories();
    let mut bytes = file("a", "a");
    bytes.extend(member(b'0', "big", "", &[7; 3_000_000]));
    let half = &bytes[..2_000_000];
    let error =
        extract(half.chain(BufReader::new(Fails)), File::open(inside).unwrap(), &ExtractOptions::default())
            .unwrap_err();
    assert!(matches!(&error, Error::Input(error) if error.to_string() == "cancelled"), "{error:?}");
}

#[test]
fn directories_get_theirs_last() {
    let (_outside, inside) = directories();
    let with = |mut bytes: Vec<u8>, mode: u32| {
        let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
        header.set_mode(mode);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    };
    let bytes = archive(&[
        with(member(b'5', "./", "", b""), 0o751),
        with(member(b'5', "sealed/", "", b""), 0o555),
        file("sealed/a", "x"),
        with(member(b'5', "group/", "", b""), 0o2775),
        file("group/b", "x"),
        // Entered again, when they are what they should be.
        file("sealed/c", "x"),
        member(b'5', "group/new", "", b""),
        file("implied/d/e", "x"),
        with(member(b'5', "implied", "", b""), 0o711),
    ]);
    assert_eq!(
        extracted(&inside, &bytes, &ExtractOptions::default()),
        ("ok".to_owned(), Vec::new()),
        "whoever runs the tests may enter a sealed directory only as root"
    );
    let rows = [
        ("", 0o751, true),
        ("sealed", 0o555, true),
        ("group", 0o2775, true),
        ("group/new", 0o644, true),
        ("implied", 0o711, true),
        ("implied/d", 0o755, false),
    ];
    for (path, mode, has_time) in rows {
        let found = fs::metadata(inside.join(path)).unwrap();
        assert_eq!(format!("{:o}", found.permissions().mode() & 0o7777), format!("{mode:o}"), "{path}");
        assert_eq!(found.mtime() == 1_000_000_000, has_time, "{path}");
    }
}

#[test]
fn the_only_directory_at_the_top() {
    type Row<'a> = (&'a str, Vec<Vec<u8>>, &'a [&'a str], Option<&'a str>);
    let top = |name: &str| member(b'5', name, "", b"");
    let rows: Vec<Row> = vec![
        (
            "a tree one level down",
            vec![top("debian"), file("debian/etc/hostname", "x"), file("debian/debian", "x")],
            &["debian", "etc/", "etc/hostname"],
            Some("debian"),
        ),
        (
            "two at the top",
            vec![file("a/etc/x", "x"), file("b", "x")],
            &["a/", "a/etc/", "a/etc/x", "b"],
            None,
        ),
        ("no tree in it", vec![file("a/b/c", "x")], &["a/", "a/b/", "a/b/c"], None),
        ("a tree of /usr alone", vec![file("usr/lib/x", "x")], &["usr/", "usr/lib/", "usr/lib/x"], None),
        ("a file", vec![file("a", "x")], &["a"], None),
        ("nothing", vec![top("./")], &[], None),
    ];
    for (name, members, expected, stripped) in rows {
        let (_outside, inside) = directories();
        let options = ExtractOptions { strip_top: true, ..ExtractOptions::default() };
        let done = extract(&*archive(&members), File::open(&inside).unwrap(), &options).unwrap();
        assert_eq!(listing(&inside), expected, "{name}");
        assert_eq!(done.stripped.as_deref(), stripped.map(str::as_bytes), "{name}");
        if stripped.is_some() {
            let root = fs::metadata(&inside).unwrap();
            assert_eq!((root.mode() & 0o7777, root.mtime()), (0o644, 1_000_000_000));
        }
    }
}

#[test]
fn data_of_all_sizes() {
    // Around the sizes of buffers and of what is divided among them.
    let sizes = [0, 1, 511, 512, 513, 65_535, 65_536, 65_537, 262_143, 262_144, 262_145, 1_000_000, 3];
    let data = |number: usize, size: usize| -> Vec<u8> {
        (0..size).map(|at| u8::try_from((at * 7 + number * 31 + at / 256) % 251).unwrap()).collect()
    };
    let rounds = 0..5_usize;
    let members: Vec<_> = rounds
        .clone()
        .flat_map(|round| sizes.iter().enumerate().map(move |(number, size)| (round * 100 + number, *size)))
        .map(|(number, size)| member(b'0', &format!("d{}/{number}", number % 3), "", &data(number, size)))
        .collect();
    let (_outside, inside) = directories();
    let done =
        extract(&*archive(&members), File::open(&inside).unwrap(), &ExtractOptions::default()).unwrap();
    assert_eq!(done.notes.lines(), Vec::<String>::new());
    assert_eq!(done.counts.files, (sizes.len() * rounds.len()) as u64);
    assert_eq!(done.counts.bytes, (sizes.iter().sum::<usize>() * rounds.len()) as u64);
    for round in rounds {
        for (number, size) in sizes.iter().enumerate() {
            let number = round * 100 + number;
            let path = inside.join(format!("d{}/{number}", number % 3));
            assert!(fs::read(&path).unwrap() == data(number, *size), "{number} of {size}");
            assert_eq!(fs::metadata(&path).unwrap().mtime(), 1_000_000_000);
        }
    }
}

#[test]
fn a_size_that_no_file_system_has() {
    let (_outside, inside) = directories();
    let huge = extended(&[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"9223372036854775807")]);
    let (end, notes) =
        extracted(&inside, &archive(&[huge, file("huge", ""), file("ok", "x")]), &ExtractOptions::default());
    // A file system that has no such files says so; the rest goes on.
    assert_eq!(end, "ok");
    assert!(notes.len() <= 1, "{notes:?}");
    assert_eq!(fs::read_to_string(inside.join("ok")).unwrap(), "x");
}
