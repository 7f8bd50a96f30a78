//! systemd-resolved's hook, `io.systemd.Resolve.Hook` (systemd 259): a socket in a directory of its, where it asks before it asks
//! anybody else.
//!
//! Each machine has a socket of its own, which says by its filter that it wants to be asked for this machine's name and addresses and
//! for nothing else. So a supervisor that does not answer, say since somebody has stopped it, delays lookups of its own machine and no
//! other; and the names go with it. Older versions of systemd-resolved do not look there; machines are in `/etc/hosts` for it, which it
//! reads.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::event::PollFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::network::dns::message::{Code, Data, INTERNET, Record, kind};
use crate::network::dns::name::Name;
use crate::network::service::Service;
use crate::sys::SysResult;
use crate::sys::event_set::{EventFlags, EventSet};
use crate::sys::files::{make_directories, open_directory, remove_directory_at, remove_file_at};
use crate::sys::socket::receive;
use crate::sys::stream_socket::{accept, listen_at, peer, send_some};
use crate::varlink::service::object;
use crate::varlink::{Call, Fault, Frames, Interface, Reply, Service as VarlinkService};

use super::HostName;

/// Where systemd-resolved looks for hooks.
pub const HOOKS: &str = "/run/systemd/resolve.hook";

/// What is there while it runs.
pub const RUNNING: &str = "/run/systemd/resolve/io.systemd.Resolve";

/// The interface, as systemd describes it.
const INTERFACE: Interface = Interface {
    name: "io.systemd.Resolve.Hook",
    about: "Names of a machine, for systemd-resolved.",
    members: &[
        "type ResourceKey (class: int, type: int, name: string)",
        "type Question (key: ResourceKey)",
        "# A record as messages of the domain name system have it, in Base64.\ntype Answer (rr: ?object, raw: string)",
        "# What to be asked for.\nmethod QueryFilter() -> (filterDomains: ?[]string, filterLabelsMin: ?int, filterLabelsMax: ?int)",
        "# Without a code, others are to be asked.\nmethod ResolveRecord(question: []Question) -> (rcode: ?int, answer: ?[]Answer)",
    ],
};

const SERVICE: VarlinkService = VarlinkService {
    vendor: "Spinney",
    product: "Spinney",
    version: env!("CARGO_PKG_VERSION"),
    url: "https://varlink.org/",
};

/// Connections: systemd-resolved keeps one for the filter and a handful for lookups.
const MOST_CONNECTIONS: usize = 16;

/// Who is accepted in one turn: the supervisor has else to do.
const AT_ONCE: usize = 16;

/// How long nobody is accepted where there are no fds for it.
const REST: Duration = Duration::from_millis(100);

/// The longest call: a few names.
const MESSAGE_BYTES: usize = 16 << 10;

/// What may wait to be sent.
const OUT_BYTES: usize = 64 << 10;

/// Questions of one call.
const MOST_QUESTIONS: usize = 16;

/// Seconds that an address may be remembered, as in the zone.
const TTL: u32 = 5;

/// The listener's key; those of connections are above.
const LISTENER: u64 = 0;

/// The hook of one machine.
#[derive(Debug)]
pub struct ResolveHook {
    host: HostName,
    set: EventSet,
    listener: OwnedFd,
    /// Who may ask besides root: whose directory systemd-resolved's is.
    user: u32,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// Until when nobody is accepted.
    closed_until: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    frames: Frames,
    out: Vec<u8>,
    used: u64,
}

/// The path of the socket of `machine`.
pub fn socket_path(directory: &Path, machine: &str) -> PathBuf {
    directory.join(socket_name(machine))
}

fn socket_name(machine: &str) -> String {
    format!("org.spinney.Machine.{machine}")
}

/// Whether systemd-resolved runs, on this host and for our network.
pub fn is_of_use() -> bool {
    rustix::fs::lstat(RUNNING).is_ok() && super::concerns_us(Path::new(RUNNING))
}

/// Removes the socket at `path`, and the directory if nobody else has one there.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(path: &Path) -> SysResult<()> {
    match remove_file_at(CWD, path) {
        Err(error) if error.errno() == Errno::NOTDIR => return Ok(()),
        result => result?,
    }
    match path.parent().map(|directory| remove_directory_at(CWD, directory)) {
        Some(Err(error)) if !matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

impl ResolveHook {
    /// Listens in `directory`, [`HOOKS`], for who has made `running`, [`RUNNING`].
    ///
    /// # Errors
    /// When it cannot.
    pub fn open(host: HostName, directory: &Path, running: &Path) -> SysResult<Self> {
        let hooks = make_directories(directory, 0o755).or_else(|_| open_directory(directory))?;
        let name = socket_name(&host.machine);
        // That of one that was killed.
        remove_file_at(&hooks, &name)?;
        let listener = listen_at(&hooks, &name, 0o666, 16)?;
        let set = EventSet::new()?;
        set.add(&listener, LISTENER, EventFlags::IN)?;
        let user = rustix::fs::lstat(running).map_or(0, |stat| stat.st_uid);
        Ok(Self {
            host,
            set,
            listener,
            user,
            connections: HashMap::new(),
            next: LISTENER,
            closed_until: None,
        })
    }

    /// Accepts nobody for a while.
    fn close(&mut self, now: Instant) {
        self.closed_until = Some(now + REST);
        // It is in the set.
        let _ = self.set.change(&self.listener, LISTENER, EventFlags::empty());
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..AT_ONCE {
            let socket = match accept(&self.listener) {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                // No fd for it: who waits is there still, and would be reported on and on.
                Err(_) => return self.close(now),
            };
            // Anybody may connect, by the socket's mode; those who have no business here are not to take its place.
            let known = |uid| uid == 0 || uid == self.user || uid == rustix::process::geteuid().as_raw();
            if !peer(&socket).is_ok_and(|peer| known(peer.uid)) {
                continue;
            }
            if self.connections.len() >= MOST_CONNECTIONS {
                let oldest = self.connections.iter().min_by_key(|(_, one)| one.used).map(|(key, _)| *key);
                oldest.and_then(|oldest| self.connections.remove(&oldest));
            }
            self.next += 1;
            if self.set.add(&socket, self.next, EventFlags::IN).is_ok() {
                let frames = Frames::new(MESSAGE_BYTES);
                let one = Connection { socket, frames, out: Vec::new(), used: self.next };
                self.connections.insert(self.next, one);
            }
        }
    }

    fn turn(&mut self, key: u64) {
        let Some(mut one) = self.connections.remove(&key) else { return };
        if one.turn(&self.host).is_some() {
            let waits = if one.out.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
            if self.set.change(&one.socket, key, waits).is_ok() {
                self.next += 1;
                one.used = self.next;
                self.connections.insert(key, one);
            }
        }
    }
}

impl Service for ResolveHook {
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.set.as_fd(), PollFlags::IN)]
    }

    fn on_ready(&mut self, now: Instant) {
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            let _ = self.set.change(&self.listener, LISTENER, EventFlags::IN);
        }
        for (key, _) in self.set.ready::<16>() {
            match key {
                LISTENER => self.accept(now),
                key => self.turn(key),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.closed_until
    }
}

impl Connection {
    /// Reads, answers and sends what can be; `None` when that is over.
    fn turn(&mut self, host: &HostName) -> Option<()> {
        self.flush()?;
        let mut chunk = [0; 4096];
        match receive(&self.socket, &mut chunk).ok()? {
            None => {}
            Some(message) if message.length == 0 => return None,
            Some(message) => self.frames.extend(chunk.get(..message.length)?),
        }
        while let Some(message) = self.frames.next().ok()? {
            let call = Call::parse(&message).ok()?;
            let reply = reply(host, &call);
            if !call.oneway {
                self.out.extend(reply.to_message());
            }
            self.flush()?;
        }
        (self.out.len() <= OUT_BYTES).then_some(())
    }

    fn flush(&mut self) -> Option<()> {
        while !self.out.is_empty() {
            match send_some(&self.socket, &self.out, &[]).ok()? {
                Some(sent) => drop(self.out.drain(..sent)),
                None => break,
            }
        }
        Some(())
    }
}

/// What a call is answered with.
pub fn reply(host: &HostName, call: &Call) -> Reply {
    if let Some(answer) = SERVICE.answer(call, &[(INTERFACE.name, &|| INTERFACE.description())]) {
        return answer.map_or_else(Reply::failed, Reply::of);
    }
    match call.interface_and_name() {
        // The filter stays as it is: a reply that others might follow, and none does.
        (interface, "QueryFilter") if interface == INTERFACE.name => {
            Reply { continues: call.more, ..Reply::of(filter(host)) }
        }
        (interface, "ResolveRecord") if interface == INTERFACE.name => match questions(&call.parameters) {
            Some(questions) => Reply::of(resolve(host, &questions)),
            None => Reply::failed(Fault::invalid_parameter("question")),
        },
        _ => Reply::failed(Fault::method_not_found(&call.method)),
    }
}

fn filter(host: &HostName) -> Map<String, Value> {
    let reverse = host.addresses.iter().map(|address| Name::of_address(*address).to_string());
    let domains: Vec<String> = std::iter::once(host.name.clone()).chain(reverse).collect();
    object(json!({ "filterDomains": domains }))
}

/// A name, and the type of record that is wanted of it.
type Key = (Name, u16);

fn questions(parameters: &Map<String, Value>) -> Option<Vec<Key>> {
    let questions = parameters.get("question")?.as_array()?;
    let mut keys = Vec::new();
    for question in questions.iter().take(MOST_QUESTIONS) {
        let key = question.get("key")?;
        let number = |name: &str| key.get(name)?.as_u64().and_then(|number| u16::try_from(number).ok());
        // What makes no name, as in UTF-8, is not ours.
        let name = Name::from_text(key.get("name")?.as_str()?);
        let (class, kind) = (number("class")?, number("type")?);
        keys.extend(name.filter(|_| class == INTERNET).map(|name| (name, kind)));
    }
    (!questions.is_empty()).then_some(keys)
}

fn resolve(host: &HostName, questions: &[Key]) -> Map<String, Value> {
    let own = Name::from_text(&host.name);
    let mut ours = false;
    let mut answer = Vec::new();
    for (name, kind) in questions {
        let data: Vec<Data> = match name.address() {
            Some(address) if host.addresses.contains(&address) => {
                own.iter().cloned().map(Data::Pointer).collect()
            }
            None if own.as_ref().is_some_and(|own| own.is(name)) => {
                host.addresses.iter().copied().map(Data::Address).collect()
            }
            _ => continue,
        };
        ours = true;
        for record in data.into_iter().map(|data| Record { data, ttl: TTL }) {
            if record.kind() == *kind || *kind == kind::ANY {
                let mut raw = name.wire().to_vec();
                record.write(&mut raw);
                answer.push(json!({ "raw": BASE64_STANDARD.encode(raw) }));
            }
        }
    }
    match ours {
        true => object(json!({ "rcode": Code::NoError as u8, "answer": answer })),
        false => Map::new(),
    }
}

#[cfg(test)]
mod tests;
