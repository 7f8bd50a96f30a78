//! Images: what machines are made from, at rest.
//!
//! An image is a directory, a btrfs subvolume, a disk image or a layered image in one of the directories where systemd
//! looks for them, so that both see the same ones. What is our own of them, layers and what is known of where an image
//! came from, lies in the state directory. An image comes to be under a hidden name and gets its own when it is whole and
//! on disk: nobody sees half of one. No daemon: files and locks are all there is.
//!
//! | file | what it owns |
//! |---|---|
//! | [`name`] | what an image may be called |
//! | [`store`] | the directories, and the images in them |
//! | [`discover`] | what of a directory is an image |
//! | [`properties`] | whether it may be changed, what it takes, when it was made |
//! | [`merged`] | layers as the one tree that they make |
//! | [`diff`] | what differs between two of them |
//! | [`clone`] | a new image of another's state, in no time |
//! | [`snapshot`] | the state of an image, kept under a name |
//! | [`rollback`] | back to it |
//! | `conditions` | what is asked of images and names before one of these |
//! | [`commit`] | an image of a machine's present state |
//! | [`layers`] | where layers are kept, who refers to them, stacks of them |
//! | `subvolume` | snapshots of btrfs, for all of these |
//! | [`lock`] | who may write to an image, agreed on with systemd |
//! | [`users`] | who has an image in use |
//! | [`fresh`] | images that are being made |
//! | [`hidden`] | their hidden names, and what killed commands left under such |
//! | [`origin`] | where an image came from |
//! | [`companions`] | what else there is of an image: its settings, its root hash |
//! | [`clean`] | a pool without what is nobody's |
//! | [`remove`], [`rename`] | an image with all that is its own |
//! | [`disk`] | disk images: their partitions and file systems, mounted |
//! | [`mstack`] | layered images: what the names in one mean, and writing one |
//! | [`versions`] | which of two versions is newer, which entry of a `.v` directory is meant |
//! | [`overlay`] | one overlay of directories |
//! | [`opened`] | an image opened as a root, to look into or to run |
//! | [`error`] | why something cannot be done to an image |

pub mod clean;
pub mod clone;
pub mod commit;
pub mod companions;
mod conditions;
pub mod diff;
pub mod discover;
pub mod disk;
pub mod error;
pub mod fault;
pub mod fresh;
pub mod hidden;
pub mod layers;
pub mod lock;
pub mod merged;
pub mod mstack;
pub mod name;
pub mod opened;
pub mod origin;
pub mod overlay;
pub mod properties;
pub mod remove;
pub mod rename;
pub mod rollback;
pub mod snapshot;
pub mod store;
mod subvolume;
pub mod users;
pub mod versions;

pub use error::Error;
pub use fresh::{Finish, NewImage};
pub use name::ImageName;
pub use store::{Image, ImageKind, Store};
