//! Who is measured, and by which command line each does the same job.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

/// Ids of the guests of runc, which wants them said; the others pick theirs.
const RUNC_IDS: u32 = 1_879_048_192;

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Ground {
    spinney: PathBuf,
    pub(crate) work: PathBuf,
    prefix: String,
    /// Cgroups that are ours, one a hierarchy; none where a unit's is.
    pub(crate) cgroups: Vec<PathBuf>,
}

/// What is measured of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The time to its end.
    Exit,
    /// The time until it sends READY=1 to its NOTIFY_SOCKET (sd_notify(3)).
    Ready,
}

/// Some contenders who do the same.
pub(crate) struct Row<'a> {
    /// For `--only`.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) until: Until,
    /// Part of the rounds that this row does: one of so many.
    pub(crate) share: usize,
    pub(crate) contenders: Vec<Contender<'a>>,
}

/// One of them; the first of a row is us.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    /// The most that our median may be of this one's.
    pub(crate) target: Option<f64>,
    /// Does one round of so many that the row does.
    pub(crate) share: usize,
    pub(crate) command: Box<dyn Fn() -> Command + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(
        name: &'static str,
        target: Option<f64>,
        share: usize,
        command: Box<dyn Fn() -> Command + 'a>,
    ) -> Self {
        Self { name, target, share, command }
    }
}

impl Ground {
    /// Writes the configuration files that some peers want.
    pub(crate) fn new(
        spinney: PathBuf,
        work: PathBuf,
        prefix: String,
        cgroups: Vec<PathBuf>,
    ) -> Result<Self, Box<dyn Error>> {
        let ground = Self { spinney, work, prefix, cgroups };
        let bundle = ground.work.join("bundle");
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), ground.runc_config().to_string())?;
        fs::create_dir_all(ground.work.join("lxc"))?;
        fs::write(ground.work.join("lxc.conf"), ground.lxc_config())?;
        Ok(ground)
    }

    /// Goes into a cgroup `name` below ours, for the children that are made next.
    pub(crate) fn enter_cgroup(&self, name: &str) -> io::Result<()> {
        for cgroup in &self.cgroups {
            let below = cgroup.join(name);
            fs::create_dir_all(&below)?;
            fs::write(below.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Comes back from there.
    pub(crate) fn leave_cgroup(&self) -> io::Result<()> {
        self.cgroups.iter().try_for_each(|cgroup| fs::write(cgroup.join("cgroup.procs"), "0"))
    }

    /// The copy that machines may write to.
    pub(crate) fn tree(&self) -> PathBuf {
        self.work.join("tree")
    }

    /// The whole name of a machine.
    pub(crate) fn machine(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.prefix)
    }

    /// Any verb of ours.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.spinney);
        command.args(arguments);
        command
    }

    /// `spinney run` of the tree, with `options`.
    pub(crate) fn spinney(&self, suffix: &str, options: &[&str], payload: &[&str]) -> Command {
        self.spinney_of(&self.tree(), suffix, options, payload)
    }

    /// The same of another tree.
    pub(crate) fn spinney_of(
        &self,
        tree: &Path,
        suffix: &str,
        options: &[&str],
        payload: &[&str],
    ) -> Command {
        let mut command = Command::new(&self.spinney);
        command.args(["run", "-q", "-M"]).arg(self.machine(suffix)).args(options).arg(tree);
        if !payload.is_empty() {
            command.arg("--").args(payload);
        }
        command
    }

    /// `systemd-nspawn` of the tree, with `options`. Hosts without systemd have nobody to register with.
    pub(crate) fn nspawn(&self, suffix: &str, options: &[&str], payload: &[&str]) -> Command {
        let mut command = Command::new("systemd-nspawn");
        command.args(["-q", "--register=no", "--keep-unit", "-M"]).arg(self.machine(suffix)).args(options);
        command.arg("-D").arg(self.tree()).args(payload);
        command
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.work.join("runc")).arg("run");
        command.arg("--bundle").arg(self.work.join("bundle")).arg(self.machine("runc"));
        command
    }

    fn lxc(&self) -> Command {
        let mut command = Command::new("lxc-start");
        command.arg("-F").arg("-P").arg(self.work.join("lxc")).arg("-f").arg(self.work.join("lxc.conf"));
        command.arg("-n").arg(self.machine("lxc"));
        command
    }

    /// `lxc-start` of a container with one end of a pair, the other of which is in no bridge yet.
    pub(crate) fn lxc_with_link(&self, payload: &[&str]) -> Command {
        let name = self.machine("lxc-link");
        let path = self.work.join("lxc-link.conf");
        let config = self
            .lxc_config()
            .replace(
                "lxc.net.0.type = empty",
                "lxc.net.0.type = veth\nlxc.net.0.name = host0\nlxc.net.0.flags = up\n\
                 lxc.net.0.ipv4.address = 10.9.0.2/24\nlxc.net.0.ipv4.gateway = 10.9.0.1",
            )
            .replace("/bin/true", &payload.join(" "));
        let mut command = Command::new("lxc-start");
        command.arg("-F").arg("-P").arg(self.work.join("lxc")).arg("-f").arg(&path).args(["-n", &name]);
        // Who cannot write it cannot start it.
        let _ = fs::write(path, config);
        command
    }

    /// `lxc-stop` of a container.
    pub(crate) fn lxc_stop(&self, suffix: &str) -> Command {
        let mut command = Command::new("lxc-stop");
        command.arg("-k").arg("-P").arg(self.work.join("lxc")).arg("-n").arg(self.machine(suffix));
        command
    }

    fn bubblewrap(&self) -> Command {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--bind"]).arg(self.tree());
        command.args(["/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]);
        command
    }

    /// No user namespace: lxc would want the tree's owners shifted.
    fn lxc_config(&self) -> String {
        let tree = self.tree();
        format!(
            "lxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\nlxc.init.cmd = /bin/true\n\
             lxc.mount.auto = proc:mixed sys:mixed\nlxc.apparmor.profile = unconfined\nlxc.cgroup.relative = 1\n",
            tree.display()
        )
    }

    /// The OCI runtime spec's minimum for a container with a user namespace and Docker's mounts.
    fn runc_config(&self) -> serde_json::Value {
        let ids = json!([{ "containerID": 0, "hostID": RUNC_IDS, "size": 65536 }]);
        let mount = |kind: &str, target: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
        let namespaces =
            ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"].map(|kind| json!({ "type": kind }));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": ["/bin/true"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "cwd": "/", "noNewPrivileges": true,
            },
            "root": { "path": self.tree(), "readonly": false },
            "hostname": "bench",
            "mounts": [
                mount("proc", "/proc", &[]),
                mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
                mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
                mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
                mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
            ],
            "linux": {
                "namespaces": namespaces, "uidMappings": ids, "gidMappings": ids,
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        })
    }
}

/// All timed rows.
pub(crate) fn rows(ground: &Ground) -> Vec<Row<'_>> {
    const TRUE: &[&str] = &["/bin/true"];
    const NETWORK: &str = "--private-network";
    const BOOT: &[&str] = &[NETWORK, "--volatile=overlay", "--notify-ready=yes"];
    const NSPAWN_BOOT: &[&str] = &[NETWORK, "-U", "--volatile=overlay", "--notify-ready=yes", "-b"];
    vec![
        Row {
            key: "command",
            title: "run /bin/true, user namespace and private network",
            until: Until::Exit,
            share: 1,
            contenders: vec![
                Contender::new("spinney", None, 1, Box::new(|| ground.spinney("run", &[NETWORK], TRUE))),
                Contender::new(
                    "systemd-nspawn -U",
                    Some(0.12),
                    1,
                    Box::new(|| ground.nspawn("run", &["-U", NETWORK], TRUE)),
                ),
                Contender::new("lxc-start, no user namespace", Some(1.0), 1, Box::new(|| ground.lxc())),
                Contender::new("runc", None, 1, Box::new(|| ground.runc())),
                Contender::new("bwrap --unshare-all", None, 1, Box::new(|| ground.bubblewrap())),
                Contender::new("/bin/true alone", None, 1, Box::new(|| Command::new("/bin/true"))),
            ],
        },
        Row {
            key: "ephemeral",
            title: "the same, ephemeral",
            until: Until::Exit,
            share: 1,
            contenders: vec![
                Contender::new(
                    "spinney -x",
                    None,
                    1,
                    Box::new(|| ground.spinney("x", &["-x", NETWORK], TRUE)),
                ),
                Contender::new(
                    "systemd-nspawn -x -U",
                    Some(0.006),
                    4,
                    Box::new(|| ground.nspawn("x", &["-x", "-U", NETWORK], TRUE)),
                ),
            ],
        },
        Row {
            key: "boot",
            title: "boot Debian 12 to READY, user namespace, private network, volatile overlay",
            until: Until::Ready,
            share: 4,
            contenders: vec![
                Contender::new("spinney", None, 1, Box::new(|| ground.spinney("boot", BOOT, &[]))),
                Contender::new(
                    "systemd-nspawn -U",
                    Some(1.0),
                    1,
                    Box::new(|| ground.nspawn("boot", NSPAWN_BOOT, &[])),
                ),
            ],
        },
    ]
}
