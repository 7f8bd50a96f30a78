//! Pull, import, export: bytes from somewhere to an image, and back.
//!
//! What comes in is an [`Incoming`]: read to its end by one thread while others decompress, parse and write, then asked
//! whether it was what it should have been. Until it says so the image is under a hidden name, and nobody sees it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`incoming`] | bytes on their way in, and the proof of them |
//! | [`catalogue`] | which distros there are, and where each release comes from |
//! | [`compression`] | which compressions there are, and how each is told |
//! | [`decompress`] | compressed bytes as they were |
//! | [`format`](mod@format) | what a file is, by its bytes |
//! | [`qcow2`] | disks of QEMU as raw ones |
//! | [`ring`] | bytes from one thread to another |
//! | [`flow`] | what comes in, decompressed, to whoever makes something of it |
//! | [`install`] | what comes in, as an image |
//! | [`context`] | whom a transfer tells how far it is, and who may stop it |
//! | [`source`] | what a user named to be pulled |
//! | [`naming`] | what an image is called that nobody gave a name |
//! | [`fetch`] | getting bytes: from servers, files and stdin |
//! | [`verify`] | whether they are what they should be: checksums and signatures |
//! | `fault` | where tests kill a transfer |
//! | [`error`] | why a transfer failed |

pub mod catalogue;
pub mod compression;
pub mod context;
pub mod decompress;
pub mod error;
mod fault;
pub mod fetch;
pub mod flow;
pub mod format;
#[cfg(test)]
#[path = "../../tests/root/http_server.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations, reason = "of the tests")]
pub(crate) mod http_server;
pub mod incoming;
pub mod install;
pub mod naming;
pub mod qcow2;
pub mod ring;
pub mod source;
pub mod verify;

pub use context::{Context, Event, Watcher};
pub use error::Error;
pub use fault::POINTS as FAULT_POINTS;
pub use incoming::{Digest, Incoming, Proof};
