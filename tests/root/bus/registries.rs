//! `PullOci`: images of a registry, by systemd's interface.

use super::fixture::Bus;
use super::images::{Pool, Scene};
use crate::harness::{Context, Row, Test, TestResult};
use crate::oci::{Registry, Sample, auth_file};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 1] = [("pulled", pulled)];
    rows.map(|(name, test)| Test::new(format!("{}registries::{name}", super::TIER), test)).into()
}

const MANAGER: [&str; 3] =
    ["org.freedesktop.import1", "/org/freedesktop/import1", "org.freedesktop.import1.Manager"];

/// From Debian's docker-registry; what is wrong is a transfer that fails, as with all others.
fn pulled(context: &Context) -> TestResult {
    let sample = Sample::new(context, |_| {})?;
    let registry = Registry::start(context)?;
    registry.push(context, &sample, "1.0")?;
    let login = auth_file(context, &registry.address, "user:secret")?;
    let pool = Pool::new(context)?;
    let bus = Bus::start(context)?;
    let manager = bus.manager_with(&[], &[("REGISTRY_AUTH_FILE", &login.to_string_lossy())])?;
    let scene = Scene { bus, manager, pool };
    let mut signals = super::transfers::Signals::listen(&scene.bus)?;
    let mut pull = |tag: &str, name: &str, flags: &str| -> Result<(String, String), crate::harness::Stop> {
        let reference = format!("{}/team/web:{tag}", registry.address);
        let call = ["PullOci", "ssst", &reference, &scene.pool.name(name), "machine", flags];
        scene.bus.call(&[&MANAGER[..], &call].concat()).ok()?;
        let told = signals.until("TransferRemoved")?;
        let lines = told.iter().filter(|told| told.0 == "LogMessage").filter_map(|told| told.2[1].as_str());
        let outcome = told.last().and_then(|told| told.2[2].as_str()).unwrap_or_default().to_owned();
        Ok((outcome, lines.collect::<Vec<_>>().join("\n")))
    };
    // Read-only, which those of registries are in any case.
    for (name, flags) in [("plain", "0"), ("marked", "2")] {
        let (outcome, said) = pull("1.0", name, flags)?;
        assert_eq!(outcome, "done", "{said}");
        assert!(said.contains(&format!("pulled {}: ", scene.pool.name(name))), "{said}");
    }
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 3)?, ["marked mstack yes", "plain mstack yes"]);
    let (outcome, said) = pull("2.0", "other", "0")?;
    assert_eq!(outcome, "failed");
    assert!(said.contains("has no image"), "{said}");
    // It is there already, and replaced by who says so.
    let (outcome, said) = pull("1.0", "plain", "0")?;
    assert!(outcome == "failed" && said.contains("there is an image"), "{outcome}: {said}");
    assert_eq!(pull("1.0", "plain", "1")?.0, "done");
    scene.machinectl(&["remove", "@plain", "@marked"]).ok()?;
    assert!(scene.pool.entries().iter().all(|name| name.starts_with(".#")), "{:?}", scene.pool.entries());
    signals.stop();
    scene.over()
}
