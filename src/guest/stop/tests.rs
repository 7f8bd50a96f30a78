//! Requests to guests that listen, that do not, and that are hostile.

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};

use rustix::fs::{CWD, mknodat};

use super::*;

struct Guest {
    directory: tempfile::TempDir,
    root: Root,
    signals: RefCell<Vec<i32>>,
}

impl Guest {
    fn new(directories: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for made in directories {
            fs::create_dir_all(directory.path().join("root").join(made)).unwrap();
        }
        let root = Root::open(directory.path().join("root")).unwrap();
        Self { directory, root, signals: RefCell::default() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    fn fifo(&self, path: &str) -> fs::File {
        mknodat(CWD, self.at(path), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(self.at(path)).unwrap()
    }

    fn carry_out(&self, method: StopMethod) -> String {
        let done = carry_out(method, &self.root, &mut |number| {
            self.signals.borrow_mut().push(number);
            Ok(())
        });
        done.map_or_else(|error| error.to_string(), |()| "done".to_owned())
    }
}

fn read(mut fifo: fs::File) -> Vec<u8> {
    let mut message = Vec::new();
    fifo.read_to_end(&mut message).unwrap();
    message
}

#[test]
fn signals() {
    for (method, expected) in [(StopMethod::Signal(38), 38), (StopMethod::Kill, libc::SIGKILL)] {
        let guest = Guest::new(&["etc"]);
        assert_eq!(guest.carry_out(method), "done");
        assert_eq!(*guest.signals.borrow(), [expected]);
    }
}

#[test]
fn initctl() {
    for place in ["run/initctl", "dev/initctl"] {
        let guest = Guest::new(&["run", "dev"]);
        let fifo = guest.fifo(place);
        assert_eq!(guest.carry_out(StopMethod::Initctl { runlevel: b'6' }), "done", "{place}");
        let mut expected = [0_u8; 384];
        expected[..4].copy_from_slice(&0x0309_1969_i32.to_ne_bytes());
        expected[4..8].copy_from_slice(&1_i32.to_ne_bytes());
        expected[8..12].copy_from_slice(&54_i32.to_ne_bytes());
        expected[12..16].copy_from_slice(&1_i32.to_ne_bytes());
        assert_eq!(read(fifo), expected, "{place}");
        assert!(guest.signals.borrow().is_empty());
    }
}

#[test]
fn initctl_that_nobody_reads() {
    let guest = Guest::new(&["run", "dev"]);
    drop(guest.fifo("run/initctl"));
    symlink("/run/initctl", guest.at("dev/initctl")).unwrap();
    let answer = guest.carry_out(StopMethod::Initctl { runlevel: b'0' });
    assert_eq!(answer, "the init does not listen at /run/initctl or /dev/initctl");
    assert_eq!(*guest.signals.borrow(), [libc::SIGUSR1], "init is asked to open its FIFO");
}

#[test]
fn openrc_words() {
    let guest = Guest::new(&["run/openrc"]);
    assert_eq!(
        guest.carry_out(StopMethod::OpenrcFifo { word: "poweroff" }),
        "the init does not listen at /run/openrc/init.ctl"
    );
    let fifo = guest.fifo("run/openrc/init.ctl");
    assert_eq!(guest.carry_out(StopMethod::OpenrcFifo { word: "poweroff" }), "done");
    assert_eq!(read(fifo), b"poweroff");
}

#[test]
fn hostile_fifos() {
    let host = |guest: &Guest| {
        let path = guest.directory.path().join("host");
        fs::write(&path, "host").unwrap();
        path
    };
    type Make = fn(&Guest, &Path);
    let table: [(&str, Make, &str); 4] = [
        (
            "a file",
            |guest, _| fs::write(guest.at("run/initctl"), "").unwrap(),
            "/run/initctl of the guest is not a FIFO",
        ),
        (
            "a directory",
            |guest, _| fs::create_dir(guest.at("run/initctl")).unwrap(),
            "/run/initctl of the guest is not a FIFO",
        ),
        (
            "a link to a file of the host",
            |guest, host| symlink(host, guest.at("run/initctl")).unwrap(),
            "the init does not listen at /run/initctl or /dev/initctl",
        ),
        (
            "a link to the host for /run",
            |guest, _| {
                fs::remove_dir(guest.at("run")).unwrap();
                symlink("../..", guest.at("run")).unwrap();
            },
            "the init does not listen at /run/initctl or /dev/initctl",
        ),
    ];
    for (name, make, expected) in table {
        let guest = Guest::new(&["run", "dev"]);
        let host = host(&guest);
        make(&guest, &host);
        assert_eq!(guest.carry_out(StopMethod::Initctl { runlevel: b'0' }), expected, "{name}");
        assert_eq!(fs::read_to_string(host).unwrap(), "host", "{name}");
    }
}

#[test]
fn runit_files() {
    let mode = |guest: &Guest, path: &str| fs::metadata(guest.at(path)).unwrap().permissions().mode() & 0o777;
    for (reboot, expected) in [(false, 0), (true, 0o100)] {
        // Plain files, as runit itself has them.
        let guest = Guest::new(&["etc/runit"]);
        fs::write(guest.at("etc/runit/stopit"), "").unwrap();
        assert_eq!(guest.carry_out(StopMethod::RunitFiles { reboot }), "done");
        let modes = (mode(&guest, "etc/runit/stopit"), mode(&guest, "etc/runit/reboot"));
        assert_eq!((modes, guest.signals.borrow().as_slice()), ((0o100, expected), &[libc::SIGCONT][..]));

        // Absolute links into /run, as Debian has them; one dangles.
        let guest = Guest::new(&["etc/runit", "run"]);
        symlink("/run/runit.stopit", guest.at("etc/runit/stopit")).unwrap();
        symlink("/run/runit.reboot", guest.at("etc/runit/reboot")).unwrap();
        fs::write(guest.at("run/runit.reboot"), "").unwrap();
        assert_eq!(guest.carry_out(StopMethod::RunitFiles { reboot }), "done");
        assert_eq!((mode(&guest, "run/runit.stopit"), mode(&guest, "run/runit.reboot")), (0o100, expected));
    }
}

#[test]
fn hostile_runit_files() {
    let guest = Guest::new(&["etc/runit"]);
    let host = guest.directory.path().join("host");
    fs::write(&host, "").unwrap();
    fs::set_permissions(&host, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("../../../host", guest.at("etc/runit/stopit")).unwrap();
    symlink(&host, guest.at("etc/runit/reboot")).unwrap();
    assert_eq!(guest.carry_out(StopMethod::RunitFiles { reboot: false }), "cannot ask the init to stop");
    assert_eq!(fs::metadata(&host).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(guest.signals.borrow().is_empty());
}

#[test]
fn what_an_exit_means() {
    for (runlevel, meaning, expected) in [
        (b'6', ExitMeaning::Runlevel, true),
        (b'0', ExitMeaning::Runlevel, false),
        (b'6', ExitMeaning::End, false),
    ] {
        let guest = Guest::new(&["var/log"]);
        let mut record = [0_u8; 384];
        (record[0], record[4]) = (1, runlevel);
        fs::write(guest.at("var/log/wtmp"), record).unwrap();
        assert_eq!(exit_was_reboot(meaning, &guest.root), expected, "{meaning:?} {runlevel}");
    }
}
