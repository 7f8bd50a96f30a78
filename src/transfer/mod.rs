//! Pull, import, export: bytes from somewhere to an image, and back.
//!
//! What comes in is an [`Incoming`]: read to its end by one thread while others decompress, parse and write, then asked
//! whether it was what it should have been. Until it says so the image is under a hidden name, and nobody sees it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`incoming`] | bytes on their way in, and the proof of them |
//! | [`bootstrap`] | trees made of packages, by the distro's own tool |
//! | [`catalogue`] | which distros there are, and where each release comes from |
//! | [`compression`] | which compressions there are, and how each is told |
//! | [`compress`] | bytes to compressed ones, on all processors |
//! | [`decompress`] | compressed bytes as they were |
//! | [`format`](mod@format) | what a file is, by its bytes |
//! | [`qcow2`] | disks of QEMU as raw ones |
//! | [`ring`] | bytes from one thread to another |
//! | [`flow`] | what comes in, decompressed, to whoever makes something of it |
//! | [`install`] | what comes in, as an image |
//! | [`context`] | whom a transfer tells how far it is, and who may stop it |
//! | [`export`] | an image to a stream |
//! | [`source`] | what a user named to be pulled |
//! | [`running`] | which transfers run, for others to see and to cancel |
//! | [`recording`] | the record of one, kept by the process that does it |
//! | [`told`] | what one has said so far, and what came of it |
//! | [`followed`] | all that from outside, past its end |
//! | [`naming`] | what an image is called that nobody gave a name |
//! | [`oci`] | images of containers: registries, layouts, archives |
//! | [`fetch`] | getting bytes: from servers, files and stdin |
//! | [`simplestreams`] | what image servers say they have |
//! | [`obtain`] | from what the catalogue says to an image: sources tried in turn |
//! | [`lockfile`] | which bytes a reference meant |
//! | [`verify`] | whether they are what they should be: checksums and signatures |
//! | `fault` | where tests kill a transfer |
//! | [`error`] | why a transfer failed |

pub mod bootstrap;
pub mod catalogue;
pub mod compress;
pub mod compression;
pub mod context;
pub mod decompress;
pub mod error;
pub mod export;
mod fault;
pub mod fetch;
pub mod flow;
pub mod followed;
pub mod format;
#[cfg(test)]
#[path = "../../tests/root/http_server.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations, reason = "of the tests")]
pub(crate) mod http_server;
pub mod incoming;
pub mod install;
pub mod lockfile;
pub mod naming;
pub mod obtain;
pub mod oci;
pub mod qcow2;
pub mod recording;
pub mod ring;
pub mod running;
pub mod simplestreams;
pub mod source;
pub mod told;
pub mod verify;

pub use context::{Context, Event, Watcher};
pub use error::Error;
pub use fault::POINTS as FAULT_POINTS;
pub use incoming::{Digest, Incoming, Proof};
