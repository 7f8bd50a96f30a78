//! `spinney net doctor`: nothing is odd where all is well, and of each fault the one line that names it.

use std::net::UdpSocket;
use std::process::Stdio;

use crate::command::{Ended, run};
use crate::harness::{Context, Test, TestResult};
use crate::machine::Machine;
use crate::network_host::{network, on_own_host, shell};

pub fn tests() -> Vec<Test> {
    vec![Test::new("network_doctor::faults", faults)]
}

const WELL: &str = "All is well.\n";

/// What is printed of one problem alone.
fn problem(check: &str, text: &str, hint: &str) -> String {
    format!("problem {check:13} {text}\n{:21} hint: {hint}\n1 problem.\n", "")
}

/// A name server, as far as the doctor asks for one: each question comes back. It ends with an empty one.
fn answer(at: &str) {
    let socket = UdpSocket::bind(at).unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length @ 1.., from)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&question[..length], from);
        }
    });
}

fn faults(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    on_own_host(|| {
        let lan = network("lan0", "192.0.2", "2001:db8")?;
        shell("ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2")?;
        lan.within(|| answer("192.0.2.2:53"));
        let name = context.machine_name();
        let options = ["--network-zone=doctor", "--dns=192.0.2.2"];
        let mut machine = Machine::start_as(context, &name, &tree, &options, &[]);
        machine.ready()?;
        let doctor = |more: &[&str]| -> Ended {
            run(context.spinney().args(["net", "doctor", &name]).args(more).stdin(Stdio::null()))
        };
        let well = doctor(&[]);
        let addresses = machine.says(
            "ip -o addr show host0 scope global | awk '{ print $4 }' | cut -d/ -f1 | sort | tr '\\n' ' '",
        )?;
        let mut addresses: Vec<&str> = addresses.split_whitespace().collect();
        addresses.sort_by_key(|address| address.contains(':'));
        let expected = format!(
            "ok      link          {} behind vz-doctor
ok      default-route IPv4 by lan0, IPv6 by lan0
ok      forwarding    on
ok      rules         in force
ok      firewall      no other table surely drops what the machine sends or gets
ok      names         192.0.2.2 answers
{WELL}",
            addresses.join(", ")
        );
        assert_eq!((well.status, well.stdout.as_str(), well.stderr.as_str()), (0, expected.as_str(), ""));
        assert_eq!(doctor(&["-q"]).stdout, WELL);
        let each_has_one = std::path::Path::new("/proc/sys/net/ipv6/conf/all/force_forwarding").exists();
        let v6 = if each_has_one { "conf/lan0/force_forwarding" } else { "conf/all/forwarding" };
        let who = if each_has_one { "lan0 does" } else { "lan0, vz-doctor do" };
        let set = |path: &str, value| format!("echo {value} >/proc/sys/net/{path}");
        // The supervisor mends what it can: it must not, here.
        machine.signal(libc::SIGSTOP);
        let table = [
            (
                set("ipv4/conf/lan0/forwarding", 0),
                set("ipv4/conf/lan0/forwarding", 1),
                problem("forwarding", "lan0 does not forward IPv4", "sysctl net.ipv4.conf.lan0.forwarding=1"),
            ),
            (
                set(&format!("ipv6/{v6}"), 0),
                set(&format!("ipv6/{v6}"), 1),
                problem(
                    "forwarding",
                    &format!("{who} not forward IPv6"),
                    &format!("sysctl net.ipv6.{}=1", v6.replace('/', ".")),
                ),
            ),
            (
                "nft add table ip other; nft add chain ip other FORWARD '{ type filter hook forward priority 0; policy drop; }'; nft add rule ip other FORWARD oifname lan0 accept; nft add rule ip other FORWARD iifname vz-doctor accept".to_owned(),
                "nft delete table ip other".to_owned(),
                problem("firewall", "chain ip other FORWARD drops what the machine gets, by its policy", "nft insert rule ip other FORWARD oifname vz-doctor accept"),
            ),
            (
                "ip route del default; ip -6 route del default".to_owned(),
                "ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2".to_owned(),
                problem("default-route", "this host has no default route: it does not reach the internet itself", "connect the host; `ip route` shows what it knows"),
            ),
            (
                "nft delete table inet spinney".to_owned(),
                "true".to_owned(),
                problem("rules", "somebody removed or changed rules of tables inet spinney and bridge spinney", "the machine's supervisor mends them within a minute; `nft monitor` shows who changes them"),
            ),
        ];
        for (fault, mend, expected) in table {
            shell(&fault)?;
            let told = doctor(&["-q"]);
            assert_eq!((told.status, told.stdout, told.stderr), (1, expected, String::new()), "{fault}");
            shell(&mend)?;
        }
        machine.signal(libc::SIGCONT);
        spinney::network::rules::repair()?;
        assert_eq!(doctor(&["-q"]).stdout, WELL);
        lan.within(|| UdpSocket::bind("192.0.2.2:0").unwrap().send_to(&[], "192.0.2.2:53").unwrap());
        let told = doctor(&["-q"]);
        let expected = problem(
            "names",
            "no name server of this host answers: 192.0.2.2",
            "name one that does in /etc/resolv.conf, or for the machine with --dns=",
        );
        assert_eq!((told.status, told.stdout), (1, expected));
        machine.stop()?;
        Ok(())
    })
}
