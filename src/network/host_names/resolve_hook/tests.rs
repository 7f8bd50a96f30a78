//! What systemd-resolved asks of the hook, and what it is told.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

fn host() -> HostName {
    HostName {
        machine: "web".to_owned(),
        name: "web.spinney.internal".to_owned(),
        addresses: vec!["10.213.0.5".parse().expect("ip"), "fd00::5".parse().expect("ip")],
    }
}

fn ask(method: &str, parameters: Value) -> Reply {
    reply(&host(), &Call::new(&format!("io.systemd.Resolve.Hook.{method}"), object(parameters)))
}

fn key(name: &str, kind: u16) -> Value {
    json!({"key": {"class": 1, "type": kind, "name": name}})
}

#[test]
fn lookups() {
    let four =
        BASE64_STANDARD.encode(b"\x03web\x07spinney\x08internal\0\0\x01\0\x01\0\0\0\x05\0\x04\x0a\xd5\0\x05");
    let pointer = [
        &b"\x015\x010\x03213\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01\0\0\0\x05\0\x16"[..],
        b"\x03web\x07spinney\x08internal\0",
    ];
    let pointer = BASE64_STANDARD.encode(pointer.concat());
    let name = "web.spinney.internal";
    let table = [
        ("an address", vec![key(name, 1)], json!({"rcode": 0, "answer": [{"raw": four}]})),
        ("no such record", vec![key(name, 15)], json!({"rcode": 0, "answer": []})),
        ("another name", vec![key("db.spinney.internal", 1)], json!({})),
        ("below it", vec![key("a.web.spinney.internal", 1)], json!({})),
        (
            "the name of the address",
            vec![key("5.0.213.10.in-addr.arpa", 12)],
            json!({"rcode": 0, "answer": [{"raw": pointer}]}),
        ),
        ("of another address", vec![key("6.0.213.10.in-addr.arpa", 12)], json!({})),
        ("what is no name", vec![key("a..b", 1)], json!({})),
    ];
    for (what, question, expected) in table {
        assert_eq!(
            ask("ResolveRecord", json!({ "question": question })),
            Reply::of(object(expected)),
            "{what}"
        );
    }
    let both = ask("ResolveRecord", json!({"question": [key(name, 1), key(name, 28)]}));
    assert_eq!(both.parameters["answer"].as_array().map(Vec::len), Some(2));
    for bad in
        [json!({}), json!({"question": []}), json!({"question": [1]}), json!({"question": [{"key": {}}]})]
    {
        let refused = Reply::failed(Fault::invalid_parameter("question"));
        assert_eq!(ask("ResolveRecord", bad.clone()), refused, "{bad}");
    }
}

#[test]
fn it_wants_to_be_asked_for_itself_only() {
    let reply = ask("QueryFilter", json!({}));
    let six = Name::of_address("fd00::5".parse().expect("ip")).to_string();
    let domains = json!({"filterDomains": ["web.spinney.internal", "5.0.213.10.in-addr.arpa", six]});
    assert_eq!(reply, Reply::of(object(domains)));
    assert_eq!(
        ask("Other", json!({})),
        Reply::failed(Fault::method_not_found("io.systemd.Resolve.Hook.Other"))
    );
    let members = crate::varlink::grammar::parse(&INTERFACE.description()).expect("a description");
    assert_eq!(members.methods, ["QueryFilter", "ResolveRecord"]);
}

#[test]
fn a_client_is_served() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let directory = temporary.path().join("resolve.hook");
    let path = socket_path(&directory, "web");
    let mut hook = ResolveHook::open(host(), &directory, &temporary.path().join("none")).expect("a hook");
    let mut clients: Vec<UnixStream> = Vec::new();
    for _ in 0..20 {
        clients.push(UnixStream::connect(&path).expect("connect"));
        hook.on_ready(Instant::now());
    }
    assert_eq!(hook.connections.len(), MOST_CONNECTIONS);
    let client = clients.last_mut().expect("one");
    let call = Call { more: true, ..Call::new("io.systemd.Resolve.Hook.QueryFilter", Map::new()) };
    client.write_all(&call.to_message()).expect("write");
    hook.on_ready(Instant::now());
    let mut buffer = [0; 1024];
    let length = client.read(&mut buffer).expect("read");
    let reply = Reply::parse(&buffer[..length - 1]).expect("a reply");
    assert!(reply.continues);
    client.write_all(&[b'x'; 4096].repeat(5)).expect("write");
    for _ in 0..10 {
        hook.on_ready(Instant::now());
    }
    assert_eq!(client.read(&mut buffer).expect("the end"), 0, "who sends nonsense is left");
    clients.clear();
    for _ in 0..4 {
        hook.on_ready(Instant::now());
    }
    assert_eq!(hook.connections.len(), 0);
    remove(&path).expect("remove");
    assert!(!directory.exists());
    remove(&path).expect("twice");
}
