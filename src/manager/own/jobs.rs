//! The jobs that there are: places for them, their beginning and their end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::job::{About, Job, JobObject, Outcome, path, tell_end, tell_progress};
use crate::manager::context::Context;
use crate::manager::problem::{Kind, Problem};

/// More of them are not begun: each has a process, as a rule.
const MOST: usize = 1024;

/// How long an outcome is kept for who asks late.
const KEPT: Duration = Duration::from_secs(60);

/// All of them.
#[derive(Debug, Default)]
pub struct Jobs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    last: u32,
    /// How many have a place, and are not begun yet.
    reserved: usize,
    jobs: BTreeMap<u32, Arc<Job>>,
}

impl Jobs {
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All, by number.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.lock().jobs.values().cloned().collect()
    }

    /// Keeps a place for one more; gives one that makes room and is to be removed.
    fn reserve(&self) -> Result<Option<u32>, Problem> {
        let mut known = self.lock();
        let mut removed = None;
        if known.jobs.len() + known.reserved >= MOST {
            let over = known.jobs.values().find(|job| job.outcome.borrow().is_some()).map(|job| job.id);
            let Some(over) = over else {
                return Err(Problem::new(Kind::Busy, format!("{MOST} jobs are under way already")));
            };
            known.jobs.remove(&over);
            removed = Some(over);
        }
        known.reserved += 1;
        Ok(removed)
    }

    /// Gives `about` a number. It has a place.
    fn add(&self, about: About, process: Option<OwnedFd>) -> Arc<Job> {
        let mut known = self.lock();
        // Numbers come again only after all others.
        known.last = known.last.checked_add(1).unwrap_or(1);
        let job = Arc::new(Job::new(known.last, about, process));
        known.jobs.insert(job.id, Arc::clone(&job));
        job
    }
}

/// A place for a job: who has one may start what the job will be about.
#[derive(Debug)]
pub struct Place {
    context: Context,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.context.jobs().lock().reserved -= 1;
    }
}

/// Keeps a place for a job that is about to begin, before anything is started for it.
///
/// # Errors
/// [`Kind::Busy`] where there are too many.
pub async fn reserve(context: &Context) -> Result<Place, Problem> {
    let removed = context.jobs().reserve()?;
    let place = Place { context: context.clone() };
    if let Some(removed) = removed {
        let _ = context.connection().object_server().remove::<JobObject, _>(path(removed)).await;
    }
    Ok(place)
}

impl Place {
    /// Begins a job that `work` is; `process` is who does it, and may be told to end.
    ///
    /// # Errors
    /// When the bus is gone.
    pub async fn begin(
        self,
        about: About,
        process: Option<OwnedFd>,
        work: impl Future<Output = Result<Value, Problem>> + Send + 'static,
    ) -> Result<Arc<Job>, Problem> {
        let context = self.context.clone();
        let job = context.jobs().add(about, process);
        drop(self);
        let server = context.connection().object_server();
        server.at(job.path(), JobObject::new(context.clone(), Arc::clone(&job))).await?;
        tokio::spawn(run(context, Arc::clone(&job), work));
        Ok(job)
    }
}

/// Sees `job` to its end, and keeps its outcome for a while.
async fn run(context: Context, job: Arc<Job>, work: impl Future<Output = Result<Value, Problem>> + Send) {
    let busy = context.busy();
    let mut said = job.about.meter.listen();
    let mut work = std::pin::pin!(work);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut work => break outcome,
            // The job itself has the other end.
            Ok(()) = said.changed() => {
                let progress = *said.borrow_and_update();
                let _ = tell_progress(&context, &job, progress).await;
            }
        }
    };
    let told = *job.told.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match outcome {
        Err(_) if told => Outcome::Cancelled,
        Err(problem) => Outcome::Failed(problem),
        Ok(value) => Outcome::Done(value),
    };
    job.outcome.send_replace(Some(outcome.clone()));
    let _ = tell_end(&context, &job, &outcome).await;
    drop(busy);
    tokio::time::sleep(KEPT).await;
    context.jobs().lock().jobs.remove(&job.id);
    // It may have made room for another.
    let _ = context.connection().object_server().remove::<JobObject, _>(job.path()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::own::access::MANAGE_MACHINES;
    use crate::manager::own::meter::Meter;

    fn about() -> About {
        About {
            kind: "exec",
            subject: "web".to_owned(),
            owner: None,
            action: MANAGE_MACHINES,
            meter: Meter::default(),
        }
    }

    #[test]
    fn places() {
        let jobs = Jobs::default();
        let begin = || -> Result<(Arc<Job>, Option<u32>), Kind> {
            let removed = jobs.reserve().map_err(|problem| problem.kind)?;
            jobs.lock().reserved -= 1;
            Ok((jobs.add(about(), None), removed))
        };
        let all: Vec<Arc<Job>> = (0..MOST - 1).map(|_| begin().unwrap().0).collect();
        // One that is about to begin has the last.
        assert_eq!(jobs.reserve().unwrap(), None);
        assert_eq!(begin().map(|(_, removed)| removed), Err(Kind::Busy));
        jobs.lock().reserved -= 1;
        assert_eq!(begin().map(|(_, removed)| removed), Ok(None));
        // One that is over makes room.
        all[7].outcome.send_replace(Some(Outcome::Cancelled));
        assert_eq!(begin().map(|(_, removed)| removed), Ok(Some(all[7].id)));
        assert_eq!(begin().map(|(_, removed)| removed), Err(Kind::Busy));
    }
}
