//! Objects and signals for machines that come, change and go.
//!
//! The registry is watched; whatever changes there, all of it is read, and what is different from before is told. Machines that
//! were there before the manager began get their objects without a signal, as they are no news.

use std::os::fd::AsFd;

use tokio::sync::Mutex;

use super::context::Context;
use super::machined;
use super::problem::{Kind, Problem};
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
    for name in &changes.went {
        machined::machine_went(context, name).await;
    }
    for name in &changes.came {
        machined::machine_came(context, name).await;
    }
    Ok(())
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
