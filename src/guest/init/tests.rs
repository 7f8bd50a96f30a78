//! What gives an init away.

use super::*;

#[test]
fn contents_and_libraries() {
    let table: [(&str, &[&str], &[u8], &str); 13] = [
        ("systemd", &["libsystemd-core-257.so", "libsystemd-shared-257.so"], b"", "systemd 257"),
        (
            "systemd of Fedora",
            &["libc.so.6", "libsystemd-shared-257.10-1.fc42.so"],
            b"",
            "systemd 257.10-1.fc42",
        ),
        ("systemd without a version", &["libsystemd-core-.so"], b"", "systemd"),
        ("a client of systemd", &["libsystemd.so.0"], b"", "unknown init"),
        ("systemd before its libraries", &[], b"\0systemd 219 running in %ssystem mode. (", "systemd 219"),
        ("sysvinit", &["libc.so.6"], b"\0INIT_VERSION=sysvinit-2.88\0", "sysvinit 2.88"),
        ("sysvinit of old", &[], b"\0got bogus initrequest\0", "sysvinit"),
        ("busybox", &[], b"BusyBox version\0BusyBox v1.37.0 (Debian)", "busybox init 1.37.0"),
        ("openrc-init", &[], b"OpenRC init version %s starting\n", "openrc-init"),
        ("runit-init", &[], b"/etc/runit/stopit\0", "runit"),
        ("finit", &[], b"Finit version\0/etc/finit.conf\0Finit v4.12\0", "finit 4.12"),
        ("something about finit", &[], b"Finit v4.12\0", "unknown init"),
        ("nothing", &[], b"", "unknown init"),
    ];
    for (name, libraries, contents, expected) in table {
        let directory = tempfile::tempdir().unwrap();
        let mut file = crate::guest::elf::tests::program(62, None, libraries);
        file.extend(contents);
        file.push(0);
        let path = directory.path().join("init");
        std::fs::write(&path, file).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let found = detect(&Root::open(directory.path()).unwrap(), Some(Path::new("/init"))).unwrap();
        assert_eq!(found.to_string(), expected, "{name}");
    }
}

/// Wherever in the program its version is, it is whole in one of the pieces that are read.
#[test]
fn busybox_by_its_name() {
    for (before, after) in
        [(0, 0), (65_000, 0), (65_530, 65_536), (65_535, 300_000), (131_072, 1), (500_000, 10)]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut file = crate::guest::elf::tests::program(62, None, &[]);
        file.resize(before.max(file.len()), 1);
        file.extend(b"BusyBox v1.37.0 (Debian)");
        file.resize(file.len() + after, 0);
        let path = directory.path().join("busybox");
        std::fs::write(&path, file).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let found = detect(&Root::open(directory.path()).unwrap(), Some(Path::new("/busybox"))).unwrap();
        assert_eq!(found.to_string(), "busybox init 1.37.0", "{before} {after}");
    }
}

#[test]
fn who_starts_the_services() {
    let table: [(&str, Option<&str>, Option<&str>, Rc); 5] = [
        (
            "Debian with sysv-rc",
            Some("l2:2:wait:/etc/init.d/rc 2\n"),
            Some("#! /bin/sh\nstartpar\n"),
            Rc::Scripts,
        ),
        (
            "Debian with OpenRC",
            Some("l2:2:wait:/etc/init.d/rc 2\n"),
            Some("exec /usr/sbin/openrc default\n"),
            Rc::Openrc,
        ),
        ("Alpine", Some("::sysinit:/sbin/openrc sysinit\n"), None, Rc::Openrc),
        ("only in a comment", Some("#::sysinit:/sbin/openrc sysinit\n"), None, Rc::Scripts),
        ("nothing", None, None, Rc::Scripts),
    ];
    for (name, inittab, script, expected) in table {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("etc/init.d")).unwrap();
        for (path, contents) in [("etc/inittab", inittab), ("etc/init.d/rc", script)] {
            if let Some(contents) = contents {
                std::fs::write(directory.path().join(path), contents).unwrap();
            }
        }
        assert_eq!(rc(&Root::open(directory.path()).unwrap()).unwrap(), expected, "{name}");
    }
}

#[test]
fn versions() {
    for (text, major) in
        [("257", Some(257)), ("257.10-1.fc42", Some(257)), ("3.14", Some(3)), ("x", None), ("", None)]
    {
        assert_eq!(InitVersion::parse(text).map(|version| version.major), major, "{text}");
    }
}

#[test]
fn contracts() {
    use crate::guest::contract::StopMethod::{self, Initctl, OpenrcFifo, RunitFiles, Signal};
    use crate::guest::contract::{ExitMeaning, ReadySignal};
    use crate::guest::evidence::Evidence;

    type Row = (Init, Option<&'static str>, ReadySignal, StopMethod, StopMethod);
    let evidence = ReadySignal::Evidence;
    let table: [Row; 10] = [
        (Init::Systemd, Some("257"), ReadySignal::Notify, Signal(38), Signal(39)),
        (Init::Systemd, None, ReadySignal::Notify, Signal(38), Signal(39)),
        (Init::Systemd, Some("219"), evidence(Evidence::Utmp), Signal(38), Signal(39)),
        (
            Init::Sysvinit { rc: Rc::Scripts },
            None,
            evidence(Evidence::Sysvinit),
            Initctl { runlevel: b'0' },
            Initctl { runlevel: b'6' },
        ),
        (
            Init::Sysvinit { rc: Rc::Openrc },
            None,
            evidence(Evidence::Openrc),
            Initctl { runlevel: b'0' },
            Initctl { runlevel: b'6' },
        ),
        (
            Init::Openrc,
            None,
            evidence(Evidence::Openrc),
            OpenrcFifo { word: "poweroff" },
            OpenrcFifo { word: "reboot" },
        ),
        (
            Init::Runit,
            None,
            evidence(Evidence::Runit),
            RunitFiles { reboot: false },
            RunitFiles { reboot: true },
        ),
        (Init::Busybox { rc: Rc::Scripts }, None, evidence(Evidence::Busybox), Signal(12), Signal(15)),
        (Init::Finit, None, evidence(Evidence::Finit), Signal(12), Signal(15)),
        (Init::Unknown, None, ReadySignal::AtStart, Signal(15), Signal(2)),
    ];
    for (kind, version, ready, power_off, reboot) in table {
        let init = DetectedInit {
            kind,
            path: "/sbin/init".into(),
            version: version.and_then(InitVersion::parse),
            architecture: Architecture::X86_64,
        };
        let contract = init.contract();
        assert_eq!(
            (&contract.ready, contract.power_off[0], contract.reboot[0]),
            (&ready, power_off, reboot),
            "{init}"
        );
        assert_eq!(contract.exit == ExitMeaning::Runlevel, kind == Init::Finit, "{init}");
    }
}

#[test]
fn inits_are_known_by_their_words() {
    let table = [
        ("systemd 252", Init::Systemd),
        ("systemd", Init::Systemd),
        ("systemd-like", Init::Unknown),
        ("sysvinit with OpenRC 3.14", Init::Sysvinit { rc: Rc::Openrc }),
        ("sysvinit 3.14", Init::Sysvinit { rc: Rc::Scripts }),
        ("openrc-init 0.60", Init::Openrc),
        ("runit", Init::Runit),
        ("busybox init with OpenRC 1.37.0", Init::Busybox { rc: Rc::Openrc }),
        ("busybox init 1.37.0", Init::Busybox { rc: Rc::Scripts }),
        ("finit 4.12", Init::Finit),
        ("unknown init", Init::Unknown),
        ("", Init::Unknown),
    ];
    for (words, expected) in table {
        assert_eq!(Init::from_words(words), expected, "{words}");
    }
}
