//! What nftables does with machines' packets: who reaches whom, under which address, and who may say that he is who.
//!
//! | file | what it owns |
//! |---|---|
//! | [`base`] | the tables of ours, as data |
//! | [`statement`] | a rule: as nft's language has it, and as the kernel does |
//! | [`machine`] | what rules have to know of a machine |
//! | [`element`] | machines as elements of sets and maps |
//! | `store` | which machines there are, in /run |
//! | [`apply`] | makes the kernel's rules so |
//! | `verify` | whether they are so |
//! | [`foreign`] | others' firewalls that would drop what machines send |
//! | `fate` | what surely becomes of a packet there |
//! | [`listing`] | which rules are in force, told |
//! | `legacy` | others' firewalls that nobody here can see |
//! | `loopback` | ports of the host's loopback |
//! | `loss` | packets that are lost on purpose |
//! | [`watch`] | mends what somebody removed |
//!
//! All rules are a pure function of the machines that are written down: whoever changes something, or finds something broken,
//! comes to the same.

pub mod apply;
pub mod base;
pub mod element;
mod error;
mod fate;
pub mod foreign;
mod legacy;
pub mod listing;
mod loopback;
mod loss;
pub mod machine;
pub mod statement;
mod store;
mod verify;
pub mod watch;

pub use apply::{
    Report, change_machine, change_ports, in_force, partition, remove_machine, remove_machine_in,
    remove_machine_over, repair, set_machine, sweep,
};
pub use error::RulesError;
pub use fate::Direction;
pub use legacy::warning as legacy_warning;
pub use machine::MachineRules;
pub use watch::Watch;
