//! `org.freedesktop.machine1.Machine`.

use std::sync::Arc;

use zbus::fdo;
use zbus::message::Header;

use super::Result;
use crate::manager::context::Context;
use crate::manager::machines::Machine;
use crate::manager::worker::task::MachineWork;

const MANAGE_MACHINES: &str = "org.freedesktop.machine1.manage-machines";

/// The object of one machine.
#[derive(Debug)]
pub struct MachineObject {
    context: Context,
    name: String,
}

impl MachineObject {
    /// Of the machine called `name`.
    pub fn new(context: Context, name: &str) -> Self {
        Self { context, name: name.to_owned() }
    }

    fn machine(&self) -> fdo::Result<Arc<Machine>> {
        let gone = || fdo::Error::UnknownObject(format!("machine {} is gone", self.name));
        self.context.machines().get(&self.name).ok_or_else(gone)
    }
}

/// A machine that runs.
#[zbus::interface(name = "org.freedesktop.machine1.Machine")]
impl MachineObject {
    /// Ends it now.
    async fn terminate(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        self.context
            .check(&header, MANAGE_MACHINES, &[("machine", &self.name), ("verb", "terminate")])
            .await?;
        self.context.work_on_machine(&self.name, MachineWork::Terminate).await?;
        Ok(())
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// Its machine ID.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> fdo::Result<Vec<u8>> {
        Ok(self.machine()?.id())
    }

    /// Its PID 1, as the host sees it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn leader(&self) -> fdo::Result<u32> {
        Ok(self.machine()?.state.leader.unsigned_abs())
    }

    /// `opening`, `running` or `closing`.
    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> fdo::Result<&'static str> {
        Ok(self.machine()?.progress().as_str())
    }
}
