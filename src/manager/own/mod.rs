//! `org.spinney`: our own interfaces, with all that the command line can do.
//!
//! | file | what it owns |
//! |---|---|
//! | [`manager`] | `org.spinney.Manager1`: finding and starting machines |
//! | [`machine`] | `org.spinney.Machine1`: one machine |
//! | [`job`] | `org.spinney.Job1`: what takes time |
//! | [`meter`] | how far it is |
//! | [`image`] | `org.spinney.Image1`: one image |
//! | [`transfer`] | `org.spinney.Transfer1`: one that is moved |
//! | [`machine_facts`] | what is told of a machine |
//! | [`machine_calls`] | what is done to a machine |
//! | [`start`] | machines on their way up |
//! | [`events`] | what happens to a machine, as signals |
//! | [`access`] | which method takes which action of polkit |
//! | [`options`] | options of methods as words of a command line |
//! | [`variants`] | JSON as values of D-Bus |
//! | [`verb`] | verbs of ours as children |

pub mod access;
pub mod events;
pub mod image;
pub mod job;
pub mod machine;
pub mod machine_calls;
pub mod machine_facts;
pub mod manager;
pub mod meter;
pub mod options;
pub mod start;
pub mod transfer;
pub mod variants;
pub mod verb;

use zbus::fdo::{ObjectManager, Properties};
use zbus::object_server::SignalEmitter;
use zbus::{OwnedObjectPath, Variant};

use super::context::Context;
use super::machines::Changed;
use super::object_path::encode;
use super::problem::{Own, Refusal};
use image::ImageObject;
use machine::MachineObject;
use manager::ManagerObject;

/// Where the manager is, and below it all else.
pub const PATH: &str = "/org/spinney";

/// A problem under our own names.
pub type Refused = Refusal<Own>;

/// What methods of these interfaces give; inside, what all else does.
type Result<T, E = Refused> = std::result::Result<T, E>;

/// The object of the machine called `name`.
pub fn machine_path(name: &str) -> OwnedObjectPath {
    // An encoded name is an element of a path.
    OwnedObjectPath::try_from(format!("{PATH}/machine/{}", encode(name))).unwrap_or_default()
}

/// The object of the image called `name`.
pub fn image_path(name: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{PATH}/image/{}", encode(name))).unwrap_or_default()
}

/// Makes the object of an image that came. What is hidden is none, and the host is not ours to tell of.
pub async fn image_came(context: &Context, name: &str) {
    if !name.starts_with('.') {
        let object = ImageObject::new(context.clone(), name);
        let _ = context.connection().object_server().at(image_path(name), object).await;
    }
}

/// Removes the object of an image that went.
pub async fn image_went(context: &Context, name: &str) {
    let _ = context.connection().object_server().remove::<ImageObject, _>(image_path(name)).await;
}

/// Serves the manager's object, and tells of those below it.
///
/// # Errors
/// When the connection is gone.
pub async fn serve(context: &Context) -> zbus::Result<()> {
    let server = context.connection().object_server();
    server.at(PATH, ManagerObject::new(context.clone())).await?;
    server.at(PATH, ObjectManager).await?;
    Ok(())
}

/// Makes the object of a machine that came, which its [`ObjectManager`] tells.
pub async fn machine_came(context: &Context, name: &str) {
    let object = MachineObject::new(context.clone(), name);
    // A connection that is gone is seen by who waits for its end.
    let _ = context.connection().object_server().at(machine_path(name), object).await;
    context.arrivals().notify_waiters();
}

/// Removes the object of a machine that went.
pub async fn machine_went(context: &Context, name: &str) {
    let _ = context.connection().object_server().remove::<MachineObject, _>(machine_path(name)).await;
}

/// Tells what of a machine is another than before.
pub async fn machine_changed(context: &Context, change: &Changed) {
    let before = machine_facts::changing(&change.before);
    let mut changed = machine_facts::changing(&change.now);
    changed.retain(|name, value| before.get(name) != Some(value));
    let told = async {
        let emitter = SignalEmitter::new(context.connection(), machine_path(&change.now.state.name))?;
        let changed = changed.iter().map(|(name, value)| (name.as_str(), Variant::from(value.clone())));
        let interface = machine::INTERFACE.try_into()?;
        Properties::properties_changed(&emitter, interface, changed.collect(), (&[][..]).into()).await
    };
    // A connection that is gone is seen by who waits for its end.
    let _: zbus::Result<()> = if changed.is_empty() { Ok(()) } else { told.await };
}
