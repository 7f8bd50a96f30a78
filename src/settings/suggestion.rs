//! "Did you mean": the known name nearest to one that is not known.

/// The candidate that takes the fewest edits to reach from `given`, if they are few enough for a slip of the keys:
/// a third of its letters, one at least.
pub fn nearest<'name>(given: &str, candidates: impl IntoIterator<Item = &'name str>) -> Option<&'name str> {
    let limit = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(given, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of an error message: `; did you mean "openat"?`, or nothing.
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_not_strangers() {
        let table = [
            ("opnat", Some("openat")),
            ("oepnat", Some("openat")),
            ("read", Some("read")),
            ("rea", Some("read")),
            ("x", None),
            ("", None),
            ("quux", None),
        ];
        for (given, expected) in table {
            assert_eq!(nearest(given, ["read", "openat", "openat2"]), expected, "{given}");
        }
    }
}
