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
//! | [`fresh`] | images that are being made |
//! | [`disk`] | disk images: their partitions and file systems, mounted |
//! | [`error`] | why something cannot be done to an image |

pub mod disk;
pub mod error;
pub mod fresh;
pub mod name;
pub mod store;

pub use error::Error;
pub use fresh::{Finish, NewImage};
pub use name::ImageName;
pub use store::{Image, ImageKind, Store};
