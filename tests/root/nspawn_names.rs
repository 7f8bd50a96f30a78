//! Names and MAC addresses of interfaces are those that the real systemd-nspawn gives.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use spinney::network::names::{HostId, MacOf, mac, shortened, veth};

use crate::command::run;
use crate::harness::{Context, Stop, Test, TestResult};

pub fn tests() -> Vec<Test> {
    vec![Test::new("nspawn_names::as_nspawn", as_nspawn)]
}

/// Runs systemd-nspawn in network and mount namespaces of the script's own, and prints which interfaces there are: `in NAME MAC`
/// of the machine, then the host's as ip(8) has them.
const SCRIPT: &str = r#"
mount -t tmpfs tmpfs /run
ip link add name lowest0 type veth peer name lowest-longer
ip link set lowest0 up
ip link set lowest-longer up
coproc NSPAWN { systemd-nspawn -q -D "$1" -M "$2" --register=no --keep-unit --pipe -n \
    --network-veth-extra=ex0:in0 --network-veth-extra=ex1:in1 --network-macvlan=lowest0 \
    --network-macvlan=lowest-longer /bin/sh -c \
    'cd /sys/class/net; for i in *; do echo in $i $(cat $i/address); done; echo ready; read x' 2>&1; }
while read -r line <&"${NSPAWN[0]}" && [ "$line" != ready ]; do echo "$line"; done
ip -o link show
echo >&"${NSPAWN[1]}"
wait
"#;

/// A name that makes the host's end too long for the kernel.
const NAME: &str = "a-machine-with-a-long-name";

fn as_nspawn(context: &Context) -> TestResult {
    if run(Command::new("systemd-nspawn").arg("--version").stdin(Stdio::null())).status != 0 {
        return Err(Stop::Skip("no systemd-nspawn".to_owned()));
    }
    let tree = context.subdirectory("tree").join("t");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&tree)).ok()?;
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "bash", "-c", SCRIPT, "script"]).arg(&tree).arg(NAME).stdin(Stdio::null());
    let ended = run(&mut command);
    let (mut inside, mut outside, mut alternative) = (BTreeMap::new(), BTreeMap::new(), None);
    for line in ended.stdout.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after =
            |word: &str| words.iter().position(|other| *other == word).and_then(|at| words.get(at + 1));
        match words.as_slice() {
            ["in", name, address] => {
                inside.insert((*name).to_owned(), (*address).to_owned());
            }
            [_, name, ..] => {
                let name = name.trim_end_matches(':').split('@').next().unwrap_or_default().to_owned();
                if let Some(address) = after("link/ether") {
                    alternative =
                        after("altname").map(|text| (name.clone(), (*text).to_owned())).or(alternative);
                    outside.insert(name, (*address).to_owned());
                }
            }
            _ => {}
        }
    }
    let host = HostId::parse(std::fs::read_to_string("/etc/machine-id")?.trim());
    let expected = |which| mac(host, NAME, which).to_string();
    let end = veth(NAME, false).ok_or("no name")?;
    let macvlan = shortened("mv-lowest-longer").ok_or("no name")?.name;
    for (links, name, which) in [
        (&inside, "host0", MacOf::Machine),
        (&outside, end.name.as_str(), MacOf::Host),
        (&inside, "in0", MacOf::ExtraMachine(0)),
        (&outside, "ex0", MacOf::ExtraHost(0)),
        (&inside, "in1", MacOf::ExtraMachine(1)),
        (&outside, "ex1", MacOf::ExtraHost(1)),
        (&inside, "mv-lowest0", MacOf::Macvlan(0)),
        (&inside, macvlan.as_str(), MacOf::Macvlan(1)),
    ] {
        assert_eq!(links.get(name), Some(&expected(which)), "{name}: {ended:#?}");
    }
    assert_eq!(alternative, end.alternative.map(|text| (end.name.to_string(), text)), "{ended:#?}");
    Ok(())
}
