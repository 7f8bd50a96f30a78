//! A client of the bus in the test itself: with values of any type, fds, and signals.

use std::fmt;
use std::num::NonZero;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder as Runtime, Runtime as Loop};
use zbus::connection::Builder;
use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::{Connection, DBusError, DynamicType, MatchRule, Message, MessageStream, Type};

use super::fixture::Bus;
use crate::command::PATIENCE;
use crate::harness::Stop;

/// Name and text of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused(pub String, pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

/// Its connection.
pub struct Client {
    runtime: Loop,
    connection: Connection,
}

/// Signals that came, and come.
pub struct Signals<'a> {
    client: &'a Client,
    member: &'static str,
    stream: MessageStream,
}

impl Client {
    pub fn connect(bus: &Bus) -> Result<Self, Stop> {
        let runtime = Runtime::new_current_thread().enable_all().build()?;
        let address: zbus::Address = bus.address().parse()?;
        let connection = runtime.block_on(Builder::address(address).build())?;
        Ok(Self { runtime, connection })
    }

    /// Calls a method of `org.spinney`: its results, or the error that it gives.
    pub fn call<R: DeserializeOwned + Type>(
        &self,
        path: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<R, Refused> {
        let message = self.message(path, method, body)?;
        message.body().deserialize::<R>().map_err(|error| Refused(String::new(), error.to_string()))
    }

    /// The same with the whole answer, which may have fds.
    pub fn message(
        &self,
        path: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Message, Refused> {
        self.message_to("org.spinney", path, method, body)
    }

    /// The same of another service.
    pub fn message_to(
        &self,
        service: &str,
        path: &str,
        method: &str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<Message, Refused> {
        let (interface, member) = method.rsplit_once('.').unwrap_or(("", method));
        let interface =
            if interface.contains('.') { interface.to_owned() } else { format!("org.spinney.{interface}") };
        let call = self.connection.call_method(Some(service), path, Some(interface.as_str()), member, body);
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
        match answer {
            Err(_) => Err(Refused(String::new(), format!("{method} does not come back"))),
            Ok(Ok(message)) => Ok(message),
            Ok(Err(zbus::Error::MethodError(name, text, _))) => {
                Err(Refused(name.to_string(), text.unwrap_or_default()))
            }
            // Those that everybody knows.
            Ok(Err(zbus::Error::FDO(error))) => {
                Err(Refused(error.name().to_string(), error.description().unwrap_or_default().to_owned()))
            }
            Ok(Err(error)) => Err(Refused(String::new(), error.to_string())),
        }
    }

    /// A property.
    pub fn property<R>(&self, path: &str, interface: &str, name: &str) -> Result<R, Refused>
    where
        R: TryFrom<zbus::OwnedVariant>,
        R::Error: std::fmt::Debug,
    {
        let interface = format!("org.spinney.{interface}");
        let value: zbus::OwnedVariant =
            self.call(path, "org.freedesktop.DBus.Properties.Get", &(interface.as_str(), name))?;
        R::try_from(value).map_err(|error| Refused(String::new(), format!("{name}: {error:?}")))
    }

    /// Hears signals from now on: those of `member`.
    pub fn signals(&self, member: &'static str) -> Result<Signals<'_>, Stop> {
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).member(member).build()?;
        let stream = self.runtime.block_on(MessageStream::for_match_rule(
            rule,
            &self.connection,
            NonZero::new(256),
        ))?;
        Ok(Signals { client: self, member, stream })
    }
}

impl Signals<'_> {
    /// Waits for the next one for which `wanted` gives something.
    pub fn wait<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> Result<T, Stop> {
        let next = async {
            while let Some(message) = self.stream.next().await {
                if let Some(found) = message.ok().as_ref().and_then(&wanted) {
                    return Some(found);
                }
            }
            None
        };
        let found = async { tokio::time::timeout(PATIENCE, next).await };
        let found =
            self.client.runtime.block_on(found).map_err(|_| format!("no {} as wanted came", self.member))?;
        Ok(found.ok_or("the bus is gone")?)
    }
}
