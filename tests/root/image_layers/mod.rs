//! Clones, snapshots, rollbacks, commits and differences of images.

mod faults;
mod file_systems;
mod listing;
mod machine_root;
mod property;
mod random;
mod refusals;
mod running;

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Test};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 11] = [
        ("random_changes", property::random_changes),
        ("killed_at_each_step", faults::killed_at_each_step),
        ("in_no_time_on_each_file_system", file_systems::in_no_time),
        ("subvolumes", file_systems::subvolumes),
        ("disks", file_systems::disks),
        ("fifty_clones", file_systems::fifty_clones),
        ("refusals", refusals::refusals),
        ("conversion", refusals::conversion),
        ("running", running::running),
        ("clones_elsewhere", running::clones_elsewhere),
        ("one_pool_two_ways", running::one_pool_two_ways),
    ];
    rows.map(|(name, test)| Test::new(format!("image_layers::{name}"), test)).into()
}

/// Images in a directory of the test's own.
pub struct Images<'a> {
    context: &'a Context,
    pub root: PathBuf,
}

impl<'a> Images<'a> {
    pub fn new(context: &'a Context, root: PathBuf) -> Self {
        fs::create_dir_all(&root).unwrap();
        Self { context, root }
    }

    /// `spinney VERB --image-root=… ARGUMENTS`, with the fault if one is given.
    pub fn with_fault(&self, fault: Option<&str>, arguments: &[&str]) -> Ended {
        let mut command = self.context.spinney();
        command.arg(arguments[0]).arg("--image-root").arg(&self.root).args(&arguments[1..]);
        if let Some(fault) = fault {
            command.env("SPINNEY_FAULT", fault);
        }
        run(&mut command)
    }

    pub fn spinney(&self, arguments: &[&str]) -> Ended {
        self.with_fault(None, arguments)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What is in the directory of images, and how many layers there are.
    pub fn names(&self) -> (Vec<String>, usize) {
        let list = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut names: Vec<_> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let mut names = list(&self.root);
        names.retain(|name| name != ".#spinney");
        (names, list(&self.root.join(".#spinney/layers")).len())
    }
}

/// A small tree with a file of each kind.
pub fn small_tree(tree: &Path) {
    use std::os::unix::fs::{lchown, symlink};
    for directory in ["etc", "usr/bin", "usr/share/doc", "var/lib/data/deep/deeper", "empty"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    for (path, text) in [
        ("etc/os-release", "ID=test\n"),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("usr/bin/tool", "#!/bin/sh\n"),
        ("usr/share/doc/one", "1"),
        ("usr/share/doc/two", "2"),
        ("var/lib/data/deep/deeper/file", "deep"),
    ] {
        fs::write(tree.join(path), text).unwrap();
    }
    fs::write(tree.join("var/lib/data/large"), vec![7; 40_000]).unwrap();
    fs::hard_link(tree.join("usr/bin/tool"), tree.join("usr/bin/alias")).unwrap();
    symlink("../usr/bin/tool", tree.join("etc/link")).unwrap();
    lchown(tree.join("var/lib/data"), Some(1000), Some(1000)).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(tree.join("usr/bin"), "user.mark", b"1", none).unwrap();
    rustix::fs::lsetxattr(tree, "user.root", b"of the tree", none).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("var/fifo"), fifo, 0o600.into(), 0).unwrap();
}
