//! Sockets that clients connect to: those that systemd has passed (sd_listen_fds(3)), or our own at the same path.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::Served;
use super::connection::{Peer, attend};
use crate::manager::context::Context;
use crate::sys::files::{make_directories, remove_directory_at, remove_file_at};
use crate::sys::readiness::watched;
use crate::sys::stream_socket::{accept, connect_at, listen_at, local_path, peer, peer_process};
use crate::sys::{SysError, SysResult, sys};

/// Of connections to one socket, and of those of one user other than root.
const MOST: usize = 128;

/// Who wait to be accepted.
const BACKLOG: i32 = 64;

/// How long nobody is accepted where fds ran out.
const REST: Duration = Duration::from_millis(100);

/// A socket that is served.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    /// Where we have made it: it goes with us.
    made: Option<PathBuf>,
}

impl Listener {
    /// The socket at `path`: one of `passed`, or our own. `None` where another process listens there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path, passed: &mut Vec<OwnedFd>) -> SysResult<Option<Self>> {
        let is_it = |socket: &OwnedFd| local_path(socket).is_ok_and(|local| local == path);
        if let Some(at) = passed.iter().position(is_it) {
            let socket = passed.swap_remove(at);
            // systemd passes them as it is told to (NonBlocking=, systemd.service(5)), and nobody here may be held up by one.
            sys("ioctl", rustix::io::ioctl_fionbio(&socket, true), || "FIONBIO".to_owned())?;
            return Ok(Some(Self { socket: watched(socket)?, made: None }));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(SysError::new("bind", format!("{path:?}"), Errno::INVAL));
        };
        let directory = make_directories(parent, 0o755)?;
        let socket = match listen_at(&directory, name, 0o666, BACKLOG) {
            Err(error) if error.errno() == Errno::ADDRINUSE => {
                // Of one that was killed nothing is left but the file.
                if connect_at(&directory, name).is_ok() {
                    return Ok(None);
                }
                remove_file_at(&directory, name)?;
                listen_at(&directory, name, 0o666, BACKLOG)?
            }
            socket => socket?,
        };
        // Whatever the mask is that we were started with.
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        sys("fchmodat", rustix::fs::chmodat(&directory, name, mode, AtFlags::empty()), || {
            format!("{path:?}, 0666")
        })?;
        Ok(Some(Self { socket: watched(socket)?, made: Some(path.to_owned()) }))
    }

    /// Serves it for as long as the manager runs.
    pub async fn serve(self, context: Context, served: &'static [Served]) {
        let connected = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok(mut ready) = self.socket.readable().await else { return };
            match accept(self.socket.get_ref()) {
                Ok(Some(socket)) => begin(&context, socket, served, &connected),
                Ok(None) => ready.clear_ready(),
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = remove_file_at(CWD, path);
            // Where something else is in it, it stays.
            let _ = path.parent().map(|parent| remove_directory_at(CWD, parent));
        }
    }
}

/// One connection more, as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn begin(context: &Context, socket: OwnedFd, served: &'static [Served], connected: &Arc<AtomicUsize>) {
    let Ok(credentials) = peer(&socket) else { return };
    // Root's own calls find a place when others have taken theirs.
    let most = if credentials.uid == 0 { 2 * MOST } else { MOST };
    if connected.load(Ordering::Relaxed) >= most {
        return;
    }
    connected.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(Arc::clone(connected));
    let process = peer_process(&socket).ok();
    let peer = Peer { pid: credentials.pid, uid: credentials.uid, process };
    let Ok(socket) = watched(socket) else { return };
    let context = context.clone();
    tokio::spawn(async move {
        attend(context, socket, peer, served).await;
        drop(counted);
    });
}
