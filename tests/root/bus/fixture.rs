//! A bus, the manager on it, clients.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command::{Ended, PATIENCE, Process, run};
use crate::harness::{Context, Stop, program};

/// Anybody may own names and call methods: what is forbidden is the manager's to say.
const OPEN: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=DIRECTORY/socket</listen>
  <auth>EXTERNAL</auth>
  <servicedir>DIRECTORY/services</servicedir>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

/// As a system bus has it: nobody may do anything but what a service's own file allows, ours as we ship it.
const STRICT: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=DIRECTORY/socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <policy user="root">
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
    <allow send_destination="*" send_interface="org.freedesktop.DBus.Monitoring"/>
  </policy>
  <include>SHIPPED</include>
</busconfig>
"#;

/// What we ship for it.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/units/org.spinney.conf");

/// A dbus-daemon of the test's own. It ends with this, and the manager that it started with it.
pub struct Bus {
    daemon: Child,
    directory: PathBuf,
    /// This host had no systemd.
    made_systemd: bool,
}

impl Bus {
    /// Starts one that can start the manager.
    pub fn start(context: &Context) -> Result<Self, Stop> {
        Self::with(context, OPEN)
    }

    /// Starts one with the rules of a system bus, and those that are shipped for the manager.
    pub fn strict(context: &Context) -> Result<Self, Stop> {
        Self::with(context, &STRICT.replace("SHIPPED", SHIPPED))
    }

    fn with(context: &Context, conf: &str) -> Result<Self, Stop> {
        let directory = context.subdirectory("bus");
        fs::create_dir_all(directory.join("services"))?;
        fs::write(directory.join("conf"), conf.replace("DIRECTORY", &directory.display().to_string()))?;
        symlink(program(), directory.join("spinneyd"))?;
        // machinectl asks nobody where systemd does not run (sd_booted(3)).
        let made_systemd = !Path::new("/run/systemd/system").exists();
        fs::create_dir_all("/run/systemd/system")?;
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}/conf", directory.display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            // For what it starts.
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}/socket", directory.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // It says its address once it listens.
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        Ok(Self { daemon, directory, made_systemd })
    }

    /// Has the bus start the manager itself, with `arguments`, when `names` are asked for.
    pub fn make_activatable(&self, names: &[&str], arguments: &str) -> Result<(), Stop> {
        for name in names {
            let exec = format!("{}/spinneyd --instead-of-machined {arguments}", self.directory.display());
            let service = format!("[D-BUS Service]\nName={name}\nExec={exec}\nUser=root\n");
            fs::write(self.directory.join("services").join(format!("{name}.service")), service)?;
        }
        self.call(&["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig"])
            .ok()?;
        Ok(())
    }

    /// The manager's program.
    pub fn spinneyd(&self) -> PathBuf {
        self.directory.join("spinneyd")
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("unix:path={}/socket", self.directory.display())
    }

    /// `program` with this bus as its system bus, run by nobody.
    pub fn command_of_nobody(&self, program: &str) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
        command
    }

    /// `program` with this bus as its system bus.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.address())
            .env("SYSTEMD_PAGER", "")
            .env("SYSTEMD_COLORS", "0")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// machinectl, systemd's own.
    pub fn machinectl(&self, arguments: &[&str]) -> Ended {
        run(self.command("machinectl").args(arguments))
    }

    /// `busctl call`.
    pub fn call(&self, arguments: &[&str]) -> Ended {
        run(self.command("busctl").args(["--system", "call"]).args(arguments))
    }

    /// `busctl get-property` of a machine's object, `org.freedesktop.machine1`.
    pub fn machine_property(&self, path: &str, property: &str) -> Ended {
        let object = ["org.freedesktop.machine1", path, "org.freedesktop.machine1.Machine", property];
        run(self.command("busctl").args(["--system", "get-property"]).args(object))
    }

    /// Starts the manager, and waits until it serves.
    pub fn manager(&self, arguments: &[&str]) -> Result<Process, Stop> {
        self.manager_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub fn manager_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Process, Stop> {
        let ready = self.directory.join("ready");
        let _ = fs::remove_file(&ready);
        let socket = UnixDatagram::bind(&ready)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let path = self.directory.join("spinneyd").display().to_string();
        let mut command = self.command(&path);
        let manager = Process::spawn(
            command
                .envs(environment.iter().copied())
                .arg("--instead-of-machined")
                .args(arguments)
                .env("NOTIFY_SOCKET", &ready),
        );
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer)?;
        match buffer.get(..length) {
            Some(b"READY=1\n") => Ok(manager),
            other => Err(format!("the manager says {other:?}").into()),
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        // Of a manager that was killed.
        let _ = fs::remove_dir_all("/run/systemd/machine");
        let _ = fs::remove_file("/run/systemd/io.systemd.Import");
        if self.made_systemd {
            let _ = fs::remove_dir("/run/systemd/system");
            // Machines leave a directory of locks there, as systemd-nspawn does.
            let _ = fs::remove_dir("/run/systemd/machines");
            let _ = fs::remove_dir("/run/systemd/nspawn/locks");
            let _ = fs::remove_dir("/run/systemd/nspawn");
            let _ = fs::remove_dir("/run/systemd");
        }
    }
}
