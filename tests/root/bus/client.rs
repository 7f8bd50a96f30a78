//! A client of the manager in the test itself, for what busctl does not do: many calls, signals, what comes as an fd.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::message::{Message, Type};
use zbus::{Connection, DynamicType, MessageStream, OwnedObjectPath, OwnedVariant};

use super::fixture::Bus;
use crate::command::PATIENCE;
use crate::harness::Stop;

pub const NAME: &str = "org.freedesktop.machine1";
pub const PATH: &str = "/org/freedesktop/machine1";
pub const MANAGER: &str = "org.freedesktop.machine1.Manager";

/// A connection, and the loop that it is in.
pub struct Client {
    runtime: Runtime,
    pub connection: Connection,
    /// Who listens and does not take what comes is told nothing else either.
    signals: Option<MessageStream>,
}

/// A signal of the manager's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    New(String),
    Removed(String),
    /// The last element of the path, and the names of the properties, in order.
    Changed(String, Vec<String>),
}

impl Client {
    pub fn of(bus: &Bus) -> Result<Self, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address: zbus::Address = bus.address().parse()?;
        let connection = runtime.block_on(zbus::connection::Builder::address(address).build())?;
        Ok(Self { runtime, connection, signals: None })
    }

    /// One that hears signals.
    pub fn listening(bus: &Bus) -> Result<Self, Stop> {
        let mut client = Self::of(bus)?;
        let rule = format!("type='signal',path_namespace='{PATH}'");
        let signals = MessageStream::for_match_rule(rule.as_str(), &client.connection, None);
        client.signals = Some(client.runtime.block_on(signals)?);
        Ok(client)
    }

    /// Does `work` in the loop.
    pub fn wait_for<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        Ok(self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await })?)
    }

    /// Calls a method of the manager's object.
    pub fn call<R: DeserializeOwned + zbus::Type>(
        &self,
        method: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) -> Result<R, Stop> {
        let reply = self.message(PATH, MANAGER, method, body)?;
        Ok(reply.body().deserialize::<R>()?)
    }

    /// Calls a method, and gives the reply as it comes.
    pub fn message(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &(impl serde::Serialize + DynamicType),
    ) -> Result<Message, Stop> {
        Ok(self.wait_for(self.connection.call_method(Some(NAME), path, Some(interface), method, body))??)
    }

    /// The next signal.
    pub fn signal(&mut self) -> Result<Signal, Stop> {
        loop {
            let signals = self.signals.as_mut().ok_or("it does not listen")?;
            let next = async move { tokio::time::timeout(PATIENCE, signals.next()).await };
            let message = self.runtime.block_on(next)?.ok_or("the bus is gone")??;
            if let Some(signal) = signal(&message)? {
                return Ok(signal);
            }
        }
    }

    /// The next signals until one is `wanted`.
    pub fn signal_of(&mut self, wanted: &Signal) -> Result<Vec<Signal>, Stop> {
        let mut before = Vec::new();
        loop {
            match self.signal()? {
                signal if signal == *wanted => return Ok(before),
                signal => before.push(signal),
            }
        }
    }
}

fn signal(message: &Message) -> Result<Option<Signal>, Stop> {
    if message.message_type() != Type::Signal {
        return Ok(None);
    }
    let header = message.header();
    let named = || -> Result<String, Stop> {
        Ok(message.body().deserialize::<(String, OwnedObjectPath)>().map(|(name, _)| name)?)
    };
    Ok(match header.member().map(|member| member.to_string()).as_deref() {
        Some("MachineNew") => Some(Signal::New(named()?)),
        Some("MachineRemoved") => Some(Signal::Removed(named()?)),
        Some("PropertiesChanged") => {
            let (_, changed, _): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                message.body().deserialize()?;
            let mut names: Vec<String> = changed.into_keys().collect();
            names.sort();
            let path = header.path().map(|path| path.to_string()).unwrap_or_default();
            Some(Signal::Changed(path.rsplit('/').next().unwrap_or_default().to_owned(), names))
        }
        _ => None,
    })
}

/// What comes out of a terminal, until `text` is in it.
pub fn read_until(master: &mut std::fs::File, text: &str) -> Result<String, Stop> {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).replace('\r', "").contains(text) {
        match some(master)? {
            Some(bytes) => all.extend(bytes),
            None => return Err(format!("the terminal ends after {:?}", String::from_utf8_lossy(&all)).into()),
        }
    }
    Ok(String::from_utf8_lossy(&all).replace('\r', ""))
}

/// What comes out of a terminal until it has nobody inside.
pub fn read_to_end(master: &mut std::fs::File) -> Result<String, Stop> {
    let mut all = Vec::new();
    while let Some(bytes) = some(master)? {
        all.extend(bytes);
    }
    Ok(String::from_utf8_lossy(&all).replace('\r', ""))
}

/// What there is now; `None` at the end, which is EIO of a master (pty(7)).
fn some(master: &mut std::fs::File) -> Result<Option<Vec<u8>>, Stop> {
    let patience = Timespec { tv_sec: Duration::as_secs(&PATIENCE).cast_signed(), tv_nsec: 0 };
    if poll(&mut [PollFd::new(&*master, PollFlags::IN)], Some(&patience))? == 0 {
        return Err("nothing comes out of the terminal".into());
    }
    let mut buffer = [0; 4096];
    match master.read(&mut buffer) {
        Ok(0) => Ok(None),
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
