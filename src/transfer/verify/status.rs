//! What gpgv(1) says on its status fd (GnuPG's doc/DETAILS, "Format of the --status-fd output"). Pure.

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signature {
    /// It holds: who made it, as the key says, and the fingerprint of the primary key.
    Good { user: String, fingerprint: String },
    /// The bytes are not those that were signed.
    Bad { key: String },
    /// Its key, a good one otherwise, has been revoked.
    KeyRevoked { key: String },
    /// Its key has expired.
    KeyExpired { key: String },
    /// It has expired itself.
    Expired { key: String },
    /// There is no such key in the keyring.
    Unknown { key: String },
    /// It is of a kind that gpgv does not know, or will not have.
    Unsupported { key: String },
}

/// What became of all signatures of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Status {
    /// In their order.
    pub signatures: Vec<Signature>,
    /// There is more than one text in it: which of them is signed, nobody can tell (GnuPG's NEWS of 1.4.7 and 2.0.3).
    pub ambiguous: bool,
}

impl Status {
    /// Reads the lines. Any that are none of the status protocol are left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut signatures: Vec<Signature> = Vec::new();
        let mut ambiguous = false;
        // A good signature counts when both of its lines have come.
        let mut good: Option<String> = None;
        for line in text.lines() {
            let Some(line) = line.strip_prefix("[GNUPG:] ") else { continue };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let key = || rest.split(' ').next().unwrap_or_default().to_owned();
            match word {
                "ERROR" => ambiguous |= key() == "proc_pkt.plaintext",
                "NEWSIG" => good = None,
                "GOODSIG" => good = rest.split_once(' ').map(|(_, user)| user.to_owned()),
                "VALIDSIG" => {
                    if let Some(user) = good.take() {
                        // The tenth field, where the signature was made with a subkey or not.
                        let fingerprint = rest.split(' ').nth(9).map_or_else(key, str::to_owned);
                        signatures.push(Signature::Good { user, fingerprint });
                    }
                }
                "BADSIG" => signatures.push(Signature::Bad { key: key() }),
                "REVKEYSIG" => signatures.push(Signature::KeyRevoked { key: key() }),
                "EXPKEYSIG" => signatures.push(Signature::KeyExpired { key: key() }),
                "EXPSIG" => signatures.push(Signature::Expired { key: key() }),
                // ERRSIG KEY ALGORITHM HASH CLASS TIME REASON FINGERPRINT; reason 9 is a missing key.
                "ERRSIG" => signatures.push(match rest.split(' ').nth(5) {
                    Some("9") => Signature::Unknown { key: key() },
                    _ => Signature::Unsupported { key: key() },
                }),
                _ => {}
            }
        }
        Self { signatures, ambiguous }
    }

    /// One that holds, if there is no bad one beside it; else the one that says most about why not. A file may be signed
    /// by several, of whom we know but one.
    pub(super) fn judge(&self) -> Result<&Signature, Option<&Signature>> {
        if self.ambiguous {
            return Err(None);
        }
        let all = &self.signatures;
        let first = |wanted: fn(&Signature) -> bool| all.iter().find(|signature| wanted(signature));
        if let Some(bad) = first(|signature| matches!(signature, Signature::Bad { .. })) {
            return Err(Some(bad));
        }
        if let Some(good) = first(|signature| matches!(signature, Signature::Good { .. })) {
            return Ok(good);
        }
        Err(all.iter().min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let key = "0123456789ABCDEF".to_owned();
        let good = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 0123456789ABCDEF A <a@b>\n[GNUPG:] VALIDSIG FPR 2026-01-01 1 0 4 0 22 10 00 FPR\n";
        let holds = || Ok(Signature::Good { user: "A <a@b>".to_owned(), fingerprint: "FPR".to_owned() });
        let unknown = "[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG 0123456789ABCDEF 22 10 00 1700000000 9 FPR\n[GNUPG:] NO_PUBKEY 0123456789ABCDEF\n";
        let bad = "[GNUPG:] NEWSIG\n[GNUPG:] BADSIG 0123456789ABCDEF A <a@b>\n";
        let rows = [
            ("good", good.to_owned(), holds()),
            (
                "by a subkey",
                good.replace("VALIDSIG FPR", "VALIDSIG SUB"),
                holds(),
            ),
            ("one of two known", format!("{unknown}{good}"), holds()),
            ("good and bad", format!("{good}{bad}"), Err(Some(Signature::Bad { key: key.clone() }))),
            ("bad", bad.to_owned(), Err(Some(Signature::Bad { key: key.clone() }))),
            ("unknown", unknown.to_owned(), Err(Some(Signature::Unknown { key: key.clone() }))),
            (
                "expired key",
                "[GNUPG:] NEWSIG\n[GNUPG:] KEYEXPIRED 1\n[GNUPG:] EXPKEYSIG 0123456789ABCDEF A\n[GNUPG:] VALIDSIG FPR\n"
                    .to_owned(),
                Err(Some(Signature::KeyExpired { key: key.clone() })),
            ),
            (
                "revoked key",
                "[GNUPG:] REVKEYSIG 0123456789ABCDEF A\n[GNUPG:] VALIDSIG FPR\n".to_owned(),
                Err(Some(Signature::KeyRevoked { key: key.clone() })),
            ),
            (
                "expired",
                "[GNUPG:] EXPSIG 0123456789ABCDEF A\n[GNUPG:] VALIDSIG FPR\n".to_owned(),
                Err(Some(Signature::Expired { key: key.clone() })),
            ),
            (
                "unsupported",
                "[GNUPG:] ERRSIG 0123456789ABCDEF 99 10 00 1 4 -\n".to_owned(),
                Err(Some(Signature::Unsupported { key: key.clone() })),
            ),
            (
                "good, of one of two texts",
                format!("{good}[GNUPG:] ERROR proc_pkt.plaintext 89_BAD_DATA\n"),
                Err(None),
            ),
            ("good, beside another fault", format!("[GNUPG:] ERROR keyedit.passwd 1\n{good}"), holds()),
            ("no data", "[GNUPG:] NODATA 4\n".to_owned(), Err(None)),
            ("good, but not valid", "[GNUPG:] GOODSIG 0123456789ABCDEF A\n".to_owned(), Err(None)),
            ("valid, but not good", "[GNUPG:] VALIDSIG FPR\n".to_owned(), Err(None)),
            (
                "of two signatures",
                "[GNUPG:] GOODSIG K A\n[GNUPG:] NEWSIG\n[GNUPG:] VALIDSIG FPR\n".to_owned(),
                Err(None),
            ),
            ("no status", format!("gpgv: {good}").replace("\n[GNUPG:]", "\n [GNUPG:]"), Err(None)),
            ("nothing", String::new(), Err(None)),
        ];
        for (what, text, expected) in rows {
            let status = Status::parse(&text);
            let judged = status.judge().cloned().map_err(Option::<&Signature>::cloned);
            assert_eq!(judged, expected, "{what}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text: String) {
            let _ = Status::parse(&text).judge().is_ok();
        }
    }
}
