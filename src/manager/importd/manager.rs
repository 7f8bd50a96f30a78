//! `org.freedesktop.import1.Manager`: transfers are started, listed and ended.

use std::os::fd::OwnedFd as StdFd;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedFd, OwnedObjectPath};

use super::access::{CANCEL, EXPORT, IMPORT, PULL, allowed};
use super::transfers::Order;
use super::transfers::no_transfer;
use super::wish::{CLASS, FORCE, Kind, READ_ONLY, Wish, check_fd, check_flags, is_asked};
use super::{Result, announce, start, transfer_path};
use crate::manager::authority::Caller;
use crate::manager::context::Context;
use crate::manager::machined::images::{Facts, all};
use crate::manager::problem::{Kind as ProblemKind, Problem};

/// What a method that starts a transfer gives: number and object. Methods themselves write it out: of another name the macro would make
/// one result in their description.
type Started = (u32, OwnedObjectPath);

/// A row of `ListImages`: class, name, type, path, read-only, made, changed, usage, of that its own, limit, of that its own.
type ImageRow = (String, String, String, String, bool, u64, u64, u64, u64, u64, u64);

/// The object.
#[derive(Debug)]
pub struct ManagerObject {
    context: Context,
}

impl ManagerObject {
    /// Of all transfers.
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    async fn begin(
        &self,
        header: &Header<'_>,
        action: &str,
        wish: impl FnOnce() -> std::result::Result<Wish, Problem>,
        fd: Option<OwnedFd>,
    ) -> Result<Started> {
        let _busy = self.context.busy();
        allowed(&self.context, &Caller::Bus(header), action).await?;
        let wish = wish()?;
        let fd = fd.map(StdFd::from);
        if let (Some(fd), Some(stream)) = (&fd, wish.kind.stream()) {
            check_fd(fd, stream)?;
        }
        let transfer = start(&self.context, &Order::from(&wish), fd).await?;
        Ok((transfer.id(), transfer_path(transfer.id())))
    }

    async fn import(
        &self,
        header: &Header<'_>,
        kind: Kind,
        fd: OwnedFd,
        (local, class, flags): (&str, &str, u64),
    ) -> Result<Started> {
        self.begin(header, IMPORT, || Wish::import(kind, local, class, flags), Some(fd)).await
    }

    async fn export(
        &self,
        header: &Header<'_>,
        kind: Kind,
        fd: OwnedFd,
        (local, class, format, flags): (&str, &str, &str, u64),
    ) -> Result<Started> {
        self.begin(header, EXPORT, || Wish::export(kind, local, class, format, flags), Some(fd)).await
    }

    async fn pull(
        &self,
        header: &Header<'_>,
        kind: Kind,
        remote: &str,
        (local, class, verify, flags): (&str, &str, &str, u64),
    ) -> Result<Started> {
        self.begin(header, PULL, || Wish::pull(kind, remote, local, class, verify, flags), None).await
    }
}

fn flags(force: bool, read_only: bool) -> u64 {
    (if force { FORCE } else { 0 }) | (if read_only { READ_ONLY } else { 0 })
}

/// Images of this host, moved in and out. What moves is a transfer, an object with signals; it goes on whatever becomes of the
/// client. Flags: 1 replaces an image of that name, 2 makes the new one read-only, 4 is understood, and changes nothing here.
/// The only class of images is `machine`.
#[zbus::interface(name = "org.freedesktop.import1.Manager")]
impl ManagerObject {
    /// Makes an image of the tar archive that is read from an fd, a file or a pipe.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn import_tar(
        &self,
        fd: OwnedFd,
        local_name: &str,
        force: bool,
        read_only: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.import(&header, Kind::ImportTar, fd, (local_name, CLASS, flags(force, read_only))).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn import_tar_ex(
        &self,
        fd: OwnedFd,
        local_name: &str,
        class: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.import(&header, Kind::ImportTar, fd, (local_name, class, flags)).await
    }

    /// Makes an image of the disk image that is read from an fd.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn import_raw(
        &self,
        fd: OwnedFd,
        local_name: &str,
        force: bool,
        read_only: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.import(&header, Kind::ImportRaw, fd, (local_name, CLASS, flags(force, read_only))).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn import_raw_ex(
        &self,
        fd: OwnedFd,
        local_name: &str,
        class: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.import(&header, Kind::ImportRaw, fd, (local_name, class, flags)).await
    }

    /// Makes an image of the directory that an fd is of.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn import_file_system(
        &self,
        fd: OwnedFd,
        local_name: &str,
        force: bool,
        read_only: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.import(&header, Kind::ImportFs, fd, (local_name, CLASS, flags(force, read_only))).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn import_file_system_ex(
        &self,
        fd: OwnedFd,
        local_name: &str,
        class: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.import(&header, Kind::ImportFs, fd, (local_name, class, flags)).await
    }

    /// Writes an image to an fd, as a tar archive. `format` is `uncompressed` or nothing, `xz`, `gzip`, `bzip2`, `zstd`.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn export_tar(
        &self,
        local_name: &str,
        fd: OwnedFd,
        format: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.export(&header, Kind::ExportTar, fd, (local_name, CLASS, format, 0)).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn export_tar_ex(
        &self,
        local_name: &str,
        class: &str,
        fd: OwnedFd,
        format: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.export(&header, Kind::ExportTar, fd, (local_name, class, format, flags)).await
    }

    /// Writes a disk image to an fd.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn export_raw(
        &self,
        local_name: &str,
        fd: OwnedFd,
        format: &str,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.export(&header, Kind::ExportRaw, fd, (local_name, CLASS, format, 0)).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn export_raw_ex(
        &self,
        local_name: &str,
        class: &str,
        fd: OwnedFd,
        format: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.export(&header, Kind::ExportRaw, fd, (local_name, class, format, flags)).await
    }

    /// Makes an image of the tar archive at an address (http://, https://, file://). It is held to nothing (`no`), to a checksum
    /// beside it (`checksum`), or to a signed one (`signature`, also where nothing is said).
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn pull_tar(
        &self,
        url: &str,
        local_name: &str,
        verify_mode: &str,
        force: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.pull(&header, Kind::PullTar, url, (local_name, CLASS, verify_mode, flags(force, false))).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn pull_tar_ex(
        &self,
        url: &str,
        local_name: &str,
        class: &str,
        verify_mode: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.pull(&header, Kind::PullTar, url, (local_name, class, verify_mode, flags)).await
    }

    /// Makes an image of the disk image at an address.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn pull_raw(
        &self,
        url: &str,
        local_name: &str,
        verify_mode: &str,
        force: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.pull(&header, Kind::PullRaw, url, (local_name, CLASS, verify_mode, flags(force, false))).await
    }

    /// The same, of a class of images.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn pull_raw_ex(
        &self,
        url: &str,
        local_name: &str,
        class: &str,
        verify_mode: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.pull(&header, Kind::PullRaw, url, (local_name, class, verify_mode, flags)).await
    }

    /// Makes an image of one of an OCI registry: `debian:13`, `registry.example.org/group/name:tag`.
    #[zbus(out_args("transfer_id", "transfer_path"))]
    async fn pull_oci(
        &self,
        reference: &str,
        local_name: &str,
        class: &str,
        flags: u64,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(u32, OwnedObjectPath)> {
        self.pull(&header, Kind::PullOci, reference, (local_name, class, "", flags)).await
    }

    /// The transfers that run, also those that the command line has begun: number, type, where from, image, how far from 0 to 1,
    /// object.
    #[zbus(out_args("transfers"))]
    #[allow(clippy::type_complexity, reason = "systemd-importd's signature")]
    async fn list_transfers(&self) -> Result<Vec<(u32, String, String, String, f64, OwnedObjectPath)>> {
        announce(&self.context).await?;
        let transfers = self.context.transfers().all();
        let row = |transfer: &std::sync::Arc<super::transfers::Transfer>| {
            let (id, progress) = (transfer.id(), transfer.known_progress());
            (id, transfer.kind(), transfer.remote(), transfer.local(), progress, transfer_path(id))
        };
        Ok(transfers.iter().map(row).collect())
    }

    /// The same, of one class of images or of all (nothing), with the class after the image.
    #[zbus(out_args("transfers"))]
    #[allow(clippy::type_complexity, reason = "systemd-importd's signature")]
    async fn list_transfers_ex(
        &self,
        class: &str,
        flags: u64,
    ) -> Result<Vec<(u32, String, String, String, String, f64, OwnedObjectPath)>> {
        check_flags(flags, 0)?;
        if !is_asked(class)? {
            return Ok(Vec::new());
        }
        let rows = self.list_transfers().await?;
        let row = |(id, kind, remote, local, progress, path)| {
            (id, kind, remote, local, CLASS.to_owned(), progress, path)
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Has a transfer end; what there is of it is removed.
    async fn cancel_transfer(&self, transfer_id: u32, #[zbus(header)] header: Header<'_>) -> Result<()> {
        let _busy = self.context.busy();
        allowed(&self.context, &Caller::Bus(&header), CANCEL).await?;
        if transfer_id == 0 {
            return Err(Problem::new(ProblemKind::InvalidArgument, "Invalid transfer id").into());
        }
        announce(&self.context).await?;
        let transfer = self.context.transfers().get(transfer_id).ok_or_else(|| no_transfer(transfer_id))?;
        Ok(transfer.cancel()?)
    }

    /// The images there are, of one class or of all (nothing): class, name, type, path, whether it is read-only, when it was made
    /// and changed (microseconds since 1970), bytes on disk and of these its own, limit and of that its own; all ones where nobody
    /// counts.
    #[zbus(out_args("images"))]
    async fn list_images(&self, class: &str, flags: u64) -> Result<Vec<ImageRow>> {
        check_flags(flags, 0)?;
        if !is_asked(class)? {
            return Ok(Vec::new());
        }
        let row = |facts: Facts| {
            let Facts { name, path, kind, read_only, created, modified, usage, limit } = facts;
            let (class, kind) = (CLASS.to_owned(), kind.to_owned());
            (class, name, kind, path, read_only, created, modified, usage, usage, limit, limit)
        };
        Ok(all()?.into_iter().map(row).collect())
    }

    /// A transfer has begun.
    #[zbus(signal)]
    async fn transfer_new(
        emitter: &SignalEmitter<'_>,
        transfer_id: u32,
        transfer_path: ObjectPath<'_>,
    ) -> zbus::Result<()>;

    /// A transfer is over: `done`, `canceled` or `failed`.
    #[zbus(signal)]
    async fn transfer_removed(
        emitter: &SignalEmitter<'_>,
        transfer_id: u32,
        transfer_path: ObjectPath<'_>,
        result: &str,
    ) -> zbus::Result<()>;
}
