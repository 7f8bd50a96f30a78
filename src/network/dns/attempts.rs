//! Whom to ask, in which order, and how long to wait for each: pure, for one question.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::resolv_conf::ResolvConf;

/// One round over all servers is over before a client gives up on its first try, 5 seconds in glibc and in musl, so that a dead
/// server costs time and not the answer.
const ROUND: Duration = Duration::from_millis(4500);

/// The least that a server is given.
const LEAST: Duration = Duration::from_millis(500);

/// For how long a server that did not answer is asked last.
const AVOIDED: Duration = Duration::from_secs(30);

/// Questions to one server that may be out at once for one client's: sockets.
const MOST_TRIES: usize = 10;

/// What is known of the servers.
#[derive(Debug, Default)]
pub struct Servers {
    conf: ResolvConf,
    /// Those that did not answer, and until when they are asked last.
    avoided: Vec<(SocketAddr, Instant)>,
    /// How many questions were begun, for `rotate`.
    begun: usize,
}

impl Servers {
    /// Asks these from now on.
    pub fn set(&mut self, conf: ResolvConf) {
        if conf != self.conf {
            self.conf = conf;
            self.avoided.clear();
        }
    }

    /// The tries that a new question has.
    pub fn tries(&mut self, now: Instant) -> Tries {
        self.avoided.retain(|(_, until)| now < *until);
        let mut servers = self.conf.servers.clone();
        if self.conf.rotate && !servers.is_empty() {
            let count = servers.len();
            servers.rotate_left(self.begun % count);
            self.begun = self.begun.wrapping_add(1);
        }
        // Stable: among those that answer, and among those that do not, the order is that of the file.
        servers.sort_by_key(|server| self.avoided.iter().any(|(avoided, _)| avoided == server));
        let share = ROUND / u32::try_from(servers.len().max(1)).unwrap_or(1);
        let attempts = usize::try_from(self.conf.attempts).unwrap_or(1);
        let left = (servers.len() * attempts).min(MOST_TRIES);
        Tries { servers, next: 0, left, wait: self.conf.timeout.min(share).max(LEAST) }
    }

    /// `server` has not answered in time, or cannot be reached.
    pub fn avoid(&mut self, server: SocketAddr, now: Instant) {
        self.avoided.retain(|(avoided, _)| *avoided != server);
        self.avoided.push((server, now + AVOIDED));
    }

    /// `server` has answered.
    pub fn trust(&mut self, server: SocketAddr) {
        self.avoided.retain(|(avoided, _)| *avoided != server);
    }
}

/// What is left to be tried for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tries {
    servers: Vec<SocketAddr>,
    next: usize,
    left: usize,
    wait: Duration,
}

impl Tries {
    /// The server to be asked next, and how long it is waited for.
    pub fn next_server(&mut self) -> Option<(SocketAddr, Duration)> {
        self.left = self.left.checked_sub(1)?;
        if self.next >= self.servers.len() {
            self.next = 0;
        }
        let server = *self.servers.get(self.next)?;
        self.next += 1;
        Some((server, self.wait))
    }

    /// `server` has said that it cannot: it is not asked this again.
    pub fn rule_out(&mut self, server: SocketAddr) {
        if let Some(at) = self.servers.iter().position(|other| *other == server) {
            self.servers.remove(at);
            if at < self.next {
                self.next -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(count: u8, timeout: u64, attempts: u32, rotate: bool) -> ResolvConf {
        let servers = (1..=count).map(|last| SocketAddr::from(([192, 0, 2, last], 53))).collect();
        ResolvConf { servers, timeout: Duration::from_secs(timeout), attempts, rotate }
    }

    /// The last bytes of the addresses, in the order of asking, and the wait.
    fn order(mut tries: Tries) -> (Vec<u8>, Duration) {
        let wait = tries.wait;
        let servers = std::iter::from_fn(|| tries.next_server());
        let last = servers.map(|(server, _)| match server {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        });
        (last.collect(), wait)
    }

    #[test]
    fn orders() {
        let now = Instant::now();
        let millis = Duration::from_millis;
        let table = [
            (conf(0, 5, 2, false), vec![], millis(4500)),
            (conf(1, 5, 2, false), vec![1, 1], millis(4500)),
            (conf(2, 5, 2, false), vec![1, 2, 1, 2], millis(2250)),
            (conf(3, 1, 1, false), vec![1, 2, 3], millis(1000)),
            (conf(8, 5, 2, false), vec![1, 2, 3, 4, 5, 6, 7, 8, 1, 2], Duration::from_micros(562_500)),
        ];
        for (conf, expected, wait) in table {
            let mut servers = Servers::default();
            servers.set(conf.clone());
            assert_eq!(order(servers.tries(now)), (expected, wait), "{conf:?}");
        }
    }

    #[test]
    fn rotation() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        servers.set(conf(3, 5, 1, true));
        let orders: Vec<Vec<u8>> = (0..4).map(|_| order(servers.tries(now)).0).collect();
        assert_eq!(orders, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
    }

    #[test]
    fn who_does_not_answer_is_asked_last() {
        let (mut servers, now) = (Servers::default(), Instant::now());
        let first = SocketAddr::from(([192, 0, 2, 1], 53));
        servers.set(conf(3, 5, 1, false));
        servers.avoid(first, now);
        assert_eq!(order(servers.tries(now)).0, [2, 3, 1]);
        assert_eq!(order(servers.tries(now + AVOIDED)).0, [1, 2, 3]);
        servers.avoid(first, now);
        servers.trust(first);
        assert_eq!(order(servers.tries(now)).0, [1, 2, 3]);
        servers.avoid(first, now);
        servers.set(conf(2, 5, 1, false));
        assert_eq!(order(servers.tries(now)).0, [1, 2], "a new file, a new start");
    }

    #[test]
    fn who_cannot_is_ruled_out() {
        let mut servers = Servers::default();
        servers.set(conf(3, 5, 2, false));
        let mut tries = servers.tries(Instant::now());
        let (first, _) = tries.next_server().expect("a server");
        tries.rule_out(first);
        assert_eq!(order(tries.clone()).0, [2, 3, 2, 3, 2]);
        let (second, _) = tries.next_server().expect("a server");
        tries.rule_out(second);
        tries.rule_out(SocketAddr::from(([192, 0, 2, 3], 53)));
        assert_eq!(tries.next_server(), None);
    }
}
