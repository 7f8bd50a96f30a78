//! What is started at boot: systemd's units by their links (systemd.unit(5)), services of OpenRC by runlevel, of runit by
//! its directory, System V's by its links.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;
use serde::Serialize;

use crate::image::merged::View;
use crate::sys::SysResult;

/// Where an administrator enables units.
const SYSTEMD: [&str; 2] = ["etc/systemd/system", "etc/systemd/user"];

/// Where a link is a service that runs.
const SERVICES: [&str; 3] = ["etc/runit/runsvdir/default", "etc/service", "var/service"];

/// What became of what is started.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Units {
    /// Started at boot now.
    pub enabled: Vec<Wanted>,
    /// Not any more.
    pub disabled: Vec<Wanted>,
    /// Not to be started at all.
    pub masked: Vec<String>,
    /// To be started again.
    pub unmasked: Vec<String>,
}

/// A unit or service, and what starts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Wanted {
    /// Its name.
    pub unit: String,
    /// A target, or a runlevel.
    pub by: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    wanted: BTreeSet<Wanted>,
    masked: BTreeSet<String>,
}

/// Compares what is started.
///
/// # Errors
/// When a directory cannot be read.
pub fn compare(old: &View, new: &View) -> SysResult<Units> {
    let (old, new) = (state(old)?, state(new)?);
    let without = |one: &State, other: &State| one.wanted.difference(&other.wanted).cloned().collect();
    Ok(Units {
        enabled: without(&new, &old),
        disabled: without(&old, &new),
        masked: new.masked.difference(&old.masked).cloned().collect(),
        unmasked: old.masked.difference(&new.masked).cloned().collect(),
    })
}

fn state(view: &View) -> SysResult<State> {
    let mut state = State::default();
    for directory in SYSTEMD {
        for (name, is_link) in entries(view, directory)? {
            let by = name.strip_suffix(".wants").or_else(|| name.strip_suffix(".requires"));
            let below = format!("{directory}/{name}");
            if is_link {
                let node = entry(view, directory, &name)?;
                if node.is_some_and(|target| target == Path::new("/dev/null")) {
                    state.masked.insert(name);
                }
            } else if let Some(by) = by {
                state.add(view, &below, by)?;
            }
        }
    }
    for (runlevel, _) in entries(view, "etc/runlevels")? {
        state.add(view, &format!("etc/runlevels/{runlevel}"), &runlevel)?;
    }
    for directory in SERVICES {
        state.add(view, directory, "runsvdir")?;
    }
    for runlevel in ["S", "0", "1", "2", "3", "4", "5", "6"] {
        for (name, _) in entries(view, &format!("etc/rc{runlevel}.d"))? {
            if let Some(unit) = system_v(&name) {
                state.wanted.insert(Wanted { unit: unit.to_owned(), by: format!("rc{runlevel}") });
            }
        }
    }
    Ok(state)
}

impl State {
    fn add(&mut self, view: &View, directory: &str, by: &str) -> SysResult<()> {
        for (unit, is_link) in entries(view, directory)? {
            if is_link {
                self.wanted.insert(Wanted { unit, by: by.to_owned() });
            }
        }
        Ok(())
    }
}

/// The names in `directory`, and whether each is a link. Names that are no text name no unit.
fn entries(view: &View, directory: &str) -> SysResult<Vec<(String, bool)>> {
    let Some(node) = view.find(Path::new(directory))?.filter(|node| node.is_directory()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for name in view.names(&node)? {
        if let (Some(child), Ok(name)) = (view.child(&node, &name)?, name.clone().into_string()) {
            found.push((name, child.kind() == FileType::Symlink));
        }
    }
    Ok(found)
}

fn entry(view: &View, directory: &str, name: &str) -> SysResult<Option<std::path::PathBuf>> {
    let Some(node) = view.find(Path::new(directory))? else { return Ok(None) };
    view.child(&node, OsStr::from_bytes(name.as_bytes()))?.map(|child| child.link_target()).transpose()
}

/// `ssh` of `S01ssh`: those that are started, not those that are stopped.
fn system_v(name: &str) -> Option<&str> {
    let rest = name.strip_prefix('S')?;
    let (number, unit) = rest.split_at_checked(2)?;
    (number.bytes().all(|byte| byte.is_ascii_digit()) && !unit.is_empty()).then_some(unit)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sys::files::open_directory;

    #[test]
    fn what_is_started() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = |tree: &Path, path: &str, target: &str| {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        };
        for tree in [old.path(), new.path()] {
            link(
                tree,
                "etc/systemd/system/multi-user.target.wants/cron.service",
                "/lib/systemd/system/cron.service",
            );
            link(tree, "etc/rc2.d/S01cron", "../init.d/cron");
        }
        link(old.path(), "etc/systemd/system/sockets.target.requires/x.socket", "x");
        link(old.path(), "etc/systemd/system/old.service", "/dev/null");
        link(old.path(), "etc/rc2.d/K01stopped", "../init.d/stopped");
        link(new.path(), "etc/systemd/system/multi-user.target.wants/ssh.service", "x");
        link(new.path(), "etc/systemd/system/new.service", "/dev/null");
        link(new.path(), "etc/systemd/system/alias.service", "/lib/systemd/system/other.service");
        link(new.path(), "etc/runlevels/default/sshd", "/etc/init.d/sshd");
        link(new.path(), "etc/rc2.d/S02ssh", "../init.d/ssh");
        let view = |tree: &tempfile::TempDir| View::of_tree(open_directory(tree.path()).unwrap());
        let wanted = |pairs: &[(&str, &str)]| -> Vec<Wanted> {
            pairs.iter().map(|(unit, by)| Wanted { unit: unit.to_string(), by: by.to_string() }).collect()
        };
        let expected = Units {
            enabled: wanted(&[("ssh", "rc2"), ("ssh.service", "multi-user.target"), ("sshd", "default")]),
            disabled: wanted(&[("x.socket", "sockets.target")]),
            masked: vec!["new.service".into()],
            unmasked: vec!["old.service".into()],
        };
        assert_eq!(compare(&view(&old), &view(&new)).unwrap(), expected);
    }
}
