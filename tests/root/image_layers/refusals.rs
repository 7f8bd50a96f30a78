//! What cannot be done is said in a line, with a hint, and leaves everything as it was.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::listing::{listing, unequal};
use super::machine_root::MachineRoot;
use super::{Images, small_tree};
use crate::command::run;
use crate::harness::{Context, TestResult};

pub fn refusals(context: &Context) -> TestResult {
    let images = Images::new(context, context.directory.join("images"));
    for name in ["base", "fixed"] {
        small_tree(&images.path(name));
    }
    symlink("base", images.path("elsewhere")).unwrap();
    images.spinney(&["clone", "base", "web"]).ok()?;
    images.spinney(&["snapshot", "web", "s1"]).ok()?;
    images.spinney(&["clone", "base", "shut"]).ok()?;
    images.spinney(&["snapshot", "shut", "s1"]).ok()?;
    let immutable = |flag: &str| {
        run(Command::new("chattr").arg(flag).args([images.path("fixed"), images.path("shut.mstack")]))
    };
    immutable("+i").ok()?;
    let before = listing(&images.root);
    let rows: [(&[&str], &str, &str); 22] = [
        (&["clone", "bas", "new"], "no image \"bas\"; did you mean \"base\"?", "spinney images"),
        (&["clone", "base", "web"], "there is an image \"web\" already", "give another name"),
        (&["clone", "base", "fixed"], "there is an image \"fixed\" already", "give another name"),
        (&["clone", "base", "a/b"], "\"a/b\" is a path, not a name", ""),
        (&["clone", "base", ".hidden"], "\".hidden\" would be hidden", ""),
        (&["clone", "base"], "NAME is missing", "spinney clone --help"),
        (&["snapshot", "nothing"], "no image \"nothing\"", "spinney images"),
        (
            &["snapshot", "web", "s1"],
            "image \"web\" has a snapshot \"s1\" already",
            "spinney snapshot --delete web s1",
        ),
        (&["snapshot", "web", "../up"], "\"../up\" would be hidden", ""),
        (&["snapshot", "fixed"], "image \"fixed\" is read-only", "spinney read-only fixed no"),
        (&["snapshot", "shut"], "image \"shut\" is read-only", "spinney read-only shut no"),
        (
            &["snapshot", "elsewhere"],
            "image \"elsewhere\" is a symlink to base",
            "spinney clone elsewhere NEW",
        ),
        (&["snapshot", "--list", "we"], "no image \"we\"; did you mean \"web\"?", "spinney images"),
        (
            &["snapshot", "--delete", "web", "s2"],
            "image \"web\" has no snapshot \"s2\"; did you mean \"s1\"?",
            "--list web",
        ),
        (&["snapshot", "--delete", "web"], "SNAPSHOT is missing", "spinney snapshot --help"),
        (
            &["rollback", "web", "s3"],
            "image \"web\" has no snapshot \"s3\"; did you mean \"s1\"?",
            "--list web",
        ),
        (&["rollback", "base"], "image \"base\" has no snapshots", "spinney snapshot base"),
        (&["rollback", "shut"], "image \"shut\" is read-only", "spinney read-only shut no"),
        (&["commit", "web", "base"], "there is an image \"base\" already", "give another name"),
        (&["commit", "--layered", "base", "new"], "image \"base\" has no layers", "spinney snapshot base"),
        (&["diff", "base"], "image \"base\" is neither layered nor a clone", "--against"),
        (
            &["diff", "web", "--against", "s9"],
            "there is neither a snapshot nor an image \"s9\"",
            "spinney images",
        ),
    ];
    let mut wrong = Vec::new();
    for (arguments, message, hint) in rows {
        let ended = images.spinney(arguments);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let said = lines.first().copied().unwrap_or_default();
        let hinted = lines.get(1).copied().unwrap_or_default();
        let right = ended.status == 125
            && ended.stdout.is_empty()
            && said.starts_with("spinney: error: ")
            && said.contains(message)
            && lines.len() <= 2
            && (hint.is_empty() || (hinted.starts_with("  hint: ") && hinted.contains(hint)));
        if !right {
            wrong.push(format!("{arguments:?}: {ended:?}"));
        }
    }
    let after = listing(&images.root);
    immutable("-i").ok()?;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(unequal(&before, &after), Vec::<String>::new());
    Ok(())
}

/// A directory becomes layers, its clones and their snapshots with it.
pub fn conversion(context: &Context) -> TestResult {
    let images = Images::new(context, context.directory.join("images"));
    small_tree(&images.path("base"));
    let expected = listing(&images.path("base"));
    let point = context.directory.join("root");
    images.spinney(&["clone", "base", "web"]).ok()?;
    images.spinney(&["snapshot", "web", "before"]).ok()?;
    let ended = images.spinney(&["snapshot", "base", "first", "-m", "as it came"]);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        lines,
        ["spinney: base is a layered image now: base.mstack", "spinney: snapshot first of base"],
        "{ended:?}"
    );
    assert_eq!(images.names(), (vec!["base.mstack".into(), "web.mstack".into()], 1));
    for name in ["base.mstack", "web.mstack"] {
        let root = MachineRoot::mount(&images.path(name), &point)?;
        assert_eq!(unequal(&expected, &listing(&root.path)), Vec::<String>::new(), "{name}");
        fs::write(root.path.join("new"), name)?;
        root.unmount()?;
    }
    assert_eq!(images.spinney(&["diff", "web"]).ok()?, "A /new\n");
    images.spinney(&["rollback", "--discard", "web", "before"]).ok()?;
    assert_eq!(images.spinney(&["diff", "web", "--against", "before"]).ok()?, "");
    let list = images.spinney(&["snapshot", "--list", "base"]).ok()?;
    assert!(
        list.lines().nth(1).is_some_and(|line| line.starts_with("first ") && line.ends_with(" as it came"))
    );
    // The last that refers to a layer takes it along.
    images.spinney(&["snapshot", "base", "second"]).ok()?;
    assert_eq!(images.names().1, 2);
    images.spinney(&["rollback", "--discard", "base", "first"]).ok()?;
    assert_eq!(images.names().1, 2);
    images.spinney(&["snapshot", "--delete", "base", "second"]).ok()?;
    assert_eq!(images.names().1, 1);
    Ok(())
}
