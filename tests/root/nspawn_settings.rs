//! systemd-nspawn's files and environment variables, through systemd-nspawn and through our own.

use std::fs;
use std::path::Path;

use crate::command::run;
use crate::harness::{Context, Test, TestResult};
use crate::nspawn::{Whose, need_real, nspawn, words};
use crate::payload::own_busybox;

pub fn tests() -> Vec<Test> {
    vec![Test::new("nspawn::settings_files", settings_files), Test::new("nspawn::knobs", knobs)]
}

/// .nspawn files: which is read, what of it is believed, and who wins, as with the real one.
fn settings_files(context: &Context) -> TestResult {
    need_real()?;
    let tree = own_busybox(context)?;
    let name = context.machine_name();
    let administrator = Path::new("/etc/systemd/nspawn");
    fs::create_dir_all(administrator)?;
    let trusted = administrator.join(format!("{name}.nspawn"));
    let beside = tree.with_file_name(format!("{name}.nspawn"));
    let text = format!(
        "[Exec]\nEnvironment=FROM=file\nParameters=sh -c \"echo $FROM $OTHER of the file\"\nProcessTwo=no\n\
         [Files]\nTemporaryFileSystem=/mnt\nBind={}\n",
        context.directory.display()
    );
    let show = "echo $FROM $OTHER; grep -c \" /mnt \" /proc/mounts";
    let rows: &[(&Path, &[&str], &str)] = &[
        (&trusted, &["sh", "-c", show], "file\n1"),
        (&trusted, &["-E", "OTHER=line", "sh", "-c", show], "line\n1"),
        (&trusted, &["--tmpfs=/srv", "sh", "-c", show], "file\n0"),
        (&trusted, &["--settings=no", "sh", "-c", show], "\n0"),
        (&trusted, &["--settings=override", "-E", "OTHER=line", "sh", "-c", show], "file of the file"),
        (&beside, &["sh", "-c", show], "file\n0"),
        (&beside, &["--settings=trusted", "sh", "-c", show], "file\n1"),
    ];
    for (file, words_of_row, expected) in rows {
        fs::write(file, &text)?;
        for whose in [Whose::Real, Whose::Ours] {
            // Version 252 has no trusted mode.
            if whose == Whose::Real && words_of_row.contains(&"--settings=trusted") {
                continue;
            }
            let mut line = words(&["-q", "-D", "{tree}", "-M", &name], &[("{tree}", tree.to_str().unwrap())]);
            line.extend(words_of_row.iter().map(|word| (*word).to_owned()));
            let ended = run(&mut nspawn(context, whose, &line));
            let said = ended.stdout.replace("\r\n", "\n");
            // grep(1) says by its status that there is no such line.
            assert_eq!(said.trim_end(), *expected, "{whose:?} {words_of_row:?} {ended:#?}");
        }
        fs::remove_file(file)?;
    }
    fs::remove_dir(administrator)?;
    Ok(())
}

/// How parts of /proc and /sys are mounted, those that are, and how many there are of /proc itself.
const API: &str = "for i in /proc/sys /proc/sys/net /sys; do \
    grep \" $i \" /proc/mounts | sed -n 's/[^ ]* \\([^ ]*\\) [^ ]* \\([a-z]*\\).*/\\1 \\2/p' | tail -n 1; done; grep -c ' /proc ' /proc/mounts";

const CGROUPS: &str = "grep ' /sys/fs/cgroup ' /proc/mounts | cut -d ' ' -f 3";

/// What only environment variables say, both ways.
fn knobs(context: &Context) -> TestResult {
    need_real()?;
    let tree = own_busybox(context)?;
    fs::write(tree.join("tmp/of-the-tree"), "")?;
    let rows: &[(&str, &str, &[&str], &str)] = &[
        ("SYSTEMD_NSPAWN_TMPFS_TMP", "0", &["sh", "-c", "ls /tmp"], "of-the-tree"),
        ("SYSTEMD_NSPAWN_TMPFS_TMP", "1", &["sh", "-c", "ls /tmp"], ""),
        ("SYSTEMD_NSPAWN_CONTAINER_SERVICE", "lxc", &["sh", "-c", "echo $container"], "lxc"),
        ("SYSTEMD_NSPAWN_CONTAINER_SERVICE", "lxc", &["cat", "/run/host/container-manager"], "lxc"),
        ("SYSTEMD_SECCOMP", "0", &["sh", "-c", "grep -w Seccomp: /proc/self/status"], "Seccomp:\t0"),
        ("SYSTEMD_SECCOMP", "1", &["sh", "-c", "grep -w Seccomp: /proc/self/status"], "Seccomp:\t2"),
        ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1", &["sh", "-c", API], "/sys rw\n1"),
        ("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "0", &["sh", "-c", API], "/proc/sys ro\n/sys ro\n1"),
        (
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE",
            "network",
            &["--private-network", "sh", "-c", API],
            "/proc/sys ro\n/proc/sys/net rw\n/sys ro\n1",
        ),
        ("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1", &["sh", "-c", CGROUPS], "cgroup2"),
        ("SYSTEMD_NSPAWN_LOCK", "0", &["true"], ""),
        ("SYSTEMD_LOG_LEVEL", "err", &["true"], ""),
    ];
    for (variable, value, payload, expected) in rows {
        for whose in [Whose::Real, Whose::Ours] {
            let mut line = vec!["-P".to_owned(), "-D".to_owned(), tree.to_str().unwrap().to_owned()];
            if *variable == "SYSTEMD_LOG_LEVEL" {
                line.remove(0);
            }
            line.extend(["-M".to_owned(), context.machine_name()]);
            line.extend(payload.iter().map(|word| (*word).to_owned()));
            let ended = run(nspawn(context, whose, &line).env(variable, value));
            assert_eq!(ended.stdout.trim(), *expected, "{whose:?} {variable}={value} {ended:#?}");
            assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{whose:?} {variable}={value}");
        }
    }
    for (variable, value) in [
        ("SYSTEMD_NSPAWN_USE_CGNS", "0"),
        ("SYSTEMD_NSPAWN_SHARE_NS_PID", "1"),
        ("SYSTEMD_NSPAWN_TMPFS_TMP", "maybe"),
    ] {
        let line = words(&["-D", "{tree}", "true"], &[("{tree}", tree.to_str().unwrap())]);
        let ended = run(nspawn(context, Whose::Ours, &line).env(variable, value));
        assert!(ended.status == 1 && ended.stderr.contains(variable), "{ended:#?}");
    }
    Ok(())
}
