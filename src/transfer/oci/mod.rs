//! Images of containers: from registries, layouts and archives to layered images.
//!
//! Every blob is asked for by its digest and believed when it has it; the manifest by the digest that the reference or the
//! registry gives. A layer is unpacked once, whichever images have it: it lies in the layer store under the digest of
//! what it is uncompressed, its whiteouts as overlayfs has them; one that says nothing of a directory takes what lower layers
//! say of it, and is the layer of that chain alone. What the image says of the command to run becomes
//! settings.
//!
//! | file | what it owns |
//! |---|---|
//! | [`reference`] | what a user named |
//! | [`document`] | indexes, manifests and configurations: JSON to types, within limits |
//! | [`platform`] | which of several manifests is for this host |
//! | [`challenge`] | how a registry asks who we are |
//! | [`credentials`] | who we are: auth.json |
//! | [`registry`] | talking to a registry |
//! | [`layout`] | layouts and archives on disk |
//! | [`settings`] | a configuration as settings of a machine |
//! | `layers` | its layers, unpacked and linked |
//! | `beside` | its settings, beside it |
//! | [`pull`] | all of it: a reference to an image |
//! | [`error`] | why it failed |

mod beside;
pub mod challenge;
pub mod credentials;
pub mod document;
pub mod error;
mod layers;
pub mod layout;
pub mod platform;
pub mod pull;
pub mod reference;
pub mod registry;
pub mod settings;

pub use error::Error;
pub use pull::{Asked, Pulled, pull};
pub use reference::Reference;
