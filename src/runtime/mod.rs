//! The isolation of one machine.

pub mod capability;
pub mod seccomp;
