//! Disk images: their partitions found, their file systems mounted, without udev.
//!
//! What is on a disk is read first, by pure functions over its bytes that believe nothing ([`facts`]); what is mounted
//! where, or why nothing is, is a plan ([`plan`](mod@plan)), and [`mount()`] carries it out with loop devices that the
//! kernel removes with the mounts. The mounts are detached: nobody else sees them.
//!
//! | file | what it owns |
//! |---|---|
//! | [`source`] | bytes of a disk, from a file, a device or a slice |
//! | [`foreign`] | files that are no raw disk |
//! | [`content`] | what a disk or partition holds, by its magic numbers |
//! | [`gpt`], [`mbr`] | tables of partitions |
//! | [`guid`], [`partition_kind`] | what a partition is for, by its type |
//! | [`facts`] | all of that, of one disk |
//! | [`plan`](mod@plan), [`volume`] | what is mounted where, and how |
//! | [`apply`] | loop devices and mounts |
//! | [`verity`] | root hashes |
//! | [`error`] | why a disk image cannot be used |

pub mod apply;
mod assemble;
pub mod content;
pub mod error;
pub mod facts;
#[cfg(test)]
mod fixtures;
pub mod foreign;
pub mod gpt;
mod grow;
pub mod guid;
pub mod mbr;
pub mod partition_kind;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod source;
#[cfg(test)]
mod table_tests;
pub mod verity;
mod verity_setup;
pub mod volume;

pub use apply::{DiskMount, DiskOptions, look, mount};
pub use error::{Error, Refusal};
pub use verity::{RootHash, Verify};
