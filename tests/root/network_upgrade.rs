//! Machines of an older version, from before network namespaces were told by their cookies, on a host whose spinney is newer: they are
//! seen, share a zone with new ones, and what they leave is removed. And what a newer version has written is not lost.

use std::fs;
use std::path::{Path, PathBuf};

use spinney::sys::network::NamespaceId;

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::{addresses, end, ip, once, ping, stays};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 4] = [
        ("older_machine_is_swept", older_machine_is_swept),
        ("older_and_newer_share_a_zone", older_and_newer_share_a_zone),
        ("unknown_resources_are_kept", unknown_resources_are_kept),
        ("namespaces_that_are_gone", namespaces_that_are_gone),
    ];
    rows.map(|(name, test)| Test::new(format!("network_upgrade::{name}"), test)).into()
}

const NETWORKS: &str = "/run/spinney/network";
const RULES: &str = "/run/spinney/network/rules";

fn ours() -> Result<NamespaceId, Stop> {
    NamespaceId::ours().map_err(|error| error.to_string().into())
}

/// Where both are kept, by the name of a namespace.
fn kept(name: &str) -> [PathBuf; 2] {
    [Path::new(NETWORKS).join(name), Path::new(RULES).join(name)]
}

fn journal(name: &str) -> PathBuf {
    Path::new("/run/spinney/machines").join(name).join("resources")
}

/// What is kept of this host under the name that a version before cookies gives it, until this is dropped: leases stay when all
/// else has gone.
struct Older(NamespaceId);

impl Older {
    /// Writes what there is of `machine` as such a version has it.
    fn make(machine: &Machine) -> Result<Self, Stop> {
        let id = ours()?;
        let older = Self(id);
        for (now, before) in older.names() {
            fs::rename(now, before)?;
        }
        let path = journal(&machine.name);
        let text = fs::read_to_string(&path)?;
        let cookie = format!("{{\"number\":{},\"cookie\":{}}}", id.number, id.cookie);
        assert!(text.contains(&cookie), "{text}");
        fs::write(path, text.replace(&cookie, &id.number.to_string()))?;
        let zone = ip(&["-o", "link", "show", "vz-lab"])?;
        assert!(zone.contains("alias spinney zone lab"), "{zone}");
        ip(&["link", "set", "vz-lab", "alias", ""])?;
        Ok(older)
    }

    fn names(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        kept(&self.0.to_string()).into_iter().zip(kept(&self.0.number.to_string()))
    }
}

impl Drop for Older {
    fn drop(&mut self) {
        self.names().for_each(|(now, before)| drop(fs::rename(before, now)));
    }
}

fn kill(machine: &mut Machine) -> TestResult {
    machine.signal(libc::SIGKILL);
    machine.wait()?;
    Ok(())
}

fn older_machine_is_swept(context: &Context) -> TestResult {
    let before = ip(&["-o", "link"])?;
    for next in [false, true] {
        let mut machine = stays(context, &["--network-zone=lab"])?;
        let _older = Older::make(&machine)?;
        kill(&mut machine)?;
        let cleared = match next {
            false => run(context.spinney().args(["gc"])),
            true => {
                let tree = context.tree("busybox")?;
                let line = ["run", "-q", "-x", "-M", &machine.name];
                run(context.spinney().args(line).arg(tree).args(["--", "true"]))
            }
        };
        assert_eq!(cleared.status, 0, "{cleared:#?}");
        assert_eq!(ip(&["-o", "link"])?, before);
        assert!(!journal(&machine.name).exists());
        let left: Vec<_> =
            kept(&ours()?.number.to_string()).into_iter().filter(|path| path.exists()).collect();
        // Leases of the zone are the host's.
        for path in left {
            let names: Vec<_> = fs::read_dir(path)?.flatten().map(|entry| entry.file_name()).collect();
            let is_of_leases =
                |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".json") || name == "lock";
            assert!(names.iter().all(is_of_leases), "{names:?}");
        }
    }
    Ok(())
}

fn older_and_newer_share_a_zone(context: &Context) -> TestResult {
    let older = stays(context, &["--network-zone=lab"])?;
    let _older = Older::make(&older)?;
    let newer = stays(context, &["--network-zone=lab"])?;
    let [address, _] = addresses(&older.name)?;
    ping(Some(&newer), &address)?;
    ping(Some(&newer), &older.name)?;
    assert!(kept(&ours()?.to_string()).iter().all(|path| !path.exists()), "kept in two places");
    let listed = run(context.spinney().args(["net", "--json"])).ok()?;
    assert!([&older, &newer].iter().all(|machine| listed.contains(&machine.name)), "{listed}");
    // The zone's bridge stays for whoever is left of them.
    end(newer)?;
    ping(None, &address)?;
    assert_eq!(once(context, &["--network-zone=lab"], "true")?.status, 0);
    ping(None, &address)?;
    end(older)
}

fn unknown_resources_are_kept(context: &Context) -> TestResult {
    let mut machine = stays(context, &["--network-zone=lab"])?;
    let (name, path) = (machine.name.clone(), journal(&machine.name));
    let line = "{\"teleport\":{\"to\":\"moon\"}}\n";
    fs::write(&path, fs::read_to_string(&path)? + line)?;
    kill(&mut machine)?;
    let why = "another version of spinney made what this one cannot undo: {\"teleport\":{\"to\":\"moon\"}}";
    let hint = format!(
        "\n  hint: run gc of that version; or undo it by hand, remove {} and run spinney gc\n",
        path.display()
    );
    let told = format!("spinney: error: cannot remove what {name} left: {why}{hint}");
    for _ in 0..2 {
        let collected = run(context.spinney().arg("gc"));
        assert_eq!((collected.status, &collected.stderr), (125, &told));
    }
    let tree = context.tree("busybox")?;
    let next =
        || run(context.spinney().args(["run", "-q", "-x", "-M", &name]).arg(&tree).args(["--", "true"]));
    let refused = next();
    let expected = format!(
        "spinney: error: what an earlier machine {name:?} left behind cannot be cleared: {why}{hint}"
    );
    assert_eq!((refused.status, refused.stderr), (125, expected));
    assert!(fs::read_to_string(&path)?.ends_with(line));
    // All that is known is undone.
    assert!(!ip(&["-o", "link"])?.contains("vz-lab"));
    fs::remove_file(&path)?;
    assert_eq!(next().status, 0);
    Ok(())
}

/// Of namespaces that nobody is in any more, of machines that have no journal.
fn namespaces_that_are_gone(context: &Context) -> TestResult {
    let id = "4026530000-1";
    let [network, rules] = kept(id);
    fs::create_dir_all(&network)?;
    fs::write(network.join("lab.json"), "{}")?;
    let machine = stays(context, &["--network-zone=lab"])?;
    for (path, machines) in
        [(&rules, vec!["nobody"]), (&kept("4026530001")[1], vec!["nobody", &machine.name])]
    {
        fs::create_dir_all(path.join("machines"))?;
        for file in ["generation", "opened", "lock", "watcher"] {
            fs::write(path.join(file), "")?;
        }
        for name in machines {
            fs::write(path.join("machines").join(name), "{}")?;
        }
    }
    let gc = || run(context.spinney().arg("gc"));
    assert_eq!(gc().status, 0);
    assert!(!network.exists() && !rules.exists());
    // What a journal has still to undo stays.
    let machines = kept("4026530001")[1].join("machines");
    let left: Vec<_> = fs::read_dir(&machines)?.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [machine.name.as_str()]);
    end(machine)?;
    assert_eq!(gc().status, 0);
    assert!(!machines.exists());
    Ok(())
}
