//! What the verbs of images at rest have in common: which store, which image, what was left behind.

use super::fail;
use super::states::StoreArguments;
use crate::cli::output::Output;
use crate::cli::{EXIT_FAILURE, require_root};
use crate::image::{Error, Image, ImageName, Store, hidden, origin};

impl StoreArguments {
    /// The store, to be changed by `verb`: as root. What killed commands left in it is removed first.
    pub(super) fn store_to_change(&self, verb: &str, output: Output) -> Result<Store, u8> {
        if !require_root(verb, &format!("sudo spinney {verb}"), output) {
            return Err(EXIT_FAILURE);
        }
        let store = self.store_as_it_is(output)?;
        sweep(&store, output);
        Ok(store)
    }
}

/// Removes what killed commands left; that it cannot is no reason not to go on.
pub(super) fn sweep(store: &Store, output: Output) {
    let (swept, fault) = hidden::sweep(store);
    for entry in swept {
        let name = hidden::name_of(&entry).unwrap_or_default();
        output.status(&format!("removed what a command that was killed left of image {name:?}"));
    }
    if let Some(error) = fault {
        output.warning(&crate::sys::in_words(&error));
    }
    origin::sweep(store);
}

/// The image that a user named.
pub(super) fn find(store: &Store, name: &str) -> Result<Image, Error> {
    store.find(&name.parse::<ImageName>().map_err(|source| Error::Name { source })?)
}

/// Does `act` with each image of `names`; a fault with one does not stop the others. Gives the exit status.
pub(super) fn each(
    store: &Store,
    names: &[String],
    output: Output,
    mut act: impl FnMut(&Image) -> Result<(), Error>,
) -> u8 {
    let mut status = 0;
    for name in names {
        if let Err(error) = find(store, name).and_then(|image| act(&image)) {
            status = fail(&error, error.hint(), output);
        }
    }
    status
}
