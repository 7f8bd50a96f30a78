//! Ports of the host that lead to machines, and what of the host's is offered in them. The host is the network namespace of the
//! tests with a LAN, which is another one; servers in a machine are sockets of ours that are made in its namespace.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::sockopt::set_socket_linger;
use spinney::sys::network::in_namespace;
use spinney::sys::pipe::wait_for_any;

use crate::command::{Process, capture, contents, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 9] = [
        ("reach", reach),
        ("halves", halves),
        ("thousand", thousand),
        ("life", life),
        ("conflicts", conflicts),
        ("kills", kills),
        ("offers", offers),
        ("joined", joined),
        ("throughput", throughput),
    ];
    rows.map(|(name, test)| Test::new(format!("network_ports::{name}"), test)).into()
}

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace that is connected to the host's: it is 192.0.2.2, the host 192.0.2.1.
pub struct Lan {
    process: Process,
}

impl Lan {
    pub fn new() -> Result<Self, Stop> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "1000"]).stdin(Stdio::null());
        let lan = Self { process: Process::spawn(&mut command) };
        let pid = lan.process.pid();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        wait_until("apart", || namespace(&pid.to_string()) != namespace("self"))?;
        let script = format!(
            "ip link add name lan0 type veth peer name eth0 netns {pid}
             ip address add 192.0.2.1/24 dev lan0
             ip link set lan0 up
             nsenter -t {pid} -n sh -ec 'ip link set lo up; ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up'"
        );
        run(Command::new("sh").args(["-ec", &script])).ok()?;
        Ok(lan)
    }

    /// Does `work` there.
    fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T, Stop> {
        within(self.process.pid(), work)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["link", "delete", "lan0"]));
    }
}

/// Does `work` in the network namespace of process `pid`.
fn within<T>(pid: u32, work: impl FnOnce() -> T) -> Result<T, Stop> {
    Ok(in_namespace(std::fs::File::open(format!("/proc/{pid}/ns/net"))?, work)?)
}

/// A machine in the zone that machines are in by default.
pub fn machine(context: &Context, options: &[&str]) -> Result<Machine, Stop> {
    let mut machine = Machine::start(context, &context.tree("busybox")?, options);
    machine.ready()?;
    Ok(machine)
}

/// Does `work` in a machine's network namespace.
pub fn inside<T>(machine: &Machine, work: impl FnOnce() -> T) -> Result<T, Stop> {
    within(machine.state()?.leader.unsigned_abs(), work)
}

/// Who listens in the machine, at all of its addresses.
pub fn server(machine: &Machine, port: u16) -> Result<TcpListener, Stop> {
    Ok(inside(machine, || TcpListener::bind(("::", port)))??)
}

pub fn connect(address: &str, port: u16) -> Result<TcpStream, Stop> {
    let stream = TcpStream::connect((address, port)).map_err(|error| format!("{address}:{port}: {error}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits for somebody who connects, but not for ever.
fn expect_client(listener: &impl AsFd) -> TestResult {
    let [ready] = wait_for_any([(listener.as_fd(), PollFlags::IN)], Some(PATIENCE))?;
    if ready { Ok(()) } else { Err(Stop::Fail(format!("nobody connects for {PATIENCE:?}"))) }
}

pub fn accept(listener: &TcpListener) -> Result<TcpStream, Stop> {
    expect_client(listener)?;
    let stream = listener.accept()?.0;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn accept_unix(listener: &UnixListener) -> Result<UnixStream, Stop> {
    expect_client(listener)?;
    let stream = listener.accept()?.0;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Says something each way over a connection.
pub fn speak(mut client: TcpStream, mut server: TcpStream) -> TestResult {
    let mut text = [0; 3];
    client.write_all(b"one")?;
    server.read_exact(&mut text)?;
    server.write_all(b"two")?;
    client.read_exact(&mut text)?;
    assert_eq!(&text, b"two");
    Ok(())
}

/// Asks from `client` and is answered; the server is in a machine.
pub fn ask(client: &UdpSocket, to: &str, port: u16, server: &UdpSocket) -> TestResult {
    let mut text = [0; 16];
    [client, server].into_iter().try_for_each(|socket| socket.set_read_timeout(Some(PATIENCE)))?;
    client.connect((to, port))?;
    for question in [b"one".as_slice(), b"another"] {
        client.send(question)?;
        let (length, from) = server.recv_from(&mut text).map_err(|error| format!("{to}: {error}"))?;
        server.send_to(&text[..length], from)?;
        let length = client.recv(&mut text).map_err(|error| format!("{to}: {error}"))?;
        assert_eq!(&text[..length], question);
    }
    Ok(())
}

pub fn is_refused(address: &str, port: u16) -> bool {
    TcpStream::connect((address, port)).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn reach(context: &Context) -> TestResult {
    let lan = Lan::new()?;
    let options = ["-p", "8080:80", "-p", "udp:5353:53", "-p", "127.0.0.9:81:80", "-p", "9000-9002:90-92"];
    let machine = machine(context, &options)?;
    let listener = server(&machine, 80)?;
    for address in ["127.0.0.1", "::1", "192.0.2.1"] {
        speak(connect(address, 8080)?, accept(&listener)?)?;
    }
    let from_lan = lan.within(|| connect("192.0.2.1", 8080))??;
    speak(from_lan, accept(&listener)?)?;
    speak(connect("127.0.0.9", 81)?, accept(&listener)?)?;
    for elsewhere in ["127.0.0.1", "::1", "192.0.2.1"] {
        assert!(is_refused(elsewhere, 81), "{elsewhere}");
    }
    for offset in 0..3 {
        let listener = server(&machine, 90 + offset)?;
        speak(connect("127.0.0.1", 9000 + offset)?, accept(&listener)?)?;
    }
    assert!(is_refused("127.0.0.1", 9003));
    let datagrams = inside(&machine, || UdpSocket::bind("0.0.0.0:53"))??;
    for (own, address) in [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.2"), ("::1", "::1")] {
        ask(&UdpSocket::bind((own, 0))?, address, 5353, &datagrams)?;
    }
    ask(&lan.within(|| UdpSocket::bind("192.0.2.2:0"))??, "192.0.2.1", 5353, &datagrams)?;
    drop((listener, datagrams));
    machine.stop()?;
    Ok(())
}

fn halves(context: &Context) -> TestResult {
    let machine = machine(context, &["-p", "8080:80"])?;
    let listener = server(&machine, 80)?;
    for address in ["127.0.0.1", "::1"] {
        for client_first in [true, false] {
            let (client, server) = (connect(address, 8080)?, accept(&listener)?);
            let (mut first, mut second) = if client_first { (client, server) } else { (server, client) };
            let mut text = String::new();
            first.write_all(b"question")?;
            first.shutdown(Shutdown::Write)?;
            second.read_to_string(&mut text)?;
            assert_eq!(text, "question");
            second.write_all(b"answer")?;
            drop(second);
            text.clear();
            first.read_to_string(&mut text)?;
            assert_eq!(text, "answer");
        }
        for client_first in [true, false] {
            let (mut client, mut server) = (connect(address, 8080)?, accept(&listener)?);
            client.write_all(b"x")?;
            server.read_exact(&mut [0])?;
            let (gone, mut left) = if client_first { (client, server) } else { (server, client) };
            set_socket_linger(&gone, Some(Duration::ZERO))?;
            drop(gone);
            let error = left.read(&mut [0]).expect_err("a reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{address} {client_first}");
        }
    }
    machine.stop()?;
    Ok(())
}

fn thousand(context: &Context) -> TestResult {
    const MANY: usize = 1000;
    let machine = machine(context, &["-p", "8080:80"])?;
    let listener = server(&machine, 80)?;
    for address in ["127.0.0.1", "::1"] {
        let mut pairs = Vec::with_capacity(MANY);
        for _ in 0..MANY {
            pairs.push((connect(address, 8080)?, accept(&listener)?));
        }
        // All at once are open; each says something of its own, each way.
        for (number, (client, server)) in (0_u32..).zip(&mut pairs) {
            client.write_all(&number.to_be_bytes())?;
            server.write_all(&(!number).to_be_bytes())?;
        }
        for (number, (client, server)) in (0_u32..).zip(&mut pairs) {
            let mut heard = [0; 4];
            server.read_exact(&mut heard)?;
            assert_eq!(u32::from_be_bytes(heard), number);
            client.read_exact(&mut heard)?;
            assert_eq!(u32::from_be_bytes(heard), !number);
        }
    }
    machine.stop()?;
    Ok(())
}

/// Runs the program; it must end well.
fn spinney(context: &Context, arguments: &[&str]) -> Result<String, Stop> {
    Ok(run(context.spinney().args(arguments)).ok()?)
}

/// The proxies of machine `name`, by their command lines.
fn proxies(name: &str) -> Vec<i32> {
    let line = format!("spinney-ports\0{name}\0");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.starts_with(line.as_bytes()))
        })
        .collect()
}

/// Waits until `holds`.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return Err(Stop::Fail(format!("not {what} after {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn life(context: &Context) -> TestResult {
    let mut machine = machine(context, &["-p", "8080:80"])?;
    let name = machine.name.clone();
    let listener = server(&machine, 80)?;
    let legend = "NAME KIND PROTOCOL HOST MACHINE\n";
    let list = |context: &Context| -> Result<String, Stop> {
        let text = spinney(context, &["ports", &name])?;
        Ok(text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect())
    };
    assert_eq!(list(context)?, format!("{legend}{name} port tcp 8080 80\n"));
    spinney(context, &["publish", &name, "8081:80", "udp:127.0.0.1:5300-5301:53-54", "--offer=2222"])?;
    assert_eq!(
        list(context)?,
        format!(
            "{legend}{name} port tcp 8080 80\n{name} port tcp 8081 80\n{name} port udp 127.0.0.1:5300-5301 53-54\n\
             {name} offer tcp 2222 2222\n"
        )
    );
    speak(connect("::1", 8081)?, accept(&listener)?)?;
    let mut ended = connect("::1", 8081)?;
    let _server = accept(&listener)?;
    // All or nothing: the second is no port of it.
    let refused = run(context.spinney().args(["unpublish", &name, "8081", "7777"]));
    assert_eq!(
        refused.stderr,
        format!(
            "spinney: error: machine {name:?} refuses: port 7777/tcp does not lead to the machine\n  \
             hint: spinney ports shows what there is\n"
        )
    );
    assert_eq!(refused.status, 125);
    spinney(context, &["unpublish", &name, "8081"])?;
    // It is free at once, and who was connected is told.
    let free = TcpListener::bind(("::", 8081))?;
    let error = ended.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop(free);
    spinney(context, &["publish", &name, "8082:80"])?;
    let mut before = connect("::1", 8082)?;
    let _server = accept(&listener)?;
    spinney(context, &["reboot", &name])?;
    machine.ready()?;
    let error = before.read(&mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop(listener);
    let listener = server(&machine, 80)?;
    for port in [8080, 8082] {
        for address in ["127.0.0.1", "::1"] {
            speak(connect(address, port)?, accept(&listener)?)?;
        }
    }
    let host = TcpListener::bind("127.0.0.1:2222")?;
    let client = inside(&machine, || connect("127.0.0.1", 2222))??;
    speak(client, accept(&host)?)?;
    assert!(!proxies(&name).is_empty());
    drop(listener);
    let told = capture();
    let mut command = context.spinney();
    command.args(["events", "--past", "--json", &name]).stdout(told.try_clone()?);
    let mut events = Process::spawn(&mut command);
    wait_until("told", || contents(&told).contains("8082"))?;
    machine.stop()?;
    events.wait(PATIENCE).ok_or("events do not end")?;
    let text = contents(&told);
    let told: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|event| event["data"].get("port").is_some() || event["data"].get("offer").is_some())
        .map(|event| format!("{} {}", event["event"], event["data"]))
        .collect();
    assert_eq!(
        told,
        [
            r#""published" {"port":"tcp:8081:80"}"#,
            r#""published" {"port":"udp:127.0.0.1:5300-5301:53-54"}"#,
            r#""offered" {"offer":"tcp:2222:2222"}"#,
            r#""unpublished" {"port":"tcp:8081:80"}"#,
            r#""published" {"port":"tcp:8082:80"}"#,
        ]
    );
    assert!(proxies(&name).is_empty());
    assert_eq!(list(context).err().map(|_| ()), Some(()));
    for port in [8080, 8082] {
        TcpListener::bind(("::", port))?;
    }
    UdpSocket::bind("127.0.0.1:5300")?;
    Ok(())
}

fn conflicts(context: &Context) -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let us = std::process::id();
    let comm = std::fs::read_to_string("/proc/self/comm")?;
    let other = machine(context, &["-p", "8080:80"])?;
    let ss = "ss -ltnp shows who listens where";
    let rows = [
        (
            format!("{port}:80"),
            format!("port {port}/tcp of the host is in use by {:?}, process {us}", comm.trim_end()),
            format!("another port: --port={}:80; {ss}", port.checked_add(1).unwrap_or(port - 1)),
        ),
        (
            "8079-8081:79-81".to_owned(),
            format!("port 8080/tcp of the host leads to machine {:?} already", other.name),
            format!("another port: --port=8081:80; spinney ports {} shows that machine's", other.name),
        ),
        (
            "198.51.100.1:80".to_owned(),
            "198.51.100.1 is not an address of this host".to_owned(),
            "ip address shows them; without an address a port is at all of them".to_owned(),
        ),
    ];
    let tree = context.tree("busybox")?;
    let refused = |options: &[&str], (message, hint): (&str, &str)| {
        let name = context.machine_name();
        let mut command = context.spinney();
        command.args(["run", "-x", "-q", "-M", &name]).args(options).arg(&tree).args(["--", "/bin/true"]);
        let ended = run(&mut command);
        assert_eq!(ended.status, 125, "{ended:#?}");
        let text = format!("spinney: error: {message}\n  hint: {hint}\n");
        assert!(ended.stderr.ends_with(&text), "{ended:#?}\n{text}");
        assert!(!Path::new("/run/spinney/machines").join(&name).exists());
    };
    for (mapping, message, hint) in &rows {
        refused(&["--network-zone=spinney", "-p", mapping], (message, hint));
    }
    // And while a machine runs.
    let overlapping = run(context.spinney().args(["publish", &other.name, "8078-8080:5-7"]));
    assert_eq!(
        overlapping.stderr,
        format!(
            "spinney: error: machine {:?} refuses: ports 8078-8080/tcp overlaps port 8080/tcp, which leads to the machine \
             already\n  hint: give each port once\n",
            other.name
        )
    );
    assert_eq!(overlapping.status, 125);
    refused(
        &["--network-zone=spinney", "--offer=/run/x:/etc/x"],
        (
            "a socket of the host cannot be offered at \"/etc/x\" of the machine",
            "below /run, for example /run/postgresql.sock: the rest is the image's",
        ),
    );
    other.stop()?;
    drop(taken);
    Ok(())
}

fn kills(context: &Context) -> TestResult {
    let machine = machine(context, &["-p", "8080:80", "--offer=2222"])?;
    let listener = server(&machine, 80)?;
    let host = TcpListener::bind("127.0.0.1:2222")?;
    let mut lost = connect("::1", 8080)?;
    let _server = accept(&listener)?;
    for pid in proxies(&machine.name) {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).ok_or("no pid")?,
            rustix::process::Signal::KILL,
        )?;
    }
    // Who was connected hears of it; who comes waits for the next proxy.
    assert!(matches!(lost.read(&mut [0]), Ok(0) | Err(_)));
    speak(connect("::1", 8080)?, accept(&listener)?)?;
    speak(inside(&machine, || connect("::1", 2222))??, accept(&host)?)?;
    machine.signal(libc::SIGKILL);
    wait_until("gone", || proxies(&machine.name).is_empty())?;
    wait_until("free", || TcpListener::bind(("::", 8080)).is_ok())?;
    drop((listener, machine));
    spinney(context, &["gc"])?;
    Ok(())
}

fn offers(context: &Context) -> TestResult {
    let socket = context.directory.join("host.sock");
    let options = [
        "--offer=5432:15432".to_owned(),
        "--offer=udp:53".to_owned(),
        format!("--offer={}:/run/host-db/db.sock", socket.display()),
        format!("--offer={}:7000", socket.display()),
        "--offer=5432:/run/tcp.sock".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut machine = machine(context, &options)?;
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:5432")?, UnixListener::bind(&socket)?);
    // Only root of the host may connect; who comes by the offer is not that one for it.
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    let guest_root = std::fs::metadata(format!("/proc/{}", machine.state()?.leader))?.uid();
    assert_ne!(guest_root, 0);
    let datagrams = UdpSocket::bind("127.0.0.1:53")?;
    for boot in 0..2 {
        for address in ["127.0.0.1", "::1"] {
            speak(inside(&machine, || connect(address, 15432))??, accept(&tcp)?)?;
            ask(&inside(&machine, || UdpSocket::bind((address, 0)))??, address, 53, &datagrams)?;
        }
        // Everybody in the machine may connect, as to a port.
        let script = "stat -c %a:%u:%g:%F /run/host-db/db.sock";
        assert_eq!(machine.says(script)?, "666:0:0:socket", "{boot}");
        let root = format!("/proc/{}/root/run", machine.state()?.leader);
        let mut client = UnixStream::connect(format!("{root}/host-db/db.sock"))?;
        let mut server = accept_unix(&unix)?;
        let peer = rustix::net::sockopt::socket_peercred(&server)?;
        assert_eq!((peer.uid.as_raw(), peer.gid.as_raw()), (guest_root, guest_root), "{boot}");
        server.write_all(b"hello")?;
        drop(server);
        let mut text = String::new();
        client.read_to_string(&mut text)?;
        assert_eq!(text, "hello");
        let mut client = inside(&machine, || connect("127.0.0.1", 7000))??;
        let mut server = accept_unix(&unix)?;
        client.write_all(b"x")?;
        server.read_exact(&mut [0])?;
        let mut client = UnixStream::connect(format!("{root}/tcp.sock"))?;
        let mut server = accept(&tcp)?;
        client.write_all(b"y")?;
        server.read_exact(&mut [0])?;
        if boot == 0 {
            spinney(context, &["reboot", &machine.name])?;
            machine.ready()?;
        }
    }
    // What listens in the machine is not taken away from it.
    let own = inside(&machine, || TcpListener::bind("127.0.0.1:6000"))??;
    let refused = run(context.spinney().args(["publish", &machine.name, "--offer=5432:6000"]));
    assert_eq!(
        refused.stderr,
        format!(
            "spinney: error: machine {:?} refuses: port 6000/tcp is in use in the machine\n  \
             hint: offer it at another port of the machine\n",
            machine.name
        )
    );
    drop(own);
    spinney(context, &["unpublish", &machine.name, "--offer=udp:53", "--offer=5432:15432"])?;
    assert!(inside(&machine, || is_refused("127.0.0.1", 15432))?);
    assert!(inside(&machine, || UdpSocket::bind("127.0.0.1:53"))?.is_ok());
    machine.stop()?;
    Ok(())
}

/// What is offered to a machine in a network namespace that somebody else made.
fn joined(context: &Context) -> TestResult {
    let lan = Lan::new()?;
    let path = format!("--network-namespace-path=/proc/{}/ns/net", lan.process.pid());
    let machine = machine(context, &[&path, "--offer=5432"])?;
    let host = TcpListener::bind("127.0.0.1:5432")?;
    for address in ["127.0.0.1", "::1"] {
        speak(lan.within(|| connect(address, 5432))??, accept(&host)?)?;
    }
    machine.stop()?;
    assert!(lan.within(|| is_refused("127.0.0.1", 5432))?);
    Ok(())
}

/// How long it takes to send `bytes` from `client` to `server`.
fn seconds_for(bytes: usize, mut client: TcpStream, mut server: TcpStream) -> Result<f64, Stop> {
    let started = Instant::now();
    let writer = std::thread::spawn(move || {
        let block = vec![7; 128 << 10];
        (0..bytes / block.len()).try_for_each(|_| client.write_all(&block))
    });
    let (mut buffer, mut read) = (vec![0; 128 << 10], 0);
    while read < bytes {
        read += server.read(&mut buffer)?;
    }
    writer.join().map_err(|_| "the writer panicked")??;
    Ok(started.elapsed().as_secs_f64())
}

fn throughput(context: &Context) -> TestResult {
    const BYTES: usize = 256 << 20;
    /// Of what goes to the machine's own address. Two processors are shared by client, server, proxy and whatever else the host has to
    /// do: what is measured here, 0.4 to 0.55, has a margin for that.
    const LEAST: f64 = 0.2;
    let machine = machine(context, &["-p", "8080:80"])?;
    let listener = server(&machine, 80)?;
    let best = |mut measure: Box<dyn FnMut() -> Result<f64, Stop> + '_>| -> Result<f64, Stop> {
        (0..3).map(|_| measure()).try_fold(f64::MAX, |best, next| Ok(best.min(next?)))
    };
    let network = std::fs::read(format!("/run/spinney/machines/{}/network", machine.name))?;
    let network: spinney::network::state::NetworkState = serde_json::from_slice(&network)?;
    let own = network.addresses().next().ok_or("it has no address")?.to_string();
    let alone = best(Box::new(|| seconds_for(BYTES, connect(&own, 80)?, accept(&listener)?)))?;
    for address in ["127.0.0.1", "::1"] {
        let forwarded = best(Box::new(|| seconds_for(BYTES, connect(address, 8080)?, accept(&listener)?)))?;
        println!("# throughput over {address}: {:.2} of direct", alone / forwarded);
        assert!(alone / forwarded > LEAST, "{address}: {forwarded} s, to its own address {alone} s");
    }
    machine.stop()?;
    Ok(())
}
