//! `io.systemd.Machine`: its methods, who may call them, and clients that do it wrong.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal as Kill;
use serde_json::{Map, Value, json};
use spinney::sys::process::pidfd_id;
use spinney::sys::socket::receive;
use spinney::varlink::Frames;

use super::client::read_to_end;
use super::fixture::Bus;
use super::polkit::Polkit;
use crate::command::{PATIENCE, Process, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_links::soon;

const SOCKET: &str = "/run/systemd/machine/io.systemd.Machine";
const NOBODY: u32 = 65534;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 5] = [
        ("methods", methods),
        ("registration", registration),
        ("others_than_root", others_than_root),
        ("garbage", garbage),
        ("passed_socket", passed_socket),
    ];
    rows.map(|(name, test)| Test::new(format!("{}varlink::{name}", super::TIER), test)).into()
}

/// A connection.
pub struct Client {
    socket: UnixStream,
    frames: Frames,
    fds: Vec<OwnedFd>,
}

impl Client {
    pub fn connect() -> Result<Self, Stop> {
        Self::connect_to(SOCKET)
    }

    pub fn connect_to(path: &str) -> Result<Self, Stop> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, frames: Frames::new(1 << 20), fds: Vec::new() })
    }

    /// Sends a call of `io.systemd.Machine`, or of another interface by its whole name.
    pub fn send(&mut self, method: &str, parameters: &Value, more: bool) -> TestResult {
        let method = match method.contains('.') {
            true => method.to_owned(),
            false => format!("io.systemd.Machine.{method}"),
        };
        let mut call = json!({ "method": method, "parameters": parameters });
        if more {
            call["more"] = true.into();
        }
        self.write(format!("{call}\0").as_bytes())
    }

    /// Sends that call until no more of it is taken.
    pub fn send_all_that_is_taken(&mut self, method: &str) -> TestResult {
        self.socket.set_nonblocking(true)?;
        let call = format!("{}\0", json!({ "method": method, "more": true }));
        let mut sent = 0;
        loop {
            match self.socket.write(&call.as_bytes()[sent..]) {
                Ok(length) => sent = (sent + length) % call.len(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> TestResult {
        Ok(self.socket.write_all(bytes)?)
    }

    /// The next reply; `None` when there will be none.
    pub fn reply(&mut self) -> Result<Option<Value>, Stop> {
        let mut buffer = vec![0; 4096];
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(serde_json::from_slice(&message)?));
            }
            let message = match receive(&self.socket, &mut buffer) {
                Err(error) if error.errno() == rustix::io::Errno::CONNRESET => return Ok(None),
                message => message?.ok_or("no reply comes")?,
            };
            self.fds.extend(message.fds);
            if message.length == 0 {
                return Ok(None);
            }
            self.frames.extend(&buffer[..message.length]);
        }
    }

    /// What a call gives: its results, or the last word of its error's name.
    pub fn call(
        &mut self,
        method: &str,
        parameters: Value,
    ) -> Result<Result<Map<String, Value>, String>, Stop> {
        self.send(method, &parameters, false)?;
        let mut reply = self.reply()?.ok_or("the connection is closed")?;
        Ok(match reply.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.rsplit('.').next().unwrap_or_default().to_owned()),
            None => Ok(reply["parameters"].as_object_mut().map(std::mem::take).unwrap_or_default()),
        })
    }

    /// The results of a call that must give some.
    pub fn gives(&mut self, method: &str, parameters: Value) -> Result<Map<String, Value>, Stop> {
        self.call(method, parameters)?.map_err(|error| Stop::Fail(format!("{method}: {error}")))
    }

    fn fd(&mut self) -> Result<File, Stop> {
        Ok(File::from(self.fds.pop().ok_or("no fd came")?))
    }
}

fn ended(mut manager: Process) -> TestResult {
    manager.signal(Kill::TERM.as_raw());
    manager.wait(PATIENCE).ok_or("the manager does not end")?;
    Ok(())
}

fn methods(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let state = machine.state()?;
    let name = machine.name.as_str();
    let mut client = Client::connect()?;
    let info = client.gives("org.varlink.service.GetInfo", json!({}))?;
    assert_eq!(
        info["interfaces"],
        json!(["org.varlink.service", "io.systemd.Machine", "io.systemd.MachineImage"])
    );
    let one = client.gives("List", json!({ "name": name, "acquireMetadata": "yes" }))?;
    assert_eq!((&one["class"], &one["service"]), (&json!("container"), &json!("spinney")));
    assert_eq!(one["leader"]["pid"], json!(state.leader));
    assert_eq!(one["OSRelease"], json!(["ID=busybox", "PRETTY_NAME=busybox (Debian 13)"]));
    assert_eq!(one["UIDShift"], json!(state.id_base));
    assert_eq!(one["id"], json!(state.uuid.replace('-', "")));
    client.send("List", &json!({}), true)?;
    let mut names = Vec::new();
    loop {
        let reply = client.reply()?.ok_or("the connection is closed")?;
        names.push(reply["parameters"]["name"].as_str().unwrap_or_default().to_owned());
        if reply.get("continues") != Some(&Value::Bool(true)) {
            break;
        }
    }
    assert_eq!(names, [".host", name]);
    // By a process of it.
    let by_pid = client.gives("List", json!({ "pid": { "pid": state.leader } }))?;
    assert_eq!(by_pid["name"], json!(name));
    let tty = client.gives("Open", json!({ "name": name, "mode": "tty" }))?;
    assert_eq!(tty, *json!({ "ptyFileDescriptor": 0, "ptyPath": "/dev/pts/1" }).as_object().unwrap());
    drop(client.fd()?);
    let words = ["sh", "-c", "echo $X"];
    let shell =
        json!({ "name": name, "mode": "shell", "path": "/bin/sh", "args": words, "environment": ["X=y z"] });
    client.gives("Open", shell)?;
    assert_eq!(read_to_end(&mut client.fd()?)?, "y z\n");
    let here = context.subdirectory("files");
    fs::write(here.join("file"), "content\n")?;
    let both = |path: &str| here.join(path).display().to_string();
    client.gives("CopyTo", json!({ "name": name, "source": both("file"), "destination": "/tmp/there" }))?;
    client.gives("CopyFrom", json!({ "name": name, "source": "/tmp/there", "destination": both("back") }))?;
    assert_eq!(fs::read_to_string(here.join("back"))?, "content\n");
    let bind =
        json!({ "name": name, "source": both(""), "destination": "/bound", "readOnly": true, "mkdir": true });
    client.gives("BindMount", bind)?;
    assert_eq!(machine.says("cat /bound/file")?, "content");
    client.gives("OpenRootDirectory", json!({ "name": name }))?;
    let root = client.fd()?;
    assert!(rustix::fs::statat(&root, "tmp/there", rustix::fs::AtFlags::empty()).is_ok());
    let mapped = client.gives("MapFrom", json!({ "name": name, "uid": 7, "gid": 8 }))?;
    assert_eq!(mapped, *json!({ "uid": state.id_base + 7, "gid": state.id_base + 8 }).as_object().unwrap());
    let mapped = client.gives("MapTo", json!({ "uid": state.id_base + 7 }))?;
    assert_eq!(mapped, *json!({ "uid": 7, "machineName": name }).as_object().unwrap());
    let rows = [
        ("List", json!({}), "ExpectedMore"),
        ("List", json!({ "name": "nobody" }), "NoSuchMachine"),
        ("List", json!({ "pid": 1 }), "NoSuchMachine"),
        ("List", json!({ "name": "x", "pid": { "pid": state.leader } }), "NoSuchMachine"),
        ("Terminate", json!({}), "InvalidParameter"),
        ("Terminate", json!({ "name": ".host" }), "NotSupported"),
        ("Terminate", json!({ "name": "../../x" }), "InvalidParameter"),
        // We are in no machine.
        ("List", json!({ "pid": 0 }), "NoSuchMachine"),
        ("List", json!({ "pid": { "pid": state.leader, "bootId": "0".repeat(32) } }), "InvalidParameter"),
        ("Kill", json!({ "name": name, "signal": 77 }), "InvalidParameter"),
        ("MapTo", json!({ "uid": 1000 }), "UserInHostRange"),
        ("MapTo", json!({ "gid": 4_294_900_000_u32 }), "NoSuchGroup"),
        ("CopyTo", json!({ "name": name, "source": "../x" }), "InvalidParameter"),
        ("Absent", json!({}), "MethodNotFound"),
        ("org.x.Absent", json!({}), "InterfaceNotFound"),
    ];
    for (method, parameters, error) in rows {
        assert_eq!(client.call(method, parameters.clone())?, Err(error.to_owned()), "{method} {parameters}");
    }
    client.gives("Terminate", json!({ "name": name }))?;
    machine.wait()?;
    ended(manager)?;
    assert!(!Path::new(SOCKET).exists());
    Ok(())
}

fn registration(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut leader = Process::spawn(Command::new("sleep").arg("600").stdin(Stdio::null()));
    let mut client = Client::connect()?;
    let mut machine = json!({
        "name": "lab", "class": "vm", "service": "lab", "vSockCid": 7, "sshAddress": "vsock/7",
        "sshPrivateKeyPath": "/run/key", "controlAddress": "/run/lab/control",
        // The host cannot have been booted so, nor can a process have such a pidfd.
        "leaderProcessId": { "pid": leader.pid(), "bootId": "0".repeat(32) },
    });
    assert_eq!(client.call("Register", machine.clone())?, Err("InvalidParameter".to_owned()));
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(leader.pid().cast_signed()).ok_or("no pid")?,
        rustix::process::PidfdFlags::empty(),
    )?;
    machine["leaderProcessId"]["bootId"] = boot.trim().into();
    if let Some(id) = pidfd_id(&pidfd) {
        machine["leaderProcessId"]["pidfdId"] = (id + 1).into();
        assert_eq!(client.call("Register", machine.clone())?, Err("InvalidParameter".to_owned()));
        machine["leaderProcessId"]["pidfdId"] = id.into();
        machine["supervisorProcessId"] = json!({ "pid": leader.pid(), "pidfdId": id + 1 });
        assert_eq!(client.call("Register", machine.clone())?, Err("InvalidParameter".to_owned()));
        machine["supervisorProcessId"]["pidfdId"] = id.into();
    }
    assert_eq!(client.gives("Register", machine.clone())?, Map::new());
    assert_eq!(client.call("Register", machine)?, Err("MachineExists".to_owned()));
    let told = client.gives("List", json!({ "name": "lab" }))?;
    assert_eq!((&told["class"], &told["vSockCid"]), (&json!("vm"), &json!(7)));
    assert_eq!(told["controlAddress"], json!("/run/lab/control"));
    assert_eq!(told["leader"]["pid"], json!(leader.pid()));
    // The bus tells of it too.
    let shown = bus.machinectl(&["show", "lab", "--property=SSHAddress", "--value"]).ok()?;
    assert_eq!(shown, "vsock/7\n");
    assert_eq!(client.call("OpenRootDirectory", json!({ "name": "lab" }))?, Err("NotSupported".to_owned()));
    assert_eq!(client.call("Unregister", json!({ "name": "other" }))?, Err("NoSuchMachine".to_owned()));
    assert_eq!(client.gives("Unregister", json!({ "name": "lab" }))?, Map::new());
    assert_eq!(client.call("List", json!({ "name": "lab" }))?, Err("NoSuchMachine".to_owned()));
    leader.signal(libc::SIGKILL);
    leader.wait(PATIENCE).ok_or("it does not end")?;
    ended(manager)
}

/// Does `work` as nobody, in a thread: others are a thread's own as far as the kernel goes (setresuid(2)).
fn as_nobody<T: Send>(work: impl FnOnce() -> Result<T, Stop> + Send) -> Result<T, Stop> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (rustix::fs::Uid::from_raw(NOBODY), rustix::fs::Gid::from_raw(NOBODY));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            work()
        });
        thread.join().map_err(|_| Stop::Fail("the thread panicked".to_owned()))?
    })
}

fn others_than_root(context: &Context) -> TestResult {
    let bus = Bus::strict(context)?;
    let manager = bus.manager(&[])?;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let name = machine.name.clone();
    let call = |method: &'static str, parameters: Value| {
        as_nobody(move || Client::connect()?.call(method, parameters))
    };
    // Without polkit they may look.
    assert!(call("List", json!({ "name": name }))?.is_ok());
    assert_eq!(call("Terminate", json!({ "name": name }))?, Err("PermissionDenied".to_owned()));
    let polkit = Polkit::start(&bus)?;
    let refused = call("Open", json!({ "name": name, "mode": "login" }))?;
    assert_eq!(refused, Err("InteractiveAuthenticationRequired".to_owned()));
    let asking = json!({ "name": name, "mode": "login", "allowInteractiveAuthentication": true });
    assert_eq!(call("Open", asking)?, Err("PermissionDenied".to_owned()));
    let asked: Vec<_> =
        polkit.asked().into_iter().map(|asked| (asked.action, asked.subject, asked.interactive)).collect();
    let question =
        |interactive| ("org.freedesktop.machine1.login".to_owned(), "unix-process".to_owned(), interactive);
    assert_eq!(asked, [question(false), question(true)]);
    polkit.allow(&["org.freedesktop.machine1.manage-machines"]);
    assert_eq!(call("Terminate", json!({ "name": name }))?, Ok(Map::new()));
    machine.wait()?;
    // Nobody says of others' processes that they are at a machine of his: who asks about these would be told of that one.
    polkit.allow(&["org.freedesktop.machine1.register-machine"]);
    let mut sleep = Command::new("setpriv");
    sleep.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "600"]);
    let mut leader = Process::spawn(sleep.stdin(Stdio::null()));
    let status = format!("/proc/{}/status", leader.pid());
    soon(|| Ok(fs::read_to_string(&status)?.contains("Uid:\t65534")), "it stays root's")?;
    let lab = json!({ "name": "lab", "class": "container", "leader": leader.pid() });
    let watched_by = |pid: u32| {
        let mut lab = lab.clone();
        lab["supervisor"] = pid.into();
        lab
    };
    assert_eq!(call("Register", watched_by(std::process::id()))?, Err("PermissionDenied".to_owned()));
    assert_eq!(call("Register", watched_by(leader.pid()))?, Ok(Map::new()));
    assert_eq!(call("Unregister", json!({ "name": "lab" }))?, Ok(Map::new()));
    leader.signal(libc::SIGKILL);
    leader.wait(PATIENCE).ok_or("it does not end")?;
    ended(manager)
}

/// Whoever sends what is no call is hung up on, and nobody else notices.
fn garbage(context: &Context) -> TestResult {
    let bus = Bus::start(context)?;
    let manager = bus.manager(&[])?;
    let mut good = Client::connect()?;
    let long = vec![b'x'; 300 << 10];
    let rows: [&[u8]; 7] = [b"\0", b"hello\0", b"{}\0", b"[1]\0", b"{\"method\":7}\0", b"\xff\xfe\0", &long];
    for bytes in rows {
        let mut bad = Client::connect()?;
        // It may be hung up on while it still sends.
        let _ = bad.write(bytes);
        assert_eq!(bad.reply()?, None, "{:?}", &bytes[..bytes.len().min(20)]);
        good.send("List", &json!({ "name": ".host" }), false)?;
        assert_eq!(good.reply()?.ok_or("closed")?["parameters"]["name"], json!(".host"));
    }
    // One that is cut off, and one that leaves without a word.
    Client::connect()?.write(b"{\"method\":\"io.systemd.Machine.Li")?;
    drop(Client::connect()?);
    // Those who only sit there do not keep root out.
    let idle: Vec<Client> = as_nobody(|| (0..200).map(|_| Client::connect()).collect())?;
    assert!(Client::connect()?.call("List", json!({ "name": ".host" }))?.is_ok());
    drop(idle);
    ended(manager)
}

/// systemd listens, and passes the socket when somebody comes.
fn passed_socket(context: &Context) -> TestResult {
    if run(Command::new("systemd-socket-activate").arg("--version")).status != 0 {
        return Err(Stop::Skip("no systemd-socket-activate here".to_owned()));
    }
    let bus = Bus::start(context)?;
    fs::create_dir_all(Path::new(SOCKET).parent().ok_or("no parent")?)?;
    let ready = context.directory.join("activated");
    let notify = std::os::unix::net::UnixDatagram::bind(&ready)?;
    notify.set_read_timeout(Some(PATIENCE))?;
    let mut command = bus.command("systemd-socket-activate");
    for variable in
        [format!("DBUS_SYSTEM_BUS_ADDRESS={}", bus.address()), format!("NOTIFY_SOCKET={}", ready.display())]
    {
        command.arg("-E").arg(variable);
    }
    command.args(["-l", SOCKET]).arg(bus.spinneyd()).arg("--instead-of-machined").stderr(Stdio::null());
    let manager = Process::spawn(&mut command);
    let begun = std::time::Instant::now();
    let mut client = loop {
        match Client::connect() {
            Ok(client) => break client,
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(std::time::Duration::from_millis(5)),
            Err(stop) => return Err(stop),
        }
    };
    assert_eq!(client.gives("List", json!({ "name": ".host" }))?["class"], json!("host"));
    let mut buffer = [0; 64];
    let length = notify.recv(&mut buffer)?;
    assert_eq!(&buffer[..length], b"READY=1\n");
    ended(manager)?;
    // It is systemd's, for the next who comes.
    assert!(Path::new(SOCKET).exists());
    fs::remove_file(SOCKET)?;
    Ok(())
}
