//! What `make install`, `make deb` and `make rpm` make, and what becomes of a host on which the package is installed.
//!
//! The hosts are machines of ours: a Debian with systemd as PID 1, on which the package's Spinney runs machines in turn. They
//! have no user namespace of their own, in which a machine of theirs could have none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Ended, run};
use crate::detached::Detached;
use crate::exec::exec;
use crate::harness::{Context, Stop, Test, TestResult, program};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("packages::installed-files", installed_files),
        Test::new("packages::deb", deb),
        Test::new("packages::rpm", rpm),
        Test::new("packages::manual-pages", manual_pages),
        Test::new("packages::another-root", another_root),
    ];
    for tree in ["debian-12", "debian-13"] {
        tests.push(Test::new(format!("packages::{tree}"), move |context| on_a_host(context, tree)));
    }
    tests
}

/// The checkout that the packages are made of; in a VM there is none.
fn checkout() -> Result<PathBuf, Stop> {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    match top.join("packaging/install").exists() {
        true => Ok(top),
        false => Err(Stop::Skip("there is no checkout here".to_owned())),
    }
}

fn needs(tool: &str) -> Result<(), Stop> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|path| path.join(tool).exists());
    if found { Ok(()) } else { Err(Stop::Skip(format!("{tool} is not installed"))) }
}

/// Runs a script of `packaging` on the program under test.
fn packaging(script: &str, arguments: &[&str]) -> Result<String, Stop> {
    let mut command = Command::new(checkout()?.join("packaging").join(script));
    Ok(run(command.arg("--program").arg(program()).args(arguments)).ok()?)
}

/// All files below `directory`, with their modes and what links point to.
fn files(directory: &Path) -> BTreeSet<String> {
    let listed = Command::new("find")
        .arg(directory)
        .args(["!", "-type", "d", "-printf", "/%P %m %l\n"])
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// What the program makes of its own definitions, below a prefix: manual pages of its verbs, completions; the latter of zsh are
/// in `zsh`.
fn generated(context: &Context, zsh: &str) -> Vec<String> {
    let directory = context.subdirectory("generated");
    let made = run(context.spinney().arg("man").arg(&directory));
    assert_eq!(made.status, 0, "{made:#?}");
    let pages =
        std::fs::read_dir(&directory).unwrap().flatten().map(|page| page.file_name().into_string().unwrap());
    let pages =
        pages.map(|page| format!("share/man/man{}/{page} 644", page.rsplit('.').next().unwrap_or_default()));
    let completions = [
        "share/bash-completion/completions/spinney 644".to_owned(),
        format!("share/zsh/{zsh}/_spinney 644"),
        "share/fish/vendor_completions.d/spinney.fish 644".to_owned(),
    ];
    pages.chain(completions).collect()
}

/// What is installed below `prefix`, apart from documents; bus and polkit files are in `data`.
fn expected(prefix: &str, data: &str, generated: &[String]) -> BTreeSet<String> {
    let below_prefix = [
        "bin/spinney 755",
        "bin/spinney-nspawn 777 spinney",
        "lib/systemd/system-generators/spinney-generator 755",
        "lib/systemd/system/spinney@.service 644",
        "lib/systemd/system/spinneyd.service 644",
        "lib/tmpfiles.d/spinney.conf 644",
        "libexec/spinneyd 777 ../bin/spinney",
        "share/dbus-1/system-services/org.spinney.service 644",
        "share/man/man1/spinney-nspawn.1 644",
        "share/man/man5/org.spinney.5 644",
        "share/man/man5/spinney-network.toml.5 644",
        "share/man/man5/spinney.toml.5 644",
        "share/man/man8/spinney@.service.8 644",
        "share/man/man8/spinneyd.8 644",
    ];
    let in_data = [
        "dbus-1/system.d/org.spinney.conf 644",
        "polkit-1/actions/org.spinney.import1.policy 644",
        "polkit-1/actions/org.spinney.machine1.policy 644",
        "polkit-1/actions/org.spinney.policy 644",
    ];
    let below_prefix = below_prefix.iter().copied().chain(generated.iter().map(String::as_str));
    let below_prefix = below_prefix.map(|file| format!("{prefix}/{file}"));
    let in_data = in_data.iter().map(|file| format!("{data}/{file}"));
    below_prefix.chain(in_data).chain(["/etc/apparmor.d/spinney 644".to_owned()]).collect()
}

fn is_document(line: &str) -> bool {
    line.contains("/share/doc/spinney")
}

fn installed_files(context: &Context) -> TestResult {
    for (prefix, data) in [("/usr", "/usr/share"), ("/usr/local", "/etc"), ("/opt/spinney", "/etc")] {
        let root = context.subdirectory(&prefix.replace('/', "-"));
        packaging("install", &["--destdir", root.to_str().unwrap(), "--prefix", prefix])?;
        let (documents, others): (BTreeSet<_>, BTreeSet<_>) =
            files(&root).into_iter().partition(|line| is_document(line));
        assert_eq!(others, expected(prefix, data, &generated(context, "site-functions")), "{prefix}");
        assert!(
            documents.contains(&format!("{prefix}/share/doc/spinney/docs/install.md 644")),
            "{documents:#?}"
        );
        for file in ["lib/systemd/system/spinney@.service", "lib/systemd/system/spinneyd.service"] {
            let text = std::fs::read_to_string(root.join(prefix.trim_start_matches('/')).join(file))?;
            assert!(text.contains(&format!("={prefix}/")) && !text.contains("dir@"), "{file}: {text}");
        }
    }
    let no_program = run(Command::new(checkout()?.join("packaging/install")).args(["--program", "/no/such"]));
    assert_eq!(
        (no_program.status, no_program.stderr.as_str()),
        (1, "install: there is no program /no/such\nhint: make build\n")
    );
    Ok(())
}

/// Makes the package; its path.
fn make_deb(context: &Context, options: &[&str]) -> Result<PathBuf, Stop> {
    for tool in ["dpkg-deb", "dpkg-shlibdeps", "strip"] {
        needs(tool)?;
    }
    // For all tests of this run: what it is in goes with the last one.
    let output = context.directory.parent().ok_or("a directory of the tests")?.join("packages");
    let version = options.last().copied().unwrap_or("0.1.0-1");
    if let Some(made) = std::fs::read_dir(&output)
        .into_iter()
        .flatten()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("spinney_{version}_")))
    {
        return Ok(made.path());
    }
    std::fs::create_dir_all(&output)?;
    let made = packaging("deb", &[&["--quick", "--output", output.to_str().unwrap()], options].concat())?;
    Ok(PathBuf::from(made.trim_end()))
}

/// The package has what is installed, and lintian finds nothing to say.
fn deb(context: &Context) -> TestResult {
    let package = make_deb(context, &[])?;
    let root = context.subdirectory("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root)).ok()?;
    let others: BTreeSet<_> = files(&root)
        .into_iter()
        .filter(|line| !is_document(line) && line != "/usr/share/lintian/overrides/spinney 644")
        .map(|line| line.replace(".gz ", " "))
        .collect();
    assert_eq!(others, expected("/usr", "/usr/share", &generated(context, "vendor-completions")));
    let field = |name| run(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name)).ok();
    assert_eq!(field("Version")?, "0.1.0-1\n");
    let depends = field("Depends")?;
    let known = |name: &str| depends.contains(&format!("{name} (>= "));
    assert!(known("libc6") && known("libgcc-s1") && depends.matches(',').count() == 1, "{depends}");
    needs("lintian")?;
    let said = run(Command::new("lintian")
        .args(["--allow-root", "--fail-on=error,warning", "--tag-display-limit=0"])
        .arg(&package));
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{}", said.stderr);
    Ok(())
}

fn rpm(context: &Context) -> TestResult {
    needs("rpmbuild")?;
    let output = context.subdirectory("packages");
    let made = packaging("rpm", &["--quick", "--output", output.to_str().unwrap()])?;
    let query = |what: &[&str]| {
        run(Command::new("rpm").arg("--query").args(what).arg("--package").arg(made.trim_end())).ok()
    };
    let listed = query(&["--queryformat", "[%{FILENAMES} %{FILEMODES:octal} %{FILELINKTOS}\n]"])?;
    let is_ours =
        |line: &&str| !is_document(line) && !line.contains("/share/licenses/") && !line.contains(" 40755");
    // Fedora has no AppArmor.
    let mut expected = expected("/usr", "/usr/share", &generated(context, "site-functions"));
    expected.retain(|line| !line.starts_with("/etc/"));
    let found: BTreeSet<_> = listed
        .lines()
        .filter(is_ours)
        .map(|line| line.trim_end().replace(".gz ", " ").replace(" 100", " ").replace(" 120", " "))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(query(&["--queryformat", "%{NAME} %{VERSION}-%{RELEASE}"])?, "spinney 0.1.0-1");
    Ok(())
}

fn manual_pages(_: &Context) -> TestResult {
    needs("groff")?;
    let mut pages = 0;
    for page in std::fs::read_dir(checkout()?.join("packaging/man"))?.flatten() {
        let said = run(Command::new("groff").args(["-ww", "-man", "-Tutf8", "-z"]).arg(page.path()));
        let page = page.path();
        assert_eq!((said.status, said.stdout + &said.stderr), (0, String::new()), "{}", page.display());
        pages += 1;
    }
    assert!(pages >= 6, "{pages} pages");
    Ok(())
}

/// A machine that is the host of others.
struct Host(Detached);

impl Host {
    fn start(context: &Context, tree: &str) -> Result<Self, Stop> {
        let (machines, state) = (context.subdirectory("machines"), context.subdirectory("state"));
        let bind = |from: &Path, to: &str| format!("--bind={}:{to}", from.display());
        let options = [
            "--private-users=no",
            "--nesting",
            &bind(&machines, "/var/lib/machines"),
            &bind(&state, "/var/lib/spinney"),
        ];
        Ok(Self(Detached::start(context, &context.tree(tree)?, &options)?))
    }

    fn try_to(&self, context: &Context, script: &str) -> Ended {
        run(&mut exec(context, &[&self.0.name, "sh", "-c", script]))
    }

    /// The stdout of a script that must end well, without what surrounds it.
    fn does(&self, context: &Context, script: &str) -> Result<String, String> {
        let ended = self.try_to(context, script);
        match ended.status {
            0 => Ok(ended.stdout.trim().to_owned()),
            _ => Err(format!("{script}: {ended:#?}")),
        }
    }
}

fn on_a_host(context: &Context, tree: &str) -> TestResult {
    let packages = [make_deb(context, &[])?, make_deb(context, &["--version", "0.1.0-2"])?];
    let host = Host::start(context, tree)?;
    let does = |script: &str| host.does(context, script);
    let unit_says = |properties: &str| {
        let options = properties.replace(' ', " -p ");
        does(&format!("systemctl show spinney@demo -p {options} | sort | paste -s -d ' '"))
    };
    for package in &packages {
        run(context.spinney().args(["copy-to", "-q", &host.0.name]).arg(package).arg("/root/")).ok()?;
    }
    // Its own tree of busybox; device nodes come with the machine.
    let busybox = context.tree("busybox")?;
    run(Command::new("cp").args(["-a"]).arg(busybox).arg(context.directory.join("machines/demo"))).ok()?;

    let install = |version: &str| {
        format!("DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes /root/spinney_{version}_*.deb")
    };
    does(&install("0.1.0-1"))?;
    units(context, &host)?;
    // The README's first commands.
    does("spinney --version | grep '^spinney [0-9.]*$'")?;
    assert_eq!(does("spinney run -x demo -- sh -c 'echo $container; exit 3'; echo $?")?, "spinney\n3");
    // By way of systemd, since it has the unit.
    let started = does("spinney clone -q demo web && spinney start web 2>&1")?;
    assert_eq!(started, "spinney: web is ready, as spinney@web.service");
    assert_eq!(does("systemctl is-active spinney@web")?, "active");
    let again = host.try_to(
        context,
        "mkdir /var/lib/machines/empty; spinney start web empty; rmdir /var/lib/machines/empty",
    );
    assert!(again.stderr.contains("spinney: error: \"web\" is running already\n"), "{again:#?}");
    let unexplained = "spinney: error: spinney@empty.service did not start\n  hint: journalctl -u spinney@empty.service says why\n";
    assert!(again.stderr.contains(unexplained), "{again:#?}");
    assert_eq!(does("echo hello | spinney exec web -- tr a-z A-Z")?, "HELLO");
    does("spinney terminate web && spinney remove web")?;

    assert_eq!(does("systemctl start spinney@demo && spinney show demo --value -p State")?, "running");
    let leader = does("spinney show demo --value -p Leader")?;
    assert_eq!(
        unit_says("ActiveState SubState Result")?,
        "ActiveState=active Result=success SubState=running"
    );
    let cgroup = does(&format!("grep ^0:: /proc/{leader}/cgroup"))?;
    assert!(cgroup.contains("/machine.slice/spinney@demo.service/machine-demo/payload"), "{cgroup}");

    // It goes on while the package is replaced, can be told things by the new one, and stops as a service does.
    does(&install("0.1.0-2"))?;
    assert_eq!(does("dpkg-query -W -f '${Version}' spinney")?, "0.1.0-2");
    assert_eq!(
        does("spinney exec demo -- echo alive && spinney show demo --value -p Leader")?,
        format!("alive\n{leader}")
    );
    assert_eq!(unit_says("ActiveState NRestarts")?, "ActiveState=active NRestarts=0");
    does("systemctl stop spinney@demo")?;
    assert_eq!(
        unit_says("ActiveState Result ExecMainStatus")?,
        "ActiveState=inactive ExecMainStatus=0 Result=success"
    );
    assert_eq!(does("ls /run/spinney/machines 2>/dev/null || true")?, "");
    let log = does("journalctl --unit=spinney@demo --output=cat --no-pager")?;
    assert!(log.contains("demo is ready after") && log.contains("demo is off after"), "{log}");

    // A link to where the template was once is in nobody's way.
    let wants = "/etc/systemd/system/machines.target.wants";
    does(&format!("mkdir {wants} && ln -s /usr/local/lib/spinney@.service {wants}/spinney@demo.service"))?;
    // Enabled, it comes with machines.target; that goes with multi-user.target.
    let enable = |verb: &str| does(&format!("spinney {verb} demo 2>&1"));
    assert_eq!(enable("enable")?, "spinney: demo is enabled: systemd starts spinney@demo.service");
    assert_eq!(enable("enable")?, "spinney: demo is enabled already: systemd starts spinney@demo.service");
    assert_eq!(does("systemctl is-enabled spinney@demo")?, "enabled");
    assert_eq!(enable("disable")?, "spinney: demo is disabled");
    assert_eq!(enable("disable")?, "spinney: demo was not enabled");
    enable("enable")?;
    does("systemctl start machines.target")?;
    does(
        "systemctl is-active spinney@demo && systemctl list-dependencies multi-user.target | grep machines.target",
    )?;
    removal(context, &host)?;
    host.0.stop()?;
    Ok(())
}

/// dpkg --root: maintainers' scripts are about another root directory, and leave the host's alone.
fn another_root(context: &Context) -> TestResult {
    let scripts = checkout()?.join("packaging/debian");
    let root = context.subdirectory("root");
    let make = |file: &str| {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).and_then(|()| std::fs::write(path, ""))
    };
    let there = |file: &str| root.join(file).symlink_metadata().is_ok();
    let script = |name: &str, arguments: &[&str]| -> Result<(), String> {
        let mut command = Command::new("sh");
        command.arg(scripts.join(name)).args(arguments).env("DPKG_ROOT", &root);
        // One that is there is the host's own.
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        run(&mut command).ok().map(drop)
    };
    let disabled = "etc/apparmor.d/disable/spinney";
    make("etc/apparmor.d/abi/3.0")?;
    std::fs::create_dir_all(root.join(disabled).parent().unwrap())?;
    // The profile is not there yet, or somebody has removed it.
    std::os::unix::fs::symlink("../spinney", root.join(disabled))?;
    for _ in 0..2 {
        script("postinst", &["configure", ""])?;
        assert_eq!(std::fs::read_link(root.join(disabled))?, Path::new("../spinney"));
    }
    make("etc/apparmor.d/spinney")?;
    make("etc/apparmor.d/abi/4.0")?;
    script("postinst", &["configure", "0.0.1"])?;
    assert!(!there(disabled));
    let goes = [
        "etc/apparmor.d/local/spinney",
        "var/cache/apparmor/0123.0/spinney",
        "etc/systemd/system/machines.target.wants/spinney@web.service",
        "etc/spinney/autostart/web",
        "var/log/spinney/web/last.json",
        "var/lib/spinney/network/leases",
    ];
    let stays = ["var/lib/machines/web/etc/os-release", "etc/spinney/machines/web.toml"];
    goes.iter().chain(&stays).try_for_each(|file| make(file))?;
    for (name, arguments) in [("prerm", "remove"), ("postrm", "remove"), ("postrm", "purge")] {
        script(name, &[arguments])?;
    }
    assert_eq!(goes.iter().filter(|file| there(file)).collect::<Vec<_>>(), [&""; 0]);
    assert_eq!(stays.iter().filter(|file| !there(file)).collect::<Vec<_>>(), [&""; 0]);
    assert!(!there("etc/systemd") || !there("etc/systemd/system/machines.target.wants"));
    Ok(())
}

/// systemd knows what to make of the units, and of those of machines.
fn units(context: &Context, host: &Host) -> TestResult {
    let verified =
        host.try_to(context, "systemd-analyze verify --man=no spinney@demo.service spinneyd.service");
    // systemd 252 says so of what is newer.
    let newer = |line: &&str| line.contains("'DelegateSubgroup'") || line.contains("'CoredumpReceive'");
    let complaints: Vec<&str> = verified.stderr.lines().filter(|line| !newer(line)).collect();
    assert_eq!((verified.status, complaints), (0, vec![]));
    let security = host.does(context, "systemd-analyze security --no-pager spinneyd.service | tail -n 1")?;
    println!("    {security}");
    assert!(security.contains("exposure level for spinneyd.service: 9.0 "), "{security}");
    host.does(context, "systemd-tmpfiles --cat-config | grep -x 'Q /var/lib/machines 0700 - - -'")?;
    assert_eq!(
        host.does(context, "stat -c '%a %n' /run/spinney /var/lib/machines")?,
        "755 /run/spinney\n700 /var/lib/machines"
    );
    Ok(())
}

/// A machine goes on when the package goes; images stay.
fn removal(context: &Context, host: &Host) -> TestResult {
    let does = |script: &str| host.does(context, script);
    let processes = does("spinney show demo --value -p Leader -p Supervisor")?.replace('\n', " ");
    does("DEBIAN_FRONTEND=noninteractive apt-get remove --quiet --yes spinney")?;
    does(&format!(
        "kill -0 {processes} && test ! -e /usr/bin/spinney && test -s /run/spinney/machines/demo/state"
    ))?;
    does("DEBIAN_FRONTEND=noninteractive apt-get purge --quiet --yes spinney")?;
    does(&format!("kill -0 {processes}"))?;
    // As the unit is not known any more: by the supervisor's own means.
    let supervisor = processes.split(' ').next_back().unwrap_or_default();
    does(&format!("kill {supervisor}; while kill -0 {supervisor} 2>/dev/null; do sleep 0.1; done"))?;
    // Its records stayed with it. Without a machine they go; images do not.
    does(
        "test -d /var/log/spinney/demo && dpkg --install /root/spinney_0.1.0-2_*.deb && dpkg --purge spinney",
    )?;
    let ours = "/etc/apparmor.d/spinney /etc/apparmor.d/disable/spinney /etc/spinney /etc/systemd/system/machines.target.wants \
                /run/systemd/generator.late/machines.target /var/log/spinney /var/lib/spinney/network";
    assert_eq!(does(&format!("ls /var/lib/machines; ls -d {ours} 2>/dev/null; true"))?, "demo");
    does("test -x /var/lib/machines/demo/bin/busybox")?;
    Ok(())
}
