//! What servers say: forms of answers, statuses, redirects, authorization; mirrors.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Notes, body, digest, hasty, read, read_with};
use crate::transfer::fetch::{Authorize, FetchOptions, open};
use crate::transfer::http_server::{HttpServer, Reply};
use crate::transfer::verify::Verification;
use crate::transfer::{Context, Error};

#[test]
fn whole() {
    let server = HttpServer::start();
    let body = body(1_000_000);
    let rows = [
        ("plain", Reply::bytes(body.clone()), Some(1_000_000)),
        ("chunked", Reply::bytes(body.clone()).chunked(), None),
        ("until the end", Reply::bytes(body.clone()).without_length(), None),
        ("slow", Reply::bytes(&body[..40]).drips(1, Duration::from_millis(20)), Some(40)),
        ("empty", Reply::bytes(""), Some(0)),
    ];
    for (name, reply, length) in rows {
        server.put("/a", reply);
        let mut incoming =
            open(&server.url("/a"), &Verification::none(), &hasty(), &Context::silent()).unwrap();
        assert_eq!(incoming.length(), length, "{name}");
        let mut bytes = Vec::new();
        incoming.read_to_end(&mut bytes).unwrap();
        assert!(body.starts_with(&bytes), "{name}");
        assert_eq!(bytes.len() as u64, length.unwrap_or(1_000_000), "{name}");
        let proof = incoming.verify().unwrap();
        assert_eq!(proof.sha256, digest(&bytes).sha256, "{name}");
        assert_eq!(proof.checked, None, "{name}");
    }
    let agent = server.asked()[0].header("user-agent").map(str::to_owned);
    assert_eq!(agent, Some(format!("spinney/{}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn statuses() {
    let rows = [
        (404, "URL is not there (404)", 1),
        (410, "URL is not there (410)", 1),
        (401, "URL is not for everyone (401)", 1),
        (403, "URL is not for everyone (403)", 1),
        (418, "the server of URL answers 418", 1),
        (204, "URL cannot be downloaded: the server said 204 where a file was asked for", 1),
        (206, "URL cannot be downloaded: the server said 206 where a file was asked for", 1),
        (304, "the server of URL answers 304", 1),
        (302, "URL cannot be downloaded: the server said 302 without saying where to", 1),
        (429, "the server of URL answers 429", 3),
        (500, "the server of URL answers 500", 3),
        (503, "the server of URL answers 503", 3),
    ];
    for (status, expected, asked) in rows {
        let server = HttpServer::start();
        server.put("/a", Reply::status(status));
        let url = server.url("/a");
        let error = read(&url).unwrap_err();
        assert_eq!(error.to_string().replace(&url, "URL"), expected);
        assert!(error.hint().is_some(), "{error}");
        assert_eq!(server.log().len(), asked, "{status}");
    }
}

#[test]
fn asked_to_come_back_later() {
    let server = HttpServer::start();
    server.script("/a", [Reply::status(503).retry_after("1"), Reply::bytes("a")]);
    let started = Instant::now();
    assert_eq!(read(&server.url("/a")).unwrap(), b"a");
    assert!(started.elapsed() >= Duration::from_secs(1));
    server.put("/b", Reply::status(429).retry_after("3600"));
    assert_eq!(
        read(&server.url("/b")).unwrap_err().to_string(),
        format!("the server of {} answers 429", server.url("/b"))
    );
    assert_eq!(server.log(), ["GET /a", "GET /a", "GET /b"]);
}

#[test]
fn a_server_that_says_nothing() {
    let server = HttpServer::start();
    server.script("/a", [Reply::bytes("").silent(), Reply::bytes("a")]);
    assert_eq!(read(&server.url("/a")).unwrap(), b"a");
    server.put("/b", Reply::bytes("").silent());
    assert_eq!(
        read(&server.url("/b")).unwrap_err().to_string(),
        format!("no byte of {} came for 0.4 s", server.url("/b"))
    );
}

#[test]
fn nobody_there() {
    let address = HttpServer::start().address();
    let error = read(&format!("http://{address}/a")).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot reach {address}: Connection refused"));
    let error = read("http://no-such-host.invalid/a").unwrap_err();
    assert!(error.to_string().starts_with("cannot find no-such-host.invalid: "), "{error}");
}

#[test]
fn redirects() {
    let server = HttpServer::start();
    let other = HttpServer::start();
    other.put("/c", Reply::bytes("c"));
    server.put("/c", Reply::bytes("c"));
    let rows = [
        ("absolute", Reply::redirect(301, other.url("/c")), Ok("c")),
        ("of a path", Reply::redirect(302, "/c"), Ok("c")),
        ("relative", Reply::redirect(307, "c"), Ok("c")),
        ("without a scheme", Reply::redirect(308, format!("//{}/c", other.address())), Ok("c")),
        ("a loop", Reply::redirect(302, "/a"), Err("URL leads to more than 10 redirects")),
        (
            "to a file",
            Reply::redirect(302, "file:///etc/passwd"),
            Err("URL leads to \"file:///etc/passwd\", which is no address of http"),
        ),
        (
            "nonsense",
            Reply::redirect(302, "http://[x/"),
            Err("URL cannot be downloaded: the server said 302 to \"http://[x/\""),
        ),
        ("an answer that is none", Reply::redirect(300, "/c"), Err("the server of URL answers 300")),
    ];
    for (what, reply, expected) in rows {
        server.put("/a", reply);
        let url = server.url("/a");
        let result = read(&url).map_err(|error| error.to_string().replace(&url, "URL"));
        assert_eq!(result, expected.map(|text| text.as_bytes().to_vec()).map_err(str::to_owned), "{what}");
    }
}

#[test]
fn away_from_https() {
    let url = reqwest::Url::parse("https://h/a").unwrap();
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("location", "http://h/a".parse().unwrap());
    let error = crate::transfer::fetch::client::redirect(&url, 302, &headers).unwrap_err();
    assert_eq!(error.to_string(), "https://h/a leads to \"http://h/a\", away from https");
}

/// A user and a password go to the server that they are for, and to no other.
#[test]
fn authorization() {
    let server = HttpServer::start();
    let other = HttpServer::start();
    other.put("/c", Reply::bytes("c"));
    let secret = "Basic dXNlcjpwYXNzIHdvcmQ=";
    let basic = |reply: Reply| reply.only_for(secret, "Basic realm=x");
    server.put("/a", basic(Reply::bytes("a")));
    server.put("/b", basic(Reply::redirect(302, "/a")));
    server.put("/c", basic(Reply::redirect(302, other.url("/c"))));
    let with_user = |path: &str| server.url(path).replace("http://", "http://user:pass%20word@");
    assert_eq!(read(&with_user("/a")).unwrap(), b"a");
    assert_eq!(read(&with_user("/b")).unwrap(), b"a");
    assert_eq!(read(&with_user("/c")).unwrap(), b"c");
    assert_eq!(other.asked()[0].header("authorization"), None);
    assert_eq!(
        read(&server.url("/a")).unwrap_err().to_string(),
        format!("{} is not for everyone (401)", server.url("/a"))
    );
    let missing = read(&with_user("/missing")).unwrap_err().to_string();
    assert_eq!(missing, format!("http://user:...@{}/missing is not there (404)", server.address()));
}

#[derive(Debug)]
struct Token;

impl Authorize for Token {
    fn authorize(&self, _: &reqwest::Url, challenge: Option<&str>) -> Result<Option<String>, Error> {
        Ok(challenge.map(|challenge| format!("Bearer of {challenge}")))
    }
}

#[test]
fn tokens() {
    let server = HttpServer::start();
    let body = body(200_000);
    let reply = || Reply::bytes(body.clone()).etag("\"1\"").only_for("Bearer of x", "x");
    server.script("/a", [reply(), reply().breaks_after(1000), reply()]);
    let options = FetchOptions { authorize: Some(Arc::new(Token)), ..hasty() };
    let bytes = read_with(&server.url("/a"), &Verification::none(), &options, &Context::silent());
    assert!(bytes.unwrap() == body);
}

#[test]
fn mirrors() {
    let body = body(300_000);
    let reply = || Reply::bytes(body.clone()).etag("\"1\"");
    let (first, second) = (HttpServer::start(), HttpServer::start());
    let options = FetchOptions { mirrors: vec![second.url("/m")], ..hasty() };
    let all_of_it = vec!["GET /m"];
    let rest = vec!["GET /m bytes=100000-"];
    // what the first says, what the second says, whether the digest is known => what the second was asked, and the end
    let rows = [
        ("missing", vec![Reply::status(404)], reply(), false, all_of_it.clone(), Ok(())),
        ("busy", vec![Reply::status(503)], reply(), false, all_of_it.clone(), Ok(())),
        (
            "broken, digest known",
            vec![reply().breaks_after(100_000), Reply::status(404)],
            reply().etag("\"other\""),
            true,
            rest,
            Ok(()),
        ),
        (
            "broken, digest not known",
            vec![reply().breaks_after(100_000), Reply::status(404)],
            reply(),
            false,
            all_of_it.clone(),
            Ok(()),
        ),
        (
            "broken, and the other has another version",
            vec![reply().breaks_after(100_000), Reply::status(404)],
            Reply::bytes([b"x", &body[1..]].concat()),
            false,
            all_of_it.clone(),
            Err(format!("{} changed while it was downloaded", second.url("/m"))),
        ),
        (
            "both missing",
            vec![Reply::status(404)],
            Reply::status(404),
            false,
            all_of_it,
            Err(format!("{} is not there (404)", second.url("/m"))),
        ),
    ];
    for (what, of_first, of_second, known, asked, expected) in rows {
        second.forget();
        first.script("/a", of_first);
        second.put("/m", of_second);
        let notes = Arc::new(Notes::default());
        let verification = if known { digest(&body) } else { Verification::none() };
        let result = read_with(&first.url("/a"), &verification, &options, &Context::new(notes.clone()));
        assert_eq!(second.log(), asked, "{what}");
        match expected {
            Ok(()) => assert!(result.unwrap() == body, "{what}"),
            Err(expected) => assert_eq!(result.unwrap_err().to_string(), expected, "{what}"),
        }
        let last = notes.0.lock().unwrap().last().cloned().unwrap();
        assert!(last.ends_with(&format!("; trying {}", second.url("/m"))), "{what}: {last}");
    }
}

/// Whoever waits for a server can be told to stop.
#[test]
fn cancelled() {
    let server = HttpServer::start();
    server.put("/silent", Reply::bytes("").silent());
    server.put("/stalls", Reply::bytes("aaaa").stalls_after(2));
    server.put("/busy", Reply::status(503).retry_after("100"));
    for path in ["/silent", "/stalls", "/busy"] {
        let context = Context::silent();
        let canceller = {
            let context = context.clone();
            let options = FetchOptions::default();
            let url = server.url(path);
            std::thread::spawn(move || read_with(&url, &Verification::none(), &options, &context))
        };
        server.wait_for(path, 1);
        context.cancel();
        let started = Instant::now();
        let error = canceller.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{path}: {error}");
        assert!(started.elapsed() < Duration::from_secs(20), "{path}");
    }
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a b.tar");
    let body = body(1_000_000);
    std::fs::write(&path, &body).unwrap();
    let text = path.display().to_string();
    let rows = [text.clone(), format!("file://{}", text.replace(' ', "%20"))];
    for address in rows {
        let incoming = open(&address, &digest(&body), &hasty(), &Context::silent()).unwrap();
        assert_eq!((incoming.name(), incoming.length()), (text.as_str(), Some(1_000_000)));
        assert_eq!(incoming.verify().unwrap().checked.as_deref(), Some("the digest that was given"));
        assert!(read(&address).unwrap() == body);
    }
    let wrong = read_with(&text, &digest(b"other"), &hasty(), &Context::silent()).unwrap_err().to_string();
    assert!(wrong.starts_with(&format!("{text} is not what it should be: its sha256 is ")), "{wrong}");
    let missing = directory.path().join("missing").display().to_string();
    assert_eq!(read(&missing).unwrap_err().to_string(), format!("cannot read {missing}"));
    let directory = directory.path().display().to_string();
    assert_eq!(read(&directory).unwrap_err().to_string(), format!("{directory} is a directory, not a file"));
}
