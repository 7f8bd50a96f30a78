//! Machines as a client sees them: found by name in the registry, entered, told things, looked at.
//!
//! Nothing here needs a daemon: the truth is in `/run/spinney/machines/NAME/` and in the kernel, and a machine's
//! supervisor is spoken to over its control socket. Nothing here prints.
//!
//! | file | what it owns |
//! |---|---|
//! | [`handle`] | a running machine: its state, its leader by pidfd |
//! | [`enter`] | joining a machine's namespaces |
//! | [`find_image`] | images by name |
//! | [`autostart`] | which machines start with the host |
//! | [`schedule`] | the order in which machines that need each other start |
//! | [`error`] | why something cannot be done to a machine: a line, a hint, an exit status |

pub mod autostart;
pub mod enter;
pub mod error;
pub mod find_image;
pub mod handle;
pub mod schedule;

pub use error::Error;
pub use handle::{Leader, MachineHandle};
