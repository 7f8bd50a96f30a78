//! resolved.conf(5): for trees where nobody tells systemd-resolved of an interface's name servers. Where somebody does, it has
//! the same ones twice.

use super::{GuestFile, HEAD};
use crate::network::plan::NetworkPlan;

/// The drop-in, where there are name servers.
pub(super) fn file(plan: &NetworkPlan) -> Option<GuestFile> {
    if plan.dns.is_empty() {
        return None;
    }
    let servers: Vec<String> = plan.dns.iter().map(ToString::to_string).collect();
    let mut contents = format!("{HEAD}[Resolve]\nDNS={}\n", servers.join(" "));
    if let Some(domain) = &plan.domain {
        contents.push_str(&format!("Domains={domain}\n"));
    }
    Some(GuestFile { path: "/run/systemd/resolved.conf.d/50-spinney.conf".into(), mode: 0o644, contents })
}
