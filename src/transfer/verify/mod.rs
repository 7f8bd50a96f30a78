//! Whether bytes are what they should be: checksums and signatures.
//!
//! | file | what it owns |
//! |---|---|
//! | [`request`] | what a user, or the catalogue, wants of a download |
//! | [`check`] | what bytes are held against while they come in |
//! | [`error`] | why they are not believed |

pub mod check;
pub mod error;
pub mod request;

pub use check::{Check, Hashes, Tap};
pub use error::Error;
pub use request::{Mode, Verification};
