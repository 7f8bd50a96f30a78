//! Ports of the host that lead to a machine, and what of the host's is offered inside.
//!
//! nftables forwards what comes from the network, from siblings and from 127.0.0.1: the rules. The kernel has no way to
//! do so from `::1`, and on some hosts there are no rules; so each port is served by a small [`proxy`] too, whose sockets
//! hold it besides, for others to see that it is taken. The supervisor binds all sockets, before the machine runs, and keeps them: who
//! has a port is told at once, and a proxy that was killed is replaced without losing one.
//!
//! | file | what it owns |
//! |---|---|
//! | [`published`] | the ports and offers of one machine while it runs: [`Ports`] |
//! | [`proxy`] | the process that serves them |
//! | `process` | that process as its supervisor has it |
//! | `message` | what a supervisor tells its proxy |
//! | `sockets` | the sockets that others come by |
//! | [`holder`] | who has a port that is taken |
//! | [`error`] | why a port or an offer cannot be |
//!
//! # Limits
//!
//! A machine holds [`MOST_HELD`] ports; a range that would be more is forwarded by rules alone: without being held, and not
//! from `::1`. A proxy has up to 16,384 connections at once, as many as it may have fds for, and 2048 UDP sessions.

pub mod error;
pub mod holder;
mod message;
mod process;
pub mod proxy;
pub mod published;
mod sockets;

pub use error::PortsError;
pub use published::{MOST_HELD, Ports};

/// What a proxy exits with when it cannot be one.
const EXIT_FAILURE: u8 = 125;
