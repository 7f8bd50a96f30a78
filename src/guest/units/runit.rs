//! What runsv keeps of a service, in `supervise/status` of the directory in which it is enabled.

use super::super::evidence::{RUNIT_SERVICES, ServiceState, ServiceStatus};
use super::Answer;
use crate::sys::in_root::Root;

pub(super) fn service(guest: &Root, name: &str) -> Answer {
    const STATUS: usize = 64;
    let Some(directory) =
        RUNIT_SERVICES.iter().find(|directory| guest.exists(format!("{directory}/{name}")).unwrap_or(false))
    else {
        return Answer::never("there is no such service");
    };
    let status = guest.read(format!("{directory}/{name}/supervise/status"), STATUS).ok();
    match status.as_deref().and_then(ServiceStatus::parse) {
        None => Answer::not_yet("runsv has not begun with the service"),
        Some(ServiceStatus { state: ServiceState::Running, .. }) => Answer::Holds,
        Some(ServiceStatus { wanted: false, .. }) => {
            Answer::not_yet("the service is down, as it is meant to be")
        }
        Some(_) => Answer::not_yet("the service is down"),
    }
}
