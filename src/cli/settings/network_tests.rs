//! Whose network a machine has, by all that is said of it in one or more places.

use super::forms_tests::Files;
use crate::settings::SettingsError;
use crate::settings::network::{NetworkNamespace, VethAttachment};

/// The network of a machine in a few words: whose it is, what `host0` is, how many other interfaces, and what else it has.
fn network(files: &Files, line: &str) -> Result<String, String> {
    let settings = files.asked(line).map_err(|error| told(&error))?.settings;
    let namespace = match settings.network_namespace() {
        NetworkNamespace::Host => "host".to_owned(),
        NetworkNamespace::Private => "private".to_owned(),
        NetworkNamespace::Path(path) => path.display().to_string(),
    };
    let host0 = match settings.network_attachment() {
        None => String::new(),
        Some(VethAttachment::Alone) => " veth".to_owned(),
        Some(VethAttachment::Bridge(bridge)) => format!(" bridge:{bridge}"),
        Some(VethAttachment::Zone(zone)) => format!(" zone:{zone}"),
    };
    let network = settings.network;
    let links: usize = [&network.veth_extra, &network.interfaces, &network.macvlan, &network.ipvlan]
        .iter()
        .map(|links| links.len())
        .sum();
    let mut words = format!("{namespace}{host0}");
    let mut add = |word: &str, there: bool| {
        if there {
            words.push_str(word);
        }
    };
    add(&format!(" +{links}"), links > 0);
    add(" ip", !network.addresses.is_empty());
    add(" mac", network.mac.is_some());
    add(" gateway", !network.gateways.is_empty());
    add(" dns", !network.dns.is_empty());
    add(" hosts", !network.hosts.is_empty());
    add(" port", !network.ports.is_empty());
    add(" offer", !network.offers.is_empty());
    add(" faults", network.delay.is_some() || network.loss.is_some());
    Ok(words)
}

fn told(error: &SettingsError) -> String {
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error} has no hint");
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn whose_network() {
    for (line, expected) in [
        ("/m", "private zone:spinney"),
        ("/m ls", "private"),
        ("--private-network /m", "private"),
        ("--private-network=no /m", "host"),
        ("--private-network=no /m ls", "host"),
        ("-n /m", "private veth"),
        ("-n /m ls", "private veth"),
        ("--private-network -n /m", "private veth"),
        ("--network-veth=no /m", "host"),
        ("--network-veth=no --private-network /m", "private"),
        ("--network-bridge=br0 /m", "private bridge:br0"),
        ("-n --network-bridge=br0 /m", "private bridge:br0"),
        ("--network-zone=lab /m ls", "private zone:lab"),
        ("--network-macvlan=eth0 /m", "private +1"),
        ("--network-macvlan=eth0 --network-ipvlan=eth0 --network-interface=eth1 /m ls", "private +3"),
        ("--network-interface=a --network-interface=a /m", "private +1"),
        ("--network-veth-extra=a:b -n /m", "private veth +1"),
        ("--network-namespace-path=/run/netns/x /m", "/run/netns/x"),
        ("--network-namespace-path=netns /m", "/work/netns"),
        ("--network-namespace-path=/run/netns/x --private-network /m", "/run/netns/x"),
        // Who asks for so much of a command's network wants it to have one.
        ("-p 80 /m ls", "private zone:spinney port"),
        ("--ip=10.0.0.7 --mac=02:00:00:00:00:01 /m ls", "private zone:spinney ip mac"),
        ("--dns=9.9.9.9 --hosts=a:10.0.0.1 /m ls", "private zone:spinney dns hosts"),
        ("--net-loss=1% /m ls", "private zone:spinney faults"),
        ("--offer=5432 /m ls", "private offer"),
        ("--offer=5432 --private-network /m", "private offer"),
        ("-p 80 -p udp:80 /m", "private zone:spinney port"),
        ("-p 80 -n /m", "private veth port"),
        (
            "--network-bridge=br0 --ip=10.0.0.7/24 --gateway=10.0.0.1 -p 80 /m",
            "private bridge:br0 ip gateway port",
        ),
        ("--network-macvlan=eth0 --ip=10.0.0.7/24 --mac=02:00:00:00:00:01 /m", "private +1 ip mac"),
        ("--network-interface=eth1 --ip=10.0.0.7/24 --dns=9.9.9.9 /m", "private +1 ip dns"),
    ] {
        assert_eq!(network(&Files::new(), line).as_deref(), Ok(expected), "{line}");
    }
}

#[test]
fn what_does_not_go_together() {
    for (line, expected) in [
        (
            "--network-bridge=br0 --network-zone=lab /m",
            "--network-bridge and --network-zone do not go together",
        ),
        ("--private-network=no -n /m", "--private-network and --network-veth do not go together"),
        (
            "--private-network=no --network-zone=a /m",
            "--private-network and --network-zone do not go together",
        ),
        (
            "--private-network=no --network-macvlan=a /m",
            "--private-network and --network-macvlan do not go together",
        ),
        (
            "--network-namespace-path=/x --network-zone=a /m",
            "--network-namespace-path and --network-zone do not go together",
        ),
        (
            "--network-namespace-path=/x --network-ipvlan=a /m",
            "--network-namespace-path and --network-ipvlan do not go together",
        ),
        (
            "--network-namespace-path=/x --private-network=no /m",
            "--network-namespace-path and --private-network do not go together",
        ),
        ("--network-namespace-path=/x -p 80 /m", "--port ADDRESS"),
        ("--private-network=no -p 80 /m", "--port ADDRESS"),
        ("--private-network -p 80 /m", "--port ADDRESS"),
        ("--network-macvlan=eth0 -p 80 /m", "--port ADDRESS"),
        ("--network-bridge=br0 -p 80 /m", "--port ADDRESS"),
        ("--network-bridge=br0 --gateway=10.0.0.1 /m", "--gateway ADDRESS"),
        ("--private-network --dns=9.9.9.9 /m", "--dns ADDRESS"),
        ("--private-network --hosts=a:10.0.0.1 /m ls", "--hosts ADDRESS"),
        ("--private-network=no --ip=10.0.0.7 /m", "--ip needs an interface"),
        ("--network-macvlan=a --network-macvlan=b --ip=10.0.0.7/24 /m", "--ip needs an interface"),
        ("--network-ipvlan=a --mac=02:00:00:00:00:01 /m", "--mac needs an interface"),
        ("--network-macvlan=a --net-delay=1ms /m", "--net-delay needs an interface"),
        ("--private-network --net-spoofing /m", "--net-spoofing needs an interface"),
        (
            "-p 80 -p 80:81 /m",
            "bad value for --port=: tcp:80:81 and tcp:80:80 are of the same port of the host",
        ),
        (
            "-p 80-90 -p 127.0.0.1:85 /m",
            "bad value for --port=: tcp:127.0.0.1:85:85 and tcp:80-90:80-90 are of the same port of the host",
        ),
        (
            "--ip=10.0.0.7 --ip=10.0.0.8 /m",
            r#"bad value for --ip=: "10.0.0.8" is a second address of its family"#,
        ),
        (
            "--gateway=fd00::1 --gateway=fe80::1 /m",
            r#"bad value for --gateway=: "fe80::1" is a second gateway of its family"#,
        ),
        ("--network-zone=Lab /m", r#"bad value for --network-zone=: "Lab" is not a zone"#),
        ("--network-bridge=a/b /m", r#"bad value for --network-bridge=: "a/b" is not an interface name"#),
        (
            "--network-interface=a:b:c /m",
            r#"bad value for --network-interface=: "a:b:c" is not an interface, or two"#,
        ),
        ("--network-macvlan= /m", r#"bad value for --network-macvlan=: "" is not an interface, or two"#),
        (
            "--network-namespace-path= /m",
            r#"bad value for --network-namespace-path=: "" is not an absolute path"#,
        ),
        ("--port=http /m", r#"bad value for --port=: "http" has a port that is no number from 1 to 65535"#),
        ("--mac=x /m", r#"bad value for --mac=: "x" is not a MAC address"#),
        ("--ip=x /m", r#"bad value for --ip=: "x" is not an IP address"#),
        ("--gateway=x /m", r#"bad value for --gateway=: "x" is not an IP address"#),
        ("--dns=x /m", r#"bad value for --dns=: "x" is not an IP address"#),
        ("--hosts=x /m", r#"bad value for --hosts=: "x" is not a name with its address"#),
        ("--offer=x /m", r#"bad value for --offer=: "x" has a port that is no number from 1 to 65535"#),
        ("--net-delay=5 /m", r#"bad value for --net-delay=: "5" has no unit"#),
        ("--net-loss=x /m", r#"bad value for --net-loss=: "x" is not a percentage"#),
        ("--net-spoofing=x /m", r#"bad value for --net-spoofing=: "x" is not a boolean"#),
        ("--network-veth=x /m", r#"bad value for --network-veth: "x" is not a boolean"#),
    ] {
        let expected = expected.replace("ADDRESS", "needs an interface with an address of ours");
        assert_eq!(network(&Files::new(), line), Err(expected), "{line}");
    }
}

/// `defaults for all; the .nspawn file; the machine's file; the command line => network`.
type Layered = (&'static str, &'static str, &'static str, &'static str, Result<&'static str, &'static str>);

#[test]
fn layers_of_networks() {
    let told = "--port needs an interface with an address of ours";
    let rows: &[Layered] = &[
        ("network-zone = 'a'", "", "", "/m", Ok("private zone:a")),
        ("network-zone = 'a'", "", "", "/m ls", Ok("private zone:a")),
        ("network-zone = 'a'", "", "", "-n /m", Ok("private veth")),
        ("network-zone = 'a'", "Bridge=br0", "", "/m", Ok("private bridge:br0")),
        ("network-zone = 'a'", "", "", "--private-network /m", Ok("private")),
        ("network-zone = 'a'", "", "", "--private-network=no /m", Ok("host")),
        ("network-zone = 'a'", "", "network-zone = ''", "/m", Ok("private zone:spinney")),
        ("network-zone = 'a'", "", "", "--network-namespace-path=/x /m", Ok("/x")),
        ("private-network = false", "", "", "-n /m", Ok("private veth")),
        ("private-network = false", "", "", "--network-macvlan=a /m", Ok("private +1")),
        ("network-namespace-path = '/x'", "", "", "--network-zone=a /m", Ok("private zone:a")),
        ("network-macvlan = ['a']", "", "network-ipvlan = ['b']", "-n /m", Ok("private veth +2")),
        ("network-macvlan = ['a']", "", "", "--private-network=no /m", Ok("host")),
        // systemd.nspawn(5): an interface implies a network of its own.
        ("", "Private=no\nZone=a", "", "/m", Ok("private zone:a")),
        ("", "VirtualEthernet=no", "", "/m", Ok("host")),
        ("", "VirtualEthernet=no\nPrivate=yes", "", "/m", Ok("private")),
        ("", "VirtualEthernet=no\nZone=a", "", "/m", Ok("private zone:a")),
        // What a lower layer says for another network is not in force.
        ("dns = ['9.9.9.9']", "", "", "/m", Ok("private zone:spinney dns")),
        ("dns = ['9.9.9.9']", "", "", "/m ls", Ok("private")),
        ("dns = ['9.9.9.9']", "", "", "--private-network=no /m", Ok("host")),
        ("dns = ['9.9.9.9']", "", "private-network = false", "/m", Ok("host")),
        ("", "", "port = ['80']", "/m ls", Ok("private")),
        ("", "", "port = ['80']", "-n /m ls", Ok("private veth port")),
        ("", "", "port = ['80']", "--private-network /m", Ok("private")),
        // Ports of the host are taken over, others are added.
        ("", "Port=80:1\nPort=81", "port = ['80:2']", "/m", Ok("private zone:spinney port")),
        ("", "", "ip = ['10.0.0.7', 'fd00::7']", "--ip=10.0.0.8 /m", Ok("private zone:spinney ip")),
        // And what whoever chose the network says for no use is an error.
        ("private-network = false", "", "", "-p 80 /m", Err(told)),
    ];
    for (all, nspawn, machine, line, expected) in rows {
        let files = Files::new();
        files.write("spinney/spinney.toml", format!("[network]\n{all}\n"));
        if !nspawn.is_empty() {
            files.write("etc/m.nspawn", format!("[Network]\n{nspawn}\n"));
        }
        files.write("spinney/machines/m.toml", format!("[network]\n{machine}\n"));
        let found = network(&files, line);
        assert_eq!(
            found.as_deref().map_err(|error| error.as_str()),
            *expected,
            "{all}; {nspawn}; {machine}; {line}"
        );
    }
    let files = Files::new();
    files.write("spinney/machines/m.toml", "[network]\nprivate-network = false\nport = ['80']\n");
    let path = files.0.path().join("spinney/machines/m.toml");
    let expected = format!("port ({}:3) needs an interface with an address of ours", path.display());
    assert_eq!(network(&files, "/m"), Err(expected));
    files.write("spinney/machines/m.toml", "[network]\nport = ['80', '81-82']\n");
    let ports = files.asked("-p 82:90 /m").unwrap().settings.network.ports;
    assert_eq!(ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tcp:80:80", "tcp:82:90"]);
}

#[test]
fn the_variable_for_the_mac_address() {
    let with = |value: &'static str| -> Result<Option<String>, String> {
        let mut environment = Files::new().environment();
        environment.variable = match value {
            "good" => |name| (name == "SYSTEMD_NSPAWN_NETWORK_MAC").then(|| "02:00:00:00:00:05".into()),
            _ => |name| (name == "SYSTEMD_NSPAWN_NETWORK_MAC").then(|| "none".into()),
        };
        let asked = crate::settings::Asked { tree: "/m".into(), ..Default::default() };
        let resolved =
            crate::settings::machine_settings(&asked, &environment).map_err(|error| told(&error))?;
        Ok(resolved.settings.network.mac.map(|mac| mac.to_string()))
    };
    assert_eq!(with("good"), Ok(Some("02:00:00:00:00:05".to_owned())));
    let expected = r#"bad value for SYSTEMD_NSPAWN_NETWORK_MAC: "none" is not a MAC address"#;
    assert_eq!(with("bad"), Err(expected.to_owned()));
}
