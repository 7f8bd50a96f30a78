//! Small files, and their cache.

use std::path::Path;
use std::sync::Arc;

use super::{Notes, hasty};
use crate::transfer::fetch::{Cache, cached, document};
use crate::transfer::http_server::{HttpServer, Reply};
use crate::transfer::{Context, Error};

fn get(url: &str, limit: u64) -> Result<Vec<u8>, String> {
    let result = document(url, limit, &hasty(), &Context::silent());
    result.map_err(|error| error.to_string().replace(url, "URL"))
}

#[test]
fn documents() {
    let server = HttpServer::start();
    let body = || Reply::bytes("12345");
    let refused = |text: &str| Err(text.to_owned());
    let rows = [
        ("plain", vec![body()], 5, Ok(b"12345".to_vec())),
        ("again", vec![Reply::status(503), body().breaks_after(2), body()], 5, Ok(b"12345".to_vec())),
        ("too large", vec![body()], 4, refused("URL has more than the 4 bytes that such a file may have")),
        ("missing", vec![Reply::status(404)], 5, refused("URL is not there (404)")),
        ("stalls", vec![body().stalls_after(2)], 5, refused("no byte of URL came for 0.4 s")),
        ("busy", vec![Reply::status(500)], 5, refused("the server of URL answers 500")),
    ];
    for (what, script, limit, expected) in rows {
        server.script("/a", script);
        assert_eq!(get(&server.url("/a"), limit), expected, "{what}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d").display().to_string();
    std::fs::write(&path, "12345").unwrap();
    assert_eq!(get(&path, 5), Ok(b"12345".to_vec()));
    assert_eq!(get(&path, 4), refused("URL has more than the 4 bytes that such a file may have"));
}

fn from_cache(url: &str, directory: &Path, stale: bool, notes: &Arc<Notes>) -> Result<Vec<u8>, Error> {
    let cache = Cache { directory: directory.to_owned(), stale };
    let mut options = hasty();
    options.patience.tries = 1;
    cached(url, 100, &cache, &options, &Context::new(notes.clone()))
}

#[test]
fn caches() {
    let directory = tempfile::tempdir().unwrap();
    let server = HttpServer::start();
    let notes = Arc::new(Notes::default());
    let url = server.url("/a");
    let get = |stale| from_cache(&url, directory.path(), stale, &notes).map_err(|error| error.to_string());
    server.put("/a", Reply::bytes("1").etag("\"1\""));
    assert_eq!(get(false), Ok(b"1".to_vec()));
    // It is asked whether it changed.
    assert_eq!(get(false), Ok(b"1".to_vec()));
    assert_eq!(server.asked()[1].header("if-none-match"), Some("\"1\""));
    server.put("/a", Reply::bytes("2").last_modified("Mon, 02 Nov 2026 10:00:00 GMT"));
    assert_eq!(get(false), Ok(b"2".to_vec()));
    assert_eq!(get(false), Ok(b"2".to_vec()));
    assert_eq!(server.asked()[3].header("if-modified-since"), Some("Mon, 02 Nov 2026 10:00:00 GMT"));
    // The server is broken, or gone.
    server.put("/a", Reply::status(500));
    assert_eq!(get(false), Err(format!("the server of {url} answers 500")));
    assert_eq!(get(true), Ok(b"2".to_vec()));
    assert_eq!(
        notes.0.lock().unwrap().last(),
        Some(&format!("the server of {url} answers 500; taking what it was when it was asked last"))
    );
    // What is gone for good is not taken from the cache.
    server.put("/a", Reply::status(404));
    assert_eq!(get(true), Err(format!("{url} is not there (404)")));
    drop(server);
    assert_eq!(get(true), Ok(b"2".to_vec()));
    // A copy that somebody changed is none.
    let copy = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&copy).unwrap();
    std::fs::write(&copy, [&bytes[..bytes.len() - 1], b"3"].concat()).unwrap();
    assert!(get(true).is_err());
}
