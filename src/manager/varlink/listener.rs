//! Sockets that clients connect to: those that systemd has passed (sd_listen_fds(3)), or our own at the same path.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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

/// Of connections of one user to one socket.
const MOST: usize = 128;

/// Of those of all users other than root, who may have many numbers (subuid(5)).
const MOST_OF_OTHERS: usize = 1024;

/// Who wait to be accepted.
const BACKLOG: i32 = 64;

/// How long nobody is accepted where fds ran out.
const REST: Duration = Duration::from_millis(100);

/// A socket that is served.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<OwnedFd>,
    /// Where we have made it, and links to it: they go with us.
    made: Vec<PathBuf>,
}

impl Listener {
    /// The socket at `path`: one of `passed`, or our own with links beside it called `aliases`. `None` where another process listens there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path, aliases: &[&str], passed: &mut Vec<OwnedFd>) -> SysResult<Option<Self>> {
        let is_it = |socket: &OwnedFd| local_path(socket).is_ok_and(|local| local == path);
        if let Some(at) = passed.iter().position(is_it) {
            let socket = passed.swap_remove(at);
            // systemd passes them as it is told to (NonBlocking=, systemd.service(5)), and nobody here may be held up by one.
            sys("ioctl", rustix::io::ioctl_fionbio(&socket, true), || "FIONBIO".to_owned())?;
            return Ok(Some(Self { socket: watched(socket)?, made: Vec::new() }));
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
        let mut made = vec![path.to_owned()];
        for alias in aliases {
            // Of one that was killed they are left, and lead to ours.
            match rustix::fs::symlinkat(name, &directory, *alias) {
                Ok(()) | Err(Errno::EXIST) => made.push(parent.join(alias)),
                Err(errno) => return Err(SysError::new("symlinkat", format!("{alias:?}"), errno)),
            }
        }
        Ok(Some(Self { socket: watched(socket)?, made }))
    }

    /// Serves it for as long as the manager runs.
    pub async fn serve(self, context: Context, served: &'static [Served]) {
        let connected = Arc::new(Counts::default());
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
        for path in self.made.iter().rev() {
            let _ = remove_file_at(CWD, path);
            // Where something else is in it, it stays.
            let _ = path.parent().map(|parent| remove_directory_at(CWD, parent));
        }
    }
}

/// How many connections each user has.
#[derive(Debug, Default)]
struct Counts(Mutex<HashMap<u32, usize>>);

/// One connection more of a user's, as long as it lives.
#[derive(Debug)]
struct Counted(Arc<Counts>, u32);

impl Counts {
    /// One more of `uid`; `None` where that would be too many: nobody keeps another one out, and nobody root.
    fn add(counts: &Arc<Self>, uid: u32) -> Option<Counted> {
        let mut users = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = users.iter().filter(|(uid, _)| **uid != 0).map(|(_, count)| count).sum();
        let its = users.get(&uid).copied().unwrap_or(0);
        if its >= MOST || (uid != 0 && others >= MOST_OF_OTHERS) {
            return None;
        }
        users.insert(uid, its + 1);
        Some(Counted(Arc::clone(counts), uid))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut users = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match users.get_mut(&self.1) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(users.remove(&self.1)),
        }
    }
}

fn begin(context: &Context, socket: OwnedFd, served: &'static [Served], counts: &Arc<Counts>) {
    let Ok(credentials) = peer(&socket) else { return };
    let Some(counted) = Counts::add(counts, credentials.uid) else { return };
    let process = peer_process(&socket).ok();
    let peer = Peer { pid: credentials.pid, uid: credentials.uid, process };
    let Ok(socket) = watched(socket) else { return };
    let (context, connected) = (context.clone(), context.connected());
    tokio::spawn(async move {
        attend(context, socket, peer, served).await;
        drop((counted, connected));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_places_of_its_own() {
        let counts = Arc::new(Counts::default());
        let take = |uid| (0..MOST + 1).map_while(|_| Counts::add(&counts, uid)).collect::<Vec<_>>();
        let first = take(1000);
        assert_eq!(first.len(), MOST);
        // Others, and root, find theirs.
        let second = take(1001);
        assert_eq!((second.len(), take(0).len()), (MOST, MOST));
        drop(first);
        assert_eq!(take(1000).len(), MOST);
        // One who has many numbers does not have all.
        let all: Vec<_> = std::iter::once(second).chain((2000..2020).map(take)).collect();
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), MOST_OF_OTHERS);
        assert!(Counts::add(&counts, 3000).is_none());
        assert!(Counts::add(&counts, 0).is_some());
    }
}
