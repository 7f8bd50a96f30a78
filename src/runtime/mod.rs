//! The isolation of one machine.
//!
//! The plan comes first, as data; then its appliers, in the order in which a start comes to them. [`planner`] makes the
//! plan of settings, tree and host; it is pure.

pub mod capability;
pub mod describe;
pub mod device_filter;
pub mod environment;
pub mod host_files;
pub mod journal;
pub mod mounts;
pub mod network_files;
pub mod plan;
pub mod planner;
pub mod seccomp;

pub mod attach;
pub mod boot_clock;
pub mod cgroup;
pub mod cgroup_signal;
pub mod channel;
pub mod controllers;
pub mod id_range;
pub mod launch;
pub mod layers;
pub mod leader;
pub mod legacy_cgroup;
mod limit_files;
pub mod limit_plan;
pub mod prepare;
pub mod restrict;
pub mod root;
pub mod staging;
pub mod stub_init;
pub mod unit_cgroup;
pub mod user_namespace;
pub mod user_overlay;
