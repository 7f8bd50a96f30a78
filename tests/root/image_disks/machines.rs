//! Machines from disks with partitions.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::make::{Part, loop_devices, make_disk, make_file_system, no_loop_devices};
use crate::command::{Ended, run};
use crate::harness::{Context, Stop, TestResult};
use crate::machine::Machine;

pub(super) const ROOT: &str = "type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
const USR: &str = "type=8484680C-9521-48C6-9C11-B0720656F69E";
const HOME: &str = "type=933AC7E1-2EB4-4F13-B844-0E14E2AEF915";

/// A disk whose root, /usr and /home are partitions of their own.
fn disk(context: &Context) -> Result<PathBuf, Stop> {
    let (tree, at) = (context.subdirectory("tree"), |name: &str| context.directory.join(name));
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?.join(".")).arg(&tree)).ok()?;
    for directory in ["home", "efi"] {
        std::fs::create_dir_all(tree.join(directory))?;
    }
    // Something that is only there where /usr is mounted.
    std::fs::rename(tree.join("usr"), at("usr-tree"))?;
    std::fs::create_dir(tree.join("usr"))?;
    std::fs::write(at("usr-tree").join("which"), "usr")?;
    std::fs::create_dir(at("home-tree"))?;
    std::fs::write(at("home-tree").join("which"), "home")?;
    make_file_system("ext4", &tree, &at("root"))?;
    make_file_system("erofs", &at("usr-tree"), &at("usr"))?;
    make_file_system("ext4", &at("home-tree"), &at("home"))?;
    let image = at("disk.raw");
    let parts = [Part(HOME, Some(&at("home"))), Part(ROOT, Some(&at("root"))), Part(USR, Some(&at("usr")))];
    make_disk(&image, "gpt", 512, &parts)?;
    Ok(image)
}

pub(super) fn script(context: &Context, image: &Path, options: &[&str], text: &str) -> Ended {
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-q", "-M", &name]).args(options).arg(image).args(["--", "/bin/sh", "-c", text]);
    run(&mut command)
}

/// All partitions are there, and written to as the machine may.
pub(super) fn machines(context: &Context) -> TestResult {
    let image = disk(context)?;
    let write = "touch /r /home/h; touch /usr/u 2>/dev/null; ls -d /r /home/h /usr/u 2>/dev/null; cat /usr/which /home/which";
    let rows: [(&[&str], &str); 6] = [
        (&["-x"], "/home/h\n/r\n/usr/u\nusrhome"),
        (&["-x", "--private-users=no"], "/home/h\n/r\n/usr/u\nusrhome"),
        (&["--volatile=overlay"], "/home/h\n/r\n/usr/u\nusrhome"),
        (&["--read-only"], "usrhome"),
        // EROFS is written to by nobody.
        (&[], "/home/h\n/r\nusrhome"),
        (&["--read-only"], "/home/h\n/r\nusrhome"),
    ];
    for (options, expected) in rows {
        let ended = script(context, &image, options, write);
        assert_eq!((ended.status, ended.stdout.as_str()), (0, expected), "{options:?}: {ended:#?}");
        no_loop_devices(&context.directory)?;
    }
    Ok(())
}

/// A disk with /usr alone: all else is in memory, and empty.
pub(super) fn usr_alone(context: &Context) -> TestResult {
    let (usr, at) = (context.tree("busybox")?.join("usr"), |name: &str| context.directory.join(name));
    make_file_system("squashfs", &usr, &at("usr.squashfs"))?;
    let image = at("disk.raw");
    make_disk(&image, "gpt", 512, &[Part(USR, Some(&at("usr.squashfs")))])?;
    for options in [&["-x"][..], &[]] {
        let ended = script(context, &image, options, "touch /x /etc/x; ls -d /x /etc/x /root; readlink /bin");
        let expected = "/etc/x\n/root\n/x\nusr/bin\n";
        assert_eq!((ended.status, ended.stdout.as_str()), (0, expected), "{options:?}: {ended:#?}");
    }
    no_loop_devices(&context.directory)
}

/// An init boots from it, and reboots; two machines at once from one disk.
pub(super) fn boots(context: &Context) -> TestResult {
    let image = disk(context)?;
    let mut machine = Machine::start(context, &image, &[]);
    let mut other = Machine::start(context, &image, &[]);
    machine.ready()?;
    other.ready()?;
    machine.says("touch /home/new && reboot")?;
    machine.ready()?;
    assert_eq!(machine.says("cat /usr/which; ls /home/new")?, "usr/home/new");
    assert_eq!(other.says("ls /home/new 2>/dev/null; cat /home/which")?, "home");
    machine.stop()?;
    other.stop()?;
    no_loop_devices(&context.directory)
}

/// A supervisor that is killed leaves no loop device: the kernel has them with the mounts alone.
pub(super) fn killed(context: &Context) -> TestResult {
    let image = disk(context)?;
    let mut machine = Machine::start(context, &image, &[]);
    machine.ready()?;
    assert_eq!(loop_devices(&context.directory).len(), 3);
    machine.signal(libc::SIGKILL);
    machine.wait()?;
    let ended = run(context.spinney().arg("gc"));
    assert_eq!(ended.status, 0, "{ended:#?}");
    no_loop_devices(&context.directory)?;
    // While it is on its way, whenever that is.
    for delay in (0..40).step_by(4) {
        let name = context.machine_name();
        let mut command = context.spinney();
        command.args(["run", "-x", "-M", &name]).arg(&image).args(["--", "/bin/sleep", "60"]);
        let mut child = command.stderr(std::process::Stdio::null()).spawn()?;
        std::thread::sleep(Duration::from_millis(delay));
        child.kill()?;
        child.wait()?;
        let ended = run(context.spinney().arg("gc"));
        assert_eq!(ended.status, 0, "{ended:#?}");
        no_loop_devices(&context.directory)?;
    }
    Ok(())
}

/// One line, a hint, status 125.
pub(super) fn refused(context: &Context) -> TestResult {
    let at = |name: &str| context.directory.join(name);
    let image = disk(context)?;
    let length = image.metadata()?.len();
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(at("short.raw"))).ok()?;
    File::options().write(true).open(at("short.raw"))?.set_len(length / 2)?;
    run(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&image).arg(at("disk.qcow2"))).ok()?;
    // What can be used nevertheless, told as a warning.
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(at("damaged.raw"))).ok()?;
    File::options().write(true).open(at("damaged.raw"))?.write_all_at(&[0; 512], 512)?;
    let ended = script(context, &at("damaged.raw"), &["-x"], "cat /usr/which");
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "usr"), "{ended:#?}");
    let warned = "disk image: its partition table is damaged; the copy at its end is used\n";
    assert!(ended.stderr.contains(warned), "{ended:#?}");
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(at("hashed.raw"))).ok()?;
    std::fs::write(at("hashed.roothash"), "ab".repeat(32))?;
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(at("misread.raw"))).ok()?;
    std::fs::write(at("misread.roothash"), "no hash")?;
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(at("luks.raw"))).ok()?;
    File::options().write(true).open(at("luks.raw"))?.write_all_at(b"LUKS\xba\xbe\0\x02", 17 << 20)?;
    let rows = [
        ("short.raw", "it is truncated: the last ", "\n  hint: fetch or copy it again\n"),
        (
            "disk.qcow2",
            "it is a qcow2 disk of QEMU, and no raw disk\n",
            "  hint: spinney import makes a raw disk",
        ),
        ("hashed.raw", "it has no partition that the root hash is of\n", "  hint: the halves of a root hash"),
        ("misread.raw", "cannot read the root hash ", "is no root hash"),
        ("luks.raw", "partition 2 is encrypted\n", "  hint: decrypt it first"),
    ];
    for (name, why, hint) in rows {
        let ended = script(context, &at(name), &["-x"], "true");
        assert_eq!(ended.status, 125, "{name}: {ended:#?}");
        assert!(ended.stderr.starts_with("spinney: error: "), "{name}: {ended:#?}");
        assert!(ended.stderr.contains(why) && ended.stderr.contains(hint), "{name}: {ended:#?}");
    }
    // Asked to verify, it does not begin without that.
    let hashes = format!("--verity-data={}", at("short.raw").display());
    for option in [hashes.as_str(), "--root-hash-sig=base64:AAAA"] {
        let ended = script(context, &image, &["-x", option], "true");
        assert_eq!(ended.status, 125, "{option}: {ended:#?}");
        let why =
            "it is to be verified, and nothing says what its root hash is\n  hint: --root-hash= says it";
        assert!(ended.stderr.contains(why), "{option}: {ended:#?}");
    }
    no_loop_devices(&context.directory)
}
