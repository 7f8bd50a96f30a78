//! What reads bytes of strangers, given any: it must come to an end, without a panic, and never go beyond what it was let into.
//!
//! The targets in `fuzz_targets/` have a fuzzer call these, and `tests/corpus.rs` gives them what fuzzers found before.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use spinney::archive::extract::{Filter, oci_whiteouts};
use spinney::archive::input::{FromReader, Input};
use spinney::archive::read::Reader;
use spinney::archive::{ExtractOptions, Limits, extract};
use spinney::image::disk::{facts, gpt, plan};
use spinney::manager::varlink::machine_calls::understand;
use spinney::network::dhcp::{Facts, frame, router, v4, v6};
use spinney::network::dns::known::{Neighbour, Surroundings, Verdict, Wanted};
use spinney::network::dns::message::{Query, Reply, Unfit, returned, unfit_answer};
use spinney::network::plan::{Addresses, Family};
use spinney::network::subnet::Subnet;
use spinney::transfer::oci::challenge::{self, Challenge};
use spinney::transfer::oci::document::{Configuration, Document};
use spinney::transfer::oci::{Reference, credentials, settings};
use spinney::transfer::{qcow2, simplestreams};
use spinney::varlink::{Call, Frames};

/// Archives, their members read and the data of every other one.
pub(crate) fn tar(bytes: &[u8]) {
    for bytes in [bytes, &with_checksums(bytes)] {
        let mut reader = Reader::new(FromReader::new(bytes));
        let mut takes = false;
        while let Ok(Some(_)) = reader.next_entry() {
            takes = !takes;
            let length = reader.left();
            if takes && reader.data(length).and_then(|data| data.skip(length)).is_err() {
                break;
            }
        }
    }
}

/// Archives, unpacked into a directory: what lies beside it stays as it is.
pub(crate) fn extract_beside_a_canary(bytes: &[u8]) {
    const CANARY: &[u8] = b"alive";
    let bytes = with_checksums(bytes);
    for (strip_top, layer) in [(false, false), (true, true)] {
        let outside = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let (canary, tree) = (outside.path().join("canary"), outside.path().join("tree"));
        std::fs::write(&canary, CANARY).expect("a canary");
        std::fs::create_dir(&tree).expect("a tree");
        let state = |path: &Path| {
            let found = std::fs::symlink_metadata(path).expect("what was there");
            (
                found.ino(),
                found.mode(),
                found.uid(),
                found.gid(),
                found.nlink(),
                found.mtime(),
                found.ctime_nsec(),
            )
        };
        let before = (state(&canary), state(outside.path()));
        let directory = std::fs::File::open(&tree).expect("the tree");
        let options = ExtractOptions {
            devices: false,
            strip_top,
            limits: Limits { members: 200, bytes: 1 << 20 },
            filter: layer.then_some(&oci_whiteouts as Filter<'_>),
            lower: None,
        };
        let _ = extract(bytes.as_slice(), &directory, &options);
        assert_eq!((state(&canary), state(outside.path())), before, "something beside the tree was changed");
        assert_eq!(std::fs::read(&canary).expect("the canary"), CANARY);
        let names: BTreeSet<_> =
            outside.path().read_dir().expect("it").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["canary", "tree"]);
        let_in(&tree);
    }
}

/// Lets its owner remove what is in `directory`, whatever the archive said: not everybody is root.
fn let_in(directory: &Path) {
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    for entry in directory.read_dir().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let_in(&entry.path());
        }
    }
}

/// What image servers say.
pub(crate) fn simplestreams(bytes: &[u8]) {
    let below = |path: &str| !path.starts_with('/') && path.split('/').all(|part| part != "..");
    if let Ok(paths) = simplestreams::index(bytes) {
        assert!(paths.iter().all(|path| below(path)), "{paths:?}");
    }
    let Ok(products) = simplestreams::products(bytes) else { return };
    for listed in products.list().iter().take(20) {
        for alias in listed.aliases.iter().map(String::as_str).take(5).chain(["none"]) {
            if let Ok(offer) = products.offer(alias, &listed.arch) {
                assert!(below(&offer.path), "{}", offer.path);
            }
        }
    }
}

/// What registries say, and what users have for them.
pub(crate) fn oci(bytes: &[u8]) {
    if let Ok(document) = Document::parse(bytes) {
        let _ = format!("{document:?}");
    }
    if let Ok(configuration) = Configuration::parse(bytes) {
        let (text, _) = settings::settings(&configuration.run);
        // One line each, and no section but ours.
        for line in text.iter().flat_map(|text| text.split('\n')) {
            assert!(!line.contains(|character: char| character.is_ascii_control()), "{line:?}");
            assert!(!line.starts_with('[') || line == "[Exec]", "{line:?}");
        }
    }
    let _ = challenge::token(bytes);
    let text = String::from_utf8_lossy(bytes);
    let lines = || text.lines().take(8);
    if let Some(challenge) = Challenge::parse(lines()) {
        let _ = challenge.token_url("a/b");
    }
    for line in lines() {
        if let Ok(reference) = Reference::parse(line) {
            let _ = format!("{reference:?}");
        }
    }
    for asked in ["quay.io/team/thing", "localhost:5000/a/b:x", "docker.io/library/debian"] {
        let Ok(Reference::Registry(reference)) = Reference::parse(asked) else { panic!("{asked}") };
        if let Ok(Some(found)) = credentials::find(Path::new("auth.json"), bytes, &reference) {
            let _ = found.basic();
        }
    }
}

/// Disks: tables of partitions, file systems' magic numbers, and what would be mounted of them.
pub(crate) fn disk(bytes: &[u8]) {
    for bytes in [bytes, &with_sums_of_tables(bytes)] {
        let _ = plan::plan(&facts::read(bytes), plan::Wish::default());
        // Without the protective MBR, which few inputs have.
        for sector in [512, 4096] {
            let _ = gpt::read(bytes, sector);
        }
    }
}

/// Disks of QEMU, read to their end.
pub(crate) fn qcow2(bytes: &[u8]) {
    let _ = qcow2::check(bytes);
}

/// `archive` with the right checksum in each header: mutations hit upon few.
fn with_checksums(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    let mut at = 0;
    while let Some(header) = archive.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<512>()) {
        at += 512;
        if *header == [0; 512] {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..136]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        at += size.min(archive.len()).next_multiple_of(512);
    }
    archive
}

/// `disk` with the right sums in its GUID partition table.
fn with_sums_of_tables(disk: &[u8]) -> Vec<u8> {
    let mut disk = disk.to_vec();
    for sector in [512, 4096] {
        let Some(header) = disk.get(sector..).and_then(|rest| rest.first_chunk::<92>()).copied() else {
            continue;
        };
        if !header.starts_with(b"EFI PART") {
            continue;
        }
        let number =
            |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        let (from, length) = (number(72).saturating_mul(sector), number(80).saturating_mul(number(84)));
        let sum = disk.get(from..from.saturating_add(length)).map_or(0, crc32);
        disk[sector + 88..sector + 92].copy_from_slice(&sum.to_le_bytes());
        disk[sector + 16..sector + 20].fill(0);
        let sum = disk.get(sector..sector.saturating_add(number(12))).map_or(0, crc32);
        disk[sector + 16..sector + 20].copy_from_slice(&sum.to_le_bytes());
    }
    disk
}

/// That of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// Frames that a machine sends to the server of addresses: whatever it says, what is answered is one frame.
pub(crate) fn dhcp(bytes: &[u8]) {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaf];
    /// Ethernet's largest, and its header.
    const LARGEST: usize = 1514;
    let v4 = Family {
        address: "10.213.0.5".parse().expect("an address"),
        prefix: 22,
        gateway: Some("10.213.0.1".parse().expect("an address")),
        host: None,
    };
    let v6 = Family {
        address: "fd00::5".parse().expect("an address"),
        prefix: 64,
        gateway: Some("fd00::1".parse().expect("an address")),
        host: None,
    };
    let facts = Facts {
        mac: MAC,
        addresses: Addresses { v4: Some(v4), v6: Some(v6) },
        dns: vec!["10.213.0.1".parse().expect("an address"), "fd00::1".parse().expect("an address")],
        domain: Some("spinney.internal".to_owned()),
        hostname: "demo".to_owned(),
    };
    let answer_v4 = |message: &[u8]| {
        let answer = v4::Request::read(message).and_then(|request| v4::answer(&request, &facts));
        if let Some(answer) = answer {
            let ends = frame::Ends { from: (MAC, answer.server), to: (answer.to_mac, answer.to) };
            let frame = frame::dhcp_v4(&ends, &answer.message).expect("a frame");
            assert!(frame.len() <= LARGEST, "{} bytes", frame.len());
        }
    };
    let answer_v6 = |message: &[u8]| {
        let answer = v6::Request::read(message).and_then(|request| v6::answer(&request, &facts, MAC));
        if let Some(answer) = answer {
            assert!(answer.len() <= LARGEST - 62, "{} bytes", answer.len());
        }
    };
    match frame::read(bytes, MAC) {
        Some(frame::Asked::V4(message)) => answer_v4(message),
        Some(frame::Asked::V6(_, message)) => answer_v6(message),
        Some(frame::Asked::Router(_)) => drop(router::advertisement(&facts).expect("an advertisement")),
        None => {}
    }
    // A fuzzer need not find the way through the headers.
    answer_v4(bytes);
    answer_v6(bytes);
}

/// What machines ask their name server, and what servers answer it: a length of two bytes, the question, and the answer.
pub(crate) fn dns(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (asked, reply) = rest.split_at(length);
    let query = match Query::parse(asked) {
        Ok(query) => query,
        Err(Unfit::Answer(code)) => return assert_eq!(unfit_answer(asked, code).len(), 12),
        Err(Unfit::Nothing) => return,
    };
    let own = Surroundings {
        machine: "web".to_owned(),
        domain: Some("spinney.internal".to_owned()),
        addresses: vec![[10, 213, 0, 5].into()],
        gateways: vec![[10, 213, 0, 1].into()],
        networks: vec![Subnet::of([10, 213, 0, 0].into(), 22)],
        hosts: vec![("db".to_owned(), [192, 0, 2, 7].into())],
    };
    let mut neighbours = |_: Wanted<'_>| {
        let domain = Some("spinney.internal".to_owned());
        let addresses = vec![[10, 213, 0, 6].into()];
        [Neighbour { name: "cache".to_owned(), domain, addresses }].into()
    };
    if let Verdict::Answer(answer) = own.look_up(&query.question, "host", &mut neighbours) {
        let bytes = query.answer(asked, &answer);
        assert!(bytes.len() < 1232, "{} bytes fit everywhere", bytes.len());
        assert_ne!(Reply::of(asked, &bytes), Reply::Foreign, "it answers the question");
    }
    assert_eq!(query.forwarded(asked, 7).len(), asked.len());
    let sent = query.forwarded(asked, query.id);
    if Reply::of(&sent, reply) != Reply::Foreign {
        let short = returned(reply, query.id, asked, query.size());
        assert!(short.len() <= query.size().max(12 + asked.len()));
    }
}

/// What clients of Varlink sockets send.
pub(crate) fn varlink(bytes: &[u8]) {
    const LIMIT: usize = 4096;
    let mut frames = Frames::new(LIMIT);
    for chunk in bytes.chunks(1000) {
        frames.extend(chunk);
        loop {
            match frames.next() {
                Ok(Some(message)) => {
                    assert!(message.len() <= LIMIT, "{} bytes", message.len());
                    if let Ok(call) = Call::parse(&message) {
                        let _ = understand(&call);
                    }
                }
                Ok(None) => break,
                // The connection is over.
                Err(_) => return,
            }
        }
    }
}
