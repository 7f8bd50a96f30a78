//! One request of a download: for all of it or the rest, and what its answer is good for.

use std::io::Read;

use reqwest::Url;

use super::{Ended, Run};
use crate::transfer::fetch::client::authorized;
use crate::transfer::fetch::location::shown;
use crate::transfer::fetch::range::{Answer, Validator, Verdict, judge};
use crate::transfer::fetch::stream::{BUFFER, Gone};
use crate::transfer::fetch::{Client, Error, Request, Response, backoff, fault};
use crate::transfer::verify::Hashes;

impl Run<'_> {
    /// Asks once, and takes what comes.
    pub(super) fn attempt(&mut self, url: &Url) -> Ended {
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
                Ended::fatal(Error::Short { url: shown(url), promised, got })
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
                    return Some(Ended::fatal(error));
                }
                Ok(length) => {
                    buffer.truncate(length);
                    if let Err(Gone) = self.outlet.send(buffer) {
                        return Some(Ended::Gone);
                    }
                }
                Err(error) => return Some(Ended::fatal(error)),
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
            return Ended::fatal(Error::Size { url: shown(url), expected, got });
        }
        let sent = self.outlet.sent();
        if sent > 0 {
            // It cannot be taken back: it has to be the same.
            match self.same_beginning(url, &mut response, sent) {
                Ok(true) => {}
                Ok(false) => return Ended::fatal(Error::Changed { url: shown(url) }),
                Err(ended) => return ended,
            }
        } else if let Some(kept) = &mut self.kept {
            let first = self.download.sources.first().unwrap_or(url);
            if let Err(source) = kept.restart(first, &validator, total) {
                return Ended::fatal(Error::Keep {
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
}

/// What a status other than that of success means.
fn refused(url: &Url, response: &Response) -> Ended {
    let status = response.status();
    let error = fault::of_status(&shown(url), status).unwrap_or_else(|| Error::Nonsense {
        url: shown(url),
        what: format!("{status} where a file was asked for"),
    });
    let pause = response.header("retry-after").and_then(|text| backoff::retry_after(text, backoff::now()));
    Ended::Fault { error: Box::new(error.into()), again: backoff::may_pass(status), pause }
}
