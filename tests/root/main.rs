//! The root tier: boots real trees with the built program, as root, and looks at the host before and after each test.
//!
//! ```text
//! cargo test --test root [-- [--help] [--tap] [--list] [--on-host] [--bus] [SUBSTRING...]]
//! ```
//!
//! The trees are those of `images/build-tree`; `SPINNEY_TREES` says where they are. `SPINNEY` is the program, where it is
//! not the one that cargo has just built, as in a VM. Tests run one after another, since each one is held to leave the
//! host as it found it.
//!
//! With `--bus` it is the bus tier instead: the same surroundings, with a D-Bus and systemd's own clients.
//!
//! By default all of this happens in a mount namespace of the tier's own, with an empty /run and /var/lib: a machine on
//! which people work is neither touched nor in the way. `--on-host` goes without, where the host is the test's alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panic, its helpers too")]
#![allow(clippy::disallowed_methods, reason = "paths of tests are nobody else's")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness reports on stdout")]
#![allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "a program without users of its items"
)]

mod attack;
mod background;
mod background_life;
mod bad_input;
mod bind;
mod bus;
mod catalogue;
mod catalogue_host;
mod claims;
mod command;
mod console;
mod control;
mod control_verbs;
mod copy;
mod copy_attack;
mod copy_faults;
mod detached;
mod exec;
mod exec_attack;
mod exec_end;
mod exec_terminal;
mod fetch;
mod guest_units;
mod harness;
mod host_state;
mod hosts;
#[allow(dead_code, reason = "not each of its faults is asked for here")]
mod http_server;
mod hundred;
mod image_disks;
mod image_inspect;
mod image_layers;
mod image_locks;
mod image_roots;
mod image_store;
mod kill;
mod legacy_cgroups;
mod limits;
mod logs;
mod machine;
mod many;
mod matrix;
mod mount_options;
mod network_connections;
mod network_doctor;
mod network_firewall;
mod network_first;
mod network_forwarding;
mod network_frames;
mod network_guests;
mod network_host;
mod network_lacks;
mod network_lent;
mod network_links;
mod network_names;
mod network_owned;
mod network_ports;
mod network_rules;
mod network_siblings;
mod network_upgrade;
mod network_verbs;
mod network_zone;
mod noted;
mod nspawn;
mod nspawn_lines;
mod nspawn_names;
mod nspawn_settings;
mod oci;
mod options;
mod own_host;
mod packages;
mod payload;
mod resolv_conf;
mod security;
mod service;
mod settings;
mod shell;
mod start;
mod transfer_faults;
mod transfers;
mod tree_snapshot;
mod unpack;
mod verbs;
mod views;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [
        harness::tests(),
        network_links::tests(),
        network_lent::tests(),
        network_owned::tests(),
        network_guests::tests(),
        network_ports::tests(),
        oci::tests(),
        network_connections::tests(),
        network_doctor::tests(),
        network_lacks::tests(),
        network_firewall::tests(),
        network_first::tests(),
        network_forwarding::tests(),
        network_frames::tests(),
        network_verbs::tests(),
        nspawn_names::tests(),
        network_rules::tests(),
        network_siblings::tests(),
        network_upgrade::tests(),
        noted::tests(),
        nspawn::tests(),
        nspawn_settings::tests(),
        options::tests(),
        mount_options::tests(),
        console::tests(),
        bad_input::tests(),
        attack::tests(),
        legacy_cgroups::tests(),
        limits::tests(),
        resolv_conf::tests(),
        security::tests(),
        settings::tests(),
        hosts::tests(),
        image_disks::tests(),
        kill::tests(),
        guest_units::tests(),
        matrix::tests(),
        background::tests(),
        background_life::tests(),
        logs::tests(),
        start::tests(),
        control::tests(),
        control_verbs::tests(),
        verbs::tests(),
        copy::tests(),
        copy_faults::tests(),
        copy_attack::tests(),
        bind::tests(),
        many::tests(),
        exec::tests(),
        exec_attack::tests(),
        exec_end::tests(),
        exec_terminal::tests(),
        fetch::tests(),
        shell::tests(),
        wait::tests(),
        hundred::tests(),
        views::tests(),
        image_inspect::tests(),
        transfers::tests(),
        transfer_faults::tests(),
        catalogue::tests(),
        claims::tests(),
        image_layers::tests(),
        image_locks::tests(),
        image_store::tests(),
        packages::tests(),
        service::tests(),
        unpack::tests(),
        image_roots::tests(),
        bus::tests(),
        network_names::tests(),
    ];
    harness::run(tests.into_iter().flatten().collect())
}
