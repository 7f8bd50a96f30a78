//! Machines as a client sees them: found by name in the registry, entered, told things, looked at.
//!
//! Nothing here needs a daemon: the truth is in `/run/spinney/machines/NAME/` and in the kernel, and a machine's
//! supervisor is spoken to over its control socket. Nothing here prints.
//!
//! | file | what it owns |
//! |---|---|
//! | [`handle`] | a running machine: its state, its leader by pidfd |
//! | [`enter`] | joining a machine's namespaces |
//! | [`exec`] | a program in a machine, its streams, its terminal, its end |
//! | [`wait`] | until something holds of a machine |
//! | [`error`] | why something cannot be done to a machine: a line, a hint, an exit status |

pub mod enter;
pub mod error;
pub mod exec;
pub mod handle;
pub mod wait;

pub use error::Error;
pub use handle::{Leader, MachineHandle};
