//! `org.freedesktop.import1.Transfer`: one transfer.

use std::sync::Arc;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use super::Result;
use super::access::{CANCEL, allowed};
use super::transfers::Transfer;
use crate::manager::authority::Caller;
use crate::manager::context::Context;

/// The object of one transfer.
#[derive(Debug)]
pub struct TransferObject {
    context: Context,
    transfer: Arc<Transfer>,
}

impl TransferObject {
    /// Of `transfer`.
    pub fn new(context: Context, transfer: Arc<Transfer>) -> Self {
        Self { context, transfer }
    }
}

/// A transfer that runs.
#[zbus::interface(name = "org.freedesktop.import1.Transfer")]
impl TransferObject {
    /// Has it end; what there is of it is removed.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        allowed(&self.context, &Caller::Bus(&header), CANCEL).await?;
        Ok(self.transfer.cancel()?)
    }

    /// What it says: a priority of syslog(3), and a line.
    #[zbus(signal)]
    async fn log_message(emitter: &SignalEmitter<'_>, priority: u32, line: &str) -> zbus::Result<()>;

    /// How far it is, from 0 to 1.
    #[zbus(signal)]
    async fn progress_update(emitter: &SignalEmitter<'_>, progress: f64) -> zbus::Result<()>;

    /// Its number.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u32 {
        self.transfer.id()
    }

    /// The image.
    #[zbus(property(emits_changed_signal = "const"))]
    fn local(&self) -> String {
        self.transfer.local()
    }

    /// Where it is from.
    #[zbus(property(emits_changed_signal = "const"))]
    fn remote(&self) -> String {
        self.transfer.remote()
    }

    /// What it does: `pull-tar`, `export-raw`, ...
    #[zbus(property(emits_changed_signal = "const"), name = "Type")]
    fn kind(&self) -> String {
        self.transfer.kind()
    }

    /// What it is held to: `no`, `checksum` or `signature`; nothing where nobody said.
    #[zbus(property(emits_changed_signal = "const"))]
    fn verify(&self) -> String {
        self.transfer.verify()
    }

    /// How far it is, from 0 to 1; the lowest of all numbers where nobody knows.
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> f64 {
        self.transfer.known_progress()
    }
}
