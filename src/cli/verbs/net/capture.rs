//! `spinney net capture`

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::cli::verbs::{fail, named};
use crate::cli::{EXIT_FAILURE, require_root};
use crate::machine::MachineHandle;
use crate::network::pcap::{SNAPLEN, header, record};
use crate::settings::network::InterfaceName;
use crate::sys::packet_socket::PacketSocket;
use crate::sys::signal::{SignalFd, SignalSet};
use crate::sys::{SysError, inet};

const EXAMPLES: &str = "\
The file is of the pcap format, which tcpdump and wireshark read. It ends with Ctrl-C, with the machine, or when nobody reads any more.

Examples:
  spinney net capture web | tcpdump -nr -
  spinney net capture web -w web.pcap -c 100
  spinney net capture web --link=lan0 -w - | wireshark -k -i -
  ssh host spinney net capture web | wireshark -k -i -";

/// Write what a machine sends and receives, live
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CaptureArguments {
    /// The machine
    #[arg(value_name = "NAME")]
    name: String,

    /// Into this file, - for stdout (default)
    #[arg(short, long, value_name = "FILE", default_value = "-", hide_default_value = true)]
    write: PathBuf,

    /// Stop after so many frames
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Keep at most so many bytes of each frame
    #[arg(short, long, value_name = "BYTES", default_value_t = SNAPLEN, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(SNAPLEN)))]
    snaplen: u32,

    /// The machine's interface (default: host0, or else its first pair)
    #[arg(long, value_name = "LINK")]
    link: Option<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

/// Where frames go.
enum Sink {
    Stdout(Output),
    File(File),
}

impl Sink {
    /// False when nobody reads any more.
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<bool> {
        match self {
            Self::Stdout(output) => Ok(output.stream(bytes)),
            Self::File(file) => file.write_all(bytes).map(|()| true),
        }
    }
}

/// Runs the verb, gives the exit status.
pub(super) fn capture(arguments: &CaptureArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("net capture", "sudo spinney net capture NAME", output) {
        return EXIT_FAILURE;
    }
    let to_stdout = arguments.write == Path::new("-");
    if to_stdout && std::io::stdout().is_terminal() {
        let error = Message::new("frames are no text for a terminal");
        output.error(&error, Some("spinney net capture NAME | tcpdump -nr -, or -w FILE"));
        return EXIT_FAILURE;
    }
    let machine = match named(&arguments.name).and_then(|name| MachineHandle::find(&name)) {
        Ok(machine) => machine,
        Err(error) => return fail(&error, output),
    };
    let supervisor = match machine.supervisor() {
        Ok(supervisor) => supervisor,
        Err(error) => return fail(&error, output),
    };
    let end = match host_end(&machine, arguments.link.as_deref()) {
        Ok(end) => end,
        Err((problem, hint)) => {
            output.error(&Message::new(problem), Some(hint));
            return EXIT_FAILURE;
        }
    };
    let done = inet::interface_index(end.as_str())
        .and_then(PacketSocket::tap)
        .map_err(|source| (format!("cannot listen on {end}"), source.into()))
        .and_then(|socket| {
            let sink = match to_stdout {
                true => Sink::Stdout(output),
                false => Sink::File(File::create(&arguments.write).map_err(|source| {
                    (format!("cannot write {}", arguments.write.display()), Box::from(source))
                })?),
            };
            listen(&socket, sink, &supervisor, arguments)
                .map_err(|source| ("cannot go on".to_owned(), source))
        });
    match done {
        Ok(count) => {
            let frames = if count == 1 { "frame" } else { "frames" };
            output.status(&format!("{count} {frames} of {end}"));
            0
        }
        Err((problem, source)) => {
            output.error(&Message::new(format!("{problem}: {source}")), None);
            EXIT_FAILURE
        }
    }
}

/// The host's end of a link of the machine.
fn host_end(machine: &MachineHandle, link: Option<&str>) -> Result<InterfaceName, (String, &'static str)> {
    let state = machine.network_state();
    let name = machine.name();
    let ours = crate::sys::network::number().unwrap_or(0);
    if state.namespace != 0 && state.namespace != ours {
        return Err((
            format!("the links of {name} end in another network namespace than this one"),
            "run it where the machine was started",
        ));
    }
    let mut links = state.plan.links.iter();
    let found = match link {
        Some(link) => links.find(|known| known.guest.as_str() == link),
        None => links.find(|known| known.host.is_some()),
    };
    match (found, link) {
        (Some(found), _) => found.host.clone().ok_or_else(|| {
            (
                format!("{} of {name} has no end on the host", found.guest),
                "spinney exec NAME tcpdump listens inside",
            )
        }),
        (None, Some(link)) => Err((
            format!("{name} has no interface {:?}", crate::supervisor::printable::line(link.as_bytes())),
            "spinney net shows which it has",
        )),
        (None, None) => {
            Err((format!("{name} has no interface that ends on the host"), "spinney net shows which it has"))
        }
    }
}

type Fault = Box<dyn std::error::Error>;

/// Until the count is reached, the machine or its link is gone, somebody interrupts us, or nobody reads. Gives how many frames
/// there were.
fn listen(
    socket: &PacketSocket,
    mut sink: Sink,
    supervisor: &OwnedFd,
    arguments: &CaptureArguments,
) -> Result<u64, Fault> {
    let ends = SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    ends.block()?;
    let signals = SignalFd::open(&ends)?;
    let mut buffer = vec![0; usize::try_from(arguments.snaplen).unwrap_or(usize::MAX)];
    let mut count = 0;
    if !sink.put(&header(arguments.snaplen))? {
        return Ok(count);
    }
    loop {
        let mut waited = [
            PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(supervisor.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waited, None) {
            Err(Errno::INTR) => continue,
            polled => polled.map_err(|errno| SysError::new("poll", "3 fds", errno))?,
        };
        let ended = waited.iter().skip(1).any(|fd| !fd.revents().is_empty());
        loop {
            match socket.receive_whole(&mut buffer) {
                Ok(None) => break,
                Ok(Some((kept, length))) => {
                    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    if !sink.put(&record(at, length, buffer.get(..kept).unwrap_or_default()))? {
                        return Ok(count);
                    }
                    count += 1;
                    if arguments.count.is_some_and(|most| count >= most) {
                        return Ok(count);
                    }
                }
                // The link goes with the machine, or with its reboot.
                Err(error) if matches!(error.errno(), Errno::NETDOWN | Errno::NODEV | Errno::NXIO) => {
                    return Ok(count);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if ended {
            return Ok(count);
        }
    }
}
