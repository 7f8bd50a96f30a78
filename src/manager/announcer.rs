//! Objects and signals for machines that come, change and go.
//!
//! The registry is watched; whatever changes there, all of it is read, and what is different from before is told. Machines that
//! were there before the manager began get their objects without a signal, as they are no news.

use std::os::fd::AsFd;
use std::pin::Pin;

use tokio::sync::Mutex;

use super::context::Context;
use super::machines::Machines;
use super::problem::{Kind, Problem};
use super::{machined, own};
use crate::machine::registry_watch::RegistryWatch;
use crate::sys::readiness::watched;

/// One at a time: what is told comes in the order in which it happened.
static TURN: Mutex<()> = Mutex::const_new(());

/// Tells what is different from before.
///
/// # Errors
/// When the registry cannot be read.
pub async fn announce(context: &Context) -> Result<(), Problem> {
    let _turn = TURN.lock().await;
    let changes = context.machines().refresh()?;
    let (came, went) = context.registered().refresh();
    for name in changes.went.iter().chain(&went) {
        machined::machine_went(context, name).await;
        own::machine_went(context, name).await;
    }
    for name in changes.came.iter().chain(&came) {
        machined::machine_came(context, name).await;
        own::machine_came(context, name).await;
        tokio::spawn(end_of(context.clone(), name.clone()));
    }
    for name in &changes.changed {
        own::machine_changed(context, name).await;
    }
    Ok(())
}

/// Tells of a machine that another program has registered.
pub async fn registered(context: &Context, name: &str) {
    let _turn = TURN.lock().await;
    machined::machine_came(context, name).await;
    tokio::spawn(end_of(context.clone(), name.to_owned()));
}

/// Tells of one that was taken back.
pub async fn unregistered(context: &Context, name: &str) {
    let _turn = TURN.lock().await;
    machined::machine_went(context, name).await;
}

/// Looks again when the process ends that a machine goes with: of a supervisor that is killed nothing in the registry tells.
///
/// Boxed, as it begins others of its kind.
fn end_of(context: Context, name: String) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { wait_for_end_of(&context, &name).await })
}

async fn wait_for_end_of(context: &Context, name: &str) {
    let process = match context.registered().get(name) {
        Some(machine) => machine.leader().try_clone().ok(),
        None => Machines::look(name).ok().and_then(|machine| machine.supervisor().ok()),
    };
    if let Some(process) = process.and_then(|process| watched(process).ok()) {
        let _ = process.readable().await;
    }
    // The next look tells what this one cannot.
    let _ = announce(context).await;
}

/// Tells of machines for as long as the manager runs.
///
/// # Errors
/// When the registry cannot be watched.
pub async fn watch(context: Context) -> Result<(), Problem> {
    let failed = |error: std::io::Error| Problem::of(Kind::Failed, &error, None);
    let watch = RegistryWatch::new()?;
    let told = watch.as_fd().try_clone_to_owned().map_err(failed)?;
    let told = watched(told).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
    loop {
        watch.follow(|_| false)?;
        announce(&context).await?;
        let mut ready = told.readable().await.map_err(failed)?;
        ready.clear_ready();
    }
}
