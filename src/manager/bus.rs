//! The connection to the bus, with what clients of systemd's expect beyond the specification.
//!
//! `GetAll("")` of `org.freedesktop.DBus.Properties` means all interfaces to sd-bus, and is what `machinectl show` and `status` ask
//! for. zbus refuses the empty name before any object of ours is asked. So such a call is made one of the object's own interface as
//! it comes in; each object of systemd's interfaces has one.
//!
//! Answers to Introspect go out without what is below the object ([`super::introspection`]).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::io::unix::AsyncFd;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::message::{Message, Type};
use zbus::{Address, Connection, connection};

use super::introspection::shallow_answer;
use crate::sys::readiness::watched;
use crate::sys::socket::receive;
use crate::sys::stream_socket::{connect_to, send_some};

/// Connects to the system bus.
///
/// # Errors
/// When it is not there, or does not take us.
pub async fn connect() -> zbus::Result<Connection> {
    let address = Address::system()?;
    let path = match address.transport() {
        Transport::Unix(unix) => match unix.path() {
            UnixSocket::File(path) => path.clone(),
            // Nobody has the system bus there; what zbus makes of it will do.
            _ => return connection::Builder::system().build().await,
        },
        _ => return connection::Builder::system().build().await,
    };
    connection::Builder::socket(BusSocket::connect(&path)?).build().await
}

/// The socket.
#[derive(Debug)]
struct BusSocket(Half, Half);

impl BusSocket {
    fn connect(path: &Path) -> io::Result<Self> {
        let failed = |error: crate::sys::SysError| io::Error::from(error.errno());
        let socket = connect_to(path).map_err(failed)?;
        let other = socket.try_clone()?;
        Ok(Self(Half(watched(socket).map_err(failed)?), Half(watched(other).map_err(failed)?)))
    }
}

impl Socket for BusSocket {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        Split::new(Reader(self.0), Writer(self.1))
    }
}

/// One direction of it.
#[derive(Debug)]
struct Half(AsyncFd<OwnedFd>);

#[async_trait]
impl ReadHalf for Half {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        loop {
            let mut ready = self.0.readable().await?;
            match receive(self.0.get_ref(), buffer) {
                Ok(Some(message)) if message.fds_lost => return Err(io::ErrorKind::InvalidData.into()),
                Ok(Some(message)) => return Ok((message.length, message.fds)),
                Ok(None) => ready.clear_ready(),
                Err(error) => return Err(error.errno().into()),
            }
        }
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[async_trait]
impl WriteHalf for Half {
    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.writable().await?;
            match send_some(self.0.get_ref(), buffer, fds) {
                Ok(Some(sent)) => return Ok(sent),
                Ok(None) => ready.clear_ready(),
                Err(error) => return Err(error.errno().into()),
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        // Nothing is held back.
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        rustix::net::shutdown(self.0.get_ref(), rustix::net::Shutdown::Both).map_err(Into::into)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// What comes in, with that call changed.
#[derive(Debug)]
struct Reader(Half);

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        sequence: u64,
        bytes: &mut Vec<u8>,
        fds: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        let message = self.0.receive_message(sequence, bytes, fds).await?;
        Ok(with_interface(&message).unwrap_or(message))
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.0.recvmsg(buffer).await
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// What goes out, with those answers changed.
#[derive(Debug)]
struct Writer(Half);

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        let shallow = shallow_answer(message);
        self.0.send_message(shallow.as_ref().unwrap_or(message)).await
    }

    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.sendmsg(buffer, fds).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.0.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.close().await
    }

    fn can_pass_unix_fd(&self) -> bool {
        WriteHalf::can_pass_unix_fd(&self.0)
    }
}

/// The same call with the interface's name, if it is one that lacks it; anything else is let pass.
fn with_interface(message: &Message) -> Option<Message> {
    if message.message_type() != Type::MethodCall {
        return None;
    }
    let header = message.header();
    if header.member().is_none_or(|member| member != "GetAll")
        || header.interface().is_some_and(|interface| interface != "org.freedesktop.DBus.Properties")
        || header.signature() != "s"
        || !message.body().deserialize::<&str>().ok()?.is_empty()
    {
        return None;
    }
    let path = header.path()?;
    let interface = interface_at(path.as_str())?;
    let mut call = Message::method_call(path.clone(), "GetAll")
        .interface("org.freedesktop.DBus.Properties")
        .with_flags(header.primary().flags())
        .serial(header.primary().serial_num());
    if let Some(sender) = header.sender() {
        call = call.sender(sender.clone());
    }
    if let Some(destination) = header.destination() {
        call = call.destination(destination.clone());
    }
    call.build(&interface).ok()
}

/// The interface that the object at `path` has of systemd's.
fn interface_at(path: &str) -> Option<&'static str> {
    let below = path.strip_prefix("/org/freedesktop/")?;
    Some(match below.split('/').collect::<Vec<_>>().as_slice() {
        ["machine1"] => "org.freedesktop.machine1.Manager",
        ["machine1", "machine", _] => "org.freedesktop.machine1.Machine",
        ["machine1", "image", _] => "org.freedesktop.machine1.Image",
        ["import1"] => "org.freedesktop.import1.Manager",
        ["import1", "transfer", _] => "org.freedesktop.import1.Transfer",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_no_interface() {
        const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
        let (manager, other) = ("/org/freedesktop/machine1", "/org/spinney");
        let rows = [
            (manager, PROPERTIES, "GetAll", "", Some("org.freedesktop.machine1.Manager")),
            (manager, PROPERTIES, "GetAll", "org.x.Y", None),
            (manager, PROPERTIES, "Get", "", None),
            (manager, "org.x.Properties", "GetAll", "", None),
            (other, PROPERTIES, "GetAll", "", None),
        ];
        for (path, interface, member, body, expected) in rows {
            let call = Message::method_call(path, member).interface(interface).sender(":1.7");
            let call = call.build(&body).unwrap();
            let changed = with_interface(&call);
            let named = changed.as_ref().map(|call| call.body().deserialize::<String>().unwrap());
            assert_eq!(named.as_deref(), expected, "{path} {interface}.{member}({body:?})");
            if let Some(changed) = changed {
                assert_eq!(changed.primary_header().serial_num(), call.primary_header().serial_num());
                assert_eq!(changed.header().sender(), call.header().sender());
            }
        }
    }

    #[test]
    fn objects_and_their_interfaces() {
        let table = [
            ("/org/freedesktop/machine1", Some("org.freedesktop.machine1.Manager")),
            ("/org/freedesktop/machine1/machine/web", Some("org.freedesktop.machine1.Machine")),
            ("/org/freedesktop/machine1/image/_2ehost", Some("org.freedesktop.machine1.Image")),
            ("/org/freedesktop/import1", Some("org.freedesktop.import1.Manager")),
            ("/org/freedesktop/import1/transfer/_1", Some("org.freedesktop.import1.Transfer")),
            ("/org/freedesktop/machine1/machine", None),
            ("/org/freedesktop/machine1/machine/web/x", None),
            ("/org/spinney", None),
            ("/", None),
        ];
        for (path, interface) in table {
            assert_eq!(interface_at(path), interface, "{path}");
        }
    }
}
