//! `org.freedesktop.machine1`, systemd-machined's interface (org.freedesktop.machine1(5)), where systemd-machined does not run.
//!
//! | file | what it owns |
//! |---|---|
//! | [`manager`] | `org.freedesktop.machine1.Manager` |
//! | [`machine`] | `org.freedesktop.machine1.Machine` |

pub mod machine;
pub mod manager;

use zbus::OwnedObjectPath;
use zbus::object_server::SignalEmitter;

use super::context::Context;
use super::object_path::encode;
use super::problem::{Machined, Refusal};
use machine::MachineObject;
use manager::{ManagerObject, ManagerObjectSignals};

/// The bus name.
pub const NAME: &str = "org.freedesktop.machine1";

/// Where its manager is, and below it all else.
pub const PATH: &str = "/org/freedesktop/machine1";

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
    context.connection().object_server().at(PATH, ManagerObject::new(context.clone())).await?;
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

/// Removes the object of a machine that went, and says so.
pub async fn machine_went(context: &Context, name: &str) {
    let path = machine_path(name);
    if let Ok(emitter) = SignalEmitter::new(context.connection(), PATH) {
        let _ = emitter.machine_removed(name, path.as_ref()).await;
    }
    let _ = context.connection().object_server().remove::<MachineObject, _>(&path).await;
}
