//! A download, on a thread of its own: tried again, resumed, taken from mirrors.

use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::kept::Kept;
use super::location::shown;
use super::range::{Answer, Known, Validator, Verdict, judge};
use super::stream::{BUFFER, Gone, Outlet, Source};
use super::{Client, Error, FetchOptions, Request, Response, backoff, fault};
use crate::sys::random;
use crate::transfer::verify::Hashes;
use crate::transfer::{Context, Event};

/// How much is handed on at once, if it comes fast.
const ENOUGH: usize = BUFFER / 4 * 3;

/// How long bytes that came are held back at most.
const HOLD: Duration = Duration::from_millis(100);

/// How often one server may break off, though each time something came.
const BREAKS: u32 = 200;

/// How often each of several servers is tried while it brings nothing.
const TRIES_BESIDE_MIRRORS: u32 = 3;

/// What is to be downloaded.
pub(super) struct Download {
    /// Where it is: the first, then its mirrors.
    pub(super) sources: Vec<Url>,
    pub(super) options: FetchOptions,
    pub(super) context: Context,
    /// Its digest is known, so that it may be put together of parts.
    pub(super) digest: bool,
    /// Its length, if that is known beforehand.
    pub(super) size: Option<u64>,
}

/// How a try ended.
enum Ended {
    Done,
    /// Nobody wants it any more.
    Gone,
    /// Something came in between. `again`: the same server may do better next time, after `pause` if it says so.
    Fault {
        error: Box<crate::transfer::Error>,
        again: bool,
        pause: Option<Duration>,
    },
}

/// A download under way.
struct Run<'outlet> {
    download: Download,
    outlet: &'outlet mut Outlet,
    kept: Option<Kept>,
    known: Known,
    begun: bool,
    /// The last answer was a part that did not fit.
    ask_for_all: bool,
}

impl Source for Download {
    fn run(self, outlet: &mut Outlet) -> Result<(), crate::transfer::Error> {
        let known = Known { digest: self.digest, total: self.size, ..Known::default() };
        let mut run = Run { download: self, outlet, kept: None, known, begun: false, ask_for_all: false };
        run.take_up()?;
        let result = run.try_each();
        let kept = run.kept.take();
        run.outlet.keep(kept);
        result
    }
}

impl Run<'_> {
    /// Takes up what an earlier command kept.
    fn take_up(&mut self) -> Result<(), Error> {
        let (Some(directory), Some(url)) = (&self.download.options.partial, self.download.sources.first())
        else {
            return Ok(());
        };
        self.kept = Kept::open(directory, url, self.download.digest)?;
        match &self.kept {
            Some(kept) => {
                let (validator, total) = kept.version();
                self.known.position = kept.length();
                self.known.validator = validator.clone();
                self.known.total = self.known.total.or(total);
            }
            None => {
                let what =
                    format!("{} is being downloaded by another command; this one keeps nothing", shown(url));
                self.download.context.tell(Event::Note(what));
            }
        }
        Ok(())
    }

    /// Tries each server in turn.
    fn try_each(&mut self) -> Result<(), crate::transfer::Error> {
        let sources = self.download.sources.clone();
        let mut sources = sources.iter().peekable();
        while let Some(url) = sources.next() {
            let Err(error) = self.try_one(url, sources.peek().is_some()) else { return Ok(()) };
            self.download.context.check()?;
            let Some(next) = sources.peek() else { return Err(error) };
            self.download.context.tell(Event::Note(format!("{error}; trying {}", shown(next))));
            // What one server calls the versions of a file, another does not know.
            self.known.validator = Validator::default();
        }
        Ok(())
    }

    /// Tries one server, as often as there is hope.
    fn try_one(&mut self, url: &Url, others: bool) -> Result<(), crate::transfer::Error> {
        let mut patience = self.download.options.patience;
        if others {
            patience.tries = patience.tries.min(TRIES_BESIDE_MIRRORS);
        }
        let (mut fruitless, mut breaks) = (0, 0);
        loop {
            let before = self.known.position;
            self.download.context.check()?;
            let (error, again, asked) = match self.attempt(url) {
                Ended::Done | Ended::Gone => return Ok(()),
                Ended::Fault { error, again, pause } => (*error, again, pause),
            };
            fruitless = if self.known.position > before { 0 } else { fruitless + 1 };
            breaks += 1;
            let patience = if self.begun { patience } else { patience.before_contact(&error) };
            let pause = patience.pause(fruitless.max(1), random().unwrap_or_default(), asked);
            match pause {
                Some(pause) if again && breaks < BREAKS => {
                    let seconds = pause.as_secs_f32();
                    let note = format!("{error}; trying again in {seconds:.1} s");
                    self.download.context.tell(Event::Note(note));
                    if self.wait(pause)? {
                        return Ok(());
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// Waits; true when nobody wants the bytes any more.
    fn wait(&self, pause: Duration) -> Result<bool, crate::transfer::Error> {
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.download.context.check()?;
            if self.outlet.abandoned() {
                return Ok(true);
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        Ok(false)
    }

    /// Asks once, and takes what comes.
    fn attempt(&mut self, url: &Url) -> Ended {
        let for_rest = if self.ask_for_all { None } else { self.known.may_ask_for_rest() };
        let mut request = Request::get(url.clone());
        request.stall = self.download.options.stall;
        request.headers.clone_from(&self.download.options.headers);
        if let Some(validator) = for_rest {
            request = request.header("range", format!("bytes={}-", self.known.position));
            if let Some(validator) = validator {
                request = request.header("if-range", validator);
            }
        }
        let for_rest = for_rest.is_some();
        let response = match Client::shared()
            .map_err(Into::into)
            .and_then(|client| authorized(client, request, &self.download.options))
        {
            Ok(response) => response,
            Err(error) => {
                let again = matches!(
                    &error,
                    crate::transfer::Error::Fetch(
                        Error::Unreachable { .. } | Error::NoName { .. } | Error::Stalled { .. }
                    )
                );
                return Ended::Fault { error: Box::new(error), again, pause: None };
            }
        };
        let answer = Answer::of(&response);
        match judge(&self.known, for_rest, &answer) {
            Verdict::Continue { total } => {
                self.known.total = total;
                self.with_kept().unwrap_or_else(|| self.body(url, response))
            }
            Verdict::FromStart { total } => self.take_from_start(url, response, total, answer.validator),
            Verdict::Complete => {
                self.known.total = Some(self.known.position);
                self.with_kept().unwrap_or(Ended::Done)
            }
            Verdict::AskForAll => {
                self.ask_for_all = true;
                self.attempt(url)
            }
            Verdict::Shrunk { .. } if self.outlet.sent() == 0 => {
                self.ask_for_all = true;
                self.attempt(url)
            }
            Verdict::Shrunk { total: got } => {
                let promised = self.known.total.unwrap_or(self.known.position);
                fatal(Error::Short { url: shown(url), promised, got })
            }
            Verdict::Refused => refused(url, &response),
        }
    }

    /// Tells the length, and hands on what an earlier command kept; `Some` if that went wrong.
    fn with_kept(&mut self) -> Option<Ended> {
        if let Some(ended) = self.begin() {
            return Some(ended);
        }
        while self.outlet.sent() < self.known.position {
            let Some(kept) = &self.kept else { break };
            let mut buffer = self.outlet.buffer();
            match kept.read(&mut buffer, self.outlet.sent()) {
                Ok(0) => {
                    let error = Error::Setup { why: "what was kept of it is gone".to_owned() };
                    return Some(fatal(error));
                }
                Ok(length) => {
                    buffer.truncate(length);
                    if let Err(Gone) = self.outlet.send(buffer) {
                        return Some(Ended::Gone);
                    }
                }
                Err(error) => return Some(fatal(error)),
            }
        }
        None
    }

    fn begin(&mut self) -> Option<Ended> {
        if !self.begun {
            self.begun = true;
            if let Err(Gone) = self.outlet.begin(self.known.total) {
                return Some(Ended::Gone);
            }
        }
        None
    }

    /// Takes an answer that begins at the beginning.
    fn take_from_start(
        &mut self,
        url: &Url,
        mut response: Response,
        total: Option<u64>,
        validator: Validator,
    ) -> Ended {
        if let Some((expected, got)) = self.download.size.zip(total).filter(|(size, total)| size != total) {
            return fatal(Error::Size { url: shown(url), expected, got });
        }
        let sent = self.outlet.sent();
        if sent > 0 {
            // It cannot be taken back: it has to be the same.
            match self.same_beginning(url, &mut response, sent) {
                Ok(true) => {}
                Ok(false) => return fatal(Error::Changed { url: shown(url) }),
                Err(ended) => return ended,
            }
        } else if let Some(kept) = &mut self.kept {
            let first = self.download.sources.first().unwrap_or(url);
            if let Err(source) = kept.restart(first, &validator, total) {
                return fatal(Error::Keep {
                    path: self.download.options.partial.clone().unwrap_or_default(),
                    source,
                });
            }
        }
        self.known.position = sent;
        self.known.total = total.or(self.download.size);
        self.known.validator = validator;
        self.ask_for_all = false;
        self.begin().unwrap_or_else(|| self.body(url, response))
    }

    /// Whether the first `length` bytes of an answer are those that were handed on.
    fn same_beginning(&self, url: &Url, response: &mut Response, length: u64) -> Result<bool, Ended> {
        let mut hashes = Hashes::sha256_alone();
        let mut buffer = vec![0; BUFFER];
        let mut left = length;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match response.read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    hashes.update(buffer.get(..read).unwrap_or_default());
                    left -= read as u64;
                }
                Err(error) => return Err(self.broken(url, &error)),
            }
        }
        Ok(hashes.sha256() == self.outlet.hashes().sha256())
    }

    /// Hands on a body to its end.
    fn body(&mut self, url: &Url, mut response: Response) -> Ended {
        loop {
            let mut buffer = self.outlet.buffer();
            let (length, end) = self.piece(&mut response, &mut buffer);
            buffer.truncate(length);
            if length > 0 {
                self.known.position += length as u64;
                let got = self.known.position;
                if let Some(expected) = self.download.size.or(self.known.total).filter(|most| got > *most) {
                    return fatal(Error::Size { url: shown(url), expected, got });
                }
                if let Err(Gone) = self.outlet.send(buffer) {
                    return Ended::Gone;
                }
            }
            match end {
                End::NotYet => {}
                End::Whole => return self.end(url),
                End::Broken(error) => return self.broken(url, &error),
            }
        }
    }

    /// Reads a piece of a body: what comes at once, or soon. It is kept as it comes.
    fn piece(&mut self, response: &mut Response, buffer: &mut [u8]) -> (usize, End) {
        let started = Instant::now();
        let mut filled = 0;
        loop {
            match response.read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return (filled, End::Whole),
                Ok(length) => {
                    self.keep(buffer.get(filled..filled + length).unwrap_or_default());
                    filled += length;
                }
                Err(error) => return (filled, End::Broken(error)),
            }
            if filled >= ENOUGH.min(buffer.len()) || started.elapsed() >= HOLD {
                return (filled, End::NotYet);
            }
        }
    }

    /// After the last byte of a body.
    fn end(&self, url: &Url) -> Ended {
        let got = self.known.position;
        match (self.download.size, self.known.total) {
            (Some(expected), _) if got > expected => fatal(Error::Size { url: shown(url), expected, got }),
            (_, Some(total)) if got < total => {
                let why = "the server ended it early";
                self.broken(url, &std::io::Error::other(why))
            }
            _ => Ended::Done,
        }
    }

    /// Keeps `bytes` for the next command. A disk that is full is no reason to give up now.
    fn keep(&mut self, bytes: &[u8]) {
        let Some(Err(error)) = self.kept.as_mut().map(|kept| kept.append(bytes)) else { return };
        self.download.context.tell(Event::Note(format!("the download is not kept: {error}")));
        if let Some(kept) = self.kept.take() {
            kept.remove();
        }
    }

    fn broken(&self, url: &Url, error: &std::io::Error) -> Ended {
        let url = shown(url);
        let error = match error.kind() {
            std::io::ErrorKind::TimedOut => Error::Stalled { url, wait: self.download.options.stall },
            _ => Error::Broken {
                url,
                at: self.known.position,
                total: self.known.total,
                why: error.to_string(),
            },
        };
        Ended::Fault { error: Box::new(error.into()), again: true, pause: None }
    }
}

/// What a status other than that of success means.
fn refused(url: &Url, response: &Response) -> Ended {
    let status = response.status();
    let error = fault::of_status(&shown(url), status).unwrap_or_else(|| Error::Nonsense {
        url: shown(url),
        what: format!("{status} where a file was asked for"),
    });
    let pause = response.header("retry-after").and_then(|text| backoff::retry_after(text, backoff::now()));
    Ended::Fault { error: Box::new(error.into()), again: may_pass(status), pause }
}

/// Request Timeout, Too Early, Too Many Requests, and what servers and gateways have of faults that pass.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// Asks, with authorization if there is anybody to give it.
pub(super) fn authorized(
    client: &Client,
    mut request: Request,
    options: &FetchOptions,
) -> Result<Response, crate::transfer::Error> {
    let Some(authority) = &options.authorize else { return Ok(client.get(&request)?) };
    request.authorization = authority.authorize(&request.url, None)?;
    let response = client.get(&request)?;
    let own = response.is_of(&request.url);
    let challenge = response.header("www-authenticate").filter(|_| own).map(str::to_owned);
    match (response.status(), challenge) {
        // Tokens end, in the middle of a long download too.
        (401, Some(challenge)) => {
            request.authorization = authority.authorize(&request.url, Some(&challenge))?;
            Ok(client.get(&request)?)
        }
        _ => Ok(response),
    }
}

fn fatal(error: Error) -> Ended {
    Ended::Fault { error: Box::new(error.into()), again: false, pause: None }
}

/// How a piece of a body ended.
enum End {
    NotYet,
    Whole,
    Broken(std::io::Error),
}
