//! The catalogue: which distros there are, and where each release comes from.
//!
//! One TOML file a distro, those of `images/` built in, more in `/etc/spinney/images` (docs/images.md says what is in
//! them). A reference such as `debian:trixie` becomes a list of attempts, pure data, which [`super::obtain`] tries in turn.
//!
//! | file | what it owns |
//! |---|---|
//! | [`model`] | what a file says, typed |
//! | [`file`] | a file, read |
//! | [`source`] | the sources in it |
//! | [`raw`] | the keys as they stand there |
//! | [`template`] | text with placeholders |
//! | [`load`] | the files that there are |
//! | [`reference`] | what users write |
//! | [`resolve`] | from a reference to what is to be tried |
//! | [`listing`] | finding the name of a file in a text |
//! | [`architecture`] | names of architectures |
//! | [`error`] | what is wrong with a file or a reference |

pub mod architecture;
pub mod error;
pub mod file;
pub mod listing;
pub mod load;
pub mod model;
mod raw;
pub mod reference;
pub mod resolve;
mod source;
mod template;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use load::Catalogue;
pub use reference::Reference;
pub use resolve::{Action, Attempt, Download, Resolved};
