//! What is asked of images and names before states of them are made, given up or returned to.

use std::path::Path;

use super::error::Error;
use super::layers::{LayerError, records};
use super::name::ImageName;
use super::properties::Properties;
use super::store::{Image, Store};

/// That no image has the name.
///
/// # Errors
/// [`Error::Exists`].
pub(super) fn check_free(store: &Store, name: &ImageName) -> Result<(), LayerError> {
    match store.find(name) {
        Ok(image) => Err(Error::Exists { name: name.to_string(), path: image.path }.into()),
        Err(Error::NoImage { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// That it may be changed.
///
/// # Errors
/// [`LayerError::ReadOnly`].
pub(super) fn check_writable(image: &Image) -> Result<(), LayerError> {
    match Properties::of(image)?.read_only {
        true => Err(LayerError::ReadOnly { name: image.name.to_string() }),
        false => Ok(()),
    }
}

/// `PREFIX` and the time, as a name that no snapshot of `image` has.
pub(super) fn free_name(store: &Store, image: &ImageName, prefix: &str) -> Result<String, LayerError> {
    let taken = records::of(store, image.as_str())?;
    let time = format!("{prefix}{}", jiff::Zoned::now().strftime("%Y-%m-%d_%H-%M-%S"));
    let numbered = |number: u32| if number == 1 { time.clone() } else { format!("{time}_{number}") };
    let free = (1..).map(numbered).find(|name| taken.iter().all(|record| record.name != *name));
    Ok(free.unwrap_or(time))
}

/// Whether there is a file at `path`, links followed.
pub(super) fn is_there(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok()
}
