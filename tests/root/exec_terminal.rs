//! `spinney exec` and terminals: with `-t` one of the guest's own, without it never ours.

use rustix::termios::{Winsize, tcsetwinsize};

use crate::command::run_with_input;
use crate::console::Session;
use crate::exec::{exec, machine};
use crate::harness::{Context, Row, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let single: [Row; 2] = [("terminal", terminal), ("terminal_is_not_handed_in", terminal_is_not_handed_in)];
    single.map(|(name, test)| Test::new(format!("exec_terminal::{name}"), test)).into()
}

fn terminal(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let mut session = Session::start(exec(context, &["-t", name, "sh"]));
    session.types("echo $((6 * 7)); tty; stty size\n");
    session.sees("42\r\n/dev/pts/");
    session.sees("33 99");
    tcsetwinsize(&session.terminal, Winsize { ws_row: 44, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 })?;
    session.process.signal(libc::SIGWINCH);
    session.types("while ! stty size | grep '44 111'; do sleep 0.05; done\n");
    session.sees("\n44 111");
    session.types("sh -c 'trap \"exit 9\" INT; echo as\"\"leep; while :; do sleep 0.1; done'\n");
    session.sees("asleep");
    session.types("\x03");
    session.sees("# ");
    session.types("echo again=$?\n");
    session.sees("again=9");
    session.types("exit 3\n");
    assert_eq!(session.ends(), 3);

    // All that was written is shown before we end, and all fds are the terminal.
    let script = "seq 1 5000; ls -l /proc/self/fd >&2; exit 5";
    let mut session = Session::start(exec(context, &["-t", name, "sh", "-c", script]));
    session.sees("\n5000\r\n");
    session.sees("0 -> /dev/pts/");
    assert_eq!(session.ends(), 5);

    // Leaving is a hang-up.
    let mut session = Session::start(exec(context, &["-t", name, "sh"]));
    session.sees("# ");
    session.types("\x1d\x1d\x1d");
    assert_eq!(session.ends(), 129);

    // A user of its own may open it again.
    let mut session = Session::start(exec(
        context,
        &["-t", "-u", "4711", name, "sh", "-c", "echo one >/dev/tty; echo two >$(tty)"],
    ));
    session.sees("one\r\ntwo\r\n");
    assert_eq!(session.ends(), 0);

    // No terminal on our side: there is one on the other.
    let done = run_with_input(&mut exec(context, &["-t", name, "sh", "-c", "tty; cat"]), b"piped\n");
    assert_eq!(done.status, 0);
    assert!(done.stdout.contains("/dev/pts/") && done.stdout.ends_with("piped\r\n"), "{done:?}");
    machine.stop()?;
    Ok(())
}

fn terminal_is_not_handed_in(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let script = "for fd in 0 1 2; do readlink /proc/self/fd/$fd | cut -c1-5; done; test -t 0 || echo none; cat; exit 6";
    let mut session = Session::start(exec(context, &[&machine.name, "sh", "-c", script]));
    session.sees("pipe:\r\npipe:\r\npipe:\r\nnone\r\n");
    session.types("typed\n");
    // Once by the echo of the terminal, once by cat.
    session.sees("typed\r\ntyped\r\n");
    session.types("\x04");
    assert_eq!(session.ends(), 6);
    machine.stop()?;
    Ok(())
}
