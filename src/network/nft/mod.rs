//! nf_tables, by netlink and by ourselves: no `nft` has to be installed, and none is started.
//!
//! | file | what it owns |
//! |---|---|
//! | [`attribute`] | netlink attributes, written and read |
//! | [`number`] | the kernel's numbers |
//! | [`expression`] | what rules are made of, as the kernel's virtual machine has it |
//! | [`object`] | tables, chains, sets, elements, rules: what is asked for |
//! | [`batch`] | what is done at once or not at all |
//! | [`dump`] | what is there, others' included |
//! | [`conntrack`] | connections that the kernel keeps track of, for nf_tables among others |
//! | [`socket`] | the socket, and answers of the kernel |
//!
//! The codec knows nothing of machines: what the rules are is for [`rules`](super::rules) to say.

pub mod attribute;
pub mod batch;
pub mod conntrack;
pub mod dump;
mod error;
pub mod expression;
pub mod number;
pub mod object;
pub mod socket;

pub use batch::Batch;
pub use error::NftError;
pub use number::Family;
pub use socket::Nfnetlink;
