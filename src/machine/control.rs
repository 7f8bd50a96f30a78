//! A machine's supervisor, spoken to over its control socket.
//!
//! ```no_run
//! # use spinney::machine::{Control, Error, MachineHandle};
//! # fn power_off(machine: &MachineHandle) -> Result<(), Error> {
//! let mut control = Control::connect(machine)?;
//! control.call("io.systemd.MachineInstance.PowerOff", serde_json::json!({}))?;
//! # Ok(())
//! # }
//! ```
//!
//! One call at a time on a connection. No call waits longer than [`PATIENCE`] for a supervisor that hangs; what takes time in
//! the guest is told by events ([`Control::subscribe`]), not by a call that stays away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::{Map, Value};

use super::event_stream::EventStream;
use super::{Error, MachineHandle};
use crate::supervisor::control::{INTERFACE, MESSAGE_BYTES, SOCKET};
use crate::sys::socket::receive;
use crate::sys::stream_socket::{connect_at, send_some};
use crate::sys::timeout::until;
use crate::sys::{SysError, SysResult};
use crate::varlink::service::object;
use crate::varlink::{Call, Frames, Reply};

/// How long an answer may take. A supervisor answers within a millisecond, so this is for hosts that are overloaded.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A pause before the next try to connect, where more wait than the supervisor's backlog holds.
const RETRY: Duration = Duration::from_millis(20);

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// Longest message that is taken from a supervisor: more than it takes itself, since snapshots are larger than calls.
const REPLY_BYTES: usize = 16 * MESSAGE_BYTES;

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Control {
    name: String,
    socket: OwnedFd,
    frames: Frames,
    fds: Vec<OwnedFd>,
    patience: Duration,
}

/// What came of waiting for a reply.
#[derive(Debug)]
pub(super) enum Received {
    Reply(Reply),
    /// Not within the time given.
    Nothing,
    /// The other side has closed.
    End,
}

impl Control {
    /// Connects to the supervisor of `machine`.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`] for who is neither root nor the machine's owner, [`Error::NotRunning`] when it has ended,
    /// [`Error::NoAnswer`] when its supervisor does not even accept.
    pub fn connect(machine: &MachineHandle) -> Result<Self, Error> {
        Self::connect_within(machine, PATIENCE)
    }

    /// The same with another patience, for the connection and each call on it.
    ///
    /// # Errors
    /// As [`Control::connect`].
    pub fn connect_within(machine: &MachineHandle, patience: Duration) -> Result<Self, Error> {
        let name = machine.name().to_string();
        let deadline = Instant::now() + patience;
        let socket = loop {
            match connect(machine) {
                Ok(socket) => break socket,
                Err(source) => match source.errno() {
                    Errno::AGAIN if Instant::now() < deadline => std::thread::sleep(RETRY),
                    Errno::AGAIN => return Err(Error::NoAnswer { name, waited: patience }),
                    Errno::ACCESS | Errno::PERM => {
                        return Err(Error::PermissionDenied { action: "control", name });
                    }
                    Errno::NOENT | Errno::CONNREFUSED if !machine.is_alive() => {
                        return Err(Error::NotRunning { name });
                    }
                    _ => return Err(Error::Control { name, source }),
                },
            }
        };
        Ok(Self { name, socket, frames: Frames::new(REPLY_BYTES), fds: Vec::new(), patience })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `method` (with its interface before it) and gives the results. `parameters` is an object.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is answered with an error, [`Error::NoAnswer`] after [`PATIENCE`], [`Error::Gone`] when
    /// the machine ends before it answers.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Error> {
        Ok(self.call_with_fds(method, parameters, &[])?.0)
    }

    /// The same with fds, both ways: a method says by index which fd is for what.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn call_with_fds(
        &mut self,
        method: &str,
        parameters: Value,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Value, Vec<OwnedFd>), Error> {
        self.send(&Call::new(method, object(parameters)), fds)?;
        let results = self.results()?;
        Ok((Value::Object(results), std::mem::take(&mut self.fds)))
    }

    /// Follows what happens to the machine, from here on.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn subscribe(self) -> Result<EventStream, Error> {
        EventStream::begin(self, false)
    }

    /// The same, with what has happened since the machine's start before it, as far as its supervisor remembers: dozens of
    /// events, status texts not among them.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn subscribe_with_past(self) -> Result<EventStream, Error> {
        EventStream::begin(self, true)
    }

    /// What is known of the machine now.
    ///
    /// # Errors
    /// As [`Control::call`].
    pub fn snapshot(&mut self) -> Result<crate::supervisor::snapshot::Snapshot, Error> {
        let results = self.call(&format!("{INTERFACE}.Describe"), Value::Null)?;
        serde_json::from_value(results).map_err(|error| self.broken(&error.to_string()))
    }

    pub(super) fn send(&self, call: &Call, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let message = call.to_message();
        let deadline = Instant::now() + self.patience;
        let (mut rest, mut fds) = (message.as_slice(), fds);
        while !rest.is_empty() {
            match send_some(&self.socket, rest, fds).map_err(|source| self.failed(source))? {
                Some(sent) => (rest, fds) = (rest.get(sent..).unwrap_or_default(), &[]),
                None if !self.wait(PollFlags::OUT, Some(deadline))? => return Err(self.no_answer()),
                None => {}
            }
        }
        Ok(())
    }

    /// The results of the call that was sent.
    pub(super) fn results(&mut self) -> Result<Map<String, Value>, Error> {
        match self.receive(Some(self.patience))? {
            Received::Reply(reply) => self.judge(reply),
            Received::Nothing => Err(self.no_answer()),
            Received::End => Err(Error::Gone { name: self.name.clone() }),
        }
    }

    /// The results in a reply, or the error that it is.
    pub(super) fn judge(&self, reply: Reply) -> Result<Map<String, Value>, Error> {
        let Some(error) = reply.error else { return Ok(reply.parameters) };
        let text = |key: &str| reply.parameters.get(key).and_then(Value::as_str).map(str::to_owned);
        let what = text("message").unwrap_or_else(|| {
            let short = error.rsplit('.').next().unwrap_or(&error);
            match reply.parameters.values().next() {
                Some(detail) => format!("{short} ({detail})"),
                None => short.to_owned(),
            }
        });
        Err(Error::Refused { name: self.name.clone(), what, hint: text("hint"), error })
    }

    /// Waits for the next reply; for ever without a timeout.
    pub(super) fn receive(&mut self, timeout: Option<Duration>) -> Result<Received, Error> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(message) = self.frames.next().map_err(|error| self.broken(&error.to_string()))? {
                let reply = Reply::parse(&message).map_err(|error| self.broken(&error.to_string()))?;
                return Ok(Received::Reply(reply));
            }
            let mut chunk = [0; CHUNK];
            match receive(&self.socket, &mut chunk) {
                Ok(Some(message)) if message.length == 0 => return Ok(Received::End),
                Ok(Some(message)) => {
                    self.frames.extend(&chunk[..message.length]);
                    self.fds.extend(message.fds);
                }
                Ok(None) if !self.wait(PollFlags::IN, deadline)? => return Ok(Received::Nothing),
                Ok(None) => {}
                Err(error) if error.errno() == Errno::CONNRESET => return Ok(Received::End),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Waits until the socket is ready; says whether it is. Comes back early, with yes, after a signal.
    fn wait(&self, flags: PollFlags, deadline: Option<Instant>) -> Result<bool, Error> {
        let timeout = deadline.map(until);
        match poll(&mut [PollFd::new(&self.socket, flags)], timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(errno) => Err(self.failed(SysError::new("poll", "the control socket", errno))),
        }
    }

    fn no_answer(&self) -> Error {
        Error::NoAnswer { name: self.name.clone(), waited: self.patience }
    }

    fn failed(&self, source: SysError) -> Error {
        match source.errno() {
            Errno::PIPE | Errno::CONNRESET => Error::Gone { name: self.name.clone() },
            _ => Error::Control { name: self.name.clone(), source },
        }
    }

    pub(super) fn broken(&self, what: &str) -> Error {
        let source = SysError::new("recvmsg", what, Errno::BADMSG);
        Error::Control { name: self.name.clone(), source }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect(machine: &MachineHandle) -> SysResult<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags};
    // Others than root may pass through the directory, not read it.
    let directory = crate::sys::files::open_at(
        CWD,
        machine.directory(),
        OFlags::PATH | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    connect_at(&directory, SOCKET)
}
