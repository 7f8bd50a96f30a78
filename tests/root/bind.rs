//! Paths of the host, mounted in machines that run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Gid, Uid};

use crate::command::{Ended, run};
use crate::copy::{UsersRow, busybox};
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;

const USERS: [&str; 2] = ["--private-users=pick", "--private-users=no"];

pub fn tests() -> Vec<Test> {
    let both = USERS.into_iter().flat_map(|users| {
        let rows: [UsersRow; 2] = [("directories_and_files", directories_and_files), ("ids", ids)];
        rows.map(|(name, test)| {
            Test::new(format!("bind::{name}_{users}"), move |context| test(context, users))
        })
    });
    let single: [Row; 7] = [
        ("read_only_stays", read_only_stays),
        ("services_see_it", services_see_it),
        ("only_what_bind_made", only_what_bind_made),
        ("a_reboot_forgets", a_reboot_forgets),
        ("below_the_source", below_the_source),
        ("targets_do_not_lead_out", targets_do_not_lead_out),
        ("bad_input", bad_input),
    ];
    both.chain(single.map(|(name, test)| Test::new(format!("bind::{name}"), test))).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn verb(context: &Context, verb: &str, machine: &Machine, arguments: &[&str]) -> Ended {
    run(context.spinney().arg(verb).arg(&machine.name).args(arguments))
}

fn own(path: &Path, id: u32) {
    let owner = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
    rustix::fs::chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn shared(context: &Context) -> std::path::PathBuf {
    let shared = context.subdirectory("shared");
    fs::write(shared.join("file"), "of the host\n").unwrap();
    shared
}

fn directories_and_files(context: &Context, users: &str) -> TestResult {
    let shared = shared(context);
    let machine = busybox(context, &[users])?;
    machine.says("mkdir /there; echo guest > /there/own")?;
    let ended = verb(context, "bind", &machine, &[text(&shared), "/there"]);
    assert_eq!(
        (ended.status, ended.stderr),
        (0, format!("spinney: {} of the host is at /there of {}\n", text(&shared), machine.name))
    );
    assert_eq!(machine.says("cat /there/file; echo back > /there/new; ls /there")?, "of the host\nfile\nnew");
    assert_eq!(fs::read_to_string(shared.join("new")).unwrap(), "back\n");
    // A file on a file, made for it; and the same path without a target.
    let file = shared.join("file");
    verb(context, "bind", &machine, &["-q", "--mkdir", text(&file), "/a/b/c"]).ok()?;
    verb(context, "bind", &machine, &["-q", "--mkdir", text(&file)]).ok()?;
    assert_eq!(machine.says(&format!("cat /a/b/c {}", text(&file)))?, "of the host\nof the host");
    verb(context, "unbind", &machine, &["-q", "/there", "/a/b/c", text(&file)]).ok()?;
    let left = machine.says("ls /there; wc -c < /a/b/c; grep -c /shared /proc/self/mountinfo; true")?;
    assert_eq!(left, "own\n0\n0");
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/shared "));
    machine.stop()?;
    Ok(())
}

fn ids(context: &Context, users: &str) -> TestResult {
    let private = users == USERS[0];
    let shared = shared(context);
    own(&shared, 1000);
    fs::write(shared.join("roots"), "").unwrap();
    own(&shared.join("file"), 1000);
    let machine = busybox(context, &[users])?;
    machine.says("mkdir /t; chown 33:33 /t")?;
    // Owners of the directory, of file (1000 on the host) and of roots (0 there).
    let rows: [(&[&str], &str, &str); 5] = [
        (&[], "1000 1000 0", "1000 1000 0"),
        (&["--idmap"], "1000 1000 0", "1000 1000 0"),
        (&["--noidmap"], "65534 65534 65534", "1000 1000 0"),
        (&["--rootidmap"], "0 0 65534", "0 0 65534"),
        (&["--owneridmap"], "33 33 65534", "33 33 65534"),
    ];
    for (options, in_private, plain) in rows {
        verb(context, "bind", &machine, &[options, &["-q", text(&shared), "/t"]].concat()).ok()?;
        let seen = machine.says("cd /t; stat -c %u . file roots | xargs echo")?;
        assert_eq!(seen, if private { in_private } else { plain }, "{options:?}");
        if options == ["--rootidmap"] {
            machine.says("echo x > /t/made")?;
            assert_eq!(fs::metadata(shared.join("made")).unwrap().uid(), 1000);
        }
        verb(context, "unbind", &machine, &["-q", "/t"]).ok()?;
    }
    machine.stop()?;
    Ok(())
}

/// The guest's root may not make it writable, nor take off what locks it, nor find a way around.
fn read_only_stays(context: &Context) -> TestResult {
    let shared = shared(context);
    let machine = busybox(context, &[])?;
    verb(context, "bind", &machine, &["-q", "--mkdir", "--read-only", text(&shared), "/ro"]).ok()?;
    verb(
        context,
        "bind",
        &machine,
        &["-q", "--mkdir", "--read-only", text(&shared.join("file")), "/ro-file"],
    )
    .ok()?;
    let attempts = [
        "mount -o remount,rw,bind /ro",
        "mount -o remount,rw /ro",
        "mount -o remount,rw,bind /ro-file",
        "mkdir -p /c && mount --bind /ro /c && mount -o remount,rw,bind /c",
        "mkdir -p /m && mount --move /ro /m && mount -o remount,rw,bind /m",
        "unshare -m sh -c 'mount -o remount,rw,bind /ro'",
        "unshare -U -r -m sh -c 'mount -o remount,rw,bind /ro'",
    ];
    for attempt in attempts {
        let ended = machine.shell(attempt)?;
        assert_ne!(ended.status, 0, "{attempt}");
        let ended = machine.shell("touch /ro/new /c/new /m/new; echo x >> /ro-file; echo x >> /ro/file")?;
        assert_ne!(ended.status, 0, "{attempt}: {ended:?}");
        let names: Vec<_> = fs::read_dir(&shared).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{attempt}");
        assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "of the host\n", "{attempt}");
    }
    machine.stop()?;
    Ok(())
}

/// A service with a mount namespace of its own, as PrivateTmp= makes one, sees what is bound later, and that it goes.
fn services_see_it(context: &Context) -> TestResult {
    let shared = shared(context);
    let machine = busybox(context, &[])?;
    machine.says(
        "mkdir /t /sync; mkfifo /sync/go /sync/done; \
         unshare -m --propagation slave sh -c 'while read -r _ < /sync/go; do ls /t > /sync/seen; echo > /sync/done; done' \
         </dev/null >/dev/null 2>&1 &",
    )?;
    let seen = || machine.says("echo > /sync/go; read -r _ < /sync/done; cat /sync/seen");
    assert_eq!(seen()?, "");
    verb(context, "bind", &machine, &["-q", text(&shared), "/t"]).ok()?;
    assert_eq!(seen()?, "file");
    verb(context, "unbind", &machine, &["-q", "/t"]).ok()?;
    assert_eq!(seen()?, "");
    machine.stop()?;
    Ok(())
}

fn only_what_bind_made(context: &Context) -> TestResult {
    let shared = shared(context);
    let option = format!("--bind={}:/option:idmap", text(&shared));
    let machine = busybox(context, &[&option])?;
    machine.says("mkdir /t /link-to; ln -s /t /link; mount -t tmpfs none /link-to")?;
    let nothing = |target: &str| {
        let ended = verb(context, "unbind", &machine, &[target]);
        let expected = format!("spinney: error: nothing that spinney bind mounted is at \"{target}\"");
        assert_eq!((ended.status, ended.stderr.lines().next()), (125, Some(expected.as_str())), "{ended:?}");
    };
    // Mounts of others, places below one of ours, nothing at all.
    verb(context, "bind", &machine, &["-q", text(&shared), "/link"]).ok()?;
    ["/option", "/link-to", "/proc", "/t/file", "/nowhere"].into_iter().for_each(nothing);
    assert_eq!(machine.says("cat /option/file /t/file")?, "of the host\nof the host");
    // Twice, one over the other: the upper one goes first.
    verb(context, "bind", &machine, &["-q", "--read-only", text(&shared), "/t"]).ok()?;
    assert_eq!(machine.shell("touch /t/x")?.status, 1);
    verb(context, "unbind", &machine, &["-q", "/t"]).ok()?;
    machine.says("touch /t/x")?;
    // Something of the guest's above it hides it: that is not ours to unmount.
    machine.says("mount -t tmpfs none /t")?;
    let ended = verb(context, "unbind", &machine, &["/link-to", "/t"]);
    assert_eq!(ended.status, 125, "{ended:?}");
    machine.says("grep -q ' /t .* - tmpfs ' /proc/self/mountinfo; umount /t; umount /t")?;
    let ended = verb(context, "unbind", &machine, &["/t"]);
    assert_eq!(ended.status, 125, "{ended:?}");
    // Unmounted by the guest itself: the record goes.
    verb(context, "bind", &machine, &["-q", text(&shared), "/t"]).ok()?;
    machine.says("umount /t")?;
    let ended = verb(context, "unbind", &machine, &["/t"]);
    assert_eq!(
        (ended.status, ended.stderr),
        (0, format!("spinney: {} had unmounted /t itself\n", machine.name))
    );
    nothing("/t");
    machine.stop()?;
    Ok(())
}

fn a_reboot_forgets(context: &Context) -> TestResult {
    let shared = shared(context);
    let mut machine = busybox(context, &[])?;
    verb(context, "bind", &machine, &["-q", "--mkdir", text(&shared), "/t"]).ok()?;
    assert_eq!(machine.says("ls /t")?, "file");
    machine.says("reboot")?;
    machine.ready()?;
    assert_eq!(machine.says("ls /t")?, "");
    let ended = verb(context, "unbind", &machine, &["/t"]);
    assert!(ended.stderr.contains("nothing that spinney bind mounted"), "{ended:?}");
    verb(context, "bind", &machine, &["-q", text(&shared), "/t"]).ok()?;
    assert_eq!(machine.says("ls /t")?, "file");
    machine.stop()?;
    Ok(())
}

/// Mounts below the source come along, or not, and a file system that has no mapping is named.
fn below_the_source(context: &Context) -> TestResult {
    let shared = shared(context);
    fs::create_dir(shared.join("below")).unwrap();
    fs::create_dir(shared.join("sys")).unwrap();
    // Of a file system that can be mapped wherever the source's can: tmpfs cannot before Linux 6.3.
    let other = context.subdirectory("other");
    fs::write(other.join("deep"), "").unwrap();
    run(Command::new("mount").arg("--bind").args([&other, &shared.join("below")])).ok()?;
    let machine = busybox(context, &[])?;
    let result = (|| -> TestResult {
        verb(context, "bind", &machine, &["-q", "--mkdir", text(&shared), "/t"]).ok()?;
        assert_eq!(machine.says("ls /t/below")?, "deep");
        // What it covers stays covered.
        assert_ne!(machine.shell("umount /t/below")?.status, 0);
        verb(context, "unbind", &machine, &["-q", "/t"]).ok()?;
        verb(context, "bind", &machine, &["-q", "--norbind", text(&shared), "/t"]).ok()?;
        assert_eq!(machine.says("ls /t/below")?, "");
        verb(context, "unbind", &machine, &["-q", "/t"]).ok()?;
        run(Command::new("mount").args(["-t", "sysfs", "none"]).arg(shared.join("sys"))).ok()?;
        let ended = verb(context, "bind", &machine, &[text(&shared), "/t"]);
        let expected = format!("something that is mounted below \"{}\" cannot map IDs", text(&shared));
        assert!(ended.status == 125 && ended.stderr.contains(&expected), "{ended:?}");
        Ok(())
    })();
    for name in ["sys", "below"] {
        run(Command::new("umount").arg("-l").arg(shared.join(name)));
    }
    result?;
    machine.stop()?;
    Ok(())
}

/// A target that is a link ends in the machine, wherever it points.
fn targets_do_not_lead_out(context: &Context) -> TestResult {
    let shared = shared(context);
    let outside = context.subdirectory("outside");
    for users in USERS {
        let machine = busybox(context, &[users])?;
        let links = [
            outside.clone(),
            Path::new("../../../../../..").join(outside.strip_prefix("/").unwrap()),
            Path::new("/proc/1/root").join(outside.strip_prefix("/").unwrap()),
            "/proc/self/fd/3".into(),
            "/proc/1/cwd".into(),
        ];
        for link in links {
            machine.says(&format!("rm -f /l; ln -s {} /l", text(&link)))?;
            let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
            // It may be mounted, at the same path in the machine; or is refused.
            let ended = verb(context, "bind", &machine, &["-q", "--mkdir", text(&shared), "/l/x"]);
            assert!(ended.status == 0 || ended.status == 125, "{ended:?}");
            assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{link:?}");
        }
        machine.stop()?;
    }
    Ok(())
}

fn bad_input(context: &Context) -> TestResult {
    let shared = shared(context);
    let file = shared.join("file");
    let machine = busybox(context, &[])?;
    let before = machine.says("cat /proc/self/mountinfo; find / -xdev | sort")?;
    let (shared, file) = (text(&shared), text(&file));
    let rows: [(&[&str], &str, bool); 11] = [
        (&["bind", "no-such-machine", shared], "no machine \"no-such-machine\" is running", true),
        (&["bind", "M", "/no/such", "/root"], "\"/no/such\" does not exist", false),
        (&["bind", "M", shared, "/no/such"], "\"/no/such\" does not exist in the machine", true),
        (&["bind", "M", shared, "root"], "\"root\" is no absolute path in the machine", true),
        (&["bind", "M", shared, "/root/../x"], "\"/root/../x\" has '..' in it", true),
        (&["bind", "M", shared, "/"], "\"/\" is the machine's root", true),
        (
            &["bind", "M", shared, "/etc/passwd"],
            "\"/etc/passwd\" is no directory, and the source is a directory",
            true,
        ),
        (&["bind", "M", file, "/root"], "\"/root\" is a directory, and the source is no directory", true),
        (&["bind", "M", "/sys/kernel", "/root"], "the file system of \"/sys/kernel\" cannot map IDs", true),
        (&["bind", "M", "--idmap", "--noidmap", shared, "/root"], "", true),
        (&["unbind", "M", "/root"], "nothing that spinney bind mounted is at \"/root\"", true),
    ];
    for (arguments, message, hint) in rows {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| if *argument == "M" { machine.name.as_str() } else { argument })
            .collect();
        let ended = run(context.spinney().args(&arguments));
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{arguments:?}: {ended:?}");
        assert!(
            lines[0].starts_with("spinney: error: ") && lines[0].contains(message),
            "{arguments:?}: {ended:?}"
        );
        assert_eq!(lines.len(), 1 + usize::from(hint), "{arguments:?}: {ended:?}");
    }
    assert_eq!(machine.says("cat /proc/self/mountinfo; find / -xdev | sort")?, before);
    machine.stop()?;
    Ok(())
}
