use std::os::fd::AsFd;

use serde_json::json;

use super::*;
use crate::supervisor::machine_event::{EndReason, StopKind};
use crate::sys::socket::receive;
use crate::sys::stream_socket::{connect_at, send_some};
use crate::varlink::service::object;
use subscription::Form;

struct Server {
    control: Control,
    directory: OwnedFd,
    _temporary: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("tempdir");
        let directory: OwnedFd = std::fs::File::open(temporary.path()).expect("open").into();
        let control = Control::open(&directory).expect("listen");
        Self { control, directory, _temporary: temporary }
    }

    fn client(&mut self) -> OwnedFd {
        let socket = connect_at(&self.directory, SOCKET).expect("connect");
        assert!(self.turn().is_empty());
        socket
    }

    /// A turn of the loop, without waiting.
    fn turn(&mut self) -> Vec<Incoming> {
        let ready = self.poll();
        self.control.turn(&ready)
    }

    fn poll(&self) -> Vec<PollFlags> {
        use rustix::event::{PollFd, Timespec, poll};
        let mut fds: Vec<PollFd<'_>> =
            self.control.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll");
        fds.iter().map(PollFd::revents).collect()
    }
}

fn say(client: &OwnedFd, text: &str) {
    let message = [text.as_bytes(), b"\0"].concat();
    assert_eq!(send_some(client, &message, &[]).expect("send"), Some(message.len()));
}

fn hear(client: &OwnedFd) -> String {
    let mut buffer = vec![0; 1 << 20];
    let message = receive(client, &mut buffer).expect("receive");
    message.map_or("nothing".to_owned(), |message| match message.length {
        0 => "the end".to_owned(),
        length => String::from_utf8_lossy(&buffer[..length]).replace('\0', "\n"),
    })
}

#[test]
fn without_fds_nobody_is_accepted_for_a_while() {
    let mut server = Server::new();
    server.control.closed_until = Some(Instant::now() + REST);
    let _client = server.client();
    assert_eq!((server.poll(), server.control.connections.len()), (vec![PollFlags::empty()], 0));
    let until = server.control.deadline().expect("an end of it");
    server.control.closed_until = Some(until - REST);
    assert!(server.turn().is_empty());
    assert_eq!(server.control.deadline(), None);
    assert!(server.turn().is_empty());
    assert_eq!(server.control.connections.len(), 1);
}

#[test]
fn calls_come_one_at_a_time_and_are_answered_in_order() {
    let mut server = Server::new();
    let client = server.client();
    say(&client, r#"{"method":"a.A"}"#);
    say(&client, r#"{"method":"a.B","oneway":true}"#);
    say(&client, r#"{"method":"a.C"}"#);
    let mut seen = Vec::new();
    for _ in 0..4 {
        for incoming in server.turn() {
            seen.push(incoming.call.method.clone());
            let answer = Ok(Answer::Results(object(json!({ "to": incoming.call.method }))));
            server.control.answer(incoming.from, &incoming.call, answer);
        }
    }
    assert_eq!(seen, ["a.A", "a.B", "a.C"]);
    assert!(!server.control.has_work());
    assert_eq!(hear(&client), "{\"parameters\":{\"to\":\"a.A\"}}\n{\"parameters\":{\"to\":\"a.C\"}}\n");
}

#[test]
fn what_is_no_call_ends_the_connection() {
    let long = "x".repeat(MESSAGE_BYTES + 1);
    for text in ["garbage", "{}", "[]", r#"{"method":1}"#, "", &long] {
        let mut server = Server::new();
        let client = server.client();
        let message = [text.as_bytes(), b"\0"].concat();
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            match send_some(&client, rest, &[]) {
                Ok(Some(sent)) => rest = &rest[sent..],
                Ok(None) => {}
                Err(_) => break,
            }
            assert!(server.turn().is_empty());
        }
        // What the kernel holds is read in pieces.
        for _ in 0..100 {
            assert!(server.turn().is_empty());
        }
        assert_eq!(server.control.connections.len(), 0, "{:.20}", text);
    }
}

#[test]
fn a_call_may_take_its_time() {
    let mut server = Server::new();
    let (client, gone) = (server.client(), server.client());
    for socket in [&client, &gone] {
        say(socket, r#"{"method":"a.Slow"}"#);
    }
    let incoming = server.turn();
    let ids: Vec<ConnectionId> = incoming.iter().map(|incoming| incoming.from).collect();
    for incoming in incoming {
        server.control.answer(incoming.from, &incoming.call, Ok(Answer::Later));
    }
    say(&client, r#"{"method":"a.Next"}"#);
    assert!(server.turn().is_empty(), "the first is not answered yet");
    drop(gone);
    server.turn();
    assert_eq!(server.control.connections.len(), 1);
    server.control.finish(&ids, &Ok(Map::new()));
    assert_eq!(hear(&client), "{\"parameters\":{}}\n");
    assert_eq!(server.turn().len(), 1);
}

#[test]
fn fds_go_both_ways() {
    let mut server = Server::new();
    let client = server.client();
    let null = std::fs::File::open("/dev/null").expect("open");
    send_some(&client, b"{\"method\":\"a.A\"}\0", &[null.as_fd(), null.as_fd()]).expect("send");
    let incoming = server.turn().remove(0);
    assert_eq!(incoming.fds.len(), 2);
    let answer = Ok(Answer::WithFds(Map::new(), incoming.fds));
    server.control.answer(incoming.from, &incoming.call, answer);
    let message = receive(&client, &mut [0; 64]).expect("receive").expect("a message");
    assert_eq!(message.fds.len(), 2);
    // More than anything needs.
    send_some(&client, b"{\"method\"", &[null.as_fd(); 9]).expect("send");
    server.turn();
    assert_eq!(server.control.connections.len(), 0);
}

fn subscribe(server: &mut Server, client: &OwnedFd) {
    say(client, r#"{"method":"a.Subscribe","more":true}"#);
    let incoming = server.turn().remove(0);
    let past = server.control.past().filter_map(|past| Subscription::new(Form::Spinney, None).results(past));
    let answer = Answer::Events(past.collect(), Subscription::new(Form::MachineInstance, None));
    server.control.answer(incoming.from, &incoming.call, Ok(answer));
}

#[test]
fn events_come_in_order_until_the_end() {
    let mut server = Server::new();
    let client = server.client();
    server.control.publish(MachineEvent::Ready { assumed: false });
    subscribe(&mut server, &client);
    assert!(hear(&client).contains(r#""event":"ready""#));
    server.control.publish(MachineEvent::Paused);
    server.control.publish(MachineEvent::Ended { exit_status: 3, reason: EndReason::Exited, error: None });
    assert_eq!(
        hear(&client),
        "{\"parameters\":{\"event\":\"paused\"},\"continues\":true}\n{\"parameters\":{\"event\":\"ended\",\
         \"data\":{\"exit-status\":3,\"reason\":\"exited\",\"error\":null}}}\n"
    );
}

/// Tells so many events that who does not read them is cut off.
fn fill(server: &mut Server) {
    let text = "x".repeat(1000);
    let mut told = 0;
    while !server.control.has_work() {
        server.control.publish(MachineEvent::Status { text: text.clone() });
        told += 1;
        assert!(told < 10_000);
    }
}

#[test]
fn what_poll_reported_is_not_taken_for_another_clients() {
    let mut server = Server::new();
    let (deaf, gone, client) = (server.client(), server.client(), server.client());
    for socket in [&deaf, &client] {
        subscribe(&mut server, socket);
        hear(socket);
    }
    drop(gone);
    let ready = server.poll();
    // Between poll and the turn the deaf one is cut off; the other one reads.
    let text = "x".repeat(1000);
    while !server.control.has_work() {
        server.control.publish(MachineEvent::Status { text: text.clone() });
        hear(&client);
    }
    server.control.turn(&ready);
    assert_eq!(server.control.connections.len(), 1);
    server.control.publish(MachineEvent::Paused);
    assert!(hear(&client).contains("paused"));
}

#[test]
fn who_does_not_read_is_cut_off() {
    let mut server = Server::new();
    let (deaf, client) = (server.client(), server.client());
    subscribe(&mut server, &deaf);
    fill(&mut server);
    server.turn();
    assert_eq!(server.control.connections.len(), 1);
    say(&client, r#"{"method":"a.A"}"#);
    assert_eq!(server.turn().len(), 1);
}

#[test]
fn connections_are_bounded_and_the_silent_make_room() {
    let mut server = Server::new();
    let (listening, first) = (server.client(), server.client());
    subscribe(&mut server, &listening);
    let clients: Vec<OwnedFd> = (0..MAX_CONNECTIONS).map(|_| server.client()).collect();
    assert_eq!(server.control.connections.len(), MAX_CONNECTIONS);
    assert_eq!((hear(&first).as_str(), hear(&clients[0]).as_str()), ("the end", "the end"));
    assert_eq!(hear(&listening), "nothing");
    say(clients.last().expect("clients"), r#"{"method":"a.A"}"#);
    assert_eq!(server.turn().len(), 1);
}

#[test]
fn a_talkative_guest_does_not_push_out_what_happened() {
    let mut server = Server::new();
    server.control.publish(MachineEvent::Ready { assumed: false });
    for number in 0..1000 {
        server.control.publish(MachineEvent::UnitActive { unit: format!("u{number}.target") });
    }
    server.control.publish(MachineEvent::Stopping { how: StopKind::PowerOff, asked: true });
    let names: Vec<&str> = server.control.past().map(|past| past.event.name()).collect();
    assert_eq!(names.len(), MAX_PAST);
    assert_eq!((names[0], names[MAX_PAST - 1]), ("ready", "stopping"));
}
