//! Records of extended headers (POSIX pax): `LENGTH KEY=VALUE\n`, any bytes in the value.

use super::entry::Time;

/// Appends a record.
pub fn append(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // The length counts its own digits.
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend(format!("{length} ").into_bytes());
    records.extend(key);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// The records in `bytes`, key and value; `None` if they are not well-formed.
pub fn parse(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = number(&bytes[..space])?.try_into().ok()?;
        let record = bytes.get(space + 1..length)?;
        let (last, record) = record.split_last()?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        if *last != b'\n' || equals == 0 {
            return None;
        }
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = &bytes[length..];
    }
    Some(records)
}

/// A decimal number, digits alone.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A time as pax has it: decimal seconds with a fraction, toward the past for a negative one.
pub fn time_to_text(time: Time) -> String {
    match (time.seconds, time.nanoseconds) {
        (seconds, 0) => seconds.to_string(),
        // -1 s and 0.25 s more is -0.75.
        (seconds, nanoseconds) if seconds < 0 => {
            let whole = (seconds + 1).unsigned_abs();
            format!("-{whole}.{:09}", 1_000_000_000 - nanoseconds)
        }
        (seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// Reads such a time. Digits below nanoseconds are dropped.
pub fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(number(&text[..dot])?).ok()?;
    let mut nanoseconds = 0;
    let mut unit = 100_000_000;
    for digit in text.get(dot + 1..).unwrap_or_default() {
        nanoseconds += u32::from(digit.is_ascii_digit().then(|| digit - b'0')?) * unit;
        unit /= 10;
    }
    Some(match (negative, nanoseconds) {
        (false, nanoseconds) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, nanoseconds) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_count_themselves() {
        for (length, expected) in [(0, 5), (3, 8), (4, 9), (5, 11), (92, 98), (93, 99), (94, 101)] {
            let mut records = Vec::new();
            append(&mut records, b"a", &vec![b'x'; length]);
            assert_eq!(records.len(), expected, "{length}");
        }
        let mut records = Vec::new();
        append(&mut records, b"path", b"a\nb=\xff");
        append(&mut records, b"size", b"");
        assert_eq!(records, b"14 path=a\nb=\xff\n8 size=\n");
        let expected: Vec<(&[u8], &[u8])> = vec![(b"path", b"a\nb=\xff"), (b"size", b"")];
        assert_eq!(parse(&records), Some(expected));
    }

    #[test]
    fn bad_records() {
        for text in ["x", "5 a=", "99 a=b\n", "6 =bcd", "6 a=b", "0 a=b\n", "-6 a=b\n", "3 a=b\n", "7 a=b \0"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn times() {
        let rows = [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("1.1234567899", 1, 123_456_789),
            ("-1", -1, 0),
            ("-0.75", -1, 250_000_000),
            ("-1.25", -2, 750_000_000),
        ];
        for (text, seconds, nanoseconds) in rows {
            assert_eq!(time(text.as_bytes()), Some(Time { seconds, nanoseconds }), "{text}");
        }
        for text in ["", ".5", "1.x", "--1", "1e9", "99999999999999999999"] {
            assert_eq!(time(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_and_back(seconds in -1_000_000_000_i64..10_000_000_000, nanoseconds in 0_u32..1_000_000_000) {
            let expected = Time { seconds, nanoseconds };
            prop_assert_eq!(time(time_to_text(expected).as_bytes()), Some(expected));
        }

        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = time(&bytes);
        }
    }
}
