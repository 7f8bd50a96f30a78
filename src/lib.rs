//! The map of the house.
//!
//! A room uses the rooms above it in this list, never one below:
//!
//! | room | what it owns |
//! |---|---|
//! | [`sys`] | every `unsafe` line and raw system call; its errors print like strace |
//! | [`journal`] | the files that systemd-journald writes: read, merged, searched |
//! | [`archive`] | trees of files as streams of tar, and back |
//! | [`settings`] | what the user asked for, typed: [`settings::MachineSettings`] |
//! | [`varlink`] | the Varlink protocol: messages, interfaces, a pure codec |
//! | [`host`] | what this host can do, probed once |
//! | [`guest`] | knowledge of trees: which init, how it says it is up, how it is told to stop |
//! | [`image`] | what machines are made from: found, locked, cloned, made |
//! | [`transfer`] | pull, import, export: from somewhere to an image, and back |
//! | [`network`] | what machines get of networks: links, addresses, names, rules, ports |
//! | [`runtime`] | the isolation of one machine: plan (pure data) and the small appliers of it |
//! | [`supervisor`] | one process per machine: start, ready, serve, stop, teardown |
//! | [`machine`] | machines as a client sees them: found, entered, told things, looked at |
//! | [`manager`] | D-Bus interfaces: thin adapters over machines, images and transfers |
//! | [`cli`] | the command line; the only room that prints |
//!
//! Plans are data: settings, guest and host facts give a [`runtime::plan::MachinePlan`] by pure functions; the
//! appliers carry it out by file descriptors. No path of a guest is ever resolved by the host's rules.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests make and remove directories of their own")
)]

pub mod archive;
pub mod cli;
pub mod guest;
pub mod host;
pub mod image;
pub mod journal;
pub mod machine;
pub mod manager;
pub mod network;
pub mod runtime;
pub mod settings;
pub mod supervisor;
pub mod sys;
pub mod transfer;
pub mod varlink;
