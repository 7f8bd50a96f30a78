use serde_json::json;

use super::*;
use crate::varlink::service::object;

fn understood(method: &str, parameters: Value) -> String {
    let call = Call::new(&format!("io.systemd.Machine.{method}"), object(parameters));
    match understand(&call) {
        Ok(call) => format!("{call:?}"),
        Err(fault) => fault.parameters.values().next().map(Value::to_string).unwrap_or_default(),
    }
}

#[test]
fn calls() {
    let a = r#"Lookup { name: Some("a"), pid: None, interactive: false }"#;
    let table = [
        ("Terminate", json!({"name": "a"}), format!("Terminate({a})")),
        (
            "Terminate",
            json!({"pid": {"pid": 7, "pidfdId": 9}, "allowInteractiveAuthentication": true}),
            "Terminate(Lookup { name: None, pid: Some(ProcessId { pid: 7, pidfd_id: Some(9), boot_id: None }), \
             interactive: true })"
                .to_owned(),
        ),
        ("Terminate", json!({"pid": -1}), "\"pid\"".to_owned()),
        ("Terminate", json!({"name": "../x"}), "\"name\"".to_owned()),
        (
            "Terminate",
            json!({"name": ".host"}),
            "Terminate(Lookup { name: Some(\".host\"), pid: None, interactive: false })".to_owned(),
        ),
        ("Terminate", json!({"pid": {}}), "\"pid\"".to_owned()),
        ("Terminate", json!({"name": 7}), "\"name\"".to_owned()),
        ("Terminate", json!({"name": "a", "x": 1}), "\"x\"".to_owned()),
        ("Kill", json!({"name": "a", "signal": 9}), format!("Kill({a}, \"\", 9)")),
        ("Kill", json!({"name": "a"}), "\"signal\"".to_owned()),
        ("Kill", json!({"name": "a", "signal": 0}), "\"signal\"".to_owned()),
        ("Kill", json!({"name": "a", "signal": 65}), "\"signal\"".to_owned()),
        ("Kill", json!({"name": "a", "signal": 9, "whom": "x"}), "\"whom\"".to_owned()),
        ("List", json!({"name": "a"}), format!("List({a}, No)")),
        ("List", json!({"name": "a", "acquireMetadata": "graceful"}), format!("List({a}, Graceful)")),
        ("List", json!({"acquireMetadata": "x"}), "\"acquireMetadata\"".to_owned()),
        ("Open", json!({"name": "a", "mode": "tty"}), format!("Open({a}, Tty)")),
        ("Open", json!({"name": "a", "mode": "tty", "user": "x"}), "\"user\"".to_owned()),
        ("Open", json!({"name": "a", "mode": "x"}), "\"mode\"".to_owned()),
        ("Open", json!({"name": "a"}), "\"mode\"".to_owned()),
        ("MapFrom", json!({"name": "a", "uid": 1}), format!("MapFrom({a}, Some(1), None)")),
        ("MapTo", json!({"gid": 1}), "MapTo(None, Some(1))".to_owned()),
        ("MapTo", json!({"gid": -1}), "\"gid\"".to_owned()),
        ("CopyTo", json!({"name": "a"}), "\"source\"".to_owned()),
        ("CopyFrom", json!({"name": "a", "source": "x"}), "\"source\"".to_owned()),
        ("BindMount", json!({"name": "a", "source": "/", "destination": "x"}), "\"destination\"".to_owned()),
        ("Open", json!({"name": "a", "mode": "shell", "path": "sh"}), "\"path\"".to_owned()),
        ("OpenRootDirectory", json!({"name": "a"}), format!("OpenRootDirectory({a})")),
        ("Nothing", json!({}), "\"io.systemd.Machine.Nothing\"".to_owned()),
        ("Register", json!({"name": "a"}), "\"class\"".to_owned()),
    ];
    for (method, parameters, expected) in table {
        assert_eq!(understood(method, parameters.clone()), expected, "{method} {parameters}");
    }
}

#[test]
fn registrations() {
    let parameters = json!({
        "name": "a", "class": "vm", "id": "00112233-4455-6677-8899-aabbccddeeff", "service": "s", "leader": 7,
        "leaderProcessId": {"pid": 8}, "supervisor": 9, "supervisorProcessId": {"pid": 0}, "ifIndices": [1, 2], "vSockCid": 3, "sshAddress": "x", "allocateUnit": true,
        "controlAddress": "/run/control",
    });
    let call = Call::new("io.systemd.Machine.Register", object(parameters));
    let Ok(MachineCall::Register { registration, leader, supervisor, allocate: true, interactive: false }) =
        understand(&call)
    else {
        panic!("not understood");
    };
    assert_eq!(registration.id.first().copied(), Some(0));
    assert_eq!((registration.id.len(), registration.vsock_cid), (16, Some(3)));
    assert_eq!(leader, Some((ProcessId { pid: 8, ..ProcessId::default() }, "leaderProcessId")));
    assert_eq!(supervisor, Some((ProcessId { pid: 9, ..ProcessId::default() }, "supervisor")));
    assert_eq!((registration.interfaces.as_slice(), registration.class.as_str()), (&[1, 2][..], "vm"));
    assert_eq!(registration.control_address, "/run/control");
}

#[test]
fn wrong_registrations() {
    for (field, value) in [
        ("name", json!("a/b")),
        ("name", json!(".host")),
        ("name", Value::Null),
        ("class", json!("host")),
        ("class", json!("")),
        ("class", Value::Null),
        ("id", json!("12")),
        ("service", json!("a\nb")),
        ("leader", json!(1)),
        ("leader", json!(-1)),
        ("leaderProcessId", json!({"pid": 1})),
        ("leaderProcessId", json!({"pid": 7, "bootId": "x"})),
        ("supervisorProcessId", json!({})),
        ("rootDirectory", json!("srv/lab")),
        ("ifIndices", json!(["x"])),
        ("ifIndices", json!([0])),
        ("ifIndices", json!(1)),
        ("vSockCid", json!(2)),
        ("vSockCid", json!(u32::MAX)),
        ("sshAddress", json!("a\u{1b}")),
        ("sshPrivateKeyPath", json!("key")),
        ("controlAddress", json!(7)),
        ("allocateUnit", json!("yes")),
        ("unknown", json!(1)),
    ] {
        let mut parameters = json!({"name": "a", "class": "vm"});
        parameters[field] = value.clone();
        assert_eq!(understood("Register", parameters), format!("{field:?}"), "{field}: {value}");
    }
}
