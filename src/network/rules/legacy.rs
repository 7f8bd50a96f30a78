//! iptables-legacy: rules that nf_tables neither sees nor can change.

/// The tables that are in use in the network namespace of who reads it, one a line.
const TABLES: &str = "/proc/self/net/ip_tables_names";

/// What the user should know of it, if it is in use: machines are behind `interface`.
pub fn warning(interface: &str) -> Option<String> {
    let tables = std::fs::read_to_string(TABLES).ok()?;
    of(&tables, interface)
}

fn of(tables: &str, interface: &str) -> Option<String> {
    let filters = tables.lines().any(|table| table == "filter");
    filters.then(|| format!(
        "iptables-legacy has rules on this host, which cannot be opened from here; if they drop what is forwarded, type: \
         iptables-legacy -I FORWARD -i {interface} -j ACCEPT; iptables-legacy -I FORWARD -o {interface} -j ACCEPT"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_that_filter_matter() {
        assert_eq!(of("", "vz-lab"), None);
        assert_eq!(of("nat\nmangle\n", "vz-lab"), None);
        let warning = of("filter\nnat\n", "vz-lab").unwrap();
        assert!(warning.ends_with("iptables-legacy -I FORWARD -o vz-lab -j ACCEPT"), "{warning}");
    }
}
