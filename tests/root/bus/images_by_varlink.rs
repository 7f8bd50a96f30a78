//! `io.systemd.MachineImage` and `io.systemd.Import`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::images::Scene;
use super::varlink::Client;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::http_server::{HttpServer, Reply};

const IMAGES: &str = "/run/systemd/machine/io.systemd.MachineImage";
const IMPORT: &str = "/run/systemd/io.systemd.Import";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 2] = [("images", images), ("pulled", pulled)];
    rows.map(|(name, test)| Test::new(format!("{}images_by_varlink::{name}", super::TIER), test)).into()
}

fn method(name: &str) -> String {
    format!("io.systemd.MachineImage.{name}")
}

/// All replies to a call: results, or an error's last word.
fn all(client: &mut Client, method: &str, parameters: &Value) -> Result<Vec<Value>, Stop> {
    client.send(method, parameters, true)?;
    let mut replies = Vec::new();
    loop {
        let reply = client.reply()?.ok_or("the connection is closed")?;
        let error = reply["error"].as_str().and_then(|error| error.rsplit('.').next());
        replies.push(error.map_or(reply["parameters"].clone(), Value::from));
        if reply.get("continues") != Some(&Value::Bool(true)) {
            return Ok(replies);
        }
    }
}

fn images(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let tree = scene.pool.tree("web")?;
    let disk = scene.pool.disk("disk", 1 << 20)?;
    let mut client = Client::connect_to(IMAGES)?;
    let (web, name) = (scene.pool.name("web"), |name: &str| scene.pool.name(name));
    let one = client.gives(&method("List"), json!({ "name": web, "acquireMetadata": "yes" }))?;
    for (field, value) in [
        ("path", json!(tree)),
        ("type", json!("directory")),
        ("class", json!("machine")),
        ("readOnly", json!(false)),
        ("hostname", json!("web.example.org")),
        ("machineId", json!("00112233445566778899aabbccddeeff")),
        ("machineInfo", json!(["DEPLOYMENT=test", "PRETTY_HOSTNAME=A Web"])),
        ("OSRelease", json!(["ID=acme", "PRETTY_NAME=Acme \"1\""])),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert!(!one.contains_key("usage") && one["creationTimestamp"].is_u64(), "{one:?}");
    let listed = all(&mut client, &method("List"), &json!({ "acquireMetadata": "graceful" }))?;
    let rows: Vec<_> = listed.iter().map(|row| (row["name"].as_str(), row["limit"].as_u64())).collect();
    let disk_name = name("disk");
    assert_eq!(
        rows,
        [(Some(".host"), None), (Some(disk_name.as_str()), Some(1 << 20)), (Some(web.as_str()), None)]
    );
    client.gives(&method("Clone"), json!({ "name": web, "newName": name("copy"), "readOnly": true }))?;
    client.gives(
        &method("Update"),
        json!({ "name": name("copy"), "newName": name("other"), "readOnly": false }),
    )?;
    client.gives(&method("Remove"), json!({ "name": web }))?;
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 3)?, ["disk raw no", "other directory no"]);
    let refused = [
        ("List", json!({ "name": "nobody" }), "NoSuchImage"),
        ("List", json!({}), "ExpectedMore"),
        ("Remove", json!({ "name": "../etc" }), "InvalidParameter"),
        ("Remove", json!({ "name": ".host" }), "System"),
        ("Clone", json!({ "name": disk_name, "newName": "a/b" }), "InvalidParameter"),
        ("Clone", json!({ "name": disk_name, "newName": name("other") }), "System"),
        ("Update", json!({ "name": disk_name, "limit": 1 }), "NotSupported"),
        ("SetPoolLimit", json!({ "limit": 1 }), "NotSupported"),
        ("CleanPool", json!({ "mode": "all" }), "ExpectedMore"),
        ("Nothing", json!({}), "MethodNotFound"),
    ];
    for (call, parameters, expected) in refused {
        assert_eq!(client.call(&method(call), parameters)?, Err(expected.to_owned()), "{call}");
    }
    let cleaned = all(&mut client, &method("CleanPool"), &json!({ "mode": "all" }))?;
    assert_eq!(
        cleaned,
        [json!({ "name": disk_name, "usageExclusive": 0 }), json!({ "name": name("other") })]
    );
    assert!(!disk.exists());
    let nothing = all(&mut client, &method("CleanPool"), &json!({ "mode": "hidden" }))?;
    assert_eq!(nothing, [json!("NoSuchImage")]);
    scene.over()?;
    assert!(!Path::new(IMAGES).exists() && !Path::new(IMPORT).exists());
    Ok(())
}

fn pulled(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let tree = scene.pool.tree("source")?;
    let file = context.directory.join("a.tar");
    crate::command::run(
        std::process::Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&file).arg("."),
    )
    .ok()?;
    let (server, data) = (HttpServer::start(), fs::read(&file)?);
    let mut client = Client::connect_to(IMPORT)?;
    let call = |name: &str| format!("io.systemd.Import.{name}");
    let wanted = |path: &str, local: &str| {
        let (remote, local) = (server.url(path), scene.pool.name(local));
        json!({ "remote": remote, "local": local, "type": "tar", "class": "machine", "verify": "no" })
    };
    assert_eq!(all(&mut client, &call("ListTransfers"), &json!({}))?, [json!("NoTransfers")]);
    server.put("/a.tar", Reply::bytes(data.clone()));
    let told = all(&mut client, &call("Pull"), &wanted("/a.tar", "a"))?;
    assert_eq!((&told[0], told.last()), (&json!({ "id": 1 }), Some(&json!({}))));
    let lines: Vec<&str> = told.iter().filter_map(|told| told["log"]["message"].as_str()).collect();
    assert!(lines.last().is_some_and(|line| line.starts_with("pulled ")), "{told:?}");
    assert!(scene.pool.path("a").join("etc/hostname").exists());
    let failed = all(&mut client, &call("Pull"), &wanted("/none.tar", "b"))?;
    assert_eq!(failed.last(), Some(&json!("TransferFailed")));
    // One that another client cancels, and one that is under way already.
    server.put("/b.tar", Reply::bytes(data.clone()).stalls_after(data.len() / 2));
    client.send(&call("Pull"), &wanted("/b.tar", "b"), true)?;
    let id = client.reply()?.ok_or("nothing")?["parameters"]["id"].clone();
    let mut other = Client::connect_to(IMPORT)?;
    assert_eq!(other.call(&call("Pull"), wanted("/b.tar", "c"))?, Err("AlreadyInProgress".to_owned()));
    let listed = all(&mut other, &call("ListTransfers"), &json!({ "class": "machine" }))?;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["type"], &listed[0]["local"]),
        (&id, &json!("pull_tar"), &json!(scene.pool.name("b")))
    );
    assert_eq!(
        all(&mut other, &call("ListTransfers"), &json!({ "class": "sysext" }))?,
        [json!("NoTransfers")]
    );
    scene.machinectl(&["cancel-transfer", &id.to_string()]).ok()?;
    let end = loop {
        let reply = client.reply()?.ok_or("the connection is closed")?;
        if reply.get("continues") != Some(&Value::Bool(true)) {
            break reply["error"].clone();
        }
    };
    assert_eq!(end, json!("io.systemd.Import.TransferCancelled"));
    // Without more, only its number is said.
    let id = other.gives(&call("Pull"), wanted("/b.tar", "b"))?;
    assert_eq!(id.keys().collect::<Vec<_>>(), ["id"]);
    scene.machinectl(&["cancel-transfer", &id["id"].to_string()]).ok()?;
    let gone = |client: &mut Client| all(client, &call("ListTransfers"), &json!({}));
    while gone(&mut other)? != [json!("NoTransfers")] {}
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 1)?, ["a", "source"]);
    scene.over()
}
