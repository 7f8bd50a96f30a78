//! Who may do what: root always, others whom polkit allows. Without polkit, root alone.
//!
//! A caller is known by its connection: the bus vouches for its user, and polkit is asked about the connection's unique name, which
//! is never given to anybody else. No pid is believed.

use std::collections::HashMap;

use zbus::message::{Flags, Header};
use zbus::{Connection, Type, Variant};

use super::problem::{Kind, Problem};

/// What polkit answers.
#[derive(Debug, serde::Deserialize, Type)]
struct Verdict {
    allowed: bool,
    could_be_asked: bool,
    _details: HashMap<String, String>,
}

/// polkit(8), `org.freedesktop.PolicyKit1.Authority`: the one method of it that a mechanism needs.
#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Polkit {
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<Verdict>;
}

/// Who asks.
#[derive(Debug)]
pub enum Caller<'a> {
    /// The sender of a message on the bus.
    Bus(&'a Header<'a>),
    /// Who has connected to a socket of ours.
    Peer {
        /// Its user.
        uid: u32,
        /// Its process (SO_PEERPIDFD, Linux 6.5); `None` where the kernel does not say.
        process: Option<std::os::fd::BorrowedFd<'a>>,
        /// Its user may be asked for a password.
        interactive: bool,
    },
}

impl Caller<'_> {
    /// Whether it may do `action`.
    ///
    /// # Errors
    /// As [`check`].
    pub async fn check(
        &self,
        connection: &Connection,
        action: &str,
        details: &[(&str, &str)],
    ) -> Result<(), Problem> {
        match self {
            Self::Bus(header) => check(connection, header, action, details).await,
            Self::Peer { uid: 0, .. } => Ok(()),
            Self::Peer { uid, process: Some(process), interactive } => {
                let fd = Variant::from(zbus::Fd::from(*process));
                let uid = Variant::from(i32::try_from(*uid).unwrap_or(-1));
                let subject = ("unix-process", HashMap::from([("pidfd", fd), ("uid", uid)]));
                ask(connection, &subject, action, details, *interactive).await
            }
            // A pid could be another process' by the time that polkit looks.
            Self::Peer { .. } => Err(denied("Access denied")),
        }
    }

    /// The user that it runs as.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn user(&self, connection: &Connection) -> Result<u32, Problem> {
        match self {
            Self::Bus(header) => user(connection, header).await,
            Self::Peer { uid, .. } => Ok(*uid),
        }
    }
}

/// The user that `header`'s sender runs as, as the bus knows it.
///
/// # Errors
/// When the sender is gone.
pub async fn user(connection: &Connection, header: &Header<'_>) -> Result<u32, Problem> {
    let sender = header.sender().ok_or_else(|| denied("a message without a sender"))?;
    let bus = zbus::fdo::DBusProxy::new(connection).await?;
    bus.get_connection_unix_user(sender.to_owned().into())
        .await
        .map_err(|error| denied(&format!("it is not known who asks: {error}")))
}

/// The process that `header`'s sender is, as the bus knows it. It may be another's number by now: good for saying whose it is, and
/// not for what it may.
///
/// # Errors
/// When the sender is gone.
pub async fn process(connection: &Connection, header: &Header<'_>) -> Result<u32, Problem> {
    let sender = header.sender().ok_or_else(|| denied("a message without a sender"))?;
    let bus = zbus::fdo::DBusProxy::new(connection).await?;
    bus.get_connection_unix_process_id(sender.to_owned().into())
        .await
        .map_err(|error| denied(&format!("it is not known who asks: {error}")))
}

/// Whether the caller may do `action`. `details` are for the words of the question, as in `Login to $(machine)`.
///
/// # Errors
/// [`Kind::AccessDenied`]; [`Kind::AuthorizationRequired`] where the user could be asked and the call does not say that it may.
pub async fn check(
    connection: &Connection,
    header: &Header<'_>,
    action: &str,
    details: &[(&str, &str)],
) -> Result<(), Problem> {
    if user(connection, header).await? == 0 {
        return Ok(());
    }
    let sender = header.sender().ok_or_else(|| denied("a message without a sender"))?;
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender.as_str()))]));
    let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    ask(connection, &subject, action, details, interactive).await
}

async fn ask(
    connection: &Connection,
    subject: &(&str, HashMap<&str, Variant<'_>>),
    action: &str,
    details: &[(&str, &str)],
    interactive: bool,
) -> Result<(), Problem> {
    /// CheckAuthorizationFlags: AllowUserInteraction.
    const INTERACTIVE: u32 = 1;
    let flags = if interactive { INTERACTIVE } else { 0 };
    let polkit =
        PolkitProxy::builder(connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
    let details = details.iter().copied().collect();
    match polkit.check_authorization(subject, action, &details, flags, "").await {
        Ok(verdict) if verdict.allowed => Ok(()),
        Ok(verdict) if verdict.could_be_asked && !interactive => {
            Err(Problem::new(Kind::AuthorizationRequired, "Interactive authentication required."))
        }
        // One that is not there, or does not answer, allows nothing.
        Ok(_) | Err(_) => Err(denied("Access denied")),
    }
}

fn denied(text: &str) -> Problem {
    Problem::new(Kind::AccessDenied, text)
}
