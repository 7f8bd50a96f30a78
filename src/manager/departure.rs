//! Clients of the bus that leave it: who has died, or gone, waits for nothing any more.

use zbus::export::ordered_stream::OrderedStreamExt;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::{Connection, Result};

/// Comes back when the sender of `header` has left the bus; never where that cannot be known.
pub async fn departure(connection: &Connection, header: &Header<'_>) {
    if !matches!(watch(connection, header).await, Ok(true)) {
        std::future::pending::<()>().await;
    }
}

/// Whether it has left, once it has.
async fn watch(connection: &Connection, header: &Header<'_>) -> Result<bool> {
    // Only on a bus does anybody have a name.
    let Some(sender) = header.sender() else { return Ok(false) };
    let bus = DBusProxy::new(connection).await?;
    let mut changes = bus.receive_name_owner_changed_with_args(&[(0, sender.as_str())]).await?;
    // It may have left before that.
    if !bus.name_has_owner(sender.to_owned().into()).await? {
        return Ok(true);
    }
    while let Some(change) = changes.next().await {
        // A unique name is never given again (D-Bus specification, "Message Bus Names").
        if change.args()?.new_owner().is_none() {
            return Ok(true);
        }
    }
    // The bus itself is gone.
    Ok(false)
}
