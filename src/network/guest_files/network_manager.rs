//! nm-settings-keyfile(5), NetworkManager.conf(5).

use std::fmt::{Display, Write};

use super::{GuestFile, HEAD, Interface};
use crate::network::plan::Family;

/// A profile for the interface, and that NetworkManager is to manage it: distributions have it leave pairs of interfaces alone,
/// which is meant for hosts of containers.
pub(super) fn files(interface: &Interface<'_>) -> [GuestFile; 2] {
    let name = &interface.link.guest;
    let profile = GuestFile {
        path: format!("/run/NetworkManager/system-connections/spinney-{name}.nmconnection").into(),
        // NetworkManager reads no profile that others could.
        mode: 0o600,
        contents: profile(interface),
    };
    let managed = GuestFile {
        path: format!("/run/NetworkManager/conf.d/90-spinney-{name}.conf").into(),
        mode: 0o644,
        contents: format!("{HEAD}[device-spinney-{name}]\nmatch-device=interface-name:{name}\nmanaged=1\n"),
    };
    [profile, managed]
}

fn profile(interface: &Interface<'_>) -> String {
    let name = &interface.link.guest;
    let mut text = format!(
        "{HEAD}[connection]\nid={name}\ntype=ethernet\ninterface-name={name}\nautoconnect-priority=100\n\n[ethernet]\n"
    );
    method(&mut text, interface, interface.addresses.v4, "ipv4", "dad-timeout=0\n");
    // The address that the kernel has made of the MAC address already.
    method(&mut text, interface, interface.addresses.v6, "ipv6", "addr-gen-mode=eui64\nip6-privacy=0\n");
    text
}

fn method<A: Display>(
    text: &mut String,
    interface: &Interface<'_>,
    family: Option<Family<A>>,
    section: &str,
    more: &str,
) {
    let _ = writeln!(text, "\n[{section}]");
    let Some(Family { address, prefix, gateway, .. }) = family else {
        // IPv6 knows `disabled` from NetworkManager 1.20 on only; in what is ours the kernel gets no address either.
        text.push_str(if section == "ipv4" { "method=disabled\n" } else { "method=ignore\n" });
        return;
    };
    let _ = write!(text, "method=manual\naddress1={address}/{prefix}");
    if let Some(gateway) = gateway {
        let _ = write!(text, ",{gateway}");
    }
    text.push('\n');
    let servers = interface.plan.dns.iter().filter(|server| server.is_ipv4() == (section == "ipv4"));
    let servers: String = servers.map(|server| format!("{server};")).collect();
    if !servers.is_empty() {
        let _ = writeln!(text, "dns={servers}");
    }
    if let Some(domain) = &interface.plan.domain {
        let _ = writeln!(text, "dns-search={domain};");
    }
    text.push_str(more);
}
