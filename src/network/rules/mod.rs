//! What nftables does with machines' packets: who reaches whom, under which address, and who may say that he is who.
//!
//! | file | what it owns |
//! |---|---|
//! | [`base`] | the tables of ours, as data |
//! | [`statement`] | a rule: as nft's language has it, and as the kernel does |
//! | [`machine`] | what rules have to know of a machine |
//! | [`element`] | machines as elements of sets and maps |
//! | `connections` | those that are to end |
//! | `store` | which machines there are, in /run |
//! | [`apply`] | what is done to the rules of machines |
//! | `kernel` | makes the kernel's rules so |
//! | `lacks` | kernels that cannot have them |
//! | `repair` | mends what somebody changed, follows the host's interfaces |
//! | `verify` | whether they are so |
//! | [`foreign`] | others' firewalls that would drop what machines send |
//! | `fate` | what surely becomes of a packet there |
//! | [`listing`] | which rules are in force, told |
//! | `legacy` | others' firewalls that nobody here can see |
//! | `loopback` | ports of the host's loopback |
//! | `loss` | packets that are lost on purpose |
//! | [`watch`] | hears when there is something to mend or to follow |
//! | `pace` | how often that is done |
//!
//! All rules are a pure function of the machines that are written down: whoever changes something, or finds something broken,
//! comes to the same.

pub mod apply;
pub mod base;
mod connections;
pub mod element;
mod error;
mod fate;
pub mod foreign;
mod kernel;
mod lacks;
mod legacy;
pub mod listing;
mod loopback;
mod loss;
pub mod machine;
mod pace;
mod repair;
pub mod statement;
mod store;
mod verify;
pub mod watch;

pub use apply::{
    Report, change_machine, change_ports, connections_of, partition, remove_machine, remove_machine_in,
    remove_machine_over, set_machine, sweep, sweep_gone,
};
pub use error::RulesError;
pub use fate::Direction;
pub use legacy::warning as legacy_warning;
pub use machine::MachineRules;
pub use repair::{follow_host, in_force, repair};
pub use watch::Watch;
