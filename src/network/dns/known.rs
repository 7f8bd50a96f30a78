//! What a machine's name server answers by itself, and what it asks others: a pure function of the question and of what is known.
//!
//! Its own are the machines of its zone, by plain name and in the zone's domain, the host, what `--hosts=` says, and `localhost`.
//! It is the only one who knows of them: of a name in its zone that is not there, and of an address of its networks, nobody else is
//! asked. A plain name without a dot is asked of nobody either: a machine that is not up yet would otherwise be remembered as missing
//! for as long as the root servers say, and what machines look for among themselves is nobody's business. Other names in `.internal`
//! are asked of the host's servers, since clouds have theirs there, but for the zones of this host: machines of one zone are not told
//! of those of another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::network::subnet::Subnet;

use super::message::{Answer, Code, Data, INTERNET, Question, Record, Zone, kind};
use super::name::Name;

/// Seconds that a guest may remember an address of a machine: one that comes back has it again, one that is gone is soon forgotten.
const FOUND_TTL: u32 = 5;

/// Seconds that it may remember that there is none: the machine may be starting.
const MISSING_TTL: u32 = 1;

/// The host, in each zone.
const HOST: &str = "host";

/// The gateway, as nss-myhostname(8) names it.
const GATEWAY: &str = "_gateway";

/// A machine in the same network namespace of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// The domain of its zone, where it is in one.
    pub domain: Option<String>,
    /// Those that we gave it there.
    pub addresses: Vec<IpAddr>,
}

/// Which neighbours the answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The one of this name, however its letters are written; more may be given.
    Named(&'a [u8]),
    /// Any of them.
    All,
}

/// Gives the neighbours that are wanted.
pub type Ask<'a> = dyn FnMut(Wanted<'_>) -> Arc<[Neighbour]> + 'a;

/// What is always so for one machine.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The machine, which knows itself where it is in no zone.
    pub machine: String,
    /// The domain of its zone.
    pub domain: Option<String>,
    /// Addresses of the machine.
    pub addresses: Vec<IpAddr>,
    /// Addresses of the host in its network.
    pub gateways: Vec<IpAddr>,
    /// Its networks: all of their addresses that anybody can know of are known here.
    pub networks: Vec<Subnet>,
    /// `--hosts=`.
    pub hosts: Vec<(String, IpAddr)>,
}

/// What is done about a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered by this.
    Answer(Answer),
    /// Others are asked.
    Forward,
}

/// What is known of a name.
enum Found {
    /// It has these.
    Addresses(Vec<IpAddr>),
    /// It is another one's.
    Pointer(Name),
    /// It is there, and has nothing of the kind.
    Bare,
    /// It is not there.
    Missing,
}

impl Surroundings {
    /// What is done about `question` by the server of this machine on a host called `host_name`.
    ///
    /// `neighbours` is asked only where the answer depends on it.
    pub fn look_up(&self, question: &Question, host_name: &str, neighbours: &mut Ask<'_>) -> Verdict {
        if question.class != INTERNET || kind::TRANSFERS.contains(&question.kind) {
            return Verdict::Answer(Answer::code(Code::Refused));
        }
        let Some((found, zone)) = self.find(question, host_name, neighbours) else {
            return Verdict::Forward;
        };
        // All that there is would be the largest answer for the smallest question (RFC 8482).
        if question.kind == kind::ANY {
            return Verdict::Answer(Answer::code(Code::Refused));
        }
        let mut answer = Answer::code(Code::NoError);
        answer.ours = true;
        let data: Vec<Data> = match found {
            Found::Addresses(addresses) => addresses.into_iter().map(Data::Address).collect(),
            Found::Pointer(name) => vec![Data::Pointer(name)],
            Found::Bare => Vec::new(),
            Found::Missing => {
                answer.code = Code::NoName;
                Vec::new()
            }
        };
        let records = data.into_iter().map(|data| Record { data, ttl: FOUND_TTL });
        answer.records = records.filter(|record| record.kind() == question.kind).collect();
        if answer.records.is_empty() {
            answer.zone = Some(Zone { name: zone, ttl: MISSING_TTL });
        }
        Verdict::Answer(answer)
    }

    /// What is known of a name, and the zone that says there is no more; `None` where others have to be asked.
    fn find(&self, question: &Question, host_name: &str, neighbours: &mut Ask<'_>) -> Option<(Found, Name)> {
        let name = &question.name;
        let labels: Vec<&[u8]> = name.labels().collect();
        let is = |label: &[u8], text: &str| label.eq_ignore_ascii_case(text.as_bytes());
        if let Some(addresses) = self.of_hosts(name) {
            return Some((Found::Addresses(addresses), name.clone()));
        }
        if let Some(address) = name.address() {
            let found = self.behind(address, neighbours)?;
            return Some((found, name.clone()));
        }
        let last = labels.last()?;
        if is(last, "localhost") {
            let loopback = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Some((Found::Addresses(loopback), name.clone()));
        }
        // RFC 6761, 6.4.
        if is(last, "invalid") {
            return Some((Found::Missing, name.clone()));
        }
        let domain = self.domain.as_deref().and_then(Name::from_text);
        if let (Some(domain), Some(below)) = (&domain, domain.as_ref().and_then(|domain| name.below(domain)))
        {
            let found = match below.as_slice() {
                [] => Found::Bare,
                labels => match (self.machine(labels, neighbours), labels) {
                    (Some(addresses), _) => Found::Addresses(addresses),
                    // Unless a machine is called so, which it is by its plain name too.
                    (None, [label]) if is(label, HOST) => Found::Addresses(self.gateways.clone()),
                    _ => Found::Missing,
                },
            };
            return Some((found, domain.clone()));
        }
        // A name of ours may have dots; the plain name of a neighbour with dots looks like any name, and is not looked for.
        if labels.len() == 1 || self.is_own(&labels) {
            if let Some(addresses) = self.machine(&labels, neighbours) {
                return Some((Found::Addresses(addresses), name.clone()));
            }
            if is(last, GATEWAY) {
                return Some((Found::Addresses(self.gateways.clone()), name.clone()));
            }
        }
        let host = Name::from_text(host_name);
        let plain_host = host_name.split('.').next().and_then(Name::from_text);
        if [host, plain_host].iter().flatten().any(|host| host.is(name) && !is(last, "")) {
            return Some((Found::Addresses(self.gateways.clone()), name.clone()));
        }
        if labels.len() == 1 {
            // Others, as DS and NS, are of top-level domains, which are asked for by who checks signatures.
            let address = matches!(question.kind, kind::A | kind::AAAA | kind::ANY);
            // Not that there is no such name: there is nothing below such a one either (RFC 8020), and it may be `org`.
            return address.then(|| (Found::Bare, Name::root()));
        }
        let of_another_zone = is(last, "internal")
            && neighbours(Wanted::All).iter().any(|neighbour| {
                let domain = neighbour.domain.as_deref().and_then(Name::from_text);
                domain.is_some_and(|domain| name.below(&domain).is_some())
            });
        of_another_zone.then(|| (Found::Missing, name.clone()))
    }

    fn of_hosts(&self, name: &Name) -> Option<Vec<IpAddr>> {
        let mine = |(text, _): &&(String, IpAddr)| Name::from_text(text).is_some_and(|host| host.is(name));
        let addresses: Vec<IpAddr> = self.hosts.iter().filter(mine).map(|(_, address)| *address).collect();
        (!addresses.is_empty()).then_some(addresses)
    }

    fn is_own(&self, labels: &[&[u8]]) -> bool {
        labels.join(&b'.').eq_ignore_ascii_case(self.machine.as_bytes())
    }

    /// The addresses of the machine of this name, if it is in our zone, or is the machine itself.
    fn machine(&self, labels: &[&[u8]], neighbours: &mut Ask<'_>) -> Option<Vec<IpAddr>> {
        if self.is_own(labels) {
            return Some(self.addresses.clone());
        }
        self.domain.as_ref()?;
        let name = labels.join(&b'.');
        let is = |other: &Neighbour| name.eq_ignore_ascii_case(other.name.as_bytes());
        let given = neighbours(Wanted::Named(&name));
        let found = given.iter().find(|other| other.domain == self.domain && is(other));
        found.map(|neighbour| neighbour.addresses.clone())
    }

    /// What there is to know of an address; `None` if that is not for us to say.
    fn behind(&self, address: IpAddr, neighbours: &mut Ask<'_>) -> Option<Found> {
        let named = |name: &str| {
            let text = self.domain.as_ref().map_or(name.to_owned(), |domain| format!("{name}.{domain}"));
            Name::from_text(&text).map_or(Found::Bare, Found::Pointer)
        };
        if let Some((name, _)) = self.hosts.iter().find(|(_, of)| *of == address) {
            return Name::from_text(name).map(Found::Pointer);
        }
        if address.is_loopback() {
            return Name::from_text("localhost").map(Found::Pointer);
        }
        if self.gateways.contains(&address) {
            return Some(named(if self.domain.is_some() { HOST } else { GATEWAY }));
        }
        if self.addresses.contains(&address) {
            return Some(named(&self.machine));
        }
        if !self.networks.iter().any(|network| network.contains(address)) {
            return None;
        }
        let of = |other: &Neighbour| other.domain == self.domain && other.addresses.contains(&address);
        Some(
            neighbours(Wanted::All)
                .iter()
                .find(|other| of(other))
                .map_or(Found::Missing, |other| named(&other.name)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn surroundings(domain: Option<&str>) -> Surroundings {
        Surroundings {
            machine: "web".to_owned(),
            domain: domain.map(str::to_owned),
            addresses: vec![ip("10.213.0.5"), ip("fd00::5")],
            gateways: vec![ip("10.213.0.1"), ip("fd00::1")],
            networks: vec![Subnet::of(ip("10.213.0.0"), 22), Subnet::of(ip("fd00::"), 64)],
            hosts: vec![("db".to_owned(), ip("192.0.2.7")), ("db".to_owned(), ip("192.0.2.8"))],
        }
    }

    fn neighbours(_wanted: Wanted<'_>) -> Arc<[Neighbour]> {
        let of = |name: &str, domain: Option<&str>, address: &str| Neighbour {
            name: name.to_owned(),
            domain: domain.map(str::to_owned),
            addresses: vec![ip(address)],
        };
        Arc::new([
            of("web", Some("spinney.internal"), "10.213.0.5"),
            of("cache", Some("spinney.internal"), "10.213.0.6"),
            of("a.dotted", Some("spinney.internal"), "10.213.0.7"),
            of("secret", Some("lab.internal"), "10.213.4.5"),
            of("alone", None, "10.213.8.2"),
        ])
    }

    /// The answer in words: `code records... [zone]`.
    fn answer(surroundings: &Surroundings, name: &str, kind: u16) -> String {
        let question = Question { name: Name::from_text(name).expect("a name"), kind, class: INTERNET };
        match surroundings.look_up(&question, "Big.example.org", &mut neighbours) {
            Verdict::Forward => "forward".to_owned(),
            Verdict::Answer(answer) => {
                let records = answer.records.iter().map(|record| match &record.data {
                    Data::Address(address) => address.to_string(),
                    Data::Pointer(name) => name.to_string(),
                });
                let code = format!("{:?}", answer.code);
                let zone = answer.zone.iter().map(|zone| format!("[{}]", zone.name));
                std::iter::once(code).chain(records).chain(zone).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn in_a_zone() {
        use kind::{A, AAAA, ANY, PTR, SOA};
        const MX: u16 = 15;
        let table = [
            ("cache", A, "NoError 10.213.0.6"),
            ("CACHE.Spinney.INTERNAL", A, "NoError 10.213.0.6"),
            ("cache", AAAA, "NoError [cache]"),
            ("cache.spinney.internal", MX, "NoError [spinney.internal]"),
            ("cache.spinney.internal", ANY, "Refused"),
            ("web", AAAA, "NoError fd00::5"),
            ("none.spinney.internal", A, "NoName [spinney.internal]"),
            ("A.dotted.spinney.internal", A, "NoError 10.213.0.7"),
            ("a.dotted", A, "forward"),
            ("7.0.213.10.in-addr.arpa", PTR, "NoError a.dotted.spinney.internal"),
            ("a.cache.spinney.internal", A, "NoName [spinney.internal]"),
            ("spinney.internal", SOA, "NoError [spinney.internal]"),
            ("host.spinney.internal", A, "NoError 10.213.0.1"),
            ("_gateway", AAAA, "NoError fd00::1"),
            ("big", A, "NoError 10.213.0.1"),
            ("big.example.org", A, "NoError 10.213.0.1"),
            ("other.example.org", A, "forward"),
            ("db", A, "NoError 192.0.2.7 192.0.2.8"),
            ("db", AAAA, "NoError [db]"),
            ("db.spinney.internal", A, "NoName [spinney.internal]"),
            ("localhost", A, "NoError 127.0.0.1"),
            ("a.localhost", AAAA, "NoError ::1"),
            ("a.invalid", A, "NoName [a.invalid]"),
            ("none", A, "NoError [.]"),
            ("none", ANY, "Refused"),
            ("org", 43, "forward"),
            (".", 2, "forward"),
            ("secret", A, "NoError [.]"),
            ("secret.lab.internal", A, "NoName [secret.lab.internal]"),
            ("metadata.google.internal", A, "forward"),
            ("example.org", A, "forward"),
            ("example.org", ANY, "forward"),
            ("example.org", 252, "Refused"),
            ("6.0.213.10.in-addr.arpa", PTR, "NoError cache.spinney.internal"),
            ("1.0.213.10.in-addr.arpa", PTR, "NoError host.spinney.internal"),
            ("9.0.213.10.in-addr.arpa", PTR, "NoName [9.0.213.10.in-addr.arpa]"),
            ("6.0.213.10.in-addr.arpa", A, "NoError [6.0.213.10.in-addr.arpa]"),
            ("5.4.213.10.in-addr.arpa", PTR, "forward"),
            ("7.2.0.192.in-addr.arpa", PTR, "NoError db"),
            ("1.0.0.127.in-addr.arpa", PTR, "NoError localhost"),
            ("8.8.8.8.in-addr.arpa", PTR, "forward"),
        ];
        let surroundings = surroundings(Some("spinney.internal"));
        for (name, kind, expected) in table {
            assert_eq!(answer(&surroundings, name, kind), expected, "{name} {kind}");
        }
        let own = Name::of_address(ip("fd00::5")).to_string();
        assert_eq!(answer(&surroundings, &own, PTR), "NoError web.spinney.internal");
    }

    #[test]
    fn alone() {
        use kind::{A, PTR};
        let table = [
            ("web", A, "NoError 10.213.0.5"),
            ("cache", A, "NoError [.]"),
            ("alone", A, "NoError [.]"),
            ("_gateway", A, "NoError 10.213.0.1"),
            ("host.spinney.internal", A, "NoName [host.spinney.internal]"),
            ("host.other.internal", A, "forward"),
            ("1.0.213.10.in-addr.arpa", PTR, "NoError _gateway"),
            ("5.0.213.10.in-addr.arpa", PTR, "NoError web"),
        ];
        for (name, kind, expected) in table {
            assert_eq!(answer(&surroundings(None), name, kind), expected, "{name} {kind}");
        }
    }

    #[test]
    fn a_machine_called_host() {
        let surroundings = surroundings(Some("spinney.internal"));
        let host = Neighbour {
            name: "host".to_owned(),
            domain: Some("spinney.internal".to_owned()),
            addresses: vec![ip("10.213.0.9")],
        };
        for name in ["host.spinney.internal", "host"] {
            let question =
                Question { name: Name::from_text(name).expect("a name"), kind: kind::A, class: INTERNET };
            let verdict = surroundings.look_up(&question, "big", &mut |_| Arc::new([host.clone()]));
            let Verdict::Answer(answer) = verdict else { panic!("{name}") };
            assert_eq!(answer.records.first().map(|one| &one.data), Some(&Data::Address(ip("10.213.0.9"))));
        }
    }

    #[test]
    fn other_classes() {
        let question =
            Question { name: Name::from_text("version.bind").expect("a name"), kind: 16, class: 3 };
        let refused = Verdict::Answer(Answer::code(Code::Refused));
        let verdict = surroundings(None).look_up(&question, "h", &mut |_| panic!("nobody is asked"));
        assert_eq!(verdict, refused);
    }

    #[test]
    fn neighbours_are_asked_for_names_that_could_be_theirs() {
        let surroundings = surroundings(Some("spinney.internal"));
        for name in ["example.org", "web", "8.8.8.8.in-addr.arpa", "localhost"] {
            let question =
                Question { name: Name::from_text(name).expect("a name"), kind: kind::A, class: INTERNET };
            surroundings.look_up(&question, "big", &mut |_| panic!("{name}"));
        }
    }

    #[test]
    fn networks() {
        let table = [
            ("10.213.0.0", "10.213.3.255", 22, true),
            ("10.213.0.0", "10.213.4.0", 22, false),
            ("10.213.0.0", "1.2.3.4", 0, true),
            ("fd00::", "fd00::ffff:ffff:ffff:ffff", 64, true),
            ("fd00::", "fd00:0:0:1::", 64, false),
            ("10.0.0.0", "fd00::", 0, false),
            ("10.0.0.1", "10.0.0.1", 200, true),
        ];
        for (one, other, length, expected) in table {
            assert_eq!(Subnet::of(ip(one), length).contains(ip(other)), expected, "{one} {other} {length}");
        }
    }
}
