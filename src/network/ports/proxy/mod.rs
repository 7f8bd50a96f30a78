//! The proxy: a small process of a machine's, a child of its supervisor, that serves the sockets it is given.
//!
//! It is our own executable, called by [`PERSONALITY`]. It gets sockets that listen already, with where they lead to, over a
//! channel ([`super::message`]), and makes connections in the network namespace that it was started in. It is not root of
//! the host, has no privileges but to connect, opens no files, and ends with its supervisor: by PR_SET_PDEATHSIG, and by the end of the channel.
//!
//! One loop on epoll(7). With nothing to do it does nothing: there is a timer only while a connection is being made, or
//! while datagrams have come in lately.
//!
//! | file | what it owns |
//! |---|---|
//! | `streams` | connections that come in, and those that are made for them |
//! | `connection` | what moves in one |
//! | `datagrams` | UDP: who sent something, and the socket for the answers |
//! | `slots` | things by numbers that the kernel keeps for us |
//! | `confine` | what the process gives up before it serves anybody |

mod confine;
mod connection;
mod datagrams;
mod slots;
mod streams;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use crate::settings::network::Protocol;
use crate::sys::fork::take_inherited;
use crate::sys::socket::{receive, send_at_once};
use crate::sys::timeout::until;
use crate::sys::{SysError, SysResult, sys};

use super::message::{MESSAGE_BYTES, Order, STOPPED, Target};
use confine::Identity;
use datagrams::Datagrams;
use slots::{Slots, Token};
use streams::Streams;

/// What the executable is called by: argv[0]. The machine's name follows, for who looks at processes, then who the proxy is to
/// be, and [`SOCKETS`].
pub const PERSONALITY: &str = "spinney-ports";

/// Who else would be root, and where a machine has no IDs of its own: nobody.
pub(super) const NOBODY: u32 = 65_534;

/// The last argument of a proxy that connects to sockets of the file system.
pub(super) const SOCKETS: &str = "sockets";

/// The fd that is the channel to the supervisor.
pub(super) const CHANNEL: i32 = 3;

/// Events taken at once.
const EVENTS: usize = 256;

/// How long nobody is accepted when there are no fds left (accept(2), EMFILE) and none of ours that would be given back.
const BREATH: Duration = Duration::from_millis(100);

/// What tokens are about.
mod kind {
    pub(super) const CHANNEL: u8 = 0;
    pub(super) const LISTENER: u8 = 1;
    pub(super) const CLIENT: u8 = 2;
    pub(super) const SERVER: u8 = 3;
    pub(super) const SESSION: u8 = 4;
}

/// A socket that others come by.
#[derive(Debug)]
struct Listener {
    group: u32,
    protocol: Protocol,
    socket: OwnedFd,
    to: Target,
    /// Which of its group it is.
    offset: u16,
    /// It is not listened to, as there is no room for more.
    paused: bool,
}

/// What all that is served has in common.
#[derive(Debug)]
struct Base {
    epoll: OwnedFd,
    listeners: Slots<Listener>,
    /// Connections and sessions, at most.
    most: usize,
    /// When to accept again, where there were no fds.
    breathe: Option<Instant>,
}

/// Whether the executable was called to be this.
pub fn is_called(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|name| name == PERSONALITY)
}

/// Serves until the supervisor has enough; gives the exit status.
pub fn main(arguments: &[OsString]) -> u8 {
    // Who called us by this name by hand has no channel for us.
    let Some(channel) = take_inherited(CHANNEL) else { return super::EXIT_FAILURE };
    // What ps and ss show: the executable is known to the kernel by the name of our link to it.
    let _ = rustix::thread::set_name(c"spinney-ports");
    let most = confine::more_fds();
    match begin(&channel, identity(arguments), most) {
        Ok(()) => 0,
        Err(_) => super::EXIT_FAILURE,
    }
}

/// Who the command line says that we are to be.
fn identity(arguments: &[OsString]) -> Identity {
    let mut words = arguments.iter().skip(2);
    let id = words.next().and_then(|word| word.to_str()?.parse().ok()).filter(|id| *id != 0);
    Identity { id: id.unwrap_or(NOBODY), sockets: words.next().is_some_and(|word| word == SOCKETS) }
}

/// Gives up privileges, then serves.
fn begin(channel: &OwnedFd, identity: Identity, most: usize) -> SysResult<()> {
    let epoll = sys("epoll_create1", epoll::create(epoll::CreateFlags::CLOEXEC), String::new)?;
    confine::confine(identity)?;
    serve(channel, epoll, most)
}

/// The loop, with up to `most` connections and sessions.
fn serve(channel: &OwnedFd, epoll: OwnedFd, most: usize) -> SysResult<()> {
    let mut base = Base { epoll, listeners: Slots::new(kind::LISTENER), most, breathe: None };
    let mut streams = Streams::new(most);
    let mut datagrams = Datagrams::new();
    base.watch(channel, Token::fixed(kind::CHANNEL), EventFlags::IN)?;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let deadlines = [streams.deadline(), datagrams.deadline(), base.breathe];
        let timeout = deadlines.into_iter().flatten().min().map(until);
        events.clear();
        let waited = epoll::wait(&base.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("epoll_wait", String::new(), errno)),
        }
        let now = Instant::now();
        for event in &events {
            let (token, flags) = (Token::from_bits(event.data.u64()), event.flags);
            match token.kind {
                kind::CHANNEL => {
                    if !obey(channel, &mut base, &mut streams, &mut datagrams)? {
                        return Ok(());
                    }
                }
                kind::LISTENER => match base.listeners.get(token).map(|listener| listener.protocol) {
                    Some(Protocol::Tcp) => streams.accept(&mut base, token, now),
                    Some(Protocol::Udp) => datagrams.arrived(&mut base, token, now),
                    None => {}
                },
                kind::SESSION => datagrams.answered(&mut base, token, now),
                _ => streams.ready(&mut base, token, flags),
            }
        }
        streams.go_on(&mut base, now);
        datagrams.expire(now);
        if base.breathe.is_some_and(|at| at <= now) {
            base.breathe = None;
        }
        if base.breathe.is_none() && streams.len() + datagrams.len() < base.most {
            base.resume();
        }
    }
}

/// Does what the supervisor says; says whether it has more to say ever.
fn obey(
    channel: &OwnedFd,
    base: &mut Base,
    streams: &mut Streams,
    datagrams: &mut Datagrams,
) -> SysResult<bool> {
    let mut buffer = [0; MESSAGE_BYTES];
    let Some(message) = receive(channel, &mut buffer)? else { return Ok(true) };
    if message.length == 0 {
        return Ok(false);
    }
    let order = serde_json::from_slice(buffer.get(..message.length).unwrap_or_default());
    match order.map_err(|_| SysError::new("recvmsg", "an order", Errno::BADMSG))? {
        Order::Serve { group, protocol, to } => {
            for (offset, socket) in (0..).zip(message.fds) {
                let to = to.clone();
                let listener = Listener { group, protocol, socket, to, offset, paused: false };
                let token = base.listeners.insert(listener);
                base.set_interest(token, true)?;
            }
        }
        Order::Stop { group } => {
            for token in base.listeners.tokens(|listener| listener.group == group) {
                base.listeners.remove(token);
                streams.drop_those_of(token);
                datagrams.drop_those_of(token);
            }
            send_at_once(channel, &[STOPPED])?;
        }
        Order::Reset => {
            streams.drop_all();
            datagrams.drop_all();
        }
    }
    Ok(true)
}

impl Base {
    fn watch(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> SysResult<()> {
        let data = EventData::new_u64(token.to_bits());
        sys("epoll_ctl", epoll::add(&self.epoll, fd, data, flags), || "EPOLL_CTL_ADD".to_owned())
    }

    /// Begins to listen to a listener that is new, and stops and begins again later.
    fn set_interest(&mut self, token: Token, new: bool) -> SysResult<()> {
        let Some(listener) = self.listeners.get(token) else { return Ok(()) };
        let flags = if listener.paused { EventFlags::empty() } else { EventFlags::IN };
        let data = EventData::new_u64(token.to_bits());
        let done = match new {
            true => epoll::add(&self.epoll, &listener.socket, data, flags),
            false => epoll::modify(&self.epoll, &listener.socket, data, flags),
        };
        sys("epoll_ctl", done, || "a listener".to_owned())
    }

    /// Listens to `token` no more until there is room.
    fn pause(&mut self, token: Token) {
        if let Some(listener) = self.listeners.get_mut(token)
            && !listener.paused
        {
            listener.paused = true;
            // One that is there already cannot fail to be changed.
            let _ = self.set_interest(token, false);
        }
    }

    fn resume(&mut self) {
        for token in self.listeners.tokens(|listener| listener.paused) {
            if let Some(listener) = self.listeners.get_mut(token) {
                listener.paused = false;
            }
            let _ = self.set_interest(token, false);
        }
    }
}

#[cfg(test)]
mod tests;
