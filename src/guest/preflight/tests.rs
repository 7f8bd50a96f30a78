//! Little trees, and what is found in them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::guest::tree::tests::{native, tree};

/// The levels and ids of what is found, and the verdict.
fn found(lines: &[(&str, &[u8])], on_host: bool) -> (Vec<String>, Verdict) {
    let directory = tree(lines);
    let root = Root::open(directory.path()).unwrap();
    let preflight = inspect(&root, on_host).unwrap();
    let word = |finding: &Finding| format!("{:?} {}", finding.level, finding.id);
    // Who runs the tests may be anybody.
    let mut ids: Vec<String> =
        preflight.findings.iter().filter(|finding| finding.id != "ownership").map(word).collect();
    ids.sort();
    let worst =
        preflight.findings.iter().filter(|finding| finding.id != "ownership").map(|finding| finding.level);
    let verdict = match worst.max() {
        Some(Level::Fatal) => Verdict::CannotBoot,
        Some(Level::Warning) => Verdict::BootsWithWarnings,
        _ => Verdict::Boots,
    };
    (ids, verdict)
}

#[test]
fn findings() {
    let systemd = native(None, &["libsystemd-core-257.so", "libsystemd-shared-257.so", "libc.so.6"]);
    let good: Vec<(&str, &[u8])> = vec![
        ("usr/sbin/init", &systemd),
        ("sbin -> usr/sbin", b""),
        ("etc/os-release", b"ID=x\n"),
        ("etc/machine-id", b""),
        ("etc/resolv.conf", b""),
    ];
    let wants = "etc/systemd/system/multi-user.target.wants/";
    let (auditd, lvm) = (format!("{wants}auditd.service"), format!("{wants}lvm2-monitor.service"));
    let online = format!("{wants}systemd-networkd-wait-online.service");
    let id = b"0123456789abcdef0123456789abcdef\n";
    type Row<'a> = (&'a str, &'a [(&'a str, &'a [u8])], &'a [&'a str], Verdict);
    let rows: &[Row<'_>] = &[
        ("nothing", &[], &[], Verdict::Boots),
        ("machine-id", &[("etc/machine-id", id)], &["Warning machine-id"], Verdict::BootsWithWarnings),
        ("bad machine-id", &[("etc/machine-id", b"x")], &["Warning machine-id"], Verdict::BootsWithWarnings),
        (
            "keys",
            &[("etc/ssh/ssh_host_ed25519_key", b"k"), ("etc/ssh/ssh_host_ed25519_key.pub", b"k")],
            &["Warning ssh-host-keys"],
            Verdict::BootsWithWarnings,
        ),
        ("seed", &[("var/lib/systemd/random-seed", b"s")], &["Note random-seed"], Verdict::Boots),
        ("empty seed", &[("var/lib/systemd/random-seed", b"")], &[], Verdict::Boots),
        ("hostname", &[("etc/hostname", b"# x\nbuilder\n")], &["Note hostname"], Verdict::Boots),
        ("localhost", &[("etc/hostname", b"localhost\n")], &[], Verdict::Boots),
        (
            "fails",
            &[(auditd.as_str(), b""), ("usr/lib/systemd/system/auditd.service", b"[Unit]\n")],
            &["Note failing-unit"],
            Verdict::Boots,
        ),
        (
            "is left out",
            &[
                (&lvm, b""),
                ("usr/lib/systemd/system/lvm2-monitor.service", b"ConditionVirtualization=!container\n"),
            ],
            &[],
            Verdict::Boots,
        ),
        ("waits", &[(online.as_str(), b"")], &["Note waiting-unit"], Verdict::Boots),
        (
            "fstab",
            &[(
                "etc/fstab",
                b"UUID=1 / ext4 rw\n#/dev/sda1 /x ext4 rw\nUUID=2 /boot ext4 rw 0 2\ntmpfs /tmp tmpfs rw\n",
            )],
            &["Warning fstab"],
            Verdict::BootsWithWarnings,
        ),
        ("optional", &[("etc/fstab", b"/dev/sdb /x ext4 rw,nofail\n")], &[], Verdict::Boots),
        ("relabel", &[(".autorelabel", b"")], &["Warning autorelabel"], Verdict::BootsWithWarnings),
        (
            "password",
            &[("etc/shadow", b"root::1:\n")],
            &["Warning empty-password"],
            Verdict::BootsWithWarnings,
        ),
        ("locked", &[("etc/shadow", b"root:*:1:\n")], &["Note locked-root"], Verdict::Boots),
        ("proc", &[("proc", b"")], &["Fatal base-directory"], Verdict::CannotBoot),
    ];
    for (name, more, expected, verdict) in rows {
        let lines: Vec<(&str, &[u8])> = good.iter().chain(*more).copied().collect();
        let (ids, found) = found(&lines, false);
        assert_eq!((ids, found), (expected.iter().map(ToString::to_string).collect(), *verdict), "{name}");
    }
    let dangling: Vec<(&str, &[u8])> =
        good[..4].iter().copied().chain([("etc/resolv.conf -> ../gone", b"" as &[u8])]).collect();
    assert_eq!(found(&dangling, false).0, ["Warning resolv-conf"]);
    let stub: Vec<(&str, &[u8])> = good[..4]
        .iter()
        .copied()
        .chain([("etc/resolv.conf -> ../run/systemd/resolve/stub", b"" as &[u8])])
        .collect();
    assert_eq!(found(&stub, false).0, ["Note resolv-conf"]);
    assert_eq!(found(&[("etc/hostname", b"x")], false), (vec!["Fatal init".to_owned()], Verdict::CannotBoot));
    assert_eq!(found(&good[..2], false).0, ["Note resolv-conf", "Warning no-os-release"]);
}

#[test]
fn facts() {
    let musl = native(Some("/lib/ld-musl-x86_64.so.1"), &["libc.musl-x86_64.so.1"]);
    let directory = tree(&[
        ("usr/sbin/init", &musl),
        ("sbin -> usr/sbin", b""),
        ("bin -> usr/bin", b""),
        ("usr/bin/", b""),
        ("lib/ld-musl-x86_64.so.1", &musl),
        ("etc/os-release", b"ID=alpine\nVERSION_ID=3.22\nPRETTY_NAME=\"Alpine\"\n"),
        ("etc/machine-id", b"uninitialized\n"),
    ]);
    let seen = inspect(&Root::open(directory.path()).unwrap(), false).unwrap();
    assert_eq!(
        (seen.libc.as_deref(), seen.usr, seen.machine_id),
        (Some("musl"), Some("merged"), "uninitialized")
    );
    assert_eq!((seen.os_id.as_deref(), seen.os_version.as_deref()), (Some("alpine"), Some("3.22")));
    assert_eq!(
        (seen.runs, seen.cgroups, seen.init.as_deref()),
        (Some("native"), Some("v2"), Some("unknown init"))
    );
}

/// Only what all users of the host reach is a danger to it.
#[test]
fn setuid_programs_in_reach() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: setuid programs of root's are made by root");
        return;
    }
    let systemd = native(None, &["libsystemd-core-257.so", "libc.so.6"]);
    let directory = tree(&[("sbin/init", &systemd), ("usr/bin/su", b"#!"), ("etc/os-release", b"ID=x\n")]);
    let mode = |path: &str, mode| {
        fs::set_permissions(directory.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("usr/bin/su", 0o4755);
    let found = || -> bool {
        let seen = inspect(&Root::open(directory.path()).unwrap(), true).unwrap();
        seen.findings.iter().any(|finding| finding.id == "setuid-in-reach")
    };
    mode("", 0o700);
    assert!(!found());
    mode("", 0o755);
    assert!(found());
    mode("usr/bin/su", 0o755);
    assert!(!found());
}
