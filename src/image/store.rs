//! The directories of images, and the images in them (machinectl(1), "Files and directories").

use std::path::{Path, PathBuf};

use super::discover;
use super::error::Error;
use super::name::ImageName;
use crate::settings::nearest;

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

impl ImageKind {
    /// machinectl's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Subvolume => "subvolume",
            Self::Raw => "raw",
            Self::Block => "block",
            Self::Layered => "mstack",
        }
    }

    /// What a path of one ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Raw => ".raw",
            Self::Layered => ".mstack",
            Self::Directory | Self::Subvolume | Self::Block => "",
        }
    }
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

    /// That of `--image-root=` (importctl(1)): one of its own in `directory`. The pool of the system is the system's by
    /// whatever name: two books on one pool would each take for nobody's what the other one knows of.
    pub fn at(directory: &Path) -> Self {
        let key = |path: &Path| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let pool = Path::new(POOL);
        match directory == pool || (key(pool).is_some() && key(pool) == key(directory)) {
            true => Self::system(),
            false => Self::alone(directory),
        }
    }

    /// One of its own in `directory`.
    pub(super) fn alone(directory: &Path) -> Self {
        Self {
            search: vec![directory.to_owned()],
            pool: directory.to_owned(),
            // No image name begins so: machinectl clean leaves it alone.
            state: directory.join(".#spinney"),
        }
    }

    /// Whether it is the system's, whose images have settings of their own in /etc.
    pub fn is_system(&self) -> bool {
        self.pool == Path::new(POOL)
    }

    /// The image `name`. What is hidden is no image.
    ///
    /// # Errors
    /// [`Error::NoImage`], with the nearest name there is.
    pub fn find(&self, name: &ImageName) -> Result<Image, Error> {
        for directory in &self.search {
            if let Some(image) = discover::find(directory, name)? {
                return Ok(image);
            }
        }
        let names: Vec<String> = match self.all() {
            Ok(images) => images.into_iter().map(|image| image.name.to_string()).collect(),
            Err(_) => Vec::new(),
        };
        // Who gives the name of the file means the image.
        let stem = ["", ".v"].iter().find_map(|version| {
            let stem = name.as_str().strip_suffix(version)?;
            [".raw", ".mstack", ""].iter().find_map(|suffix| stem.strip_suffix(suffix))
        });
        let stem = stem.filter(|stem| names.iter().any(|name| name == stem));
        let nearest = stem.or_else(|| nearest(name.as_str(), names.iter().map(String::as_str)));
        Err(Error::NoImage { name: name.to_string(), nearest: nearest.map(str::to_owned) })
    }

    /// All images, by name; of several of a name the one that [`Store::find`] gives.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn all(&self) -> Result<Vec<Image>, Error> {
        let mut images = std::collections::BTreeMap::new();
        for directory in &self.search {
            for image in discover::all(directory)? {
                images.entry(image.name.clone()).or_insert(image);
            }
        }
        Ok(images.into_values().collect())
    }
}
