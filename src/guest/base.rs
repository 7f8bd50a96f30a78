//! The directories at the top of a tree that mounts and files go to.

use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;

use super::error::TreeError;
use crate::sys::in_root::{Root, absent_is_none};

/// What has the name of a base directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseState {
    /// A directory.
    Directory,
    /// Nothing: it has to be made, or the tree cannot be run read-only.
    Missing,
    /// A link to a directory of the tree, with these contents.
    Link(PathBuf),
}

impl BaseState {
    /// Whether something can be mounted there without making it first.
    pub fn is_there(&self) -> bool {
        *self != Self::Missing
    }
}

/// Directories that may not be links in the tree either: one that leads to another of them, or below what is mounted later,
/// has us take files that the tree or a bind brings for the kernel's. No distribution has such links.
const NO_LINKS: [&str; 4] = ["dev", "proc", "sys", "run"];

/// The state of each base directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseDirectories {
    /// /dev
    pub dev: BaseState,
    /// /proc
    pub proc: BaseState,
    /// /sys
    pub sys: BaseState,
    /// /run
    pub run: BaseState,
    /// /tmp
    pub tmp: BaseState,
    /// /etc
    pub etc: BaseState,
    /// /usr
    pub usr: BaseState,
    /// /var
    pub var: BaseState,
    /// Whether /bin is a link into /usr.
    pub merged_usr: bool,
}

impl BaseDirectories {
    /// Looks at each; fails if one is a file or a link that does not end at a directory of the tree.
    pub fn inspect(root: &Root) -> Result<Self, TreeError> {
        Ok(Self {
            dev: state(root, "dev")?,
            proc: state(root, "proc")?,
            sys: state(root, "sys")?,
            run: state(root, "run")?,
            tmp: state(root, "tmp")?,
            etc: state(root, "etc")?,
            usr: state(root, "usr")?,
            var: state(root, "var")?,
            merged_usr: merged_usr(root)?,
        })
    }

    /// The directories by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &BaseState)> {
        [
            ("dev", &self.dev),
            ("proc", &self.proc),
            ("sys", &self.sys),
            ("run", &self.run),
            ("tmp", &self.tmp),
            ("etc", &self.etc),
            ("usr", &self.usr),
            ("var", &self.var),
        ]
        .into_iter()
    }
}

fn state(root: &Root, name: &'static str) -> Result<BaseState, TreeError> {
    let Some(metadata) = absent_is_none(root.symlink_metadata(name))? else {
        return Ok(BaseState::Missing);
    };
    match metadata.kind() {
        FileType::Directory => Ok(BaseState::Directory),
        FileType::Symlink => {
            let target = root.read_link(name)?;
            // A link that the host would follow out of the tree is a mistake or an attack, also where the kernel, which
            // keeps us in the root, would find a directory for it.
            let inside = !climbs_out(&target) && root.metadata(name).is_ok_and(|found| found.is_dir());
            match inside {
                true if NO_LINKS.contains(&name) => Err(TreeError::BaseIsLink { name, target }),
                true => Ok(BaseState::Link(target)),
                false => Err(TreeError::BaseLeavesTree { name, target }),
            }
        }
        _ => Err(TreeError::BaseNotADirectory { name }),
    }
}

/// Whether `..` in a link at the top of the tree climbs over it.
fn climbs_out(target: &Path) -> bool {
    let mut depth = 0_usize;
    for component in target.components() {
        match component {
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    false
}

fn merged_usr(root: &Root) -> Result<bool, TreeError> {
    match absent_is_none(root.symlink_metadata("bin"))? {
        Some(bin) if bin.is_symlink() => {
            let target = root.read_link("bin")?;
            Ok(target.strip_prefix("/").unwrap_or(&target).starts_with("usr"))
        }
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn states() {
        type Row<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
        let table: [Row<'_>; 10] = [
            ("directory", &|at| std::fs::create_dir(at).unwrap(), "Directory"),
            ("missing", &|_| (), "Missing"),
            ("file", &|at| std::fs::write(at, "").unwrap(), "/etc of the tree is not a directory"),
            ("link in the tree", &|at| symlink("real", at).unwrap(), "Link(\"real\")"),
            ("absolute link in the tree", &|at| symlink("/real", at).unwrap(), "Link(\"/real\")"),
            (
                "link with .. in the tree",
                &|at| symlink("real/../real", at).unwrap(),
                "Link(\"real/../real\")",
            ),
            (
                "link to the host",
                &|at| symlink("/root", at).unwrap(),
                "/etc of the tree is a symlink that points out of the tree, to /root",
            ),
            (
                "link that climbs, to a name that the tree has too",
                &|at| symlink("../real", at).unwrap(),
                "/etc of the tree is a symlink that points out of the tree, to ../real",
            ),
            (
                "link to a file",
                &|at| symlink("file", at).unwrap(),
                "/etc of the tree is a symlink that points out of the tree, to file",
            ),
            (
                "loop",
                &|at| symlink("etc", at).unwrap(),
                "/etc of the tree is a symlink that points out of the tree, to etc",
            ),
        ];
        for (name, make, expected) in table {
            let tree = tempfile::tempdir().unwrap();
            std::fs::create_dir(tree.path().join("real")).unwrap();
            std::fs::write(tree.path().join("file"), "").unwrap();
            make(&tree.path().join("etc"));
            let root = Root::open(tree.path()).unwrap();
            let found = match BaseDirectories::inspect(&root) {
                Ok(base) => format!("{:?}", base.etc),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn the_kernels_directories_are_no_links() {
        for name in NO_LINKS {
            let tree = tempfile::tempdir().unwrap();
            std::fs::create_dir(tree.path().join("real")).unwrap();
            symlink("real", tree.path().join(name)).unwrap();
            let error = BaseDirectories::inspect(&Root::open(tree.path()).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), format!("/{name} of the tree is a symlink, to real"));
        }
    }

    #[test]
    fn merged() {
        for (target, expected) in [("usr/bin", true), ("/usr/bin", true), ("busybox", false)] {
            let tree = tempfile::tempdir().unwrap();
            symlink(target, tree.path().join("bin")).unwrap();
            let base = BaseDirectories::inspect(&Root::open(tree.path()).unwrap()).unwrap();
            assert_eq!(base.merged_usr, expected, "{target}");
        }
    }
}
