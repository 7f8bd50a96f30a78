//! The server on loopback, with clients and servers of the test's own; its clock is the test's.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::event::{PollFd, Timespec, poll};

use super::clients::{BURST, MOST_CONNECTIONS, REST, WHILE};
use super::*;
use crate::network::dns::name::Name;
use crate::network::dns::resolv_conf::ResolvConf;
use crate::settings::network::HostEntry;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

struct Bench {
    server: DnsServer,
    client: UdpSocket,
    now: Instant,
    _machines: tempfile::TempDir,
}

impl Bench {
    /// A server that asks these, with the options of `options`.
    fn new(upstream: &[SocketAddr], options: &str) -> Self {
        let machines = tempfile::tempdir().expect("tempdir");
        let entry = HostEntry { name: "db".to_owned(), address: IpAddr::from([192, 0, 2, 7]) };
        let plan = NetworkPlan {
            upstream_dns: vec![LOOPBACK],
            domain: Some("spinney.internal".to_owned()),
            hosts: vec![entry],
            ..NetworkPlan::default()
        };
        let config = Config {
            machine: "web",
            plan: &plan,
            listen: &[LOOPBACK, IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)],
            namespace: 7,
            machines: machines.path(),
            resolv_conf: Path::new("/none"),
        };
        let mut server = DnsServer::open(&config).expect("a server");
        let conf = ResolvConf::parse(options, |_| None);
        server.upstream.servers().set(ResolvConf { servers: upstream.to_vec(), ..conf });
        let client = UdpSocket::bind((LOOPBACK, 0)).expect("a client");
        client.connect((LOOPBACK, server.port().expect("a port"))).expect("connect");
        client.set_nonblocking(true).expect("non-blocking");
        Self { server, client, now: Instant::now(), _machines: machines }
    }

    /// Serves until nothing more is to be done at this time.
    fn serve(&mut self) {
        loop {
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let ready = {
                let interest = self.server.interest();
                let mut fds: Vec<_> =
                    interest.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
                poll(&mut fds, Some(&wait)).expect("poll")
            };
            self.server.on_ready(self.now);
            if ready == 0 {
                return;
            }
        }
    }

    /// Goes on to the next deadline.
    fn wait(&mut self) {
        self.now = self.server.deadline().expect("something to wait for");
        self.serve();
    }

    fn ask(&mut self, question: &[u8]) {
        self.client.send(question).expect("send");
        self.serve();
    }

    fn answer(&self) -> Option<Vec<u8>> {
        received(&self.client)
    }
}

fn received(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 8192];
    socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
}

/// A server of the test's own.
fn upstream() -> UdpSocket {
    let socket = UdpSocket::bind((LOOPBACK, 0)).expect("an upstream server");
    socket.set_nonblocking(true).expect("non-blocking");
    socket
}

fn at(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("an address")
}

/// What was asked of it, and by whom.
fn heard(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 8192];
    socket.recv_from(&mut buffer).ok().map(|(length, from)| (buffer[..length].to_vec(), from))
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(Name::from_text(name).expect("a name").wire());
    bytes.extend([0, 1, 0, 1]);
    bytes
}

/// An answer to `question` with this code and as many bytes more as `padding`.
fn reply(question: &[u8], code: u8, padding: usize) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] = 0x81;
    bytes[3] = 0x80 | code;
    bytes.resize(bytes.len() + padding, 7);
    bytes
}

/// The id, the code and how many answers: of the header alone.
fn header(message: Option<Vec<u8>>) -> Option<(u16, u8, u8)> {
    message.map(|bytes| (u16::from_be_bytes([bytes[0], bytes[1]]), bytes[3] & 15, bytes[7]))
}

#[test]
fn what_is_ours_is_answered_at_once() {
    let mut bench = Bench::new(&[], "");
    bench.ask(&question(1, "db"));
    assert_eq!(header(bench.answer()), Some((1, 0, 1)));
    bench.ask(&question(2, "none"));
    assert_eq!(header(bench.answer()), Some((2, 0, 0)));
    bench.ask(&question(3, "example.org"));
    assert_eq!(header(bench.answer()), Some((3, 2, 0)), "nobody to ask");
    bench.ask(&[0, 4, 0x28, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(header(bench.answer()), Some((4, 4, 0)));
    bench.ask(b"?");
    assert_eq!(bench.answer(), None);
    assert_eq!(bench.server.deadline(), None);
    let six = UdpSocket::bind("[::1]:0").expect("a client");
    six.connect(("::1", bench.server.port().expect("a port"))).expect("connect");
    six.send(&question(5, "db")).expect("send");
    bench.serve();
    six.set_nonblocking(true).expect("non-blocking");
    assert_eq!(header(received(&six)), Some((5, 0, 1)));
}

#[test]
fn strangers_are_not_answered() {
    let mut bench = Bench::new(&[], "");
    let stranger = UdpSocket::bind("127.0.0.2:0").expect("a stranger");
    stranger.set_nonblocking(true).expect("non-blocking");
    stranger.send_to(&question(1, "db"), (LOOPBACK, bench.server.port().expect("a port"))).expect("send");
    bench.serve();
    assert_eq!(received(&stranger), None);
}

#[test]
fn the_rest_is_asked_elsewhere() {
    let server = upstream();
    let mut bench = Bench::new(&[at(&server)], "");
    let mut seen = Vec::new();
    for id in 1..=8 {
        bench.ask(&question(id, "wWw.eXample.org"));
        let (asked, from) = heard(&server).expect("a question");
        assert_eq!(asked[2..], question(id, "wWw.eXample.org")[2..], "letters and all");
        server.send_to(&reply(&asked, 0, 16), from).expect("send");
        bench.serve();
        assert_eq!(bench.answer(), Some(reply(&question(id, "wWw.eXample.org"), 0, 16)));
        seen.push((asked[..2].to_vec(), from.port()));
    }
    // With 8 ids out of 65536 and 8 ports, three alike would be worth a look.
    let distinct = |mut values: Vec<u32>| {
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    assert!(distinct(seen.iter().map(|(id, _)| u32::from(id[0]) << 8 | u32::from(id[1])).collect()) > 6);
    assert!(distinct(seen.iter().map(|(_, port)| u32::from(*port)).collect()) > 6);
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn lies_are_as_if_they_had_not_come() {
    let (server, liar) = (upstream(), upstream());
    let mut bench = Bench::new(&[at(&server)], "");
    bench.ask(&question(1, "example.org"));
    let (asked, from) = heard(&server).expect("a question");
    let mut other_id = reply(&asked, 0, 1);
    other_id[0] ^= 1;
    let other_name = reply(&question(u16::from_be_bytes([asked[0], asked[1]]), "example.net"), 0, 2);
    for lie in [&other_id, &other_name, &asked, &vec![0; 3]] {
        server.send_to(lie, from).expect("send");
    }
    liar.send_to(&reply(&asked, 0, 3), from).expect("send");
    bench.serve();
    assert_eq!(bench.answer(), None);
    server.send_to(&reply(&asked, 0, 4), from).expect("send");
    bench.serve();
    assert_eq!(bench.answer(), Some(reply(&question(1, "example.org"), 0, 4)));
}

#[test]
fn who_does_not_answer_is_left_for_the_next() {
    let (first, second) = (upstream(), upstream());
    let mut bench = Bench::new(&[at(&first), at(&second)], "options timeout:1");
    bench.ask(&question(1, "example.org"));
    let (early, from) = heard(&first).expect("a question");
    assert_eq!(heard(&second), None);
    let begun = bench.now;
    bench.wait();
    assert_eq!(bench.now - begun, Duration::from_secs(1));
    assert_eq!(heard(&second).map(|(asked, _)| asked[2..].to_vec()), Some(early[2..].to_vec()));
    // Asked once more by who has no patience: nothing is sent twice.
    bench.ask(&question(1, "example.org"));
    assert_eq!((heard(&first), heard(&second)), (None, None));
    // The first one was slow only.
    first.send_to(&reply(&early, 0, 5), from).expect("send");
    bench.serve();
    assert_eq!(bench.answer(), Some(reply(&question(1, "example.org"), 0, 5)));
    // It does answer, so it is asked first again.
    bench.ask(&question(2, "example.org"));
    assert!(heard(&first).is_some());
    for _ in 0..4 {
        bench.wait();
    }
    assert_eq!(header(bench.answer()), Some((2, 2, 0)), "nobody answers");
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn who_cannot_is_left_for_the_next() {
    let (first, second) = (upstream(), upstream());
    let gone = at(&upstream());
    let mut bench = Bench::new(&[at(&first), gone, at(&second)], "");
    bench.ask(&question(1, "example.org"));
    let (asked, from) = heard(&first).expect("a question");
    first.send_to(&reply(&asked, 2, 0), from).expect("send");
    bench.serve();
    let (asked, from) = heard(&second).expect("nobody listens at the other one's port");
    second.send_to(&reply(&asked, 0, 6), from).expect("send");
    bench.serve();
    assert_eq!(bench.answer(), Some(reply(&question(1, "example.org"), 0, 6)));
    bench.ask(&question(2, "example.org"));
    for server in [&first, &second] {
        let (asked, from) = heard(server).expect("a question");
        server.send_to(&reply(&asked, 5, 0), from).expect("send");
        bench.serve();
    }
    for _ in 0..10 {
        if bench.server.deadline().is_some() {
            bench.wait();
        }
    }
    assert_eq!(header(bench.answer()), Some((2, 5, 0)), "what the last one said");
}

#[test]
fn what_does_not_fit_is_to_be_asked_over_tcp() {
    let server = upstream();
    let mut bench = Bench::new(&[at(&server)], "");
    bench.ask(&question(1, "example.org"));
    let (asked, from) = heard(&server).expect("a question");
    server.send_to(&reply(&asked, 0, 600), from).expect("send");
    bench.serve();
    let answer = bench.answer().expect("an answer");
    assert_eq!((answer[2], answer.len()), (0x83, question(1, "example.org").len()));
}

#[test]
fn tcp() {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("an upstream server");
    let mut bench = Bench::new(&[listener.local_addr().expect("an address")], "");
    let mut client = TcpStream::connect((LOOPBACK, bench.server.port().expect("a port"))).expect("connect");
    let framed =
        |message: &[u8]| [&u16::try_from(message.len()).expect("short").to_be_bytes(), message].concat();
    let both = [framed(&question(1, "example.org")), framed(&question(2, "db"))].concat();
    client.write_all(&both).expect("write");
    client.shutdown(Shutdown::Write).expect("shutdown");
    bench.serve();
    let (mut upstream, _) = listener.accept().expect("accept");
    let mut asked = vec![0; 2 + question(1, "example.org").len()];
    upstream.read_exact(&mut asked).expect("a question");
    let long = reply(&asked[2..], 0, 60_000);
    let bytes = framed(&long);
    upstream.write_all(&bytes[..1]).expect("write");
    bench.serve();
    upstream.write_all(&bytes[1..]).expect("write");
    bench.serve();
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).expect("read");
    let mut expected = Bench::new(&[], "");
    expected.ask(&question(2, "db"));
    let ours = expected.answer().expect("an answer");
    let theirs = reply(&question(1, "example.org"), 0, 60_000);
    assert_eq!(answers, [framed(&ours), framed(&theirs)].concat(), "what is known comes first");
    assert!(bench.server.connections.is_empty() && bench.server.exchanges.is_empty());
}

#[test]
fn tcp_servers_that_fail() {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("an upstream server");
    let gone = TcpListener::bind((LOOPBACK, 0)).and_then(|gone| gone.local_addr()).expect("an address");
    let mut bench = Bench::new(&[gone, listener.local_addr().expect("an address")], "options attempts:1");
    let mut client = TcpStream::connect((LOOPBACK, bench.server.port().expect("a port"))).expect("connect");
    let asked = question(1, "example.org");
    client
        .write_all(&[&[0, u8::try_from(asked.len()).expect("short")], asked.as_slice()].concat())
        .expect("write");
    bench.serve();
    drop(listener.accept().expect("accept"));
    bench.serve();
    let mut answer = vec![0; 2 + asked.len()];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(header(Some(answer[2..].to_vec())), Some((1, 2, 0)));
    assert_eq!(bench.server.connections.len(), 1, "there may be more");
    bench.wait();
    assert_eq!(bench.server.connections.len(), 0, "there was not");
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn who_asks_and_asks_is_not_heard_for_a_while() {
    let mut bench = Bench::new(&[], "");
    let answered = |bench: &mut Bench| {
        let mut answered = 0;
        for id in 0..2 * u16::try_from(BURST).expect("a few") {
            bench.client.send(&question(id, "db")).expect("send");
            bench.server.on_ready(bench.now);
            answered += std::iter::from_fn(|| bench.answer()).count();
        }
        answered
    };
    assert_eq!(answered(&mut bench), BURST as usize);
    assert!(bench.server.interest().is_empty());
    let end = bench.server.deadline().expect("an end of it");
    assert!(end <= bench.now + WHILE);
    // What has come meanwhile is a datagram or some hundred that the kernel kept.
    bench.now = end;
    bench.serve();
    std::iter::from_fn(|| bench.answer()).for_each(drop);
    bench.now += WHILE;
    bench.serve();
    bench.ask(&question(9999, "db"));
    let last = std::iter::from_fn(|| bench.answer()).last();
    assert_eq!(header(last), Some((9999, 0, 1)));
}

#[test]
fn without_fds_nobody_is_accepted_for_a_while() {
    let mut bench = Bench::new(&[], "");
    let address = (LOOPBACK, bench.server.port().expect("a port"));
    bench.server.close(bench.now);
    let _client = TcpStream::connect(address).expect("connect");
    assert_eq!(bench.server.set.ready::<4>(), [], "nothing to spin for");
    assert_eq!(bench.server.deadline(), Some(bench.now + REST));
    bench.serve();
    assert_eq!(bench.server.connections.len(), 0);
    bench.wait();
    assert_eq!(bench.server.connections.len(), 1);
}

#[test]
fn a_thousand_at_once() {
    let server = upstream();
    let mut bench = Bench::new(&[at(&server)], "");
    for id in 0..1500_u16 {
        bench.client.send(&question(id, "example.org")).expect("send");
        bench.server.on_ready(bench.now);
        bench.now += Duration::from_micros(100);
    }
    let (out, waiting) = (bench.server.exchanges.len(), bench.server.waiting.len());
    assert_eq!((out, waiting), (MOST_EXCHANGES, MOST_WAITING));
    bench.ask(&question(9999, "db"));
    assert_eq!(header(bench.answer()), Some((9999, 0, 1)), "what is ours does not wait");
    let (mut answered, mut most) = (0, 0);
    while !bench.server.exchanges.is_empty() {
        most = most.max(bench.server.exchanges.len());
        match heard(&server) {
            Some((asked, from)) => drop(server.send_to(&reply(&asked, 0, 0), from).expect("send")),
            // What the kernel had no room for is asked again.
            None => bench.wait(),
        }
        bench.server.on_ready(bench.now);
        answered += std::iter::from_fn(|| bench.answer()).count();
    }
    assert_eq!((answered, most), (MOST_EXCHANGES + MOST_WAITING, MOST_EXCHANGES));
    assert!(bench.server.exchanges.is_empty() && bench.server.waiting.is_empty());
    // Clients over TCP: the one that has been silent longest makes room.
    let clients: Vec<TcpStream> = (0..MOST_CONNECTIONS + 3)
        .map(|_| {
            let client =
                TcpStream::connect((LOOPBACK, bench.server.port().expect("a port"))).expect("connect");
            bench.serve();
            bench.now += Duration::from_millis(1);
            client
        })
        .collect();
    assert_eq!(bench.server.connections.len(), MOST_CONNECTIONS);
    drop(clients);
    bench.serve();
    assert_eq!(bench.server.connections.len(), 0);
}

#[test]
fn nothing_is_waited_for_for_ever() {
    let server = upstream();
    let mut bench = Bench::new(&[at(&server)], "options attempts:1");
    for id in 0..300_u16 {
        bench.client.send(&question(id, "example.org")).expect("send");
        bench.server.on_ready(bench.now);
    }
    assert_eq!(bench.server.waiting.len(), 100);
    bench.wait();
    assert_eq!((bench.server.exchanges.len(), bench.server.waiting.len()), (100, 0));
    assert_eq!(std::iter::from_fn(|| bench.answer()).count(), 200, "each is told");
    bench.wait();
    assert_eq!(std::iter::from_fn(|| bench.answer()).count(), 100, "each is told");
}

proptest::proptest! {
    #[test]
    fn anything_is_survived(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), stream: bool) {
        let mut bench = Bench::new(&[], "");
        if bytes.len() > 12 {
            bytes[2] &= 1;
            let more = bytes[11] & 1;
            bytes[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, more]);
        }
        if stream {
            let mut client = TcpStream::connect((LOOPBACK, bench.server.port().expect("a port"))).expect("connect");
            client.write_all(&bytes).expect("write");
            bench.server.on_ready(bench.now);
            bench.server.on_ready(bench.now);
            drop(client);
        } else {
            bench.client.send(&bytes).expect("send");
        }
        bench.server.on_ready(bench.now);
    }
}
