//! `org.freedesktop.machine1`, systemd-machined's interface (org.freedesktop.machine1(5)), where systemd-machined does not run.
//!
//! | file | what it owns |
//! |---|---|
//! | [`manager`] | `org.freedesktop.machine1.Manager` |
//! | [`machine`] | `org.freedesktop.machine1.Machine` |
//! | [`operations`] | what can be done to machines, for all interfaces alike |
//! | [`access`] | which of that takes which action of polkit |
//! | [`known`] | a machine, whoever started it |
//! | [`images`] | images: which there are, and their objects |
//! | [`image_operations`] | what can be done to images, for all interfaces alike |
//! | [`image`] | `org.freedesktop.machine1.Image` |
//! | [`registration`] | machines that other programs register |
//! | [`ownership`] | whose a process is that is registered |
//! | [`id_map`] | IDs of a machine on the host |

pub mod access;
pub mod id_map;
pub mod image;
pub mod image_operations;
pub mod images;
pub mod known;
pub mod machine;
pub mod manager;
pub mod operations;
pub mod ownership;
pub mod registration;

use std::net::IpAddr;

use zbus::OwnedObjectPath;
use zbus::object_server::SignalEmitter;

use super::context::Context;
use super::machines::Changed;
use super::object_path::encode;
use super::problem::{Machined, Refusal};
use machine::MachineObject;
use manager::{ManagerObject, ManagerObjectSignals};

/// The bus name.
pub const NAME: &str = "org.freedesktop.machine1";

/// Where its manager is, and below it all else.
pub const PATH: &str = "/org/freedesktop/machine1";

/// What the host is called among machines.
pub const HOST: &str = ".host";

/// An address of IP on the bus: its family, its bytes.
type Address = (i32, Vec<u8>);

fn addresses_on_bus(addresses: Vec<IpAddr>) -> Vec<Address> {
    let row = |address| match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    addresses.into_iter().map(row).collect()
}

/// What methods of this interface give.
type Result<T> = std::result::Result<T, Refusal<Machined>>;

/// The object of the machine called `name`.
pub fn machine_path(name: &str) -> OwnedObjectPath {
    // An encoded name is an element of a path.
    OwnedObjectPath::try_from(format!("{PATH}/machine/{}", encode(name))).unwrap_or_default()
}

/// Serves the manager's object.
///
/// # Errors
/// When the connection is gone.
pub async fn serve(context: &Context) -> zbus::Result<()> {
    let server = context.connection().object_server();
    server.at(PATH, ManagerObject::new(context.clone())).await?;
    // It comes and goes with nobody.
    server.at(machine_path(HOST), MachineObject::new(context.clone(), HOST)).await?;
    Ok(())
}

/// Makes the object of a machine that came, and says so.
pub async fn machine_came(context: &Context, name: &str) {
    let path = machine_path(name);
    let server = context.connection().object_server();
    // A connection that is gone is seen by who waits for its end.
    let _ = server.at(&path, MachineObject::new(context.clone(), name)).await;
    if let Ok(emitter) = SignalEmitter::new(context.connection(), PATH) {
        let _ = emitter.machine_new(name, path.as_ref()).await;
    }
}

/// Says what is another of a machine that reboots in place, or whose interfaces change.
pub async fn machine_changed(context: &Context, change: &Changed) {
    let server = context.connection().object_server();
    let path = machine_path(&change.now.state.name);
    if let Ok(object) = server.interface::<_, MachineObject>(&path).await {
        let (before, now) = (&change.before.file, &change.now.file);
        // One that cannot be told has nobody who listens.
        let _ = object.get().await.tell(object.signal_emitter(), before, now).await;
    }
}

/// Removes the object of a machine that went, and says so.
pub async fn machine_went(context: &Context, name: &str) {
    let path = machine_path(name);
    if let Ok(emitter) = SignalEmitter::new(context.connection(), PATH) {
        let _ = emitter.machine_removed(name, path.as_ref()).await;
    }
    let _ = context.connection().object_server().remove::<MachineObject, _>(&path).await;
}
