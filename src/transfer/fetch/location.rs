//! Where something is: an address, a path, or stdin.

use std::path::PathBuf;

use reqwest::Url;

use super::Error;

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On a server: `http://` or `https://`.
    Web(Url),
    /// A file here: a path, or `file://`.
    File(PathBuf),
    /// `-`.
    Stdin,
}

impl Location {
    /// Reads what a user wrote. What has no scheme is a path.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            Err(Error::Address { location: without_password(text), problem: problem.to_owned() })
        };
        if text == "-" {
            return Ok(Self::Stdin);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => match Url::parse(text) {
                Ok(url) => Ok(Self::Web(url)),
                Err(error) => refuse(&error.to_string()),
            },
            Some("file") => match Url::parse(text).map(|url| url.to_file_path()) {
                Ok(Ok(path)) => Ok(Self::File(path)),
                _ => refuse("file:// takes an absolute path of this host"),
            },
            Some(scheme) if is_scheme(scheme) => refuse("its scheme is not known"),
            _ if text.is_empty() => refuse("it is empty"),
            _ => Ok(Self::File(PathBuf::from(text))),
        }
    }

    /// The name of the file, without directories and queries.
    pub fn file_name(&self) -> &str {
        match self {
            Self::Web(url) => url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default(),
            Self::File(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Self::Stdin => "",
        }
    }

    /// What messages call it: without a password.
    pub fn shown(&self) -> String {
        match self {
            Self::Web(url) => shown(url),
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "stdin".to_owned(),
        }
    }

    /// The address of the file `name` beside it; `None` beside stdin.
    pub fn beside(&self, name: &str) -> Option<Self> {
        match self {
            Self::Web(url) => {
                let mut beside = url.clone();
                beside.set_query(None);
                beside.set_fragment(None);
                beside.path_segments_mut().ok()?.pop().push(name);
                Some(Self::Web(beside))
            }
            Self::File(path) => Some(Self::File(path.with_file_name(name))),
            Self::Stdin => None,
        }
    }
}

/// `scheme` could be one (RFC 3986, section 3.1), so `a/b://c` stays a path.
fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|other| other.is_ascii_alphanumeric() || "+-.".contains(other))
}

/// `url` for messages: without a password, and without its query, in which signed addresses keep their secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        let _ = url.set_password(Some("..."));
    }
    if url.query().is_some() {
        url.set_query(Some("..."));
    }
    url.into()
}

/// What messages call what a user wrote: an address without its secrets, or itself.
pub fn shown_address(text: &str) -> String {
    match Location::parse(text) {
        Ok(Location::Web(url)) => shown(&url),
        _ => without_password(text),
    }
}

/// The same of what may be no address at all.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://...@{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        // text => name of the file, shown, beside it
        let rows = [
            ("-", "", "stdin", None),
            ("a.tar.xz", "a.tar.xz", "a.tar.xz", Some("S")),
            ("/x/a.tar", "a.tar", "/x/a.tar", Some("/x/S")),
            ("./x://a.tar", "a.tar", "./x://a.tar", Some("./x:/S")),
            ("file:///x/a%20b.tar", "a b.tar", "/x/a b.tar", Some("/x/S")),
            ("https://h/d/a.tar.xz", "a.tar.xz", "https://h/d/a.tar.xz", Some("https://h/d/S")),
            ("HTTPS://h/a.tar", "a.tar", "https://h/a.tar", Some("https://h/S")),
            (
                "http://u:p@h:8080/d/a.tar?sig=1#x",
                "a.tar",
                "http://u:...@h:8080/d/a.tar?...#x",
                Some("http://u:...@h:8080/d/S"),
            ),
            ("http://h", "", "http://h/", Some("http://h/S")),
        ];
        for (text, name, shown, beside) in rows {
            let location = Location::parse(text).unwrap();
            assert_eq!(location.file_name(), name, "{text}");
            assert_eq!(location.shown(), shown, "{text}");
            assert_eq!(location.beside("S").map(|beside| beside.shown()).as_deref(), beside, "{text}");
        }
    }

    #[test]
    fn refused() {
        let rows = [
            ("", "\"\" is no address: it is empty"),
            ("ftp://h/a", "\"ftp://h/a\" is no address: its scheme is not known"),
            ("http://", "\"http://\" is no address: empty host"),
            ("https://u:secret@h:99999/a", "\"https://...@h:99999/a\" is no address: invalid port number"),
            ("file://host/a", "\"file://host/a\" is no address: file:// takes an absolute path of this host"),
        ];
        for (text, message) in rows {
            assert_eq!(Location::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
