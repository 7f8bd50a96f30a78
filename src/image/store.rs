//! The directories of images, and the images in them (machinectl(1), "Files and directories").

use std::path::{Path, PathBuf};

use super::error::Error;
use super::name::ImageName;

/// Where images are, the first that has one wins.
pub const SEARCH_PATH: [&str; 6] = [
    "/etc/machines",
    "/run/machines",
    "/var/lib/machines",
    "/var/lib/container",
    "/usr/local/lib/machines",
    "/usr/lib/machines",
];

/// Where new images go.
pub const POOL: &str = "/var/lib/machines";

/// What is our own of images: layers, and where they came from.
pub const STATE: &str = "/var/lib/spinney";

/// The directories that a command works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where images are looked for, in this order.
    pub search: Vec<PathBuf>,
    /// Where new ones go.
    pub pool: PathBuf,
    /// What is our own of them.
    pub state: PathBuf,
}

/// What an image is (machinectl(1), systemd.mstack(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// A plain directory.
    Directory,
    /// A subvolume of btrfs.
    Subvolume,
    /// A disk image, `NAME.raw`.
    Raw,
    /// A block device.
    Block,
    /// Layers, `NAME.mstack/`.
    Layered,
}

/// An image of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name, without a suffix.
    pub name: ImageName,
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: ImageKind,
}

impl Store {
    /// That of the system.
    pub fn system() -> Self {
        Self {
            search: SEARCH_PATH.map(PathBuf::from).to_vec(),
            pool: PathBuf::from(POOL),
            state: PathBuf::from(STATE),
        }
    }

    /// One of its own in `directory` (`--image-root=`, importctl(1)).
    pub fn at(directory: &Path) -> Self {
        Self {
            search: vec![directory.to_owned()],
            pool: directory.to_owned(),
            // No image name begins so: machinectl clean leaves it alone.
            state: directory.join(".#spinney"),
        }
    }

    /// The image `name`.
    ///
    /// # Errors
    /// [`Error::NoImage`].
    pub fn find(&self, name: &ImageName) -> Result<Image, Error> {
        Err(Error::NoImage { name: name.to_string(), nearest: None })
    }
}
