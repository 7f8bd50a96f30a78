//! Showing and following lines of text.

use super::follow::{Happened, Waiter};
use super::render::Renderer;
use super::request::Request;
use super::sink::Sink;
use crate::cli::output::Output;
use crate::machine::Error;
use crate::machine::logs::{Line, Places, Source, TextLog};
use crate::sys::{SysError, SysResult};

/// A log of lines as it is shown.
#[derive(Debug)]
pub struct Viewer<'a> {
    request: &'a Request,
    source: Source,
    renderer: Renderer,
    sink: Sink,
    log: TextLog,
    /// When the last line was written that says so; those after it that do not were written then.
    written: Option<i64>,
}

impl<'a> Viewer<'a> {
    /// Opens the log that `source` means; `None` if there is none.
    pub fn open(
        places: &Places,
        source: Source,
        request: &'a Request,
        renderer: Renderer,
        output: Output,
    ) -> Option<Self> {
        let log = places.text(source)?;
        Some(Self { request, source, renderer, sink: Sink::new(output), log, written: None })
    }

    /// Shows what was asked for, and goes on as long as `places` are those of a machine that runs, if that was.
    ///
    /// # Errors
    /// When a file cannot be read, or the machine cannot be watched.
    pub fn show(mut self, places: Places) -> Result<(), Error> {
        let filter = &self.request.filter;
        let chosen = filter.since.is_some() || filter.until.is_some();
        if self.request.reverse || (chosen && self.request.lines.is_some()) {
            self.gathered()?;
        } else {
            if let Some(lines) = self.request.newest() {
                self.log.seek_last(lines).map_err(unreadable)?;
            }
            if self.forwards(!self.request.follow)? && self.request.follow {
                self.follow(places)?;
            }
        }
        self.sink.flush();
        Ok(())
    }

    /// Shows the lines there are; false when nobody reads them any more.
    fn forwards(&mut self, all: bool) -> Result<bool, Error> {
        while let Some(line) = self.log.next_line(all).map_err(unreadable)? {
            if self.is_wanted(&line) && !self.sink.write(|out| self.renderer.line(&line, out)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Shows the last of the lines that are wanted, or all of them backwards: for that they must be had first.
    fn gathered(&mut self) -> Result<(), Error> {
        let most = self.request.lines.unwrap_or(usize::MAX);
        let mut lines = std::collections::VecDeque::new();
        while let Some(line) = self.log.next_line(true).map_err(unreadable)? {
            if self.is_wanted(&line) {
                lines.push_back(line);
                if lines.len() > most {
                    lines.pop_front();
                }
            }
        }
        if self.request.reverse {
            lines.make_contiguous().reverse();
        }
        for line in &lines {
            if !self.sink.write(|out| self.renderer.line(line, out)) {
                break;
            }
        }
        Ok(())
    }

    fn is_wanted(&mut self, line: &Line) -> bool {
        self.written = line.written.or(self.written);
        let written = self.written.and_then(|written| u64::try_from(written).ok());
        let filter = &self.request.filter;
        filter.since.is_none_or(|since| written.is_some_and(|written| written >= since))
            && filter.until.is_none_or(|until| written.is_none_or(|written| written <= until))
    }

    fn follow(&mut self, places: Places) -> Result<(), Error> {
        let Some(mut waiter) = Waiter::new(places)? else {
            self.forwards(true)?;
            return Ok(());
        };
        waiter.watch(self.log.directory())?;
        loop {
            if !self.sink.flush() {
                return Ok(());
            }
            let happened = waiter.wait()?;
            if happened == Happened::ReaderGone {
                return Ok(());
            }
            let refreshed: SysResult<()> = self.log.refresh();
            refreshed.map_err(Error::system("look for the log"))?;
            if !self.forwards(happened == Happened::Ended)? || happened == Happened::Ended {
                return Ok(());
            }
            if happened == Happened::NewLeader
                && let Some(log) = waiter.places().text(self.source)
                && !log.is_same(&self.log)
            {
                self.forwards(true)?;
                waiter.watch(log.directory())?;
                self.log = log;
            }
        }
    }
}

fn unreadable(error: std::io::Error) -> Error {
    let errno = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
    Error::system("read the log")(SysError::new("read", String::new(), errno))
}
