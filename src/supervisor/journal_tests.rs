use super::*;
use crate::network::link::condition::Condition;
use crate::network::link::holding::{Holding, HoldingKind};
use crate::sys::network::NamespaceId;

#[test]
fn a_cut_off_line_does_not_count() {
    let text = b"{\"id-range\":524288}\n{\"cgroup\":\"demo\"}\n{\"scratch\":\"de";
    let resources = vec![Resource::IdRange(524_288), Resource::Cgroup("demo".to_owned())];
    assert_eq!(parse(text), Written { resources, unknown: Vec::new() });
    assert_eq!(parse(b"{\"scratch\":\"de"), Written::default());
    assert_eq!(parse(b""), Written::default());
}

/// As versions wrote it before namespaces had cookies, and units several machines.
#[test]
fn lines_of_an_older_version() {
    let older = NamespaceId { number: 4_026_531_840, cookie: 0 };
    let network = |kind| Resource::Network(Holding { namespace: older, machine: "web".to_owned(), kind });
    let name = |text: &str| text.parse().unwrap();
    for (line, expected) in [
        (
            r#"{"rules":{"machine":"web","namespace":4026531840}}"#,
            Resource::Rules { machine: "web".to_owned(), namespace: older },
        ),
        (
            r#"{"network":{"namespace":4026531840,"machine":"web","kind":"forwarding"}}"#,
            network(HoldingKind::Forwarding),
        ),
        (
            r#"{"network":{"namespace":4026531840,"machine":"web","kind":{"zone":{"zone":"spinney","port":"vb-web"}}}}"#,
            network(HoldingKind::Zone {
                zone: "spinney".parse().unwrap(),
                port: name("vb-web"),
                addresses: Vec::new(),
            }),
        ),
        (
            r#"{"network":{"namespace":4026531840,"machine":"web","kind":{"link":"vb-web"}}}"#,
            network(HoldingKind::Link(name("vb-web"))),
        ),
        (
            r#"{"network":{"namespace":4026531840,"machine":"web","kind":{"lent":{"host":"eth1","guest":"wan","was":{"mac":null,"mtu":1500,"group":0,"queue":0,"flags":0}}}}}"#,
            network(HoldingKind::Lent {
                host: name("eth1"),
                guest: name("wan"),
                was: Condition { mtu: 1500, ..Condition::default() },
            }),
        ),
        (
            r#"{"network":{"namespace":4026531840,"machine":"web","kind":{"lent":{"host":"eth1","guest":"wan","mac":[2,0,0,0,0,1]}}}}"#,
            network(HoldingKind::Lent {
                host: name("eth1"),
                guest: name("wan"),
                was: Condition { mac: Some("02:00:00:00:00:01".parse().unwrap()), ..Condition::default() },
            }),
        ),
        (
            r#"{"network":{"namespace":4026531840,"machine":"web","kind":{"lent":{"host":"eth1","guest":"wan","mac":null}}}}"#,
            network(HoldingKind::Lent { host: name("eth1"), guest: name("wan"), was: Condition::default() }),
        ),
        (
            r#"{"unit-cgroup":"machine.slice/spinney@web.service"}"#,
            Resource::UnitCgroup("machine.slice/spinney@web.service".into()),
        ),
    ] {
        let text = format!("{line}\n");
        let written = parse(text.as_bytes());
        assert_eq!(written, Written { resources: vec![expected], unknown: Vec::new() }, "{line}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_not_lost() {
    let unknown = [
        r#"{"teleport":{"to":"moon"}}"#,
        r#"{"network":{"namespace":{"number":7,"cookie":8},"machine":"web","kind":{"tunnel":"t0"}}}"#,
        "no JSON at all",
    ];
    let text = format!("{{\"cgroup\":\"web\"}}\n{}\n{{\"scratch\":\"web\"}}\n", unknown.join("\n"));
    let resources = vec![Resource::Cgroup("web".to_owned()), Resource::Scratch("web".to_owned())];
    let unknown = unknown.map(str::to_owned).to_vec();
    assert_eq!(parse(text.as_bytes()), Written { resources, unknown });
}
