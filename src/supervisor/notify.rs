//! What the guest says of itself: the datagrams of sd_notify(3) on `/run/host/notify`.
//!
//! Parsing is pure and takes anything: a guest is hostile, and what does not make sense is left out. Texts come out
//! printable ([`printable`]), names only if they are names. Listening believes the leader alone, by the credentials that
//! the kernel attaches; fds that come along are closed, which is also what a barrier (BARRIER=1) waits for.
//!
//! A guest with systemd 256 or later says more than systemd-nspawn listens to (systemd(1), "X_SYSTEMD_*"): which targets
//! are reached, how it is going down.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use super::printable;
use crate::sys::socket::{self, Message};
use crate::sys::{SysError, SysResult};

/// The longest datagram taken, as of systemd's own receiver (NOTIFY_BUFFER_MAX is PIPE_BUF). Longer ones are dropped.
pub const DATAGRAM_BYTES: usize = 4096;

/// More assignments in one datagram than this are left out; systemd sends fewer than ten.
const MAX_EVENTS: usize = 64;

/// How many datagrams one call of [`NotifyListener::receive`] takes, so that a guest that sends without end does not keep
/// the supervisor from its other work.
const DATAGRAMS_AT_ONCE: usize = 16;

/// What became known of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEvent {
    /// It is up (READY=1).
    Ready,
    /// What it is doing, for people (STATUS=). Printable; empty if it withdraws its status.
    Status(String),
    /// It begins to go down (STOPPING=1).
    Stopping,
    /// It reloads its configuration (RELOADING=1).
    Reloading,
    /// It failed, with this errno (ERRNO=).
    Errno(i32),
    /// It failed, with this D-Bus error name (BUSERROR=).
    BusError(String),
    /// What its PID 1 will exit with (EXIT_STATUS=).
    ExitStatus(u8),
    /// Its main process, a pid of its own namespace (MAINPID=).
    MainPid(u32),
    /// It is alive (WATCHDOG=1).
    Watchdog,
    /// It wants to be treated as if its watchdog had run out (WATCHDOG=trigger).
    WatchdogTrigger,
    /// Its watchdog's new interval in microseconds (WATCHDOG_USEC=).
    WatchdogInterval(u64),
    /// It needs this many microseconds more (EXTEND_TIMEOUT_USEC=).
    ExtendTimeout(u64),
    /// When the message was made, microseconds of CLOCK_MONOTONIC (MONOTONIC_USEC=).
    MonotonicTime(u64),
    /// It wants fds kept (FDSTORE=1); they are closed.
    StoreFds,
    /// It wants stored fds removed (FDSTOREREMOVE=1).
    RemoveFds,
    /// The name of the fds that FDSTORE or FDSTOREREMOVE mean (FDNAME=).
    FdName(String),
    /// Its host name (X_SYSTEMD_HOSTNAME=).
    Hostname(String),
    /// Its machine ID (X_SYSTEMD_MACHINE_ID=).
    MachineId([u8; 16]),
    /// The version of the signal interface that its PID 1 has (X_SYSTEMD_SIGNALS_LEVEL=, systemd(1)).
    SignalsLevel(u32),
    /// A unit (a target, usually) is up (X_SYSTEMD_UNIT_ACTIVE=).
    UnitActive(String),
    /// A unit is down again (X_SYSTEMD_UNIT_INACTIVE=).
    UnitInactive(String),
    /// How it is going down (X_SYSTEMD_SHUTDOWN=).
    Shutdown(Shutdown),
    /// The argument of its reboot (X_SYSTEMD_REBOOT_PARAMETER=), printable.
    RebootParameter(String),
}

/// How a guest goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Halt.
    Halt,
    /// Power off.
    PowerOff,
    /// Reboot.
    Reboot,
    /// Reboot of user space only; the leader stays.
    SoftReboot,
    /// Reboot into another kernel, which a guest cannot have: PID 1 asks for a plain reboot.
    Kexec,
    /// Exit of PID 1, with a status.
    Exit,
}

/// Reads one datagram.
pub fn parse(datagram: &[u8]) -> Vec<GuestEvent> {
    // One zero at the end is let pass, others make the whole message void, as systemd has it.
    let text = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    if text.contains(&0) {
        return Vec::new();
    }
    text.split(|&byte| byte == b'\n').filter_map(parse_line).take(MAX_EVENTS).collect()
}

fn parse_line(line: &[u8]) -> Option<GuestEvent> {
    let equals = line.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&line[..equals], &line[equals + 1..]);
    match (key, value) {
        (b"READY", b"1") => Some(GuestEvent::Ready),
        (b"STOPPING", b"1") => Some(GuestEvent::Stopping),
        (b"RELOADING", b"1") => Some(GuestEvent::Reloading),
        (b"WATCHDOG", b"1") => Some(GuestEvent::Watchdog),
        (b"WATCHDOG", b"trigger") => Some(GuestEvent::WatchdogTrigger),
        (b"FDSTORE", b"1") => Some(GuestEvent::StoreFds),
        (b"FDSTOREREMOVE", b"1") => Some(GuestEvent::RemoveFds),
        (b"STATUS", _) => Some(GuestEvent::Status(printable::line(value))),
        (b"ERRNO", _) => number(value).filter(|errno| *errno >= 0).map(GuestEvent::Errno),
        (b"BUSERROR", _) => name(value, 255, b"._").map(GuestEvent::BusError),
        (b"EXIT_STATUS", _) => number(value).map(GuestEvent::ExitStatus),
        (b"MAINPID", _) => number(value).filter(|pid| *pid > 0).map(GuestEvent::MainPid),
        (b"WATCHDOG_USEC", _) => number(value).map(GuestEvent::WatchdogInterval),
        (b"EXTEND_TIMEOUT_USEC", _) => number(value).map(GuestEvent::ExtendTimeout),
        (b"MONOTONIC_USEC", _) => number(value).map(GuestEvent::MonotonicTime),
        // sd_notify(3): at most 255 characters, no control characters, no colon.
        (b"FDNAME", _) => name(value, 255, b"._-@+,=/ ").map(GuestEvent::FdName),
        // hostname(7): labels of letters, digits and hyphens; HOST_NAME_MAX is 64.
        (b"X_SYSTEMD_HOSTNAME", _) => name(value, 64, b".-_").map(GuestEvent::Hostname),
        (b"X_SYSTEMD_MACHINE_ID", _) => machine_id(value).map(GuestEvent::MachineId),
        (b"X_SYSTEMD_SIGNALS_LEVEL", _) => number(value).map(GuestEvent::SignalsLevel),
        (b"X_SYSTEMD_UNIT_ACTIVE", _) => unit_name(value).map(GuestEvent::UnitActive),
        (b"X_SYSTEMD_UNIT_INACTIVE", _) => unit_name(value).map(GuestEvent::UnitInactive),
        (b"X_SYSTEMD_SHUTDOWN", _) => shutdown(value).map(GuestEvent::Shutdown),
        (b"X_SYSTEMD_REBOOT_PARAMETER", _) => Some(GuestEvent::RebootParameter(printable::line(value))),
        _ => None,
    }
}

fn number<T: FromStr>(value: &[u8]) -> Option<T> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if plain { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

/// `value` if it is 1 to `longest` ASCII letters, digits and `others`.
fn name(value: &[u8], longest: usize, others: &[u8]) -> Option<String> {
    let fits = (1..=longest).contains(&value.len());
    let valid = value.iter().all(|byte| byte.is_ascii_alphanumeric() || others.contains(byte));
    (fits && valid).then(|| String::from_utf8_lossy(value).into_owned())
}

/// systemd.unit(5): at most 255 letters, digits and `:-_.\@`, with a type at the end.
fn unit_name(value: &[u8]) -> Option<String> {
    name(value, 255, b":-_.\\@").filter(|unit| unit.contains('.'))
}

/// machine-id(5): 32 hexadecimal digits.
fn machine_id(value: &[u8]) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = value.try_into().ok()?;
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?];
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(id)
}

fn shutdown(value: &[u8]) -> Option<Shutdown> {
    match value {
        b"halt" => Some(Shutdown::Halt),
        b"poweroff" => Some(Shutdown::PowerOff),
        b"reboot" => Some(Shutdown::Reboot),
        b"soft-reboot" => Some(Shutdown::SoftReboot),
        b"kexec" => Some(Shutdown::Kexec),
        b"exit" => Some(Shutdown::Exit),
        _ => None,
    }
}

/// The receiving end of the guest's notification socket.
#[derive(Debug)]
pub struct NotifyListener {
    socket: OwnedFd,
}

impl NotifyListener {
    /// Listens on `socket`: a datagram socket made by [`socket::notify_socket`] and bound in the guest's `/run/host`.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Takes what has arrived, without waiting; what `leader` did not send is dropped. `leader` is the pid that we see:
    /// call this before the leader is reaped, for then the number may be another's.
    ///
    /// If more is waiting than one call takes, the socket stays readable.
    pub fn receive(&self, leader: rustix::process::Pid) -> SysResult<Vec<GuestEvent>> {
        let mut events = Vec::new();
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS_AT_ONCE {
            match socket::receive(&self.socket, &mut buffer) {
                Ok(Some(message)) if is_from(&message, leader) && !message.truncated => {
                    events.extend(parse(&buffer[..message.length]));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                // What was read must not be lost over it; an error that stays comes again with the next call.
                Err(error) if events.is_empty() => return Err(error),
                Err(SysError { .. }) => break,
            }
        }
        Ok(events)
    }
}

impl AsFd for NotifyListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_from(message: &Message, leader: rustix::process::Pid) -> bool {
    message.credentials.is_some_and(|sender| sender.pid == leader.as_raw_pid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn datagrams() {
        use GuestEvent::*;
        let id: [u8; 16] =
            [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff];
        let long_name = format!("X_SYSTEMD_HOSTNAME={}", "a".repeat(65));
        let many = "READY=1\n".repeat(10_000);
        let table: &[(&str, &[u8], Vec<GuestEvent>)] = &[
            ("ready", b"READY=1", vec![Ready]),
            ("newline at the end", b"READY=1\n", vec![Ready]),
            ("zero at the end", b"READY=1\0", vec![Ready]),
            ("zero inside", b"READY=1\0\nSTATUS=x", vec![]),
            ("not ready", b"READY=0\nREADY=\nREADY\n=1\nready=1\n READY=1", vec![]),
            ("several", b"READY=1\nSTATUS=Up.\nMAINPID=1", vec![Ready, Status("Up.".into()), MainPid(1)]),
            ("status with equals", b"STATUS=a=b", vec![Status("a=b".into())]),
            ("status withdrawn", b"STATUS=", vec![Status(String::new())]),
            (
                "status that is hostile",
                b"STATUS=\x1b]0;x\x07a\x1b[31mb\xff",
                vec![Status("ab\u{fffd}".into())],
            ),
            ("stopping", b"STOPPING=1", vec![Stopping]),
            ("reloading", b"RELOADING=1\nMONOTONIC_USEC=12345", vec![Reloading, MonotonicTime(12345)]),
            (
                "errors",
                b"ERRNO=2\nBUSERROR=org.x.Failed_1",
                vec![Errno(2), BusError("org.x.Failed_1".into())],
            ),
            ("exit status", b"EXIT_STATUS=42\nEXIT_STATUS=256\nEXIT_STATUS=-1", vec![ExitStatus(42)]),
            (
                "numbers that are none",
                b"ERRNO=+2\nERRNO=-2\nERRNO= 2\nERRNO=\nMAINPID=0\nMAINPID=99999999999",
                vec![],
            ),
            (
                "watchdog",
                b"WATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=5\nEXTEND_TIMEOUT_USEC=6",
                vec![Watchdog, WatchdogTrigger, WatchdogInterval(5), ExtendTimeout(6)],
            ),
            (
                "fd store",
                b"FDSTORE=1\nFDNAME=a b\nFDSTOREREMOVE=1\nFDNAME=a:b\nFDNAME=",
                vec![StoreFds, FdName("a b".into()), RemoveFds],
            ),
            ("barrier", b"BARRIER=1", vec![]),
            ("unknown", b"X_OTHER=1\nFOO=bar\n\n\n=\n==", vec![]),
            ("hostname", b"X_SYSTEMD_HOSTNAME=debian.example", vec![Hostname("debian.example".into())]),
            ("hostname that is none", b"X_SYSTEMD_HOSTNAME=a b\nX_SYSTEMD_HOSTNAME=", vec![]),
            ("hostname too long", long_name.as_bytes(), vec![]),
            ("machine id", b"X_SYSTEMD_MACHINE_ID=0123456789abcdef00112233445566fF", vec![MachineId(id)]),
            (
                "machine id that is none",
                b"X_SYSTEMD_MACHINE_ID=0123\nX_SYSTEMD_MACHINE_ID=0123456789abcdef00112233445566fg",
                vec![],
            ),
            ("signals level", b"X_SYSTEMD_SIGNALS_LEVEL=2", vec![SignalsLevel(2)]),
            (
                "units",
                b"X_SYSTEMD_UNIT_ACTIVE=multi-user.target\nX_SYSTEMD_UNIT_INACTIVE=a@b\\x2d:c.service",
                vec![UnitActive("multi-user.target".into()), UnitInactive("a@b\\x2d:c.service".into())],
            ),
            (
                "units that are none",
                b"X_SYSTEMD_UNIT_ACTIVE=target\nX_SYSTEMD_UNIT_ACTIVE=a/b.target",
                vec![],
            ),
            (
                "shutdown",
                b"X_SYSTEMD_SHUTDOWN=soft-reboot\nX_SYSTEMD_REBOOT_PARAMETER=now\nX_SYSTEMD_SHUTDOWN=x",
                vec![Shutdown(super::Shutdown::SoftReboot), RebootParameter("now".into())],
            ),
            ("not UTF-8", b"\xff\xfe=1\nREADY=1\xff", vec![]),
            ("ten thousand lines", many.as_bytes(), vec![Ready; MAX_EVENTS]),
            ("nothing", b"", vec![]),
        ];
        for (name, datagram, expected) in table {
            assert_eq!(parse(datagram), *expected, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>, text in "(READY|STATUS|X_SYSTEMD_MACHINE_ID|MAINPID|FDNAME)=[^\n]{0,40}") {
            parse(&bytes);
            proptest::prop_assert!(parse(text.as_bytes()).len() <= 1);
        }
    }

    fn listener() -> (tempfile::TempDir, NotifyListener, UnixDatagram) {
        let directory = tempfile::tempdir().expect("tempdir");
        let handle = std::fs::File::open(directory.path()).expect("open");
        let socket = socket::notify_socket().expect("socket");
        socket::bind_at(&socket, &handle, "notify").expect("bind");
        let sender = UnixDatagram::unbound().expect("unbound");
        sender.connect(directory.path().join("notify")).expect("connect");
        (directory, NotifyListener::new(socket), sender)
    }

    #[test]
    fn only_the_leader_is_heard() {
        let (_directory, listener, sender) = listener();
        let ours = rustix::process::getpid();
        assert_eq!(listener.receive(ours).expect("receive"), []);
        sender.send(b"READY=1").expect("send");
        sender.send(b"STATUS=up").expect("send");
        assert_eq!(
            listener.receive(ours).expect("receive"),
            [GuestEvent::Ready, GuestEvent::Status("up".into())]
        );
        sender.send(b"READY=1").expect("send");
        let another = rustix::process::getppid().expect("a parent");
        assert_eq!(listener.receive(another).expect("receive"), []);
    }

    #[test]
    fn what_is_too_long_is_dropped_and_fds_are_closed() {
        let (_directory, listener, sender) = listener();
        let mut long = b"READY=1\nSTATUS=".to_vec();
        long.resize(DATAGRAM_BYTES + 1, b'x');
        sender.send(&long).expect("send");
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        socket::send(&sender, b"FDSTORE=1\nBARRIER=1", &[writer.as_fd()]).expect("send");
        drop(writer);
        let events = listener.receive(rustix::process::getpid()).expect("receive");
        assert_eq!(events, [GuestEvent::StoreFds]);
        // End of file: no writer is left.
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
    }

    #[test]
    fn a_flood_is_taken_in_portions() {
        let (_directory, listener, sender) = listener();
        sender.set_nonblocking(true).expect("non-blocking");
        let sent = (0..DATAGRAMS_AT_ONCE * 4).take_while(|_| sender.send(b"WATCHDOG=1").is_ok()).count();
        let got = listener.receive(rustix::process::getpid()).expect("receive").len();
        assert_eq!(got, sent.min(DATAGRAMS_AT_ONCE));
    }
}
