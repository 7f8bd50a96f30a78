//! systemd as this host's service manager: machines as instances of spinney@.service, enabled and started over the system bus
//! (org.freedesktop.systemd1(5)).

use std::collections::HashMap;
use std::path::Path;

use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::{Connection, ObjectPath, OwnedObjectPath};

use crate::host::systemd;
use crate::settings::MachineName;

/// Where a package, or somebody, has put the template (systemd.unit(5), "Unit File Load Path").
const TEMPLATES: [&str; 5] = [
    "/etc/systemd/system/spinney@.service",
    "/run/systemd/system/spinney@.service",
    "/usr/local/lib/systemd/system/spinney@.service",
    "/usr/lib/systemd/system/spinney@.service",
    "/lib/systemd/system/spinney@.service",
];

/// What wants the machines that are enabled.
const TARGET: &str = "machines.target";

/// Why systemd did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// We have no loop to wait in.
    #[error("cannot speak to systemd")]
    Begin(#[source] std::io::Error),
    /// The bus, or systemd, says no.
    #[error("cannot {action} {unit}")]
    Call {
        /// What was asked for.
        action: &'static str,
        /// The unit.
        unit: String,
        /// Why not.
        #[source]
        source: zbus::Error,
    },
    /// The bus cannot be reached.
    #[error("cannot reach systemd over the system bus")]
    Bus(#[source] zbus::Error),
    /// The bus went while we waited.
    #[error("the system bus is gone")]
    Gone,
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Call { .. } => "systemctl status and journalctl -u say more of the unit",
            _ => {
                "is dbus installed, and does it run? systemctl does without it, as does spinney run --detach"
            }
        }
    }
}

/// systemd's manager, as far as it is asked for something here.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    /// Whether something was changed, link by link: `symlink` or `unlink`, the link, its target.
    fn enable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
        force: bool,
    ) -> zbus::Result<(bool, Vec<(String, String, String)>)>;
    fn disable_unit_files(
        &self,
        files: &[&str],
        runtime: bool,
    ) -> zbus::Result<Vec<(String, String, String)>>;
    fn get_unit_file_state(&self, file: &str) -> zbus::Result<String>;
    fn reload(&self) -> zbus::Result<()>;
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

/// Whether machines are services on this host: systemd is its PID 1, and the template is installed.
pub fn has_units() -> bool {
    systemd::is_pid1() && TEMPLATES.iter().any(|path| Path::new(path).exists())
}

/// The service of machine `name`. A machine's name needs no escaping in a unit's.
pub fn service_of(name: &MachineName) -> String {
    format!("spinney@{name}.service")
}

/// Has the machine started with the host; says whether it was not before.
///
/// # Errors
/// Where the bus cannot be reached, or systemd refuses.
pub fn enable(name: &MachineName) -> Result<bool, Error> {
    let unit = service_of(name);
    wait_for(async {
        let systemd = connect().await?;
        let failed = |source| Error::Call { action: "enable", unit: unit.clone(), source };
        let mut files = vec![unit.as_str()];
        // One that was generated is wanted already, and cannot be enabled.
        if systemd.get_unit_file_state(TARGET).await.is_ok_and(|state| state == "disabled") {
            files.push(TARGET);
        }
        // By force: a link of that name that leads nowhere, to where the template was once, is replaced.
        let (_, changes) = systemd.enable_unit_files(&files, false, true).await.map_err(failed)?;
        systemd.reload().await.map_err(failed)?;
        Ok(!changes.is_empty())
    })
}

/// Has the machine started with the host no more; says whether it was before.
///
/// # Errors
/// As [`enable`].
pub fn disable(name: &MachineName) -> Result<bool, Error> {
    let unit = service_of(name);
    wait_for(async {
        let systemd = connect().await?;
        let failed = |source| Error::Call { action: "disable", unit: unit.clone(), source };
        let changes = systemd.disable_unit_files(&[&unit], false).await.map_err(failed)?;
        systemd.reload().await.map_err(failed)?;
        Ok(!changes.is_empty())
    })
}

/// How systemd's job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// The machine is ready.
    Done,
    /// It is not: `failed`, `timeout`, `dependency`, `canceled`, ...
    Failed(String),
}

/// Starts the services of `names`, all at once, and tells `report` of each when its job is over.
///
/// # Errors
/// Where the bus cannot be reached. That one service cannot be started is its report.
pub fn start(
    names: &[MachineName],
    mut report: impl FnMut(&MachineName, Result<Job, Error>),
) -> Result<(), Error> {
    wait_for(async {
        let systemd = connect().await?;
        // Without it systemd tells nobody.
        systemd.subscribe().await.map_err(Error::Bus)?;
        let mut removed = systemd.receive_job_removed().await.map_err(Error::Bus)?;
        let mut jobs = HashMap::new();
        for name in names {
            let unit = service_of(name);
            match systemd.start_unit(&unit, "fail").await {
                Ok(job) => drop(jobs.insert(job, name)),
                Err(source) => report(name, Err(Error::Call { action: "start", unit, source })),
            }
        }
        while !jobs.is_empty() {
            let signal = removed.next().await.ok_or(Error::Gone)?;
            let job = signal.args().map_err(Error::Bus)?;
            if let Some(name) = jobs.remove(&OwnedObjectPath::from(job.job.clone())) {
                report(
                    name,
                    Ok(if job.result == "done" { Job::Done } else { Job::Failed(job.result.to_owned()) }),
                );
            }
        }
        Ok(())
    })
}

async fn connect() -> Result<SystemdProxy<'static>, Error> {
    let connection = Connection::system().await.map_err(Error::Bus)?;
    let systemd = SystemdProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No);
    systemd.build().await.map_err(Error::Bus)
}

fn wait_for<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Begin)?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services() {
        for (name, unit) in [("web", "spinney@web.service"), ("my-web.lab", "spinney@my-web.lab.service")] {
            assert_eq!(service_of(&name.parse().unwrap()), unit);
        }
    }
}
