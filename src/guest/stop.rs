//! Carrying one [`StopMethod`] out on a running guest.
//!
//! The guest is hostile: its files are reached in its own root only, no link is followed to a FIFO, what is written to is
//! first proved to be one, and no write waits for a reader.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};

use super::contract::{ExitMeaning, StopMethod};
use super::evidence::last_logged_runlevel;
use crate::sys::in_root::{Metadata, Root, absent_is_none, reopen};
use crate::sys::{FdPath, SysError, sys};

/// sysvinit's FIFO, where it is and where it was.
const INITCTL: [&str; 2] = ["/run/initctl", "/dev/initctl"];
/// openrc-init's FIFO.
const OPENRC_CTL: [&str; 1] = ["/run/openrc/init.ctl"];
/// `struct init_request` (initreq.h of sysvinit): magic, command, runlevel, sleep time, then 368 bytes of data.
const INIT_REQUEST_SIZE: usize = 384;
const INIT_REQUEST_MAGIC: i32 = 0x0309_1969;
const INIT_COMMAND_RUNLEVEL: i32 = 1;
/// Seconds between SIGTERM and SIGKILL for what the inittab started; init goes on as soon as all have ended.
const INIT_SLEEP_TIME: i32 = 1;

/// Why a guest could not be asked to stop; the next step of its plan is due.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The init's FIFO is not there, or nobody reads it.
    #[error("the init does not listen at {}", places.join(" or "))]
    NotListening {
        /// Where it should.
        places: &'static [&'static str],
    },
    /// What should be a FIFO of the init is something else.
    #[error("{path} of the guest is not a FIFO")]
    NotAFifo {
        /// The path in the guest.
        path: &'static str,
    },
    /// A system call failed.
    #[error("cannot ask the init to stop")]
    Sys(#[from] SysError),
}

/// Asks the guest with the root directory `guest` to stop by `method`. `signal` sends a signal to its PID 1, by pidfd.
/// That the guest was asked does not mean that it obeys.
pub fn carry_out(
    method: StopMethod,
    guest: &Root,
    signal: &mut dyn FnMut(i32) -> Result<(), SysError>,
) -> Result<(), StopError> {
    match method {
        StopMethod::Signal(number) => Ok(signal(number)?),
        StopMethod::Kill => Ok(signal(libc::SIGKILL)?),
        StopMethod::Initctl { runlevel } => {
            let request = init_request(runlevel);
            match write_to_fifo(guest, &INITCTL, &request) {
                Err(StopError::NotListening { .. }) => {
                    // Something covered or removed the FIFO: SIGUSR1 has init make and open it again (init(8)).
                    signal(libc::SIGUSR1)?;
                    retry(|| write_to_fifo(guest, &INITCTL, &request))
                }
                written => written,
            }
        }
        StopMethod::OpenrcFifo { word } => write_to_fifo(guest, &OPENRC_CTL, word.as_bytes()),
        StopMethod::RunitFiles { reboot } => {
            // runit reads the owner's x bit: of `reboot` when stage 3 has ended, of `stopit` when the signal comes.
            set_mode(guest, "/etc/runit/reboot", if reboot { 0o100 } else { 0 })?;
            set_mode(guest, "/etc/runit/stopit", 0o100)?;
            Ok(signal(libc::SIGCONT)?)
        }
    }
}

/// Whether an init that exited with status 0 meant a reboot, though nobody outside asked for one. `root` is the guest's root
/// directory, opened while it lived: its /run is gone by now, but the file system that it had as root is not.
pub fn exit_was_reboot(meaning: ExitMeaning, root: &Root) -> bool {
    meaning == ExitMeaning::Runlevel && last_logged_runlevel(root) == Some('6')
}

fn init_request(runlevel: u8) -> [u8; INIT_REQUEST_SIZE] {
    let mut request = [0; INIT_REQUEST_SIZE];
    let words = [INIT_REQUEST_MAGIC, INIT_COMMAND_RUNLEVEL, i32::from(runlevel), INIT_SLEEP_TIME];
    for (place, word) in request.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    request
}

/// A few tries, over as much time as a supervisor may be deaf.
fn retry(mut write: impl FnMut() -> Result<(), StopError>) -> Result<(), StopError> {
    const TRIES: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..TRIES {
        std::thread::sleep(PAUSE);
        match write() {
            Err(StopError::NotListening { .. }) => {}
            written => return written,
        }
    }
    write()
}

fn write_to_fifo(guest: &Root, places: &'static [&'static str], message: &[u8]) -> Result<(), StopError> {
    for path in places {
        // /dev/initctl is a link where /run/initctl is the FIFO: then the latter has been tried.
        let place = match guest.open_path_no_symlinks(path) {
            Err(error) if error.errno() == rustix::io::Errno::LOOP => continue,
            opened => match absent_is_none(opened)? {
                Some(place) => place,
                None => continue,
            },
        };
        if Metadata::of(&place)?.kind() != FileType::Fifo {
            return Err(StopError::NotAFifo { path });
        }
        let fifo = match reopen(&place, OFlags::WRONLY | OFlags::NONBLOCK) {
            Err(error) if error.errno() == rustix::io::Errno::NXIO => continue,
            opened => opened?,
        };
        // Not more than PIPE_BUF, so that it is written whole or not at all (pipe(7)).
        let written = rustix::io::write(&fifo, message);
        sys("write", written, || format!("{}, {} bytes", FdPath::of(&fifo), message.len()))?;
        return Ok(());
    }
    Err(StopError::NotListening { places })
}

/// Sets the mode of a file of the guest, made empty if it is missing. Debian and Void have links into /run there.
fn set_mode(guest: &Root, path: &str, mode: u32) -> Result<(), StopError> {
    let mode = Mode::from_raw_mode(mode);
    let file = match absent_is_none(guest.open_regular(path))? {
        Some(file) => file,
        None => guest.create_file(link_target(guest, path), mode)?,
    };
    sys("fchmod", rustix::fs::fchmod(&file, mode), || format!("{}, {:#o}", FdPath::of(&file), mode.bits()))?;
    Ok(())
}

/// What a link at `path` points to, one step, or `path` itself.
fn link_target(guest: &Root, path: &str) -> PathBuf {
    let path = Path::new(path);
    match (guest.read_link(path), path.parent()) {
        (Ok(target), Some(directory)) => directory.join(target),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
