//! Going on where a download broke off (RFC 9110, sections 8.8, 13 and 14): which answers can be believed to be the rest
//! of the same file. Pure.

use super::Response;

/// What `Content-Range:` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// `bytes START-END/TOTAL`, END included; `*` as a total is `None`.
    Part { start: u64, end: u64, total: Option<u64> },
    /// `bytes */TOTAL`: what was asked for is not there.
    Unsatisfied { total: u64 },
}

impl ContentRange {
    /// Reads the value of the header; `None` for nonsense.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        if range == "*" {
            return Some(Self::Unsatisfied { total: number(total)? });
        }
        let (start, end) = range.split_once('-')?;
        let (start, end) = (number(start)?, number(end)?);
        let total = match total {
            "*" => None,
            _ => Some(number(total)?),
        };
        (start <= end && total.is_none_or(|total| end < total)).then_some(Self::Part { start, end, total })
    }
}

/// Digits alone: `parse` takes a sign too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// By what a server tells one version of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Validator {
    /// With its quotes; weak ones do not vouch for each byte (section 8.8.1).
    pub(super) etag: Option<String>,
    /// A date.
    pub(super) last_modified: Option<String>,
}

impl Validator {
    /// That of an answer.
    pub(super) fn of(response: &Response) -> Self {
        let header = |name| response.header(name).map(str::to_owned);
        Self { etag: header("etag"), last_modified: header("last-modified") }
    }

    /// The value of `If-Range:`; `None` if the server gives nothing that would do.
    pub(super) fn if_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }

    /// Whether `other` is surely another version: what both say differs.
    fn contradicts(&self, other: &Self) -> bool {
        let differ = |one: &Option<String>, other: &Option<String>| {
            one.as_ref().zip(other.as_ref()).map(|(one, other)| one != other)
        };
        differ(&self.etag, &other.etag)
            .or_else(|| differ(&self.last_modified, &other.last_modified))
            .unwrap_or(false)
    }
}

/// What is known of the file when more of it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// How much of it is here.
    pub(super) position: u64,
    /// How long it is.
    pub(super) total: Option<u64>,
    /// Which version of it: as this server named it.
    pub(super) validator: Validator,
    /// Its digest will be compared at the end, so that parts of different versions do not pass for one.
    pub(super) digest: bool,
}

impl Known {
    /// Whether nothing says that an answer is of the same version: a part has the ETag that the whole has (RFC 9110, section
    /// 15.3.7), and a server that knows of no If-Range: sends a part of whatever there is now.
    fn lacks_vouching(&self, answer: &Validator) -> bool {
        let has_etag = self.validator.etag.as_deref().is_some_and(|etag| !etag.starts_with("W/"));
        has_etag && answer.etag.is_none() && !self.digest
    }

    /// Whether the rest alone can be asked for, and with which `If-Range:`.
    pub(super) fn may_ask_for_rest(&self) -> Option<Option<&str>> {
        let validator = self.validator.if_range();
        (self.position > 0 && (validator.is_some() || self.digest)).then_some(validator)
    }
}

/// The answer to that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) range: Option<ContentRange>,
    pub(super) length: Option<u64>,
    pub(super) validator: Validator,
}

impl Answer {
    /// What matters of `response`.
    pub(super) fn of(response: &Response) -> Self {
        Self {
            status: response.status(),
            range: response.header("content-range").and_then(ContentRange::parse),
            length: response.length(),
            validator: Validator::of(response),
        }
    }
}

/// What an answer is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its body begins where we stand.
    Continue { total: Option<u64> },
    /// Its body begins at the beginning.
    FromStart { total: Option<u64> },
    /// There is nothing more.
    Complete,
    /// It is a part of something else: ask for all of it.
    AskForAll,
    /// The file is shorter than what is here.
    Shrunk { total: u64 },
    /// No file: the status says why.
    Refused,
}

/// Judges the answer to a request that asked for the rest of a file, or for all of it.
pub(super) fn judge(known: &Known, asked_for_rest: bool, answer: &Answer) -> Verdict {
    match (answer.status, answer.range) {
        (200, _) => Verdict::FromStart { total: answer.length },
        (206, Some(ContentRange::Part { start, total, .. })) if asked_for_rest => {
            let contradicted = known.validator.contradicts(&answer.validator)
                || known.lacks_vouching(&answer.validator)
                || known.total.zip(total).is_some_and(|(known, total)| known != total);
            match start == known.position && !contradicted {
                true => Verdict::Continue { total: total.or(known.total) },
                false => Verdict::AskForAll,
            }
        }
        (206, _) if asked_for_rest => Verdict::AskForAll,
        (416, Some(ContentRange::Unsatisfied { total })) if asked_for_rest => {
            let expected = known.total.unwrap_or(known.position);
            match total == known.position && total == expected {
                true => Verdict::Complete,
                false if total < expected => Verdict::Shrunk { total },
                false => Verdict::AskForAll,
            }
        }
        (416, _) if asked_for_rest => Verdict::AskForAll,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        let part = |start, end, total| Some(ContentRange::Part { start, end, total });
        let rows = [
            ("bytes 0-9/10", part(0, 9, Some(10))),
            (" Bytes 5-9/* ", part(5, 9, None)),
            ("bytes */10", Some(ContentRange::Unsatisfied { total: 10 })),
            ("bytes 18446744073709551615-18446744073709551615/*", part(u64::MAX, u64::MAX, None)),
            ("bytes 0-10/10", None),
            ("bytes 9-0/10", None),
            ("bytes 0-9", None),
            ("bytes */*", None),
            ("bytes -9/10", None),
            ("bytes +0-9/10", None),
            ("bytes 0-18446744073709551616/*", None),
            ("items 0-9/10", None),
            ("bytes", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(ContentRange::parse(text), expected, "{text:?}");
        }
    }

    fn validator(etag: &str, date: &str) -> Validator {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Validator { etag: given(etag), last_modified: given(date) }
    }

    #[test]
    fn if_ranges() {
        let rows = [
            (("\"a\"", "Mon"), Some("\"a\"")),
            (("W/\"a\"", "Mon"), Some("Mon")),
            (("W/\"a\"", ""), None),
            (("", "Mon"), Some("Mon")),
            (("", ""), None),
        ];
        for ((etag, date), expected) in rows {
            assert_eq!(validator(etag, date).if_range(), expected, "{etag} {date}");
        }
    }

    #[test]
    fn verdicts() {
        let known =
            Known { position: 5, total: Some(10), validator: validator("\"a\"", "Mon"), digest: false };
        let part = |start, total| Some(ContentRange::Part { start, end: 9, total });
        let none = |total| Some(ContentRange::Unsatisfied { total });
        // status, Content-Range, ETag => verdict
        let rows = [
            (206, part(5, Some(10)), "\"a\"", Verdict::Continue { total: Some(10) }),
            (206, part(5, None), "\"a\"", Verdict::Continue { total: Some(10) }),
            (206, part(5, Some(10)), "", Verdict::AskForAll),
            (206, part(5, Some(11)), "\"a\"", Verdict::AskForAll),
            (206, part(4, Some(10)), "\"a\"", Verdict::AskForAll),
            (206, part(5, Some(10)), "\"b\"", Verdict::AskForAll),
            (206, None, "\"a\"", Verdict::AskForAll),
            (200, None, "\"a\"", Verdict::FromStart { total: Some(10) }),
            (200, None, "\"b\"", Verdict::FromStart { total: Some(10) }),
            (416, none(10), "", Verdict::AskForAll.clone()),
            (416, none(5), "", Verdict::Shrunk { total: 5 }),
            (416, None, "", Verdict::AskForAll),
            (404, None, "", Verdict::Refused),
            (204, None, "", Verdict::Refused),
            (304, None, "", Verdict::Refused),
        ];
        for (status, range, etag, expected) in rows {
            let answer = Answer { status, range, length: Some(10), validator: validator(etag, "") };
            assert_eq!(judge(&known, true, &answer), expected, "{status} {range:?} {etag}");
        }
        // What it is by a date alone need not be said again; a digest tells in the end.
        let answer = Answer { status: 206, range: part(5, Some(10)), ..Answer::default() };
        for known in [
            Known { validator: validator("", "Mon"), ..known.clone() },
            Known { validator: validator("W/\"a\"", "Mon"), ..known.clone() },
            Known { digest: true, ..known.clone() },
        ] {
            assert_eq!(judge(&known, true, &answer), Verdict::Continue { total: Some(10) }, "{known:?}");
        }
        let whole = Known { position: 10, ..known.clone() };
        let answer = Answer { status: 416, range: none(10), ..Answer::default() };
        assert_eq!(judge(&whole, true, &answer), Verdict::Complete);
        let unknown = Known { total: None, ..whole };
        assert_eq!(judge(&unknown, true, &answer), Verdict::Complete);
        assert_eq!(judge(&known, false, &answer), Verdict::Refused);
    }

    #[test]
    fn what_may_be_asked() {
        let known =
            |position, etag, digest| Known { position, total: None, validator: validator(etag, ""), digest };
        assert_eq!(known(0, "\"a\"", true).may_ask_for_rest(), None);
        assert_eq!(known(5, "\"a\"", false).may_ask_for_rest(), Some(Some("\"a\"")));
        assert_eq!(known(5, "", true).may_ask_for_rest(), Some(None));
        assert_eq!(known(5, "", false).may_ask_for_rest(), None);
        assert_eq!(known(5, "W/\"a\"", false).may_ask_for_rest(), None);
    }
}
