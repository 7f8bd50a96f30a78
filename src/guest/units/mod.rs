//! Whether a unit of a guest is up, or its target or runlevel is reached: each init's own way of telling.
//!
//! | file | init |
//! |---|---|
//! | `systemd` | `systemctl show` |
//! | `openrc` | the state that OpenRC keeps in /run/openrc |
//! | `runit` | what runsv keeps for each service |
//! | `finit` | `initctl -j status` |
//! | `sysvinit` | the `status` of a service's script, the runlevel in utmp |
//!
//! Nothing here looks or runs anything itself: a [`Look`] says what is to be run in the guest or read of it, and what the
//! outcome means. All of it is the guest's word.

use super::evidence::last_runlevel;
use super::init::{Init, Rc};
use crate::sys::in_root::Root;

mod finit;
mod openrc;
mod runit;
mod systemd;
mod sysvinit;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A service or another unit runs.
    Unit(String),
    /// A target, or runlevel, is reached.
    Target(String),
}

/// How it is found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// By a program of the guest.
    Program {
        /// What to run, as the guest's root.
        argv: Vec<String>,
        /// Whose answer it is.
        reader: Reader,
    },
    /// By files of the guest.
    Files(Files),
}

/// What understands a program's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// `systemctl show`
    Systemctl,
    /// `initctl -j status`
    Initctl,
    /// `SCRIPT status`
    Script,
}

/// Which files tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// OpenRC's state of a service.
    OpenrcService(String),
    /// OpenRC's runlevel.
    OpenrcLevel(String),
    /// runsv's state of a service.
    Runit(String),
    /// The runlevel in utmp.
    Runlevel(char),
}

/// What a look says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is so.
    Holds,
    /// Not now; why.
    NotYet(String),
    /// It will not be, unless somebody does something; why.
    Never(String),
}

impl Answer {
    fn not_yet(why: impl Into<String>) -> Self {
        Self::NotYet(why.into())
    }

    fn never(why: impl Into<String>) -> Self {
        Self::Never(why.into())
    }
}

/// Why an init cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLook {
    /// It has no such thing.
    #[error("{init} has no {what}")]
    None {
        /// The init.
        init: Init,
        /// What it lacks.
        what: &'static str,
    },
    /// That is no name of one.
    #[error("{name:?} is no name of a {what}")]
    Name {
        /// What was given.
        name: String,
        /// What it should name.
        what: &'static str,
    },
}

/// How to find out about `wanted` in a guest with `init`.
///
/// # Errors
/// When that has no such thing.
pub fn look(init: Init, wanted: &Wanted) -> Result<Look, NoLook> {
    let (name, what) = match wanted {
        Wanted::Unit(name) => (name, "unit"),
        Wanted::Target(name) => (name, "target"),
    };
    if !is_name(name) {
        return Err(NoLook::Name { name: name.clone(), what });
    }
    let name = name.clone();
    let script = |name: String| Look::Program {
        argv: vec![format!("/etc/init.d/{name}"), "status".to_owned()],
        reader: Reader::Script,
    };
    Ok(match (init, wanted) {
        (Init::Systemd, wanted) => systemd::look(wanted),
        (
            Init::Openrc | Init::Sysvinit { rc: Rc::Openrc } | Init::Busybox { rc: Rc::Openrc },
            Wanted::Unit(_),
        ) => Look::Files(Files::OpenrcService(name)),
        (
            Init::Openrc | Init::Sysvinit { rc: Rc::Openrc } | Init::Busybox { rc: Rc::Openrc },
            Wanted::Target(_),
        ) => Look::Files(Files::OpenrcLevel(name)),
        (Init::Runit, Wanted::Unit(_)) => Look::Files(Files::Runit(name)),
        (Init::Finit, Wanted::Unit(_)) => Look::Program {
            argv: ["initctl", "-j", "status"].into_iter().map(str::to_owned).chain([name]).collect(),
            reader: Reader::Initctl,
        },
        (Init::Sysvinit { rc: Rc::Scripts }, Wanted::Unit(_)) => script(name),
        (Init::Finit | Init::Sysvinit { rc: Rc::Scripts }, Wanted::Target(_)) => {
            let mut characters = name.chars();
            match (characters.next(), characters.next()) {
                (Some(level), None) if level.is_ascii_digit() || level == 'S' => {
                    Look::Files(Files::Runlevel(level))
                }
                _ => return Err(NoLook::Name { name, what: "runlevel" }),
            }
        }
        (Init::Busybox { rc: Rc::Scripts } | Init::Unknown, Wanted::Unit(_)) => {
            return Err(NoLook::None { init, what: "units" });
        }
        (Init::Runit | Init::Busybox { rc: Rc::Scripts } | Init::Unknown, Wanted::Target(_)) => {
            return Err(NoLook::None { init, what: "targets" });
        }
    })
}

impl Reader {
    /// What the program's exit status and output mean.
    pub fn read(self, status: i32, output: &str) -> Answer {
        match self {
            Self::Systemctl => systemd::read(status, output),
            Self::Initctl => finit::read(status, output),
            Self::Script => sysvinit::read(status),
        }
    }
}

impl Files {
    /// Looks once at the guest with the root `guest`.
    pub fn read(&self, guest: &Root) -> Answer {
        match self {
            Self::OpenrcService(name) => openrc::service(guest, name),
            Self::OpenrcLevel(name) => openrc::level(guest, name),
            Self::Runit(name) => runit::service(guest, name),
            Self::Runlevel(level) => match last_runlevel(guest) {
                Some(now) if now == *level => Answer::Holds,
                Some(now) if now.is_ascii_alphanumeric() => {
                    Answer::NotYet(format!("it is in runlevel {now}"))
                }
                _ => Answer::not_yet("it has recorded no runlevel"),
            },
        }
    }
}

/// What can name a unit of any init: of systemd's alphabet, `@`, `:` and the escaping `\` too, and never a path.
fn is_name(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@\\".contains(&byte);
    !name.is_empty() && name.len() < 256 && !name.starts_with(['.', '-']) && name.bytes().all(known)
}

#[cfg(test)]
mod tests;
