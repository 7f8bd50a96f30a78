//! Settings files: a machine really runs with them, whichever way it is started, and wrong ones start nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::payload::own_busybox;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 10] = [
        ("every_layer_is_in_force", every_layer_is_in_force),
        ("override_and_no", override_and_no),
        ("trust", trust),
        ("start_by_name", start_by_name),
        ("one_wrong_file_of_many", one_wrong_file_of_many),
        ("wrong_files_start_nothing", wrong_files_start_nothing),
        ("explain_of_a_tree", explain_of_a_tree),
        ("explain_of_a_machine", explain_of_a_machine),
        ("explain_hides_secrets", explain_hides_secrets),
        ("explain_of_nothing", explain_of_nothing),
    ];
    rows.map(|(name, test)| Test::new(format!("settings::{name}"), test)).into()
}

/// Files of a test below /etc and /run, which go with it, and so do the directories that it had to make.
struct Etc {
    made: Vec<PathBuf>,
}

impl Etc {
    fn new(context: &Context) -> Result<Self, Stop> {
        if context.on_host {
            return Err(Stop::Skip(
                "writes settings of all machines, and this is a real host's /etc".to_owned(),
            ));
        }
        Ok(Self { made: Vec::new() })
    }

    fn write(&mut self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = PathBuf::from(path);
        let missing: Vec<PathBuf> =
            path.ancestors().skip(1).take_while(|parent| !parent.exists()).map(Path::to_owned).collect();
        for parent in missing.into_iter().rev() {
            fs::create_dir(&parent).unwrap();
            self.made.push(parent);
        }
        if !path.exists() {
            self.made.push(path.clone());
        }
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// A busybox tree called after the machine, with nothing beside it yet.
fn tree(context: &Context) -> Result<(String, PathBuf), Stop> {
    let name = context.machine_name();
    let tree = context.directory.join(&name);
    fs::rename(own_busybox(context)?, &tree)?;
    Ok((name, tree))
}

/// `spinney run` of a shell command in `tree`, its stdout and its exit status; it ends in success or says why.
fn says(context: &Context, options: &[&str], tree: &Path, script: &str) -> Result<(String, String), Stop> {
    let mut command = context.spinney();
    let ended = run(command.arg("run").args(options).arg(tree).args(["--", "/bin/sh", "-c", script]));
    match ended {
        Ended { status: 0, stdout, stderr } => Ok((stdout, stderr)),
        other => Err(Stop::Fail(format!("{other:#?}"))),
    }
}

/// Warnings of settings: all but what this host lacks.
fn warnings(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.contains("warning: ") && !line.contains("this process lacks")).collect()
}

/// Built-in, spinney.toml, .nspawn beside the tree, the machine's file, a drop-in, an option: a value of each, and the list
/// that all add to.
fn every_layer_is_in_force(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (name, tree) = tree(context)?;
    etc.write(
        "/etc/spinney/spinney.toml",
        "[execution]\nsetenv = ['FROM=defaults', 'A=defaults']\nchdir = '/usr'\n[machine]\nephemeral = true\n",
    );
    fs::write(
        tree.with_extension("nspawn"),
        "[Exec]\nEnvironment=FROM=image B=image\nHostname=from-image\n",
    )?;
    etc.write(
        &format!("/etc/spinney/machines/{name}.toml"),
        "[execution]\nsetenv = { FROM = 'machine', C = 'machine' }\n[files]\ntmpfs = ['/mnt:size=1M']\n",
    );
    etc.write(
        &format!("/etc/spinney/machines/{name}.toml.d/1.toml"),
        "[resources]\noom-score-adjust = 321\n",
    );
    let script = "echo $FROM $A $B $C; pwd; hostname; grep -c ' /mnt tmpfs ' /proc/mounts; cat /proc/self/oom_score_adj; \
                  touch /left";
    let (said, stderr) = says(context, &["-E", "FROM=option"], &tree, script)?;
    assert_eq!(said, "option defaults image machine\n/usr\nfrom-image\n1\n321\n");
    assert_eq!(warnings(&stderr), [""; 0]);
    assert!(!tree.join("left").exists(), "not ephemeral");
    // A name of its own makes it another machine, of the same image.
    let other = context.machine_name();
    let (said, _) = says(context, &["-M", &other], &tree, "echo $FROM $A $B $C; hostname")?;
    assert_eq!(said, "image defaults image\nfrom-image\n");
    Ok(())
}

fn override_and_no(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (name, tree) = tree(context)?;
    etc.write(&format!("/run/systemd/nspawn/{name}.nspawn"), "[Exec]\nHostname=from-file\nEphemeral=yes\n");
    let hostname = |options: &[&str]| {
        let options = [&["-x", "--hostname=from-option"], options].concat();
        says(context, &options, &tree, "hostname").map(|(said, _)| said)
    };
    assert_eq!(hostname(&[])?, "from-option\n");
    assert_eq!(hostname(&["--settings=override"])?, "from-file\n");
    assert_eq!(hostname(&["--settings=no"])?, "from-option\n");
    assert_eq!(says(context, &["-x", "--settings=no"], &tree, "hostname")?.0, format!("{name}\n"));
    Ok(())
}

fn trust(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (name, tree) = tree(context)?;
    let text = "[Exec]\nCapability=CAP_SYS_TIME\nNoNewPrivileges=yes\n[Files]\nBind=/etc:/mnt\n[Network]\nPrivate=no\n";
    let file = tree.with_extension("nspawn");
    fs::write(&file, text)?;
    let script = "ls /mnt | wc -l; ls /sys/class/net | wc -l; grep NoNewPrivs /proc/self/status";
    let (said, stderr) = says(context, &["-x"], &tree, script)?;
    assert_eq!(said, "0\n1\nNoNewPrivs:\t1\n");
    assert_eq!(
        warnings(&stderr),
        [format!(
            "spinney: warning: {} is not trusted: Capability= (line 2), Bind= (line 5), Private= (line 7) ignored \
             (--settings=trusted believes all of it)",
            file.display()
        )]
    );
    let bound = |said: &str| said.lines().next().is_some_and(|count| count != "0");
    let (said, stderr) = says(context, &["-x", "--settings=trusted"], &tree, script)?;
    assert!(bound(&said), "{said}");
    assert_eq!(warnings(&stderr), [""; 0]);
    etc.write(&format!("/etc/systemd/nspawn/{name}.nspawn"), text);
    assert!(bound(&says(context, &["-x"], &tree, script)?.0));
    Ok(())
}

/// `spinney start` and `run --detach` have the same settings, and a file can say where the tree is.
fn start_by_name(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (tree_name, tree) = tree(context)?;
    let name = context.machine_name();
    let file = etc.write(
        &format!("/etc/spinney/machines/{name}.toml"),
        format!(
            "[machine]\ndirectory = '{}'\nephemeral = true\nhostname = 'from-file'\n[console]\nmode = 'pipe'\n",
            tree.display()
        ),
    );
    fs::write(tree.with_extension("nspawn"), "[Exec]\nEnvironment=OF=image\n")?;
    let machine = |verb: &[&str]| run(context.spinney().args(verb));
    machine(&["start", "-q", &name]).ok()?;
    let said = machine(&["exec", &name, "--", "/bin/sh", "-c", "hostname; cat /proc/1/environ"]).ok()?;
    let explained: Value = serde_json::from_str(&machine(&["explain", "--json", &name]).ok()?)?;
    machine(&["terminate", &name]).ok()?;
    assert!(said.starts_with("from-file\n") && said.contains("OF=image"), "{said}");
    assert_eq!(entry(&explained, "machine.directory")["file"], file.to_str().unwrap());
    assert_eq!(entry(&explained, "console.mode")["value"], "passive");
    machine(&["run", "-q", "-d", "-x", "-M", &name, tree.to_str().unwrap()]).ok()?;
    let said = machine(&["exec", &name, "--", "hostname"]).ok()?;
    machine(&["terminate", &name]).ok()?;
    assert_eq!(said, "from-file\n");
    let said =
        machine(&["run", "--console=pipe", "-q", &name, "--", "/bin/sh", "-c", "hostname; echo $OF"]).ok()?;
    assert_eq!(said, "from-file\nimage\n");
    assert_ne!(name, tree_name);
    Ok(())
}

/// A slip in the file of one machine keeps it, and who requires it, from being started; not the others.
fn one_wrong_file_of_many(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (_, tree) = tree(context)?;
    let [good, bad, needy] = [context.machine_name(), context.machine_name(), context.machine_name()];
    let directory = format!("[machine]\ndirectory = '{}'\nephemeral = true\n", tree.display());
    etc.write(
        &format!("/etc/spinney/machines/{good}.toml"),
        format!("{directory}[autostart]\nenabled = true\n"),
    );
    etc.write(&format!("/etc/spinney/machines/{bad}.toml"), "[autostart]\nenabled = true\ndelay = 'soon'\n");
    let requires = format!("{directory}[autostart]\nenabled = true\nrequires = ['{bad}']\n");
    etc.write(&format!("/etc/spinney/machines/{needy}.toml"), requires);
    let ended = run(context.spinney().args(["start", "--all-enabled", "--json"]));
    let reports: Value = serde_json::from_str(&ended.stdout)?;
    run(context.spinney().args(["terminate", &good])).ok()?;
    let result = |name: &str| {
        let mut reports = reports.as_array().into_iter().flatten().filter(|report| report["name"] == name);
        reports.next().map(|report| report["result"].clone())
    };
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert_eq!(result(&good), Some("ready".into()), "{ended:#?}");
    assert_eq!((result(&bad), result(&needy)), (Some("failed".into()), Some("skipped".into())), "{ended:#?}");
    assert!(
        ended.stderr.contains(&format!("/etc/spinney/machines/{bad}.toml:3: delay: \"soon\"")),
        "{ended:#?}"
    );
    Ok(())
}

/// What a file says => what is told of it.
const WRONG: &[(&str, &[u8], &str, &str)] = &[
    (
        "/etc/spinney/spinney.toml",
        b"[execution]\nuesr = 'x'\n",
        ":2: \"uesr\": unknown key in [execution]",
        "did you mean user?",
    ),
    (
        "/etc/spinney/spinney.toml",
        b"[files]\nvolatile = 'some'\n",
        ":2: volatile: \"some\" is not known",
        "one of: no, yes, state, overlay",
    ),
    (
        "/etc/spinney/machines/NAME.toml",
        b"[machine]\nhostname = 5\n",
        ":2: hostname: an integer is not what it takes",
        "hostname takes: string",
    ),
    ("/etc/spinney/machines/NAME.toml.d/a.toml", b"[machine\n", ":1: ", "a setting is NAME = VALUE"),
    (
        "/etc/systemd/nspawn/NAME.nspawn",
        b"[Exec]\nKillSignal=SIGNOPE\n",
        ":2: KillSignal: \"SIGNOPE\" is not a signal",
        "a name such as SIGTERM",
    ),
    (
        "/run/systemd/nspawn/NAME.nspawn",
        b"[Exec]\nHostname=\xff\n",
        ": it is not UTF-8 on line 2",
        "settings files are UTF-8 texts",
    ),
];

/// One line with the place, a hint, status 125, and no machine: by run, run --detach, start, and explain.
fn wrong_files_start_nothing(context: &Context) -> TestResult {
    for (path, text, problem, hint) in WRONG {
        let mut etc = Etc::new(context)?;
        let name = context.machine_name();
        let path = path.replace("NAME", &name);
        etc.write(&path, text);
        // An image, which start finds by its name.
        let file = etc.write(&format!("/var/lib/machines/{name}/tree"), "");
        let tree_text = file.parent().and_then(Path::to_str).unwrap();
        for verb in [
            &["run", "-M", &name, tree_text] as &[&str],
            &["run", "-d", "-M", &name, tree_text],
            &["start", &name],
            &["explain", &name],
        ] {
            let ended = run(context.spinney().args(verb));
            let lines: Vec<&str> = ended.stderr.lines().collect();
            let [error, told] = lines[..] else { return Err(Stop::Fail(format!("{verb:?}: {ended:#?}"))) };
            assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{verb:?}: {ended:#?}");
            assert!(
                error.starts_with("spinney: error: ") && error.contains(&format!("{path}{problem}")),
                "{error}"
            );
            assert!(told.starts_with(&format!("  hint: {hint}")), "{told}");
            assert!(!Path::new("/run/spinney/machines").join(&name).exists(), "{verb:?} left something");
        }
    }
    Ok(())
}

/// The first value of a setting in an explanation.
fn entry<'a>(explained: &'a Value, setting: &str) -> &'a Value {
    let all = explained["settings"].as_array().into_iter().flatten();
    all.into_iter().find(|entry| entry["setting"] == setting).unwrap_or(&Value::Null)
}

fn explain_of_a_tree(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (name, tree) = tree(context)?;
    let file = etc.write("/etc/spinney/spinney.toml", "\n[execution]\nkill-signal = 'TERM'\n");
    let tree = tree.to_str().unwrap();
    let lines = [
        &["explain", "--json", tree] as &[&str],
        &["run", "--explain=json", tree],
        &["run", "--explain=json", "--kill-signal=INT", tree],
    ];
    for (index, line) in lines.iter().enumerate() {
        let explained: Value = serde_json::from_str(&run(context.spinney().args(*line)).ok()?)?;
        assert_eq!((&explained["machine"], &explained["running"]), (&name.as_str().into(), &false.into()));
        assert_eq!(explained["plan"]["name"], name.as_str());
        let signal = entry(&explained, "execution.kill-signal");
        match index {
            2 => assert_eq!((&signal["value"], &signal["option"]), (&"INT".into(), &"--kill-signal=".into())),
            _ => assert_eq!(
                (&signal["value"], &signal["file"], &signal["line"]),
                (&"TERM".into(), &file.to_str().unwrap().into(), &3.into())
            ),
        }
        assert_eq!(entry(&explained, "execution.boot-clock")["source"], "built-in");
    }
    let text = run(context.spinney().args(["explain", tree])).ok()?;
    let line = text.lines().find(|line| line.starts_with("execution.kill-signal ")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["execution.kill-signal", "TERM", "/etc/spinney/spinney.toml:3"]);
    assert!(text.contains("\nPLAN\n"), "{text}");
    Ok(())
}

/// A running machine is explained as it was started, and what has changed since is marked.
fn explain_of_a_machine(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (name, tree) = tree(context)?;
    let path = format!("/etc/spinney/machines/{name}.toml");
    etc.write(&path, "[machine]\nhostname = 'before'\n");
    run(context.spinney().args(["run", "-q", "-d", "-x", "--setenv=A=b"]).arg(&tree)).ok()?;
    let explain = || -> Result<Value, Stop> {
        Ok(serde_json::from_str(&run(context.spinney().args(["explain", "--json", &name])).ok()?)?)
    };
    let before = explain()?;
    etc.write(&path, "[machine]\nhostname = 'another'\n");
    let drop_in = format!("{path}.d/new.toml");
    etc.write(&drop_in, "this is [no TOML");
    let after = explain()?;
    let text = run(context.spinney().args(["explain", &name])).ok()?;
    let mut nobody = Command::new(crate::harness::program());
    let denied = run(nobody.args(["explain", &name]).uid(65534).gid(65534));
    run(context.spinney().args(["terminate", &name])).ok()?;

    let state = |explained: &Value, path: &str| -> Option<String> {
        let mut files = explained["files"].as_array()?.iter();
        Some(files.find(|file| file["path"] == path)?["state"].as_str()?.to_owned())
    };
    assert_eq!((&before["running"], &after["running"]), (&true.into(), &true.into()));
    assert_eq!(entry(&before, "machine.hostname")["value"], "before");
    assert_eq!(entry(&after, "machine.hostname"), entry(&before, "machine.hostname"));
    assert_eq!(entry(&after, "execution.setenv")["option"], "--setenv=");
    assert_eq!(after["plan"]["hostname"], "before");
    assert_eq!(state(&before, &path).as_deref(), Some("read"));
    assert_eq!(state(&after, &path).as_deref(), Some("changed"));
    assert_eq!((state(&before, &drop_in), state(&after, &drop_in).as_deref()), (None, Some("new")));
    assert!(text.contains(&format!("{path}:2 (changed since)")), "{text}");
    assert_eq!(denied.status, 125, "{denied:#?}");
    assert!(denied.stderr.contains("permission denied: only root may explain machine"), "{denied:#?}");
    Ok(())
}

fn explain_hides_secrets(context: &Context) -> TestResult {
    let mut etc = Etc::new(context)?;
    let (name, tree) = tree(context)?;
    etc.write(
        &format!("/etc/spinney/machines/{name}.toml"),
        "[execution]\nsetenv = { TOKEN = 'geheim' }\n[credentials]\nset-credential = { password = 'schluessel' }\n",
    );
    let tree = tree.to_str().unwrap();
    let all = run(context.spinney().args(["explain", tree])).ok()?;
    assert!(all.contains("TOKEN=geheim") && !all.contains("schluessel"), "{all}");
    // The tree is in a directory that may not be looked into: settings are told all the same.
    let mut nobody = Command::new(crate::harness::program());
    let few = run(nobody.args(["explain", tree]).uid(65534).gid(65534));
    assert!(few.stdout.contains("TOKEN=(hidden)") && few.stdout.contains("password:(hidden)"), "{few:#?}");
    assert!(!few.stdout.contains("geheim") && !few.stderr.contains("geheim"), "{few:#?}");
    // And in a running machine nobody but root may look.
    run(context.spinney().args(["run", "-q", "-d", "-x", tree])).ok()?;
    let mode = fs::metadata(format!("/run/spinney/machines/{name}/in-force"));
    run(context.spinney().args(["terminate", &name])).ok()?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode?.permissions()) & 0o7777, 0o600);
    Ok(())
}

fn explain_of_nothing(context: &Context) -> TestResult {
    let name = context.machine_name();
    for (words, problem) in [
        (&["explain", &name] as &[&str], format!("no image \"{name}\"")),
        (&["explain", "/no/such/tree"], "tree /no/such/tree does not exist".to_owned()),
        (&["explain", "-"], "gives no machine name".to_owned()),
    ] {
        let ended = run(context.spinney().args(words));
        assert_eq!(ended.status, 125, "{words:?}: {ended:#?}");
        let error = ended.stderr.lines().next().unwrap_or_default();
        assert!(error.starts_with("spinney: error: ") && error.contains(&problem), "{words:?}: {ended:#?}");
        assert!(ended.stderr.lines().any(|line| line.starts_with("  hint: ")), "{words:?}: {ended:#?}");
    }
    Ok(())
}
