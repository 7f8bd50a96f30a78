//! Pull, import, export: bytes from somewhere to an image, and back.
//!
//! What comes in is an [`Incoming`]: read to its end by one thread while others decompress, parse and write, then asked
//! whether it was what it should have been. Until it says so the image is under a hidden name, and nobody sees it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`incoming`] | bytes on their way in, and the proof of them |
//! | [`catalogue`] | which distros there are, and where each release comes from |
//! | [`context`] | whom a transfer tells how far it is, and who may stop it |
//! | [`error`] | why a transfer failed |

pub mod catalogue;
pub mod context;
pub mod error;
pub mod incoming;

pub use context::{Context, Event, Watcher};
pub use error::Error;
pub use incoming::{Digest, Incoming, Proof};
