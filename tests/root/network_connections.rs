//! Connections end with what they came by: a port that is taken back, a machine that is gone, an address that is another's.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use spinney::network::nft::conntrack;
use spinney::network::rules;

use crate::harness::{Context, Row, Test, TestResult};
use crate::network_host::{Namespace, on_own_host};
use crate::network_zone::{Zone, machine};

pub fn tests() -> Vec<Test> {
    let single: [Row; 2] = [("ports", ports), ("machines", machines)];
    single.map(|(name, test)| Test::new(format!("network_connections::{name}"), test)).into()
}

/// Listens at `at` of the thread's namespace, and gives each connection.
fn listen(at: &str) -> Receiver<TcpStream> {
    let listener = TcpListener::bind(at).unwrap();
    let (sender, connections) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    connections
}

/// A connection from `from` to `to`, with its other side.
fn connect(from: &Namespace, to: &str, connections: &Receiver<TcpStream>) -> (TcpStream, TcpStream) {
    let near = from.within(|| TcpStream::connect(to).unwrap());
    let far = connections.recv_timeout(LONG).unwrap();
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(LONG)).unwrap();
    }
    (near, far)
}

/// Whether what `from` says is heard, within `patience`.
fn heard(from: &mut TcpStream, to: &mut TcpStream, patience: Duration) -> bool {
    to.set_read_timeout(Some(patience)).unwrap();
    let mut byte = [0];
    from.write_all(b"x").is_ok() && matches!(to.read(&mut byte), Ok(1))
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

/// How many connections of `address` the kernel knows.
fn known(address: &str) -> usize {
    let address: IpAddr = address.parse().unwrap();
    let count = std::cell::Cell::new(0);
    let none = conntrack::forget(&[address], |_| {
        count.set(count.get() + 1);
        false
    });
    assert_eq!(none.unwrap(), 0);
    count.get()
}

/// Who came by a port that is taken back is cut off, whichever side speaks first; all others go on.
fn ports(_: &Context) -> TestResult {
    on_own_host(|| {
        let zone = Zone::new()?;
        let [one, two] = zone.guests.as_slice() else { unreachable!() };
        let mut machine = machine(2);
        machine.ports =
            ["8080:80", "7777:7777", "9090:80", "5353:5353/udp"].map(|port| port.parse().unwrap()).into();
        rules::set_machine(&machine)?;
        let web = one.within(|| listen("[::]:80"));
        let same = one.within(|| listen("[::]:7777"));
        let (mut near, mut far) = connect(&zone.lan, "192.0.2.1:8080", &web);
        let (mut near6, mut far6) = connect(&zone.lan, "[2001:db8::1]:8080", &web);
        let (mut near_same, mut far_same) = connect(&zone.lan, "192.0.2.1:7777", &same);
        let (mut stays, mut stays_far) = connect(&zone.lan, "192.0.2.1:9090", &web);
        let (mut sibling, mut sibling_far) = connect(two, "10.213.0.2:80", &web);
        let server = one.within(|| UdpSocket::bind("10.213.0.2:5353").unwrap());
        let client = zone.lan.within(|| UdpSocket::bind("192.0.2.2:0").unwrap());
        client.connect("192.0.2.1:5353")?;
        client.send(b"x")?;
        let (_, from) = server.recv_from(&mut [0])?;
        rules::change_ports("m2", &["9090:80".parse().unwrap()])?;
        // The machine speaks first: it does not begin anew where it was.
        assert!(!heard(&mut far_same, &mut near_same, SHORT), "the machine goes on");
        assert!(!heard(&mut near_same, &mut far_same, SHORT), "who came by it goes on");
        assert!(!heard(&mut near, &mut far, SHORT) && !heard(&mut far, &mut near, SHORT));
        assert!(!heard(&mut near6, &mut far6, SHORT) && !heard(&mut far6, &mut near6, SHORT));
        let reset = near.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(reset, Err(ErrorKind::ConnectionReset) | Ok(0)), "{reset:?}");
        server.send_to(b"x", from)?;
        client.set_read_timeout(Some(SHORT))?;
        assert!(client.recv(&mut [0]).is_err(), "UDP goes on");
        assert!(heard(&mut stays, &mut stays_far, LONG) && heard(&mut stays_far, &mut stays, LONG));
        assert!(heard(&mut sibling, &mut sibling_far, LONG) && heard(&mut sibling_far, &mut sibling, LONG));
        // Published again, it is there again.
        rules::change_ports("m2", &["9090:80".parse().unwrap(), "7777:7777".parse().unwrap()])?;
        let (mut near, mut far) = connect(&zone.lan, "192.0.2.1:7777", &same);
        assert!(heard(&mut far, &mut near, LONG) && heard(&mut near, &mut far, LONG));
        rules::remove_machine("m2")?;
        Ok(())
    })
}

/// Nothing goes on to an address whose machine is gone, or has another.
fn machines(_: &Context) -> TestResult {
    on_own_host(|| {
        let zone = Zone::new()?;
        let one = &zone.guests[0];
        let mut first = machine(2);
        first.ports = vec!["8080:80".parse().unwrap()];
        rules::set_machine(&first)?;
        rules::set_machine(&machine(3))?;
        let outside = zone.lan.within(|| listen("[::]:7"));
        let web = one.within(|| listen("[::]:80"));
        let _out = connect(one, "192.0.2.2:7", &outside);
        let _out6 = connect(one, "[2001:db8::2]:7", &outside);
        let _in = connect(&zone.lan, "192.0.2.1:8080", &web);
        let _other = connect(&zone.guests[1], "192.0.2.2:7", &outside);
        let all = ["10.213.0.2", "fd00:213::2", "10.213.0.3"];
        assert_eq!(all.map(known), [2, 1, 1]);
        // Its address is another's, and its own another.
        let mut moved = first.clone();
        moved.links[0].v4 = Some([10, 213, 0, 9].into());
        rules::set_machine(&moved)?;
        assert_eq!(all.map(known), [0, 1, 1]);
        rules::remove_machine("m2")?;
        assert_eq!(all.map(known), [0, 0, 1]);
        rules::remove_machine("m3")?;
        assert_eq!(all.map(known), [0; 3]);
        Ok(())
    })
}
