//! Killed at each of its steps, a command leaves the old state or the new one, and the next command cleans up.

use std::fs;
use std::path::Path;

use spinney::image::fault::{CLONE, COMMIT, CONVERT, ROLLBACK, SNAPSHOT};

use super::listing::{Listing, listing, unequal};
use super::machine_root::MachineRoot;
use super::{Images, small_tree};
use crate::harness::{Context, TestResult};

/// What the machine of the image `name` sees.
fn seen(context: &Context, images: &Images<'_>, name: &str) -> Result<Listing, String> {
    let layered = images.path(&format!("{name}.mstack"));
    let plain = images.path(name);
    // Of two of a name the directory is the one that counts (systemd's image_find()).
    if plain.exists() || !layered.exists() {
        return Ok(listing(&plain));
    }
    let root = MachineRoot::mount(&layered, &context.directory.join("seen"))?;
    let seen = listing(&root.path);
    root.unmount()?;
    Ok(seen)
}

fn same(what: &str, expected: &[&Listing], found: &Listing) -> Result<(), String> {
    let differing: Vec<_> = expected.iter().map(|one| unequal(one, found)).collect();
    match differing.iter().any(Vec::is_empty) {
        true => Ok(()),
        false => Err(format!("{what}: neither the old nor the new state: {differing:#?}")),
    }
}

/// Writes to the machine of the layered image `name`, and says what it sees then.
fn change(context: &Context, images: &Images<'_>, name: &str, text: &str) -> Result<Listing, String> {
    let root =
        MachineRoot::mount(&images.path(&format!("{name}.mstack")), &context.directory.join("change"))?;
    fs::write(root.path.join("etc/passwd"), text).unwrap();
    fs::write(root.path.join(format!("new-{text}")), text).unwrap();
    let _ = fs::remove_file(root.path.join("usr/share/doc/one"));
    let _ = fs::remove_dir_all(root.path.join("var/lib/data/deep"));
    fs::create_dir_all(root.path.join("var/lib/data/deep")).unwrap();
    let seen = listing(&root.path);
    root.unmount()?;
    Ok(seen)
}

fn killed(images: &Images<'_>, fault: &str, arguments: &[&str]) -> Result<(), String> {
    let ended = images.with_fault(Some(fault), arguments);
    if ended.status == 137 { Ok(()) } else { Err(format!("{fault}: not killed: {ended:?}")) }
}

pub fn killed_at_each_step(context: &Context) -> TestResult {
    let made = |name: &str| -> Images<'_> {
        let images = Images::new(context, context.directory.join(name));
        small_tree(&images.path("base"));
        images
    };
    for fault in SNAPSHOT {
        let images = made(&format!("snapshot-{fault}"));
        images.spinney(&["clone", "base", "web"]).ok()?;
        let state = change(context, &images, "web", "one")?;
        killed(&images, fault, &["snapshot", "web", "s1"])?;
        same(fault, &[&state], &seen(context, &images, "web")?)?;
        // Again, under the same name unless it is there.
        let again = images.spinney(&["snapshot", "web", "s1"]);
        if *fault == "recorded" {
            assert_eq!(again.status, 125, "{fault}: {again:?}");
        } else {
            again.ok()?;
        }
        same(fault, &[&state], &seen(context, &images, "web")?)?;
        change(context, &images, "web", "two")?;
        images.spinney(&["rollback", "--discard", "web", "s1"]).ok()?;
        same(fault, &[&state], &seen(context, &images, "web")?)?;
        let (names, layers) = images.names();
        assert_eq!(names, ["base", "web.mstack"], "{fault}");
        // An empty one may have come before that with the changes.
        assert!(
            layers == 1 || (layers == 2 && matches!(*fault, "layer-linked" | "work-emptied")),
            "{fault}: {layers}"
        );
    }
    for fault in CONVERT.iter().chain(&["before-record", "recorded"]) {
        let images = made(&format!("convert-{fault}"));
        images.spinney(&["clone", "base", "clone"]).ok()?;
        let (state, of_clone) = (listing(&images.path("base")), change(context, &images, "clone", "clone")?);
        killed(&images, fault, &["snapshot", "base", "s1"])?;
        same(fault, &[&state], &seen(context, &images, "base")?)?;
        same(fault, &[&of_clone], &seen(context, &images, "clone")?)?;
        // Any command that changes layers goes on with it.
        images.spinney(&["snapshot", "clone", "s"]).ok()?;
        let again = images.spinney(&["snapshot", "base", "s1"]);
        assert!(again.status == 0 || *fault == "recorded", "{fault}: {again:?}");
        same(fault, &[&state], &seen(context, &images, "base")?)?;
        same(fault, &[&of_clone], &seen(context, &images, "clone")?)?;
        let (names, layers) = images.names();
        let names: Vec<_> = names.into_iter().filter(|name| !name.starts_with(".#base.")).collect();
        assert_eq!((names, layers), (vec!["base.mstack".into(), "clone.mstack".into()], 2), "{fault}");
    }
    for fault in ROLLBACK {
        let images = made(&format!("rollback-{fault}"));
        images.spinney(&["clone", "base", "web"]).ok()?;
        let old = change(context, &images, "web", "one")?;
        images.spinney(&["snapshot", "web", "s1"]).ok()?;
        let new = change(context, &images, "web", "two")?;
        killed(&images, fault, &["rollback", "web", "s1"])?;
        same(fault, &[&old, &new], &seen(context, &images, "web")?)?;
        images.spinney(&["rollback", "web", "s1"]).ok()?;
        same(fault, &[&old], &seen(context, &images, "web")?)?;
        // What it was is kept, once.
        let list = images.spinney(&["snapshot", "--list", "web"]).ok()?;
        let automatic: Vec<_> = list.lines().filter(|line| line.starts_with("before-rollback_")).collect();
        assert_eq!(automatic.len(), 1, "{fault}: {list}");
        let kept = automatic[0].split(' ').next().unwrap();
        images.spinney(&["rollback", "web", kept]).ok()?;
        same(fault, &[&new], &seen(context, &images, "web")?)?;
        assert_eq!(images.names().1, 2, "{fault}");
    }
    for (faults, arguments) in [
        (CLONE, &["clone", "base", "new"][..]),
        (COMMIT, &["commit", "web", "new"]),
        (CLONE, &["commit", "--layered", "web", "new"]),
    ] {
        for fault in faults {
            let images = made(&format!("{}-{fault}", arguments.join("-")));
            images.spinney(&["clone", "base", "web"]).ok()?;
            let state = change(context, &images, "web", "one")?;
            killed(&images, fault, arguments)?;
            let there = |path: &Path| fs::symlink_metadata(path).is_ok();
            let shown = there(&images.path("new")) || there(&images.path("new.mstack"));
            assert_eq!(shown, fault.ends_with("-done"), "{fault}");
            same(fault, &[&state], &seen(context, &images, "web")?)?;
            if shown {
                continue;
            }
            images.spinney(arguments).ok()?;
            let expected = if arguments[0] == "clone" { listing(&images.path("base")) } else { state };
            same(fault, &[&expected], &seen(context, &images, "new")?)?;
        }
    }
    // Lock files of the killed, of images that go with the test.
    if !Path::new("/run/systemd/system").exists() {
        let _ = fs::remove_dir_all("/run/systemd/nspawn");
        let _ = fs::remove_dir("/run/systemd");
    }
    Ok(())
}
