//! The manager on a bus of the test's own, with clients that no one here wrote: machinectl and busctl.
//!
//! A tier of its own: `cargo test --test root -- --bus [SUBSTRING...]`.
//!
//! | file | what it is about |
//! |---|---|
//! | [`fixture`] | a bus, the manager on it, clients |
//! | [`polkit`] | a polkit of the test's own |
//! | [`client`] | a client in the test itself |
//! | [`announced`] | machines that come, change and go |
//! | [`registered`] | machines of other programs |
//! | [`sessions`] | logins and shells |
//! | [`interface`] | what the interfaces say of themselves |
//! | [`varlink`] | `io.systemd.Machine` |
//! | [`load`] | very many machines, calls and clients |
//! | [`access`] | what others than root may do |
//! | [`machines`] | machines of ours as systemd's clients see and enter them |
//! | [`own_client`] | the same for our own interfaces, with fds |
//! | [`own`] | our own interfaces |
//! | [`children`] | processes that the manager starts |
//! | [`own_jobs`] | what is told of work that goes on, and what is not |
//! | [`own_images`] | the same of images and transfers |
//! | [`described`] | what all objects say of themselves |
//! | [`all_methods`] | that no method is left out of what others than root may do |
//! | [`granted`] | that each is done for who may |
//! | [`own_access`] | what others than root may do with these |
//! | [`images`] | images as they see, change and remove them |
//! | [`transfers`] | images that they move in and out |
//! | [`registries`] | images of registries |
//! | [`images_by_varlink`] | the same over Varlink |
//! | [`daemon`] | the manager's life: begun by the bus, idle, killed |
//! | [`enlisted`] | machines in the registers of systemd and machined, both played |
//! | [`played`] | who plays them |
//! | [`recorded`] | what systemd's own daemons say, recorded, and ours held to it |

mod access;
mod all_methods;
mod announced;
mod children;
mod client;
mod daemon;
mod described;
mod enlisted;
mod fixture;
mod granted;
mod images;
mod images_by_varlink;
mod interface;
mod load;
mod machines;
mod own;
mod own_access;
mod own_client;
mod own_images;
mod own_jobs;
mod played;
mod polkit;
mod recorded;
mod registered;
mod registries;
mod sessions;
mod transfers;
mod varlink;

use crate::harness::Test;

/// What the names of this tier's tests begin with.
pub const TIER: &str = "bus::";

pub fn tests() -> Vec<Test> {
    [
        daemon::tests(),
        machines::tests(),
        access::tests(),
        interface::tests(),
        announced::tests(),
        registered::tests(),
        enlisted::tests(),
        sessions::tests(),
        own::tests(),
        own_access::tests(),
        children::tests(),
        all_methods::tests(),
        granted::tests(),
        own_images::tests(),
        own_jobs::tests(),
        images::tests(),
        transfers::tests(),
        registries::tests(),
        images_by_varlink::tests(),
        varlink::tests(),
        load::tests(),
        recorded::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
