//! A mount namespace for the tests, with a /run, a /var/lib and a /var/log of its own, and an /etc that may be written; and a
//! network namespace that has `lo` alone: links, addresses and rules of machines are nobody else's.
//!
//! All mounts in it are shared, as systemd makes those of a host: a supervisor that forgets to leave their peer group
//! has its mounts seen here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use spinney::sys::files::open_directory;
use spinney::sys::mount::{MountAttributes, attach_mount, clone_mount, set_mount_attributes};
use spinney::sys::network::{in_namespace, loopback_up};
use spinney::sys::process::{Namespaces, unshare};

/// What is empty, but for /run, and on disk.
const EMPTY: [(&str, &str); 2] = [("var-lib", "/var/lib"), ("var-log", "/var/log")];

/// What is there all the same, to be read: which package each library of this host is from.
const PACKAGES: &str = "/var/lib/dpkg";

/// The network namespace that we came from, which may lead to package mirrors.
static OUTSIDE: OnceLock<File> = OnceLock::new();

/// Does `work`, and what it starts, on the network of the real host.
pub fn outside<T>(work: impl FnOnce() -> T) -> T {
    match OUTSIDE.get() {
        Some(outside) => in_namespace(outside, work).expect("join the network namespace outside"),
        None => work(),
    }
}

/// The surroundings of all tests. Scratch files are on disk, where trees and layers would be.
pub struct OwnHost {
    pub directory: PathBuf,
    mounted: bool,
}

impl OwnHost {
    /// Enters them; with `real`, the host is taken as it is.
    pub fn enter(real: bool) -> Self {
        let directory = PathBuf::from(format!("/var/tmp/spinney-root-tests.{}", std::process::id()));
        std::fs::create_dir(&directory).expect("make a directory in /var/tmp");
        if !real {
            OUTSIDE.get_or_init(|| File::open("/proc/self/ns/net").expect("open our network namespace"));
            unshare(Namespaces::NEWNS | Namespaces::NEWNET)
                .expect("unshare the mount and the network namespace");
            loopback_up().expect("bring lo up");
            let recursive = MountPropagationFlags::REC;
            mount_change("/", MountPropagationFlags::PRIVATE | recursive).expect("make all mounts private");
            let packages = open_directory(Path::new(PACKAGES))
                .and_then(|database| clone_mount(database, Path::new(""), false));
            for (name, path) in EMPTY {
                let empty = directory.join(name);
                std::fs::create_dir(&empty).expect("make a directory");
                mount_bind(&empty, path).expect("mount an empty directory");
            }
            if let Ok(packages) = packages {
                set_mount_attributes(
                    &packages,
                    MountAttributes::MOUNT_ATTR_RDONLY,
                    MountAttributes::empty(),
                    false,
                )
                .expect("make the packages' database read-only");
                std::fs::create_dir(PACKAGES).expect("make a directory");
                attach_mount(packages, open_directory(Path::new(PACKAGES)).expect("open a directory"))
                    .expect("mount the packages' database");
            }
            let (upper, work) = (directory.join("etc"), directory.join("etc-work"));
            std::fs::create_dir(&upper).expect("make a directory");
            std::fs::create_dir(&work).expect("make a directory");
            let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
            let layers = std::ffi::CString::new(layers).expect("no NUL");
            mount("overlay", "/etc", "overlay", MountFlags::empty(), Some(layers.as_c_str()))
                .expect("mount a layer over /etc");
            // Settings of this host's machines are none of the tests'.
            for settings in ["/etc/spinney", "/etc/systemd/nspawn"] {
                if Path::new(settings).exists() {
                    std::fs::remove_dir_all(settings).expect("hide settings of machines");
                }
            }
            mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))
                .expect("mount an empty /run");
            // mount(8) makes it wherever it is run.
            std::fs::create_dir("/run/mount").expect("make a directory");
            mount_change("/", MountPropagationFlags::SHARED | recursive).expect("make all mounts shared");
        }
        Self { directory, mounted: !real }
    }
}

impl Drop for OwnHost {
    fn drop(&mut self) {
        // They are of no more use, but would be in the way.
        for path in EMPTY.map(|(_, path)| path).into_iter().chain(["/etc"]).filter(|_| self.mounted) {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
        remove(&self.directory);
    }
}

fn remove(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        eprintln!("cannot remove {}: {error}", directory.display());
    }
}
