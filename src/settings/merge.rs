//! Layers of settings to what is in force: later layers win, lists grow, a reset takes away what came before it.

use std::borrow::Cow;

use super::assignment::{Assignment, Change};
use super::keys::Kind;
use super::network::is_overruled;

/// What of `layers`, lowest first, is in force, in the order in which it was given.
pub fn effective(layers: Vec<Vec<Assignment>>) -> Vec<Assignment> {
    let mut kept: Vec<Assignment> = Vec::new();
    for assignment in layers.into_iter().flatten() {
        match &assignment.change {
            Change::Reset => kept.retain(|earlier| !is_taken_away(earlier, &assignment)),
            Change::Give(_) => {
                kept.retain(|earlier| !is_replaced(earlier, &assignment));
                kept.push(assignment);
            }
        }
    }
    kept
}

/// Whoever is not trusted takes away what it gave itself, and nothing else.
fn is_taken_away(earlier: &Assignment, reset: &Assignment) -> bool {
    earlier.key == reset.key && (!reset.untrusted || earlier.layer == reset.layer)
}

fn is_replaced(earlier: &Assignment, later: &Assignment) -> bool {
    let same_key = earlier.key == later.key;
    if is_overruled(earlier, later) && !same_key {
        return true;
    }
    match later.key.kind {
        Kind::List => same_key && later.key.is_same_item(&text(earlier), &text(later)),
        // The words of one command come one by one.
        Kind::Command => same_key && earlier.layer != later.layer,
        Kind::Pairs('=') => same_key && name(earlier, '=') == name(later, '='),
        // A credential may be given in two ways, and in one place only once: the second is an error, said later.
        Kind::Pairs(divider) => {
            earlier.key.kind == later.key.kind
                && earlier.layer != later.layer
                && name(earlier, divider) == name(later, divider)
        }
        Kind::Boolean | Kind::Text | Kind::Word | Kind::Number | Kind::Numbers => same_key,
    }
}

fn text(assignment: &Assignment) -> Cow<'_, str> {
    assignment.value().unwrap_or_default().to_string_lossy()
}

/// What stands before the divider of a pair.
fn name(assignment: &Assignment, divider: char) -> &[u8] {
    let value = assignment.value().map(|value| value.as_encoded_bytes()).unwrap_or_default();
    let end = value.iter().position(|byte| char::from(*byte) == divider).unwrap_or(value.len());
    let name = &value[..end];
    // RLIMIT_NOFILE and NOFILE are the same.
    name.strip_prefix(b"RLIMIT_").filter(|_| assignment.key.name == "rlimit").unwrap_or(name)
}
