//! Knowledge of trees.
//!
//! What a tree is (before a machine is planned) and how its init behaves (while it runs). Everything of a tree or guest
//! is read through [`crate::sys::in_root::Root`].
//!
//! | module | what it owns |
//! |---|---|
//! | [`users`] | who a name is in a tree |
//! | [`tree`] | [`Tree`] and [`TreeFacts`]: one look at a tree on the launch path |
//! | [`base`] | the directories that mounts go to |
//! | [`os_release`], [`machine_id`], [`elf`] | pure parsers |
//! | [`network`] | its managers of networks, its resolv.conf |
//! | [`preflight`] | a look at a tree before it is booted: what cannot work |
//! | [`architecture`] | processors, and which programs a host runs |
//! | [`executable`] | one program of a tree |
//! | [`init`] | which init a tree has, one file each |
//! | [`contract`] | how an init says it is up and is told to stop, as data |
//! | [`evidence`] | readiness of inits that do not say it |
//! | [`processes`] | PID 1's children as the host sees them |
//! | [`units`] | whether a unit of a running guest is up, for each init |
//! | [`log_files`] | where its logs are |
//! | [`stop`] | asking a running guest to stop |

pub mod architecture;
pub mod base;
pub mod contract;
pub mod elf;
mod error;
pub mod evidence;
pub mod executable;
pub mod init;
pub mod log_files;
pub mod machine_id;
pub mod network;
pub mod os_release;
pub mod preflight;
pub mod processes;
pub mod stop;
pub mod tree;
pub mod units;
pub mod users;

pub use contract::{Contract, ExitMeaning, ReadySignal, StopMethod, StopStep};
pub use error::TreeError;
pub use evidence::{Evidence, Verdict};
pub use init::{DetectedInit, Init, detect};
pub use processes::{Process, Processes};
pub use tree::{Tree, TreeFacts};
