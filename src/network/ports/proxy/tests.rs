//! The loop on a thread of its own, with sockets of the loopback interface.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::thread::JoinHandle;

use super::*;
use crate::sys::inet::{Binding, Transport, listen};
use crate::sys::socket::{message_pair, send};

struct Proxy {
    channel: OwnedFd,
    thread: Option<JoinHandle<SysResult<()>>>,
}

impl Proxy {
    fn start(most: usize) -> Self {
        let (channel, theirs) = message_pair().unwrap();
        crate::sys::pipe::do_not_block(&theirs).unwrap();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        Self { channel, thread: Some(std::thread::spawn(move || serve(&theirs, epoll, most))) }
    }

    fn tell(&self, order: &Order, fds: &[BorrowedFd<'_>]) {
        send(&self.channel, &serde_json::to_vec(order).unwrap(), fds).unwrap();
    }

    /// Forwards a port of both families to `target`; gives its number.
    fn forward(&self, group: u32, protocol: Protocol, to: Target) -> u16 {
        let transport = if protocol == Protocol::Tcp { Transport::Tcp } else { Transport::Udp };
        let both = Binding { both_families: true, any_address: false, backlog: 4096 };
        let socket = listen(transport, (Ipv6Addr::UNSPECIFIED, 0).into(), both).unwrap();
        let port = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap().port();
        self.tell(&Order::Serve { group, protocol, to }, &[socket.as_fd()]);
        port
    }

    fn stop(&self, group: u32) {
        self.tell(&Order::Stop { group }, &[]);
        let mut answer = [0; 8];
        assert_eq!(receive(&self.channel, &mut answer).unwrap().unwrap().length, 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both).unwrap();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn inet(port: u16) -> Target {
    Target::Inet(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], port)
}

fn server() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, inet(port))
}

#[test]
fn a_server_of_one_family_serves_both() {
    let (listener, target) = server();
    let proxy = Proxy::start(100);
    let port = proxy.forward(1, Protocol::Tcp, target);
    for address in ["127.0.0.1", "::1", "127.0.0.9"] {
        let mut client = TcpStream::connect((address, port)).unwrap();
        let mut server = listener.accept().unwrap().0;
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question", "{address}");
        // The client has ended, the server has not: it is heard.
        server.write_all(b"answer").unwrap();
        drop(server);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer", "{address}");
    }
}

#[test]
fn nobody_there_is_a_reset() {
    let (listener, target) = server();
    drop(listener);
    let proxy = Proxy::start(100);
    let port = proxy.forward(1, Protocol::Tcp, target);
    let mut client = TcpStream::connect(("::1", port)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_is_passed_on_both_ways() {
    let (listener, target) = server();
    let proxy = Proxy::start(100);
    let port = proxy.forward(1, Protocol::Tcp, target);
    for from_client in [true, false] {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut server = listener.accept().unwrap().0;
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let (gone, mut heard) = if from_client { (client, server) } else { (server, client) };
        rustix::net::sockopt::set_socket_linger(&gone, Some(Duration::ZERO)).unwrap();
        drop(gone);
        assert_eq!(heard.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{from_client}");
    }
}

#[test]
fn many_at_once_and_one_more_waits() {
    const MOST: usize = 40;
    let (listener, target) = server();
    let proxy = Proxy::start(MOST);
    let port = proxy.forward(1, Protocol::Tcp, target);
    let clients: Vec<TcpStream> =
        (0..MOST + 1).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let mut servers: Vec<TcpStream> = (0..MOST).map(|_| listener.accept().unwrap().0).collect();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    listener.set_nonblocking(false).unwrap();
    drop(servers.pop());
    let first = clients.into_iter();
    drop(first);
    let last = listener.accept().unwrap().0;
    drop(last);
}

#[test]
fn what_is_stopped_ends() {
    let (listener, target) = server();
    let proxy = Proxy::start(100);
    let (kept, stopped) =
        (proxy.forward(1, Protocol::Tcp, target.clone()), proxy.forward(2, Protocol::Tcp, target));
    let mut one = TcpStream::connect(("127.0.0.1", kept)).unwrap();
    let mut other = TcpStream::connect(("127.0.0.1", stopped)).unwrap();
    let servers = [listener.accept().unwrap().0, listener.accept().unwrap().0];
    proxy.stop(2);
    assert_eq!(other.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(TcpStream::connect(("127.0.0.1", stopped)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(servers);
    // The other one has heard an end and no reset.
    one.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(one.read(&mut [0]).unwrap(), 0);
    proxy.tell(&Order::Reset, &[]);
    let mut again = TcpStream::connect(("127.0.0.1", kept)).unwrap();
    let _server = listener.accept().unwrap();
    proxy.tell(&Order::Reset, &[]);
    assert_eq!(again.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn datagrams_find_back() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(100);
    let port = proxy.forward(1, Protocol::Udp, inet(server.local_addr().unwrap().port()));
    let mut buffer = [0; 2048];
    // Of two clients each has its own answers, and from ::1 a server of IPv4 is found too.
    let clients = [("127.0.0.1:0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.2"), ("[::1]:0", "::1")];
    for round in 0..2 {
        for (bind, to) in clients {
            let client = UdpSocket::bind(bind).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.connect((to, port)).unwrap();
            for text in [b"one".as_slice(), b"another"] {
                client.send(text).unwrap();
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], text, "{to} {round}");
                server.send_to(&buffer[..length], from).unwrap();
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], text, "{to} {round}");
            }
        }
    }
}

#[test]
fn a_unix_socket_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let proxy = Proxy::start(100);
    let port = proxy.forward(1, Protocol::Tcp, Target::Unix(path.clone()));
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(b"hello").unwrap();
    drop(server);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    drop(listener);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_unix_socket_whose_queue_is_full_is_waited_for() {
    const MANY: usize = 30;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    let listener = std::os::unix::net::UnixListener::from(socket);
    let proxy = Proxy::start(100);
    let port = proxy.forward(1, Protocol::Tcp, Target::Unix(path));
    let clients: Vec<TcpStream> =
        (0..MANY).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    for (number, mut client) in (0_u8..).zip(&clients) {
        client.write_all(&[number]).unwrap();
    }
    // In the order in which they came.
    for number in 0..MANY {
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(usize::from(byte[0]), number);
    }
}
