//! What went wrong between us and a server, in words of ours.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use reqwest::Url;

use super::Error;
use super::location::shown;

/// Of no answer.
pub(super) fn of(url: &Url, error: &reqwest::Error, stall: Duration) -> Error {
    let why = reason(error);
    if error.is_dns() {
        // "failed to lookup address information: Name or service not known"
        let why = why.rsplit(": ").next().unwrap_or_default().to_owned();
        return Error::NoName { host: url.host_str().unwrap_or_default().to_owned(), why };
    }
    let host = host(url);
    if is_certificate(error) {
        return Error::Certificate { host, why };
    }
    if error.is_timeout() && !error.is_connect() {
        return Error::Stalled { url: shown(url), wait: stall };
    }
    Error::Unreachable { host, why }
}

/// Of a body that breaks off, as text: where it was known.
pub(super) fn of_body(error: io::Error) -> io::Error {
    let timed_out = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    let kind = match timed_out {
        Some(inner) if inner.is_timeout() => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::ConnectionAborted,
    };
    let text = match error.get_ref() {
        Some(inner) => deepest(inner),
        None => error.to_string(),
    };
    io::Error::new(kind, text)
}

/// Of a status; `None` for success.
pub(super) fn of_status(url: &str, status: u16) -> Option<Error> {
    let url = url.to_owned();
    match status {
        200..=299 => None,
        401 | 403 | 407 => Some(Error::Forbidden { url, status }),
        404 | 410 => Some(Error::Missing { url, status }),
        _ => Some(Error::Status { url, status }),
    }
}

/// The cause of all: what reqwest puts around it names its own layers.
pub(super) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() && error.is_connect() {
        return "it does not answer".to_owned();
    }
    deepest(error)
}

fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = deepest.to_string();
    // As errno prints: "Connection refused (os error 111)".
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn is_certificate(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(source) = next {
        if source.to_string().starts_with("invalid peer certificate") {
            return true;
        }
        next = source.source();
    }
    false
}

/// The host of `url`, with a port that is not the usual one.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
