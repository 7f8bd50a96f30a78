//! /proc/PID/net/{tcp,tcp6,udp,udp6} (proc_pid_net(5)): a line a socket, addresses and states in hex.

/// TCP_LISTEN, and TCP_CLOSE, the state of every UDP socket that is not connected (include/net/tcp_states.h).
const LISTENING: [(&str, bool); 2] = [("0A", false), ("07", true)];

/// Whether a socket in `table` is bound to `port`, and for TCP listens there.
pub(super) fn is_open(table: &str, udp: bool, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        let (Some(local), Some(state)) = (fields.nth(1), fields.nth(1)) else { return false };
        let number = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        number == Some(port) && LISTENING.contains(&(state, udp))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
";
    const UDP: &str =
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
  123: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 5 2 0 0
  124: 00000000:0036 0100007F:0035 01 00000000:00000000 00:00000000 00000000     0        0 6 2 0 0
";

    #[test]
    fn sockets() {
        let table = [
            (TCP, false, 22, true),
            (TCP, false, 8080, false),
            (TCP, true, 22, false),
            (TCP6, false, 80, true),
            (UDP, true, 53, true),
            (UDP, true, 54, false),
            (UDP, false, 53, false),
            ("", false, 22, false),
            ("heading\nnonsense\n 0: x:zz y 0A\n", false, 22, false),
        ];
        for (text, udp, port, expected) in table {
            assert_eq!(is_open(text, udp, port), expected, "{udp} {port}");
        }
    }
}
