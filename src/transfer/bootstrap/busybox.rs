//! A tree of one executable: Debian's busybox-static, with the little around it that its init needs.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::sys::SysResult;
use crate::sys::files::remove_tree_at;
use crate::sys::in_root::Root;

const DIRECTORIES: [&str; 12] = [
    "etc/init.d",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/bin",
    "usr/lib",
    "usr/sbin",
    "var/log",
    "var/tmp",
    "dev",
];

/// Links of a merged /usr, and /var/run.
const LINKS: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("var/run", "/run")];

/// Besides the init, what a shell, its scripts and its user are used to. busybox(1) lists what each is.
const SBIN: &str = "adduser blkid chroot depmod fdisk fstrim getty halt ifconfig ifdown ifup init insmod ip klogd losetup \
    lsmod mkfs.ext2 modprobe pivot_root poweroff reboot rmmod route run-init runlevel start-stop-daemon su sulogin \
    switch_root sysctl syslogd udhcpc";
const BIN: &str = "ar arch ash awk base64 basename bunzip2 bzcat bzip2 cal cat chgrp chmod chown clear cmp comm cp cpio cut date \
    dc dd df diff dirname dmesg du echo ed egrep env expand expr factor false fgrep find fold free fuser grep groups gunzip \
    gzip head hexdump hostid hostname id install ionice kill killall less ln logger login logname ls lzcat md5sum mkdir mkfifo \
    mknod mktemp more mount mountpoint mv nc netstat nice nl nohup nproc nslookup od passwd paste pgrep pidof ping pkill \
    printenv printf ps pwd readlink realpath reset rev rm rmdir sed seq setpriv setsid sh sha1sum sha256sum sha512sum shred \
    shuf sleep sort split stat strings stty sync tail tar taskset tee telnet test time timeout top touch tr true truncate tty \
    umount uname uniq unlink unxz unzip uptime usleep vi watch wc wget which who whoami xargs xz xzcat yes zcat";

const FILES: [(&str, &str, u32); 7] = [
    ("etc/passwd", "root:*:0:0:root:/root:/bin/sh\n", 0o644),
    ("etc/shadow", "root:*:20000::::::\n", 0o640),
    ("etc/group", "root:x:0:\n", 0o644),
    ("etc/os-release", "ID=busybox\nNAME=BusyBox\nPRETTY_NAME=\"BusyBox (of Debian)\"\n", 0o644),
    (
        "etc/inittab",
        "::sysinit:/etc/init.d/rcS\n::respawn:/sbin/getty -L console 0 linux\n::ctrlaltdel:/sbin/reboot\n\
         ::shutdown:/etc/init.d/rcK\n",
        0o644,
    ),
    (
        "etc/init.d/rcS",
        "#!/bin/sh\n# Mounts what nobody has mounted yet, and starts the services.\nexport PATH=/usr/sbin:/usr/bin\n\
         [ -e /proc/mounts ] || mount -t proc proc /proc\n[ -e /sys/class ] || mount -t sysfs sysfs /sys\n\
         grep -q '^[^ ]* /run ' /proc/mounts || mount -t tmpfs -o mode=755 tmpfs /run\nip link set lo up\nsyslogd -C64\n",
        0o755,
    ),
    ("etc/init.d/rcK", "#!/bin/sh\nkillall syslogd\n", 0o755),
];

/// Whether `program` has the applet `name`: their names stand in it one behind another, each with a NUL byte.
fn has(program: &[u8], name: &str) -> bool {
    let wanted: Vec<u8> = [&[0], name.as_bytes(), &[0]].concat();
    program.windows(wanted.len()).any(|bytes| bytes == wanted)
}

/// Makes one of the package's contents, which mmdebstrap has put into `root`, the directory `directory`.
pub(super) fn finish(root: &Root, directory: BorrowedFd<'_>) -> SysResult<()> {
    // Wherever the package has it: before and after Debian merged /usr.
    let program = match root.open_regular("usr/bin/busybox") {
        Err(error) if error.errno() == Errno::NOENT => root.open_regular("bin/busybox")?,
        opened => opened?,
    };
    let program = crate::sys::files::read_all(&program, 64 << 20)?;
    for (name, _) in crate::sys::files::entries(directory)? {
        remove_tree_at(directory, &name)?;
    }
    let mode = Mode::from_raw_mode(0o755);
    for path in DIRECTORIES {
        root.mkdir_all(path, mode)?;
    }
    for (path, bits) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)] {
        let place = root.open_path(path)?;
        crate::sys::files::change_mode(
            crate::sys::files::open_at(&place, ".", rustix::fs::OFlags::RDONLY, Mode::empty())?,
            bits,
        )?;
    }
    for (link, target) in LINKS {
        root.symlink(target, link)?;
    }
    root.write("usr/bin/busybox", &program, mode)?;
    for (directory, names, target) in [("usr/sbin", SBIN, "../bin/busybox"), ("usr/bin", BIN, "busybox")] {
        for name in names.split_whitespace().filter(|name| has(&program, name)) {
            root.symlink(target, Path::new(directory).join(name))?;
        }
    }
    for (path, contents, bits) in FILES {
        root.write(path, contents.as_bytes(), Mode::from_raw_mode(bits))?;
    }
    Ok(())
}
