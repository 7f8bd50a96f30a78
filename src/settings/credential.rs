//! Credentials for the guest's init (systemd-nspawn(1), `--set-credential=`, `--load-credential=`).

use std::path::{Path, PathBuf};

use super::ValueError;
use super::escape::unescape_c;

/// Longest name: NAME_MAX of Linux, since each becomes a file below `/run/host/credentials`.
const ID_MAX: usize = 255;

/// Size of one credential, and of all together, that systemd takes (systemd.exec(5)).
pub const CREDENTIALS_SIZE_MAX: usize = 1024 * 1024;

const SET_HINT: &str = r"ID:VALUE, with C escapes in the value, for example firstboot.locale:C.UTF-8";
const LOAD_HINT: &str = "ID:PATH, an absolute path or the name of one of our own credentials";

/// A credential for the guest's init (systemd-nspawn(1), `--set-credential=`).
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name below `/run/host/credentials`.
    pub id: String,
    /// Its contents.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Credential {
    /// Keeps the contents out of logs: they are secret more often than not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .field("value", &format_args!("({} bytes)", self.value.len()))
            .finish()
    }
}

impl Credential {
    /// Parses `--set-credential=ID:VALUE`. No error repeats the value.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let (id, value) = divided(text, SET_HINT)?;
        let value = unescape_c(value, SET_HINT)
            .map_err(|error| ValueError::new(id, error.problem().to_owned(), SET_HINT))?;
        if value.len() > CREDENTIALS_SIZE_MAX {
            return Err(ValueError::new(id, "is larger than a credential can be", "at most 1 MiB"));
        }
        Ok(Self { id: id.to_owned(), value })
    }
}

/// One `--load-credential=ID:PATH`, to be read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFile {
    /// Its name below `/run/host/credentials`.
    pub id: String,
    /// An absolute path.
    path: PathBuf,
}

impl CredentialFile {
    /// Parses `ID:PATH`.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let (id, path) = divided(text, LOAD_HINT)?;
        if !path.starts_with('/') && !is_id(path) {
            return Err(ValueError::new(
                text,
                "has neither an absolute path nor a credential's name",
                LOAD_HINT,
            ));
        }
        Ok(Self { id: id.to_owned(), path: path.into() })
    }

    /// The file to read: names are looked up in `inherited`, our own `$CREDENTIALS_DIRECTORY`.
    pub fn file(&self, inherited: Option<&Path>) -> Result<PathBuf, ValueError> {
        if self.path.is_absolute() {
            return Ok(self.path.clone());
        }
        let directory = inherited.ok_or_else(|| {
            ValueError::new(
                self.path.to_string_lossy(),
                "is not an absolute path, and we were given no credentials of our own",
                LOAD_HINT,
            )
        })?;
        Ok(directory.join(&self.path))
    }
}

/// `ID:REST`, the id checked. No error repeats what follows the colon: it may be secret.
fn divided<'text>(text: &'text str, hint: &'static str) -> Result<(&'text str, &'text str), ValueError> {
    let (id, rest) = text.split_once(':').ok_or_else(|| ValueError::new(text, "has no ':'", hint))?;
    if !is_id(id) {
        return Err(ValueError::new(id, "cannot name a credential", hint));
    }
    Ok((id, rest))
}

/// Whether `id` can be a file's name and a name that systemd passes around: printable ASCII without `/` and `:`.
fn is_id(id: &str) -> bool {
    (1..=ID_MAX).contains(&id.len())
        && id != "."
        && id != ".."
        && id.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set() {
        let rows: &[(&str, &str, &[u8])] = &[
            ("a:b", "a", b"b"),
            ("passwd.hashed-password.root:$y$j9T$x:y", "passwd.hashed-password.root", b"$y$j9T$x:y"),
            (r"a:x\ny\x00", "a", b"x\ny\0"),
            ("a:", "a", b""),
        ];
        for (text, id, value) in rows {
            let expected = Credential { id: (*id).into(), value: value.to_vec() };
            assert_eq!(Credential::parse(text), Ok(expected), "{text}");
        }
        let long = format!("{}:x", "i".repeat(256));
        let rows = [
            ("a", "has no ':'"),
            (":b", "cannot name a credential"),
            ("..:b", "cannot name a credential"),
            ("a/b:c", "cannot name a credential"),
            ("ä:c", "cannot name a credential"),
            (&long, "cannot name a credential"),
            (r"a:\q", "has a bad escape"),
        ];
        for (text, problem) in rows {
            assert_eq!(Credential::parse(text).unwrap_err().problem(), problem, "{text}");
        }
    }

    #[test]
    fn secrets_stay_out_of_messages() {
        let error = Credential::parse(r"root.password:hunter2\q").unwrap_err();
        assert_eq!(error.to_string(), r#""root.password" has a bad escape"#);
        let credential = Credential::parse("a:hunter2").unwrap();
        assert_eq!(format!("{credential:?}"), r#"Credential { id: "a", value: (7 bytes) }"#);
    }

    #[test]
    fn load() {
        let directory = Path::new("/run/credentials/x.service");
        let rows = [
            ("a:/etc/secret", "/etc/secret"),
            ("a:/etc/sec:ret", "/etc/sec:ret"),
            ("a:inherited", "/run/credentials/x.service/inherited"),
        ];
        for (text, expected) in rows {
            let file = CredentialFile::parse(text).unwrap();
            assert_eq!((file.id.as_str(), file.file(Some(directory))), ("a", Ok(expected.into())), "{text}");
        }
        assert!(CredentialFile::parse("a:inherited").unwrap().file(None).is_err());
        for text in ["a", "a:", "a:../x", "a:b/c", ":/x"] {
            assert!(CredentialFile::parse(text).is_err(), "{text}");
        }
    }
}
