//! A console between two ptys of the host: one is the user's terminal, one the guest's console.

use std::fs::File;
use std::io::{Read, Write};

use rustix::event::PollFd;
use rustix::fs::OFlags;
use rustix::termios::LocalModes;

use super::*;
use crate::sys::timeout::timeout;
use crate::sys::tty::{self, test_pty};

/// The poll loop in small: turns until nothing is ready for a moment.
fn turn(console: &mut Console) -> Vec<Action> {
    let mut actions = Vec::new();
    let quiet = timeout(Duration::from_millis(30));
    for _ in 0..10_000 {
        let mut fds: Vec<PollFd<'_>> =
            console.interest().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        if rustix::event::poll(&mut fds, Some(&quiet)).expect("poll") == 0 {
            return actions;
        }
        drop(fds);
        actions.extend(console.on_ready(Instant::now()));
    }
    panic!("the console is busy without end");
}

fn read_now(fd: &OwnedFd) -> String {
    let flags = rustix::fs::fcntl_getfl(fd).expect("flags");
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).expect("flags");
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = rustix::io::read(fd, &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(text).expect("utf-8")
}

fn write_all(fd: &OwnedFd, text: &str) {
    assert_eq!(rustix::io::write(fd, text.as_bytes()), Ok(text.len()));
}

struct House {
    console: Console,
    /// The user's hand and eye.
    user: OwnedFd,
    /// The guest's console.
    guest: OwnedFd,
    logs: tempfile::TempDir,
}

fn house(mode: ConsoleMode) -> House {
    let (user, user_tty) = test_pty();
    tty::set_window_size(&user, tty::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })
        .expect("size");
    let (master, guest) = test_pty();
    let logs = tempfile::tempdir().expect("tempdir");
    let log = ConsoleLog::open(File::open(logs.path()).expect("open").into()).expect("log");
    let terminal = Terminal::open(user_tty.as_fd(), user_tty.as_fd()).expect("terminal");
    let mut console = Console::new(mode, terminal, Some(log));
    console.replace_master(master).expect("master");
    House { console, user, guest, logs }
}

impl House {
    fn logged(&self) -> String {
        std::fs::read_to_string(self.logs.path().join("console.log")).expect("log")
    }
}

#[test]
fn modes() {
    // Mode; what the user sees; what the guest gets; whether the user's terminal is raw.
    let table = [
        (ConsoleMode::Interactive, "login:", "root\n", true),
        (ConsoleMode::ReadOnly, "login:", "", false),
        (ConsoleMode::Passive, "", "", false),
    ];
    for (mode, seen, got, raw) in table {
        let mut house = house(mode);
        assert_eq!(house.console.terminal().is_raw(), raw, "{mode:?}");
        write_all(&house.guest, "login:");
        turn(&mut house.console);
        assert_eq!(read_now(&house.user), seen, "{mode:?}");
        assert_eq!(house.logged(), "login:", "{mode:?}");
        write_all(&house.user, "root\r");
        turn(&mut house.console);
        assert_eq!(read_now(&house.guest), got, "{mode:?}");
    }
}

#[test]
fn the_window_size_is_the_guests() {
    let mut house = house(ConsoleMode::Interactive);
    assert_eq!(tty::window_size(&house.guest).expect("size").ws_col, 80);
    tty::set_window_size(&house.user, tty::Winsize { ws_row: 5, ws_col: 7, ws_xpixel: 0, ws_ypixel: 0 })
        .expect("size");
    house.console.resume().expect("resume");
    let size = tty::window_size(&house.guest).expect("size");
    assert_eq!((size.ws_row, size.ws_col), (5, 7));
}

#[test]
fn hotkeys_are_found_and_lone_ones_passed_on_in_time() {
    let mut house = house(ConsoleMode::Interactive);
    let raw = tty::make_raw(&house.guest).expect("raw");
    write_all(&house.user, "a\x1d");
    assert!(turn(&mut house.console).is_empty());
    assert_eq!(read_now(&house.guest), "a");
    let deadline = house.console.deadline().expect("a deadline");
    assert!(house.console.on_ready(deadline).is_empty());
    assert_eq!((read_now(&house.guest).as_str(), house.console.deadline()), ("\x1d", None));
    write_all(&house.user, "\x1d\x1dp");
    assert!(matches!(turn(&mut house.console)[..], [Action::Hotkey(Hotkey::PowerOff)]));
    tty::set_attributes(&house.guest, &raw).expect("restore");
}

#[test]
fn a_guest_may_close_hang_up_and_reopen_its_console() {
    let House { mut console, user, guest, logs } = house(ConsoleMode::Interactive);
    let path = rustix::termios::ttyname(&guest, Vec::new()).expect("name");
    write_all(&guest, "one\n");
    drop(guest);
    // Would never come to rest if the master reported a hang-up.
    turn(&mut console);
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let open = || rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).expect("open again");
    for text in ["two\n", "three\n"] {
        // vhangup(2), as agetty and systemd's TTYVHangup= do it before they open it for good; root's alone.
        if rustix::process::geteuid().is_root() {
            tty::hang_up(&open()).expect("hang up");
        }
        write_all(&open(), text);
        turn(&mut console);
        assert_eq!(console.deadline(), None);
    }
    assert_eq!(read_now(&user), "one\r\ntwo\r\nthree\r\n");
    drop(logs);
}

#[test]
fn a_user_who_does_not_read_stops_the_guest_and_nothing_is_lost() {
    let mut house = house(ConsoleMode::ReadOnly);
    let flags = rustix::fs::fcntl_getfl(&house.guest).expect("flags");
    rustix::fs::fcntl_setfl(&house.guest, flags | OFlags::NONBLOCK).expect("flags");
    let (mut written, mut seen) = (0, 0);
    for _ in 0..1000 {
        match rustix::io::write(&house.guest, &[b'x'; 1000]) {
            Ok(length) => written += length,
            Err(errno) => {
                assert_eq!(errno, Errno::AGAIN);
                break;
            }
        }
        turn_once(&mut house.console);
    }
    assert!(written < 1_000_000, "the guest was never stopped");
    while let length @ 1.. = read_now(&house.user).len() {
        seen += length;
        turn(&mut house.console);
    }
    assert_eq!((seen, house.logged().len()), (written, written));
}

fn turn_once(console: &mut Console) {
    console.on_ready(Instant::now());
}

#[test]
fn a_guest_that_hangs_can_still_be_killed() {
    let mut house = house(ConsoleMode::Interactive);
    tty::make_raw(&house.guest).expect("raw");
    // Until the pty takes no more and the buffer is full.
    let full = (0..1000).any(|_| {
        let _ = rustix::io::write(&house.user, &[b'k'; 500]);
        turn_once(&mut house.console);
        house.console.full_since.is_some()
    });
    assert!(full);
    assert!(!house.console.wants_input(Instant::now()));
    let deadline = house.console.deadline().expect("a deadline");
    house.console.full_since = Some(Instant::now() - STALL);
    assert!(deadline <= Instant::now() + STALL && house.console.wants_input(Instant::now()));
    // The keys typed so far are read, then the hotkey.
    turn(&mut house.console);
    write_all(&house.user, "\x1d\x1d\x1d");
    assert!(matches!(turn(&mut house.console)[..], [Action::Hotkey(Hotkey::Kill)]));
    // What had been taken arrives once the guest reads.
    assert!(read_now(&house.guest).bytes().all(|byte| byte == b'k'));
}

#[test]
fn nobody_at_the_output_does_not_matter() {
    let (input, _typing) = rustix::pipe::pipe().expect("pipe");
    let (reader, output) = rustix::pipe::pipe().expect("pipe");
    let (master, guest) = test_pty();
    let logs = tempfile::tempdir().expect("tempdir");
    let log = ConsoleLog::open(File::open(logs.path()).expect("open").into()).expect("log");
    let terminal = Terminal::open(input.as_fd(), output.as_fd()).expect("terminal");
    let mut console = Console::new(ConsoleMode::ReadOnly, terminal, Some(log));
    console.replace_master(master).expect("master");
    write_all(&guest, "seen\n");
    turn(&mut console);
    assert_eq!(read_now(&reader), "seen\r\n");
    drop(reader);
    write_all(&guest, "unseen\n");
    assert!(matches!(turn(&mut console)[..], [Action::OutputClosed(Some(Errno::PIPE))]));
    write_all(&guest, "unseen\n");
    assert!(turn(&mut console).is_empty());
    assert_eq!(console.log().expect("log").last_lines(9).expect("lines"), ["seen", "unseen", "unseen"]);
}

#[test]
fn the_end_of_piped_input_is_an_end_of_file_to_the_guest() {
    let mut input = tempfile::tempfile().expect("tempfile");
    input.write_all(b"exit 3\n").expect("write");
    std::io::Seek::rewind(&mut input).expect("rewind");
    let null = File::options().write(true).open("/dev/null").expect("open");
    let (master, guest) = test_pty();
    let terminal = Terminal::open(input.as_fd(), null.as_fd()).expect("terminal");
    let mut console = Console::new(ConsoleMode::Interactive, terminal, None);
    console.replace_master(master).expect("master");
    assert!(matches!(turn(&mut console)[..], [Action::InputClosed]));
    let mut text = String::new();
    File::from(guest).read_to_string(&mut text).expect("read to the end of file");
    assert_eq!(text, "exit 3\n");
}

#[test]
fn the_last_line_is_not_lost_and_the_terminal_is_left_in_order() {
    let House { console, user, guest, logs } = house(ConsoleMode::Interactive);
    write_all(&guest, "reboot: Power down");
    drop(guest);
    assert!(console.finish(Duration::from_secs(1)).expect("finish").is_empty());
    assert_eq!(read_now(&user), "reboot: Power down\x1b[0m\x1b[?25h\x1b[?7h\r\n");
    assert!(tty::attributes(&user).expect("attributes").local_modes.contains(LocalModes::ICANON));
    let log = std::fs::read_to_string(logs.path().join("console.log")).expect("log");
    assert_eq!(log, "reboot: Power down");
}

#[test]
fn a_stopped_terminal_does_not_hold_up_the_end() {
    let House { mut console, user, guest, logs } = house(ConsoleMode::ReadOnly);
    let flags = rustix::fs::fcntl_getfl(&guest).expect("flags");
    rustix::fs::fcntl_setfl(&guest, flags | OFlags::NONBLOCK).expect("flags");
    let mut written = 0;
    while let Ok(length) = rustix::io::write(&guest, &[b'x'; 1000]) {
        written += length;
        turn_once(&mut console);
    }
    let start = Instant::now();
    console.finish(Duration::from_millis(50)).expect("finish");
    assert!(start.elapsed() < Duration::from_millis(500));
    let log = std::fs::read_to_string(logs.path().join("console.log")).expect("log");
    assert_eq!(log.len(), written);
    drop(user);
}

#[test]
fn a_reboot_gets_a_new_pty() {
    let mut house = house(ConsoleMode::Interactive);
    write_all(&house.guest, "old\n");
    let (master, guest) = test_pty();
    house.console.replace_master(master).expect("master");
    write_all(&guest, "new\n");
    turn(&mut house.console);
    assert_eq!(read_now(&house.user), "old\r\nnew\r\n");
    assert_eq!(tty::window_size(&guest).expect("size").ws_col, 80);
    assert!(house.console.terminal().is_raw());
}

#[test]
fn a_log_that_fails_is_said_once() {
    let (master, guest) = test_pty();
    let null = File::open("/dev/null").expect("open");
    let terminal = Terminal::open(null.as_fd(), null.as_fd()).expect("terminal");
    let logs = tempfile::tempdir().expect("tempdir");
    let log = ConsoleLog::failing_for_test(File::open(logs.path()).expect("open").into());
    let mut console = Console::new(ConsoleMode::Passive, terminal, Some(log));
    console.replace_master(master).expect("master");
    write_all(&guest, "one\n");
    assert!(matches!(turn(&mut console)[..], [Action::LogFailed(_)]));
    write_all(&guest, "two\n");
    assert!(turn(&mut console).is_empty());
    assert!(console.log().is_none());
}
