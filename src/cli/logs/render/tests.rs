//! Entries, and what each form makes of them.

use super::*;
use crate::journal::{Field, Id, Stamp};

const TIME: u64 = 1_795_341_600_250_000;

fn entry(fields: &[(&str, &[u8])]) -> Entry {
    let id: Id = "1".repeat(32).parse().unwrap();
    let stamp =
        Stamp { seqnum_id: id, seqnum: 10, realtime: TIME, monotonic: 1_000_007, boot_id: id, xor_hash: 255 };
    Entry { stamp, fields: fields.iter().map(|(name, value)| Field::made(name, value)).collect() }
}

fn rendered(format: Format, terminal: bool, colour: bool, entry: &Entry) -> String {
    let mut renderer = Renderer::new(format, true, terminal, colour);
    renderer.zone = TimeZone::UTC;
    let mut out = Vec::new();
    renderer.entry(entry, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn formats() {
    let common: [(&str, &[u8]); 4] =
        [("_HOSTNAME", b"web"), ("SYSLOG_IDENTIFIER", b"sshd"), ("_PID", b"7"), ("PRIORITY", b"3")];
    let with = |message: &'static [u8]| entry(&[&common[..], &[("MESSAGE", message)]].concat());
    let evil: &[u8] = b"a\x1b]0;evil\x07b\x1b[31mc";
    type Row<'a> = (&'a str, Format, bool, bool, Entry, &'a str);
    let rows: &[Row<'_>] = &[
        ("short", Format::Short, false, false, with(b"hello"), "Nov 22 10:00:00 web sshd[7]: hello\n"),
        ("iso", Format::ShortIso, false, false, with(b"x"), "2026-11-22T10:00:00+00:00 web sshd[7]: x\n"),
        (
            "precise",
            Format::ShortPrecise,
            false,
            false,
            with(b"x"),
            "Nov 22 10:00:00.250000 web sshd[7]: x\n",
        ),
        ("monotonic", Format::ShortMonotonic, false, false, with(b"x"), "[    1.000007] web sshd[7]: x\n"),
        ("cat", Format::Cat, false, false, with(b"x"), "x\n"),
        (
            "two lines",
            Format::Short,
            false,
            false,
            with(b"a\nb\n"),
            "Nov 22 10:00:00 web sshd[7]: a\n                             b\n",
        ),
        ("two lines, cat", Format::Cat, false, false, with(b"a\nb"), "a\nb\n"),
        ("raw to a pipe", Format::Cat, false, false, with(evil), "a\x1b]0;evil\x07b\x1b[31mc\n"),
        ("clean on a terminal", Format::Cat, true, false, with(evil), "abc\n"),
        ("a colour by importance", Format::Cat, true, true, with(b"x"), "\x1b[1;31mx\x1b[0m\n"),
        (
            "no program",
            Format::Short,
            false,
            false,
            entry(&[("MESSAGE", b"x")]),
            "Nov 22 10:00:00 unknown: x\n",
        ),
        ("no message", Format::Cat, false, false, entry(&[]), "\n"),
        (
            "the writer's own time",
            Format::ShortPrecise,
            false,
            false,
            entry(&[("_SOURCE_REALTIME_TIMESTAMP", b"1795341599000001"), ("_COMM", b"x"), ("MESSAGE", b"y")]),
            "Nov 22 09:59:59.000001 x: y\n",
        ),
        (
            "verbose",
            Format::Verbose,
            true,
            false,
            entry(&[("A", b"x\ny"), ("B", b"\x01\x02")]),
            "Sun 2026-11-22 10:00:00.250000 UTC [s=11111111111111111111111111111111;i=a;b=11111111111111111111111111111111;m=f4247;t=660ca2b2bb790;x=ff]\n    A=x\n        y\n    B=[2B blob data]\n",
        ),
    ];
    for (name, format, terminal, colour, entry, expected) in rows {
        let found = rendered(*format, *terminal, *colour, entry);
        let expected = expected.replace("t=660ca2b2bb790", &format!("t={TIME:x}"));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn json() {
    let id = "1".repeat(32);
    let entry = entry(&[
        ("MESSAGE", b"a\tb\nc"),
        ("_BOOT_ID", b"x"),
        ("BINARY", b"\x07"),
        ("LINK", b"one"),
        ("LINK", b"two"),
        ("LINK", b"\xff"),
        ("BYTES", b"\x01"),
        ("BYTES", b"\x02"),
        ("__CURSOR", b"forged"),
        ("BIDI", "\u{202e}".as_bytes()),
    ]);
    let mut expected = serde_json::json!({
        "__CURSOR": entry.cursor(),
        "__REALTIME_TIMESTAMP": TIME.to_string(),
        "__MONOTONIC_TIMESTAMP": "1000007",
        "__SEQNUM": "10",
        "__SEQNUM_ID": id,
        "_BOOT_ID": id,
        "MESSAGE": "a\tb\nc",
        "BINARY": [7],
        "LINK": ["one", "two", [255]],
        "BYTES": [[1], [2]],
        "BIDI": "\u{202e}",
    });
    let plain = rendered(Format::Json, false, false, &entry);
    assert_eq!(serde_json::from_str::<Value>(&plain).unwrap(), expected);
    assert!(plain.ends_with("\"BIDI\":\"\u{202e}\"}\n") && plain.lines().count() == 1, "{plain}");
    let terminal = rendered(Format::Json, true, false, &entry);
    assert!(terminal.trim_end().chars().all(is_safe), "{terminal}");
    assert_eq!(serde_json::from_str::<Value>(&terminal).unwrap(), expected.take());
}

#[test]
fn boots_are_told_apart() {
    let mut renderer = Renderer::new(Format::Short, false, false, false);
    renderer.zone = TimeZone::UTC;
    let mut out = Vec::new();
    let mut one = entry(&[("_COMM", b"x"), ("MESSAGE", b"y")]);
    renderer.entry(&one, &mut out);
    one.stamp.boot_id = "2".repeat(32).parse().unwrap();
    renderer.entry(&one, &mut out);
    renderer.entry(&one, &mut out);
    let line = "Nov 22 10:00:00 x: y\n";
    let expected = format!("{line}-- Boot {} --\n{line}{line}", "2".repeat(32));
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
