//! Varlink interfaces of the manager, each on a socket of its own, in the loop that serves the bus.
//!
//! A client is a task: it reads a call, has it carried out, writes what comes of it, and reads the next. What is not read holds up
//! its own task alone, and nothing gathers. Who a client is, the kernel says (SO_PEERCRED, SO_PEERPIDFD).
//!
//! | file | what it owns |
//! |---|---|
//! | [`connection`] | one client: its calls, its replies |
//! | [`listener`] | sockets: passed by systemd, or our own |
//! | [`machine_calls`] | calls of `io.systemd.Machine`, as data |
//! | [`process_id`] | processes as they name them |
//! | [`machine`] | `io.systemd.Machine` |
//! | [`image`] | `io.systemd.MachineImage` |
//! | [`import`] | `io.systemd.Import` |
//! | `faults` | problems as errors that all of them have in common |

pub mod connection;
mod faults;
pub mod image;
pub mod import;
pub mod listener;
pub mod machine;
pub mod machine_calls;
pub mod process_id;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;

use serde_json::{Map, Value};
use tokio::task::AbortHandle;

use crate::manager::context::Context;
use crate::manager::{importd, machined};
use listener::Listener;

use crate::varlink::Fault;
use connection::Exchange;

/// How a call goes on: to its last reply.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Last, Fault>> + Send + 'a>>;

/// The last reply to a call, and fds that it names by index.
#[derive(Debug, Default)]
pub struct Last {
    /// Results.
    pub parameters: Map<String, Value>,
    /// What goes with them.
    pub fds: Vec<std::os::fd::OwnedFd>,
}

/// An interface that is served.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub description: fn() -> String,
    /// Carries out a call of one of its methods.
    pub answer: for<'a> fn(&'a mut Exchange<'_>) -> Answering<'a>,
}

/// A socket.
#[derive(Debug)]
struct Socket {
    path: &'static str,
    /// Other names of it, beside it.
    aliases: &'static [&'static str],
    /// What is served there.
    served: &'static [Served],
    /// The name on the bus of the daemon of systemd's whose socket it is.
    of: &'static str,
}

static SOCKETS: [Socket; 2] = [
    Socket {
        path: machine::SOCKET,
        aliases: &[image::ALIAS],
        served: &[machine::SERVED, image::SERVED],
        of: machined::NAME,
    },
    Socket { path: import::SOCKET, aliases: &[], served: &[import::SERVED], of: importd::NAME },
];

/// Serves the sockets of the daemons whose `names` are ours, those that were `passed` among them, until what this gives is aborted.
///
/// One that cannot be had is no reason to serve nothing: the bus is what most clients use.
pub fn start(context: &Context, mut passed: Vec<OwnedFd>, names: &[&str]) -> Vec<AbortHandle> {
    let mut tasks = Vec::new();
    for socket in SOCKETS.iter().filter(|socket| names.contains(&socket.of)) {
        if let Ok(Some(listener)) = Listener::open(Path::new(socket.path), socket.aliases, &mut passed) {
            tasks.push(tokio::spawn(listener.serve(context.clone(), socket.served)).abort_handle());
        }
    }
    tasks
}
