//! Whether bytes are what they should be: checksums and signatures.
//!
//! | file | what it owns |
//! |---|---|
//! | [`request`] | what a user, or the catalogue, wants of a download |
//! | [`sidecars`] | under which names checksums and signatures lie beside it |
//! | [`prepare`] | finds these, and what the download will be held against |
//! | [`check`] | holds its bytes against that while they come in |
//! | [`sums`] | files of checksums |
//! | [`keys`] | files of keys |
//! | [`gpgv`], [`status`] | OpenPGP signatures, and what gpgv says of them |
//! | [`signify`] | signatures of signify and minisign |
//! | [`error`] | why bytes are not believed |

mod check;
mod error;
mod gpgv;
mod keys;
mod prepare;
mod request;
mod sidecars;
mod signify;
mod status;
mod sums;
#[cfg(test)]
mod tests;

pub use check::{Check, Hashes, Tap};
pub use error::Error;
pub use prepare::prepare;
pub use request::{Mode, Verification};
pub use sums::{Algorithm, Sum, find as find_sum};
