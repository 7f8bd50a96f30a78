//! systemd.network(5).

use std::fmt::Write;

use super::{GuestFile, HEAD, Interface};
use crate::network::plan::Family;

/// The first file that matches counts, by name, wherever it lies: this one comes before a tree's own for all interfaces
/// (`10-all.network`), and before systemd's `80-container-host0.network`.
pub(super) fn file(interface: &Interface<'_>) -> GuestFile {
    let name = &interface.link.guest;
    let (v4, v6) = (interface.addresses.v4, interface.addresses.v6);
    let mut text = format!("{HEAD}[Match]\nName={name}\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\n");
    // What is there stays while networkd starts and when it stops, so that nothing is without network in between.
    text.push_str("KeepConfiguration=static\n");
    // No router and no neighbour waits for an answer that cannot come: nobody else has these addresses.
    text.push_str("IPv6DuplicateAddressDetection=0\n");
    let link_local = if v6.is_some() { "ipv6" } else { "no" };
    let _ = writeln!(text, "LinkLocalAddressing={link_local}");
    for server in &interface.plan.dns {
        let _ = writeln!(text, "DNS={server}");
    }
    if let Some(domain) = &interface.plan.domain {
        let _ = writeln!(text, "Domains={domain}");
    }
    if let Some(family) = v4 {
        family_sections(&mut text, family);
    }
    if let Some(family) = v6 {
        family_sections(&mut text, family);
    }
    GuestFile {
        path: format!("/run/systemd/network/00-spinney-{name}.network").into(),
        mode: 0o644,
        contents: text,
    }
}

fn family_sections<A: std::fmt::Display>(text: &mut String, family: Family<A>) {
    let Family { address, prefix, gateway, .. } = family;
    let _ = write!(text, "\n[Address]\nAddress={address}/{prefix}\nDuplicateAddressDetection=none\n");
    if let Some(gateway) = gateway {
        // A gateway may lie outside of the network (`--gateway=`): then the kernel is told that it is on the link.
        let _ = write!(text, "\n[Route]\nGateway={gateway}\nGatewayOnLink=yes\n");
    }
}
