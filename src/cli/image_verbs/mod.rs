//! The verbs of images, a file each.
//!
//! | file | verb |
//! |---|---|
//! | [`images`] | List the images that there are |
//! | [`image_status`] | Show what an image is |
//! | [`show_image`] | Print the properties of images, for programs |
//! | [`clone`] | Make a machine from an image, in no time |
//! | [`rename`] | Give an image another name |
//! | [`remove`] | Remove images |
//! | [`read_only`] | Mark an image read-only, or writable again |
//! | [`clean`] | Remove what is hidden beside images, and unused layers |
//! | [`snapshot`] | Keep the state of a machine under a name |
//! | [`rollback`] | Take a machine back to a snapshot |
//! | [`diff`] | Show what a machine changed against its image |
//! | [`commit`] | Make an image of a machine's state |
//! | [`states`] | what clone, snapshot, rollback, diff and commit have in common |
//! | [`inspect`] | Check whether a tree can be booted here |
//! | [`search`] | Look for images in the catalogue |
//! | [`pull`] | Fetch an image |
//! | [`pull_reference`] | the same, by a name of the catalogue |
//! | [`import`] | Make an image of an archive, a disk image or a directory |
//! | [`export`] | Write an image as an archive or a disk image |
//! | [`list_transfers`] | List the images that are being moved |
//! | [`cancel_transfer`] | End that |

pub mod cancel_transfer;
pub mod clean;
pub mod clone;
pub mod commit;
pub mod diff;
pub mod export;
pub mod image_status;
pub mod images;
pub mod import;
pub mod inspect;
pub mod list_transfers;
pub mod pull;
pub mod pull_reference;
pub mod read_only;
pub mod remove;
pub mod rename;
pub mod rollback;
pub mod search;
pub mod show_image;
pub mod snapshot;
pub mod states;
pub mod stores;

use super::EXIT_FAILURE;
use super::output::Output;

/// Tells `error`, and gives the exit status.
fn fail(error: &dyn std::error::Error, hint: Option<String>, output: Output) -> u8 {
    output.error(error, hint.as_deref());
    EXIT_FAILURE
}
