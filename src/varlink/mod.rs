//! The Varlink protocol (<https://varlink.org>): messages of JSON, each ended by a NUL byte, and services that describe
//! themselves. A pure codec: bytes in, values out; it opens nothing and waits for nothing.
//!
//! | file | what it owns |
//! |---|---|
//! | [`frames`] | bytes to messages, with a limit |
//! | [`message`] | calls and replies |
//! | [`fault`] | errors that a call is answered with |
//! | [`parameters`] | the arguments of a call, taken one by one |
//! | [`interface`] | interfaces and their descriptions, put together from those of their members |
//! | [`service`] | `org.varlink.service`: what every service says of itself |

pub mod fault;
pub mod frames;
#[cfg(test)]
pub(crate) mod grammar;
pub mod interface;
pub mod message;
pub mod parameters;
pub mod service;

pub use fault::Fault;
pub use frames::{Frames, TooLong};
pub use interface::Interface;
pub use message::{Call, Reply};
pub use parameters::Parameters;
pub use service::Service;
