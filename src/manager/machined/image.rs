//! `org.freedesktop.machine1.Image`: one image. What its methods do is in [`super::image_operations`].

use std::collections::BTreeMap;

use zbus::fdo;
use zbus::message::Header;

use super::Result;
use super::image_operations::ImageOperation;
use super::images::Facts;
use crate::manager::authority::Caller;
use crate::manager::context::Context;

/// The object of one image.
#[derive(Debug)]
pub struct ImageObject {
    context: Context,
    name: String,
}

impl ImageObject {
    /// Of the image called `name`.
    pub fn new(context: Context, name: &str) -> Self {
        Self { context, name: name.to_owned() }
    }

    fn facts(&self) -> fdo::Result<Facts> {
        Facts::told(&self.name)
    }

    fn on<'a>(&'a self, header: &'a Header<'a>) -> ImageOperation<'a> {
        ImageOperation { context: &self.context, caller: Caller::Bus(header), name: &self.name }
    }
}

/// An image of machines. Times are in microseconds since 1970, or 0 where nobody knows; sizes in bytes, or all ones.
#[zbus::interface(name = "org.freedesktop.machine1.Image")]
impl ImageObject {
    /// Removes it, with all that is its own.
    async fn remove(&self, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header).remove().await?)
    }

    /// Gives it another name.
    async fn rename(&self, new_name: &str, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header).rename(new_name).await?)
    }

    /// Makes another one of its state, which needs nothing of this one.
    #[zbus(name = "Clone")]
    async fn clone_image(
        &self,
        new_name: &str,
        read_only: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<()> {
        Ok(self.on(&header).clone_to(new_name, read_only).await?)
    }

    /// Marks it read-only, or writable again.
    async fn mark_read_only(&self, read_only: bool, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header).mark_read_only(read_only).await?)
    }

    /// How much it may take: nobody counts that here.
    async fn set_limit(&self, limit: u64, #[zbus(header)] header: Header<'_>) -> Result<()> {
        Ok(self.on(&header).set_limit(limit).await?)
    }

    /// What its /etc/hostname says.
    #[zbus(out_args("hostname"))]
    async fn get_hostname(&self, #[zbus(header)] header: Header<'_>) -> Result<String> {
        Ok(self.on(&header).hostname().await?)
    }

    /// What its /etc/machine-id says, as bytes; none where it has none.
    #[zbus(name = "GetMachineID", out_args("machine_id"))]
    async fn get_machine_id(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<u8>> {
        Ok(self.on(&header).machine_id().await?)
    }

    /// The fields of its machine-info(5).
    #[zbus(out_args("machine_info"))]
    async fn get_machine_info(&self, #[zbus(header)] header: Header<'_>) -> Result<BTreeMap<String, String>> {
        Ok(self.on(&header).machine_info().await?)
    }

    /// The fields of its os-release(5).
    #[zbus(name = "GetOSRelease", out_args("os_release"))]
    async fn get_os_release(&self, #[zbus(header)] header: Header<'_>) -> Result<BTreeMap<String, String>> {
        Ok(self.on(&header).os_release().await?)
    }

    /// Its name.
    #[zbus(property(emits_changed_signal = "false"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[zbus(property(emits_changed_signal = "false"))]
    fn path(&self) -> fdo::Result<String> {
        Ok(self.facts()?.path)
    }

    /// `directory`, `subvolume`, `raw`, `block` or `mstack`.
    #[zbus(property(emits_changed_signal = "false"), name = "Type")]
    fn kind(&self) -> fdo::Result<String> {
        Ok(self.facts()?.kind.to_owned())
    }

    /// It is not to be changed.
    #[zbus(property(emits_changed_signal = "false"))]
    fn read_only(&self) -> fdo::Result<bool> {
        Ok(self.facts()?.read_only)
    }

    /// When it was made.
    #[zbus(property(emits_changed_signal = "false"))]
    fn creation_timestamp(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.created)
    }

    /// When it was last changed; of trees nobody knows that.
    #[zbus(property(emits_changed_signal = "false"))]
    fn modification_timestamp(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.modified)
    }

    /// What it takes on disk; of trees that takes a walk, and is not told here.
    #[zbus(property(emits_changed_signal = "false"))]
    fn usage(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.usage)
    }

    /// How much it can take: the size of a disk.
    #[zbus(property(emits_changed_signal = "false"))]
    fn limit(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.limit)
    }

    /// What of its usage it shares with no other.
    #[zbus(property(emits_changed_signal = "false"))]
    fn usage_exclusive(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.usage)
    }

    /// What of its limit it shares with no other.
    #[zbus(property(emits_changed_signal = "false"))]
    fn limit_exclusive(&self) -> fdo::Result<u64> {
        Ok(self.facts()?.limit)
    }
}
