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
//! | [`decompress`] | compressed bytes as they were |
//! | [`ring`] | bytes from one thread to another |
//! | [`context`] | whom a transfer tells how far it is, and who may stop it |
//! | [`fetch`] | getting bytes: from servers, files and stdin |
//! | [`simplestreams`] | what image servers say they have |
//! | [`verify`] | whether they are what they should be: checksums and signatures |
//! | [`error`] | why a transfer failed |

pub mod bootstrap;
pub mod catalogue;
pub mod compression;
pub mod context;
pub mod decompress;
pub mod error;
pub mod fetch;
#[cfg(test)]
#[path = "../../tests/root/http_server.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations, reason = "of the tests")]
pub(crate) mod http_server;
pub mod incoming;
pub mod ring;
pub mod simplestreams;
pub mod verify;

pub use context::{Context, Event, Watcher};
pub use error::Error;
pub use incoming::{Digest, Incoming, Proof};
