//! What happens to a machine, as signals: for who subscribes, since it takes a process of ours, `spinney events`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc;
use zbus::object_server::SignalEmitter;

use super::machine::MachineObject;
use super::variants::{Dictionary, dictionary};
use super::verb::Verb;
use super::{machine_path, verb};
use crate::image::layers::records::now;
use crate::manager::context::Context;
use crate::manager::problem::Problem;

/// Events that wait for the bus to take them; when more come, they are lost.
const WAITING: usize = 1024;

/// Whether a machine's events are told.
#[derive(Debug, Default)]
pub struct Following {
    runs: Arc<AtomicBool>,
    process: Mutex<Option<std::os::fd::OwnedFd>>,
}

impl Following {
    /// Tells them from now on.
    ///
    /// # Errors
    /// When there can be no further process.
    pub fn begin(&self, context: &Context, name: &str) -> Result<(), Problem> {
        if self.runs.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        // What happens before it listens is in the past that it tells first.
        let since = now();
        let spawned = Verb::new(["events", "--past", "--json", "--", name]).spawn();
        let running = spawned.inspect_err(|_| self.runs.store(false, Ordering::Relaxed))?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = running.process().ok();
        let (lines, told) = mpsc::channel(WAITING);
        let runs = Arc::clone(&self.runs);
        tokio::spawn(async move {
            let _ = running.ended(|line| drop(lines.try_send(line.clone()))).await;
            runs.store(false, Ordering::Relaxed);
        });
        tokio::spawn(tell(context.clone(), name.to_owned(), since, told));
        Ok(())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It ends with the machine; this is for one whose name another has taken.
        if let Some(process) = self.process.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = verb::tell(process, libc::SIGTERM);
        }
    }
}

async fn tell(context: Context, name: String, since: u64, mut lines: mpsc::Receiver<Value>) {
    let Ok(emitter) = SignalEmitter::new(context.connection(), machine_path(&name)) else { return };
    while let Some(line) = lines.recv().await {
        let Some((time, event, data)) = event_of(&line).filter(|(time, ..)| *time >= since) else { continue };
        if MachineObject::event(&emitter, time, event, data).await.is_err() {
            return;
        }
    }
}

/// What a line of `spinney events --json` says.
fn event_of(line: &Value) -> Option<(u64, &str, Dictionary)> {
    let data = line.get("data").map(dictionary).unwrap_or_default();
    Some((line.get("time")?.as_u64()?, line.get("event")?.as_str()?, data))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines() {
        let line = json!({ "machine": "web", "time": 5, "event": "ready", "data": { "assumed": false } });
        let (time, event, data) = event_of(&line).unwrap();
        assert_eq!((time, event, data.get("assumed")), (5, "ready", Some(&false.into())));
        assert!(
            event_of(&json!({ "time": 5, "event": "paused" })).is_some_and(|(_, _, data)| data.is_empty())
        );
        assert!(event_of(&json!({ "event": "paused" })).is_none());
    }
}
