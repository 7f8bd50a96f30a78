//! Published ports as other machines reach them, many at once, and what is refused of them.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::network_ports::{Lan, accept, ask, connect, inside, is_refused, machine, server, speak};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] = [("reach", reach), ("twice", twice), ("few_files", few_files)];
    rows.map(|(name, test)| Test::new(format!("network_siblings::{name}"), test)).into()
}

/// The default routers of a machine, IPv4 and IPv6: addresses of the host.
fn routers(machine: &Machine) -> Result<[String; 2], Stop> {
    let of = |family: &str| machine.says(&format!("ip {family} route show default | awk '{{ print $3 }}'"));
    Ok([of("-4")?, of("-6")?].map(|address| address.trim().to_owned()))
}

/// A port of the host answers machines of the same zone, of another, or with a pair of their own: at the host's
/// address on a LAN, and at those where machines know the host.
fn reach(context: &Context) -> TestResult {
    let _lan = Lan::new()?;
    let web = machine(context, &["--network-zone=t-one", "-p", "8080:80", "-p", "udp:5300-5302:53-55"])?;
    let sibling = machine(context, &["--network-zone=t-one"])?;
    let stranger = machine(context, &["--network-zone=t-two"])?;
    let alone = machine(context, &["-n"])?;
    let listener = server(&web, 80)?;
    let datagrams = inside(&web, || UdpSocket::bind("0.0.0.0:55"))??;
    for (name, client) in [("sibling", &sibling), ("stranger", &stranger), ("alone", &alone)] {
        let [v4, v6] = routers(client)?;
        for address in ["192.0.2.1", &v4, &v6] {
            let stream = inside(client, || connect(address, 8080))?;
            let stream = stream.map_err(|error| Stop::Fail(format!("{name} at {address}: {error:?}")))?;
            speak(stream, accept(&listener)?)?;
        }
        // The last one of a range.
        let question = inside(client, || UdpSocket::bind("0.0.0.0:0"))??;
        ask(&question, "192.0.2.1", 5302, &datagrams)?;
    }
    // It goes with the machine, for all of them. Dropped, a machine is killed: an init's own time to stop is none of this.
    drop((listener, datagrams, web));
    let [v4, _] = routers(&sibling)?;
    assert!(inside(&sibling, || connect(&v4, 8080).is_err())?);
    assert!(is_refused("192.0.2.1", 8080));
    Ok(())
}

/// The same port twice in one command is refused before anything is made.
fn twice(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let rows: [(&[&str], &str, &str); 3] = [
        (&["-p", "8080:80", "-p", "8080:81"], "tcp:8080:81", "tcp:8080:80"),
        (&["-p", "8000-8010:80-90", "-p", "8005:81"], "tcp:8005:81", "tcp:8000-8010:80-90"),
        (&["-p", "127.0.0.1:8080:80", "-p", "8080:81"], "tcp:8080:81", "tcp:127.0.0.1:8080:80"),
    ];
    for (options, one, other) in rows {
        let name = context.machine_name();
        let mut command = context.spinney();
        command.args(["run", "-x", "-q", "--network-zone=t-twice", "-M", &name]).args(options);
        let ended = run(command.arg(&tree).args(["--", "/bin/true"]));
        assert_eq!(ended.status, 125, "{ended:#?}");
        let told = format!(
            "spinney: error: bad value for --port=: {one} and {other} are of the same port of the host\n  \
             hint: a port of the host leads to one port of a machine\n"
        );
        assert_eq!(ended.stderr, told);
        assert!(!Path::new("/run/spinney/machines").join(&name).exists());
    }
    // Of another protocol, or at another address, it is another one.
    let others = ["-p", "127.0.0.1:8080:80", "-p", "127.0.0.2:8080:81", "-p", "udp:8080:80"];
    let machine = machine(context, &others)?;
    for (address, port) in [("127.0.0.1", 80), ("127.0.0.2", 81)] {
        let listener = server(&machine, port)?;
        speak(connect(address, 8080)?, accept(&listener)?)?;
    }
    Ok(())
}

/// Whoever starts a machine may have few files open, as a shell; its supervisor has as many as it may, its guest what guests have.
fn few_files(context: &Context) -> TestResult {
    const PORTS: u16 = 512;
    let name = context.machine_name();
    let spinney = context.spinney();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=300:4096").arg(spinney.get_program()).args(["run", "-x", "-M", &name]);
    command.args(["--console=read-only", "--notify-ready", "-p"]);
    command.arg(format!("20000-{}:1000-{}", 20_000 + PORTS - 1, 1000 + PORTS - 1));
    command.arg(context.tree("busybox")?);
    for (variable, value) in spinney.get_envs() {
        command.env(variable, value.unwrap_or_default());
    }
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    let limits = |pid: u32| -> Result<String, Stop> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit")?;
        Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(":"))
    };
    assert_eq!(limits(machine.supervisor())?, "4096:4096");
    assert_eq!(limits(machine.state()?.leader.unsigned_abs())?, "1024:4096");
    let last = PORTS - 1;
    let listener = inside(&machine, || std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 1000 + last)))??;
    speak(connect("::1", 20_000 + last)?, accept(&listener)?)?;
    Ok(())
}
