//! The bytes of an answer, handed on and kept as they come.

use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::{Ended, Run};
use crate::transfer::Event;
use crate::transfer::fetch::location::shown;
use crate::transfer::fetch::stream::{BUFFER, Gone};
use crate::transfer::fetch::{Error, Response};

/// How much is handed on at once, if it comes fast.
const ENOUGH: usize = BUFFER / 4 * 3;

/// How long bytes that came are held back at most.
const HOLD: Duration = Duration::from_millis(100);

/// How a piece of a body ended.
enum End {
    NotYet,
    Whole,
    Broken(std::io::Error),
}

impl Run<'_> {
    /// Hands on a body to its end.
    pub(super) fn body(&mut self, url: &Url, mut response: Response) -> Ended {
        loop {
            let mut buffer = self.outlet.buffer();
            let (length, end) = self.piece(&mut response, &mut buffer);
            buffer.truncate(length);
            if length > 0 {
                self.known.position += length as u64;
                let got = self.known.position;
                if let Some(expected) = self.download.size.or(self.known.total).filter(|most| got > *most) {
                    return Ended::fatal(Error::Size { url: shown(url), expected, got });
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
            (Some(expected), _) if got > expected => {
                Ended::fatal(Error::Size { url: shown(url), expected, got })
            }
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

    pub(super) fn broken(&self, url: &Url, error: &std::io::Error) -> Ended {
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
