//! What people look at: list, status, show, doctor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::command::{Ended, run};
use crate::detached::Detached;
use crate::harness::{Context, Row, Test, TestResult};
use crate::hundred::cpu_of_children;
use spinney::sys::process::start_time;

const NOBODY: u32 = 65534;

/// So many records are listed with so much processor time: in a build without optimisation, which takes twice of what the one
/// takes that `make bench` holds to 20 ms.
const RECORDS: usize = 500;
const ROUNDS: u32 = 10;
const LISTED_WITH: Duration = Duration::from_millis(60);

pub fn tests() -> Vec<Test> {
    let rows: [Row; 8] = [
        ("list", list),
        ("list_of_500_records", list_of_500_records),
        ("records_that_are_broken", records_that_are_broken),
        ("status", status),
        ("status_of_what_does_not_run", status_of_what_does_not_run),
        ("show", show),
        ("doctor", doctor),
        ("hostile_names", hostile_names),
    ];
    rows.map(|(name, test)| Test::new(format!("views::{name}"), test)).into()
}

fn spinney(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().args(arguments))
}

/// The same as a user of no rights.
fn as_nobody(context: &Context, arguments: &[&str]) -> Ended {
    run(context.spinney().args(arguments).uid(NOBODY).gid(NOBODY))
}

fn stdout_of(ended: Ended) -> Result<String, String> {
    match (ended.status, ended.stderr.as_str()) {
        (0, "") => Ok(ended.stdout),
        _ => Err(format!("{ended:#?}")),
    }
}

fn json_of(ended: Ended) -> Result<Value, String> {
    serde_json::from_str(&stdout_of(ended)?).map_err(|error| error.to_string())
}

/// The rows of a table that are about machines of this test, in words.
fn rows<'a>(context: &Context, text: &'a str) -> Vec<Vec<&'a str>> {
    let ours = text.lines().filter(|line| line.starts_with(&context.prefix));
    ours.map(|line| line.split_whitespace().collect()).collect()
}

fn list(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let own = Detached::start(context, &tree, &["--private-network"])?;
    let shared = Detached::start(context, &tree, &["--private-network=no", "--private-users=no"])?;
    own.says("ip address add 192.0.2.7/24 dev lo; ip address add 2001:db8::7/64 dev lo")?;
    for listed in [spinney(context, &["list"]), as_nobody(context, &["ls"])] {
        let text = stdout_of(listed)?;
        let first = text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        assert_eq!(first, ["NAME", "STATE", "OS", "INIT", "ADDRESSES", "SINCE"], "{text}");
        let rows = rows(context, &text);
        assert_eq!(rows.len(), 2, "{text}");
        assert_eq!((rows[0][0], rows[0][1]), (own.name.as_str(), "ready"));
        assert!(rows[0].windows(2).any(|words| words == ["192.0.2.7", "+1"]), "{text}");
        assert_eq!(rows[1][0], shared.name);
        assert!(rows[1].contains(&"-"), "the host's addresses are not the machine's: {text}");
        assert!(text.contains(" listed.\n"), "{text}");
    }
    let bare = stdout_of(spinney(context, &["list", "--no-legend"]))?;
    assert!(bare.lines().all(|line| line.contains("ready")), "{bare}");
    let names = stdout_of(spinney(context, &["list", "-q"]))?;
    assert!(names.contains(&format!("{}\n{}\n", own.name, shared.name)), "{names}");
    for format in [&["--json"] as &[&str], &["-o", "json"]] {
        let listed = json_of(spinney(context, &[&["list"], format].concat()))?;
        let machine =
            listed.as_array().and_then(|all| all.iter().find(|one| one["name"] == own.name.as_str()));
        let machine = machine.ok_or("not listed")?;
        assert_eq!(machine["class"], "container");
        assert_eq!(machine["service"], "spinney");
        assert_eq!(machine["state"], "ready");
        assert_eq!(machine["leader"], own.state()?.leader);
        assert_eq!(machine["addresses"], json!(["192.0.2.7", "2001:db8::7"]));
    }
    own.stop()?;
    shared.stop()?;
    let after = stdout_of(spinney(context, &["list", "-q"]))?;
    assert!(!after.contains(&context.prefix), "{after}");
    Ok(())
}

/// A directory in the registry, which goes with this.
struct FakeRecord(PathBuf);

impl FakeRecord {
    fn new(name: &str) -> Self {
        let path = Path::new("/run/spinney/machines").join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        Self(path)
    }

    fn with_state(name: &str, state: impl AsRef<[u8]>) -> Self {
        let record = Self::new(name);
        fs::write(record.0.join("state"), state).unwrap();
        record
    }
}

impl Drop for FakeRecord {
    fn drop(&mut self) {
        if self.0.is_dir() {
            let _ = fs::remove_dir_all(&self.0);
        } else {
            let _ = fs::remove_file(&self.0);
        }
        for above in self.0.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(above);
        }
    }
}

/// The state of a machine whose supervisor and leader are this very process.
fn state_of_ours(name: &str) -> Value {
    let pid = std::process::id().cast_signed();
    let started = start_time(pid).unwrap();
    json!({
        "name": name, "phase": "ready", "leader": pid, "leader-started": started, "supervisor": pid,
        "supervisor-started": started, "tree": "/var/lib/machines/debian", "ephemeral": true, "background": true,
        "uuid": "0c1d2e3f-0000-4000-8000-000000000000", "started-at": 1_795_322_354_000_000_u64,
        "ready-at": 1_795_322_354_312_000_u64, "init": "systemd 252", "os": "Debian GNU/Linux 12 (bookworm)",
        "id-base": 655_360, "id-size": 65536, "cgroup": format!("/spinney/{name}/payload"), "boots": 1, "status": null
    })
}

fn list_of_500_records(context: &Context) -> TestResult {
    let names: Vec<String> = (0..RECORDS).map(|_| context.machine_name()).collect();
    let _records: Vec<FakeRecord> =
        names.iter().map(|name| FakeRecord::with_state(name, state_of_ours(name).to_string())).collect();
    let (mut best, before) = (Duration::MAX, cpu_of_children());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let listed = spinney(context, &["list"]);
        best = best.min(started.elapsed());
        assert_eq!(rows(context, &stdout_of(listed)?).len(), RECORDS);
    }
    let each = (cpu_of_children() - before) / ROUNDS;
    println!("# {RECORDS} records listed in {best:?} at best, with {each:?} of processor time");
    assert!(each <= LISTED_WITH, "{each:?}");
    Ok(())
}

/// Whatever lies in the registry, the machines are listed, and what cannot be read is told.
fn records_that_are_broken(context: &Context) -> TestResult {
    let name = |suffix: &str| format!("{}-{suffix}", context.prefix);
    let mut half = state_of_ours(&name("half")).to_string();
    half.truncate(half.len() / 2);
    let mut foreign = state_of_ours(&name("foreign"));
    foreign.as_object_mut().unwrap().remove("phase");
    let mut dead = state_of_ours(&name("dead"));
    dead["supervisor-started"] = json!(1);
    let mut odd = state_of_ours(&name("odd"));
    odd["leader"] = json!(-1);
    odd["cgroup"] = json!("/../../../etc");
    odd["os"] = json!("\u{1b}[31mred\u{202e}");
    let good = name("good");
    let _records = [
        FakeRecord::with_state(&good, state_of_ours(&good).to_string()),
        FakeRecord::with_state(&name("half"), half),
        FakeRecord::with_state(&name("foreign"), foreign.to_string()),
        FakeRecord::with_state(&name("binary"), [0xff, 0, 0xfe]),
        FakeRecord::with_state(&name("huge"), vec![b' '; 8 << 20]),
        FakeRecord::with_state(&name("dead"), dead.to_string()),
        FakeRecord::with_state(&name("odd"), odd.to_string()),
        FakeRecord::new(&name("empty")),
        FakeRecord::new("not a name"),
    ];
    let file = FakeRecord(Path::new("/run/spinney/machines").join(name("file")));
    fs::write(&file.0, "a file\n")?;
    let looped = FakeRecord::new(&name("loop"));
    std::os::unix::fs::symlink("state", looped.0.join("state"))?;

    for (listed, nobody) in [(spinney(context, &["list"]), false), (as_nobody(context, &["list"]), true)] {
        assert_eq!(listed.status, 0, "{listed:#?}");
        let rows: Vec<(&str, &str)> =
            rows(context, &listed.stdout).iter().map(|row| (row[0], row[1])).collect();
        let (good, odd, empty) = (name("good"), name("odd"), name("empty"));
        let mut expected = vec![(good.as_str(), "ready"), (odd.as_str(), "ready")];
        if nobody {
            // Only root can see that nobody has it locked.
            expected.insert(0, (&empty, "starting"));
        }
        assert_eq!(rows, expected, "{listed:#?}");
        assert!(!listed.stdout.contains(['\u{1b}', '\u{202e}']), "{listed:?}");
        for broken in ["half", "foreign", "binary", "huge", "file", "loop"] {
            let told = format!("warning: what is known of machine {:?} cannot be read: ", name(broken));
            assert_eq!(listed.stderr.matches(&told).count(), 1, "{told}: {listed:#?}");
        }
        assert_eq!(listed.stderr.lines().count(), 6, "{listed:#?}");
        let killed = if nobody { "1 machine was killed: " } else { "2 machines were killed: " };
        assert!(listed.stdout.contains(killed), "{listed:#?}");
    }
    let all = spinney(context, &["list", "--all", "--no-legend"]);
    let dead: Vec<&str> = all.stdout.lines().filter(|line| line.contains(" dead ")).collect();
    assert_eq!(dead.len(), 2, "{all:#?}");
    // The other views take it as well.
    let odd = spinney(context, &["status", &name("odd")]);
    assert_eq!((odd.status, odd.stderr.as_str()), (0, ""), "{odd:#?}");
    let half = spinney(context, &["status", &name("half")]);
    assert_eq!(half.status, 125, "{half:#?}");
    Ok(())
}

fn status(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let machine = Detached::start(context, &tree, &["--private-network", "--set-credential=secret:hunter2"])?;
    let state = machine.state()?;
    // Far enough back for what it said before it was ready.
    let arguments = ["status", "-n", "100", &machine.name];
    let root = stdout_of(spinney(context, &arguments))?;
    let nobody = stdout_of(as_nobody(context, &arguments))?;
    for text in [&root, &nobody] {
        for part in [
            format!("● {} - Debian GNU/Linux 13 (trixie)\n     State: ready since ", machine.name),
            format!("    Leader: {}, supervisor {}\n", state.leader, state.supervisor),
            "      Init: systemd 257".to_owned(),
            format!("      Tree: {} (ephemeral)\n", tree.display()),
            format!("     Users: {} to {} of the host\n", state.id_base, state.id_base + 65535),
            format!("    CGroup: /spinney/{}/payload\n            ├─init.scope\n", machine.name),
            format!("{} systemd (leader)\n", state.leader),
            "├─systemd-journald.service\n".to_owned(),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
    // What the console said is root's.
    let said = "Reached target basic.target";
    assert!(root.contains("\n\n") && root.contains(said), "{root}");
    assert!(!nobody.contains("\n\n") && !nobody.contains(said), "{nobody}");
    let object = json_of(spinney(context, &["status", "--json", "-n", "2", &machine.name]))?;
    assert_eq!(object["name"], machine.name.as_str());
    assert_eq!(object["phase"], "ready");
    assert_eq!(object["paused"], false);
    assert_eq!(object["console"].as_array().map(Vec::len), Some(2), "{object:#}");
    assert_eq!(object["processes"]["root"]["children"][0]["name"], "init.scope", "{object:#}");
    assert_eq!(json_of(as_nobody(context, &["status", "--json", &machine.name]))?["console"], Value::Null);
    machine.stop()?;
    Ok(())
}

fn status_of_what_does_not_run(context: &Context) -> TestResult {
    let name = context.machine_name();
    let absent = spinney(context, &["status", &name]);
    assert_eq!((absent.status, absent.stdout.as_str()), (4, ""), "{absent:#?}");
    assert!(absent.stderr.contains(&format!("no machine {name:?}")), "{absent:#?}");
    let bad = spinney(context, &["status", "-x/"]);
    assert_eq!(bad.status, 125, "{bad:#?}");

    let image = Path::new("/var/lib/machines").join(&name);
    let had_images = Path::new("/var/lib/machines").exists();
    fs::create_dir_all(&image)?;
    let stopped = spinney(context, &["status", &name]);
    let json = spinney(context, &["status", "--json", &name]);
    let list = spinney(context, &["list"]);
    let all = spinney(context, &["list", "--all"]);
    fs::remove_dir(&image)?;
    if !had_images {
        fs::remove_dir("/var/lib/machines")?;
    }
    assert_eq!((stopped.status, stopped.stderr.as_str()), (3, ""), "{stopped:#?}");
    assert!(stopped.stdout.starts_with(&format!("○ {name}\n     State: stopped")), "{stopped:#?}");
    assert_eq!(json.status, 3, "{json:#?}");
    assert!(rows(context, &stdout_of(list)?).is_empty());
    assert_eq!(rows(context, &stdout_of(all)?), [[&name, "stopped", "-", "-", "-", "-"]]);

    let machine = Detached::start_as(context, &name, &context.tree("busybox")?, &[], &[])?;
    machine.signal(libc::SIGKILL);
    assert!(machine.ended(Duration::from_secs(10)));
    let dead = spinney(context, &["status", &name]);
    assert_eq!(dead.status, 3, "{dead:#?}");
    assert!(dead.stdout.contains("spinney gc"), "{dead:#?}");
    // Several: the first that does not run counts, and all are told.
    let both = spinney(context, &["status", &name, "absent-one"]);
    assert_eq!(both.status, 3, "{both:#?}");
    assert!(both.stderr.contains("\"absent-one\""), "{both:#?}");
    let sick = spinney(context, &["doctor", "--quiet"]);
    assert!(sick.stdout.contains(&format!("killed supervisors left things behind: {name}")), "{sick:#?}");
    assert_eq!(spinney(context, &["gc"]).status, 0);
    let well = spinney(context, &["doctor", "--quiet"]);
    assert!(!well.stdout.contains(&name), "{well:#?}");
    Ok(())
}

fn show(context: &Context) -> TestResult {
    let machine = Detached::start(context, &context.tree("busybox")?, &["--private-network"])?;
    let name = machine.name.as_str();
    let state = machine.state()?;
    for all in [spinney(context, &["show", name]), as_nobody(context, &["show", name])] {
        let text = stdout_of(all)?;
        for line in [
            format!("Name={name}"),
            format!("Id={}", state.uuid.replace('-', "")),
            "Service=spinney".to_owned(),
            "Class=container".to_owned(),
            format!("Leader={}", state.leader),
            format!("Supervisor={}", state.supervisor),
            "State=running".to_owned(),
            format!("UIDShift={}", state.id_base),
        ] {
            assert!(text.lines().any(|has| has == line), "{line}: {text}");
        }
        assert!(!text.contains("Addresses="), "an empty property: {text}");
    }
    let rows: [(&[&str], String); 6] = [
        (&["-p", "State", "-p", "Class"], "Class=container\nState=running\n".to_owned()),
        (&["--property=Name,Addresses"], format!("Name={name}\nAddresses=\n")),
        (&["-p", "Leader", "--value"], format!("{}\n", state.leader)),
        (&["-P", "Phase"], "ready\n".to_owned()),
        (&["-p", "Name", "--json"], format!("[{{\"Name\":\"{name}\"}}]\n")),
        (&["-p", "Leader", "--json"], format!("[{{\"Leader\":{}}}]\n", state.leader)),
    ];
    for (options, expected) in rows {
        let shown = stdout_of(spinney(context, &[&["show", name], options].concat()))?;
        assert_eq!(shown, expected, "{options:?}");
    }
    let all = stdout_of(spinney(context, &["show", "--all", name]))?;
    assert!(all.lines().any(|line| line == "Addresses="), "{all}");
    let unknown = spinney(context, &["show", name, "-p", "Leadr"]);
    assert_eq!(
        (unknown.status, unknown.stdout.as_str(), unknown.stderr.as_str()),
        (125, "", "spinney: error: there is no property \"Leadr\"\n  hint: did you mean Leader?\n")
    );
    let absent = spinney(context, &["show", "absent-one", name, "-P", "Name"]);
    assert_eq!((absent.status, absent.stdout), (125, format!("{name}\n")));
    machine.stop()?;
    Ok(())
}

/// The host of the tests is one on which machines run; a machine that is stopped by a signal is not well.
fn doctor(context: &Context) -> TestResult {
    let host = json_of(spinney(context, &["doctor", "--json"]))?;
    let findings = host[0]["findings"].as_array().ok_or("no findings")?;
    let problems: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] == "problem").collect();
    assert!(problems.is_empty(), "{problems:#?}");
    for check in [
        "kernel",
        "cgroups",
        "user-namespaces",
        "idmapped-mounts",
        "inotify",
        "overlayfs",
        "room",
        "leavings",
    ] {
        assert!(findings.iter().any(|finding| finding["check"] == check), "{check}: {findings:#?}");
    }
    let nobody = as_nobody(context, &["doctor"]);
    assert_eq!(nobody.status, 0, "{nobody:#?}");
    assert!(nobody.stdout.contains("not run as root"), "{nobody:#?}");

    let machine = Detached::start(context, &context.tree("busybox")?, &[])?;
    let well = spinney(context, &["doctor", &machine.name]);
    assert_eq!(well.status, 0, "{well:#?}");
    assert!(well.stdout.ends_with("All is well.\n"), "{well:#?}");
    let leader = machine.state()?.leader;
    let signal =
        |signal| rustix::process::kill_process(rustix::process::Pid::from_raw(leader).unwrap(), signal);
    signal(rustix::process::Signal::STOP)?;
    let stopped = spinney(context, &["doctor", "-q", &machine.name]);
    signal(rustix::process::Signal::CONT)?;
    assert_eq!(stopped.status, 1, "{stopped:#?}");
    assert!(stopped.stdout.contains("its PID 1 is stopped (SIGSTOP)"), "{stopped:#?}");
    let absent = spinney(context, &["doctor", "absent-one"]);
    assert_eq!(absent.status, 125, "{absent:#?}");
    machine.stop()?;
    Ok(())
}

/// A guest calls its processes and cgroups what it likes: nothing of it steers the terminal.
fn hostile_names(context: &Context) -> TestResult {
    let script = r#"
        below="/sys/fs/cgroup/$(printf '\033]0;title\007in')"
        mkdir "$below" && echo $$ > "$below/cgroup.procs"
        printf '\033[2Jgone\n\302\233m\n' > /dev/console
        # busybox goes by any name that begins with its own.
        cp /bin/busybox "/tmp/busybox$(printf '\033[31mred')" && exec /tmp/busybox*red sleep 1000"#;
    let name = context.machine_name();
    let machine =
        Detached::start_as(context, &name, &context.tree("busybox")?, &[], &["--", "sh", "-c", script])?;
    let deadline = Instant::now() + crate::command::PATIENCE;
    loop {
        let shown = stdout_of(spinney(context, &["status", "--full", &machine.name]))?;
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{shown:?}");
        if shown.contains(" busyboxred\n") && shown.contains("gone\n") && shown.contains("─in\n") {
            break;
        }
        assert!(Instant::now() < deadline, "{shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
    machine.stop()?;
    Ok(())
}
