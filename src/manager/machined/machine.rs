//! `org.freedesktop.machine1.Machine`: one machine. What its methods do is in [`super::operations`].

use std::collections::BTreeMap;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedFd, fdo};

use super::known::Known;
use super::operations::Operation;
use super::{Address, Result, addresses_on_bus};
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::supervisor::machined_file::MachinedFile;

/// The address of AF_VSOCK that stands for none (VMADDR_CID_ANY, vsock(7)).
const NO_CID: u32 = u32::MAX;

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

    fn known(&self) -> fdo::Result<Known> {
        let gone = || fdo::Error::UnknownObject(format!("machine {} is gone", self.name));
        Known::get(&self.context, &self.name).ok_or_else(gone)
    }

    /// Says which properties are others: a guest that reboots has a new leader.
    pub(super) async fn tell(
        &self,
        emitter: &SignalEmitter<'_>,
        before: &MachinedFile,
        now: &MachinedFile,
    ) -> zbus::Result<()> {
        if (before.realtime, before.monotonic) != (now.realtime, now.monotonic) {
            self.timestamp_changed(emitter).await?;
            self.timestamp_monotonic_changed(emitter).await?;
        }
        if (before.leader, before.leader_pidfd_id) != (now.leader, now.leader_pidfd_id) {
            self.leader_changed(emitter).await?;
            // zbus makes this name of the property's.
            self.leader_p_i_d_f_d_id_changed(emitter).await?;
        }
        if before.interfaces != now.interfaces {
            self.network_interfaces_changed(emitter).await?;
        }
        Ok(())
    }

    fn on<'a>(&'a self, header: &'a Header<'a>) -> Operation<'a> {
        Operation { context: &self.context, caller: Caller::Bus(header), name: &self.name }
    }
}

/// A machine that runs.
#[zbus::interface(name = "org.freedesktop.machine1.Machine")]
impl MachineObject {
    /// Ends it now.
    async fn terminate(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header).terminate().await?)
    }

    /// Sends a signal to its processes: `leader`, `supervisor`, `all`.
    async fn kill(&self, whom: &str, signal: i32, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header).kill(whom, signal).await?)
    }

    /// Its addresses: family (AF_INET, AF_INET6) and bytes.
    #[zbus(out_args("addresses"))]
    async fn get_addresses(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<Address>> {
        Ok(addresses_on_bus(self.on(&header).addresses().await?))
    }

    /// How ssh(1) gets at it.
    #[zbus(name = "GetSSHInfo", out_args("ssh_address", "ssh_private_key_path"))]
    async fn get_ssh_info(&self, #[zbus(header)] header: Header<'_>) -> Result<(String, String)> {
        Ok(self.on(&header).ssh_info().await?)
    }

    /// The fields of its os-release(5).
    #[zbus(name = "GetOSRelease", out_args("fields"))]
    async fn get_os_release(&self, #[zbus(header)] header: Header<'_>) -> Result<BTreeMap<String, String>> {
        Ok(self.on(&header).os_release().await?.into_iter().collect())
    }

    /// Where its IDs begin on the host.
    #[zbus(name = "GetUIDShift", out_args("shift"))]
    async fn get_uid_shift(&self, #[zbus(header)] header: Header<'_>) -> Result<u32> {
        Ok(self.on(&header).uid_shift().await?)
    }

    /// A new pty in it: the master, and the path of the slave there.
    #[zbus(name = "OpenPTY", out_args("pty", "pty_path"))]
    async fn open_pty(&self, #[zbus(header)] header: Header<'_>) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.on(&header).open_pty().await?;
        Ok((pty.into(), path))
    }

    /// A login prompt in it, on a pty.
    #[zbus(out_args("pty", "pty_path"))]
    async fn open_login(&self, #[zbus(header)] header: Header<'_>) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.on(&header).open_login().await?;
        Ok((pty.into(), path))
    }

    /// A shell or program in it, on a pty.
    #[zbus(out_args("pty", "pty_path"))]
    async fn open_shell(
        &self,
        user: &str,
        path: &str,
        args: Vec<String>,
        environment: Vec<String>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.on(&header).open_shell(user, path, &args, &environment).await?;
        Ok((pty.into(), path))
    }

    /// Mounts a path of the host in it.
    async fn bind_mount(
        &self,
        source: &str,
        destination: &str,
        read_only: bool,
        mkdir: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header).bind(source, destination, read_only, mkdir).await?)
    }

    /// Copies files out of it.
    async fn copy_from(
        &self,
        source: &str,
        destination: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header).copy(false, source, destination, 0).await?)
    }

    /// Copies files into it.
    async fn copy_to(
        &self,
        source: &str,
        destination: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header).copy(true, source, destination, 0).await?)
    }

    /// Copies files out of it; with bit 0 of the flags, over those that are there.
    async fn copy_from_with_flags(
        &self,
        source: &str,
        destination: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header).copy(false, source, destination, flags).await?)
    }

    /// Copies files into it; with bit 0 of the flags, over those that are there.
    async fn copy_to_with_flags(
        &self,
        source: &str,
        destination: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header).copy(true, source, destination, flags).await?)
    }

    /// Its root directory.
    #[zbus(out_args("fd"))]
    async fn open_root_directory(&self, #[zbus(header)] header: Header<'_>) -> Result<OwnedFd> {
        Ok(self.on(&header).open_root().await?.into())
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// Its machine ID.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> fdo::Result<Vec<u8>> {
        Ok(self.known()?.id())
    }

    /// When it began, in microseconds since 1970.
    #[zbus(property)]
    fn timestamp(&self) -> fdo::Result<u64> {
        Ok(self.known()?.file().realtime)
    }

    /// The same, since the host's boot.
    #[zbus(property)]
    fn timestamp_monotonic(&self) -> fdo::Result<u64> {
        Ok(self.known()?.file().monotonic)
    }

    /// Who made it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn service(&self) -> fdo::Result<String> {
        Ok(self.known()?.file().service.clone())
    }

    /// The unit that it is in.
    #[zbus(property(emits_changed_signal = "const"))]
    fn unit(&self) -> fdo::Result<String> {
        Ok(self.known()?.file().unit.clone())
    }

    /// The same, as it was called before systemd 207.
    #[zbus(property(emits_changed_signal = "const"))]
    fn scope(&self) -> fdo::Result<String> {
        self.unit()
    }

    /// Its cgroup below that of the unit.
    #[zbus(property(emits_changed_signal = "const"))]
    fn subgroup(&self) -> fdo::Result<String> {
        Ok(self.known()?.file().subgroup.clone())
    }

    /// Its PID 1, as the host sees it.
    #[zbus(property)]
    fn leader(&self) -> fdo::Result<u32> {
        Ok(self.known()?.file().leader.unsigned_abs())
    }

    /// The inode of that one's pidfd; 0 where the kernel has none.
    #[zbus(property, name = "LeaderPIDFDId")]
    fn leader_pidfd_id(&self) -> fdo::Result<u64> {
        Ok(self.known()?.file().leader_pidfd_id)
    }

    /// Who watches it; 0 for nobody.
    #[zbus(property(emits_changed_signal = "const"))]
    fn supervisor(&self) -> fdo::Result<u32> {
        Ok(self.known()?.file().supervisor.unsigned_abs())
    }

    /// The inode of that one's pidfd; 0 where the kernel has none.
    #[zbus(property(emits_changed_signal = "const"), name = "SupervisorPIDFDId")]
    fn supervisor_pidfd_id(&self) -> fdo::Result<u64> {
        Ok(self.known()?.file().supervisor_pidfd_id)
    }

    /// `container`, `vm` or `host`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn class(&self) -> fdo::Result<&'static str> {
        Ok(self.known()?.file().class.as_str())
    }

    /// Its tree, on the host.
    #[zbus(property(emits_changed_signal = "const"))]
    fn root_directory(&self) -> fdo::Result<String> {
        Ok(self.known()?.file().root.clone())
    }

    /// Interfaces of the host that lead to it, by index.
    #[zbus(property)]
    fn network_interfaces(&self) -> fdo::Result<Vec<i32>> {
        Ok(self.known()?.file().interfaces.clone())
    }

    /// Its address of AF_VSOCK; all ones for none.
    #[zbus(property(emits_changed_signal = "const"), name = "VSockCID")]
    fn vsock_cid(&self) -> fdo::Result<u32> {
        Ok(self.known()?.file().vsock_cid.unwrap_or(NO_CID))
    }

    /// How ssh(1) gets at it.
    #[zbus(property(emits_changed_signal = "const"), name = "SSHAddress")]
    fn ssh_address(&self) -> fdo::Result<String> {
        Ok(self.known()?.file().ssh_address.clone())
    }

    /// With which key.
    #[zbus(property(emits_changed_signal = "const"), name = "SSHPrivateKeyPath")]
    fn ssh_private_key_path(&self) -> fdo::Result<String> {
        Ok(self.known()?.file().ssh_private_key_path.clone())
    }

    /// `opening`, `running` or `closing`.
    #[zbus(property(emits_changed_signal = "false"))]
    fn state(&self) -> fdo::Result<&'static str> {
        Ok(self.known()?.progress().as_str())
    }

    /// Whose it is.
    #[zbus(property(emits_changed_signal = "const"), name = "UID")]
    fn uid(&self) -> fdo::Result<u32> {
        Ok(self.known()?.file().uid)
    }
}
