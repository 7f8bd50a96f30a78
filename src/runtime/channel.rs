//! What the leader tells the supervisor before it execs: typed messages over a SOCK_SEQPACKET pair.
//!
//! The leader's end closes on exec, so that the end of the channel after [`Message::Executing`] is the sign of success.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::SysResult;
use crate::sys::socket::{message_pair, receive, send};

/// Which part of a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Making and entering namespaces.
    Namespaces,
    /// Mounting the root and pivoting into it.
    Root,
    /// Mounting in the root.
    Mounts,
    /// The console and the notification socket.
    Console,
    /// Limits, scheduling.
    Process,
    /// The processors that it may run on.
    Processors,
    /// The working directory.
    Directory,
    /// Capabilities, ids, filter, exec.
    Exec,
}

const STAGES: [Stage; 8] = [
    Stage::Namespaces,
    Stage::Root,
    Stage::Mounts,
    Stage::Console,
    Stage::Process,
    Stage::Processors,
    Stage::Directory,
    Stage::Exec,
];

/// Messages without a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// With the master of the guest's console.
    Console,
    /// With the guest's notification socket.
    Notify,
    /// All is set up; exec is next.
    Executing,
}

/// What the supervisor hears.
#[derive(Debug)]
pub enum Heard {
    /// The leader was cloned: its pid in our pid namespace.
    Leader(i32),
    /// A message and the fd that came with it.
    Message(Message, Option<OwnedFd>),
    /// A stage failed; its error in words, and its errno if it was a system call's.
    Failed(Stage, String, Option<i32>),
    /// The other end is closed.
    End,
}

/// The leader's end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// The supervisor's end.
#[derive(Debug)]
pub struct Listener(OwnedFd);

const LEADER: u8 = b'L';
const FAILED: u8 = b'F';

/// An error text is cut to this; the longest are an fsconfig(2) failure with the kernel's log.
const TEXT_LIMIT: usize = 3072;

/// Makes both ends.
///
/// # Errors
/// When the kernel gives no socket pair.
pub fn pair() -> SysResult<(Listener, Channel)> {
    let (ours, theirs) = message_pair()?;
    Ok((Listener(ours), Channel(theirs)))
}

impl Channel {
    /// Sends `message` with `fds`.
    ///
    /// # Errors
    /// EPIPE when the supervisor is gone: then the leader must end too.
    pub fn send(&self, message: Message, fds: &[BorrowedFd<'_>]) -> SysResult<()> {
        let tag = match message {
            Message::Console => b'C',
            Message::Notify => b'N',
            Message::Executing => b'X',
        };
        send(&self.0, &[tag], fds)
    }

    /// Tells the leader's pid; sent by the process that cloned it.
    ///
    /// # Errors
    /// EPIPE when the supervisor is gone.
    pub fn send_leader(&self, pid: i32) -> SysResult<()> {
        let mut bytes = vec![LEADER];
        bytes.extend_from_slice(&pid.to_ne_bytes());
        send(&self.0, &bytes, &[])
    }

    /// Tells that `stage` failed with `error`, its sources included.
    pub fn send_failure(&self, stage: Stage, error: &(dyn std::error::Error + 'static)) {
        let mut text = error.to_string();
        let mut errno = 0;
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(call) = error.downcast_ref::<crate::sys::SysError>() {
                errno = call.errno().raw_os_error();
            }
            next = error.source();
            if let Some(source) = next {
                text.push_str(": ");
                text.push_str(&source.to_string());
            }
        }
        let index = STAGES.iter().position(|known| *known == stage).unwrap_or(0);
        let mut bytes = vec![FAILED, u8::try_from(index).unwrap_or(0)];
        bytes.extend_from_slice(&errno.to_ne_bytes());
        bytes.extend(text.bytes().take(TEXT_LIMIT));
        // Nobody is left to tell if this fails; the exit status still says that something did.
        let _ = send(&self.0, &bytes, &[]);
    }
}

impl Listener {
    /// Waits for the next message.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn hear(&self) -> SysResult<Heard> {
        let mut buffer = [0_u8; TEXT_LIMIT + 16];
        let Some(mut message) = receive(&self.0, &mut buffer)? else { return Ok(Heard::End) };
        let bytes = buffer.get(..message.length).unwrap_or_default();
        Ok(decode(bytes, message.fds.pop()))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn decode(bytes: &[u8], fd: Option<OwnedFd>) -> Heard {
    match bytes {
        [LEADER, pid @ ..] => Heard::Leader(pid.try_into().map_or(0, i32::from_ne_bytes)),
        [FAILED, stage, a, b, c, d, text @ ..] => {
            let stage = STAGES.get(usize::from(*stage)).copied().unwrap_or(Stage::Namespaces);
            let errno = i32::from_ne_bytes([*a, *b, *c, *d]);
            let text = String::from_utf8_lossy(text).into_owned();
            Heard::Failed(stage, text, (errno != 0).then_some(errno))
        }
        b"C" => Heard::Message(Message::Console, fd),
        b"N" => Heard::Message(Message::Notify, fd),
        b"X" => Heard::Message(Message::Executing, fd),
        _ => Heard::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SysError;

    #[test]
    fn messages_arrive_in_order_and_then_the_end() {
        let (listener, channel) = pair().unwrap();
        channel.send_leader(4711).unwrap();
        channel.send(Message::Executing, &[]).unwrap();
        let error = SysError::new("mount", "x", rustix::io::Errno::PERM);
        channel.send_failure(Stage::Mounts, &error);
        drop(channel);
        assert!(matches!(listener.hear().unwrap(), Heard::Leader(4711)));
        assert!(matches!(listener.hear().unwrap(), Heard::Message(Message::Executing, None)));
        match listener.hear().unwrap() {
            Heard::Failed(Stage::Mounts, text, Some(errno)) => {
                assert_eq!(text, "mount(x): Operation not permitted (os error 1)");
                assert_eq!(errno, libc::EPERM);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(listener.hear().unwrap(), Heard::End));
    }
}
