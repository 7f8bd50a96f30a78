//! A machine as these interfaces tell of it, whoever started it.

use std::sync::Arc;

use rustix::fs::CWD;

use super::HOST;
use crate::manager::announcer;
use crate::manager::context::Context;
use crate::manager::machines::{Machine, Progress};
use crate::manager::problem::Problem;
use crate::manager::registered::Registered;
use crate::supervisor::machined_file::{Class, MachinedFile};
use crate::sys::files::read_at;

/// A machine.
#[derive(Debug, Clone)]
pub enum Known {
    /// Spinney's.
    Own(Arc<Machine>),
    /// Of another program.
    Registered(Arc<Registered>),
    /// The host, which is one too.
    Host(Box<MachinedFile>),
}

impl Known {
    /// The machine called `name`, also one that has come this moment.
    ///
    /// # Errors
    /// When none of that name runs.
    pub async fn find(context: &Context, name: &str) -> Result<Self, Problem> {
        if let Some(known) = Self::get(context, name) {
            return Ok(known);
        }
        // One that is not there is looked for only in its own place: names that clients make up are to cost little.
        context.machine(name).await.map(Self::Own)
    }

    /// The machine called `name` among those that have objects.
    pub fn get(context: &Context, name: &str) -> Option<Self> {
        if name == HOST {
            return Some(Self::Host(Box::new(host())));
        }
        if let Some(machine) = context.machines().get(name).filter(|machine| machine.is_there()) {
            return Some(Self::Own(machine));
        }
        context.registered().get(name).map(Self::Registered)
    }

    /// All, by name, the host first.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn all(context: &Context) -> Result<Vec<Self>, Problem> {
        announcer::announce(context).await?;
        let own = context.machines().all().into_iter().filter(|machine| machine.is_there()).map(Self::Own);
        let others = context.registered().all().into_iter().filter(|machine| machine.is_there());
        let others = others.map(Self::Registered);
        let host = std::iter::once(Self::Host(Box::new(host())));
        Ok(host.chain(own).chain(others).collect())
    }

    /// What there is to tell.
    pub fn file(&self) -> &MachinedFile {
        match self {
            Self::Own(machine) => &machine.file,
            Self::Registered(machine) => &machine.file,
            Self::Host(file) => file,
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        match self {
            Self::Own(machine) => machine.progress(),
            Self::Registered(_) | Self::Host(_) => Progress::Running,
        }
    }

    /// Whether it is the host.
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// Its machine ID as bytes; nothing where it has none.
    pub fn id(&self) -> Vec<u8> {
        let digits: Vec<u32> = self.file().id.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let bytes: Vec<u8> =
            digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect();
        // systemd's clients want all of it, and know zeros for none.
        if bytes.len() == 16 { bytes } else { vec![0; 16] }
    }
}

/// The host, as systemd-machined has it.
fn host() -> MachinedFile {
    let id = read_at(CWD, "/etc/machine-id", 64).unwrap_or_default();
    MachinedFile {
        name: HOST.to_owned(),
        class: Class::Host,
        unit: "-.slice".to_owned(),
        root: "/".to_owned(),
        id: String::from_utf8_lossy(id.trim_ascii()).into_owned(),
        leader: 1,
        ..MachinedFile::default()
    }
}
