//! The worker's side of what is done to images.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::machine_work::Outcome;
use super::task::ImageWork;
use crate::guest::os_release::OsRelease;
use crate::guest::tree;
use crate::image::clean::{CleanOptions, clean as clean_pool};
use crate::image::clone::{CloneOptions, clone};
use crate::image::properties::set_read_only;
use crate::image::{Image, ImageKind, ImageName, Store, hidden, opened, origin, remove, rename};
use crate::machine::paused::pause_writer;
use crate::manager::machined::images::{Found, find, invalid_name};
use crate::manager::problem::{Kind, Problem};
use crate::sys::in_root::Root;

/// The longest that files of a few lines are taken for.
const LIMIT: usize = 64 << 10;

/// Does `work` to the image `name`.
pub(super) fn perform(name: &str, work: ImageWork) -> Outcome {
    let store = Store::system();
    let found = find(&store, name)?;
    if work == ImageWork::Look {
        return look(&store, &found);
    }
    // What killed commands left is in the way of nobody but of who lists it.
    let _ = hidden::sweep(&store);
    origin::sweep(&store);
    match (found, work) {
        (Found::Hidden(entry), ImageWork::Remove) => match remove::remove_hidden(&store, &entry)? {
            true => done(),
            false => Err(Problem::new(Kind::Busy, format!("image {name:?} is in use"))),
        },
        (Found::Hidden(_), _) => Err(Problem::new(
            Kind::NotSupported,
            format!("image {name:?} is hidden: it can be removed, and no more"),
        )),
        (Found::Host, _) => {
            Err(Problem::new(Kind::ReadOnly, "The host's own tree is no image to be changed"))
        }
        (Found::Image(image), work) => change(&store, &image, work),
    }
}

fn change(store: &Store, image: &Image, work: ImageWork) -> Outcome {
    match work {
        // As systemd-machined does it: the mark of a read-only one is no lock.
        ImageWork::Remove => remove::remove(store, image, true)?,
        ImageWork::Rename { to } => drop(rename::rename(store, image, &named(&to)?)?),
        ImageWork::Clone { to, read_only } => {
            // Clients of systemd-machined expect one that stays when the first is removed or changed: a snapshot of btrfs is,
            // layers over it are not.
            let options = CloneOptions { copy: image.kind != ImageKind::Subvolume, read_only };
            clone(store, image, &named(&to)?, options, &pause_writer)?;
        }
        ImageWork::MarkReadOnly { read_only } => set_read_only(image, read_only)?,
        ImageWork::Look => {}
    }
    done()
}

/// Removes what is hidden and nobody's, and with `all` every image that is not in use.
pub(super) fn clean(all: bool) -> Outcome {
    let cleaned = clean_pool(&Store::system(), CleanOptions { all, force: all, dry_run: false })?;
    match cleaned.faults.into_iter().next() {
        Some(fault) => Err(fault.into()),
        None => Ok(Some((json!(cleaned.removed), Vec::new()))),
    }
}

fn done() -> Outcome {
    Ok(Some((json!({}), Vec::new())))
}

fn named(name: &str) -> Result<ImageName, Problem> {
    name.parse().map_err(|_| invalid_name(name))
}

/// What it says of itself. Its files are a guest's: none is followed out of it.
fn look(store: &Store, found: &Found) -> Outcome {
    let view = |path: &Path| {
        opened::look(path).map_err(|error| {
            let hint = error.hint();
            Problem::of(Kind::Failed, &error, hint)
        })
    };
    let root = match found {
        Found::Image(image) => view(&image.path)?,
        Found::Hidden(entry) => view(&store.pool.join(&entry.name))?,
        Found::Host => Root::open("/").map_err(|error| Problem::of(Kind::Failed, &error, None))?,
    };
    let text = |path: &str| {
        root.read(path, LIMIT).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let fields = |release: &OsRelease| -> Map<String, Value> {
        release.fields().map(|(name, value)| (name.to_owned(), value.into())).collect()
    };
    let id = tree::machine_id(&root).ok().and_then(|state| state.id()).map(|id| id.to_string());
    let release = tree::os_release(&root).ok().flatten().unwrap_or_default();
    let value = json!({
        "hostname": hostname(&text("/etc/hostname")),
        "machine_id": id,
        "machine_info": fields(&OsRelease::parse(&text("/etc/machine-info"))),
        "os_release": fields(&release),
    });
    Ok(Some((value, Vec::new())))
}

/// What /etc/hostname says (hostname(5)); nothing where that is no name.
fn hostname(contents: &str) -> &str {
    let line = contents.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    line.filter(|name| name.len() <= 64 && name.chars().all(valid)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames() {
        let long = "x".repeat(65);
        for (contents, expected) in [
            ("web\n", "web"),
            ("# mine\n\n  web.example.org \nother\n", "web.example.org"),
            ("", ""),
            ("a b\n", ""),
            ("\u{1b}[31m\n", ""),
            (&long, ""),
        ] {
            assert_eq!(hostname(contents), expected, "{contents:?}");
        }
    }
}
