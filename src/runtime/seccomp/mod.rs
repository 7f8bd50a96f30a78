//! The system call filter of a machine: an allow list in the manner of systemd-nspawn, compiled to BPF.
//!
//! All of it is pure: [`SystemCallPolicy`] says what becomes of each call, [`compile()`] turns policies into a program,
//! [`crate::sys::seccomp::install_filter`] installs it. A call is allowed, or fails with an errno; nothing is ever
//! killed. What the tables do not know fails with ENOSYS, so that programs fall back as on an older kernel, and so does
//! every call of an architecture that the program has no policy for.
//!
//! | file | what |
//! |---|---|
//! | `table` | system calls and their numbers |
//! | `set` | a set of numbers |
//! | `groups` | `@groups` of calls |
//! | `allowed` | which of them a machine has by default |
//! | `policy` | default, user's rules and argument checks together: an action for each number |
//! | `compile` | the action of each number as BPF |

mod allowed;
mod compile;
mod groups;
#[cfg(test)]
mod interpreter;
mod policy;
mod set;
mod table;

pub use compile::compile;
pub use policy::{Action, ArgumentCheck, ArgumentTest, PolicyError, SystemCallPolicy, Verdict};
pub use table::{Abi, NUMBER_LIMIT};
