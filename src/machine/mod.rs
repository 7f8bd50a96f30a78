//! Machines as a client sees them: found by name in the registry, entered, told things, looked at.
//!
//! Nothing here needs a daemon: the truth is in `/run/spinney/machines/NAME/` and in the kernel, and a machine's
//! supervisor is spoken to over its control socket. Nothing here prints.
//!
//! | file | what it owns |
//! |---|---|
//! | [`handle`] | a running machine: its state, its leader by pidfd |
//! | [`logs`] | what a machine has logged |
//! | [`enter`] | joining a machine's namespaces |
//! | [`error`] | why something cannot be done to a machine: a line, a hint, an exit status |

pub mod enter;
pub mod error;
pub mod handle;
pub mod logs;

pub use error::Error;
pub use handle::{Leader, MachineHandle};
