//! `org.freedesktop.machine1.Manager`.

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedObjectPath};

use super::{Result, machine_path};
use crate::manager::announcer;
use crate::manager::context::Context;
use crate::manager::worker::task::MachineWork;

/// Of machines that systemd's tools ask for.
const CLASS: &str = "container";

/// Who made them: the field `service` of systemd-machined.
const SERVICE: &str = "spinney";

const MANAGE_MACHINES: &str = "org.freedesktop.machine1.manage-machines";

/// The object.
#[derive(Debug)]
pub struct ManagerObject {
    context: Context,
}

impl ManagerObject {
    /// Of all machines.
    pub fn new(context: Context) -> Self {
        Self { context }
    }
}

/// Machines of this host, as systemd-machined tells of them.
#[zbus::interface(name = "org.freedesktop.machine1.Manager")]
impl ManagerObject {
    /// The object of a machine.
    #[zbus(out_args("machine"))]
    async fn get_machine(&self, name: &str) -> Result<OwnedObjectPath> {
        self.context.machine(name).await?;
        Ok(machine_path(name))
    }

    /// All machines that run: name, class, service, object.
    #[zbus(out_args("machines"))]
    async fn list_machines(&self) -> Result<Vec<(String, String, String, OwnedObjectPath)>> {
        announcer::announce(&self.context).await?;
        let machines = self.context.machines().all();
        let row = |name: &str| (name.to_owned(), CLASS.to_owned(), SERVICE.to_owned(), machine_path(name));
        Ok(machines.iter().map(|machine| row(&machine.state.name)).collect())
    }

    /// Ends a machine now.
    async fn terminate_machine(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.context.check(&header, MANAGE_MACHINES, &[("machine", name), ("verb", "terminate")]).await?;
        self.context.work_on_machine(name, MachineWork::Terminate).await?;
        Ok(())
    }

    /// Sends a signal to processes of a machine: `leader`, `supervisor`, `all`.
    async fn kill_machine(
        &self,
        name: &str,
        whom: String,
        signal: i32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        self.context.check(&header, MANAGE_MACHINES, &[("machine", name), ("verb", "kill")]).await?;
        self.context.work_on_machine(name, MachineWork::Kill { whom, signal }).await?;
        Ok(())
    }

    /// A machine has come.
    #[zbus(signal)]
    async fn machine_new(
        emitter: &SignalEmitter<'_>,
        machine: &str,
        path: ObjectPath<'_>,
    ) -> zbus::Result<()>;

    /// A machine is gone.
    #[zbus(signal)]
    async fn machine_removed(
        emitter: &SignalEmitter<'_>,
        machine: &str,
        path: ObjectPath<'_>,
    ) -> zbus::Result<()>;
}
