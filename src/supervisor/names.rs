//! Names in the supervisor: the machine's name server, and what the host is told of the machine.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::network::dns::host_servers::RESOLV_CONF;
use crate::network::dns::{Config, DnsServer};
use crate::network::host_names::{HostName, HostNames, Told, resolve_hook};
use crate::network::service::Service;
use crate::network::state::NetworkState;

use super::claimed::Claimed;
use super::error::Error;
use super::registry::MACHINES;
use super::resources::Resource;

/// When the host is told of a machine that runs a command: most have ended by then, and for what they do a file in /etc would be changed
/// twice. One that boots is told of at once, while its init begins.
const TOLD_AFTER: Duration = Duration::from_millis(100);

/// The services, and the port of the name server.
pub(super) type Served = (Vec<Box<dyn Service>>, Option<u16>);

/// Serves names to the machine, and has the host told of it.
pub(super) fn serve(claimed: &Claimed, state: &NetworkState, boots: bool) -> Result<Served, Error> {
    let machine = claimed.directory().name().as_str();
    let (mut services, mut port): Served = (Vec::new(), None);
    // Not at servers of somebody's that the machine asks by itself, on a network of somebody's.
    let listen = state.plan.own_name_servers();
    if !listen.is_empty() {
        let server = DnsServer::open(&Config {
            machine,
            plan: &state.plan,
            listen: &listen,
            namespace: state.namespace,
            machines: Path::new(MACHINES),
            resolv_conf: Path::new(RESOLV_CONF),
        });
        let server = server.map_err(Error::system("serve names to the machine"))?;
        port = server.port();
        if port.is_some() {
            services.push(Box::new(server));
        }
    }
    let told = Told::of_host();
    if let Some(host) =
        HostName::of(machine, &state.plan).filter(|_| told.file.is_some() || told.hooks.is_some())
    {
        let hook = told.hooks.as_ref().map(|hooks| resolve_hook::socket_path(hooks, machine));
        claimed.note(&Resource::Names { machine: machine.to_owned(), hook })?;
        let due = Instant::now() + if boots { Duration::ZERO } else { TOLD_AFTER };
        services.push(Box::new(HostNames::new(host, told, due)));
    }
    Ok((services, port))
}
