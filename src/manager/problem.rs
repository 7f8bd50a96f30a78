//! Why something was not done, under the names that each interface has for it.

use zbus::DBusError;
use zbus::message::{Header, Message};
use zbus::names::ErrorName;

use serde::{Deserialize, Serialize};

use crate::{image, machine};

/// What sort of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    NoSuchMachine,
    MachineExists,
    NoMachineForPid,
    NoSuchImage,
    ImageExists,
    NoSuchTransfer,
    NoPrivateNetworking,
    NoSuchUserMapping,
    NoSuchGroupMapping,
    NoOsRelease,
    NotFound,
    InvalidArgument,
    AccessDenied,
    AuthorizationRequired,
    NotSupported,
    ReadOnly,
    Busy,
    TooMany,
    Cancelled,
    TimedOut,
    Failed,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct Problem {
    /// What sort of failure it is.
    pub kind: Kind,
    /// One line.
    pub text: String,
    /// The next step.
    pub hint: Option<String>,
}

impl Problem {
    /// One without a hint.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None }
    }

    /// An error with its causes.
    pub fn of(kind: Kind, error: &dyn std::error::Error, hint: Option<String>) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self { kind, text, hint }
    }

    /// No machine of that name runs.
    pub fn no_machine(name: &str) -> Self {
        // As systemd-machined says it, since programs show it.
        Self::new(Kind::NoSuchMachine, format!("No machine '{}' known", shown(name)))
    }

    /// There is no image of that name.
    pub fn no_image(name: &str) -> Self {
        Self::new(Kind::NoSuchImage, format!("No image '{}' known", shown(name)))
    }
}

/// A name of a client's, which may be anything: no names of ours are longer, and none holds what terminals obey.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl From<machine::Error> for Problem {
    fn from(error: machine::Error) -> Self {
        use machine::Error as Is;
        let kind = match &error {
            Is::NotRunning { name } | Is::Gone { name } => return Self::no_machine(name),
            Is::NoImage { name, .. } => return Self::no_image(name),
            Is::RunningAlready { .. } => Kind::MachineExists,
            Is::PermissionDenied { .. } => Kind::AccessDenied,
            Is::Name { .. } | Is::Settings(_) => Kind::InvalidArgument,
            Is::Starting { .. } | Is::Paused { .. } => Kind::Busy,
            _ => Kind::Failed,
        };
        let hint = error.hint();
        Self::of(kind, &error, hint)
    }
}

impl From<image::Error> for Problem {
    fn from(error: image::Error) -> Self {
        use image::Error as Is;
        let kind = match &error {
            Is::NoImage { name, .. } => return Self::no_image(name),
            Is::Exists { .. } => Kind::ImageExists,
            Is::InUse { .. } | Is::Busy { .. } => Kind::Busy,
            Is::Name { .. } => Kind::InvalidArgument,
            Is::OutOfReach { .. } | Is::ReadOnly { .. } => Kind::ReadOnly,
            _ => Kind::Failed,
        };
        let hint = error.hint();
        Self::of(kind, &error, hint)
    }
}

impl From<image::layers::LayerError> for Problem {
    fn from(error: image::layers::LayerError) -> Self {
        match error {
            image::layers::LayerError::Image(error) => error.into(),
            error => {
                let hint = error.hint();
                Self::of(Kind::Failed, &error, hint)
            }
        }
    }
}

impl From<zbus::Error> for Problem {
    fn from(error: zbus::Error) -> Self {
        Self::of(Kind::Failed, &error, None)
    }
}

/// How an interface calls a kind of failure.
pub trait Naming: std::fmt::Debug + Send + Sync + 'static {
    /// The error's whole name.
    fn name(kind: Kind) -> &'static str;
}

/// What all interfaces call alike (sd-bus-errors(3)).
fn common(kind: Kind) -> &'static str {
    match kind {
        Kind::InvalidArgument => "org.freedesktop.DBus.Error.InvalidArgs",
        Kind::AccessDenied => "org.freedesktop.DBus.Error.AccessDenied",
        Kind::AuthorizationRequired => "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
        Kind::NotSupported => "org.freedesktop.DBus.Error.NotSupported",
        Kind::ImageExists => "org.freedesktop.DBus.Error.FileExists",
        Kind::NotFound => "org.freedesktop.DBus.Error.FileNotFound",
        Kind::Busy => "System.Error.EBUSY",
        Kind::TooMany => "org.freedesktop.DBus.Error.LimitsExceeded",
        Kind::TimedOut => "org.freedesktop.DBus.Error.TimedOut",
        Kind::ReadOnly => "System.Error.EROFS",
        _ => "org.freedesktop.DBus.Error.Failed",
    }
}

/// `org.freedesktop.machine1`.
#[derive(Debug)]
pub enum Machined {}

impl Naming for Machined {
    fn name(kind: Kind) -> &'static str {
        match kind {
            Kind::NoSuchMachine => "org.freedesktop.machine1.NoSuchMachine",
            Kind::MachineExists => "org.freedesktop.machine1.MachineExists",
            Kind::NoMachineForPid => "org.freedesktop.machine1.NoMachineForPID",
            Kind::NoSuchImage => "org.freedesktop.machine1.NoSuchImage",
            Kind::NoPrivateNetworking => "org.freedesktop.machine1.NoPrivateNetworking",
            Kind::NoSuchUserMapping => "org.freedesktop.machine1.NoSuchUserMapping",
            Kind::NoSuchGroupMapping => "org.freedesktop.machine1.NoSuchGroupMapping",
            kind => common(kind),
        }
    }
}

/// `org.freedesktop.import1`.
#[derive(Debug)]
pub enum Importd {}

impl Naming for Importd {
    fn name(kind: Kind) -> &'static str {
        match kind {
            Kind::NoSuchTransfer => "org.freedesktop.import1.NoSuchTransfer",
            Kind::Busy => "org.freedesktop.import1.TransferInProgress",
            kind => common(kind),
        }
    }
}

/// `org.spinney`.
#[derive(Debug)]
pub enum Own {}

impl Naming for Own {
    fn name(kind: Kind) -> &'static str {
        match kind {
            Kind::NoSuchMachine => "org.spinney.Error.NoSuchMachine",
            Kind::MachineExists => "org.spinney.Error.MachineExists",
            Kind::NoSuchImage => "org.spinney.Error.NoSuchImage",
            Kind::ImageExists => "org.spinney.Error.ImageExists",
            Kind::NoSuchTransfer => "org.spinney.Error.NoSuchTransfer",
            Kind::Busy | Kind::TooMany => "org.spinney.Error.Busy",
            Kind::Cancelled => "org.spinney.Error.Cancelled",
            Kind::TimedOut => "org.spinney.Error.TimedOut",
            Kind::Failed => "org.spinney.Error.Failed",
            kind => common(kind),
        }
    }
}

/// A [`Problem`] as the answer to a call of one interface.
#[derive(Debug)]
pub struct Refusal<N> {
    problem: Problem,
    text: String,
    naming: std::marker::PhantomData<N>,
}

impl<N: Naming, P: Into<Problem>> From<P> for Refusal<N> {
    fn from(problem: P) -> Self {
        let problem: Problem = problem.into();
        // A client prints it as it is: one line.
        let text = match &problem.hint {
            Some(hint) => format!("{} ({hint})", problem.text),
            None => problem.text.clone(),
        };
        Self { problem, text, naming: std::marker::PhantomData }
    }
}

impl<N: Naming> DBusError for Refusal<N> {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&(&self.text,))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(N::name(self.problem.kind))
    }

    fn description(&self) -> Option<&str> {
        Some(&self.text)
    }
}
