//! What is in packages, and what their scripts do to a root directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::{checkout, make_deb, needs, packaging};
use crate::command::run;
use crate::harness::{Context, Row, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 5] = [
        ("installed-files", installed_files),
        ("deb", deb),
        ("rpm", rpm),
        ("manual-pages", manual_pages),
        ("another-root", another_root),
    ];
    rows.map(|(name, test)| Test::new(format!("packages::{name}"), test)).into()
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
