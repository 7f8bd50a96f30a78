//! Networks of machines: what they get, who they are, how packets find them.
//!
//! A machine's network is planned as data ([`plan::NetworkPlan`]) before anything is made; [`link`] makes it by netlink, from our own
//! process; [`rules`] are what nftables does with its packets. What a machine is served while it runs (addresses for clients that ask,
//! names) is a [`service::Service`] of its supervisor: there is no daemon of a zone.

pub mod dhcp;
pub mod dns;
pub mod guest_files;
pub mod host;
pub mod link;
pub mod nft;
pub mod plan;
pub mod ports;
pub mod service;
pub mod state;
