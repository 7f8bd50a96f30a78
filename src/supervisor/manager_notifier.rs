//! What we say of ourselves to the service manager that runs us (sd_notify(3)), as systemd-nspawn does.
//!
//! NOTIFY_SOCKET is taken from the environment once, at the start, and connected then: afterwards no environment and no
//! mount namespace matters, and no guest can inherit it.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::process::Pid;
use sd_notify::NotifyState;

use super::printable;
use crate::sys::environment::take_variable;

/// A manager that does not read its socket for so long is not waited for: machines matter more.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the manager could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ManagerNotifierError {
    /// NOTIFY_SOCKET names nothing that we can talk to.
    #[error("cannot connect to the service manager at NOTIFY_SOCKET={address}")]
    Connect {
        /// The variable's value, printable.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manager did not take the message.
    #[error("cannot notify the service manager")]
    Send(#[source] io::Error),
}

/// Tells the service manager; without one, every call does nothing.
#[derive(Debug, Default)]
pub struct ManagerNotifier {
    socket: Option<UnixDatagram>,
}

impl ManagerNotifier {
    /// Connects to the manager that NOTIFY_SOCKET names, and removes the variable. To be called before anything is
    /// started, while we have one thread. On failure the caller warns and goes on with [`Self::default`].
    pub fn from_environment() -> Result<Self, ManagerNotifierError> {
        match take_variable("NOTIFY_SOCKET") {
            Some(address) if !address.is_empty() => Self::connect(&address),
            _ => Ok(Self::default()),
        }
    }

    fn connect(address: &OsStr) -> Result<Self, ManagerNotifierError> {
        let connect = || {
            let target = match address.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                [b'/', ..] => SocketAddr::from_pathname(address)?,
                _ => return Err(io::ErrorKind::Unsupported.into()),
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&target)?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            Ok(socket)
        };
        let failed =
            |source| ManagerNotifierError::Connect { address: printable::line(address.as_bytes()), source };
        Ok(Self { socket: Some(connect().map_err(failed)?) })
    }

    /// Whether there is a manager to tell.
    pub fn has_manager(&self) -> bool {
        self.socket.is_some()
    }

    /// The machine's leader has started (X_NSPAWN_LEADER_PID=, with a status).
    pub fn leader_started(&self, leader: Pid) -> Result<(), ManagerNotifierError> {
        let leader = format!("X_NSPAWN_LEADER_PID={}", leader.as_raw_pid());
        self.send(&[NotifyState::Status("Container started."), NotifyState::Custom(&leader)])
    }

    /// The machine is up (READY=1): at once, or when the guest says so (`--notify-ready`).
    pub fn ready(&self) -> Result<(), ManagerNotifierError> {
        self.send(&[NotifyState::Ready])
    }

    /// What the machine does, in one line (STATUS=).
    pub fn status(&self, status: &str) -> Result<(), ManagerNotifierError> {
        self.send(&[NotifyState::Status(&printable::line(status.as_bytes()))])
    }

    /// Which process is the service (MAINPID=), where that is not the one that the manager started.
    pub fn main_pid(&self, pid: Pid) -> Result<(), ManagerNotifierError> {
        self.send(&[NotifyState::MainPid(pid.as_raw_pid().unsigned_abs())])
    }

    /// The machine goes down (STOPPING=1).
    pub fn stopping(&self) -> Result<(), ManagerNotifierError> {
        self.send(&[NotifyState::Stopping])
    }

    /// That we are still at it (WATCHDOG=1).
    pub fn watchdog(&self) -> Result<(), ManagerNotifierError> {
        self.send(&[NotifyState::Watchdog])
    }

    /// That what we do may take as long as this, from now on (EXTEND_TIMEOUT_USEC=).
    pub fn extend_timeout(&self, time: Duration) -> Result<(), ManagerNotifierError> {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.send(&[NotifyState::Custom(&format!("EXTEND_TIMEOUT_USEC={microseconds}"))])
    }

    /// Over the crate's texts, not its `notify()`: that reads NOTIFY_SOCKET anew each time.
    fn send(&self, states: &[NotifyState<'_>]) -> Result<(), ManagerNotifierError> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let mut message = String::new();
        for state in states {
            let written = writeln!(message, "{state}");
            debug_assert!(written.is_ok(), "a String takes everything");
        }
        socket.send(message.as_bytes()).map(drop).map_err(ManagerNotifierError::Send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(receiver: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = receiver.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("utf-8")
    }

    #[test]
    fn messages() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("notify");
        let receiver = UnixDatagram::bind(&path).expect("bind");
        let notifier = ManagerNotifier::connect(path.as_os_str()).expect("connect");
        let pid = rustix::process::getpid();
        type Row<'a> = (&'a str, Result<(), ManagerNotifierError>, String);
        let table: [Row<'_>; 7] = [
            (
                "leader",
                notifier.leader_started(pid),
                format!("STATUS=Container started.\nX_NSPAWN_LEADER_PID={pid}\n"),
            ),
            ("ready", notifier.ready(), "READY=1\n".to_owned()),
            (
                "status",
                notifier.status("Running: a\nREADY=1\x1b[0m"),
                "STATUS=Running: a READY=1\n".to_owned(),
            ),
            ("main pid", notifier.main_pid(pid), format!("MAINPID={pid}\n")),
            ("stopping", notifier.stopping(), "STOPPING=1\n".to_owned()),
            ("watchdog", notifier.watchdog(), "WATCHDOG=1\n".to_owned()),
            (
                "time",
                notifier.extend_timeout(Duration::from_millis(1500)),
                "EXTEND_TIMEOUT_USEC=1500000\n".to_owned(),
            ),
        ];
        for (name, result, expected) in table {
            result.expect(name);
            assert_eq!(told(&receiver), expected, "{name}");
        }
        drop(receiver);
        assert_eq!(
            notifier.ready().expect_err("nobody listens").to_string(),
            "cannot notify the service manager"
        );
    }

    #[test]
    fn addresses() {
        let name = format!("@spinney-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).expect("address");
        let receiver = UnixDatagram::bind_addr(&address).expect("bind");
        ManagerNotifier::connect(OsStr::new(&name)).expect("connect").ready().expect("send");
        assert_eq!(told(&receiver), "READY=1\n");
        for address in ["vsock:2:1234", "relative", "/no/such/socket"] {
            let error = ManagerNotifier::connect(OsStr::new(address)).expect_err(address);
            assert_eq!(
                error.to_string(),
                format!("cannot connect to the service manager at NOTIFY_SOCKET={address}")
            );
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let notifier = ManagerNotifier::default();
        assert!(!notifier.has_manager());
        notifier.ready().expect("nothing");
    }
}
