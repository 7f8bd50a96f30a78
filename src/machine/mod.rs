//! Machines as a client sees them: found by name in the registry, entered, told things, looked at.
//!
//! Nothing here needs a daemon: the truth is in `/run/spinney/machines/NAME/` and in the kernel, and a machine's
//! supervisor is spoken to over its control socket. Nothing here prints.
//!
//! | file | what it owns |
//! |---|---|
//! | [`handle`] | a running machine: its state, its leader by pidfd |
//! | [`control`] | a machine's supervisor, spoken to over its control socket |
//! | [`event_stream`] | what happens to a machine, as it happens |
//! | [`enter`] | joining a machine's namespaces |
//! | [`find_image`] | images by name |
//! | [`autostart`] | which machines start with the host |
//! | [`schedule`] | the order in which machines that need each other start |
//! | [`error`] | why something cannot be done to a machine: a line, a hint, an exit status |

pub mod autostart;
pub mod control;
pub mod enter;
pub mod error;
pub mod event_stream;
pub mod find_image;
pub mod handle;
pub mod schedule;

pub use control::Control;
pub use error::Error;
pub use event_stream::{EventStream, Heard};
pub use handle::{Leader, MachineHandle};
