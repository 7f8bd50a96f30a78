//! The files that systemd-journald writes: read, merged, searched and followed, without systemd.
//!
//! The format is that of <https://systemd.io/JOURNAL_FILE_FORMAT/>, all of it that a reader needs: regular and compact
//! entries, fields compressed with xz, lz4 and zstd, files that are being written, were rotated or were cut short. Who
//! wrote them is not to be trusted: nothing in a file makes a reader panic, go round in circles or take memory without a
//! bound. What is wrong with an entry costs that entry and no other.
//!
//! Nothing here knows of machines or paths: files come opened, as [`ReadAt`].
//!
//! | file | what it owns |
//! |---|---|
//! | [`storage`] | bytes at an offset, through a small cache of blocks |
//! | [`header`] | the head of a file |
//! | [`file`] | one file: its entries by number, their fields |
//! | [`arrays`] | the chain of arrays that numbers the entries |
//! | [`salvage`] | entries of a file whose chain is broken |
//! | [`compression`] | fields as they were before they were compressed |
//! | [`entry`] | an entry, its fields, its place among all others |
//! | [`index`] | entries by a field's value |
//! | [`merged`] | several files as one stream, forwards and backwards |
//! | [`filter`] | which entries are wanted |
//! | [`fault`] | why a file cannot be read |

pub mod arrays;
pub mod compression;
pub mod entry;
pub mod fault;
pub mod file;
pub mod filter;
pub mod header;
pub mod index;
pub mod merged;
pub mod salvage;
pub mod storage;

pub use entry::{Entry, Field, Id, Stamp};
pub use fault::Fault;
pub use file::JournalFile;
pub use filter::Filter;
pub use merged::Journal;
pub use storage::ReadAt;

#[cfg(test)]
mod tests;
