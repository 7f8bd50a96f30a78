//! Why something cannot be done to layers: one line, a hint.

use std::path::PathBuf;

use crate::image;
use crate::image::opened::OpenError;
use crate::settings::did_you_mean;
use crate::sys::SysError;

/// Why something cannot be done to layers.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LayerError {
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Copy(#[from] crate::archive::Error),
    #[error("image {image:?} has no snapshot {name:?}{}", did_you_mean(.nearest.as_deref()))]
    NoSnapshot { image: String, name: String, nearest: Option<String> },
    #[error("image {image:?} has no snapshots")]
    NoSnapshots { image: String },
    #[error("image {image:?} has a snapshot {name:?} already")]
    SnapshotExists { image: String, name: String },
    #[error("image {name:?} is read-only")]
    ReadOnly { name: String },
    #[error("image {name:?} is {what}: {action} does not work with it")]
    Kind { name: String, what: &'static str, action: &'static str },
    #[error("{:?} in {} is no link", .entry, .path.display())]
    OwnEntry { path: PathBuf, entry: String },
    #[error("image {name:?} is a symlink to {}", .target.display())]
    Elsewhere { name: String, target: PathBuf },
    #[error("image {name:?} has no layers")]
    NotLayered { name: String },
    #[error("image {name:?} is neither layered nor a clone: there is nothing to compare it with")]
    NothingBelow { name: String },
    #[error("there is neither a snapshot nor an image {name:?}")]
    NothingCalled { name: String },
    #[error("{} is no record of a snapshot: {message}", .path.display())]
    Record { path: PathBuf, message: String },
    #[error("cannot pause the machine that runs from image {name:?}: {why}")]
    Pause { name: String, why: String },
    #[error("cannot write JSON: {0}")]
    Json(String),
}

impl LayerError {
    /// A failed call, and what it was for.
    pub fn system(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(SysError) -> Self {
        let path = path.into();
        move |source| image::Error::System { action, path, source }.into()
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Image(error) => return error.hint(),
            Self::Open(error) => return error.hint(),
            Self::Copy(error) => return error.hint().map(str::to_owned),
            Self::NoSnapshot { image, .. } => {
                return Some(format!("spinney snapshot --list {image} shows them"));
            }
            Self::NoSnapshots { image } => return Some(format!("spinney snapshot {image} makes one")),
            Self::SnapshotExists { image, name } => {
                return Some(format!("give another name, or spinney snapshot --delete {image} {name}"));
            }
            Self::ReadOnly { name } => return Some(format!("spinney read-only {name} no makes it writable")),
            Self::Kind { name, .. } => {
                return Some(format!("spinney clone --copy {name} NEW makes an image that can do it"));
            }
            Self::OwnEntry { .. } => "put it elsewhere and a link to it there (systemd.mstack(7))",
            Self::Elsewhere { name, .. } => {
                return Some(format!(
                    "spinney clone {name} NEW makes an image over it that can have snapshots"
                ));
            }
            Self::NotLayered { name } => return Some(format!("spinney snapshot {name} makes it layered")),
            Self::NothingBelow { .. } => "--against=IMAGE says with which",
            Self::NothingCalled { .. } => "spinney snapshot --list and spinney images show what there is",
            Self::Record { .. } => "remove it if nothing else helps; its layers stay until then",
            Self::Json(_) => return None,
            Self::Pause { .. } => "stop the machine first",
        };
        Some(hint.to_owned())
    }
}
