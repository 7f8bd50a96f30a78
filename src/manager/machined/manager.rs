//! `org.freedesktop.machine1.Manager`: methods that name a machine. What they do is in [`super::operations`].

use std::collections::BTreeMap;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedFd, OwnedObjectPath, OwnedVariant};

use super::id_map::Ids;
use super::image_operations::{self, ImageOperation};
use super::images::{self, Facts, image_path};
use super::known::Known;
use super::operations::{Operation, by_pid, map_to};
use super::registration::{Origin, Registration, from_properties, register, unregister};
use super::{Address, Result, addresses_on_bus, machine_path};
use crate::manager::authority::{self, Caller};
use crate::manager::context::Context;

/// Where systemd-machined has images, and so who asks for its properties expects them.
const POOL: &str = "/var/lib/machines";

/// How much of it there is, where nothing counts.
const UNKNOWN: u64 = u64::MAX;

/// A row of `ListImages`.
type ImageRow = (String, String, bool, u64, u64, u64, OwnedObjectPath);

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

    fn on<'a>(&'a self, header: &'a Header<'a>, name: &'a str) -> Operation<'a> {
        Operation { context: &self.context, caller: Caller::Bus(header), name }
    }

    fn on_image<'a>(&'a self, header: &'a Header<'a>, name: &'a str) -> ImageOperation<'a> {
        ImageOperation { context: &self.context, caller: Caller::Bus(header), name }
    }

    async fn take_up(
        &self,
        header: &Header<'_>,
        registration: Registration,
        created: bool,
    ) -> Result<OwnedObjectPath> {
        let _busy = self.context.busy();
        let name = registration.name.clone();
        let origin = origin(&self.context, header).await?;
        register(&self.context, &Caller::Bus(header), origin, registration, created).await?;
        Ok(machine_path(&name))
    }
}

/// The process and the user of a message's sender.
async fn origin(context: &Context, header: &Header<'_>) -> Result<Origin> {
    let uid = authority::user(context.connection(), header).await?;
    let pid = authority::process(context.connection(), header).await?;
    Ok(Origin { pid, uid })
}

/// Machines of this host, as systemd-machined tells of them.
#[zbus::interface(name = "org.freedesktop.machine1.Manager")]
impl ManagerObject {
    /// The object of a machine.
    #[zbus(out_args("machine"))]
    async fn get_machine(&self, name: &str) -> Result<OwnedObjectPath> {
        Known::find(&self.context, name).await?;
        Ok(machine_path(name))
    }

    /// The object of the machine that a process is of; 0 is the caller.
    #[zbus(name = "GetMachineByPID", out_args("machine"))]
    async fn get_machine_by_pid(
        &self,
        pid: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        let pid = match pid {
            0 => authority::process(self.context.connection(), &header).await?,
            pid => pid,
        };
        let known = by_pid(&self.context, i32::try_from(pid).unwrap_or(-1)).await?;
        Ok(machine_path(&known.file().name))
    }

    /// All machines that run: name, class, service, object.
    #[zbus(out_args("machines"))]
    async fn list_machines(&self) -> Result<Vec<(String, String, String, OwnedObjectPath)>> {
        let row = |known: &Known| {
            let file = known.file();
            let (class, service) = (file.class.as_str().to_owned(), file.service.clone());
            (file.name.clone(), class, service, machine_path(&file.name))
        };
        Ok(Known::all(&self.context).await?.iter().map(row).collect())
    }

    /// Takes up a machine of another program, and would make a scope for it: without systemd its processes stay where they are.
    #[zbus(out_args("path"))]
    #[allow(clippy::too_many_arguments, reason = "systemd-machined's signature")]
    async fn create_machine(
        &self,
        name: String,
        id: Vec<u8>,
        service: String,
        class: String,
        leader: u32,
        root_directory: String,
        scope_properties: Vec<(String, OwnedVariant)>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        // They are for the scope.
        drop(scope_properties);
        let registration = Registration {
            name,
            id,
            service,
            class,
            leader,
            root: root_directory,
            ..Registration::default()
        };
        self.take_up(&header, registration, true).await
    }

    /// The same of one that has interfaces of the host.
    #[zbus(out_args("path"))]
    #[allow(clippy::too_many_arguments, reason = "systemd-machined's signature")]
    async fn create_machine_with_network(
        &self,
        name: String,
        id: Vec<u8>,
        service: String,
        class: String,
        leader: u32,
        root_directory: String,
        ifindices: Vec<i32>,
        scope_properties: Vec<(String, OwnedVariant)>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        drop(scope_properties);
        let registration = Registration {
            name,
            id,
            service,
            class,
            leader,
            root: root_directory,
            interfaces: ifindices,
            ..Registration::default()
        };
        self.take_up(&header, registration, true).await
    }

    /// The same with properties: `Id`, `Service`, `Class`, `LeaderPIDFD` or `LeaderPID` and `LeaderPIDFDID`, `RootDirectory`,
    /// `NetworkInterfaces`.
    #[zbus(out_args("path"))]
    async fn create_machine_ex(
        &self,
        name: &str,
        properties: Vec<(String, OwnedVariant)>,
        scope_properties: Vec<(String, OwnedVariant)>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        drop(scope_properties);
        self.take_up(&header, from_properties(name, properties)?, true).await
    }

    /// Takes up a machine of another program, which has a unit for it already.
    #[zbus(out_args("path"))]
    #[allow(clippy::too_many_arguments, reason = "systemd-machined's signature")]
    async fn register_machine(
        &self,
        name: String,
        id: Vec<u8>,
        service: String,
        class: String,
        leader: u32,
        root_directory: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        let registration = Registration {
            name,
            id,
            service,
            class,
            leader,
            root: root_directory,
            ..Registration::default()
        };
        self.take_up(&header, registration, false).await
    }

    /// The same of one that has interfaces of the host.
    #[zbus(out_args("path"))]
    #[allow(clippy::too_many_arguments, reason = "systemd-machined's signature")]
    async fn register_machine_with_network(
        &self,
        name: String,
        id: Vec<u8>,
        service: String,
        class: String,
        leader: u32,
        root_directory: String,
        ifindices: Vec<i32>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        let registration = Registration {
            name,
            id,
            service,
            class,
            leader,
            root: root_directory,
            interfaces: ifindices,
            ..Registration::default()
        };
        self.take_up(&header, registration, false).await
    }

    /// The same with properties, as `CreateMachineEx`.
    #[zbus(out_args("path"))]
    async fn register_machine_ex(
        &self,
        name: &str,
        properties: Vec<(String, OwnedVariant)>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath> {
        self.take_up(&header, from_properties(name, properties)?, false).await
    }

    /// Takes back a machine that was registered.
    async fn unregister_machine(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(unregister(&self.context, &Caller::Bus(&header), name).await?)
    }

    /// Ends a machine now.
    async fn terminate_machine(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header, name).terminate().await?)
    }

    /// Sends a signal to processes of a machine: `leader`, `supervisor`, `all`.
    async fn kill_machine(
        &self,
        name: &str,
        whom: &str,
        signal: i32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header, name).kill(whom, signal).await?)
    }

    /// The addresses of a machine: family (AF_INET, AF_INET6) and bytes.
    #[zbus(out_args("addresses"))]
    async fn get_machine_addresses(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<Address>> {
        Ok(addresses_on_bus(self.on(&header, name).addresses().await?))
    }

    /// How ssh(1) gets at a machine.
    #[zbus(name = "GetMachineSSHInfo", out_args("ssh_address", "ssh_private_key_path"))]
    async fn get_machine_ssh_info(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(String, String)> {
        Ok(self.on(&header, name).ssh_info().await?)
    }

    /// The fields of a machine's os-release(5).
    #[zbus(name = "GetMachineOSRelease", out_args("fields"))]
    async fn get_machine_os_release(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<BTreeMap<String, String>> {
        Ok(self.on(&header, name).os_release().await?.into_iter().collect())
    }

    /// Where a machine's IDs begin on the host.
    #[zbus(name = "GetMachineUIDShift", out_args("shift"))]
    async fn get_machine_uid_shift(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<u32> {
        Ok(self.on(&header, name).uid_shift().await?)
    }

    /// A new pty in a machine: its master, and the path of its slave there.
    #[zbus(name = "OpenMachinePTY", out_args("pty", "pty_path"))]
    async fn open_machine_pty(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.on(&header, name).open_pty().await?;
        Ok((pty.into(), path))
    }

    /// A login prompt in a machine, on a pty.
    #[zbus(out_args("pty", "pty_path"))]
    async fn open_machine_login(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.on(&header, name).open_login().await?;
        Ok((pty.into(), path))
    }

    /// A shell or program in a machine, on a pty.
    #[zbus(out_args("pty", "pty_path"))]
    async fn open_machine_shell(
        &self,
        name: &str,
        user: &str,
        path: &str,
        args: Vec<String>,
        environment: Vec<String>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(OwnedFd, String)> {
        let (pty, path) = self.on(&header, name).open_shell(user, path, &args, &environment).await?;
        Ok((pty.into(), path))
    }

    /// Mounts a path of the host in a machine.
    async fn bind_mount_machine(
        &self,
        name: &str,
        source: &str,
        destination: &str,
        read_only: bool,
        mkdir: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header, name).bind(source, destination, read_only, mkdir).await?)
    }

    /// Copies files out of a machine.
    async fn copy_from_machine(
        &self,
        name: &str,
        source: &str,
        destination: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header, name).copy(false, source, destination, 0).await?)
    }

    /// Copies files into a machine.
    async fn copy_to_machine(
        &self,
        name: &str,
        source: &str,
        destination: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header, name).copy(true, source, destination, 0).await?)
    }

    /// Copies files out of a machine; with bit 0 of the flags, over those that are there.
    async fn copy_from_machine_with_flags(
        &self,
        name: &str,
        source: &str,
        destination: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header, name).copy(false, source, destination, flags).await?)
    }

    /// Copies files into a machine; with bit 0 of the flags, over those that are there.
    async fn copy_to_machine_with_flags(
        &self,
        name: &str,
        source: &str,
        destination: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header, name).copy(true, source, destination, flags).await?)
    }

    /// The root directory of a machine.
    #[zbus(out_args("fd"))]
    async fn open_machine_root_directory(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedFd> {
        Ok(self.on(&header, name).open_root().await?.into())
    }

    /// The object of an image.
    #[zbus(out_args("image"))]
    async fn get_image(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<OwnedObjectPath> {
        Ok(self.on_image(&header, name).path().await?)
    }

    /// All images: name, type, whether it is read-only, when it was made and changed (microseconds since 1970, or 0), bytes on
    /// disk (all ones where nobody counts), object.
    #[zbus(out_args("images"))]
    async fn list_images(&self) -> Result<Vec<ImageRow>> {
        let row = |facts: Facts| {
            let (path, kind) = (image_path(&facts.name), facts.kind.to_owned());
            (facts.name, kind, facts.read_only, facts.created, facts.modified, facts.usage, path)
        };
        Ok(images::announce(&self.context).await?.into_iter().map(row).collect())
    }

    /// Removes an image, with all that is its own.
    async fn remove_image(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on_image(&header, name).remove().await?)
    }

    /// Gives an image another name.
    async fn rename_image(
        &self,
        name: &str,
        new_name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on_image(&header, name).rename(new_name).await?)
    }

    /// Makes another image of the state of one, which needs nothing of it.
    async fn clone_image(
        &self,
        name: &str,
        new_name: &str,
        read_only: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on_image(&header, name).clone_to(new_name, read_only).await?)
    }

    /// Marks an image read-only, or writable again.
    async fn mark_image_read_only(
        &self,
        name: &str,
        read_only: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on_image(&header, name).mark_read_only(read_only).await?)
    }

    /// What an image's /etc/hostname says.
    #[zbus(out_args("hostname"))]
    async fn get_image_hostname(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<String> {
        Ok(self.on_image(&header, name).hostname().await?)
    }

    /// What an image's /etc/machine-id says, as bytes; none where it has none.
    #[zbus(name = "GetImageMachineID", out_args("id"))]
    async fn get_image_machine_id(&self, name: &str, #[zbus(header)] header: Header<'_>) -> Result<Vec<u8>> {
        Ok(self.on_image(&header, name).machine_id().await?)
    }

    /// The fields of an image's machine-info(5).
    #[zbus(out_args("machine_info"))]
    async fn get_image_machine_info(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<BTreeMap<String, String>> {
        Ok(self.on_image(&header, name).machine_info().await?)
    }

    /// The fields of an image's os-release(5).
    #[zbus(name = "GetImageOSRelease", out_args("os_release"))]
    async fn get_image_os_release(
        &self,
        name: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<BTreeMap<String, String>> {
        Ok(self.on_image(&header, name).os_release().await?)
    }

    /// How much an image may take: nobody counts that here.
    async fn set_image_limit(&self, name: &str, size: u64, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on_image(&header, name).set_limit(size).await?)
    }

    /// Removes what is hidden beside images (`hidden`), or all images that are not in use too (`all`): names, and the bytes that
    /// they took.
    #[zbus(out_args("images"))]
    async fn clean_pool(&self, mode: &str, #[zbus(header)] header: Header<'_>) -> Result<Vec<(String, u64)>> {
        Ok(image_operations::clean_pool(&self.context, &Caller::Bus(&header), mode).await?)
    }

    /// How much images may take together: only btrfs could count it, by quota groups that are not ours to set.
    async fn set_pool_limit(&self, size: u64, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(image_operations::limit_pool(&self.context, &Caller::Bus(&header), size).await?)
    }

    /// What a user ID of a machine is on the host.
    #[zbus(out_args("uid_outer"))]
    async fn map_from_machine_user(
        &self,
        name: &str,
        uid_inner: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u32> {
        Ok(self.on(&header, name).map_from(Ids::Users, uid_inner).await?)
    }

    /// Whose a user ID of the host is: name and object of the machine, and what it is there.
    #[zbus(out_args("machine_name", "machine_path", "uid_inner"))]
    async fn map_to_machine_user(&self, uid_outer: u32) -> Result<(String, OwnedObjectPath, u32)> {
        let (known, inner) = map_to(&self.context, Ids::Users, uid_outer).await?;
        let name = &known.file().name;
        Ok((name.clone(), machine_path(name), inner))
    }

    /// What a group ID of a machine is on the host.
    #[zbus(out_args("gid_outer"))]
    async fn map_from_machine_group(
        &self,
        name: &str,
        gid_inner: u32,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<u32> {
        Ok(self.on(&header, name).map_from(Ids::Groups, gid_inner).await?)
    }

    /// Whose a group ID of the host is: name and object of the machine, and what it is there.
    #[zbus(out_args("machine_name", "machine_path", "gid_inner"))]
    async fn map_to_machine_group(&self, gid_outer: u32) -> Result<(String, OwnedObjectPath, u32)> {
        let (known, inner) = map_to(&self.context, Ids::Groups, gid_outer).await?;
        let name = &known.file().name;
        Ok((name.clone(), machine_path(name), inner))
    }

    /// Where images are.
    #[zbus(property(emits_changed_signal = "false"))]
    fn pool_path(&self) -> &str {
        POOL
    }

    /// What they take together; all ones where nobody counts.
    #[zbus(property(emits_changed_signal = "false"))]
    fn pool_usage(&self) -> u64 {
        UNKNOWN
    }

    /// What they may take together; all ones for no limit.
    #[zbus(property(emits_changed_signal = "false"))]
    fn pool_limit(&self) -> u64 {
        UNKNOWN
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
