//! The machines there are, as what interfaces tell of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lifeline::Lifeline;
use super::own::variants::Dictionary;
use crate::machine::registry_watch::RegistryWatch;
use crate::machine::{Error, MachineHandle};
use crate::network::state::NetworkState;
use crate::settings::MachineName;
use crate::supervisor::machined_file::MachinedFile;
use crate::supervisor::state::{Phase, State};
use crate::sys::inet::interface_index;

/// How far a machine is, in systemd-machined's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is being started.
    Opening,
    /// Its processes run.
    Running,
    /// It is on its way down.
    Closing,
}

impl Progress {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Closing => "closing",
        }
    }
}

/// A machine at one moment.
#[derive(Debug)]
pub struct Machine {
    /// What its supervisor says of it.
    pub state: State,
    /// Interfaces of the host that lead to it, by index.
    pub interfaces: Vec<i32>,
    /// Its network, as it is told to everybody.
    pub network: NetworkState,
    /// What systemd's tools are told of it.
    pub file: MachinedFile,
    supervisor: Arc<Lifeline>,
    stamps: Stamps,
    /// What lists of ours tell of it, once that was asked: it stays as it is.
    listed: OnceLock<Dictionary>,
}

impl Machine {
    /// What is known of `machine` now; `before` is what was known of the same name.
    fn of(machine: &MachineHandle, before: Option<&Self>, stamps: Stamps) -> Option<Self> {
        let state = machine.state().clone();
        let known = before.filter(|before| before.state.supervisor_started == state.supervisor_started);
        let supervisor = match known {
            Some(before) => Arc::clone(&before.supervisor),
            None => Arc::new(Lifeline::of(machine.supervisor().ok()?).ok()?),
        };
        let network = machine.network_state();
        let names = network.plan.links.iter().filter_map(|link| link.host.as_ref());
        let interfaces: Vec<i32> = names
            .filter_map(|name| interface_index(name.as_str()).ok())
            .filter_map(|index| index.try_into().ok())
            .collect();
        let file = MachinedFile::of(&state, &interfaces);
        let listed = OnceLock::new();
        Some(Self { file, state, interfaces, network, supervisor, stamps, listed })
    }

    /// Whether its supervisor lives still.
    pub fn is_there(&self) -> bool {
        self.supervisor.holds()
    }

    /// What lists tell of it, which is put together by `make` once.
    pub fn listed(&self, make: impl FnOnce(&Self) -> Dictionary) -> &Dictionary {
        self.listed.get_or_init(|| make(self))
    }

    /// Its supervisor.
    pub fn supervisor(&self) -> &Arc<Lifeline> {
        &self.supervisor
    }

    /// Whether nothing of it is told otherwise.
    fn is_as(&self, other: &Self) -> bool {
        (&self.state, &self.interfaces, &self.network, &self.file)
            == (&other.state, &other.interfaces, &other.network, &other.file)
    }

    /// Its machine ID (machine-id(5)); nothing where it has none.
    pub fn id(&self) -> Vec<u8> {
        let digits: Vec<u32> = self.state.uuid.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        match self.state.phase {
            Phase::Booting | Phase::Ready => Progress::Running,
            Phase::Stopping => Progress::Closing,
        }
    }
}

/// Which writing of its files a machine was read from: each is replaced, never changed.
#[derive(Debug, PartialEq, Eq)]
struct Stamps([Option<(u64, i64, i64)>; 2]);

impl Stamps {
    fn of(name: &MachineName) -> Self {
        let directory = MachineHandle::directory_of(name);
        Self([State::FILE, NetworkState::FILE].map(|file| {
            let stat = rustix::fs::stat(directory.join(file)).ok()?;
            Some((stat.st_ino, stat.st_mtime, stat.st_mtime_nsec.cast_signed()))
        }))
    }
}

/// The machines that the objects of the bus speak for.
#[derive(Debug)]
pub struct Machines {
    watch: RegistryWatch,
    /// Something was read already.
    begun: AtomicBool,
    known: Mutex<Known>,
}

/// By name.
type Known = BTreeMap<String, Arc<Machine>>;

/// What is different from before.
#[derive(Debug, Default)]
pub struct Changes {
    /// They were not there.
    pub came: Vec<Arc<Machine>>,
    /// They are gone.
    pub went: Vec<Arc<Machine>>,
    /// Something about them is another.
    pub changed: Vec<Changed>,
}

/// A machine of which something is another than before.
#[derive(Debug)]
pub struct Changed {
    /// As it was.
    pub before: Arc<Machine>,
    /// As it is.
    pub now: Arc<Machine>,
}

impl Machines {
    /// Knows of none so far.
    ///
    /// # Errors
    /// When the registry cannot be watched.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { watch: RegistryWatch::new()?, begun: AtomicBool::new(false), known: Mutex::default() })
    }

    /// The machine called `name`.
    pub fn get(&self, name: &str) -> Option<Arc<Machine>> {
        self.lock().get(name).cloned()
    }

    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Machine>> {
        self.lock().values().cloned().collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether the registry says something that was not read yet. What a supervisor has written is told by the kernel before its
    /// write(2) is over, so nothing that a client has seen is missed.
    pub fn has_news(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let told = poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], Some(&now));
        !self.begun.load(Ordering::Relaxed) || told != Ok(0)
    }

    /// Reads what is new in the registry.
    ///
    /// # Errors
    /// When it cannot be read; nothing changes then, and it stays news.
    pub fn refresh(&self) -> Result<Changes, Error> {
        self.begun.store(false, Ordering::Relaxed);
        let mut known = self.lock();
        let same = RefCell::new(Known::new());
        let is_same = |name: &MachineName| {
            let Some(machine) = known.get(name.as_str()) else { return false };
            let is_same = machine.stamps == Stamps::of(name) && machine.is_there();
            if is_same {
                same.borrow_mut().insert(name.to_string(), Arc::clone(machine));
            }
            is_same
        };
        // Those are watched already.
        let others = self.watch.follow(is_same)?;
        let read = |name: &MachineName| {
            // Taken first: what is written after it is news again.
            let stamps = Stamps::of(name);
            let machine = MachineHandle::find(name).ok()?;
            let before = known.get(name.as_str());
            let machine = Machine::of(&machine, before.map(AsRef::as_ref), stamps)?;
            Some((name.to_string(), Arc::new(machine)))
        };
        let mut now: Known = others.iter().filter_map(read).collect();
        now.append(&mut same.into_inner());
        self.begun.store(true, Ordering::Relaxed);
        let changes = Changes::between(&known, &now);
        *known = now;
        Ok(changes)
    }

    /// Forgets the machine `name` if it is the one with that supervisor, which has ended. Says what was forgotten.
    pub fn forget(&self, name: &str, supervisor: &Arc<Lifeline>) -> Option<Arc<Machine>> {
        let mut known = self.lock();
        known.get(name).filter(|machine| Arc::ptr_eq(&machine.supervisor, supervisor))?;
        known.remove(name)
    }

    /// Reads the record of one machine anew, for who asks of it before its coming was told.
    ///
    /// # Errors
    /// When no such machine runs.
    pub fn look(name: &str) -> Result<MachineHandle, Error> {
        let name = name.parse::<MachineName>().map_err(|source| Error::Name { source })?;
        MachineHandle::find(&name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Machines {
    /// Readable when there is news.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Changes {
    fn between(known: &Known, now: &Known) -> Self {
        let mut changes = Self::default();
        for (name, machine) in now {
            match known.get(name) {
                None => changes.came.push(Arc::clone(machine)),
                // A reboot in place is a change; another machine of the same name is another machine.
                Some(before) if !Arc::ptr_eq(&before.supervisor, &machine.supervisor) => {
                    changes.went.push(Arc::clone(before));
                    changes.came.push(Arc::clone(machine));
                }
                Some(before) if !before.is_as(machine) => {
                    changes.changed.push(Changed { before: Arc::clone(before), now: Arc::clone(machine) });
                }
                Some(_) => {}
            }
        }
        let gone = known.iter().filter(|(name, _)| !now.contains_key(*name));
        changes.went.extend(gone.map(|(_, machine)| Arc::clone(machine)));
        changes
    }
}
