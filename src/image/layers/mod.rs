//! Layers of images: where they are kept, who refers to them, and the stacks that images are made of.
//!
//! A layer is a tree, or a disk image, that nobody writes to any more. It is kept until no image and no snapshot refers to it.
//! Every change of who refers to what is made under one lock ([`LayersLock`]), in steps of which each leaves a whole state:
//! what is killed between two is tidied up by whoever takes the lock next.
//!
//! | file | what it owns |
//! |---|---|
//! | [`place`] | the directories that layers are kept in, and the lock on them all |
//! | [`stack`] | the layers of one image, read and written |
//! | `links` | links to layers, and renames |
//! | [`freeze`] | the writable layer of an image becomes one more that is not |
//! | [`conversion`] | a directory or disk image becomes a layered one |
//! | [`references`] | who refers to a layer; those that nobody does are removed |
//! | [`records`] | snapshots, written down |
//! | [`error`] | why something cannot be done |

pub mod conversion;
pub mod error;
pub mod freeze;
pub(in crate::image) mod links;
pub mod place;
pub mod records;
pub mod references;
pub mod stack;

pub use error::LayerError;
pub use place::{LayerPlace, LayersLock};
pub use records::Record;
pub use references::{collect, dependents};
pub use stack::{Layer, LayeredImage, NewStack};
