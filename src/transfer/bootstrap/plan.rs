//! The command of each tool, as data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Error, Wanted};
use crate::transfer::catalogue::model::{Finishing, Tool};

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What of the environment is set besides what [`super::run`] keeps.
    pub environment: Vec<(&'static str, String)>,
}

/// What there is besides the catalogue's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings<'a> {
    /// Where the tree is to be.
    pub target: &'a Path,
    /// The keyring of the packages.
    pub keyring: Option<PathBuf>,
    /// Lines of sources.list(5) that this host has for it; none where the tool knows better.
    pub mirrors: Vec<String>,
    /// What this host's apt is told of proxies: lines of apt.conf(5).
    pub proxies: Vec<String>,
}

/// Where programs are, that of distros with a /usr/sbin of its own included.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The program of `tool`.
///
/// # Errors
/// [`Error::NoTool`].
pub fn program(tool: Tool) -> Result<PathBuf, Error> {
    let (names, package): (&[&str], _) = match tool {
        Tool::Mmdebstrap => (&["mmdebstrap"], "mmdebstrap"),
        Tool::Dnf => (&["dnf", "dnf5"], "dnf"),
        Tool::Pacstrap => (&["pacstrap"], "arch-install-scripts"),
        Tool::Apk => (&["apk", "apk.static"], "apk-tools"),
        Tool::Xbps => (&["xbps-install", "xbps-install.static"], "xbps"),
    };
    find(names).ok_or(Error::NoTool { tool: tool.name(), package })
}

/// The first program of one of these names.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&own).chain(PATH.map(PathBuf::from));
    directories
        .filter(|directory| directory.is_absolute())
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .find(|path| path.is_file())
}

/// What is run for `wanted`.
///
/// # Errors
/// [`Error::NoTool`].
pub fn command(wanted: &Wanted<'_>, around: Surroundings<'_>) -> Result<Command, Error> {
    let program = program(wanted.bootstrap.tool)?;
    let (arguments, environment) = match wanted.bootstrap.tool {
        Tool::Mmdebstrap => (mmdebstrap(wanted, around), Vec::new()),
        Tool::Dnf => (dnf(wanted, &around), Vec::new()),
        Tool::Pacstrap => (pacstrap(wanted, &around), Vec::new()),
        Tool::Apk => (apk(wanted, &around), Vec::new()),
        Tool::Xbps => (xbps(wanted, &around), vec![("XBPS_ARCH", wanted.arch.to_owned())]),
    };
    Ok(Command { program, arguments, environment })
}

fn mmdebstrap(wanted: &Wanted<'_>, around: Surroundings<'_>) -> Vec<OsString> {
    let bootstrap = wanted.bootstrap;
    let variant = match bootstrap.finish {
        Some(Finishing::Busybox) => "extract",
        None => "minbase",
    };
    let mut arguments: Vec<OsString> = vec![
        // Whatever the host has in /proc/sys/kernel/unprivileged_userns_clone: ids as they are to be.
        "--mode=root".into(),
        "--format=directory".into(),
        format!("--variant={variant}").into(),
        format!("--architectures={}", wanted.arch).into(),
        format!("--components={}", bootstrap.components.join(",")).into(),
        format!("--include={}", bootstrap.packages.join(",")).into(),
        // The image is synced as a whole before it has its name.
        "--dpkgopt=force-unsafe-io".into(),
        "--aptopt=APT::Install-Recommends \"false\"".into(),
        // An unreachable mirror is to be told of soon, not after minutes.
        "--aptopt=Acquire::http::Timeout \"20\"".into(),
        "--aptopt=Acquire::https::Timeout \"20\"".into(),
        "--aptopt=Acquire::Retries \"2\"".into(),
    ];
    if wanted.past {
        // Nobody renews the dates of such a release. Its signature holds as before.
        arguments.push("--aptopt=Acquire::Check-Valid-Until \"false\"".into());
    }
    arguments.extend(around.proxies.into_iter().map(|line| format!("--aptopt={line}").into()));
    if let Some(keyring) = around.keyring {
        let mut argument = OsString::from("--keyring=");
        argument.push(keyring);
        arguments.push(argument);
    }
    arguments.extend(["--".into(), bootstrap.suite.clone().into(), around.target.into()]);
    match &bootstrap.mirror {
        Some(mirror) => arguments.push(mirror.clone().into()),
        None => arguments.extend(around.mirrors.into_iter().map(OsString::from)),
    }
    arguments
}

fn dnf(wanted: &Wanted<'_>, around: &Surroundings<'_>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--assumeyes".into(),
        prefixed("--installroot=", around.target),
        format!("--releasever={}", wanted.bootstrap.suite).into(),
        "--setopt=install_weak_deps=False".into(),
    ];
    if !wanted.native {
        arguments.push(format!("--forcearch={}", wanted.arch).into());
    }
    arguments.extend(wanted.bootstrap.components.iter().map(|name| format!("--repo={name}").into()));
    arguments.push("install".into());
    arguments.extend(packages(wanted));
    arguments
}

fn pacstrap(wanted: &Wanted<'_>, around: &Surroundings<'_>) -> Vec<OsString> {
    // -c: the packages' cache of the host.
    let mut arguments: Vec<OsString> = vec!["-c".into(), around.target.into()];
    arguments.extend(packages(wanted));
    arguments
}

fn apk(wanted: &Wanted<'_>, around: &Surroundings<'_>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        prefixed("--root=", around.target),
        format!("--arch={}", wanted.arch).into(),
        "--keys-dir=/etc/apk/keys".into(),
        "--initdb".into(),
        "--update-cache".into(),
        "--no-interactive".into(),
    ];
    if let Some(mirror) = &wanted.bootstrap.mirror {
        let components = wanted.bootstrap.components.iter();
        arguments.extend(components.map(|name| format!("--repository={mirror}/{name}").into()));
    }
    arguments.push("add".into());
    arguments.extend(packages(wanted));
    arguments
}

fn xbps(wanted: &Wanted<'_>, around: &Surroundings<'_>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        vec!["--sync".into(), "--yes".into(), "--rootdir".into(), around.target.into()];
    if let Some(mirror) = &wanted.bootstrap.mirror {
        arguments.extend(["--repository".into(), mirror.into()]);
    }
    arguments.extend(packages(wanted));
    arguments
}

fn packages(wanted: &Wanted<'_>) -> impl Iterator<Item = OsString> {
    wanted.bootstrap.packages.iter().map(OsString::from)
}

fn prefixed(option: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::catalogue::model::Bootstrap;

    fn bootstrap(tool: Tool) -> Bootstrap {
        Bootstrap {
            tool,
            suite: "2".to_owned(),
            packages: vec!["systemd".to_owned(), "dbus".to_owned()],
            mirror: Some("https://oak.example/2".to_owned()),
            components: vec!["main".to_owned(), "more".to_owned()],
            key: None,
            finish: None,
        }
    }

    #[test]
    fn commands() {
        let base = "--mode=root --format=directory --variant=minbase --architectures=a64 --components=main,more \
                    --include=systemd,dbus --dpkgopt=force-unsafe-io --aptopt=APT::Install-Recommends \"false\" \
                    --aptopt=Acquire::http::Timeout \"20\" --aptopt=Acquire::https::Timeout \"20\" \
                    --aptopt=Acquire::Retries \"2\"";
        let rows = [
            (Tool::Mmdebstrap, format!("{base} --aptopt=P --keyring=/k -- 2 /t https://oak.example/2")),
            (
                Tool::Dnf,
                "--assumeyes --installroot=/t --releasever=2 --setopt=install_weak_deps=False --forcearch=a64 \
                 --repo=main --repo=more install systemd dbus"
                    .to_owned(),
            ),
            (Tool::Pacstrap, "-c /t systemd dbus".to_owned()),
            (
                Tool::Apk,
                "--root=/t --arch=a64 --keys-dir=/etc/apk/keys --initdb --update-cache --no-interactive \
                 --repository=https://oak.example/2/main --repository=https://oak.example/2/more add systemd dbus"
                    .to_owned(),
            ),
            (
                Tool::Xbps,
                "--sync --yes --rootdir /t --repository https://oak.example/2 systemd dbus".to_owned(),
            ),
        ];
        let around = Surroundings {
            target: Path::new("/t"),
            keyring: Some("/k".into()),
            mirrors: vec!["deb x".to_owned()],
            proxies: vec!["P".to_owned()],
        };
        for (tool, expected) in rows {
            let bootstrap = bootstrap(tool);
            let wanted = Wanted { bootstrap: &bootstrap, arch: "a64", native: false, key: None, past: false };
            let arguments = match tool {
                Tool::Mmdebstrap => mmdebstrap(&wanted, around.clone()),
                Tool::Dnf => dnf(&wanted, &around),
                Tool::Pacstrap => pacstrap(&wanted, &around),
                Tool::Apk => apk(&wanted, &around),
                Tool::Xbps => xbps(&wanted, &around),
            };
            assert_eq!(arguments.join(&OsString::from(" ")).to_string_lossy(), expected, "{tool:?}");
        }
    }

    #[test]
    fn the_hosts_mirrors_are_for_those_that_name_none() {
        let bootstrap =
            Bootstrap { mirror: None, finish: Some(Finishing::Busybox), ..bootstrap(Tool::Mmdebstrap) };
        let wanted = Wanted { bootstrap: &bootstrap, arch: "amd64", native: true, key: None, past: true };
        let around = Surroundings {
            target: Path::new("/t"),
            keyring: None,
            mirrors: vec!["deb http://near.example/debian 2 main".to_owned()],
            proxies: Vec::new(),
        };
        let arguments = mmdebstrap(&wanted, around);
        assert!(arguments.contains(&"--variant=extract".into()));
        assert!(arguments.contains(&"--aptopt=Acquire::Check-Valid-Until \"false\"".into()));
        assert_eq!(
            &arguments[arguments.len() - 4..],
            ["--", "2", "/t", "deb http://near.example/debian 2 main"]
        );
    }
}
