//! What fuzzers were given and found, replayed: each file of `fuzz/corpus/TARGET`, and what `fuzz/survives.rs` says of it.
//! `make fuzz` looks for more.

#![allow(clippy::expect_used, clippy::disallowed_methods, clippy::print_stdout, reason = "of the tests")]

#[path = "../fuzz/survives.rs"]
mod survives;

use std::path::Path;

fn replay(target: &str, survives: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in directory.read_dir().expect("the corpus is in the repository") {
        let path = entry.expect("a name").path();
        // The output of a failed test ends with it.
        println!("{}", path.display());
        survives(&std::fs::read(&path).expect("a file"));
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", directory.display());
}

#[test]
fn tar() {
    replay("tar", survives::tar);
}

#[test]
fn extract() {
    replay("tar", survives::extract_beside_a_canary);
    replay("extract", survives::extract_beside_a_canary);
}

#[test]
fn simplestreams() {
    replay("simplestreams", survives::simplestreams);
}

#[test]
fn oci() {
    replay("oci", survives::oci);
}

#[test]
fn disk() {
    replay("disk", survives::disk);
}

#[test]
fn qcow2() {
    replay("qcow2", survives::qcow2);
}

#[test]
fn dhcp() {
    replay("dhcp", survives::dhcp);
}

#[test]
fn dns() {
    replay("dns", survives::dns);
}

#[test]
fn varlink() {
    replay("varlink", survives::varlink);
}
