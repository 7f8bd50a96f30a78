//! What the verbs of an image's states have in common: clone, snapshot, rollback, diff, commit.

use std::path::PathBuf;
use std::time::Duration;

use super::fail;
use crate::cli::output::{Output, words};
use crate::cli::transferring;
use crate::image::layers::LayerError;
use crate::image::{Error, Image, ImageName, Store};

/// Where images are.
#[derive(Debug, clap::Args)]
pub struct StoreArguments {
    /// Look for images in this directory instead of the system's
    #[arg(long, value_name = "DIR")]
    image_root: Option<PathBuf>,
}

impl StoreArguments {
    /// The store that is meant, as it is.
    pub(super) fn store_as_it_is(&self, output: Output) -> Result<Store, u8> {
        let store = transferring::store(self.image_root.as_deref());
        store.map_err(|error| fail(&error, error.hint(), output))
    }

    /// The store that is meant.
    pub(super) fn store(&self, output: Output) -> Result<Store, u8> {
        let store = self.store_as_it_is(output)?;
        super::stores::sweep(&store, output);
        Ok(store)
    }
}

/// Tells why it did not work.
pub(super) fn refuse(error: &LayerError, output: Output) -> u8 {
    let hint = match error {
        // There is no --force here: what is to go is to be named.
        LayerError::Image(Error::Exists { name, path }) => {
            let path = path.display();
            Some(format!("it is {path}; give another name, or spinney remove {name} first"))
        }
        _ => error.hint(),
    };
    fail(error, hint, output)
}

/// The name that a user typed.
pub(super) fn named(name: &str) -> Result<ImageName, LayerError> {
    name.parse().map_err(|source| Error::Name { source }.into())
}

/// The image that a user named.
pub(super) fn found(store: &Store, name: &str) -> Result<Image, LayerError> {
    Ok(store.find(&named(name)?)?)
}

/// `, with its machine paused for 2ms`, if one was.
pub(super) fn pause_words(paused: Option<Duration>) -> String {
    paused.map(|time| format!(", with its machine paused for {}", words::span(time))).unwrap_or_default()
}
