//! What all objects of the bus share.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use zbus::Connection;
use zbus::message::Header;

use super::importd::transfers::Transfers;
use super::machined::images::Images;
use super::machines::{Machine, Machines};
use super::own::job::Jobs;
use super::problem::Problem;
use super::registered::RegisteredMachines;
use super::worker::task::{ImageWork, MachineWork, Task};
use super::worker::{self, Attended, Done};
use super::{announcer, authority};

/// What all objects share; cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    machines: Machines,
    registered: RegisteredMachines,
    jobs: Jobs,
    /// Told when a machine has come.
    arrivals: Notify,
    transfers: Transfers,
    images: Images,
    /// Calls and tasks under way: the manager does not end meanwhile.
    busy: AtomicUsize,
    /// Connections to sockets of ours.
    connected: AtomicUsize,
    /// Told when one of those goes: what the bus sees, it tells itself.
    departures: Notify,
    complain: fn(&Problem),
}

/// As long as there is one, the manager does not end for want of work.
#[derive(Debug)]
pub struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// As long as there is one, the manager does not end for want of work: its client may call again.
#[derive(Debug)]
pub struct Connected(Arc<Shared>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
        self.0.departures.notify_waiters();
    }
}

impl Context {
    /// Of a connection on which nothing is served yet. `complain` is told of what goes wrong where nobody waits for it.
    ///
    /// # Errors
    /// When the registry cannot be watched.
    pub fn new(connection: Connection, complain: fn(&Problem)) -> Result<Self, Problem> {
        let (machines, registered) = (Machines::new()?, RegisteredMachines::default());
        let (jobs, arrivals) = (Jobs::default(), Notify::new());
        let (transfers, images) = (Transfers::default(), Images::default());
        let (busy, connected, departures) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        let shared = Shared {
            connection,
            machines,
            registered,
            jobs,
            arrivals,
            transfers,
            images,
            busy,
            connected,
            departures,
            complain,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The connection to the bus.
    pub fn connection(&self) -> &Connection {
        &self.shared.connection
    }

    /// The machines that have objects.
    pub fn machines(&self) -> &Machines {
        &self.shared.machines
    }

    /// The machines of other programs.
    pub fn registered(&self) -> &RegisteredMachines {
        &self.shared.registered
    }

    /// What takes time.
    pub fn jobs(&self) -> &Jobs {
        &self.shared.jobs
    }

    /// Told when a machine has come.
    pub fn arrivals(&self) -> &Notify {
        &self.shared.arrivals
    }

    /// The transfers that have objects.
    pub fn transfers(&self) -> &Transfers {
        &self.shared.transfers
    }

    /// The images that have objects.
    pub fn images(&self) -> &Images {
        &self.shared.images
    }

    /// Whether something is under way.
    pub fn is_at_work(&self) -> bool {
        self.shared.busy.load(Ordering::Relaxed) > 0
    }

    /// Whether something is under way, or there is something to tell of.
    pub fn is_busy(&self) -> bool {
        let Shared { machines, registered, transfers, connected, .. } = &*self.shared;
        let told_of = !machines.is_empty() || !registered.is_empty() || !transfers.is_empty();
        self.is_at_work() || told_of || connected.load(Ordering::Relaxed) > 0
    }

    /// Somebody is connected to a socket of ours until what this gives is dropped.
    pub fn connected(&self) -> Connected {
        self.shared.connected.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(&self.shared))
    }

    /// Told when somebody has gone from a socket of ours.
    pub fn departures(&self) -> &Notify {
        &self.shared.departures
    }

    /// Says that something goes wrong for which nobody waits.
    pub fn complain(&self, problem: &Problem) {
        (self.shared.complain)(problem);
    }

    /// Something is under way until what this gives is dropped.
    pub fn busy(&self) -> Busy {
        self.shared.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.shared))
    }

    /// Whether the sender of `header` may do `action` to the machine or image `name`.
    ///
    /// # Errors
    /// When not.
    pub async fn check(
        &self,
        header: &Header<'_>,
        action: &str,
        details: &[(&str, &str)],
    ) -> Result<(), Problem> {
        // polkit may ask a person, who takes time.
        let _busy = self.busy();
        authority::check(self.connection(), header, action, details).await
    }

    /// The machine called `name`, also one that has come this moment.
    ///
    /// # Errors
    /// When none of that name runs.
    pub async fn machine(&self, name: &str) -> Result<Arc<Machine>, Problem> {
        // Its record may be newer than what is announced: a client that has just started it knows no better.
        if self.machines().get(name).is_none_or(|machine| !machine.is_there()) {
            announcer::announce(self).await?;
        }
        let machine = self.machines().get(name).filter(|machine| machine.is_there());
        machine.ok_or_else(|| Problem::no_machine(name))
    }

    /// Has something done to a machine, by a process of its own.
    ///
    /// # Errors
    /// Those of the work; no such machine.
    pub async fn work_on_machine(&self, name: &str, work: MachineWork) -> Result<Done, Problem> {
        let _busy = self.busy();
        worker::perform(&self.task_on_machine(name, work).await?, Vec::new(), |_| {}).await
    }

    /// Has something begun that is done to a machine and takes its time, by a process of its own that gets `fds`.
    ///
    /// # Errors
    /// No such machine; when there can be no further process.
    pub async fn attend_on_machine(
        &self,
        name: &str,
        work: MachineWork,
        fds: Vec<OwnedFd>,
    ) -> Result<Attended, Problem> {
        worker::attend(&self.task_on_machine(name, work).await?, fds)
    }

    async fn task_on_machine(&self, name: &str, work: MachineWork) -> Result<Task, Problem> {
        let sealed = match self.machine(name).await {
            Ok(machine) => machine.state.id_size == 0,
            // Nothing of ours gets into it.
            Err(_) if self.registered().get(name).is_some() => false,
            Err(problem) => return Err(problem),
        };
        Ok(Task::Machine { name: name.to_owned(), sealed, work })
    }

    /// Has something done to an image, by a process of its own.
    ///
    /// # Errors
    /// Those of the work; no such image.
    pub async fn work_on_image(&self, name: &str, work: ImageWork) -> Result<Done, Problem> {
        self.work(&Task::Image { name: name.to_owned(), work }).await
    }

    /// Has a task done by a process of its own.
    ///
    /// # Errors
    /// Those of the task.
    pub async fn work(&self, task: &Task) -> Result<Done, Problem> {
        let _busy = self.busy();
        worker::perform(task, Vec::new(), |_| {}).await
    }
}
