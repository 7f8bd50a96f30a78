//! One client of a Varlink socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::{Last, Served};
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::sys::socket::receive;
use crate::sys::stream_socket::send_some;
use crate::varlink::{Call, Fault, Frames, Reply, Service};

/// The longest call: names and paths, and the words of a command line.
const MESSAGE_BYTES: usize = 256 << 10;

/// Fds that may come with one message.
const MAX_FDS: usize = 16;

/// Bytes read at once.
const CHUNK: usize = 8 << 10;

/// How long a client may take to read a reply, and how long it may stay without a word.
const READS: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(600);

const SERVICE: Service =
    Service { vendor: "Spinney", product: "Spinney manager", version: env!("CARGO_PKG_VERSION"), url: "" };

/// Who has connected.
#[derive(Debug)]
pub struct Peer {
    /// Its process, by number.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its process.
    pub process: Option<OwnedFd>,
}

impl Peer {
    /// It as one who asks; `interactive` says that its user may be asked for a password.
    pub fn caller(&self, interactive: bool) -> Caller<'_> {
        let process = self.process.as_ref().map(AsFd::as_fd);
        Caller::Peer { uid: self.uid, process, interactive }
    }
}

/// A call that is being carried out.
#[derive(Debug)]
pub struct Exchange<'c> {
    /// What all share.
    pub context: Context,
    /// Who has called.
    pub peer: &'c Peer,
    /// The call.
    pub call: Call,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
    socket: &'c AsyncFd<OwnedFd>,
    /// The client is gone, or does not read.
    lost: bool,
}

impl Exchange<'_> {
    /// Sends a reply after which another comes. Says whether anybody reads them.
    pub async fn reply(&mut self, parameters: Map<String, Value>) -> bool {
        let reply = Reply { continues: true, ..Reply::of(parameters) };
        self.lost = self.lost || !send(self.socket, &reply, &[]).await;
        !self.lost
    }
}

/// Serves `socket` until its client goes.
pub(super) async fn attend(
    context: Context,
    socket: AsyncFd<OwnedFd>,
    peer: Peer,
    served: &'static [Served],
) {
    let mut input = Input { frames: Frames::new(MESSAGE_BYTES), fds: Vec::new() };
    while let Ok(Some((call, fds))) = timeout(SILENCE, input.next(&socket)).await {
        let _busy = context.busy();
        let mut exchange =
            Exchange { context: context.clone(), peer: &peer, call, fds, socket: &socket, lost: false };
        let answer = answer(&mut exchange, served).await;
        if exchange.lost {
            return;
        }
        if exchange.call.oneway {
            continue;
        }
        let (reply, fds) = match answer {
            Ok(last) => (Reply::of(last.parameters), last.fds),
            Err(fault) => (Reply::failed(fault), Vec::new()),
        };
        if !send(&socket, &reply, &fds).await {
            return;
        }
    }
}

async fn answer(exchange: &mut Exchange<'_>, served: &'static [Served]) -> Result<Last, Fault> {
    if let Some(answer) = of_service(&exchange.call, served) {
        return answer.map(|parameters| Last { parameters, fds: Vec::new() });
    }
    let (interface, _) = exchange.call.interface_and_name();
    match served.iter().find(|served| served.name == interface) {
        Some(served) => (served.answer)(exchange).await,
        None => Err(Fault::interface_not_found(interface)),
    }
}

/// What every service says of itself.
fn of_service(call: &Call, served: &'static [Served]) -> Option<Result<Map<String, Value>, Fault>> {
    let describe = |served: &'static Served| (served.name, &served.description as &dyn Fn() -> String);
    let described: Vec<_> = served.iter().map(describe).collect();
    SERVICE.answer(call, &described)
}

/// What has come in.
struct Input {
    frames: Frames,
    fds: Vec<OwnedFd>,
}

impl Input {
    /// The next call, and what came with it; `None` when there will be none.
    async fn next(&mut self, socket: &AsyncFd<OwnedFd>) -> Option<(Call, Vec<OwnedFd>)> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.frames.next() {
                Ok(Some(message)) => {
                    return Call::parse(&message).ok().map(|call| (call, std::mem::take(&mut self.fds)));
                }
                Ok(None) => {}
                Err(_) => return None,
            }
            let mut ready = socket.readable().await.ok()?;
            match receive(socket.get_ref(), &mut chunk).ok()? {
                None => ready.clear_ready(),
                Some(message) => {
                    self.fds.extend(message.fds);
                    if message.length == 0 || message.fds_lost || self.fds.len() > MAX_FDS {
                        return None;
                    }
                    self.frames.extend(chunk.get(..message.length).unwrap_or_default());
                }
            }
        }
    }
}

/// Sends all of it; says whether that was read in time.
async fn send(socket: &AsyncFd<OwnedFd>, reply: &Reply, fds: &[OwnedFd]) -> bool {
    timeout(READS, send_all(socket, &reply.to_message(), fds)).await.unwrap_or(false)
}

async fn send_all(socket: &AsyncFd<OwnedFd>, mut bytes: &[u8], fds: &[OwnedFd]) -> bool {
    let mut fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    while !bytes.is_empty() {
        let Ok(mut ready) = socket.writable().await else { return false };
        match send_some(socket.get_ref(), bytes, &fds) {
            Ok(Some(sent)) => {
                bytes = bytes.get(sent..).unwrap_or_default();
                // They went with the first byte.
                fds.clear();
            }
            Ok(None) => ready.clear_ready(),
            Err(_) => return false,
        }
    }
    true
}
