//! Trees of files as streams of tar, and back: for copies in and out of machines, imports and exports.
//!
//! Neither side trusts the other. A tree may be changed by its owner while it is packed; a stream may be written by who
//! wants a file elsewhere. So both sides walk by fds, a component at a time, never through a link, and hold no more in
//! memory than a path's worth of directories, a bounded table of hard links and a bounded header. What lies where is the
//! caller's to say: it gives a directory, opened. The `tar` crate gives the layout of headers and nothing else: its own
//! unpacking follows paths, and loses times, attributes and links.
//!
//! | file | what it owns |
//! |---|---|
//! | [`entry`] | one member of an archive, and the limits on it |
//! | [`pack`] | a tree to a stream |
//! | [`unpack`] | a stream to a tree |
//! | [`copy_tree`] | a tree to another place, exactly |
//! | [`extract`] | a stream to a fresh directory: whole images, fast |
//! | [`export`] | a tree to a stream: whole images, the same bytes each time |
//! | [`write`] | members as bytes (POSIX pax; sparse as GNU tar 1.0) |
//! | [`read`] | bytes as members (pax, GNU, ustar, v7) |
//! | [`pax`] | records of extended headers |
//! | [`sparse`] | where a file has data and where holes |
//! | [`acl`] | POSIX ACLs as text and as the kernel has them |
//! | [`input`] | the bytes of an archive, from anything that can be read |
//! | [`shared`] | the same in the buffers that they came in, for several threads |
//! | [`output`] | the same to anything that can be written |
//! | `block` | how much is read and written at a time |
//! | [`stream`] | the bytes: pipes and files, with a way to be interrupted |
//! | `metadata` | owner, permissions, attributes and times of what was made |
//! | `names` | paths of a stream, and the directories that they lead through |
//! | [`notes`] | what was left out, and what failed without stopping the rest |
//! | `fault` | why one member could not be made, and whether the rest can |
//! | [`error`] | what stops the rest |

pub mod acl;
mod block;
#[cfg(test)]
mod by_hand;
pub mod copy_tree;
pub mod entry;
pub mod error;
pub mod export;
pub mod extract;
mod fault;
pub mod input;
mod metadata;
mod names;
pub mod notes;
pub mod output;
pub mod pack;
pub mod pax;
pub mod read;
pub mod shared;
pub mod sparse;
pub mod stream;
pub mod unpack;
pub mod write;

pub use copy_tree::{CopyTreeOptions, copy_tree};
pub use entry::{Entry, Kind};
pub use error::{BadStream, Error};
pub use export::{ExportOptions, Exported, export};
pub use extract::{ExtractOptions, Extracted, Limits, Verdict, extract, extract_lent};
pub use notes::Counts;
pub use notes::Notes;
pub use pack::{Modified, PackOptions, Packer};
pub use stream::{Sink, Source, Watch};
pub use unpack::{Naming, Place, UnpackOptions, Unpacker};
