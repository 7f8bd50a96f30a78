//! Objects and signals for machines that come, change and go.
//!
//! The registry is watched; whatever changes there, all of it is read, and what is different from before is told. Machines that
//! were there before the manager began get their objects without a signal, as they are no news.

use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::context::Context;
use super::lifeline::Lifeline;
use super::problem::{Kind, Problem};
use super::registered::Registered;
use super::{machined, own};
use crate::sys::readiness::watched;

/// One at a time: what is told comes in the order in which it happened.
static TURN: Mutex<()> = Mutex::const_new(());

/// Tells what is different from before. Where nothing is, it costs nothing.
///
/// # Errors
/// When the registry cannot be read.
pub async fn announce(context: &Context) -> Result<(), Problem> {
    let _turn = TURN.lock().await;
    for machine in context.registered().load() {
        registered_came(context, &machine).await;
    }
    if !context.machines().has_news() {
        return Ok(());
    }
    let changes = context.machines().refresh()?;
    for machine in &changes.went {
        machined::machine_went(context, &machine.state.name).await;
        own::machine_went(context, &machine.state.name).await;
    }
    for machine in &changes.came {
        machined::machine_came(context, &machine.state.name).await;
        own::machine_came(context, &machine.state.name).await;
        let (name, supervisor) = (machine.state.name.clone(), Arc::clone(machine.supervisor()));
        tokio::spawn(wait_for_end(context.clone(), name, supervisor));
    }
    for change in &changes.changed {
        machined::machine_changed(context, change).await;
        own::machine_changed(context, change).await;
    }
    Ok(())
}

/// Tells of a machine that another program has registered, in place of a dead one that is still told of if it `replaces` one.
pub async fn registered(context: &Context, machine: &Registered, replaces: bool) {
    let _turn = TURN.lock().await;
    if replaces {
        machined::machine_went(context, &machine.file.name).await;
    }
    registered_came(context, machine).await;
}

async fn registered_came(context: &Context, machine: &Registered) {
    machined::machine_came(context, &machine.file.name).await;
    let (name, leader) = (machine.file.name.clone(), Arc::clone(machine.leader()));
    tokio::spawn(wait_for_end(context.clone(), name, leader));
}

/// Tells of one that was taken back.
pub async fn unregistered(context: &Context, name: &str) {
    let _turn = TURN.lock().await;
    machined::machine_went(context, name).await;
}

/// Tells that a machine is gone when the process ends that it goes with: of one that is killed the registry does not.
async fn wait_for_end(context: Context, name: String, process: Arc<Lifeline>) {
    process.end().await;
    let _turn = TURN.lock().await;
    let own = context.machines().forget(&name, &process).is_some();
    if own || context.registered().forget(&name, &process).is_some() {
        machined::machine_went(&context, &name).await;
    }
    if own {
        own::machine_went(&context, &name).await;
    }
}

/// Tells of machines for as long as the manager runs.
///
/// # Errors
/// When the registry cannot be watched.
pub async fn watch(context: Context) -> Result<(), Problem> {
    let failed = |error: std::io::Error| Problem::of(Kind::Failed, &error, None);
    let told = context.machines().as_fd().try_clone_to_owned().map_err(failed)?;
    let told = watched(told).map_err(|error| Problem::of(Kind::Failed, &error, None))?;
    loop {
        announce(&context).await?;
        let mut ready = told.readable().await.map_err(failed)?;
        ready.clear_ready();
    }
}
