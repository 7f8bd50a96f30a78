//! Machines from every kind of image: layers, disks, versions; what is written where, and who may have one at once.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use spinney::image::overlay::{Marks, Overlay};
use spinney::sys::attributes;
use spinney::sys::files::open_directory;

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, shell_status};
use crate::detached::Detached;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::host_state::HostState;
use crate::machine::Machine;
use crate::start::Made;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 16] = [
        ("layers", layers),
        ("boots", boots),
        ("debian", debian),
        ("binds", binds),
        ("own_usr", own_usr),
        ("ids", ids),
        ("disks", disks),
        ("many_layers", many_layers),
        ("one_page", one_page),
        ("locks", locks),
        ("killed", killed),
        ("refusals", refusals),
        ("versions", versions),
        ("by_name", by_name),
        ("clones", clones),
        ("by_reference", by_reference),
    ];
    let mut tests: Vec<Test> =
        rows.map(|(name, test)| Test::new(format!("image_roots::{name}"), test)).into();
    tests.push(Test::new("image_roots::fifty_at_once", fifty_at_once));
    tests
}

/// A layered image in the test's directory.
struct Stack(PathBuf);

impl Stack {
    fn new(context: &Context, name: &str) -> Self {
        Self(context.subdirectory(&format!("{name}.mstack")))
    }

    /// With busybox as its lowest layer.
    fn busybox(context: &Context, name: &str) -> Result<Self, Stop> {
        let stack = Self::new(context, name);
        stack.link("layer@0", &context.tree("busybox")?)?;
        Ok(stack)
    }

    fn link(&self, entry: &str, target: &Path) -> TestResult {
        Ok(symlink(target, self.0.join(entry))?)
    }

    /// Makes the directory `entry`.
    fn directory(&self, entry: &str) -> Result<PathBuf, Stop> {
        fs::create_dir_all(self.0.join(entry))?;
        Ok(self.0.join(entry))
    }

    fn data(&self, path: &str) -> PathBuf {
        self.0.join("rw/data").join(path)
    }
}

fn write(directory: &Path, path: &str, text: &str) -> TestResult {
    let file = directory.join(path);
    fs::create_dir_all(file.parent().ok_or("no parent")?)?;
    Ok(fs::write(file, text)?)
}

/// Runs a script in `image`, not thrown away unless the options say so.
fn script(context: &Context, image: &Path, options: &[&str], text: &str) -> Ended {
    let mut command = context.spinney();
    command.args(["run", "-q", "-M", &context.machine_name()]).args(options).arg(image);
    run(command.args(["--", "/bin/sh", "-c", text]))
}

fn says(context: &Context, image: &Path, options: &[&str], text: &str) -> Result<String, Stop> {
    let ended = script(context, image, options, text);
    match ended.status {
        0 => Ok(ended.stdout.trim_end().to_owned()),
        _ => Err(Stop::Fail(format!("{options:?}: {text}: {ended:#?}"))),
    }
}

/// Three layers, with a file that is gone and a directory that hides another; each way to run them.
fn layers(context: &Context) -> TestResult {
    let stack = Stack::busybox(context, "web")?;
    let one = stack.directory("layer@1")?;
    for (path, text) in [("srv/d/one", "1"), ("srv/d/two", "1"), ("srv/gone", "1"), ("srv/both", "1")] {
        write(&one, path, text)?;
    }
    let ten = stack.directory("layer@10")?;
    write(&ten, "srv/d/three", "10")?;
    write(&ten, "srv/both", "10")?;
    attributes::set(open_directory(&ten.join("srv/d"))?, b"user.overlay.opaque", b"y")?;
    let whiteout = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, ten.join("srv/gone"), kind, whiteout, 0)?;
    let seen = "cd /srv; echo $(find * -type f | sort) $(cat both)";
    let image = stack.0.as_path();
    let refused = script(context, image, &[], "true");
    assert_eq!(refused.status, 125);
    assert!(
        refused.stderr.contains("has no layer that can be written to\n  hint: --ephemeral"),
        "{refused:#?}"
    );
    for options in
        [&["-x"] as &[&str], &["--read-only"], &["--volatile=overlay"], &["-x", "--private-users=no"]]
    {
        assert_eq!(says(context, image, options, seen)?, "both d/three 10", "{options:?}");
    }
    stack.directory("rw")?;
    assert_eq!(says(context, image, &["-x"], "echo x > /srv/new; cat /srv/new")?, "x");
    assert!(!stack.data("").exists());
    // What is changed stays, and is where it belongs.
    let change = "cd /srv; echo x > new; rm both; echo y >> d/three; rm -r /usr/share; mkdir /usr/share; echo $(id -u)";
    assert_eq!(says(context, image, &[], change)?, "0");
    assert_eq!(fs::read_to_string(stack.data("srv/new"))?, "x\n");
    assert_eq!(fs::metadata(stack.data("srv/both"))?.rdev(), 0);
    let after = "cd /srv; echo $(find * -type f | sort) $(cat d/three) $(ls /usr/share | wc -l)";
    for options in [&[] as &[&str], &["-x"], &["--read-only"], &["--volatile=state"], &["--private-users=no"]]
    {
        assert_eq!(says(context, image, options, after)?, "d/three new 10y 0", "{options:?}");
    }
    // And what is thrown away is.
    says(context, image, &["-x"], "rm /srv/new; echo z > /srv/z")?;
    says(context, image, &["--volatile=overlay"], "rm /srv/new; echo z > /srv/z")?;
    let sealed = script(context, image, &["--read-only"], "touch /srv/z");
    assert!(sealed.stderr.contains("Read-only file system"), "{sealed:#?}");
    assert_eq!(says(context, image, &[], after)?, "d/three new 10y 0");
    assert_eq!(
        says(context, image, &["--volatile=yes"], "ls /srv 2>&1 | wc -l; ls -d /usr/bin")?,
        "1\n/usr/bin"
    );
    assert_eq!(says(context, image, &["--bind=+/srv:/mnt"], "echo b > /mnt/bound; cat /srv/bound")?, "b");
    Ok(())
}

/// Boot, reboot, start again.
fn boots(context: &Context) -> TestResult {
    let stack = Stack::busybox(context, "boots")?;
    stack.directory("rw")?;
    let name = context.machine_name();
    let start = |options: &[&str]| -> Result<Machine, String> {
        let mut command = context.spinney();
        command
            .args(["run", "-M", &name, "--console=read-only", "--notify-ready"])
            .args(options)
            .arg(&stack.0);
        let mut machine = Machine::spawn(context, &name, command);
        machine.ready()?;
        Ok(machine)
    };
    let mut machine = start(&[])?;
    machine.says("echo 1 > /srv-made; mkdir /etc/made")?;
    machine.says("reboot")?;
    machine.ready()?;
    assert_eq!(machine.says("cat /srv-made; ls -d /etc/made")?, "1\n/etc/made");
    assert_eq!(machine.state()?.boots, 2);
    drop(machine);
    assert_eq!(fs::read_to_string(stack.data("srv-made"))?, "1\n");
    let mut machine = start(&["-x"])?;
    machine.says("cat /srv-made && rm /srv-made && touch /thrown-away")?;
    machine.says("reboot")?;
    machine.ready()?;
    assert_eq!(machine.says("ls -d /srv-made /thrown-away 2>/dev/null; true")?, "/thrown-away");
    drop(machine);
    let machine = start(&["--private-users=no"])?;
    assert_eq!(machine.says("ls -d /srv-made /thrown-away 2>/dev/null; true")?, "/srv-made");
    machine.stop()?;
    Ok(())
}

/// systemd, from a disk with a directory over it.
fn debian(context: &Context) -> TestResult {
    let stack = Stack::new(context, "debian");
    let disk = context.directory.join("base.raw");
    let tree = context.tree("debian-13")?;
    run(Command::new("mkfs.erofs").args(["--quiet"]).arg(&disk).arg(&tree)).ok()?;
    stack.link("layer@base.raw", &disk)?;
    let top = stack.directory("layer@top")?;
    write(&top, "etc/hostname", "from-the-top\n")?;
    stack.directory("rw")?;
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-M", &name, "--console=read-only", "--notify-ready"]).arg(&stack.0);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    assert_eq!(machine.says("cat /etc/hostname; stat -c %u:%g /etc/shadow")?, "from-the-top\n0:42");
    // Of somebody else, for nobody to read: copied up all the same.
    machine.says("touch /var/lib/x; chown 1000:1000 /var/lib/x; chmod 0 /var/lib/x; mv /var/lib/x /srv/x; su -s /bin/sh nobody -c 'touch /tmp/y'")?;
    machine.stop()?;
    let x = fs::metadata(stack.data("srv/x"))?;
    assert_eq!((x.uid(), x.gid(), x.mode() & 0o7777), (1000, 1000, 0));
    Ok(())
}

fn binds(context: &Context) -> TestResult {
    let stack = Stack::busybox(context, "binds")?;
    stack.directory("rw")?;
    let data = context.subdirectory("data");
    stack.link("bind@var-lib-app", &data)?;
    write(&stack.directory("robind@srv-static")?, "page", "static")?;
    let image = stack.0.as_path();
    let put = "echo $(cat /srv/static/page); echo 1 > /var/lib/app/file; stat -c %u /var/lib/app/file; touch /srv/static/x";
    let ended = script(context, image, &[], put);
    assert_eq!((ended.status, ended.stdout.as_str()), (1, "static\n0\n"), "{ended:#?}");
    assert!(ended.stderr.contains("/srv/static/x: Read-only file system"), "{ended:#?}");
    assert_eq!(
        (fs::read_to_string(data.join("file"))?, fs::metadata(data.join("file"))?.uid()),
        ("1\n".to_owned(), 0)
    );
    for options in [["-x"], ["--volatile=overlay"]] {
        let gone = "cat /var/lib/app/file; rm /var/lib/app/file; touch /var/lib/app/new; ls /var/lib/app";
        assert_eq!(says(context, image, &options, gone)?, "1\nnew", "{options:?}");
    }
    let sealed = script(context, image, &["--read-only"], "cat /var/lib/app/file; touch /var/lib/app/new");
    assert_eq!((sealed.status, sealed.stdout.as_str()), (1, "1\n"), "{sealed:#?}");
    assert_eq!(fs::read_dir(&data)?.count(), 1);
    Ok(())
}

/// `root/`, with /usr alone from the layers.
fn own_usr(context: &Context) -> TestResult {
    let stack = Stack::busybox(context, "usr")?;
    let root = stack.directory("root")?;
    for link in ["bin", "lib", "sbin"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    fs::create_dir(root.join("root"))?;
    fs::create_dir(root.join("etc"))?;
    let image = stack.0.as_path();
    let ended = script(context, image, &[], "ls /; echo 1 > /etc/made; touch /usr/made");
    assert!(ended.status == 1 && ended.stderr.contains("/usr/made: Read-only file system"), "{ended:#?}");
    assert!(!ended.stdout.contains("linuxrc") && ended.stdout.contains("usr"), "{ended:#?}");
    assert_eq!(fs::read_to_string(root.join("etc/made"))?, "1\n");
    assert_eq!(says(context, image, &["-x"], "rm /etc/made; ls /etc | grep -c made; true")?, "0");
    stack.directory("rw")?;
    says(context, image, &[], "touch /usr/made")?;
    assert!(stack.data("usr/made").exists() && root.join("etc/made").exists());
    assert_eq!(says(context, image, &["-x"], "ls /usr/made /etc/made")?, "/etc/made\n/usr/made");
    Ok(())
}

/// Files have the guest's ids on disk, whatever its ids on the host, and whatever the ids of the tree.
fn ids(context: &Context) -> TestResult {
    let make = "touch /srv/r /srv/u; chown 1000:1000 /srv/u; ls -ln /srv/l | awk '{print $3}'; ls -ldn / | awk '{print $3}'";
    for shift in [0_u32, 131_072] {
        let stack = Stack::new(context, &format!("ids-{shift}"));
        let base = stack.directory("layer@0")?;
        run(Command::new("cp").arg("-a").arg(context.tree("busybox")?.join(".")).arg(&base)).ok()?;
        write(&base, "srv/l", "")?;
        run(Command::new("chown").args(["-Rh", &format!("{shift}:{shift}")]).arg(&base)).ok()?;
        stack.directory("rw")?;
        assert_eq!(says(context, &stack.0, &["--private-users=pick"], make)?, "0\n0");
        let owner = |path: &str| -> Result<u32, Stop> { Ok(fs::metadata(stack.data(path))?.uid()) };
        assert_eq!((owner("")?, owner("srv/r")?, owner("srv/u")?), (shift, shift, shift + 1000));
        assert_eq!(says(context, &stack.0, &["-x"], "ls -ln /srv/u | awk '{print $3}'")?, "1000");
    }
    Ok(())
}

/// A disk image of `kind` that holds busybox.
fn disk(context: &Context, kind: &str) -> Result<PathBuf, Stop> {
    let (tree, disk) = (context.tree("busybox")?, context.directory.join(format!("{kind}.raw")));
    let make = |program: &str, arguments: &[&str]| -> TestResult {
        Ok(run(Command::new(program).args(arguments).arg(&disk)).ok().map(drop)?)
    };
    let source = tree.to_string_lossy().into_owned();
    let empty = |megabytes: u64| -> TestResult { Ok(fs::File::create(&disk)?.set_len(megabytes << 20)?) };
    match kind {
        "ext4" => empty(48).and_then(|()| make("mkfs.ext4", &["-q", "-d", &source]))?,
        "btrfs" => empty(128).and_then(|()| make("mkfs.btrfs", &["-q", "--rootdir", &source]))?,
        "xfs" => {
            empty(320).and_then(|()| make("mkfs.xfs", &["-q"]))?;
            let point = context.subdirectory("point");
            let copy = "mount -o loop \"$1\" \"$2\" && cp -a \"$3/.\" \"$2\" && umount \"$2\"";
            run(Command::new("unshare")
                .args(["-m", "sh", "-c", copy, "sh"])
                .arg(&disk)
                .arg(point)
                .arg(&tree))
            .ok()?;
        }
        "squashfs" => {
            run(Command::new("mksquashfs").arg(&tree).arg(&disk).args(["-quiet", "-no-progress"])).ok()?;
        }
        "erofs" => {
            run(Command::new("mkfs.erofs").arg("--quiet").arg(&disk).arg(&tree)).ok()?;
        }
        _ => return Err(Stop::Fail(format!("no way to make {kind}"))),
    }
    Ok(disk)
}

/// Waits until no loop device is of `disk`: the kernel clears them when it gets round to it.
fn no_loop_device(disk: &Path) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while has_loop_device(disk)? {
        assert!(Instant::now() < deadline, "{}: a loop device is left", disk.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Whether a loop device is of `disk`.
fn has_loop_device(disk: &Path) -> Result<bool, Stop> {
    Ok(!run(Command::new("losetup").arg("-j").arg(disk)).ok()?.is_empty())
}

fn disks(context: &Context) -> TestResult {
    for kind in ["ext4", "xfs", "btrfs", "squashfs", "erofs"] {
        let disk = disk(context, kind)?;
        if ["squashfs", "erofs"].contains(&kind) {
            let refused = script(context, &disk, &[], "true");
            assert_eq!(refused.status, 125, "{refused:#?}");
            assert!(refused.stderr.contains("cannot be written to\n  hint: --ephemeral"), "{refused:#?}");
        } else {
            assert_eq!(
                says(context, &disk, &[], "echo 1 > /srv-made; ls -ln /srv-made | awk '{print $3}'")?,
                "0"
            );
            assert_eq!(says(context, &disk, &["-x"], "cat /srv-made; rm /srv-made")?, "1");
            assert_eq!(says(context, &disk, &["--private-users=no"], "cat /srv-made")?, "1");
        }
        assert_eq!(says(context, &disk, &["-x"], "touch /x; ls /x")?, "/x");
        let sealed = script(context, &disk, &["--read-only"], "ls -d /usr; touch /x");
        assert_eq!((sealed.status, sealed.stdout.as_str()), (1, "/usr\n"), "{kind}: {sealed:#?}");
        assert_eq!(says(context, &disk, &["--volatile"], "ls -d /usr; touch /x")?, "/usr");
        no_loop_device(&disk)?;
    }
    Ok(())
}

/// More than a value of fsconfig(2) could name.
fn many_layers(context: &Context) -> TestResult {
    let stack = Stack::busybox(context, "many")?;
    for number in 1..128 {
        let layer = stack.directory(&format!("layer@{number}"))?;
        write(&layer, &format!("srv/{number}"), "")?;
        write(&layer, "srv/top", &number.to_string())?;
    }
    stack.directory("rw")?;
    let seen = "echo $(ls /srv | wc -l) $(cat /srv/top)";
    assert_eq!(says(context, &stack.0, &["-x"], seen)?, "128 127");
    assert_eq!(says(context, &stack.0, &[], &format!("rm /srv/1; {seen}"))?, "127 127");
    assert_eq!(says(context, &stack.0, &["--read-only"], seen)?, "127 127");
    Ok(())
}

/// The way of kernels before 6.7, which this one knows too.
fn one_page(context: &Context) -> TestResult {
    let layers: Vec<_> = (0..128).map(|number| context.subdirectory(&format!("l{number}"))).collect();
    for (number, layer) in layers.iter().enumerate() {
        write(layer, &number.to_string(), "")?;
        write(layer, "top", &number.to_string())?;
    }
    let opened = layers.iter().map(|layer| open_directory(layer)).collect::<Result<Vec<_>, _>>()?;
    let place = context.subdirectory("place");
    let overlay = Overlay { lower: &opened, upper: None, marks: Marks::User };
    let mounted = overlay.mount_by_one_page(open_directory(&place)?);
    rustix::mount::unmount(place.join("merged"), rustix::mount::UnmountFlags::empty())?;
    let mounted = spinney::sys::in_root::Root::from_fd(mounted?, "/");
    assert_eq!((mounted.read_dir(".")?.len(), mounted.read("top", 16)?.as_slice()), (129, b"127".as_slice()));
    Ok(())
}

/// Who may have an image at once.
fn locks(context: &Context) -> TestResult {
    let pool = context.subdirectory("pool");
    let base = pool.join("base");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&base)).ok()?;
    let stack = Stack::new(context, "web");
    stack.link("layer@0", &base)?;
    stack.directory("rw")?;
    let disk = disk(context, "ext4")?;
    let end = |machine: Detached| -> TestResult {
        Ok(run(context.spinney().args(["terminate", &machine.name])).ok().map(drop)?)
    };
    let refused = |image: &Path, options: &[&str], by: &str| {
        let ended = script(context, image, options, "true");
        let file = image.file_name().unwrap_or_default();
        let expected = format!("image {file:?} is in use: machine {by}\n  hint: ");
        assert!(ended.status == 125 && ended.stderr.contains(&expected), "{options:?}: {ended:#?}");
    };
    for image in [base.as_path(), &stack.0, &disk] {
        let name = context.machine_name();
        let start = |options: &[&str]| -> Result<Detached, String> {
            let mut command = context.spinney();
            run(command.args(["run", "-q", "-d", "-M", &name]).args(options).arg(image)).ok()?;
            Detached::find(&name)
        };
        let machine = start(&[])?;
        for options in [&[] as &[&str], &["-x"], &["--read-only"]] {
            refused(image, options, &name);
        }
        if image == stack.0 {
            // Its layer is an image, and read by others; that it is not changed is its own lock's.
            refused(&base, &[], &name);
            says(context, &base, &["-x"], "true")?;
        }
        end(machine)?;
        let machine = start(&["-x"])?;
        refused(image, &[], &name);
        says(context, image, &["-x"], "true")?;
        says(context, image, &["--read-only"], "true")?;
        end(machine)?;
        says(context, image, &[], "true")?;
    }
    Ok(())
}

/// The supervisor is killed: mounts and loop devices go by themselves.
fn killed(context: &Context) -> TestResult {
    let stack = Stack::new(context, "killed");
    let disk = disk(context, "squashfs")?;
    stack.link("layer@0.raw", &disk)?;
    stack.directory("rw")?;
    let writable = self::disk(context, "ext4")?;
    let before = HostState::look(&context.prefix);
    for (image, made) in [(stack.0.as_path(), &disk), (&writable, &writable)] {
        for options in [&[] as &[&str], &["-x"]] {
            let name = context.machine_name();
            let mut command = context.spinney();
            command.args(["run", "-q", "-d", "-M", &name]).args(options).arg(image);
            run(&mut command).ok()?;
            let machine = Detached::find(&name)?;
            machine.says("echo 1 > /made && sync")?;
            assert!(has_loop_device(made)?);
            machine.signal(libc::SIGKILL);
            assert!(machine.ended(PATIENCE));
            run(context.spinney().arg("gc")).ok()?;
            let left = before.changes(&context.prefix);
            assert!(left.is_empty(), "{options:?}: {left:#?}");
            no_loop_device(made)?;
            let expected = if options.is_empty() { "1" } else { "" };
            let found = "cat /made 2>/dev/null; rm -f /made";
            assert_eq!(says(context, image, &[], found)?, expected, "{options:?}");
        }
    }
    Ok(())
}

fn refusals(context: &Context) -> TestResult {
    let image = |name: &str, entries: &[&str]| -> Result<PathBuf, Stop> {
        let stack = Stack::new(context, name);
        entries.iter().try_for_each(|entry| stack.directory(entry).map(drop))?;
        Ok(stack.0)
    };
    let dangling = image("dangling", &[])?;
    symlink("../nowhere", dangling.join("layer@0"))?;
    let file = context.directory.join("text");
    fs::write(&file, "no disk\n")?;
    let fifo = context.directory.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    let nothing = image("data-link", &["layer@0", "rw"])?;
    symlink("/etc", nothing.join("rw/data"))?;
    let rows = [
        (image("empty", &[])?, "it has neither layers nor a root"),
        (image("unknown", &["layer@0", "lost+found"])?, "\"lost+found\" is nothing that a layered image has"),
        (
            image("twice", &["layer@0", "bind@x", "robind@x"])?,
            "\"bind@x\" and \"robind@x\" are the same part of it",
        ),
        (image("escape", &["layer@0", "bind@..-x"])?, "\"bind@..-x\" has no place in the guest"),
        (image("versions", &["layer@0.v"])?, "no version in "),
        (image("bare", &["layer@0", "rw"])?, "is empty, there is no operating system in it"),
        (nothing, "Not a directory"),
        (dangling, "\"layer@0\" leads nowhere"),
        (context.subdirectory("none.v"), "no version in "),
        (context.directory.join("absent.mstack"), "does not exist"),
        (context.directory.join("absent.raw"), "does not exist"),
        (file, "it has neither a partition table nor a file system that is known"),
        (fifo, "is not a directory"),
    ];
    for (path, expected) in rows {
        let ended = run(context.spinney().args(["run", "-M", &context.machine_name()]).arg(&path));
        assert_eq!(ended.status, 125, "{path:?}: {ended:#?}");
        assert!(ended.stderr.contains(expected), "{path:?}: {ended:#?}");
        assert!(ended.stderr.lines().count() <= 2, "{path:?}: {ended:#?}");
    }
    Ok(())
}

/// Directories of versions, of images and of layers; and all kinds by name.
fn versions(context: &Context) -> TestResult {
    let (tree, disk) = (context.tree("busybox")?, disk(context, "squashfs")?);
    let images = context.subdirectory("web.v");
    for version in ["web_1", "web_9", "web_10"] {
        let copy = images.join(version);
        run(Command::new("cp").arg("-a").arg(&tree).arg(&copy)).ok()?;
        write(&copy, "version", version)?;
    }
    assert_eq!(says(context, &images, &["-x"], "cat /version")?, "web_10");
    assert_eq!(says(context, &images, &[], "cat /version")?, "web_10");
    let disks = context.subdirectory("disk.raw.v");
    fs::copy(&disk, disks.join("disk_2.raw"))?;
    fs::write(disks.join("disk_1.raw"), "old")?;
    assert_eq!(says(context, &disks, &["-x"], "ls -d /usr")?, "/usr");
    let stack = Stack::new(context, "stack");
    fs::copy(&disk, stack.directory("layer@0.raw.v")?.join("layer@0_1.raw"))?;
    let one = stack.directory("layer@1.v")?;
    write(&one, "layer@1_1/version", "1")?;
    write(&one, "layer@1_2/version", "2")?;
    stack.directory("rw")?;
    assert_eq!(says(context, &stack.0, &[], "cat /version")?, "2");
    Ok(())
}

const MACHINES: &str = "/var/lib/machines";

/// All kinds by name, in the background; what is told of them.
fn by_name(context: &Context) -> TestResult {
    let mut made = Made::default();
    let (layered, raw) = (context.machine_name(), context.machine_name());
    made.directory(&format!("{MACHINES}/{layered}.mstack/rw"))?;
    symlink(context.tree("busybox")?, format!("{MACHINES}/{layered}.mstack/layer@0"))?;
    let disk = PathBuf::from(format!("{MACHINES}/{raw}.raw"));
    made.file(disk.clone(), "")?;
    fs::copy(self::disk(context, "ext4")?, &disk)?;
    let spinney = |arguments: &[&str]| run(context.spinney().args(arguments));
    let listed = spinney(&["list", "--all", "--json"]).ok()?;
    for (name, file) in [(&layered, format!("{layered}.mstack")), (&raw, format!("{raw}.raw"))] {
        assert!(listed.contains(&format!("\"tree\":\"{MACHINES}/{file}\"")), "{listed}");
        let planned: serde_json::Value = serde_json::from_str(&spinney(&["explain", "--json", name]).ok()?)?;
        let layers = &planned["plan"]["root"]["layers"];
        let expected = match file.ends_with(".raw") {
            true => serde_json::json!([]),
            false => serde_json::json!([format!("{MACHINES}/{file}/layer@0")]),
        };
        assert_eq!(*layers, expected, "{planned:#}");
    }
    spinney(&["start", "-q", &layered, &raw]).ok()?;
    for (name, file) in [(&layered, format!("{layered}.mstack")), (&raw, format!("{raw}.raw"))] {
        let machine = Detached::find(name)?;
        assert_eq!(machine.state()?.tree, Path::new(MACHINES).join(&file));
        assert_eq!(machine.says("cat /proc/sys/kernel/hostname; echo 1 > /made")?, *name);
        let told = spinney(&["status", name]).ok()?;
        assert!(told.contains(&format!("Tree: {MACHINES}/{file}\n")), "{told}");
        spinney(&["terminate", "-q", name]).ok()?;
        assert_eq!(says(context, Path::new(name), &["-x"], "cat /made")?, "1");
    }
    Ok(())
}

/// What others are made from is not started to be changed; nor is what is marked read-only.
fn clones(context: &Context) -> TestResult {
    let mut made = Made::default();
    let (base, clone) = (context.machine_name(), context.machine_name());
    made.image(context, &base)?;
    made.directory(&format!("{MACHINES}/{clone}.mstack/rw"))?;
    symlink(format!("../{base}"), format!("{MACHINES}/{clone}.mstack/layer@0"))?;
    let refused = script(context, Path::new(&base), &[], "true");
    assert_eq!(refused.status, 125, "{refused:#?}");
    let expected = format!(
        "spinney: error: {base} is what image {clone} is made from\n  hint: start it with --ephemeral, or start a clone of it: \
         spinney clone {base} NEW\n"
    );
    assert!(refused.stderr.ends_with(&expected), "{refused:#?}");
    says(context, Path::new(&base), &["-x"], "true")?;
    says(context, Path::new(&clone), &[], "true")?;
    fs::remove_dir_all(format!("{MACHINES}/{clone}.mstack"))?;
    says(context, Path::new(&base), &[], "true")?;
    Ok(())
}

/// An image that was pulled from there; without one it is pulled by a process of its own.
fn by_reference(context: &Context) -> TestResult {
    let mut made = Made::default();
    let name = context.machine_name();
    made.image(context, &name)?;
    made.directory("/var/lib/spinney/images")?;
    let inode = fs::metadata(Path::new(MACHINES).join(&name))?.ino();
    let record =
        |reference: &str| format!("{{\"action\":\"pull\",\"reference\":{reference:?},\"inode\":{inode}}}");
    let path = format!("/var/lib/spinney/images/{name}.json");
    made.file(path.into(), &record("testos:1"))?;
    let image = Path::new("testos:1");
    let spinney = |arguments: &[&str]| run(context.spinney().args(arguments));
    let run_it = |arguments: &[&str]| {
        let mut command = context.spinney();
        run(command.args(["run", "-M", &context.machine_name()]).args(arguments))
    };
    let ended = run_it(&["testos:1", "--", "sh", "-c", "touch /made; ls /made"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "/made\n"), "{ended:#?}");
    let note = format!(
        "changes are thrown away with the machine; spinney clone {name} NAME makes an image that keeps them\n"
    );
    assert!(ended.stderr.contains(&note), "{ended:#?}");
    assert_eq!(
        says(context, image, &["--ephemeral=no"], "ls /made 2>/dev/null; touch /made; ls /made")?,
        "/made"
    );
    // The configuration of an OCI image is written down as settings beside it.
    made.file(
        format!("{MACHINES}/{name}.nspawn").into(),
        "[Exec]\nBoot=no\nParameters=sh -c \"echo $GREETING\"\nEnvironment=GREETING=hello\n",
    )?;
    let mut configured = context.spinney();
    let configured = run(configured.args(["run", "-q", "testos:1"]));
    assert_eq!((configured.status, configured.stdout.as_str()), (0, "hello\n"), "{configured:#?}");
    let absent = spinney(&["run", "--explain", "otheros:2"]);
    assert_eq!(absent.status, 125);
    let expected =
        "spinney: error: no image was pulled from otheros:2\n  hint: spinney pull otheros:2 fetches it\n";
    assert_eq!(absent.stderr, expected);
    // It tells why itself; we say what we did not get.
    let pulled = spinney(&["run", "otheros:2"]);
    assert!(
        pulled.status != 0 && pulled.stderr.contains("otheros:2 is not here yet: pulling it\n"),
        "{pulled:#?}"
    );
    assert!(pulled.stderr.contains("spinney: error: otheros:2 could not be pulled\n  hint: "), "{pulled:#?}");
    let missing = spinney(&["run", "./otheros:2"]);
    assert!(missing.stderr.contains("otheros:2 does not exist"), "{missing:#?}");
    Ok(())
}

/// Fifty machines boot from one image, all at once.
fn fifty_at_once(context: &Context) -> TestResult {
    let stack = Stack::busybox(context, "fifty")?;
    write(&stack.directory("layer@1")?, "srv/one", "1")?;
    stack.directory("rw")?;
    says(context, &stack.0, &[], "echo w > /srv/written")?;
    let mut starts: Vec<(String, Process, fs::File)> = (0..50)
        .map(|_| {
            let (name, stderr) = (context.machine_name(), capture());
            let mut command = context.spinney();
            command.args(["run", "-q", "-d", "-x", "-M", &name]).arg(&stack.0);
            command.stdout(Stdio::null()).stderr(stderr.try_clone().unwrap());
            (name, Process::spawn(&mut command), stderr)
        })
        .collect();
    let mut machines = Vec::new();
    for (name, process, stderr) in &mut starts {
        let status = process.wait(PATIENCE).map_or(-1, shell_status);
        machines.push(Detached::find(name));
        assert_eq!(status, 0, "{}", contents(stderr));
    }
    let machines = machines.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (number, machine) in machines.iter().enumerate() {
        assert_eq!(
            machine.says(&format!("echo {number} >> /srv/written; cat /srv/*"))?,
            format!("1w\n{number}")
        );
    }
    machines.iter().for_each(|machine| machine.signal(libc::SIGTERM));
    assert!(machines.iter().all(|machine| machine.ended(PATIENCE)));
    assert_eq!(fs::read_to_string(stack.data("srv/written"))?, "w\n");
    Ok(())
}
