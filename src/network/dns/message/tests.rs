use super::*;

/// A question for the address of `name`, with what follows it.
fn query(name: &str, additional: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes[11] = u8::try_from(additional.len()).expect("few");
    bytes.extend(Name::from_text(name).expect("a name").wire());
    bytes.extend([0, 1, 0, 1]);
    additional.iter().for_each(|record| bytes.extend(*record));
    bytes
}

/// EDNS with room for 4096 bytes, DNSSEC wanted.
const OPT: &[u8] = &[0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0];

#[test]
fn questions() {
    let plain = query("web", &[]);
    let with = |at: usize, byte: u8| {
        let mut bytes = plain.clone();
        bytes[at] = byte;
        Query::parse(&bytes).map(|query| query.id)
    };
    let table = [
        ("as it is", with(0, 0x12), Ok(0x1234)),
        ("an answer", with(2, 0x81), Err(Unfit::Nothing)),
        ("a status request", with(2, 0x10), Err(Unfit::Answer(Code::NotImplemented))),
        ("an update", with(2, 0x28), Err(Unfit::Answer(Code::NotImplemented))),
        ("no question", with(5, 0), Err(Unfit::Answer(Code::FormatError))),
        ("two", with(5, 2), Err(Unfit::Answer(Code::FormatError))),
        ("answers in a question", with(7, 1), Err(Unfit::Answer(Code::FormatError))),
        ("more records than there are", with(11, 1), Err(Unfit::Answer(Code::FormatError))),
        ("a compressed name", with(12, 0xc0), Err(Unfit::Answer(Code::FormatError))),
        ("a label beyond the end", with(12, 63), Err(Unfit::Answer(Code::FormatError))),
    ];
    for (name, found, expected) in table {
        assert_eq!(found, expected, "{name}");
    }
    for length in 0..plain.len() {
        let expected = if length < 12 { Unfit::Nothing } else { Unfit::Answer(Code::FormatError) };
        assert_eq!(Query::parse(&plain[..length]), Err(expected), "{length} bytes");
    }
}

#[test]
fn edns() {
    let size = |additional: &[&[u8]]| Query::parse(&query("web", additional)).map(|query| query.size()).ok();
    let small: &[u8] = &[0, 0, 41, 0, 100, 0, 0, 0, 0, 0, 0];
    let cookie: &[u8] = &[0, 0, 41, 2, 88, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let named: &[u8] = &[1, b'x', 0, 0, 41, 2, 88, 0, 0, 0, 0, 0, 0];
    let other: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
    type Row<'a> = (&'a str, &'a [&'a [u8]], Option<usize>);
    let table: [Row<'_>; 7] = [
        ("none", &[], Some(512)),
        ("more than we send", &[OPT], Some(1232)),
        ("less than may be", &[small], Some(512)),
        ("with a cookie, after another record", &[other, cookie], Some(600)),
        ("twice", &[OPT, OPT], None),
        ("not of the root", &[named], None),
        ("cut off", &[&OPT[..10]], None),
    ];
    for (name, additional, expected) in table {
        assert_eq!(size(additional), expected, "{name}");
    }
    let later: &[u8] = &[0, 0, 41, 2, 88, 0, 1, 0, 0, 0, 0];
    let message = query("web", &[later]);
    let parsed = Query::parse(&message).expect("a query");
    assert!(parsed.has_unknown_edns());
    let answer = parsed.answer(&message, &Answer::bad_version());
    assert_eq!((answer[3] & 15, answer[answer.len() - 6]), (0, 1), "BADVERS is 16");
}

#[test]
fn what_is_passed_on() {
    let message = query("wEb", &[OPT]);
    let passed = Query::parse(&message).expect("a query").forwarded(&message, 0xabcd);
    let mut expected = message.clone();
    expected[..2].copy_from_slice(&[0xab, 0xcd]);
    let at = message.len() - 8;
    expected[at..at + 2].copy_from_slice(&1232_u16.to_be_bytes());
    assert_eq!(passed, expected);
}

#[test]
fn answers_of_ours() {
    let message = query("wEb.x", &[OPT]);
    let parsed = Query::parse(&message).expect("a query");
    let mut answer = Answer::code(Code::NoError);
    answer.ours = true;
    answer.records.push(Record { data: Data::Address(IpAddr::from([10, 0, 0, 5])), ttl: 5 });
    let bytes = parsed.answer(&message, &answer);
    let expected = [
        &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 1][..],
        b"\x03wEb\x01x\0\0\x01\0\x01",
        &[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 5],
        &[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
    let mut nothing = Answer::code(Code::NoName);
    nothing.zone = Some(Zone { name: Name::from_text("x").expect("a name"), ttl: 2 });
    let message = query("y.x", &[]);
    let bytes = Query::parse(&message).expect("a query").answer(&message, &nothing);
    let expected = [
        &[0x12, 0x34, 0x81, 0x83, 0, 1, 0, 0, 0, 1, 0, 0][..],
        b"\x01y\x01x\0\0\x01\0\x01",
        b"\x01x\0\0\x06\0\x01\0\0\0\x02\0\x18\x01x\0\0",
        &[0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 2, 88, 0, 1, 81, 128, 0, 0, 0, 2],
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(
        unfit_answer(&[1, 2, 0x29, 0, 9], Code::NotImplemented),
        [1, 2, 0xa9, 4, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn answers_of_others() {
    let asked = query("wEb", &[]);
    let reply = |change: &[(usize, u8)]| {
        let mut bytes = asked.clone();
        bytes[2] = 0x81;
        bytes[3] = 0x80;
        change.iter().for_each(|(at, byte)| bytes[*at] = *byte);
        Reply::of(&asked, &bytes)
    };
    type Row = (&'static str, &'static [(usize, u8)], Reply);
    let table: [Row; 11] = [
        ("the answer", &[], Reply::Answer),
        ("no such name", &[(3, 0x83)], Reply::Answer),
        ("truncated", &[(2, 0x83)], Reply::Answer),
        ("could not", &[(3, 0x82)], Reply::Failure),
        ("did not want to", &[(3, 0x85)], Reply::Failure),
        ("not understood, the question left out", &[(3, 0x81), (5, 0)], Reply::Failure),
        ("another id", &[(1, 0)], Reply::Foreign),
        ("a question", &[(2, 1)], Reply::Foreign),
        ("another name", &[(13, b'v')], Reply::Foreign),
        ("another type", &[(18, 33)], Reply::Foreign),
        ("the same name in other letters", &[(14, b'e')], Reply::Answer),
    ];
    for (name, change, expected) in table {
        assert_eq!(reply(change), expected, "{name}");
    }
    assert_eq!(Reply::of(&asked, &asked[..11]), Reply::Foreign);
    assert_eq!(Reply::of(&asked, b""), Reply::Foreign);
}

#[test]
fn what_is_too_long_is_cut() {
    let asked = query("web", &[]);
    let mut reply = asked.clone();
    reply[2] = 0x81;
    reply.extend([7; 600]);
    assert_eq!(returned(&reply, 0x0102, &asked, 1232)[..4], [1, 2, 0x81, 0]);
    let cut = returned(&reply, 0x0102, &asked, 512);
    assert_eq!(cut, [&[1, 2, 0x83, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &asked[12..]].concat());
    let edns = query("web", &[OPT]);
    let cut = returned(&reply, 0x0102, &edns, 512);
    let ours = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];
    assert_eq!(cut, [&[1, 2, 0x83, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &asked[12..], &ours].concat());
    // The client has its own letters back.
    let loud = query("WEB", &[]);
    assert_eq!(returned(&reply, 0x0102, &loud, 1232)[12..loud.len()], loud[12..]);
}

proptest::proptest! {
    #[test]
    fn anything_is_survived(mut bytes: Vec<u8>, counts: [u8; 4]) {
        if bytes.len() > 12 {
            bytes[2] &= 0x07;
            counts.iter().enumerate().for_each(|(index, count)| {
                bytes[4 + 2 * index] = 0;
                bytes[5 + 2 * index] = count & 3;
            });
        }
        match Query::parse(&bytes) {
            Ok(query) => {
                let passed = query.forwarded(&bytes, 7);
                proptest::prop_assert_eq!(passed.len(), bytes.len());
                let answer = query.answer(&bytes, &Answer::code(Code::NoError));
                proptest::prop_assert_eq!(Reply::of(&bytes, &answer), Reply::Answer);
                proptest::prop_assert!(returned(&answer, 1, &bytes, 12).len() <= answer.len());
            }
            Err(Unfit::Answer(code)) => proptest::prop_assert_eq!(unfit_answer(&bytes, code).len(), 12),
            Err(Unfit::Nothing) => {}
        }
    }
}
