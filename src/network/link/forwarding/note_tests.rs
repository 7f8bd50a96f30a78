use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;

/// A host of the interfaces eth0 (an uplink), eth1 and wlan0, with the kernel's ways.
struct Host {
    ipv6: Ipv6,
    links: Vec<Interface>,
    values: RefCell<BTreeMap<String, String>>,
}

const NAMES: [&str; 3] = ["eth0", "eth1", "wlan0"];

impl Host {
    fn new(ipv6: Ipv6) -> Self {
        let link =
            |(index, name): (u32, &str)| Interface { name: name.to_owned(), index, uplink: name == "eth0" };
        let host = Self { ipv6, links: (2..).zip(NAMES).map(link).collect(), values: RefCell::default() };
        for name in NAMES.iter().chain(&["all", "default"]) {
            host.poke(&format!("ipv4/conf/{name}/forwarding"), "0");
            host.poke(&format!("ipv6/conf/{name}/forwarding"), "0");
            host.poke(&format!("ipv6/conf/{name}/accept_ra"), "1");
            if ipv6 == Ipv6::EachInterface {
                host.poke(&format!("ipv6/conf/{name}/force_forwarding"), "0");
            }
        }
        host
    }

    fn poke(&self, path: &str, value: &str) {
        self.values.borrow_mut().insert(path.to_owned(), value.to_owned());
    }

    /// As the kernel does it: a switch for all that changes sets those of each interface and of later ones.
    fn set(&self, path: &str, value: &str) {
        let changes = self.value(path).as_deref() != Some(value);
        self.poke(path, value);
        if let Some((before, after)) = path.split_once("/all/").filter(|_| changes) {
            NAMES
                .iter()
                .chain(&["default"])
                .for_each(|name| self.poke(&format!("{before}/{name}/{after}"), value));
        }
    }

    fn value(&self, path: &str) -> Option<String> {
        self.values.borrow().get(path).cloned()
    }

    fn seen<T>(&self, work: impl FnOnce(&Seen<'_>) -> T) -> T {
        let value = |path: &str| self.value(path);
        work(&Seen { ipv6: self.ipv6, interfaces: self.links.clone(), value: &value })
    }

    fn follow(&self, note: &mut Note) -> Vec<String> {
        self.seen(|seen| note.follow(seen));
        self.carry_out(note.take_writes())
    }

    fn undo(&self, note: &Note) -> Vec<String> {
        self.carry_out(self.seen(|seen| note.undo(seen)))
    }

    fn carry_out(&self, writes: Vec<(String, String)>) -> Vec<String> {
        writes.iter().for_each(|(path, value)| self.set(path, value));
        writes.into_iter().map(|(path, value)| format!("{path} {value}")).collect()
    }
}

fn opened(note: &Note) -> [Vec<String>; 2] {
    let Opened { v4, v6 } = note.opened();
    [v4, v6]
}

const NONE: [[&str; 0]; 2] = [[], []];

#[test]
fn uplinks_are_opened_and_shut_again() {
    type Writes = &'static [&'static str];
    let table: [(Ipv6, Writes, [Writes; 2]); 3] = [
        (Ipv6::None, &["ipv4/conf/eth0/forwarding 1"], [&["eth0"], &[]]),
        (
            Ipv6::EachInterface,
            &["ipv4/conf/eth0/forwarding 1", "ipv6/conf/eth0/force_forwarding 1"],
            [&["eth0"], &["eth0"]],
        ),
        (
            Ipv6::Global,
            &["ipv4/conf/eth0/forwarding 1", "ipv6/conf/eth0/accept_ra 2", "ipv6/conf/all/forwarding 1"],
            [&["eth0"], &["eth0", "eth1", "wlan0"]],
        ),
    ];
    for (ipv6, writes, expected) in table {
        let host = Host::new(ipv6);
        let before = host.values.borrow().clone();
        let mut note = Note::default();
        assert_eq!(host.follow(&mut note), writes, "{ipv6:?}");
        assert_eq!(opened(&note), expected, "{ipv6:?}");
        // Once is enough, and what is written down is read again.
        let mut note: Note = serde_json::from_str(&serde_json::to_string(&note).unwrap()).unwrap();
        assert_eq!(host.follow(&mut note), [""; 0]);
        assert_eq!(opened(&note), expected, "{ipv6:?}");
        host.undo(&note);
        assert_eq!(*host.values.borrow(), before, "{ipv6:?}");
    }
}

#[test]
fn a_router_is_left_as_it_is() {
    for ipv6 in [Ipv6::Global, Ipv6::EachInterface] {
        let host = Host::new(ipv6);
        host.set(ALL4, "1");
        host.set(ALL6, "1");
        let mut note = Note::default();
        assert_eq!(host.follow(&mut note), [""; 0], "{ipv6:?}");
        assert_eq!(opened(&note), NONE);
    }
}

#[test]
fn who_makes_the_host_a_router_is_not_undone() {
    for ipv6 in [Ipv6::None, Ipv6::Global, Ipv6::EachInterface] {
        let host = Host::new(ipv6);
        let mut note = Note::default();
        host.follow(&mut note);
        // As Docker does.
        host.set(ALL4, "1");
        assert!(!host.undo(&note).iter().any(|write| write.starts_with("ipv4/")), "{ipv6:?}");
        assert_eq!(host.value("ipv4/conf/eth0/forwarding").as_deref(), Some("1"));
        host.follow(&mut note);
        assert!(note.opened().v4.is_empty(), "{ipv6:?}");
        // For good, also once he is not any more.
        host.set(ALL4, "0");
        assert_eq!(host.follow(&mut note), [""; 0]);
        assert!(note.opened().v4.is_empty(), "{ipv6:?}");
    }
    let host = Host::new(Ipv6::EachInterface);
    let mut note = Note::default();
    host.follow(&mut note);
    host.set(ALL6, "1");
    host.follow(&mut note);
    assert_eq!(opened(&note), [vec!["eth0"], vec![]]);
}

#[test]
fn what_somebody_else_sets_is_his() {
    let host = Host::new(Ipv6::EachInterface);
    let mut note = Note::default();
    host.follow(&mut note);
    host.set("ipv4/conf/eth0/forwarding", "0");
    assert_eq!(host.follow(&mut note), [""; 0]);
    assert_eq!(opened(&note), [vec![], vec!["eth0"]]);
    host.set("ipv4/conf/eth0/forwarding", "1");
    assert_eq!(host.undo(&note), ["ipv6/conf/eth0/force_forwarding 0"]);
    // For all: before Linux 6.17 there is no other.
    let host = Host::new(Ipv6::Global);
    let mut note = Note::default();
    host.follow(&mut note);
    host.set(ALL6, "0");
    assert_eq!(host.follow(&mut note), [""; 0]);
    assert_eq!(opened(&note)[1], [""; 0]);
}

#[test]
fn what_is_noted_and_not_set_yet_is_nobody_elses() {
    let host = Host::new(Ipv6::EachInterface);
    let mut note = Note::default();
    host.seen(|seen| note.follow(seen));
    // Another machine begins before the first one has set anything.
    host.seen(|seen| note.follow(seen));
    assert_eq!(opened(&note), [["eth0"], ["eth0"]]);
    assert_eq!(note.take_writes().len(), 2);
}

#[test]
fn routers_of_ipv6_get_their_own_values_back() {
    let host = Host::new(Ipv6::Global);
    host.poke("ipv6/conf/eth1/forwarding", "1");
    host.poke("ipv6/conf/default/forwarding", "1");
    let before = host.values.borrow().clone();
    let mut note = Note::default();
    host.follow(&mut note);
    assert_eq!(
        host.undo(&note),
        [
            "ipv6/conf/all/forwarding 0",
            "ipv6/conf/eth1/forwarding 1",
            "ipv6/conf/default/forwarding 1",
            "ipv6/conf/eth0/accept_ra 1",
            "ipv4/conf/eth0/forwarding 0",
        ]
    );
    assert_eq!(*host.values.borrow(), before);
}

#[test]
fn interfaces_come_go_and_change_names() {
    let mut host = Host::new(Ipv6::EachInterface);
    let mut note = Note::default();
    host.follow(&mut note);
    host.links[2].uplink = true;
    assert_eq!(
        host.follow(&mut note),
        ["ipv4/conf/wlan0/forwarding 1", "ipv6/conf/wlan0/force_forwarding 1"]
    );
    assert_eq!(opened(&note), [["eth0", "wlan0"], ["eth0", "wlan0"]]);
    // It is another one of that name.
    host.links[2].index = 9;
    host.poke("ipv4/conf/wlan0/forwarding", "0");
    host.poke("ipv6/conf/wlan0/force_forwarding", "0");
    assert_eq!(host.follow(&mut note).len(), 2);
    host.links[2].name = "eth1".to_owned();
    host.links.remove(1);
    host.poke("ipv4/conf/eth1/forwarding", "1");
    host.poke("ipv6/conf/eth1/force_forwarding", "1");
    assert_eq!(host.follow(&mut note), [""; 0]);
    assert_eq!(opened(&note), [["eth0", "eth1"], ["eth0", "eth1"]]);
    host.links.clear();
    host.follow(&mut note);
    assert_eq!(opened(&note), NONE);
    assert_eq!(host.undo(&note), [""; 0]);
}

#[test]
fn what_an_older_version_has_set_is_undone() {
    let host = Host::new(Ipv6::EachInterface);
    host.poke("ipv4/conf/eth0/forwarding", "1");
    host.poke("ipv6/conf/eth0/accept_ra", "2");
    let text = br#"[{"path":"ipv4/conf/eth0/forwarding","before":"0","set":"1"},
                    {"path":"ipv6/conf/eth0/accept_ra","before":"1","set":"3"}]"#;
    let mut note = Note::parse(text);
    host.follow(&mut note);
    let mut note = Note::parse(&serde_json::to_vec(&note).unwrap());
    host.follow(&mut note);
    assert!(note.has_changes());
    // It was not said that these are for machines alone.
    assert_eq!(opened(&note), [vec![], vec!["eth0"]]);
    assert_eq!(host.undo(&note), ["ipv6/conf/eth0/force_forwarding 0", "ipv4/conf/eth0/forwarding 0"]);
    assert!(!Note::parse(b"{\"before").has_changes());
}
