//! Hosts whose kernel has no nf_tables, as a filter of system calls shows one.

use std::process::Stdio;

use spinney::sys::seccomp::{SockFilter, install_filter};

use crate::command::run;
use crate::harness::{Context, Test, TestResult};
use crate::machine::Machine;
use crate::network_host::{network, on_own_host, shell};

pub fn tests() -> Vec<Test> {
    vec![Test::new("network_lacks::nf_tables", nf_tables)]
}

/// From now on there is no NETLINK_NETFILTER for the thread and what it starts (socket(2): EPROTONOSUPPORT).
fn lose_netfilter() {
    // BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K (linux/bpf_common.h); offsets of struct seccomp_data.
    let load = |k| SockFilter { code: 0x20, jt: 0, jf: 0, k };
    let unless = |k, jf| SockFilter { code: 0x15, jt: 0, jf, k };
    let give = |k| SockFilter { code: 0x06, jt: 0, jf: 0, k };
    let number = |number: i64| u32::try_from(number).unwrap();
    let program = [
        load(0),
        unless(number(libc::SYS_socket), 5),
        load(16),
        unless(number(libc::AF_NETLINK.into()), 3),
        load(32),
        unless(12, 1),
        give(libc::SECCOMP_RET_ERRNO | number(libc::EPROTONOSUPPORT.into())),
        give(libc::SECCOMP_RET_ALLOW),
    ];
    install_filter(&program).unwrap();
}

/// A machine starts, and what it lacks is said; one that has ports does not. The host does not forward without rules.
fn nf_tables(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    on_own_host(|| {
        let _lan = network("lan0", "192.0.2", "2001:db8")?;
        lose_netfilter();
        let (name, options) = (context.machine_name(), ["--network-zone=lacks"]);
        let mut machine = Machine::start_as(context, &name, &tree, &options, &[]);
        machine.ready()?;
        let gateway = machine.says("ip -4 route show default | awk '{ print $3 }'")?;
        assert_eq!(machine.shell(&format!("ping -c 1 -w 5 {gateway}"))?.status, 0);
        let forwards = shell("cat /proc/sys/net/ipv4/conf/lan0/forwarding")?;
        assert_eq!(forwards.trim(), "0");
        let told = machine.messages();
        let expected = "this kernel has no nf_tables with NAT: the machine does not reach beyond this host, and nothing keeps it \
                        from the host's services and from addresses of other machines";
        assert_eq!(told.matches(expected).count(), 1, "{told}");
        machine.stop()?;
        let refused = run(context
            .spinney()
            .args(["run", "-x", "--network-zone=lacks", "-p", "8080:80"])
            .arg(&tree)
            .args(["--", "true"])
            .stdin(Stdio::null()));
        assert_eq!(refused.status, 125);
        let expected = "this kernel has no nf_tables: ports of the host cannot lead to the machine";
        assert!(refused.stderr.contains(expected) && refused.stderr.contains("hint: "), "{}", refused.stderr);
        Ok(())
    })
}
