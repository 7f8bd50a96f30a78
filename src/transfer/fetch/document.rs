//! Small files, whole: indexes, lists of checksums, answers of an API. Kept in a cache if the caller wants that, and taken
//! from there when the network is down.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::client::{authorized, same_server};
use super::local::Local;
use super::location::shown;
use super::range::Validator;
use super::{Client, Error, FetchOptions, Location, Request, backoff, fault};
use crate::sys::files::{make_directories, open_at, read_all, replace_at};
use crate::sys::random;
use crate::transfer::{Context, Digest, Error as TransferError, Event};

/// How often a question that waits looks whether it should still.
const LOOK: Duration = Duration::from_millis(50);

/// Where documents are kept, and what they are good for.
#[derive(Debug, Clone)]
pub struct Cache {
    /// The directory.
    pub directory: PathBuf,
    /// A copy may be taken where the server cannot be reached.
    pub stale: bool,
}

/// An answer with all of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// 200, 404, ...
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Where it came from, after redirects.
    pub url: reqwest::Url,
    /// The body.
    pub body: Vec<u8>,
}

impl Answered {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// All headers of that name.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server of `url` itself gave it, and none that this one led to.
    pub fn is_of(&self, url: &reqwest::Url) -> bool {
        same_server(&self.url, url)
    }

    /// Its body, if the status is one of success.
    ///
    /// # Errors
    /// The error of that status.
    pub fn successful(self) -> Result<Vec<u8>, Error> {
        match fault::of_status(&shown(&self.url), self.status) {
            None => Ok(self.body),
            Some(error) => Err(error),
        }
    }
}

/// The whole of a small file, such as an index or a list of checksums: at most `limit` bytes.
///
/// # Errors
/// As [`super::open`].
pub fn document(
    address: &str,
    limit: u64,
    options: &FetchOptions,
    context: &Context,
) -> Result<Vec<u8>, TransferError> {
    small(&Location::parse(address)?, limit, options, context)
}

/// The same of a location.
///
/// # Errors
/// As [`super::open`].
pub fn small(
    location: &Location,
    limit: u64,
    options: &FetchOptions,
    context: &Context,
) -> Result<Vec<u8>, TransferError> {
    context.check()?;
    match location {
        Location::Web(url) => {
            let answered = ask(request(url, options), limit, options, context)?;
            match fault::of_status(&shown(url), answered.status) {
                None => Ok(answered.body),
                Some(error) => Err(error.into()),
            }
        }
        Location::File(path) => Ok(Local::open(path)?.whole(limit)?),
        Location::Stdin => Ok(Local::stdin()?.whole(limit)?),
    }
}

/// The same, kept in `cache`: asked for again only if it changed, and taken from there if the network is down.
///
/// # Errors
/// As [`super::open`], if there is no copy.
pub fn cached(
    address: &str,
    limit: u64,
    cache: &Cache,
    options: &FetchOptions,
    context: &Context,
) -> Result<Vec<u8>, TransferError> {
    let Location::Web(url) = Location::parse(address)? else {
        return document(address, limit, options, context);
    };
    let copy = Copy::read(&cache.directory, &url, limit);
    let mut asked = request(&url, options);
    if let Some(copy) = &copy {
        let Validator { etag, last_modified } = copy.head.validator.clone();
        let headers = [("if-none-match", etag), ("if-modified-since", last_modified)];
        asked = headers.into_iter().fold(asked, |asked, (name, value)| match value {
            Some(value) => asked.header(name, value),
            None => asked,
        });
    }
    let answered = ask(asked, limit, options, context);
    match (answered, copy) {
        (Ok(Answered { status: 304, .. }), Some(copy)) => Ok(copy.body),
        (Ok(answered @ Answered { status: 200, .. }), _) => {
            let header = |name| answered.header(name).map(str::to_owned);
            let validator = Validator { etag: header("etag"), last_modified: header("last-modified") };
            if let Err(error) = Copy::write(&cache.directory, &url, validator, &answered.body) {
                context.tell(Event::Note(format!("{} is not kept: {error}", shown(&url))));
            }
            Ok(answered.body)
        }
        (answered, copy) => {
            let error = match answered {
                Ok(answered) => fault::of_status(&shown(&url), answered.status)
                    .unwrap_or_else(|| Error::Status { url: shown(&url), status: answered.status })
                    .into(),
                Err(error) => error,
            };
            match copy {
                Some(copy) if cache.stale && is_down(&error) => {
                    context.tell(Event::Note(format!("{error}; taking what it was when it was asked last")));
                    Ok(copy.body)
                }
                _ => Err(error),
            }
        }
    }
}

/// Whether the fault is the network's or the server's, and not one of what was asked.
fn is_down(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::Fetch(
            Error::Unreachable { .. }
                | Error::NoName { .. }
                | Error::Stalled { .. }
                | Error::Broken { .. }
                | Error::Status { status: 500..=599, .. }
        )
    )
}

fn request(url: &reqwest::Url, options: &FetchOptions) -> Request {
    let mut request = Request::get(url.clone());
    request.stall = options.stall;
    request.headers.clone_from(&options.headers);
    request
}

/// Asks, again if the fault may pass, and takes the whole answer: of any status, of at most `limit` bytes. The network is
/// waited for on another thread, so that a transfer can be cancelled.
///
/// # Errors
/// When nobody answers, or it is cancelled.
pub fn ask(
    request: Request,
    limit: u64,
    options: &FetchOptions,
    context: &Context,
) -> Result<Answered, TransferError> {
    let (sender, receiver) = channel();
    let (options, theirs) = (options.clone(), context.clone());
    let run = move || {
        // Who has gone needs no answer.
        let _ = sender.send(patiently(&request, limit, &options, &theirs));
    };
    std::thread::Builder::new()
        .name("ask".to_owned())
        .spawn(run)
        .map_err(|error| Error::Setup { why: error.to_string() })?;
    loop {
        context.check()?;
        match receiver.recv_timeout(LOOK) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Setup { why: "the thread that asks has died".to_owned() }.into());
            }
        }
    }
}

fn patiently(
    request: &Request,
    limit: u64,
    options: &FetchOptions,
    context: &Context,
) -> Result<Answered, TransferError> {
    let mut tries = 0;
    loop {
        context.check()?;
        let result = once(request, limit, options);
        tries += 1;
        let (again, asked) = match &result {
            Ok(answered) => (backoff::may_pass(answered.status), answered.header("retry-after")),
            Err(error) => (is_down(error), None),
        };
        let patience = match &result {
            Ok(_) => options.patience,
            Err(error) => options.patience.before_contact(error),
        };
        let pause = patience.pause(
            tries,
            random().unwrap_or_default(),
            asked.and_then(|text| backoff::retry_after(text, backoff::now())),
        );
        let Some(pause) = pause.filter(|_| again) else { return result };
        let what = match &result {
            Ok(answered) => Error::Status { url: shown(&answered.url), status: answered.status }.to_string(),
            Err(error) => error.to_string(),
        };
        context.tell(Event::Note(format!("{what}; trying again in {:.1} s", pause.as_secs_f32())));
        backoff::wait(pause, context)?;
    }
}

fn once(request: &Request, limit: u64, options: &FetchOptions) -> Result<Answered, TransferError> {
    let response = authorized(Client::shared()?, request.clone(), options)?;
    Ok(Answered {
        status: response.status(),
        headers: response.all_headers(),
        url: response.url().clone(),
        body: response.bytes(limit)?,
    })
}

/// A document as it is kept: a line of JSON about it, and its bytes, in one file so that they cannot differ.
struct Copy {
    head: Head,
    body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    url: String,
    validator: Validator,
    sha256: String,
}

impl Copy {
    fn name(url: &reqwest::Url) -> String {
        Digest(Sha256::digest(url.as_str()).into()).to_string()
    }

    /// What there is, if it is whole.
    fn read(directory: &Path, url: &reqwest::Url, limit: u64) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let file = open_at(CWD, directory.join(Self::name(url)), flags, Mode::empty()).ok()?;
        let mut bytes = read_all(file, usize::try_from(limit.saturating_add(64 * 1024)).ok()?).ok()?;
        let line = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(bytes.get(..line)?).ok()?;
        let body = bytes.split_off(line + 1);
        let whole =
            head.url == url.as_str() && head.sha256 == Digest(Sha256::digest(&body).into()).to_string();
        whole.then_some(Self { head, body })
    }

    fn write(
        directory: &Path,
        url: &reqwest::Url,
        validator: Validator,
        body: &[u8],
    ) -> Result<(), crate::sys::SysError> {
        let sha256 = Digest(Sha256::digest(body).into()).to_string();
        let mut bytes =
            serde_json::to_vec(&Head { url: url.as_str().to_owned(), validator, sha256 }).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(body);
        replace_at(make_directories(directory, 0o700)?, &Self::name(url), &bytes, 0o600)
    }
}

impl Local {
    /// All of it, of at most `limit` bytes.
    fn whole(self, limit: u64) -> Result<Vec<u8>, Error> {
        let (name, file) = self.into_parts();
        let mut bytes = Vec::new();
        match file.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > limit => Err(Error::TooLarge { url: name, limit }),
            Ok(_) => Ok(bytes),
            Err(source) => Err(Error::Read { name, source }),
        }
    }
}
