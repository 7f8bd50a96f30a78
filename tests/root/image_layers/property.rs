//! Whatever is changed in a machine, in whatever order with snapshots, rollbacks and commits: it is what a plain copy is that
//! got the same changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::listing::{Listing, expected_diff, listing, told_diff, unequal};
use super::machine_root::MachineRoot;
use super::random::{Random, apply, change, is_comparable};
use super::{Images, small_tree};
use crate::command::run;
use crate::harness::{Context, TestResult};

const CHANGES: usize = 100;

/// SPINNEY_SEED gives one that failed.
const SEEDS: [u64; 4] = [1, 2, 0x5eed, 0xdead_beef];

pub fn random_changes(context: &Context) -> TestResult {
    let given = std::env::var("SPINNEY_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in given.map_or(SEEDS.to_vec(), |seed| vec![seed]) {
        one(context, seed).map_err(|error| format!("SPINNEY_SEED={seed}: {error}"))?;
    }
    Ok(())
}

/// A snapshot, and the plain tree as it was then.
struct Kept {
    name: String,
    listing: Listing,
}

fn one(context: &Context, seed: u64) -> Result<(), String> {
    let images = Images::new(context, context.directory.join(format!("images-{seed}")));
    let (plain, point) = (context.directory.join(format!("plain-{seed}")), context.directory.join("root"));
    small_tree(&images.path("base"));
    copy(&images.path("base"), &plain)?;
    let before = listing(&images.path("base"));
    images.spinney(&["clone", "base", "web"]).ok()?;
    let image = images.path("web.mstack");
    let mut random = Random(seed);
    let mut below = before.clone();
    let mut kept: Vec<Kept> = Vec::new();
    let mut root = MachineRoot::mount(&image, &point)?;
    let (mut done, mut log) = (0, Vec::new());
    let fail = |what: &str, lines: Vec<String>, log: &[String]| match lines.is_empty() {
        true => Ok(()),
        false => Err(format!("{what}:\n{}\nafter:\n{}", lines.join("\n"), log.join("\n"))),
    };
    while done < CHANGES {
        let next = change(&mut random, &plain);
        if is_comparable([&plain, &root.path], &next) {
            let results = [apply(&plain, &next), apply(&root.path, &next)];
            log.push(short(&format!("{next:?}")));
            if results[0].is_ok() != results[1].is_ok() {
                return fail("one of two failed", vec![format!("{results:?}")], &log);
            }
            done += usize::from(results[0].is_ok());
        }
        if random.below(12) != 0 && done < CHANGES {
            continue;
        }
        let now = listing(&plain);
        fail("the machine sees", unequal(&now, &listing(&root.path)), &log)?;
        // While it is mounted, as when the machine runs.
        let told = images.spinney(&["diff", "web", "--files", "--json"]).ok()?;
        fail("diff", unequal_lines(&expected_diff(&below, &now), &told_diff(&told)), &log)?;
        if let Some(old) = (!kept.is_empty()).then(|| &kept[random.below(kept.len())]) {
            let told = images.spinney(&["diff", "web", "--against", &old.name, "--json"]).ok()?;
            fail("diff against", unequal_lines(&expected_diff(&old.listing, &now), &told_diff(&told)), &log)?;
        }
        root.unmount()?;
        match random.below(4) {
            0..=1 => {
                let name = format!("s{}", kept.len());
                images.spinney(&["snapshot", "web", &name]).ok()?;
                copy(&plain, &context.directory.join(format!("{seed}-{name}")))?;
                below.clone_from(&now);
                kept.push(Kept { name, listing: now });
                log.push(format!("snapshot {}", kept.len() - 1));
            }
            2 if !kept.is_empty() => {
                let old = &kept[random.below(kept.len())];
                let discard: &[&str] = if random.below(2) == 0 { &["--discard"] } else { &[] };
                images.spinney(&[&["rollback", "web", &old.name], discard].concat()).ok()?;
                run(Command::new("rm").arg("-rf").arg(&plain)).ok()?;
                copy(&context.directory.join(format!("{seed}-{}", old.name)), &plain)?;
                below.clone_from(&old.listing);
                log.push(format!("rollback to {}", old.name));
            }
            _ => {
                let name = format!("flat{}", log.len());
                images.spinney(&["commit", "web", &name]).ok()?;
                fail("committed", unequal(&now, &listing(&images.path(&name))), &log)?;
                log.push("commit".to_owned());
            }
        }
        root = MachineRoot::mount(&image, &point)?;
        fail("the machine sees then", unequal(&listing(&plain), &listing(&root.path)), &log)?;
    }
    root.unmount()?;
    // Snapshots are what they were, whatever came after; and the base has not changed.
    let mut states = BTreeMap::new();
    for old in &kept {
        images.spinney(&["rollback", "web", &old.name]).ok()?;
        let root = MachineRoot::mount(&image, &point)?;
        states.insert(&old.name, unequal(&old.listing, &listing(&root.path)));
        root.unmount()?;
    }
    for (name, lines) in states {
        fail(&format!("snapshot {name} is"), lines, &log)?;
    }
    fail("the base is", unequal(&before, &listing(&images.path("base"))), &log)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("cp").arg("-a").arg("-T").arg(from).arg(to)).ok().map(drop)
}

fn unequal_lines(expected: &[String], told: &[String]) -> Vec<String> {
    let missing = expected.iter().filter(|line| !told.contains(line)).map(|line| format!("not told: {line}"));
    let wrong = told.iter().filter(|line| !expected.contains(line)).map(|line| format!("told: {line}"));
    missing.chain(wrong).collect()
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}
