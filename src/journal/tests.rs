//! The reader, held to what journalctl said of the same files, and to its word that nothing in a file harms it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use proptest::prelude::*;

use super::merged::Direction::{Backward, Forward};
use super::*;

macro_rules! fixture {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../tests/fixtures/journal/", $name, ".journal.zst")).as_slice(),
            include_bytes!(concat!("../../tests/fixtures/journal/", $name, ".json.zst")).as_slice(),
        )
    };
}

const FIXTURES: [(&str, &[u8], &[u8]); 6] = [
    fixture!("systemd-247-lz4"),
    fixture!("systemd-252-compact-zstd"),
    fixture!("systemd-257-compact-zstd"),
    fixture!("systemd-262-compact-zstd"),
    fixture!("systemd-257-xz"),
    fixture!("systemd-257-lz4"),
];

const LZ4: usize = 0;
const COMPACT: usize = 2;

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(bytes).unwrap()
}

thread_local! {
    static FILES: Vec<Rc<Vec<u8>>> = FIXTURES.iter().map(|(_, bytes, _)| Rc::new(unpacked(bytes))).collect();
}

fn bytes_of(fixture: usize) -> Rc<Vec<u8>> {
    FILES.with(|files| Rc::clone(&files[fixture]))
}

/// A file with some of its bytes changed, and perhaps an end.
#[derive(Clone)]
struct Patched {
    base: Rc<Vec<u8>>,
    patches: Rc<Patches>,
    /// Only so many of the patches are in force, the others will be.
    active: Rc<Cell<usize>>,
    size: u64,
}

impl Patched {
    fn new(fixture: usize, patches: Patches) -> Self {
        let base = bytes_of(fixture);
        let size = u64::try_from(base.len()).unwrap();
        Self { base, active: Rc::new(Cell::new(patches.len())), patches: Rc::new(patches), size }
    }

    fn cut(self, size: u64) -> Self {
        Self { size, ..self }
    }
}

impl ReadAt for Patched {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.size.saturating_sub(offset)).unwrap().min(buffer.len());
        let count = self.base.read_at(offset, &mut buffer[..room])?;
        for (at, bytes) in self.patches.iter().take(self.active.get()) {
            for (index, byte) in (*at..).zip(bytes) {
                if let Some(to) =
                    index.checked_sub(offset).and_then(|at| usize::try_from(at).ok()).filter(|at| *at < count)
                {
                    buffer[to] = *byte;
                }
            }
        }
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// What is changed in a file: where, and to what.
type Patches = Vec<(u64, Vec<u8>)>;

fn journal_of(fixtures: &[usize]) -> Journal {
    let file = |fixture: &usize| JournalFile::open(Box::new(Patched::new(*fixture, Vec::new()))).unwrap();
    Journal::new(fixtures.iter().map(file).collect())
}

fn stamps(journal: &mut Journal, direction: merged::Direction) -> Vec<Stamp> {
    std::iter::from_fn(|| journal.step(direction)).map(|place| place.stamp).collect()
}

fn messages(journal: &mut Journal) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(place) = journal.step(Forward) {
        let message = journal.entry(&place).and_then(|entry| entry.get("MESSAGE").map(<[u8]>::to_vec));
        messages.push(String::from_utf8_lossy(&message.unwrap_or_default()).into_owned());
    }
    messages
}

/// The values of each field, as journalctl writes them in JSON.
fn said(line: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    fn value(value: &serde_json::Value) -> Vec<u8> {
        match value {
            serde_json::Value::String(text) => text.clone().into_bytes(),
            serde_json::Value::Array(bytes) => {
                bytes.iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect()
            }
            other => panic!("{other}"),
        }
    }
    let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    let values = |json: serde_json::Value| match &json {
        serde_json::Value::Array(several) if !several.iter().all(serde_json::Value::is_number) => {
            several.iter().map(value).collect()
        }
        one => vec![value(one)],
    };
    object.into_iter().map(|(name, json)| (name, values(json))).collect()
}

#[test]
fn what_journalctl_said() {
    for (fixture, (name, _, json)) in FIXTURES.iter().enumerate() {
        let mut journal = journal_of(&[fixture]);
        let expected = String::from_utf8(unpacked(json)).unwrap();
        let mut count = 0;
        for line in expected.lines() {
            let mut expected = said(line);
            let place = journal.step(Forward).unwrap();
            let entry = journal.entry(&place).unwrap();
            let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            for field in &entry.fields {
                found.entry(field.name().to_owned()).or_default().push(field.value().to_vec());
            }
            let mut own = |name: &str| {
                expected.remove(name).map(|mut values| String::from_utf8(values.remove(0)).unwrap())
            };
            let Stamp { seqnum, realtime, monotonic, seqnum_id, .. } = entry.stamp;
            assert_eq!(own("__REALTIME_TIMESTAMP"), Some(realtime.to_string()), "{name} {count}");
            assert_eq!(own("__MONOTONIC_TIMESTAMP"), Some(monotonic.to_string()), "{name} {count}");
            assert_eq!(own("__CURSOR"), Some(entry.cursor()), "{name} {count}");
            // Since systemd 254.
            assert!(own("__SEQNUM").is_none_or(|said| said == seqnum.to_string()), "{name} {count}");
            assert!(own("__SEQNUM_ID").is_none_or(|said| said == seqnum_id.to_string()), "{name} {count}");
            assert_eq!(found, expected, "{name} {count}");
            count += 1;
        }
        assert_eq!((journal.step(Forward), count > 40), (None, true), "{name}");
    }
}

#[test]
fn fields_of_all_compressions() {
    for (fixture, (name, ..)) in FIXTURES.iter().enumerate() {
        let messages = messages(&mut journal_of(&[fixture]));
        assert!(messages.contains(&"z".repeat(3000)), "{name}");
        assert!(messages.contains(&"a\u{1b}[31mred\u{1}".to_owned()), "{name}");
    }
}

#[test]
fn both_ways_and_in_between() {
    let mut journal = journal_of(&[COMPACT]);
    let forward = stamps(&mut journal, Forward);
    let mut backward = stamps(&mut journal, Backward);
    backward.reverse();
    assert_eq!(forward, backward);
    journal.seek_tail();
    assert_eq!(journal.step(Forward), None);
    for expected in forward.iter().rev().take(3) {
        assert_eq!(journal.step(Backward).map(|place| place.stamp), Some(*expected));
    }
    assert_eq!(stamps(&mut journal, Forward), forward[forward.len() - 3..]);
    for (index, stamp) in forward.iter().enumerate() {
        let first = forward.iter().position(|other| other.realtime >= stamp.realtime).unwrap();
        journal.seek_realtime(stamp.realtime);
        assert_eq!(journal.step(Forward).map(|place| place.stamp), Some(forward[first]), "{index}");
        journal.seek_realtime(stamp.realtime + 1);
        let after = forward.iter().find(|other| other.realtime > stamp.realtime);
        assert_eq!(journal.step(Forward).map(|place| place.stamp), after.copied(), "{index}");
    }
    journal.seek_realtime(u64::MAX);
    assert_eq!(journal.step(Forward), None);
    journal.seek_realtime(0);
    assert_eq!(stamps(&mut journal, Forward), forward);
}

#[test]
fn several_files_are_one_stream() {
    let all: Vec<usize> = (0..FIXTURES.len()).collect();
    let mut expected: Vec<Stamp> =
        all.iter().flat_map(|fixture| stamps(&mut journal_of(&[*fixture]), Forward)).collect();
    expected.sort_by_key(|stamp| stamp.realtime);
    let found = stamps(&mut journal_of(&all), Forward);
    assert_eq!(found, expected);
    let twice: Vec<usize> = all.iter().chain(&all).copied().collect();
    let mut journal = journal_of(&twice);
    assert_eq!(stamps(&mut journal, Forward), expected, "each entry once");
    let mut backward = stamps(&mut journal, Backward);
    backward.reverse();
    assert_eq!(backward, expected);
}

#[test]
fn a_file_that_is_being_written() {
    let base = stamps(&mut journal_of(&[COMPACT]), Forward);
    let count = u64::try_from(base.len()).unwrap();
    let patches = (1..=4).map(|more| (152, (count - 5 + more).to_le_bytes().to_vec())).collect();
    let storage = Patched::new(COMPACT, patches);
    let active = Rc::clone(&storage.active);
    active.set(1);
    let mut journal = Journal::new(vec![JournalFile::open(Box::new(storage)).unwrap()]);
    assert_eq!(stamps(&mut journal, Forward), base[..base.len() - 4]);
    assert!(!journal.refresh());
    for more in 2..=4 {
        active.set(more);
        assert!(journal.refresh());
        assert_eq!(stamps(&mut journal, Forward), [base[base.len() - 6 + more]]);
    }
    assert!(!journal.refresh());
}

#[test]
fn a_file_that_comes_later() {
    let mut journal = journal_of(&[COMPACT]);
    let known = stamps(&mut journal, Forward);
    let open = |fixture| JournalFile::open(Box::new(Patched::new(fixture, Vec::new()))).unwrap();
    // The same, say after it was renamed: nothing new.
    journal.take(open(COMPACT), known.last());
    assert_eq!(journal.step(Forward), None);
    let other = stamps(&mut journal_of(&[3]), Forward);
    let last = Stamp { realtime: other[9].realtime, ..*known.last().unwrap() };
    journal.take(open(3), Some(&last));
    assert_eq!(stamps(&mut journal, Forward), other[10..]);
    assert_eq!(journal.files().count(), 2);
}

#[test]
fn what_was_moved_is_not_new() {
    let mut recent = merged::Recent::default();
    for stamp in stamps(&mut journal_of(&[COMPACT]), Forward) {
        assert!(recent.is_new(&stamp));
        assert!(!recent.is_new(&Stamp { seqnum: stamp.seqnum + 100, ..stamp }));
    }
}

/// Offsets of the objects of a type, in the order of the file.
fn objects(bytes: &[u8], wanted: u8) -> Vec<usize> {
    let number = |at: usize| usize::try_from(storage::le64(bytes, at)).unwrap();
    let (mut at, tail) = (number(88), number(136));
    let mut found = Vec::new();
    while at <= tail {
        if bytes[at] == wanted {
            found.push(at);
        }
        at += number(at + 8).next_multiple_of(8);
    }
    found
}

#[test]
fn what_was_cut_off_costs_only_itself() {
    for fixture in [LZ4, COMPACT] {
        let whole = messages(&mut journal_of(&[fixture]));
        let entries = objects(&bytes_of(fixture), 3);
        assert_eq!(entries.len(), whole.len());
        for kept in [1, 5, 20, whole.len() - 1] {
            let size = u64::try_from(entries[kept]).unwrap();
            let file = JournalFile::open(Box::new(Patched::new(fixture, Vec::new()).cut(size))).unwrap();
            assert_eq!(messages(&mut Journal::new(vec![file])), whole[..kept], "{fixture} {kept}");
        }
    }
}

#[test]
fn damage_costs_only_itself() {
    for fixture in [LZ4, COMPACT] {
        let whole = messages(&mut journal_of(&[fixture]));
        let bytes = bytes_of(fixture);
        let arrays = objects(&bytes, 6);
        let entries = objects(&bytes, 3);
        let patch =
            |at: usize, number: u64| vec![(u64::try_from(at).unwrap(), number.to_le_bytes().to_vec())];
        // The chain of all entries begins with this one.
        let first = usize::try_from(storage::le64(&bytes, 176)).unwrap();
        assert!(arrays.contains(&first));
        let circle = u64::try_from(first).unwrap();
        let without = |index: usize| [&whole[..index], &whole[index + 1..]].concat();
        let rows: Vec<(&str, Patches, Vec<String>)> = vec![
            ("a circle of arrays", patch(first + 16, circle), whole.clone()),
            ("an array beyond the end", patch(first + 16, u64::MAX - 7), whole.clone()),
            ("an array that is none", patch(first + 16, 8), whole.clone()),
            ("no array at all", patch(176, 0), whole.clone()),
            ("an empty entry", patch(entries[3] + 8, 64), {
                let mut messages = whole.clone();
                messages[3] = String::new();
                messages
            }),
            ("an entry of no size", patch(entries[3] + 8, 0), without(3)),
            ("an entry that is none", patch(entries[3], 1), without(3)),
            ("an entry of no time", patch(entries[3] + 24, 0), without(3)),
            ("a count of all the world", patch(152, u64::MAX), whole.clone()),
        ];
        for (name, patches, expected) in rows {
            let file = JournalFile::open(Box::new(Patched::new(fixture, patches))).unwrap();
            assert_eq!(messages(&mut Journal::new(vec![file])), expected, "{name} {fixture}");
        }
        // What follows an array that claims to go on is no entry: the next array is not found.
        let file = JournalFile::open(Box::new(Patched::new(fixture, patch(first + 8, u64::MAX)))).unwrap();
        assert_eq!(messages(&mut Journal::new(vec![file]))[..4], whole[..4], "{fixture}");
    }
}

#[test]
fn no_journals() {
    let rows: [(&str, Patches, u64, &str); 4] = [
        (
            "a flag of the future",
            vec![(12, vec![0x3c])],
            u64::MAX,
            "a journal file of a newer format (incompatible flags 0x3c)",
        ),
        ("another kind", vec![(0, vec![b'X'])], u64::MAX, "not a journal file"),
        ("one that was begun", Vec::new(), 100, "not a journal file"),
        ("nothing", Vec::new(), 0, "not a journal file"),
    ];
    for (name, patches, size, expected) in rows {
        let storage = Patched::new(COMPACT, patches);
        let size = size.min(storage.size);
        let fault = JournalFile::open(Box::new(storage.cut(size))).unwrap_err();
        assert_eq!(fault.to_string(), expected, "{name}");
    }
}

#[test]
fn lists_tell_which_entries() {
    let rows: [(&str, Filter); 5] = [
        ("a unit", Filter { units: vec![filter::UnitPattern::new("systemd-journald")], ..Filter::default() }),
        ("a pattern", Filter { units: vec![filter::UnitPattern::new("systemd-*")], ..Filter::default() }),
        ("nothing", Filter { units: vec![filter::UnitPattern::new("absent")], ..Filter::default() }),
        ("errors", Filter { priority: "err".parse().ok(), ..Filter::default() }),
        ("most", Filter { priority: "info".parse().ok(), ..Filter::default() }),
    ];
    for fixture in 0..FIXTURES.len() {
        for (name, filter) in &rows {
            let wanted = |journal: &mut Journal| {
                let places = std::iter::from_fn(|| journal.step(Forward)).collect::<Vec<_>>();
                let all = places.len();
                let matching = places
                    .iter()
                    .filter(|place| journal.entry(place).is_some_and(|entry| filter.matches(&entry)));
                (matching.map(|place| place.stamp).collect::<Vec<_>>(), all)
            };
            let (expected, all) = wanted(&mut journal_of(&[fixture]));
            let mut journal = journal_of(&[fixture]);
            journal.choose(filter);
            let (found, looked_at) = wanted(&mut journal);
            assert_eq!(found, expected, "{name} {fixture}");
            assert!(looked_at < all, "{name} {fixture}: {looked_at} of {all}");
            assert_eq!(expected.is_empty(), *name == "nothing", "{name} {fixture}");
        }
    }
}

/// Reads all there is, in all ways.
fn read_all(storage: Patched) -> usize {
    let Ok(file) = JournalFile::open(Box::new(storage.clone())) else { return 0 };
    let copy = JournalFile::open(Box::new(storage)).unwrap();
    let mut journal = Journal::new(vec![file, copy]);
    let mut count = 0;
    while let Some(place) = journal.step(Forward) {
        count += journal.entry(&place).map_or(0, |entry| entry.fields.len());
    }
    while let Some(place) = journal.step(Backward) {
        count += journal.entry(&place).map_or(0, |entry| entry.fields.len());
    }
    for filter in [
        Filter { units: vec![filter::UnitPattern::new("*")], ..Filter::default() },
        Filter { priority: "debug".parse().ok(), ..Filter::default() },
    ] {
        journal.choose(&filter);
        while journal.step(Forward).is_some() {}
    }
    journal.seek_realtime(1_795_324_000_000_000);
    journal.refresh();
    journal.seek_tail();
    count + journal.step(Backward).map_or(0, |_| 1)
}

/// Numbers that a hostile writer would choose.
fn nasty() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(u64::MAX - 7),
        Just(1 << 63),
        (0_u64..1 << 20).prop_map(|eighth| eighth * 8),
        3_700_000_u64..3_900_000,
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bytes(
        fixture in 0..FIXTURES.len(),
        places in proptest::collection::vec((0.0_f64..1.0, any::<u8>()), 1..40),
    ) {
        let bytes = bytes_of(fixture);
        let entries = objects(&bytes, 3);
        let first = usize::try_from(storage::le64(&bytes, 136)).unwrap() - 200_000;
        let span = entries.last().unwrap() + 600 - first;
        // Half of them in the head, where most harm is to be done.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = |index: usize, part: f64| match index % 2 {
            0 => (part * 272.0) as u64,
            _ => (first as f64 + part * span as f64) as u64,
        };
        let patches =
            places.iter().enumerate().map(|(index, (part, byte))| (at(index, *part), vec![*byte])).collect();
        read_all(Patched::new(fixture, patches));
    }

    #[test]
    fn hostile_numbers(
        fixture in 0..FIXTURES.len(),
        chosen in proptest::collection::vec((1_u8..7, any::<prop::sample::Index>(), 1_usize..24, nasty()), 1..12),
        cut in prop_oneof![Just(u64::MAX), 0_u64..8 << 20],
    ) {
        let bytes = bytes_of(fixture);
        let patches = chosen.into_iter().filter_map(|(kind, index, word, number)| {
            let objects = objects(&bytes, kind);
            let at = if objects.is_empty() { 88 } else { *index.get(&objects) };
            Some((u64::try_from(at + word * 8).ok()?, number.to_le_bytes().to_vec()))
        });
        let storage = Patched::new(fixture, patches.collect());
        let size = storage.size.min(cut);
        read_all(storage.cut(size));
    }
}
