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
//! | [`machine`] | `io.systemd.Machine` |

pub mod connection;
pub mod listener;
pub mod machine;
pub mod machine_calls;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;

use serde_json::{Map, Value};
use tokio::task::AbortHandle;

use crate::manager::context::Context;
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

/// The sockets, and what is served there.
static SOCKETS: [(&str, &[Served]); 1] = [(machine::SOCKET, &[machine::SERVED])];

/// Serves all of them, those that were `passed` among them, until what this gives is aborted.
///
/// One that cannot be had is no reason to serve nothing: the bus is what most clients use.
pub fn start(context: &Context, mut passed: Vec<OwnedFd>) -> Vec<AbortHandle> {
    let mut tasks = Vec::new();
    for (path, served) in SOCKETS {
        if let Ok(Some(listener)) = Listener::open(Path::new(path), &mut passed) {
            tasks.push(tokio::spawn(listener.serve(context.clone(), served)).abort_handle());
        }
    }
    tasks
}
