use proptest::prelude::*;

use super::*;
use crate::network::nft::attribute::Writer;
use crate::network::nft::expression::{Compare, Expression, Meta, Register, Verdict};

fn rule(write: impl Fn(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.string(1, "filter");
    writer.string(2, "FORWARD");
    writer.u64(3, 7);
    writer.nested(4, |list| write(list));
    writer.bytes(7, &[1, 1, 9, 0, 4, b'w', b'e', b'b', 0]);
    writer.finish().unwrap()
}

/// An expression by its name, with attributes that are strings.
fn named(list: &mut Writer, name: &str, inner: &str) {
    list.nested(LIST_ELEMENT, |element| {
        element.string(1, name);
        element.nested(2, |data| data.string(1, inner));
    });
}

#[test]
fn rules_of_others_are_understood() {
    let bytes = rule(|list| {
        let name = b"docker0\0".to_vec();
        Expression::Meta(Meta::Iifname, Register(0)).write(list);
        Expression::Compare(Register(0), Compare::Differ, name).write(list);
        Expression::Counter.write(list);
        named(list, "match", "conntrack");
        named(list, "match", "comment");
        named(list, "target", "REJECT");
        named(list, "target", "DNAT");
        Expression::Verdict(Verdict::Jump("DOCKER-USER".to_owned())).write(list);
        Expression::Reject.write(list);
    });
    let read = Rule::read(Family::Ip, Attributes(&bytes)).unwrap();
    assert_eq!((read.chain.as_str(), read.handle, read.comment.as_deref()), ("FORWARD", 7, Some("web")));
    let expected = [
        Step::Meta { key: 6, register: 1 },
        Step::Compare { register: 1, how: 1, value: b"docker0\0".to_vec() },
        Step::Harmless,
        Step::Other("match".to_owned()),
        Step::Comment(String::new()),
        Step::Reject,
        Step::Other("target".to_owned()),
        Step::Verdict(Seen::Jump("DOCKER-USER".to_owned())),
        Step::Reject,
    ];
    assert_eq!(read.steps, expected);
}

proptest! {
    /// Whatever stands there, it is read without panic and in bounds.
    #[test]
    fn anything_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let attributes = Attributes(&bytes);
        let _ = Rule::read(Family::Ip, attributes);
        let _ = Chain::read(Family::Ip, attributes);
        let _ = TableName::read(Family::Ip, attributes);
        let _ = Element::read_list(attributes);
        let _ = comment(&bytes);
    }

    /// A dump that has been tampered with.
    #[test]
    fn damaged_rules_can_be_read(at in 0usize..200, byte: u8, cut in 0usize..300) {
        let mut bytes = rule(|list| {
            Expression::Meta(Meta::Iifname, Register(0)).write(list);
            Expression::Compare(Register(0), Compare::Equal, vec![1; 16]).write(list);
            Expression::Verdict(Verdict::Goto("x".to_owned())).write(list);
        });
        if let Some(there) = bytes.get_mut(at) {
            *there = byte;
        }
        bytes.truncate(cut);
        if let Some(rule) = Rule::read(Family::Ip, Attributes(&bytes)) {
            prop_assert!(rule.steps.len() <= bytes.len() / 4);
        }
    }
}
