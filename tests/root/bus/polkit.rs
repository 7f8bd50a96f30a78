//! A polkit of the test's own: it allows what it is told to allow, and remembers what it was asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use zbus::connection::Builder;
use zbus::{Address, OwnedVariant};

use super::fixture::Bus;
use crate::harness::Stop;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub action: String,
    /// `system-bus-name`, `unix-process`.
    pub subject: String,
    pub details: BTreeMap<String, String>,
    /// The user may be asked for a password.
    pub interactive: bool,
}

#[derive(Default)]
struct Said {
    /// How long it takes: a person types a password.
    delay: Duration,
    allowed: Vec<String>,
    asked: Vec<Asked>,
}

/// The service, in a thread with a loop of its own.
pub struct Polkit {
    said: Arc<Mutex<Said>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Polkit {
    /// Begins to serve `bus`; nothing is allowed so far.
    pub fn start(bus: &Bus) -> Result<Self, Stop> {
        let said = Arc::new(Mutex::new(Said::default()));
        let (stop, stopped) = oneshot::channel();
        let (ready, begun) = channel();
        let (address, authority) = (bus.address(), Authority(Arc::clone(&said)));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let connection = serve(&address, authority).await;
                ready.send(connection.as_ref().map(drop).map_err(ToString::to_string)).unwrap();
                let _ = stopped.await;
                drop(connection);
            });
        });
        begun.recv()??;
        Ok(Self { said, stop: Some(stop), thread: Some(thread) })
    }

    /// Only these actions are allowed from here on.
    pub fn allow(&self, actions: &[&str]) {
        self.said.lock().unwrap().allowed = actions.iter().map(ToString::to_string).collect();
    }

    /// All answers take that long from here on.
    pub fn delay(&self, delay: Duration) {
        self.said.lock().unwrap().delay = delay;
    }

    /// What it was asked since it was last looked at.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.said.lock().unwrap().asked)
    }
}

impl Drop for Polkit {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(address: &str, authority: Authority) -> zbus::Result<zbus::Connection> {
    let address: Address = address.parse()?;
    Builder::address(address)
        .serve_at("/org/freedesktop/PolicyKit1/Authority", authority)
        .name("org.freedesktop.PolicyKit1")
        .build()
        .await
}

struct Authority(Arc<Mutex<Said>>);

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl Authority {
    /// One struct, as polkit has it.
    #[allow(clippy::type_complexity, reason = "polkit's signature")]
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        details: BTreeMap<String, String>,
        flags: u32,
        _cancellation_id: String,
    ) -> ((bool, bool, BTreeMap<String, String>),) {
        let delay = self.0.lock().unwrap().delay;
        tokio::time::sleep(delay).await;
        let mut said = self.0.lock().unwrap();
        let allowed = said.allowed.contains(&action);
        said.asked.push(Asked { action, subject: subject.0, details, interactive: flags & 1 != 0 });
        // Whoever is not allowed could be, after a password.
        ((allowed, !allowed, BTreeMap::new()),)
    }
}
