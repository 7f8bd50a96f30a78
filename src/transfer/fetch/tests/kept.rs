//! Downloads that are kept for the next command.

use std::path::Path;

use super::{body, digest, hasty, read_with};
use crate::transfer::fetch::FetchOptions;
use crate::transfer::http_server::{HttpServer, Reply};
use crate::transfer::verify::Verification;
use crate::transfer::{Context, Error};

fn keeping(directory: &Path) -> FetchOptions {
    let mut options = FetchOptions { partial: Some(directory.to_owned()), ..hasty() };
    options.patience.tries = 1;
    options
}

/// The lengths of the files of data, and how many others there are.
fn kept(directory: &Path) -> (Vec<u64>, usize) {
    let entries = || std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let is_data = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".data");
    let (data, others): (Vec<_>, Vec<_>) = entries().partition(|entry| is_data(&entry.file_name()));
    (data.iter().map(|entry| entry.metadata().unwrap().len()).collect(), others.len())
}

#[test]
fn resumed_by_the_next_command() {
    let body = body(300_000);
    let changed = [b"x", &body[1..]].concat();
    let reply = || Reply::bytes(body.clone()).etag("\"1\"");
    let (all, rest) = ("GET /a", "GET /a bytes=100000-");
    // what the server says to the next command, whether that knows the digest => what it was asked, what came
    let rows = [
        ("resumed", reply(), false, vec![rest], &body),
        ("resumed, digest known", reply(), true, vec![rest], &body),
        ("changed", Reply::bytes(changed.clone()).etag("\"2\""), false, vec![rest], &changed),
        ("ranges ignored", reply().without_ranges(), false, vec![rest], &body),
        ("shrunk", Reply::bytes(&body[..5000]).etag("\"1\""), false, vec![rest, all], &body[..5000].to_vec()),
    ];
    for (what, next, known, asked, expected) in rows {
        let (directory, server) = (tempfile::tempdir().unwrap(), HttpServer::start());
        let options = keeping(directory.path());
        let read = |verification: &Verification| {
            read_with(&server.url("/a"), verification, &options, &Context::silent())
        };
        server.script("/a", [reply().breaks_after(100_000), Reply::status(404)]);
        assert!(read(&Verification::none()).is_err(), "{what}");
        assert_eq!(kept(directory.path()), (vec![100_000], 1), "{what}");
        server.forget();
        server.put("/a", next);
        let verification = if known { digest(expected) } else { Verification::none() };
        assert!(read(&verification).unwrap() == *expected, "{what}");
        assert_eq!(server.log(), asked, "{what}");
        assert_eq!(kept(directory.path()), (vec![], 0), "{what}");
    }
}

/// All of it had come, and then something else went wrong.
#[test]
fn whole_and_not_verified() {
    let (directory, server, body) = (tempfile::tempdir().unwrap(), HttpServer::start(), body(300_000));
    server.put("/a", Reply::bytes(body.clone()).etag("\"1\""));
    let options = keeping(directory.path());
    {
        use std::io::Read;
        let mut incoming = crate::transfer::fetch::open(
            &server.url("/a"),
            &Verification::none(),
            &options,
            &Context::silent(),
        )
        .unwrap();
        incoming.read_to_end(&mut Vec::new()).unwrap();
    }
    assert_eq!(kept(directory.path()), (vec![300_000], 1));
    server.forget();
    let bytes = read_with(&server.url("/a"), &Verification::none(), &options, &Context::silent()).unwrap();
    assert!(bytes == body);
    assert_eq!(server.log(), ["GET /a bytes=300000-"]);
    assert_eq!(kept(directory.path()), (vec![], 0));
}

/// Bytes that turn out to be wrong are no beginning for the next command.
#[test]
fn wrong_bytes_are_not_kept() {
    let (directory, server, body) = (tempfile::tempdir().unwrap(), HttpServer::start(), body(300_000));
    server.put("/a", Reply::bytes(body));
    let options = keeping(directory.path());
    let result = read_with(&server.url("/a"), &digest(b"other"), &options, &Context::silent());
    assert!(matches!(result, Err(Error::Verify(_))), "{result:?}");
    assert_eq!(kept(directory.path()), (vec![], 0));
}

/// What another boot wrote may have holes: it is believed only if its digest will be looked at.
#[test]
fn of_another_boot() {
    let body = body(300_000);
    for (known, asked) in [(false, "GET /a"), (true, "GET /a bytes=100000-")] {
        let (directory, server) = (tempfile::tempdir().unwrap(), HttpServer::start());
        let options = keeping(directory.path());
        let reply = || Reply::bytes(body.clone()).etag("\"1\"");
        server.script("/a", [reply().breaks_after(100_000), Reply::status(404)]);
        let read = |verification: &Verification| {
            read_with(&server.url("/a"), verification, &options, &Context::silent())
        };
        assert!(read(&Verification::none()).is_err());
        let record = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|suffix| suffix == "json"))
            .unwrap();
        let text = std::fs::read_to_string(&record).unwrap();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        std::fs::write(&record, text.replace(boot.trim(), "another")).unwrap();
        server.forget();
        server.put("/a", reply());
        let verification = if known { digest(&body) } else { Verification::none() };
        assert!(read(&verification).unwrap() == body);
        assert_eq!(server.log(), [asked]);
    }
}

/// Two commands at once do not write into one file.
#[test]
fn kept_by_one_command() {
    let (directory, server) = (tempfile::tempdir().unwrap(), HttpServer::start());
    let options = keeping(directory.path());
    server.put("/a", Reply::bytes("aaaa").stalls_after(2));
    let context = Context::silent();
    let first = {
        let (url, options, context) = (server.url("/a"), options.clone(), context.clone());
        std::thread::spawn(move || read_with(&url, &Verification::none(), &options, &context))
    };
    server.wait_for("/a", 1);
    server.put("/a", Reply::bytes("aaaa"));
    let bytes = read_with(&server.url("/a"), &Verification::none(), &options, &Context::silent()).unwrap();
    assert_eq!(bytes, b"aaaa");
    context.cancel();
    assert!(first.join().unwrap().is_err());
}
