//! Networks of machines: what they get, who they are, how packets find them.
//!
//! A machine's network is planned as data ([`plan::NetworkPlan`]) before anything is made; [`link`] makes it by netlink, from our own
//! process; [`rules`] are what nftables does with its packets. What a machine is served while it runs (addresses for clients that ask,
//! names) is a [`service::Service`] of its supervisor: there is no daemon of a zone.
//!
//! | file | what it owns |
//! |---|---|
//! | [`plan`] | the plan as data |
//! | [`planner`] | settings and addresses to the plan |
//! | [`describe`] | the plan in words |
//! | [`pcap`] | files of captured frames |
//! | [`names`] | names and MAC addresses of interfaces, as systemd-nspawn has them |
//! | [`subnet`], [`pool`] | networks, and which of them a zone gets |
//! | [`lease`], [`records`] | who has which address, kept on disk |
//! | [`configuration`] | `/etc/spinney/network.toml`: pools and zones of the host |

pub mod configuration;
pub mod describe;
pub mod dhcp;
pub mod dns;
pub mod guest_files;
pub mod host;
pub mod host_names;
pub mod lease;
pub mod link;
pub mod names;
pub mod nft;
pub mod pcap;
pub mod plan;
pub mod planner;
pub mod pool;
pub mod ports;
pub mod records;
pub mod rules;
pub mod service;
pub mod state;
pub mod subnet;
