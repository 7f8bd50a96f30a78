//! Names: what a machine's name server answers and whom it asks, on a host that is a network namespace; what the host knows of machines.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
use spinney::network::dns::name::Name;
use spinney::network::dns::{Config, DnsServer};
use spinney::network::host_names::hosts_file::{HostsFile, HostsFileError};
use spinney::network::host_names::{HostName, HostNames, Told, forget, resolve_hook, sweep};
use spinney::network::plan::{Addresses, Family, LinkKind, LinkPlan, NetworkPlan};
use spinney::network::service::Service;
use spinney::network::state::NetworkState;
use spinney::settings::network::ZoneName;

use crate::command::{Process, capture, contents, quickest, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::{Machine, state_of};

const MACHINES: &str = "/run/spinney/machines";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const PATIENCE: Duration = Duration::from_secs(10);
/// Of the host of these tests; nobody else has it.
const NAMESPACE: u64 = 7;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 8] = [
        ("servers_of_the_host", servers_of_the_host),
        ("hundred_siblings", hundred_siblings),
        ("hosts_file", hosts_file),
        ("hosts_file_that_stays", hosts_file_that_stays),
        ("hook", hook),
        ("resolved", resolved),
        ("machines", machines),
        ("killed", killed),
    ];
    rows.map(|(name, test)| Test::new(format!("network_names::{name}"), test)).into()
}

/// A thread with a poll loop, as supervisors have it.
struct Served {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Box<dyn Service + Send>>>,
}

impl Served {
    fn new(mut service: Box<dyn Service + Send>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let deadline = service.deadline();
                let wait = deadline
                    .map_or(Duration::from_millis(20), |at| at.saturating_duration_since(Instant::now()));
                let wait = wait.min(Duration::from_millis(20));
                let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
                let interest = service.interest();
                let mut fds: Vec<_> =
                    interest.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd.as_fd(), *flags)).collect();
                poll(&mut fds, Some(&timeout)).unwrap();
                drop(fds);
                drop(interest);
                service.on_ready(Instant::now());
            }
            service
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> Box<dyn Service + Send> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The network of a machine in the zone `spinney`, on a host whose address there is that of loopback: so is the machine's.
fn plan(address: [u8; 4]) -> NetworkPlan {
    let v4 = Family { address: address.into(), prefix: 16, gateway: Some([127, 0, 0, 1].into()), host: None };
    let link = LinkPlan {
        addresses: Some(Addresses { v4: Some(v4), v6: None }),
        ..LinkPlan::new(LinkKind::Zone(ZoneName::default_zone()), "host0".parse().unwrap())
    };
    NetworkPlan {
        links: vec![link],
        dns: vec![IpAddr::from([127, 0, 0, 1])],
        domain: Some("spinney.internal".to_owned()),
        ..NetworkPlan::default()
    }
}

/// A name server, and a client of it.
fn server(machine: &str, plan: &NetworkPlan) -> (Served, UdpSocket) {
    let config = Config {
        machine,
        plan,
        listen: &plan.dns,
        namespace: NAMESPACE,
        machines: Path::new(MACHINES),
        resolv_conf: Path::new(RESOLV_CONF),
    };
    let server = DnsServer::open(&config).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(("127.0.0.1", server.port().unwrap())).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (Served::new(Box::new(server)), client)
}

/// The code of the answer and the last bytes of the addresses in it.
fn ask(client: &UdpSocket, name: &str) -> (u8, Vec<u8>) {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend(Name::from_text(name).unwrap().wire());
    bytes.extend([0, 1, 0, 1]);
    let asked = bytes.len();
    client.send(&bytes).unwrap();
    let mut answer = [0; 1500];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(answer[..2], bytes[..2]);
    let count = usize::from(answer[7]);
    let last = answer[asked..length].chunks(16).take(count).map(|record| record[15]);
    (answer[3] & 15, last.collect())
}

/// A server that says to everything an address which ends in `last`.
fn upstream(at: &str, last: u8) -> Served {
    #[derive(Debug)]
    struct Upstream(UdpSocket, u8);
    impl Service for Upstream {
        fn interest(&self) -> Vec<(std::os::fd::BorrowedFd<'_>, rustix::event::PollFlags)> {
            vec![(self.0.as_fd(), rustix::event::PollFlags::IN)]
        }
        fn on_ready(&mut self, _now: Instant) {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = self.0.recv_from(&mut buffer) {
                let mut reply = buffer[..length].to_vec();
                reply[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, self.1]);
                self.0.send_to(&reply, from).unwrap();
            }
        }
        fn deadline(&self) -> Option<Instant> {
            None
        }
    }
    let socket = UdpSocket::bind(SocketAddr::new(at.parse().unwrap(), 53)).unwrap();
    socket.set_nonblocking(true).unwrap();
    Served::new(Box::new(Upstream(socket, last)))
}

/// A file of the host's, as it was in the end.
struct Restored(&'static str, Vec<u8>);

impl Restored {
    fn new(path: &'static str) -> Self {
        Self(path, fs::read(path).unwrap())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
        fs::write(self.0, &self.1).unwrap();
    }
}

/// Less than who does not answer is waited for.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The host's resolv.conf changes while the machine runs, in each way that programs change it.
fn servers_of_the_host(_context: &Context) -> TestResult {
    let _restored = Restored::new(RESOLV_CONF);
    let (_one, _two, _six) = (upstream("127.0.0.51", 51), upstream("127.0.0.52", 52), upstream("::1", 6));
    let replace = |text: &str| {
        fs::write("/etc/resolv.conf.new", text).unwrap();
        fs::rename("/etc/resolv.conf.new", RESOLV_CONF).unwrap();
    };
    replace("nameserver 127.0.0.51\n");
    let (_server, client) = server("web", &plan([127, 0, 0, 1]));
    assert_eq!(ask(&client, "example.org"), (0, vec![51]));
    replace("search lan\nnameserver 127.0.0.52\n");
    assert_eq!(ask(&client, "example.org"), (0, vec![52]));
    fs::write(RESOLV_CONF, "nameserver ::1\n").unwrap();
    assert_eq!(ask(&client, "example.org"), (0, vec![6]), "IPv6 alone");
    // Nobody listens at the first; the kernel says so, and the next is asked at once.
    let mut nobody = 98;
    let took = quickest(AT_ONCE, || {
        // Another each time: who has not answered is not asked first for a while.
        nobody += 1;
        replace(&format!("nameserver 127.0.0.{nobody}\nnameserver 127.0.0.51\n"));
        assert_eq!(ask(&client, "example.org"), (0, vec![51]));
        Ok(())
    })?;
    assert!(took < AT_ONCE, "{took:?}");
    fs::remove_file(RESOLV_CONF).unwrap();
    assert_eq!(ask(&client, "example.org"), (2, vec![]), "there is nobody to ask");
    replace("");
    assert_eq!(ask(&client, "example.org"), (2, vec![]));
    let (_server, client) = server(
        "web",
        &NetworkPlan { upstream_dns: vec!["127.0.0.52".parse().unwrap()], ..plan([127, 0, 0, 1]) },
    );
    assert_eq!(ask(&client, "example.org"), (0, vec![52]), "--dns=");
    Ok(())
}

/// Writes what a supervisor tells of its machine.
fn tell(name: &str, plan: &NetworkPlan) {
    let directory = Path::new(MACHINES).join(name);
    fs::create_dir_all(&directory).unwrap();
    let text = serde_json::json!({"namespace": NAMESPACE, "plan": plan}).to_string();
    fs::write(directory.join("new"), text).unwrap();
    fs::rename(directory.join("new"), directory.join("network")).unwrap();
}

fn hundred_siblings(context: &Context) -> TestResult {
    let name = |number: u8| format!("{}-{number}", context.prefix);
    for number in 1..=100 {
        tell(&name(number), &plan([127, 0, 1, number]));
    }
    let (server, client) = server(&name(1), &plan([127, 0, 0, 1]));
    let mut times = Vec::new();
    for number in 2..=100 {
        let begun = Instant::now();
        assert_eq!(ask(&client, &name(number)), (0, vec![number]));
        times.push(begun.elapsed());
        assert_eq!(ask(&client, &format!("{}.spinney.internal", name(number))), (0, vec![number]));
    }
    // Each would take longer, if the files of all were read for it; what others have the host do are some.
    let best = times.into_iter().min().unwrap_or_default();
    assert!(best < Duration::from_millis(1), "a question among 100 siblings takes {best:?}");
    // One that comes back has its name again, one that is gone has none.
    tell(&name(7), &plan([127, 0, 1, 207]));
    assert_eq!(ask(&client, &name(7)), (0, vec![207]));
    fs::remove_dir_all(Path::new(MACHINES).join(name(7))).unwrap();
    assert_eq!(ask(&client, &name(7)), (0, vec![]));
    assert_eq!(ask(&client, "host.spinney.internal"), (0, vec![1]));
    drop(server);
    for number in 1..=100 {
        let _ = fs::remove_dir_all(Path::new(MACHINES).join(name(number)));
    }
    let _ = fs::remove_dir(MACHINES).and_then(|()| fs::remove_dir("/run/spinney"));
    Ok(())
}

fn told(host: &HostName) -> HostNames {
    HostNames::new(host.clone(), Told::of_host(), Instant::now())
}

fn known_to_host(context: &Context) -> HostName {
    HostName::of(&context.machine_name(), &plan([127, 0, 3, 4])).unwrap()
}

/// What getent says, as any program of the host.
fn getent(name: &str) -> String {
    let out = std::process::Command::new("getent").args(["hosts", name]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().split_whitespace().next().unwrap_or_default().to_owned()
}

fn hosts_file(context: &Context) -> TestResult {
    let before = fs::read("/etc/hosts").unwrap();
    let host = known_to_host(context);
    let mut names = told(&host);
    names.on_ready(Instant::now());
    assert_eq!((names.warnings(), names.deadline()), (vec![], None));
    assert_eq!(getent(&host.name), "127.0.3.4");
    let other = known_to_host(context);
    told(&other).on_ready(Instant::now());
    // As a supervisor that ends, and as the collection of leavings after a loss of power.
    forget(&host.machine, None)?;
    assert_eq!((getent(&host.name), getent(&other.name)), (String::new(), "127.0.3.4".to_owned()));
    sweep(|machine| machine == other.machine)?;
    assert_eq!(getent(&other.name), "127.0.3.4");
    sweep(|_| false)?;
    assert_eq!(fs::read("/etc/hosts").unwrap(), before);
    assert!(!Path::new("/run/spinney/hosts.lck").exists(), "the lock is gone");
    Ok(())
}

/// A file that is a mount of its own, as in containers, and one on a file system that is not to be written.
fn hosts_file_that_stays(context: &Context) -> TestResult {
    let own = context.subdirectory("etc");
    let path = own.join("hosts");
    fs::write(&path, "127.0.0.1 localhost\n")?;
    let hosts = HostsFile::at(&path, &context.directory.join("locks"));
    let host = known_to_host(context);
    mount_bind(&path, &path)?;
    let refused = hosts.add(&host);
    unmount(&path, UnmountFlags::empty())?;
    assert!(matches!(refused, Err(HostsFileError::Fixed { .. })), "{refused:?}");
    mount_bind(&own, &own)?;
    mount_remount(&own, MountFlags::BIND | MountFlags::RDONLY, "")?;
    let refused = (hosts.add(&host), hosts.keep(|_| false));
    unmount(&own, UnmountFlags::empty())?;
    assert!(matches!(refused, (Err(HostsFileError::Fixed { .. }), Ok(()))), "{refused:?}");
    assert_eq!(fs::read_to_string(&path)?, "127.0.0.1 localhost\n");
    let left: Vec<_> = fs::read_dir(&own)?.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["hosts"]);
    Ok(())
}

/// systemd-resolved's side is a client of the test's own.
fn hook(context: &Context) -> TestResult {
    fs::create_dir_all("/run/systemd/resolve")?;
    fs::write(resolve_hook::RUNNING, "")?;
    let host = known_to_host(context);
    let path = resolve_hook::socket_path(Path::new(resolve_hook::HOOKS), &host.machine);
    let serving = Served::new(Box::new(told(&host)));
    let until = Instant::now() + PATIENCE;
    let mut client = loop {
        match UnixStream::connect(&path) {
            Ok(client) => break client,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.into()),
        }
    };
    let filter = call(&mut client, "QueryFilter", true, "{}");
    assert_eq!(
        filter,
        format!(
            r#"{{"parameters":{{"filterDomains":["{}","4.3.0.127.in-addr.arpa"]}},"continues":true}}"#,
            host.name
        )
    );
    let key = |name: &str| format!(r#"{{"question":[{{"key":{{"class":1,"type":1,"name":"{name}"}}}}]}}"#);
    let answer = call(&mut client, "ResolveRecord", false, &key(&host.name));
    assert!(answer.starts_with(r#"{"parameters":{"rcode":0,"answer":[{"raw":""#), "{answer}");
    assert_eq!(call(&mut client, "ResolveRecord", false, &key("example.org")), r#"{"parameters":{}}"#);
    drop(serving.stop());
    forget(&host.machine, Some(&path))?;
    assert!(!Path::new(resolve_hook::HOOKS).exists());
    fs::remove_file(resolve_hook::RUNNING)?;
    fs::remove_dir("/run/systemd/resolve")?;
    let _ = fs::remove_dir("/run/systemd");
    Ok(())
}

/// systemd-resolved itself (262, of Debian forky) run as a program: it finds the hook that comes while it runs, asks it for the
/// machine's name and address, and does not take it for who knows other names.
fn resolved(context: &Context) -> TestResult {
    let tree = context.tree("debian-forky-network")?;
    let directory = context.subdirectory("resolved");
    let script = format!(
        "cd {directory}; mkdir upper work root
         mount -t overlay overlay -o lowerdir={tree},upperdir=upper,workdir=work root
         mount --rbind /run root/run; mount --rbind /dev root/dev; mount -t proc proc root/proc
         mkdir -p /run/systemd/resolve
         chown $(chroot root id -u systemd-resolve):$(chroot root id -g systemd-resolve) /run/systemd/resolve
         exec chroot root env SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=debug /usr/lib/systemd/systemd-resolved",
        directory = directory.display(),
        tree = tree.display(),
    );
    let said = capture();
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-ec", &script]).stdin(std::process::Stdio::null());
    command.stdout(said.try_clone()?).stderr(said.try_clone()?);
    let server = Process::spawn(&mut command);
    let until = Instant::now() + PATIENCE;
    let ask = |method: &str, parameters: &str| -> Result<serde_json::Value, Stop> {
        use std::io::{BufRead, BufReader, Write};
        let mut client = loop {
            match UnixStream::connect(resolve_hook::RUNNING) {
                Ok(client) => break client,
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(format!("{error}\n{}", contents(&said)).into()),
            }
        };
        client.set_read_timeout(Some(PATIENCE))?;
        let call = format!(r#"{{"method":"io.systemd.Resolve.{method}","parameters":{parameters}}}"#);
        client.write_all(call.as_bytes())?;
        client.write_all(b"\0")?;
        let mut answer = Vec::new();
        BufReader::new(client).read_until(0, &mut answer)?;
        Ok(serde_json::from_slice(answer.strip_suffix(b"\0").unwrap_or(&answer))?)
    };
    let host = HostName::of(&context.machine_name(), &plan([10, 99, 3, 4])).unwrap();
    let by_name = format!(r#"{{"name":"{}","family":2}}"#, host.name);
    // Nobody knows it yet, and there is no name server to ask.
    let nobody = ask("ResolveHostname", &by_name)?;
    assert_eq!(nobody["error"], "io.systemd.Resolve.NoNameServers", "{nobody}");
    let path = resolve_hook::socket_path(Path::new(resolve_hook::HOOKS), &host.machine);
    // As in supervisors: systemd-resolved is not root, and has to connect.
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    let serving = Served::new(Box::new(told(&host)));
    // It hears of the new socket when the kernel tells it.
    let found = loop {
        let found = ask("ResolveHostname", &by_name)?;
        if found.get("error").is_none() || Instant::now() > until {
            break found;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(
        found["parameters"]["addresses"][0]["address"],
        serde_json::json!([10, 99, 3, 4]),
        "{found}\n{}",
        contents(&said)
    );
    let back = ask("ResolveAddress", r#"{"family":2,"address":[10,99,3,4]}"#)?;
    assert_eq!(back["parameters"]["names"][0]["name"], host.name, "{back}\n{}", contents(&said));
    let other = ask("ResolveHostname", r#"{"name":"example.org","family":2}"#)?;
    assert_eq!(other["error"], "io.systemd.Resolve.NoNameServers", "{other}");
    drop(serving.stop());
    rustix::process::umask(mask);
    forget(&host.machine, Some(&path))?;
    let gone = ask("ResolveHostname", &by_name)?;
    assert_eq!(gone["error"], "io.systemd.Resolve.NoNameServers", "{gone}");
    drop(server);
    fs::remove_dir_all("/run/systemd/resolve")?;
    let _ = fs::remove_dir("/run/systemd");
    Ok(())
}

fn call(client: &mut UnixStream, method: &str, more: bool, parameters: &str) -> String {
    use std::io::{Read, Write};
    let more = if more { r#","more":true"# } else { "" };
    let text = format!(r#"{{"method":"io.systemd.Resolve.Hook.{method}","parameters":{parameters}{more}}}"#);
    client.write_all(&[text.as_bytes(), b"\0"].concat()).unwrap();
    let mut reply = Vec::new();
    let mut byte = [0];
    while client.read(&mut byte).unwrap() == 1 && byte[0] != 0 {
        reply.push(byte[0]);
    }
    String::from_utf8(reply).unwrap()
}

/// What a machine is told of a name by its name server: the code and the addresses' last bytes.
fn ask_inside(name: &str, asked: &str) -> Result<(u8, Vec<u8>), String> {
    let network = network_of(name)?;
    let leader = state_of(name)?.leader;
    let server = network.plan.dns.iter().copied().find(IpAddr::is_ipv4).ok_or("no name server")?;
    let port = network.dns_port.ok_or("no port")?;
    let asked = asked.to_owned();
    let asking = std::thread::spawn(move || {
        let namespace = fs::File::open(format!("/proc/{leader}/ns/net")).unwrap();
        let network = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), network).unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // Where rules lead from port 53 to the server, nothing else leads there.
        let redirected = TcpStream::connect_timeout(&(server, 53).into(), Duration::from_millis(500)).is_ok();
        client.connect((server, if redirected { 53 } else { port })).unwrap();
        ask(&client, &asked)
    });
    asking.join().map_err(|_| "the client failed".to_owned())
}

fn network_of(name: &str) -> Result<NetworkState, String> {
    let text = fs::read(Path::new(MACHINES).join(name).join("network")).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

fn address_of(name: &str) -> Result<IpAddr, String> {
    network_of(name)?.addresses().find(IpAddr::is_ipv4).ok_or_else(|| "no address".to_owned())
}

/// The one that getent(1) gives: IPv6 where there is any.
fn first_on_host(name: &str) -> Result<String, String> {
    let addresses: Vec<IpAddr> = network_of(name)?.addresses().collect();
    let six = addresses.iter().find(|address| address.is_ipv6());
    six.or(addresses.first()).map(ToString::to_string).ok_or_else(|| "no address".to_owned())
}

fn last(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => 0,
    }
}

/// What getent says once it says `expected`, or in the end.
fn getent_until(name: &str, expected: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let said = getent(name);
        if said == expected || Instant::now() > until {
            return said;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn machines(context: &Context) -> TestResult {
    let before = fs::read("/etc/hosts")?;
    let tree = context.tree("busybox")?;
    let start = || Machine::start(context, &tree, &["--network-zone=names"]);
    let (mut one, mut two) = (start(), start());
    one.ready()?;
    two.ready()?;
    let (first, second) = (address_of(&one.name)?, address_of(&two.name)?);
    for asked in [two.name.clone(), format!("{}.names.internal", two.name), two.name.to_uppercase()] {
        assert_eq!(ask_inside(&one.name, &asked)?, (0, vec![last(second)]), "{asked}");
    }
    assert_eq!(ask_inside(&two.name, &one.name)?, (0, vec![last(first)]));
    assert_eq!(ask_inside(&one.name, "host.names.internal")?, (0, vec![1]));
    assert_eq!(ask_inside(&one.name, "none.names.internal")?, (3, vec![]));
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(ask_inside(&one.name, &host_name)?, (0, vec![1]));
    // The host knows both.
    let on_host = |name: &str| format!("{name}.names.internal");
    for machine in [&one.name, &two.name] {
        let expected = first_on_host(machine)?;
        assert_eq!(getent_until(&on_host(machine), &expected), expected);
    }
    // A machine that is paused has its name, one that is gone has none, here and there.
    run(context.spinney().args(["pause", &two.name])).ok()?;
    assert_eq!(ask_inside(&one.name, &two.name)?, (0, vec![last(second)]));
    run(context.spinney().args(["resume", &two.name])).ok()?;
    let name = two.name.clone();
    two.stop()?;
    assert_eq!(ask_inside(&one.name, &name)?, (0, vec![]));
    assert_eq!(getent(&on_host(&name)), "");
    // With its name it has its address again.
    let mut again = Machine::start_as(context, &name, &tree, &["--network-zone=names"], &[]);
    again.ready()?;
    assert_eq!(ask_inside(&one.name, &name)?, (0, vec![last(second)]));
    again.stop()?;
    one.stop()?;
    assert_eq!(fs::read("/etc/hosts")?, before);
    Ok(())
}

/// What the host was told stays when the supervisor is killed, until leavings are collected.
fn killed(context: &Context) -> TestResult {
    let before = fs::read("/etc/hosts")?;
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &["--network-zone=names"]);
    machine.ready()?;
    let (name, address) = (format!("{}.names.internal", machine.name), first_on_host(&machine.name)?);
    assert_eq!(getent_until(&name, &address), address);
    machine.signal(libc::SIGKILL);
    machine.wait()?;
    assert_eq!(getent(&name), address);
    run(context.spinney().arg("gc")).ok()?;
    assert_eq!(fs::read("/etc/hosts")?, before);
    Ok(())
}
