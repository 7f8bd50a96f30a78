//! Finds out, before a download begins, what it will be held against: lists of checksums and their signatures are fetched,
//! and refused, before the first of its bytes.

use super::check::{Check, Expected};
use super::gpgv::{self, Running};
use super::keys::Keys;
use super::signify;
use super::status::{Signature, Status};
use super::sums::{self, Sum};
use super::{Error, Mode, Verification, sidecars};
use crate::transfer::fetch::{Error as FetchError, FetchOptions, Location, small};
use crate::transfer::{Context, Error as TransferError};

/// The longest list of checksums, and the longest signature.
const LIMIT: u64 = 4 << 20;

/// A small file that was looked for under several names.
struct Found {
    location: Location,
    bytes: Vec<u8>,
}

/// What has to be known to look.
struct Search<'search> {
    name: String,
    file_name: String,
    verification: &'search Verification,
    options: &'search FetchOptions,
    context: &'search Context,
}

impl Verification {
    /// What is wanted of what comes from `location`.
    pub fn mode_for(&self, location: &Location) -> Mode {
        let by_place = || match location {
            _ if self.sha256.is_some() => Mode::No,
            _ if !self.keys.is_empty() || !self.signatures.is_empty() => Mode::Signature,
            _ if !self.checksums.is_empty() => Mode::Checksum,
            Location::Web(url) if url.scheme() == "https" => Mode::Checksum,
            // Between us and ourselves there is nobody.
            Location::Web(url) if is_loopback(url) => Mode::Checksum,
            Location::Web(_) => Mode::Signature,
            Location::File(_) | Location::Stdin => Mode::No,
        };
        match (self.mode, self.sha256) {
            // A digest says more than a list of them.
            (Some(Mode::Checksum), Some(_)) => Mode::No,
            (Some(mode), _) => mode,
            (None, _) => by_place(),
        }
    }
}

fn is_loopback(url: &reqwest::Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// What `location` will be held against.
///
/// # Errors
/// When nothing vouches for it that is good enough.
pub fn prepare(
    location: &Location,
    verification: &Verification,
    options: &FetchOptions,
    context: &Context,
) -> Result<Check, TransferError> {
    let name = location.shown();
    let mut check = Check::of(&name, verification);
    let mode = verification.mode_for(location);
    if mode == Mode::No {
        return Ok(check);
    }
    let file_name = location.file_name().to_owned();
    // What is wanted of the download is not for its small companions.
    let options = &FetchOptions { mirrors: Vec::new(), partial: None, ..options.clone() };
    let search = Search { name, file_name, verification, options, context };
    match mode {
        Mode::No => {}
        Mode::Checksum => {
            let (list, sum) = search.checksum(location)?;
            check.expect(Expected { sum, source: list.location.file_name().to_owned() });
        }
        Mode::Signature => search.signed(location, &mut check)?,
    }
    Ok(check)
}

impl Search<'_> {
    /// The first of several places that there is. Where nobody said that there should be one, a server may as well refuse
    /// to say whether there is (S3 answers 403).
    fn first(&self, places: &[Location], named: &[String]) -> Result<Option<Found>, TransferError> {
        for place in places {
            self.context.check()?;
            match small(place, LIMIT, self.options, self.context) {
                Ok(bytes) => return Ok(Some(Found { location: place.clone(), bytes })),
                Err(TransferError::Fetch(error)) if error.is_missing() => {}
                Err(TransferError::Fetch(FetchError::Forbidden { .. })) if named.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Where lists of checksums may be.
    fn lists(&self, location: &Location) -> Result<Vec<Location>, TransferError> {
        if !self.verification.checksums.is_empty() {
            return Ok(parsed(&self.verification.checksums)?);
        }
        let beside = |name: String| location.beside(&name);
        let places: Vec<Location> = sidecars::lists(&self.file_name).into_iter().filter_map(beside).collect();
        if places.is_empty() || self.file_name.is_empty() {
            return Err(Error::NothingBeside { name: self.name.clone() }.into());
        }
        Ok(places)
    }

    /// The first list that has a checksum of the file. One that was named must have it.
    fn checksum(&self, location: &Location) -> Result<(Found, Sum), TransferError> {
        let places = self.lists(location)?;
        let mut refused = None;
        for place in &places {
            let Some(list) = self.first(std::slice::from_ref(place), &self.verification.checksums)? else {
                continue;
            };
            // A list that is signed in itself is read as it stands: nobody asked who signed it.
            match sums::find(&list.bytes, &self.file_name, &place.shown(), false) {
                Ok(sum) => return Ok((list, sum)),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused
            .unwrap_or_else(|| Error::NoChecksum { name: self.name.clone(), looked: names(&places) })
            .into())
    }

    /// Takes what is signed: a list of checksums, or the file itself.
    fn signed(&self, location: &Location, check: &mut Check) -> Result<(), TransferError> {
        let mut keys = Keys::load(&self.verification.keys, &self.name)?;
        keys.fingerprints.clone_from(&self.verification.fingerprints);
        let only_direct = self.verification.checksums.is_empty() && !self.verification.signatures.is_empty();
        let mut looked = Vec::new();
        let mut refused = None;
        for place in if only_direct { Vec::new() } else { self.lists(location)? } {
            let Some(list) = self.first(std::slice::from_ref(&place), &self.verification.checksums)? else {
                looked.push(place.file_name().to_owned());
                continue;
            };
            let (text, by) = match self.believed(list, &keys)? {
                Ok(believed) => believed,
                Err(places) => {
                    looked.extend(names(&places));
                    continue;
                }
            };
            match sums::find(&text, &self.file_name, &place.shown(), true) {
                Ok(sum) => {
                    check.expect(Expected { sum, source: format!("{}, signed by {by}", place.file_name()) });
                    return Ok(());
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        // A list that was named has to be the one.
        if let Some(error) = refused.filter(|_| !self.verification.checksums.is_empty()) {
            return Err(error.into());
        }
        let places = match self.verification.checksums.is_empty() {
            true => self.signatures_of(location)?,
            false => Vec::new(),
        };
        match self.first(&places, &self.verification.signatures)? {
            Some(signature) => {
                check.detached(signature.bytes, keys);
                Ok(())
            }
            None => {
                looked.extend(names(&places));
                let name = self.name.clone();
                Err(Error::NoSignature { name, looked }.into())
            }
        }
    }

    /// Where signatures of `signed` may be.
    fn signatures_of(&self, signed: &Location) -> Result<Vec<Location>, TransferError> {
        if !self.verification.signatures.is_empty() {
            return Ok(parsed(&self.verification.signatures)?);
        }
        let names = sidecars::signatures(signed.file_name());
        Ok(names.iter().filter_map(|name| signed.beside(name)).collect())
    }

    /// What of a list is signed, and by whom; or where its signature is not.
    #[allow(clippy::type_complexity, reason = "read in one place")]
    fn believed(
        &self,
        list: Found,
        keys: &Keys,
    ) -> Result<Result<(Vec<u8>, String), Vec<Location>>, TransferError> {
        let name = list.location.shown();
        if gpgv::is_signed_inline(&list.bytes) {
            let (status, text) = gpgv::check_inline(&list.bytes, keys)?;
            return Ok(Ok((text, signer(&status, &name, keys)?)));
        }
        let places = self.signatures_of(&list.location)?;
        let Some(signature) = self.first(&places, &self.verification.signatures)? else {
            return Ok(Err(places));
        };
        let by = match signify::is_signature(&signature.bytes) {
            true => signify_signer(&list.bytes, &signature.bytes, &name, keys)?,
            false => {
                let status = gpgv::check_detached(&list.bytes, &signature.bytes, keys)?;
                signer(&status, &name, keys)?
            }
        };
        Ok(Ok((list.bytes, by)))
    }
}

fn parsed(addresses: &[String]) -> Result<Vec<Location>, crate::transfer::fetch::Error> {
    addresses.iter().map(|address| Location::parse(address)).collect()
}

fn names(places: &[Location]) -> Vec<String> {
    places.iter().map(|place| place.file_name().to_owned()).collect()
}

/// Starts to check a signature over what is being downloaded.
pub(super) fn tap(signature: &[u8], keys: &Keys) -> Result<Running, Error> {
    Running::detached(signature, keys)
}

/// Who signed, if the signature holds.
pub(super) fn signer(status: &Status, name: &str, keys: &Keys) -> Result<String, Error> {
    let name = name.to_owned();
    let signature = match status.judge() {
        Ok(signature) => signature,
        Err(Some(signature)) => signature,
        Err(None) => return Err(Error::NoSignatureInIt { name }),
    };
    Err(match signature.clone() {
        Signature::Good { user, fingerprint } => {
            let by = format!("{} ({fingerprint})", printable(&user));
            if keys.fingerprints.is_empty() || keys.fingerprints.contains(&fingerprint) {
                return Ok(by);
            }
            Error::AnotherKey { name, by, wanted: keys.fingerprints.clone() }
        }
        Signature::Bad { key } => Error::BadSignature { name, key },
        Signature::KeyRevoked { key } => Error::KeyRevoked { name, key },
        Signature::KeyExpired { key } => Error::KeyExpired { name, key },
        Signature::Expired { key } => Error::SignatureExpired { name, key },
        Signature::Unknown { key } => Error::UnknownKey { name, key, keys: keys.files.clone() },
        Signature::Unsupported { key } => Error::Unsupported { name, key },
    })
}

fn signify_signer(data: &[u8], signature: &[u8], name: &str, keys: &Keys) -> Result<String, Error> {
    let name = name.to_owned();
    match signify::check(data, signature, &keys.signify) {
        signify::Outcome::Good(key) => Ok(format!("signify key {key}")),
        signify::Outcome::Bad(key) => Err(Error::BadSignature { name, key }),
        signify::Outcome::Unknown(key) => Err(Error::UnknownKey { name, key, keys: keys.files.clone() }),
        signify::Outcome::Nonsense => Err(Error::NoSignatureInIt { name }),
    }
}

/// The name in a key without what could play with a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}
