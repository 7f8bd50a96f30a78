//! Clones take no time, on each file system and from one image as many as one likes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spinney::image::Store;
use spinney::image::clone::{CloneOptions, clone};

use super::listing::{listing, unequal};
use super::machine_root::MachineRoot;
use super::{Images, small_tree};
use crate::command::run;
use crate::harness::{Context, TestResult};

/// What issue and design ask for.
const LIMIT: Duration = Duration::from_millis(10);

/// Of several tries the best counts: others work here too.
const TRIES: usize = 10;

const GIBIBYTE: u64 = 1 << 30;

/// A file system, mounted for a while.
struct Mounted(PathBuf);

impl Mounted {
    fn new(context: &Context, kind: &str) -> Result<Self, String> {
        let point = context.subdirectory(&format!("on-{kind}"));
        let mut mount = Command::new("mount");
        if kind == "tmpfs" {
            mount.args(["-t", "tmpfs", "-o", "size=2g", "tmpfs"]);
        } else {
            let file = context.directory.join(format!("{kind}.img"));
            File::create(&file).unwrap().set_len(2 * GIBIBYTE).unwrap();
            let force = if kind == "ext4" { "-F" } else { "-f" };
            run(Command::new(format!("mkfs.{kind}")).args(["-q", force]).arg(&file)).ok()?;
            mount.args(["-o", "loop"]).arg(file);
        }
        run(mount.arg(&point)).ok()?;
        Ok(Self(point))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A tree of a gibibyte: two thousand small files and four large ones, of which each has some data.
fn large_tree(tree: &Path) {
    use std::os::unix::fs::FileExt;
    small_tree(tree);
    for directory in 0..20 {
        let directory = tree.join(format!("d{directory}"));
        fs::create_dir(&directory).unwrap();
        for file in 0..100 {
            fs::write(directory.join(format!("f{file}")), [1; 500]).unwrap();
        }
    }
    for large in 0..4 {
        let file = File::create(tree.join(format!("large{large}"))).unwrap();
        file.set_len(GIBIBYTE / 4).unwrap();
        file.write_all_at(&vec![1; 1 << 20], 1 << 20).unwrap();
    }
}

pub fn in_no_time(context: &Context) -> TestResult {
    for kind in ["ext4", "xfs", "btrfs", "tmpfs"] {
        let mounted = Mounted::new(context, kind)?;
        let images = Images::new(context, mounted.0.join("images"));
        large_tree(&images.path("base"));
        let expected = listing(&images.path("base/etc"));
        let store = Store::at(&images.root);
        let best = |from: &str, to: &str| -> Result<Duration, String> {
            let mut times = Vec::new();
            for number in 0..TRIES {
                let name = format!("{to}{number}").parse().map_err(|_| "no name")?;
                let from = from.parse().map_err(|_| "no name")?;
                let since = Instant::now();
                let image = store.find(&from).map_err(|error| error.to_string())?;
                clone(&store, &image, &name, CloneOptions::default(), &|_| unreachable!())
                    .map_err(|error| error.to_string())?;
                times.push(since.elapsed());
            }
            Ok(times.into_iter().min().unwrap_or_default())
        };
        let of_directory = best("base", "a")?;
        // Of a clone in which something was changed: that becomes a layer.
        let root = MachineRoot::mount(&images.path("a0.mstack"), &context.directory.join("root"))?;
        fs::write(root.path.join("etc/new"), "new").unwrap();
        root.unmount()?;
        let of_layers = best("a0", "b")?;
        for name in ["a1", "b1"] {
            let path = images.path(&format!("{name}.mstack"));
            let root = MachineRoot::mount(&path, &context.directory.join("root"))?;
            let mut seen = listing(&root.path.join("etc"));
            assert_eq!(seen.remove(Path::new("new")).is_some(), name == "b1", "{kind}");
            assert_eq!(unequal(&expected, &seen), Vec::<String>::new(), "{kind} {name}");
            assert_eq!(fs::metadata(root.path.join("large0"))?.len(), GIBIBYTE / 4);
            root.unmount()?;
        }
        println!("# {kind}: clone of a directory {of_directory:?}, of layers {of_layers:?}");
        assert!(of_directory <= LIMIT && of_layers <= LIMIT, "{kind}: {of_directory:?}, {of_layers:?}");
        // A snapshot and a rollback are renames, too.
        let since = Instant::now();
        images.spinney(&["snapshot", "a1", "s"]).ok()?;
        images.spinney(&["snapshot", "base", "s"]).ok()?;
        images.spinney(&["rollback", "base"]).ok()?;
        println!("# {kind}: two snapshots and a rollback {:?}", since.elapsed());
        let root = MachineRoot::mount(&images.path("a1.mstack"), &context.directory.join("root"))?;
        assert_eq!(unequal(&expected, &listing(&root.path.join("etc"))), Vec::<String>::new(), "{kind}");
        root.unmount()?;
    }
    Ok(())
}

/// btrfs keeps the states of subvolumes itself.
pub fn subvolumes(context: &Context) -> TestResult {
    let mounted = Mounted::new(context, "btrfs")?;
    let images = Images::new(context, mounted.0.join("images"));
    let is_subvolume = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.ino() == 256)
    };
    run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(images.path("base"))).ok()?;
    small_tree(&images.path("base"));
    let old = listing(&images.path("base"));
    images.spinney(&["clone", "base", "web"]).ok()?;
    assert!(is_subvolume(&images.path("web")));
    assert_eq!(unequal(&old, &listing(&images.path("web"))), Vec::<String>::new());
    images.spinney(&["snapshot", "web", "s1"]).ok()?;
    fs::write(images.path("web/etc/new"), "new")?;
    let new = listing(&images.path("web"));
    assert_eq!(images.spinney(&["diff", "web"]).ok()?, "A /etc/new\n", "against its image");
    assert_eq!(images.spinney(&["diff", "web", "--against", "s1"]).ok()?, "A /etc/new\n");
    let ended = images.spinney(&["rollback", "web"]);
    assert!(ended.status == 0 && ended.stderr.contains("is kept as before-rollback_"), "{ended:?}");
    assert!(is_subvolume(&images.path("web")));
    assert_eq!(unequal(&old, &listing(&images.path("web"))), Vec::<String>::new());
    let list = images.spinney(&["snapshot", "--list", "web"]).ok()?;
    let kept = list.lines().find(|line| line.starts_with("before")).and_then(|line| line.split(' ').next());
    images.spinney(&["rollback", "--discard", "web", kept.unwrap_or_default()]).ok()?;
    assert_eq!(unequal(&new, &listing(&images.path("web"))), Vec::<String>::new());
    assert_eq!(images.names(), (vec!["base".into(), "web".into()], 2));
    for name in ["s1", kept.unwrap_or_default()] {
        images.spinney(&["snapshot", "--delete", "web", name]).ok()?;
    }
    assert_eq!(images.names(), (vec!["base".into(), "web".into()], 0));
    assert_eq!(unequal(&old, &listing(&images.path("base"))), Vec::<String>::new());
    Ok(())
}

/// A disk image shares its data where that can be, and is a layer elsewhere; a copy shares nothing with it.
pub fn disks(context: &Context) -> TestResult {
    use std::os::unix::fs::FileExt;
    for (kind, shares) in [("xfs", true), ("ext4", false)] {
        let mounted = Mounted::new(context, kind)?;
        let images = Images::new(context, mounted.0.join("images"));
        let disk = File::create(images.path("base.raw"))?;
        disk.set_len(64 << 20)?;
        disk.write_all_at(b"data", 1 << 20)?;
        for arguments in [&["clone", "base", "web"][..], &["clone", "--copy", "base", "copy"]] {
            images.spinney(arguments).ok()?;
        }
        let contents = |name: &str| fs::read(images.path(name)).unwrap();
        assert!(contents("copy.raw") == contents("base.raw"), "{kind}");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(images.path("copy.raw"))?);
        assert!(blocks * 512 < 1 << 20, "{kind}: holes stay holes: {blocks}");
        if shares {
            assert!(contents("web.raw") == contents("base.raw"));
        } else {
            let layer = fs::read_link(images.path("web.mstack/layer@0.raw"))?;
            assert_eq!(layer, Path::new("../base.raw"));
            assert!(images.path("web.mstack/rw").is_dir());
            images.spinney(&["snapshot", "base", "s"]).ok()?;
            let names = images.names().0;
            assert_eq!(names, ["base.mstack", "copy.raw", "web.mstack"]);
            let data = fs::read(images.path("web.mstack/layer@0.raw"))?;
            assert!(data == contents("copy.raw"), "its clone has it where it is now");
        }
    }
    Ok(())
}

pub fn fifty_clones(context: &Context) -> TestResult {
    let images = Images::new(context, context.directory.join("images"));
    small_tree(&images.path("base"));
    let expected = listing(&images.path("base"));
    let names: Vec<String> = (0..50).map(|number| format!("clone{number}")).collect();
    for name in &names {
        images.spinney(&["clone", "base", name]).ok()?;
    }
    // All at once, each written to: none sees another's.
    let mut roots = Vec::new();
    for name in &names {
        let point = context.subdirectory(&format!("root-{name}"));
        let root = MachineRoot::mount(&images.path(&format!("{name}.mstack")), &point)?;
        fs::write(root.path.join("etc/hostname"), name).unwrap();
        roots.push(root);
    }
    for (root, name) in roots.iter().zip(&names) {
        assert_eq!(&fs::read_to_string(root.path.join("etc/hostname")).unwrap(), name);
        let mut seen = listing(&root.path);
        seen.remove(Path::new("etc/hostname"));
        assert_eq!(unequal(&expected, &seen), Vec::<String>::new(), "{name}");
    }
    for root in roots {
        root.unmount()?;
    }
    assert_eq!(unequal(&expected, &listing(&images.path("base"))), Vec::<String>::new());
    Ok(())
}
