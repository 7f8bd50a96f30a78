//! Downloads that break off, and go on.

use super::{body, digest, hasty, read_with};
use crate::transfer::Context;
use crate::transfer::http_server::{HttpServer, Reply};
use crate::transfer::verify::Verification;

/// Each row: a script, what is asked for, and how it ends.
#[test]
fn broken_off_and_resumed() {
    let body = body(300_000);
    let good = || Reply::bytes(body.clone());
    let other = || Reply::bytes([&body[..1000], b"changed", &body[1007..]].concat());
    let tagged = || good().etag("\"1\"");
    let date = "Mon, 02 Nov 2026 10:00:00 GMT";
    let rest = "GET /a bytes=100000-";
    let all = "GET /a";
    type Case = (&'static str, Vec<Reply>, bool, Vec<&'static str>, Result<(), String>);
    let changed = || Err("URL changed while it was downloaded".to_owned());
    let rows: Vec<Case> = vec![
        ("etag", vec![tagged().breaks_after(100_000), tagged()], false, vec![all, rest], Ok(())),
        (
            "date",
            vec![good().last_modified(date).breaks_after(100_000), good().last_modified(date)],
            false,
            vec![all, rest],
            Ok(()),
        ),
        ("chunked", vec![tagged().chunked().breaks_after(100_000), tagged()], false, vec![all, rest], Ok(())),
        ("no validator", vec![good().breaks_after(100_000), good()], false, vec![all, all], Ok(())),
        (
            "no validator, but a digest",
            vec![good().breaks_after(100_000), good()],
            true,
            vec![all, rest],
            Ok(()),
        ),
        (
            "a weak etag",
            vec![good().etag("W/\"1\"").breaks_after(100_000), good().etag("W/\"1\"")],
            false,
            vec![all, all],
            Ok(()),
        ),
        (
            "ranges ignored",
            vec![tagged().breaks_after(100_000), tagged().without_ranges()],
            false,
            vec![all, rest],
            Ok(()),
        ),
        (
            "another etag for the same bytes",
            vec![tagged().breaks_after(100_000), good().etag("\"2\"")],
            false,
            vec![all, rest],
            Ok(()),
        ),
        (
            "changed",
            vec![tagged().breaks_after(100_000), other().etag("\"2\"")],
            false,
            vec![all, rest],
            changed(),
        ),
        (
            "changed, without validators",
            vec![good().breaks_after(100_000), other()],
            false,
            vec![all, all],
            changed(),
        ),
        (
            "shorter than what came",
            vec![tagged().breaks_after(100_000), Reply::bytes(&body[..50_000]).etag("\"1\"")],
            false,
            vec![all, rest],
            Err("URL is cut off: 300000 bytes were promised, 50000 came".to_owned()),
        ),
        (
            "a part of something else",
            vec![
                tagged().breaks_after(100_000),
                Reply::bytes("x").status_is(206).header("content-range", "bytes 0-0/300000"),
                tagged(),
            ],
            false,
            vec![all, rest, all],
            Ok(()),
        ),
        (
            "a part of another version",
            vec![
                tagged().breaks_after(100_000),
                other().status_is(206).header("content-range", "bytes 100000-299999/300000").etag("\"2\""),
                tagged(),
            ],
            false,
            vec![all, rest, all],
            Ok(()),
        ),
        (
            "it never gets further",
            vec![tagged().breaks_after(100_000), tagged().breaks_after(0)],
            false,
            vec![all, rest, rest, rest],
            Err("the download of URL broke at byte 100000 of 300000: end of file before message length reached"
                .to_owned()),
        ),
        (
            "more is promised than there is",
            vec![good().claims(400_000)],
            false,
            vec![all, all, all, all],
            Err("the download of URL broke at byte 300000 of 400000: end of file before message length reached"
                .to_owned()),
        ),
        (
            "more is promised than there is, and then not",
            vec![tagged().claims(400_000), tagged()],
            false,
            vec![all, "GET /a bytes=300000-"],
            Err("URL is cut off: 400000 bytes were promised, 300000 came".to_owned()),
        ),
        ("stalls", vec![tagged().stalls_after(100_000), tagged()], false, vec![all, rest], Ok(())),
        (
            "stalls for good",
            vec![tagged().stalls_after(100_000), tagged().stalls_after(0)],
            false,
            vec![all, rest, rest, rest],
            Err("no byte of URL came for 0.4 s".to_owned()),
        ),
        (
            "a proxy's fault in between",
            vec![tagged().breaks_after(100_000), Reply::status(502), Reply::status(503), tagged()],
            false,
            vec![all, rest, rest, rest],
            Ok(()),
        ),
        (
            "gone in between",
            vec![tagged().breaks_after(100_000), Reply::status(404)],
            false,
            vec![all, rest],
            Err("URL is not there (404)".to_owned()),
        ),
    ];
    let server = HttpServer::start();
    let url = server.url("/a");
    for (name, script, with_digest, log, expected) in rows {
        server.forget();
        server.script("/a", script);
        let verification = if with_digest { digest(&body) } else { Verification::none() };
        let result = read_with(&url, &verification, &hasty(), &Context::silent());
        assert_eq!(server.log(), log, "{name}: {:?}", result.as_ref().map(Vec::len));
        match (result, expected) {
            (Ok(bytes), Ok(())) => assert!(bytes == body, "{name}"),
            (Err(error), Err(expected)) => {
                assert_eq!(error.to_string().replace(&url, "URL"), expected, "{name}")
            }
            (result, expected) => panic!("{name}: {:?}, not {expected:?}", result.map(|bytes| bytes.len())),
        }
    }
}
