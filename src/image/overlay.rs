//! One overlay of directories: which options, and the two ways to tell the kernel of its layers.
//!
//! Layers are told one by one (`lowerdir+`, Linux 6.7) where the kernel knows that: a value of fsconfig(2) has 255 bytes,
//! which a stack of layers soon outgrows. Older kernels take a page of options by mount(2), with layers by their fds, whose
//! paths are short. docs/boot.md says why the options are as they are.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;

use crate::sys::SysResult;
use crate::sys::files::{make_directory_at, open_directory_at};
use crate::sys::mount::{FsContext, MountAttributes, clone_mount, mount_with_options};

/// Where layers keep what plain files cannot say: that a directory hides what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `user.overlay.*`, as systemd.mstack(7) has them, and as whoever unpacks layers can write them (Linux 5.11).
    User,
    /// `trusted.overlay.*`: for layers that nobody else reads.
    Trusted,
}

/// The writable layer of an overlay: two directories of one mount.
#[derive(Debug, Clone, Copy)]
pub struct Upper<'a> {
    /// What is changed.
    pub data: BorrowedFd<'a>,
    /// The kernel's own scratch directory.
    pub work: BorrowedFd<'a>,
    /// It is thrown away, and need not be brought to disk (overlayfs.rst, "Volatile mount", Linux 5.10).
    pub volatile: bool,
}

/// An overlay to be mounted.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// Read-only layers, the lowest first; without [`Overlay::upper`] at least two.
    pub lower: &'a [OwnedFd],
    /// The writable layer.
    pub upper: Option<Upper<'a>>,
    /// Where its marks are.
    pub marks: Marks,
}

impl Overlay<'_> {
    /// A detached mount of it. Layers must be mounted in our own mount namespace (kernels before 6.13). `place` is an empty
    /// directory of ours there, for kernels that cannot do without.
    ///
    /// # Errors
    /// When the kernel refuses; what it says of the reason is in the error.
    pub fn mount(&self, place: impl AsFd) -> SysResult<OwnedFd> {
        match self.mount_one_by_one() {
            // Before Linux 6.7 the parameter is not known.
            Err(error) if error.errno() == Errno::INVAL && error.to_string().contains("lowerdir+") => {
                self.mount_by_one_page(place)
            }
            mounted => mounted,
        }
    }

    fn mount_one_by_one(&self) -> SysResult<OwnedFd> {
        let mut context = FsContext::new("overlay")?;
        for (key, value) in self.options() {
            context = match value {
                Some(value) => context.set(key, &value)?,
                None => context.flag(key)?,
            };
        }
        for layer in self.lower.iter().rev() {
            context = context.set("lowerdir+", &by_fd(layer))?;
        }
        context.mount(MountAttributes::empty())
    }

    /// As [`Overlay::mount`] does it where the kernel takes layers in one option only. What is mounted at `merged` below
    /// `place` goes with the caller's mount namespace.
    ///
    /// # Errors
    /// When the kernel refuses; why is in its log.
    pub fn mount_by_one_page(&self, place: impl AsFd) -> SysResult<OwnedFd> {
        let stack: Vec<String> = self.lower.iter().rev().map(by_fd).collect();
        let mut options = format!("lowerdir={}", stack.join(":"));
        for (key, value) in self.options().into_iter().filter(|(key, _)| *key != "source") {
            options.push(',');
            options.push_str(key);
            if let Some(value) = value {
                options.push('=');
                options.push_str(&value);
            }
        }
        let merged = make_directory_at(&place, MERGED, 0o700)?;
        mount_with_options("overlay", &by_fd(&merged), &options)?;
        clone_mount(open_directory_at(place, MERGED)?, Path::new(""), false)
    }

    fn options(&self) -> Vec<(&'static str, Option<String>)> {
        let given = |key, value: &str| (key, Some(value.to_owned()));
        let mut options = vec![
            given("source", "spinney"),
            // Hard links of a layer come apart when they are written to; but an index is bound to the file system that it
            // was made on, and an image may be copied.
            given("index", "off"),
            // One st_dev for all files, wherever the layers are, as programs expect of one file system.
            given("xino", "auto"),
        ];
        match self.marks {
            // With it no file can point elsewhere: redirect_dir and metacopy are off (overlayfs.rst, "User xattr").
            Marks::User => options.push(("userxattr", None)),
            Marks::Trusted => {
                options.push(given("redirect_dir", "nofollow"));
                options.push(given("metacopy", "off"));
            }
        }
        if let Some(upper) = &self.upper {
            options.push(("upperdir", Some(by_fd(&upper.data))));
            options.push(("workdir", Some(by_fd(&upper.work))));
            if upper.volatile {
                options.push(("volatile", None));
            }
        }
        options
    }
}

/// The directory below the place at which mount(2) mounts.
const MERGED: &str = "merged";

/// A path of `fd` without a character that means something in options.
fn by_fd(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
