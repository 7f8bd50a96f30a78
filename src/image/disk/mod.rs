//! Disk images: their partitions found, their file systems mounted, without udev.
//!
//! What is on a disk is read first, by pure functions over its bytes that believe nothing ([`content`]); what is mounted
//! where, or why nothing is, is a plan ([`plan`]), and [`mount()`] carries it out with loop devices that the kernel
//! removes with the mounts. The mounts are detached: nobody else sees them.
//!
//! | file | what it owns |
//! |---|---|
//! | [`source`] | bytes of a disk, from a file, a device or a slice |
//! | [`content`] | what a disk or partition holds, by its magic numbers |
//! | [`plan`] | what is mounted where, and how |
//! | [`apply`] | loop devices and mounts |
//! | [`error`] | why a disk image cannot be used |

pub mod apply;
pub mod content;
pub mod error;
pub mod plan;
pub mod source;

pub use apply::{DiskMount, DiskOptions, mount};
pub use error::{Error, Refusal};
