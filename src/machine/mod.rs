//! Machines as a client sees them: found by name in the registry, entered, told things, looked at.
//!
//! Nothing here needs a daemon: the truth is in `/run/spinney/machines/NAME/` and in the kernel, and a machine's
//! supervisor is spoken to over its control socket. Nothing here prints.
//!
//! | file | what it owns |
//! |---|---|
//! | [`records`] | all that the registry knows, whatever state it is in |
//! | [`report`] | everything there is to see of one machine |
//! | [`process_tree`] | its processes by cgroup |
//! | [`usage`] | what it uses of the host |
//! | [`doctor`] | what is odd about the host or a machine |
//! | [`addresses`] | the addresses of a machine |
//! | [`handle`] | a running machine: its state, its leader by pidfd |
//! | [`control`] | a machine's supervisor, spoken to over its control socket |
//! | [`event_stream`] | what happens to a machine, as it happens |
//! | [`attach`] | its console on our own terminal |
//! | [`registry_watch`] | machines that come |
//! | [`several`] | the events of several machines |
//! | [`terminate`] | ending a machine, even one whose supervisor hangs |
//! | [`signal`] | signals to its processes |
//! | [`logs`] | what a machine has logged |
//! | [`enter`] | joining a machine's namespaces |
//! | [`from_outside`] | what of a machine is had without entering it |
//! | [`paused`] | a machine stopped for a moment |
//! | [`copy`] | files in and out |
//! | [`bind`] | paths of the host, mounted in it |
//! | [`helper`] | a child that works in a machine, and what it tells |
//! | [`find_image`] | images by name |
//! | [`autostart`] | which machines start with the host |
//! | [`schedule`] | the order in which machines that need each other start |
//! | [`exec`] | a program in a machine, its streams, its terminal, its end |
//! | [`wait`] | until something holds of a machine |
//! | [`error`] | why something cannot be done to a machine: a line, a hint, an exit status |

pub mod addresses;
pub mod attach;
pub mod autostart;
pub mod bind;
pub mod control;
pub mod copy;
pub mod doctor;
pub mod enter;
pub mod error;
pub mod event_stream;
pub mod exec;
pub mod find_image;
pub mod from_outside;
pub mod handle;
pub mod helper;
pub mod logs;
pub mod paused;
pub mod process_tree;
pub mod records;
pub mod registry_watch;
pub mod report;
pub mod schedule;
pub mod several;
pub mod signal;
pub mod terminate;
pub mod usage;
pub mod wait;

pub use control::Control;
pub use error::Error;
pub use event_stream::{EventStream, Heard};
pub use handle::{Leader, MachineHandle};
pub use records::Record;
