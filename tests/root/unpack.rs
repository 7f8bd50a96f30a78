//! Whole images from archives and back: everything that GNU tar, bsdtar and we ourselves write, compared entry by entry with
//! the tree that it was, and with what GNU tar makes of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Cursor};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use spinney::archive::entry::Time;
use spinney::archive::extract::filter::oci_whiteouts;
use spinney::archive::{ExportOptions, ExtractOptions, Extracted, Modified, export, extract};
use spinney::sys::attributes;

use crate::command::run;
use crate::copy::{everything, need_gnu_tar, own, set_attribute, set_time};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::tree_snapshot::{Snapshot, differences, snapshot};

/// Everything, wherever tar(1) needs to be told.
const ALL: [&str; 5] = ["--sparse", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"];

pub fn tests() -> Vec<Test> {
    let formats = FORMATS.iter().map(|format| {
        Test::new(format!("unpack::torture_{}", format.name), move |context| torture(context, format))
    });
    let single: [Row; 6] = [
        ("our_own_export", our_own_export),
        ("a_debian_tree", a_debian_tree),
        ("export_is_the_same_each_time", export_is_the_same_each_time),
        ("directories_that_give_on", directories_that_give_on),
        ("layers", layers),
        ("devices_are_for_root", devices_are_for_root),
    ];
    formats.chain(single.map(|(name, test)| Test::new(format!("unpack::{name}"), test))).collect()
}

/// How an archive is made.
struct Format {
    name: &'static str,
    program: &'static str,
    options: &'static [&'static str],
    /// What unpacks it to be compared with what we do.
    peer: &'static str,
    /// It has room for all that the tree has.
    exact: bool,
    /// It has holes.
    sparse: bool,
}

const FORMATS: [Format; 8] = [
    gnu("gnu_pax_sparse_1.0", &["--format=pax", "--sparse-version=1.0"], true),
    gnu("gnu_pax_sparse_0.1", &["--format=pax", "--sparse-version=0.1"], true),
    gnu("gnu_pax_sparse_0.0", &["--format=pax", "--sparse-version=0.0"], true),
    gnu("gnu_gnu", &["--format=gnu"], false),
    gnu("gnu_oldgnu", &["--format=oldgnu"], false),
    // Leaves out what it has no room for, and says so by its status.
    Format { sparse: false, ..gnu("gnu_ustar", &["--format=ustar"], false) },
    Format {
        name: "bsdtar_pax",
        program: "bsdtar",
        options: &["--format=pax", "--numeric-owner", "--xattrs", "--acls"],
        peer: "bsdtar",
        exact: true,
        sparse: true,
    },
    Format {
        name: "bsdtar_gnutar",
        program: "bsdtar",
        options: &["--format=gnutar", "--numeric-owner"],
        peer: "tar",
        exact: false,
        sparse: false,
    },
];

const fn gnu(name: &'static str, options: &'static [&'static str], exact: bool) -> Format {
    Format { name, program: "tar", options, peer: "tar", exact, sparse: true }
}

fn set_attribute_of_place(path: &Path, name: &str, value: &[u8]) {
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
    attributes::set_of_place(place, name.as_bytes(), value).unwrap();
}

fn make_device(path: &Path, kind: FileType, mode: u32, major: u32, minor: u32) {
    rustix::fs::mknodat(CWD, path, kind, Mode::empty(), rustix::fs::makedev(major, minor)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// All that a copy has, and what only images have.
fn torture_tree(tree: &Path) {
    tree_without_much(tree);
    let time = fs::metadata(tree).unwrap();
    let huge = File::create(tree.join("huge")).unwrap();
    huge.write_all_at(b"end", (9 << 30) - 3).unwrap();
    set_time(tree, time.mtime(), time.mtime_nsec());
}

/// The same for formats that know no holes.
fn tree_without_much(tree: &Path) {
    everything(tree);
    let time = fs::metadata(tree).unwrap();
    make_device(&tree.join("null"), FileType::CharacterDevice, 0o666, 1, 3);
    make_device(&tree.join("disk"), FileType::BlockDevice, 0o640, 259, 1_048_575);
    make_device(&tree.join("odd"), FileType::CharacterDevice, 0o4700, 4095, 70_000);
    own(&tree.join("odd"), 5, 6);
    fs::set_permissions(tree.join("odd"), fs::Permissions::from_mode(0o4700)).unwrap();
    fs::hard_link(tree.join("null"), tree.join("deep/null")).unwrap();
    fs::hard_link(tree.join("fifo"), tree.join("deep/fifo")).unwrap();
    fs::write(tree.join("stranger"), "x").unwrap();
    own(&tree.join("stranger"), 70_000, 4_000_000_000);
    fs::write(tree.join("setid"), "x").unwrap();
    own(&tree.join("setid"), 1000, 0);
    fs::set_permissions(tree.join("setid"), fs::Permissions::from_mode(0o6711)).unwrap();
    set_attribute(&tree.join("setid"), "user.a=b%25c", b"=");
    set_attribute(&tree.join("stranger"), "trusted.of-root", b"\0\n");
    set_attribute(&tree.join("stranger"), "security.label", b"label\0");
    set_attribute_of_place(&tree.join("link"), "trusted.of-link", b"x");
    set_attribute_of_place(&tree.join("null"), "trusted.of-device", b"x");
    set_time(&tree.join("stranger"), -2_000_000_000, 0);
    set_time(&tree.join("setid"), -1, 1);
    // More pieces than a header has room for.
    let holes = File::create(tree.join("holes")).unwrap();
    for piece in 0..60_u64 {
        holes.write_all_at(&[1; 4096], piece * 65_536).unwrap();
    }
    // Longer than the fields of any header, in any number of components.
    let long = tree.join("l".repeat(155)).join("m".repeat(100)).join("n".repeat(255));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("file"), "far").unwrap();
    fs::hard_link(long.join("file"), long.join("f".repeat(200))).unwrap();
    for length in [99, 100, 101] {
        symlink("t".repeat(length), tree.join(format!("link-{length}"))).unwrap();
        fs::write(tree.join("e".repeat(length - 2)), "edge").unwrap();
    }
    fs::create_dir(tree.join("read-only")).unwrap();
    fs::write(tree.join("read-only/inside"), "x").unwrap();
    set_time(&tree.join("read-only/inside"), 1_600_000_000, 1);
    fs::set_permissions(tree.join("read-only"), fs::Permissions::from_mode(0o555)).unwrap();
    set_time(tree, time.mtime(), time.mtime_nsec());
}

/// Of these bsdtar writes and reads the fraction as if it went on from zero.
fn no_fractions_before_1970(tree: &Path) {
    for name in ["fifo", "setid"] {
        set_time(&tree.join(name), -7, 0);
    }
}

/// Unpacks `archive` to `name`, by us.
fn unpacked(context: &Context, archive: &Path, name: &str) -> Result<(Extracted, Snapshot), Stop> {
    let target = context.subdirectory(name);
    let options = ExtractOptions { devices: true, ..ExtractOptions::default() };
    let extracted = extract(BufReader::new(File::open(archive)?), File::open(&target)?, &options);
    let extracted = extracted.map_err(|error| Stop::Fail(format!("{name}: {error:?}")))?;
    let found = snapshot(&target);
    fs::remove_dir_all(target)?;
    Ok((extracted, found))
}

/// The same by `program`.
fn unpacked_by(context: &Context, program: &str, archive: &Path, name: &str) -> Result<Snapshot, Stop> {
    let target = context.subdirectory(name);
    let mut command = Command::new(program);
    match program {
        "tar" => command.args(&ALL[1..]).args(["--same-owner", "--delay-directory-restore"]),
        // It wants names to be of its locale.
        _ => command.env("LC_ALL", "C.UTF-8").args(["--numeric-owner", "--same-owner", "--xattrs", "--acls"]),
    };
    run(command.args(["-p", "-x", "-f"]).arg(archive).arg("-C").arg(&target)).ok()?;
    let found = snapshot(&target);
    fs::remove_dir_all(target)?;
    Ok(found)
}

fn same(what: &str, expected: &Snapshot, found: &Snapshot) {
    let differences = differences(expected, found);
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

fn torture(context: &Context, format: &Format) -> TestResult {
    need_gnu_tar()?;
    let tree = context.subdirectory("tree");
    if format.sparse {
        torture_tree(&tree);
    } else {
        tree_without_much(&tree);
        fs::remove_file(tree.join("all-hole"))?;
        fs::remove_file(tree.join("sparse"))?;
    }
    if format.program == "bsdtar" {
        no_fractions_before_1970(&tree);
    }
    let archive = context.directory.join("archive.tar");
    let mut command = Command::new(format.program);
    if format.program == "tar" {
        command.args(&ALL[usize::from(!format.sparse)..2]);
        if format.exact {
            command.args(&ALL[2..]);
        }
    }
    let made = run(command.args(format.options).arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("."));
    if format.exact {
        assert_eq!(made.status, 0, "{made:?}");
    }
    let (extracted, found) = unpacked(context, &archive, "ours")?;
    assert_eq!(extracted.notes.lines(), Vec::<String>::new());
    if format.exact {
        let mut expected = snapshot(&tree);
        // They have hard links of files and links: of a device both make several, GNU tar of a FIFO too.
        let nodes: &[char] = if format.program == "tar" { &['1', '2', '6'] } else { &['2', '6'] };
        for line in expected.values_mut().filter(|line| line.starts_with(nodes)) {
            if !line.starts_with("100") && !line.starts_with("120") {
                line.truncate(line.find(" links ").unwrap_or(line.len()));
            }
        }
        same("the tree and what we unpack", &expected, &found);
    }
    let mut theirs = unpacked_by(context, format.peer, &archive, "theirs")?;
    if format.peer == "bsdtar" {
        // It restores attributes of files and directories alone, and none of root's; the directory that was there before it
        // leaves as it is.
        let (mut found, mut theirs) = (without_attributes(&found), without_attributes(&theirs));
        found.remove(Path::new(""));
        theirs.remove(Path::new(""));
        same("what bsdtar and we unpack, but for attributes", &theirs, &found);
    } else {
        // tar(1) makes files of no name that it has no room for: what it leaves out is in neither.
        theirs.retain(|path, _| found.contains_key(path));
        same("what tar and we unpack", &theirs, &found);
    }
    assert!(found.len() > 30, "{}", found.len());
    Ok(())
}

/// Lines up to the first attribute, and the links.
fn without_attributes(snapshot: &Snapshot) -> Snapshot {
    let cut = |line: &String| {
        let start = ["user.", "system.", "security.", "trusted."]
            .iter()
            .filter_map(|prefix| line.find(&format!(" {prefix}")))
            .min()
            .unwrap_or(line.len());
        let links = line.find(" links ").map_or("", |at| &line[at..]);
        if start == line.len() { line.clone() } else { format!("{}{links}", &line[..start]) }
    };
    snapshot.iter().map(|(path, line)| (path.clone(), cut(line))).collect()
}

/// Exports `tree` to a file.
fn exported(context: &Context, tree: &Path, name: &str, options: &ExportOptions) -> std::path::PathBuf {
    let archive = context.directory.join(name);
    let exported = export(File::open(tree).unwrap(), File::create(&archive).unwrap(), options).unwrap();
    assert_eq!(exported.notes.lines(), Vec::<String>::new());
    archive
}

fn our_own_export(context: &Context) -> TestResult {
    need_gnu_tar()?;
    let tree = context.subdirectory("tree");
    torture_tree(&tree);
    let expected = snapshot(&tree);
    let archive = exported(context, &tree, "own.tar", &ExportOptions::default());
    let (extracted, found) = unpacked(context, &archive, "ours")?;
    assert_eq!(extracted.notes.lines(), Vec::<String>::new());
    same("the tree and what we unpack", &expected, &found);
    same("the tree and what tar unpacks", &expected, &unpacked_by(context, "tar", &archive, "theirs")?);
    no_fractions_before_1970(&tree);
    let archive = exported(context, &tree, "own.tar", &ExportOptions::default());
    let mut theirs = unpacked_by(context, "bsdtar", &archive, "theirs")?;
    let mut expected = snapshot(&tree);
    // The directory that was there before it leaves as it is.
    for snapshot in [&mut theirs, &mut expected] {
        snapshot.remove(Path::new(""));
    }
    let (theirs, expected) = (without_attributes(&theirs), without_attributes(&expected));
    same("the tree and what bsdtar unpacks", &expected, &theirs);
    // A socket is left out, with a word.
    std::os::unix::net::UnixListener::bind(tree.join("socket"))?;
    let done = export(File::open(&tree)?, std::io::sink(), &ExportOptions::default()).unwrap();
    assert_eq!(done.notes.lines(), ["left out 1 socket: \"./socket\""]);
    Ok(())
}

fn a_debian_tree(context: &Context) -> TestResult {
    need_gnu_tar()?;
    let tree = context.tree("debian-13")?;
    let expected = snapshot(&tree);
    // Not the disk's: an ext4 without a journal looks for a minute past each inode that was freed (recently_deleted() in
    // fs/ext4/ialloc.c), and the tests before this one freed many.
    let memory = context.subdirectory("memory");
    mount("tmpfs", &memory, "tmpfs", MountFlags::empty(), None)?;
    let result = debian_tree_in(context, &tree, &expected);
    unmount(&memory, UnmountFlags::empty())?;
    result
}

fn debian_tree_in(context: &Context, tree: &Path, expected: &Snapshot) -> TestResult {
    let archive = context.directory.join("memory/gnu.tar");
    run(Command::new("tar")
        .args(ALL)
        .args(["--format=pax", "--one-file-system", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(tree)
        .arg("."))
    .ok()?;
    let (extracted, found) = unpacked(context, &archive, "memory/ours")?;
    assert_eq!(extracted.notes.lines(), Vec::<String>::new());
    same("of tar", expected, &found);
    assert_eq!(extracted.counts.files + extracted.counts.directories, expected.len() as u64);
    fs::remove_file(archive)?;
    let archive = exported(context, tree, "memory/own.tar", &ExportOptions::default());
    same("of ours", expected, &unpacked(context, &archive, "memory/ours")?.1);
    same("of ours by tar", expected, &unpacked_by(context, "tar", &archive, "memory/tar")?);
    Ok(())
}

/// Whatever the order of a directory on disk, inode numbers, times of reading: the same bytes.
fn export_is_the_same_each_time(context: &Context) -> TestResult {
    let tree = context.subdirectory("tree");
    torture_tree(&tree);
    let first = exported(context, &tree, "first.tar", &ExportOptions::default());
    // Unpacked backwards, so that names and inodes are in another order.
    let other = context.subdirectory("other");
    let names: BTreeSet<_> = fs::read_dir(&tree)?.map(|entry| entry.unwrap().file_name()).collect();
    fs::create_dir(other.join("aside"))?;
    for number in 0..50 {
        fs::write(other.join(format!("aside/{number}")), "x")?;
    }
    let options = ExtractOptions { devices: true, ..ExtractOptions::default() };
    let fresh = context.subdirectory("other/fresh");
    extract(BufReader::new(File::open(&first)?), File::open(&fresh)?, &options).unwrap();
    for name in names.iter().rev() {
        fs::rename(fresh.join(name), fresh.join("renamed"))?;
        fs::rename(fresh.join("renamed"), fresh.join(name))?;
        let _ = fs::read(fresh.join(name).join("file"));
    }
    let time = fs::metadata(&tree)?;
    set_time(&fresh, time.mtime(), time.mtime_nsec());
    let second = exported(context, &fresh, "second.tar", &ExportOptions::default());
    assert!(run(Command::new("cmp").args([&first, &second])).status == 0, "they differ");

    // As SOURCE_DATE_EPOCH has it, and all alike.
    let day = Time { seconds: 1_000_000_000, nanoseconds: 0 };
    let fixed = ExportOptions { modified: Modified::Fixed(day) };
    let clamped = ExportOptions { modified: Modified::AtMost(day) };
    let (_, all) = unpacked(context, &exported(context, &tree, "fixed.tar", &fixed), "fixed")?;
    assert!(all.values().all(|line| line.contains(" 1000000000.000000000")), "{all:#?}");
    let (_, some) = unpacked(context, &exported(context, &tree, "clamped.tar", &clamped), "clamped")?;
    let expected = snapshot(&tree);
    for (path, line) in &some {
        let seconds = |line: &str| -> f64 { line.split(' ').nth(2).unwrap().parse().unwrap() };
        let (old, new) = (seconds(&expected[path]), seconds(line));
        assert!((new - old.min(1e9)).abs() < 1e-3, "{path:?}: {old} {new}");
    }
    Ok(())
}

/// A directory whose own parent gives group and ACL on to what is made in it: no image is to have these.
fn directories_that_give_on(context: &Context) -> TestResult {
    let tree = context.subdirectory("tree");
    torture_tree(&tree);
    let archive = exported(context, &tree, "own.tar", &ExportOptions::default());
    let parent = context.subdirectory("parent");
    let acl =
        spinney::archive::acl::from_text(b"user::rwx,user:7:rwx,group::rwx,mask::rwx,other::rwx").unwrap();
    set_attribute(&parent, "system.posix_acl_default", &acl);
    own(&parent, 0, 77);
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o2755))?;
    let (extracted, found) = unpacked(context, &archive, "parent/ours")?;
    assert_eq!(extracted.notes.lines(), Vec::<String>::new());
    same("the tree", &snapshot(&tree), &found);
    Ok(())
}

/// Layers: whiteouts and opaque directories, before and after what they hide.
fn layers(context: &Context) -> TestResult {
    let archive = context.directory.join("layer.tar");
    let tree = context.subdirectory("tree");
    for name in ["a/.wh.gone", "a/.wh.file", "a/.wh.dir", "b/.wh..wh..opq", "b/new", ".wh..wh.aufs"] {
        fs::create_dir_all(tree.join(name).parent().unwrap())?;
        fs::write(tree.join(name), "")?;
    }
    fs::write(tree.join("a/file"), "file")?;
    fs::create_dir(tree.join("a/dir"))?;
    fs::write(tree.join("a/dir/in"), "in")?;
    let sorted = ["a", "b", ".wh..wh.aufs"];
    let hides_last = ["a/file", "a/dir", "a/.wh.gone", "a/.wh.file", "a/.wh.dir", "b"];
    for members in [&sorted[..], &hides_last[..]] {
        let mut command = Command::new("tar");
        run(command.arg("--sort=name").arg("-cf").arg(&archive).arg("-C").arg(&tree).args(members)).ok()?;
        let target = context.subdirectory("layer");
        let options =
            ExtractOptions { devices: true, filter: Some(&oci_whiteouts), ..ExtractOptions::default() };
        let extracted =
            extract(BufReader::new(File::open(&archive)?), File::open(&target)?, &options).unwrap();
        assert_eq!(extracted.notes.lines(), Vec::<String>::new(), "{members:?}");
        let found = snapshot(&target);
        let paths: Vec<_> = found.keys().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["", "a", "a/dir", "a/dir/in", "a/file", "a/gone", "b", "b/new"], "{members:?}");
        assert!(found[Path::new("a/gone")].contains(" device 0x0"), "{found:#?}");
        for (path, is_opaque) in [("a", false), ("a/dir", true), ("b", true)] {
            let opaque = found[Path::new(path)].contains("user.overlay.opaque=Some([79])");
            assert_eq!(opaque, is_opaque, "{members:?}: {path}: {found:#?}");
        }
        assert_eq!(fs::read_to_string(target.join("a/file"))?, "file");
        fs::remove_dir_all(target)?;
    }
    Ok(())
}

/// Without leave, device nodes are left out, with a word; what steers overlays never comes in.
fn devices_are_for_root(context: &Context) -> TestResult {
    need_gnu_tar()?;
    let tree = context.subdirectory("tree");
    make_device(&tree.join("null"), FileType::CharacterDevice, 0o666, 1, 3);
    fs::create_dir(tree.join("d"))?;
    for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "user.kept"] {
        set_attribute(&tree.join("d"), name, b"y");
    }
    let mut command = Command::new("tar");
    command.args(ALL).args(["--format=pax", "-c", "-C"]).arg(&tree).arg(".");
    let bytes = command.stdout(Stdio::piped()).output()?.stdout;
    let target = context.subdirectory("target");
    let done = extract(Cursor::new(bytes), File::open(&target)?, &ExtractOptions::default()).unwrap();
    assert_eq!(done.notes.lines(), ["left out 1 device node: \"./null\""]);
    assert!(!done.notes.has_faults());
    let null = rustix::fs::statat(CWD, target.join("null"), AtFlags::SYMLINK_NOFOLLOW);
    assert_eq!(null.map(|_| ()), Err(rustix::io::Errno::NOENT));
    assert_eq!(attributes::list(File::open(target.join("d"))?).unwrap(), [b"user.kept"]);
    Ok(())
}
