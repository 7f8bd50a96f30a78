//! A machine that is the host of others: a Debian as it is, with systemd as PID 1, on which the package is installed as its users do
//! it, by apt, with all that it recommends. No mirror is in reach: `tests/repository` has fetched what it takes.
//!
//! It has no user namespace, since the machines on it are to have theirs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::make_deb;
use crate::command::{Ended, run};
use crate::detached::Detached;
use crate::exec::exec;
use crate::harness::{Context, Stop, TestResult, program};

/// Where the repository is in the machine.
const REPOSITORY: &str = "/srv/repository";

/// The host.
pub struct Host(pub Detached);

impl Host {
    /// Boots `tree`, with `options` besides.
    pub fn start(context: &Context, tree: &str, options: &[&str]) -> Result<Self, Stop> {
        let (machines, state) = (context.subdirectory("machines"), context.subdirectory("state"));
        let bind = |option: &str, from: &Path, to: &str| format!("--{option}={}:{to}", from.display());
        let own = [
            "--private-users=no".to_owned(),
            "--nesting".to_owned(),
            bind("bind", &machines, "/var/lib/machines"),
            bind("bind", &state, "/var/lib/spinney"),
            bind("bind-ro", &repository(tree)?, REPOSITORY),
        ];
        let options: Vec<&str> = own.iter().map(String::as_str).chain(options.iter().copied()).collect();
        let host = Self(Detached::start(context, &context.tree(tree)?, &options)?);
        let source = format!("deb [trusted=yes] file:{REPOSITORY} ./");
        host.does(
            context,
            &format!(
                "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*; echo '{source}' >/etc/apt/sources.list && apt-get -qq update"
            ),
        )?;
        Ok(host)
    }

    /// Installs the package of `version` as somebody who has built it does: what it recommends comes with it.
    pub fn install(&self, context: &Context, version: &str) -> Result<(), Stop> {
        let package = make_deb(context, &["--version", version])?;
        run(context.spinney().args(["copy-to", "-q", &self.0.name]).arg(&package).arg("/root/")).ok()?;
        let file = package.file_name().and_then(|name| name.to_str()).ok_or("a package without a name")?;
        self.does(
            context,
            &format!("cd /root && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes ./{file}"),
        )?;
        Ok(())
    }

    pub fn try_to(&self, context: &Context, script: &str) -> Ended {
        run(&mut exec(context, &[&self.0.name, "sh", "-c", script]))
    }

    /// The stdout of a script that must end well, without what surrounds it.
    pub fn does(&self, context: &Context, script: &str) -> Result<String, String> {
        let ended = self.try_to(context, script);
        match ended.status {
            0 => Ok(ended.stdout.trim().to_owned()),
            _ => Err(format!("{script}: {ended:#?}")),
        }
    }
}

/// What the package depends on and recommends, for apt in a machine of `tree`.
fn repository(tree: &str) -> Result<PathBuf, Stop> {
    let cache = std::env::var_os("SPINNEY_REPOSITORIES")
        .map_or("/var/cache/spinney/repositories".into(), PathBuf::from);
    let path = cache.join(tree);
    match path.join("Packages").exists() {
        true => Ok(path),
        false => {
            Err(Stop::Skip(format!("no repository {}: tests/repository {tree} makes it", path.display())))
        }
    }
}

/// In a machine that has a user namespace, one that is to have ids of its own has a clear word.
pub fn in_a_user_namespace(context: &Context) -> TestResult {
    let machines = context.subdirectory("machines");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(machines.join("demo"))).ok()?;
    let options = [
        "--nesting=yes".to_owned(),
        format!("--bind={}:/var/lib/machines:idmap", machines.display()),
        format!("--bind-ro={}:/usr/local/bin/spinney", program().display()),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let host = Host(Detached::start(context, &context.tree("debian-13")?, &options)?);
    let said = host.try_to(context, "spinney run demo -- true; ls -A /run/spinney/machines 2>/dev/null");
    let lines: Vec<&str> = said.stderr.lines().filter(|line| !line.contains("warning: ")).collect();
    assert_eq!(lines.len(), 2, "{said:#?}");
    assert!(
        lines[0].starts_with("spinney: error: the user namespace that this host is in has no ids "),
        "{said:#?}"
    );
    assert!(lines[1].contains("boot it with --private-users=no --nesting=yes"), "{said:#?}");
    assert_eq!(said.stdout, "");
    host.0.stop()?;
    Ok(())
}
