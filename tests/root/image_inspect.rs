//! Trees looked at before they are booted: what is said of them, and the verdict as exit status.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] = [("trees", trees), ("images", images), ("hostile", hostile)];
    rows.map(|(name, test)| Test::new(format!("image_inspect::{name}"), test)).into()
}

fn inspect(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().arg("inspect").args(arguments))
}

fn json_of(context: &Context, path: &str) -> Result<Value, Stop> {
    Ok(serde_json::from_str(&inspect(context, &["--json", path]).stdout)?)
}

/// Every tree that we boot can be booted.
fn trees(context: &Context) -> TestResult {
    let rows = [
        ("busybox", "busybox init", "static", "split"),
        ("debian-11", "systemd", "glibc", "split"),
        ("debian-13", "systemd", "glibc", "merged"),
        ("debian-13-openrc", "sysvinit with OpenRC", "glibc", "merged"),
        ("debian-13-runit", "runit", "glibc", "merged"),
        ("debian-13-finit", "finit", "glibc", "merged"),
    ];
    for (name, init, libc, usr) in rows {
        let tree = context.tree(name)?;
        let path = tree.to_str().ok_or("not UTF-8")?;
        let ended = inspect(context, &[path]);
        assert_eq!(ended.status, 0, "{ended:#?}");
        assert!(ended.stdout.contains("\nit can be booted here"), "{ended:#?}");
        let told = json_of(context, path)?;
        let usr = if name == "busybox" { told["usr"].clone() } else { json!(usr) };
        let facts = json!([init, libc, usr, "native", "v2"]);
        let seen = json!([told["init"], told["libc"], told["usr"], told["runs"], told["cgroups"]]);
        assert_eq!(seen, facts, "{name}");
    }
    Ok(())
}

/// Of all kinds, by name and by path.
fn images(context: &Context) -> TestResult {
    let pool = context.subdirectory("pool");
    let tree = pool.join("web");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&tree)).ok()?;
    run(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&tree).arg(pool.join("disk.raw")).arg("32M"))
        .ok()?;
    fs::create_dir(pool.join("lay.mstack"))?;
    std::os::unix::fs::symlink("../web", pool.join("lay.mstack/layer@0"))?;
    let root = format!("--image-root={}", pool.display());
    for (name, kind) in [("web", "directory"), ("disk", "raw"), ("lay", "mstack")] {
        let ended = inspect(context, &["--json", &root, name]);
        assert_eq!(ended.status, 0, "{ended:#?}");
        let told: Value = serde_json::from_str(&ended.stdout)?;
        assert_eq!((&told["type"], &told["init"]), (&json!(kind), &json!("busybox init")), "{told}");
    }
    let silent = inspect(context, &["-q", &root, "web"]);
    assert_eq!((silent.status, silent.stdout.as_str()), (0, ""));
    fs::write(tree.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
    let warned = inspect(context, &["--strict", &root, "web"]);
    assert_eq!(warned.status, 1, "{warned:#?}");
    assert!(warned.stdout.contains("warning: /etc/machine-id is set"), "{warned:#?}");
    // One that cannot be booted is no failure of ours.
    for init in ["usr/sbin/init", "linuxrc", "init"] {
        let _ = fs::remove_file(tree.join(init));
    }
    let cannot = inspect(context, &[&root, "web"]);
    assert_eq!((cannot.status, cannot.stderr.as_str()), (1, ""), "{cannot:#?}");
    assert!(cannot.stdout.contains("\nfatal: ") && cannot.stdout.ends_with("\nit cannot be booted here\n"));
    for (arguments, message) in [
        (&[root.as_str(), "wbe"] as &[&str], "no image \"wbe\"; did you mean \"web\"?"),
        (&["/nowhere/tree"], "/nowhere/tree"),
        (&["/etc/hostname/x"], "/etc/hostname/x"),
    ] {
        let ended = inspect(context, arguments);
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{ended:#?}");
        assert!(ended.stderr.contains(message) && ended.stderr.contains("\n  hint: "), "{ended:#?}");
    }
    Ok(())
}

/// A tree's texts do not steer the terminal, its links do not lead out, and what is endless is not read to its end.
fn hostile(context: &Context) -> TestResult {
    let tree = context.subdirectory("tree");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(tree.join("x"))).ok()?;
    let tree = tree.join("x");
    for file in ["etc/os-release", "etc/hostname", "etc/fstab", "etc/shadow", "etc/machine-id"] {
        let _ = fs::remove_file(tree.join(file));
    }
    fs::create_dir_all(tree.join("usr/lib"))?;
    fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"\x1b]0;owned\x07 Linux\"\nID=\x1b[31m\n")?;
    fs::write(tree.join("etc/hostname"), "\x1b[2J\n")?;
    std::os::unix::fs::symlink("/dev/zero", tree.join("etc/fstab"))?;
    std::os::unix::fs::symlink("/etc/shadow", tree.join("etc/shadow"))?;
    run(Command::new("mkfifo").arg(tree.join("etc/machine-id"))).ok()?;
    run(Command::new("truncate").args(["-s", "1T"]).arg(tree.join("etc/ssh_config"))).ok()?;
    let path = tree.to_str().ok_or("not UTF-8")?;
    for arguments in [&[path] as &[&str], &["--json", path]] {
        let ended = inspect(context, arguments);
        assert_eq!(ended.status, 0, "{ended:#?}");
        assert!(!ended.stdout.contains(['\x1b', '\x07']), "{ended:#?}");
    }
    assert_eq!(json_of(context, path)?["machine-id"], "invalid");
    Ok(())
}
