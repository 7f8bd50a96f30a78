//! One connection: two sockets, and what moves between them by pipes (splice(2)), never by our memory.
//!
//! A pipe belongs to a direction only while the socket that it leads to takes no more: an idle connection has two fds.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown, sockopt};

use super::slots::Token;
use crate::sys::pipe::{do_not_block, pipe, splice};

/// What a pipe holds, if the kernel lets it: less takes more calls, more stays in the caches no longer.
const PIPE_BYTES: usize = 256 << 10;

/// Moves of one direction before the others' turn.
const ROUNDS: usize = 8;

/// Pipes that are kept for the next one that needs one.
const KEPT_PIPES: usize = 32;

/// A pipe.
#[derive(Debug)]
struct Pipe {
    /// The end to read.
    read: OwnedFd,
    /// The end to write.
    write: OwnedFd,
    /// How many there are.
    count: Rc<Cell<usize>>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.count.set(self.count.get().saturating_sub(1));
    }
}

/// Empty pipes, and how many of all there may be: stalled connections take no fds that others need for their sockets.
#[derive(Debug)]
pub(super) struct Pipes {
    kept: Vec<Pipe>,
    count: Rc<Cell<usize>>,
    most: usize,
}

impl Pipes {
    /// Up to `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), count: Rc::default(), most }
    }

    /// EMFILE where there are as many as may be.
    fn take(&mut self) -> Result<Pipe, Errno> {
        if let Some(pipe) = self.kept.pop() {
            return Ok(pipe);
        }
        if self.count.get() >= self.most {
            return Err(Errno::MFILE);
        }
        let (read, write) = pipe(PIPE_BYTES).map_err(|error| error.errno())?;
        do_not_block(&read).and_then(|()| do_not_block(&write)).map_err(|error| error.errno())?;
        self.count.set(self.count.get() + 1);
        Ok(Pipe { read, write, count: Rc::clone(&self.count) })
    }

    fn give_back(&mut self, pipe: Pipe) {
        if self.kept.len() < KEPT_PIPES {
            self.kept.push(pipe);
        }
    }
}

/// One of the sockets.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) socket: OwnedFd,
    /// It may have something, as far as we know; epoll tells of changes only (EPOLLET).
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Side {
    /// One of which nothing is known.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, readable: false, writable: false }
    }
}

/// What goes from one side to the other.
#[derive(Debug, Default)]
struct Flow {
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
    /// There will be no more.
    ended: bool,
    /// The other side has been told so.
    told: bool,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Stage {
    /// To the first of these addresses, then the next.
    Connecting(VecDeque<SocketAddr>),
    /// To a Unix socket whose queue is full (EAGAIN of connect(2)).
    Waiting,
    /// Both sides are there.
    Open,
}

/// A connection that came in.
#[derive(Debug)]
pub(super) struct Connection {
    /// By which listener.
    pub(super) listener: Token,
    pub(super) client: Side,
    /// Who it leads to, as soon as there is a socket.
    pub(super) server: Option<Side>,
    pub(super) stage: Stage,
    /// To the server, and back.
    flows: [Flow; 2],
    /// It is to go on without an event.
    pub(super) queued: bool,
}

/// What came of moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// All that could be moved was.
    Blocked,
    /// There is more to move at once.
    More,
    /// There is no pipe for what is to be moved.
    Starved,
    /// Both sides have said all, and heard all.
    Done,
    /// One side is broken.
    Broken,
}

impl Connection {
    /// A client whose server is not there yet.
    pub(super) fn new(listener: Token, client: OwnedFd, stage: Stage) -> Self {
        Self {
            listener,
            client: Side::new(client),
            server: None,
            stage,
            flows: Default::default(),
            queued: false,
        }
    }

    /// Moves what can be moved, for a while.
    pub(super) fn pump(&mut self, pipes: &mut Pipes) -> Progress {
        let (Stage::Open, Some(server)) = (&self.stage, &mut self.server) else { return Progress::Blocked };
        let [there, back] = &mut self.flows;
        // What one direction lacks the other may give back.
        let there = there.pump(&mut self.client, server, pipes);
        let moved = match (there, back.pump(server, &mut self.client, pipes)) {
            (Ok(one), Ok(other)) => Ok(one || other),
            (Err(errno), Ok(_)) | (Ok(_), Err(errno)) => Err(errno),
            (Err(Errno::MFILE | Errno::NFILE), Err(errno)) | (Err(errno), Err(_)) => Err(errno),
        };
        match moved {
            Err(Errno::MFILE | Errno::NFILE) => Progress::Starved,
            Err(_) => Progress::Broken,
            Ok(_) if self.flows.iter().all(|flow| flow.told) => Progress::Done,
            Ok(true) => Progress::More,
            Ok(false) => Progress::Blocked,
        }
    }

    /// Ends it so that both sides see a reset and not an end: what was said is not all (tcp(7), SO_LINGER).
    pub(super) fn abort(self) {
        for side in std::iter::once(&self.client).chain(&self.server) {
            // Sockets that know no reset are closed.
            let _ = sockopt::set_socket_linger(&side.socket, Some(Duration::ZERO));
        }
    }
}

impl Flow {
    /// Says whether there is more to move at once.
    fn pump(&mut self, from: &mut Side, to: &mut Side, pipes: &mut Pipes) -> Result<bool, Errno> {
        for _ in 0..ROUNDS {
            if self.held == 0 && !self.fill(from, pipes)? {
                if let Some(pipe) = self.pipe.take() {
                    pipes.give_back(pipe);
                }
                if self.ended && !self.told {
                    self.told = true;
                    match shutdown(&to.socket, Shutdown::Write) {
                        // It was reset, which is told otherwise, or has gone.
                        Ok(()) | Err(Errno::NOTCONN) => {}
                        Err(errno) => return Err(errno),
                    }
                }
                return Ok(false);
            }
            if !to.writable {
                return Ok(false);
            }
            let Some(Pipe { read: end, .. }) = &self.pipe else { return Ok(false) };
            match splice((end, None), (to.socket.as_fd(), None), self.held, false) {
                Ok(count) => self.held = self.held.saturating_sub(count),
                Err(Errno::AGAIN) => {
                    to.writable = false;
                    return Ok(false);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    /// Fills the pipe, which is empty, says whether there is something in it.
    fn fill(&mut self, from: &mut Side, pipes: &mut Pipes) -> Result<bool, Errno> {
        while from.readable && !self.ended {
            let end = match &self.pipe {
                Some(pipe) => &pipe.write,
                None => &self.pipe.insert(pipes.take()?).write,
            };
            match splice((from.socket.as_fd(), None), (end, None), PIPE_BYTES, false) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.held = count;
                    return Ok(true);
                }
                // The pipe has room: it is the socket that has nothing.
                Err(Errno::AGAIN) => from.readable = false,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A connection, and the other ends of its sockets: a client and a server.
    fn connection() -> (Connection, UnixStream, UnixStream) {
        let (client, ours) = UnixStream::pair().unwrap();
        let (server, theirs) = UnixStream::pair().unwrap();
        [&ours, &theirs].into_iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let mut connection = Connection::new(Token::fixed(0), ours.into(), Stage::Open);
        connection.server = Some(Side::new(theirs.into()));
        (connection, client, server)
    }

    fn ready(connection: &mut Connection) {
        for side in std::iter::once(&mut connection.client).chain(&mut connection.server) {
            (side.readable, side.writable) = (true, true);
        }
    }

    #[test]
    fn one_without_a_pipe_waits_for_it() {
        let mut pipes = Pipes::new(1);
        let taken = pipes.take().unwrap();
        let (mut connection, mut client, mut server) = connection();
        client.write_all(b"question").unwrap();
        ready(&mut connection);
        assert_eq!(connection.pump(&mut pipes), Progress::Starved);
        pipes.give_back(taken);
        assert_eq!(connection.pump(&mut pipes), Progress::Blocked);
        let mut text = [0; 8];
        server.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"question");
        drop((connection, pipes.take().unwrap()));
        assert_eq!(pipes.count.get(), 0);
    }

    #[test]
    fn each_side_ends_on_its_own() {
        let (mut connection, mut client, mut server) = connection();
        let mut pipes = Pipes::new(8);
        client.write_all(b"question").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        ready(&mut connection);
        assert_eq!(connection.pump(&mut pipes), Progress::Blocked);
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        // The other direction still is open.
        server.write_all(b"answer").unwrap();
        ready(&mut connection);
        assert_eq!(connection.pump(&mut pipes), Progress::Blocked);
        let mut buffer = [0; 16];
        let count = client.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"answer");
        drop(server);
        ready(&mut connection);
        assert_eq!(connection.pump(&mut pipes), Progress::Done);
        assert_eq!(client.read(&mut buffer).unwrap(), 0);
        assert_eq!(pipes.kept.len(), 1, "one pipe was enough, and is kept");
    }

    #[test]
    fn who_does_not_read_stops_who_writes() {
        let (mut connection, mut client, mut server) = connection();
        let mut pipes = Pipes::new(8);
        client.set_nonblocking(true).unwrap();
        let mut written = 0_usize;
        loop {
            let before = written;
            while let Ok(count) = client.write(&[7; 4096]) {
                written += count;
            }
            ready(&mut connection);
            while connection.pump(&mut pipes) == Progress::More {}
            if written == before {
                break;
            }
        }
        assert!(connection.flows[0].held > 0);
        assert!(connection.flows[0].pipe.is_some(), "a pipe that holds something is nobody else's");
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.set_nonblocking(true).unwrap();
        let (mut read, mut buffer) = (0, [0; 65536]);
        loop {
            match server.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(_) => {
                    ready(&mut connection);
                    assert_ne!(connection.pump(&mut pipes), Progress::Broken);
                }
            }
        }
        assert_eq!(read, written);
    }

    #[test]
    fn a_side_that_is_gone_breaks_it() {
        let (mut connection, mut client, server) = connection();
        client.write_all(b"x").unwrap();
        drop(server);
        ready(&mut connection);
        assert_eq!(connection.pump(&mut Pipes::new(8)), Progress::Broken);
    }
}
