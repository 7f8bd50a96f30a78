//! From the thread that gets bytes to whoever takes them: a bounded number of buffers, hashed on the way.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::kept::Kept;
use crate::transfer::verify::{Check, Hashes, Tap};
use crate::transfer::{Context, Error, Incoming, Proof};

/// How large a buffer is: what a socket gives at once is less, what a file gives is all of it.
pub(super) const BUFFER: usize = 256 * 1024;

/// How many of them wait at most: enough that neither side waits for a hiccup of a network.
const BUFFERS: usize = 24;

/// How often a reader who waits looks whether it should still.
const LOOK: Duration = Duration::from_millis(50);

/// What there is after the last byte.
struct Whole {
    hashes: Hashes,
    tap: Option<Tap>,
    kept: Option<Kept>,
    length: u64,
}

enum Message {
    Begun { length: Option<u64> },
    Bytes(Vec<u8>),
    End(Box<Whole>),
    Failed(Error),
}

/// The end where bytes go in, with a thread of its own.
pub(super) struct Outlet {
    sender: SyncSender<Message>,
    emptied: Receiver<Vec<u8>>,
    hashes: Hashes,
    tap: Option<Tap>,
    kept: Option<Kept>,
    sent: u64,
    abandoned: Arc<AtomicBool>,
}

/// Nobody takes bytes any more.
#[derive(Debug)]
pub(super) struct Gone;

impl Outlet {
    /// Says how long it will be, before the first byte.
    pub(super) fn begin(&self, length: Option<u64>) -> Result<(), Gone> {
        self.sender.send(Message::Begun { length }).map_err(|_| Gone)
    }

    /// A buffer of [`BUFFER`] bytes.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.emptied.try_recv().map_or_else(
            |_| vec![0; BUFFER],
            |mut used| {
                used.resize(BUFFER, 0);
                used
            },
        )
    }

    /// Hands on `bytes`.
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.hashes.update(&bytes);
        if let Some(tap) = &mut self.tap {
            tap.write(&bytes);
        }
        self.sent += bytes.len() as u64;
        self.sender.send(Message::Bytes(bytes)).map_err(|_| Gone)
    }

    /// How many bytes were handed on.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// What they hash to so far.
    pub(super) fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// Whether nobody takes bytes any more.
    pub(super) fn abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Takes what was kept of the bytes, to be removed when they are verified.
    pub(super) fn keep(&mut self, kept: Option<Kept>) {
        self.kept = kept;
    }
}

/// What gets the bytes: hands all of them on, or says why not.
pub(super) trait Source: Send + 'static {
    /// How many buffers it may be ahead.
    const AHEAD: usize = BUFFERS;

    /// Runs on a thread of its own.
    fn run(self, outlet: &mut Outlet) -> Result<(), Error>;
}

fn ahead<S: Source>(_: &S) -> usize {
    S::AHEAD
}

/// The end where bytes come out.
pub(super) struct Stream {
    name: String,
    length: Option<u64>,
    context: Context,
    check: Option<Check>,
    receiver: Receiver<Message>,
    emptied: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    end: Option<Box<Whole>>,
    failed: bool,
    abandoned: Arc<AtomicBool>,
}

impl Stream {
    /// Starts `source` on a thread, and waits until it has begun.
    pub(super) fn start(
        name: String,
        source: impl Source,
        check: Check,
        context: &Context,
    ) -> Result<Self, Error> {
        let (sender, receiver) = sync_channel(ahead(&source));
        let (emptied, used) = channel();
        let tap = check.tap()?;
        let abandoned = Arc::new(AtomicBool::new(false));
        let (hashes, seen) = (check.hashes(), Arc::clone(&abandoned));
        let mut outlet = Outlet { sender, emptied: used, hashes, tap, kept: None, sent: 0, abandoned: seen };
        let run = move || {
            let message = match source.run(&mut outlet) {
                Ok(()) => {
                    let Outlet { sender, hashes, tap, kept, sent: length, .. } = outlet;
                    let _ = sender.send(Message::End(Box::new(Whole { hashes, tap, kept, length })));
                    return;
                }
                Err(error) => {
                    // Whoever hears of it may go on from what was kept.
                    outlet.kept = None;
                    Message::Failed(error)
                }
            };
            // Who has gone needs no end.
            let _ = outlet.sender.send(message);
        };
        std::thread::Builder::new()
            .name("fetch".to_owned())
            .spawn(run)
            .map_err(|error| super::Error::Setup { why: error.to_string() })?;
        let mut stream = Self {
            name,
            length: None,
            context: context.clone(),
            check: Some(check),
            receiver,
            emptied,
            current: Vec::new(),
            at: 0,
            end: None,
            failed: false,
            abandoned,
        };
        match stream.next()? {
            Message::Begun { length } => stream.length = length,
            message => stream.accept(message)?,
        }
        Ok(stream)
    }

    /// The next message, unless it is cancelled first.
    fn next(&mut self) -> Result<Message, Error> {
        loop {
            self.context.check()?;
            match self.receiver.recv_timeout(LOOK) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(
                        super::Error::Setup { why: "the thread that reads has died".to_owned() }.into()
                    );
                }
            }
        }
    }

    fn accept(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Begun { .. } => {}
            Message::Bytes(bytes) => {
                let used = std::mem::replace(&mut self.current, bytes);
                self.at = 0;
                // The first that is replaced is none.
                if used.capacity() > 0 {
                    let _ = self.emptied.send(used);
                }
            }
            Message::End(whole) => {
                self.current.clear();
                self.at = 0;
                self.end = Some(whole);
            }
            Message::Failed(error) => {
                self.failed = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes sure that there are bytes in `current`, or that there is an end.
    fn fill(&mut self) -> Result<(), Error> {
        while self.at >= self.current.len() && self.end.is_none() {
            if self.failed {
                // It was told when it happened.
                return Err(super::Error::Setup { why: "reading went on after a fault".to_owned() }.into());
            }
            let message = self.next()?;
            self.accept(message)?;
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill().map_err(io::Error::other)?;
        let ready = self.current.get(self.at..).unwrap_or_default();
        let length = ready.len().min(buffer.len());
        let (Some(from), Some(to)) = (ready.get(..length), buffer.get_mut(..length)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.at += length;
        Ok(length)
    }
}

impl Incoming for Stream {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> Option<u64> {
        self.length
    }

    fn verify(mut self: Box<Self>) -> Result<Proof, Error> {
        while self.end.is_none() {
            self.at = self.current.len();
            self.fill()?;
        }
        match (self.end.take(), self.check.take()) {
            (Some(whole), Some(check)) => {
                let result = check.finish(&whole.hashes, whole.tap, whole.length);
                // Right or wrong, nobody goes on from it.
                if let Some(kept) = whole.kept {
                    kept.remove();
                }
                result
            }
            _ => Err(super::Error::Setup { why: "it was verified twice".to_owned() }.into()),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
