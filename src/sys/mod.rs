//! Every `unsafe` line and every raw system call of the house.
//!
//! A wrapper takes borrowed fds, paths and typed flags, gives back owned fds, and fails with a [`SysError`] that
//! prints like strace: the call, its arguments, the path behind each fd, and the errno as its source. What a call is
//! *for* is said by the rooms above; nothing here decides anything.
#![allow(unsafe_code)]

mod error;

pub mod environment;
pub mod fork;
pub mod process_title;
pub mod signal;
pub mod socket;
pub mod tty;

pub use error::{FdPath, SysError, SysResult, sys};
