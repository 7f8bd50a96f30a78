//! What a user named to be pulled: one pure function says which kind of source it is.

use super::Error;

/// What was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file on a server, or `file://`.
    Url(String),
    /// An entry of the catalogue: `debian:trixie`, `debian/13`, `alpine`.
    Catalogue(String),
    /// An image of an OCI registry or layout: `docker.io/library/debian:trixie`, `oci:DIR`.
    Oci(String),
}

/// What names an OCI image by its transport (containers-transports(5)).
const TRANSPORTS: [&str; 5] = ["docker://", "oci:", "oci-archive:", "docker-archive:", "oci-layout:"];

impl Source {
    /// `text`, which is an image of a registry if it can be one, as [`Self::parse`] takes such for one.
    pub fn of_registry(text: &str) -> String {
        match Self::parse(text) {
            Ok(Self::Catalogue(name)) => format!("docker://{name}"),
            _ => text.to_owned(),
        }
    }

    /// Reads `text`.
    ///
    /// # Errors
    /// For what is no source: paths above all.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |what: &str, hint| {
            let name = crate::archive::notes::shown(text.as_bytes());
            Err(Error::Format { name, what: what.to_owned(), hint })
        };
        let lower = text.to_ascii_lowercase();
        if ["http://", "https://", "file://"].iter().any(|scheme| lower.starts_with(scheme)) {
            return Ok(Self::Url(text.to_owned()));
        }
        if TRANSPORTS.iter().any(|transport| text.starts_with(transport)) {
            return Ok(Self::Oci(text.to_owned()));
        }
        if text.is_empty() || text == "-" || ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
            return refuse(
                "is no address to pull from",
                "files of this host, and stdin, are for spinney import",
            );
        }
        if let Some((scheme, _)) = text.split_once("://") {
            let known = "https://, http://, file://, docker:// and the names of the catalogue";
            return refuse(&format!("has a scheme that is not known ({scheme:?})"), known);
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return refuse("is no address to pull from", "spinney search lists what there is");
        }
        // As docker tells a registry from a name of its own: the first part is a host.
        let host = text.split_once('/').map(|(host, _)| host);
        if host.is_some_and(|host| host.contains(['.', ':']) || host == "localhost") {
            return Ok(Self::Oci(text.to_owned()));
        }
        Ok(Self::Catalogue(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let url = |text: &str| Some(Source::Url(text.to_owned()));
        let catalogue = |text: &str| Some(Source::Catalogue(text.to_owned()));
        let oci = |text: &str| Some(Source::Oci(text.to_owned()));
        let rows = [
            ("https://example.org/a.tar.xz", url("https://example.org/a.tar.xz")),
            ("HTTP://example.org/a", url("HTTP://example.org/a")),
            ("file:///srv/a.tar", url("file:///srv/a.tar")),
            ("debian:trixie", catalogue("debian:trixie")),
            ("debian/trixie/cloud", catalogue("debian/trixie/cloud")),
            ("alpine", catalogue("alpine")),
            ("opensuse:15.6", catalogue("opensuse:15.6")),
            ("docker.io/library/debian:trixie", oci("docker.io/library/debian:trixie")),
            ("localhost/a", oci("localhost/a")),
            ("localhost:5000/a:b", oci("localhost:5000/a:b")),
            ("docker://debian", oci("docker://debian")),
            ("oci:layout", oci("oci:layout")),
            ("oci-archive:/srv/a.tar", oci("oci-archive:/srv/a.tar")),
            ("ftp://example.org/a", None),
            ("./a.tar", None),
            ("/srv/a.tar", None),
            ("-", None),
            ("", None),
            ("a b", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Source::parse(text).ok(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("debian:trixie", "docker://debian:trixie"),
            ("ghcr.io/a/b", "ghcr.io/a/b"),
            ("acme/web", "docker://acme/web"),
            ("oci:layout", "oci:layout"),
        ] {
            assert_eq!(Source::parse(&Source::of_registry(text)).ok(), oci(expected), "{text:?}");
        }
        // What cannot be one is said to be what it is.
        for text in ["https://example.org/a.tar", "./a.tar", ""] {
            assert_eq!(Source::of_registry(text), text);
        }
    }
}
