//! Names and ids of a machine.

/// A machine name: hostname rules, at most 64 bytes (systemd-nspawn(1), `--machine=`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineName(String);

/// 16 bytes, written with or without dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);
