//! A machine's name server, in its supervisor: answers for its zone and for the host, and asks the host's servers for the rest.
//!
//! It listens on the host's addresses in the machine's network, at a port of the kernel's choice, to which the machine's packets for
//! port 53 are redirected: a server that the host runs for others is not in the way, and each machine has one of its own, which goes
//! with it. It answers its machine only, and nothing is made up: what was asked is passed on as it came, with what it says of EDNS and
//! DNSSEC, and the answer comes back as it is.
//!
//! What comes from a guest or from the network is not trusted: messages are looked into only as far as is needed ([`message`]), tables
//! are bounded, and what does not fit is dropped, as a socket drops it.
//!
//! | file | what it owns |
//! |---|---|
//! | [`name`], [`message`] | the codec: pure |
//! | [`known`] | what is answered by ourselves: pure |
//! | [`neighbours`] | the machines of the zone, from what supervisors tell |
//! | [`resolv_conf`], [`attempts`] | whom to ask else, in which order and how patiently: pure |
//! | [`host_servers`] | the host's `resolv.conf`, followed |
//! | `exchange` | one question at others' servers |
//! | `connection` | one client over TCP |
//! | [`server`] | sockets, tables, and the [`Service`](super::service::Service) |

pub mod attempts;
mod connection;
mod exchange;
pub mod host_servers;
pub mod known;
pub mod message;
pub mod name;
pub mod neighbours;
pub mod resolv_conf;
pub mod server;

pub use server::{Config, DnsServer};
