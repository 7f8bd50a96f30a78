//! Why something cannot be done to an image: one line, a hint.

use std::path::PathBuf;

use super::layers::LayerError;
use crate::settings::{ValueError, did_you_mean};
use crate::sys::SysError;

/// Why something cannot be done to an image.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Name { source: ValueError },
    #[error("no image {name:?}{}", did_you_mean(.nearest.as_deref()))]
    NoImage { name: String, nearest: Option<String> },
    #[error("there is an image {name:?} already")]
    Exists { name: String, path: PathBuf },
    #[error("image {name:?} is in use: {}", .by.join(", "))]
    InUse { name: String, by: Vec<String> },
    #[error("image {name:?} is read-only: {} cannot be written to", .path.display())]
    OutOfReach { name: String, path: PathBuf },
    #[error("image {name:?} is read-only")]
    ReadOnly { name: String },
    #[error("image {name:?} has versions, of which this would be one: {}", .path.display())]
    Versions { name: String, path: PathBuf },
    #[error("{} is a device, whose name is not ours to change", .path.display())]
    Device { path: PathBuf },
    #[error(transparent)]
    Layers(#[from] Box<LayerError>),
    #[error("somebody else is making an image {name:?}")]
    Busy { name: String },
    #[error(transparent)]
    Disk(#[from] super::disk::Error),
    #[error("cannot {action} {}", .path.display())]
    System {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: SysError,
    },
}

impl From<LayerError> for Error {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Image(error) => error,
            other => Self::Layers(Box::new(other)),
        }
    }
}

impl Error {
    /// A failed call, and what it was for.
    pub fn system(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(SysError) -> Self {
        let path = path.into();
        move |source| Self::System { action, path, source }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Name { source } => source.hint(),
            Self::NoImage { .. } => {
                "spinney images lists those that there are; spinney search finds others to pull"
            }
            Self::Exists { path, .. } => {
                return Some(format!(
                    "it is {}; give another name, or --force to replace it",
                    path.display()
                ));
            }
            Self::Disk(error) => return error.hint(),
            Self::InUse { .. } => "end or remove what uses it first",
            Self::OutOfReach { .. } => {
                "it lies below /usr or on a read-only file system; spinney clone makes one to change"
            }
            Self::ReadOnly { name } => {
                return Some(format!(
                    "spinney read-only {name} no makes it writable; --force does it all the same"
                ));
            }
            Self::Versions { .. } => "rename the directory that they are in, or one of them",
            Self::Device { .. } => "remove or rename the link to it, if there is one",
            Self::Layers(error) => return error.hint(),
            Self::Busy { .. } => "wait until it is there, or give another name",
            Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
