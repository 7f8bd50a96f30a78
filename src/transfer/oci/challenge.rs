//! How a registry asks who we are: `WWW-Authenticate` (RFC 9110, section 11.6.1; distribution's "Token Authentication
//! Specification").

use reqwest::Url;
use serde::Deserialize;

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password with each question.
    Basic,
    /// A token, which somebody else gives.
    Bearer {
        /// Who.
        realm: String,
        /// For which registry.
        service: Option<String>,
        /// For what of it.
        scope: Option<String>,
    },
}

/// A token that was given.
#[derive(Debug, Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

impl Challenge {
    /// The best of what the headers offer; `None` if that is nothing that we know.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let mut parameters = parameters(rest);
                let mut take = |name: &str| {
                    let at = parameters.iter().position(|(key, _)| key.eq_ignore_ascii_case(name))?;
                    Some(parameters.swap_remove(at).1)
                };
                let (service, scope) = (take("service"), take("scope"));
                return take("realm").map(|realm| Self::Bearer { realm, service, scope });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        basic
    }

    /// Where a token is to be had, for `repository` if the registry named nothing; `None` where a realm is no address.
    pub fn token_url(&self, repository: &str) -> Option<Url> {
        let Self::Bearer { realm, service, scope } = self else { return None };
        let mut url = Url::parse(realm).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let fallback = format!("repository:{repository}:pull");
        url.query_pairs_mut()
            .extend_pairs(service.iter().map(|service| ("service", service.as_str())))
            .append_pair("scope", scope.as_deref().unwrap_or(&fallback));
        Some(url)
    }
}

/// The token in the answer of whoever gives them.
pub fn token(answer: &[u8]) -> Option<String> {
    let given: Given = serde_json::from_slice(answer).ok()?;
    given.token.or(given.access_token).filter(|token| !token.is_empty())
}

/// `name="value"` or `name=value`, separated by commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches(|character: char| character == ',' || character.is_whitespace());
        let (value, end) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.to_owned(), value));
        rest = end;
    }
    found
}

/// Up to the closing quote, with what is escaped, and what follows.
fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
        };
        let hub = r#"Bearer realm="https://auth.example.org/token",service="registry.example.org",scope="repository:a/b:pull,push""#;
        let rows: [(&[&str], Option<Challenge>); 8] = [
            (
                &[hub],
                bearer(
                    "https://auth.example.org/token",
                    Some("registry.example.org"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            (&["bearer realm=http://a/t"], bearer("http://a/t", None, None)),
            (&["Basic realm=\"x\"", "Bearer realm=\"http://a/t\""], bearer("http://a/t", None, None)),
            (&["Basic realm=\"a \\\"b\\\"\""], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&["Negotiate"], None),
            (&["Bearer service=\"x\""], None),
            (&[], None),
        ];
        for (headers, expected) in rows {
            assert_eq!(Challenge::parse(headers.iter().copied()), expected, "{headers:?}");
        }
    }

    #[test]
    fn addresses_of_tokens() {
        let url = |header: &str| {
            Challenge::parse([header])
                .and_then(|challenge| challenge.token_url("a/b"))
                .map(|url| url.to_string())
        };
        assert_eq!(
            url(r#"Bearer realm="https://x/token?k=v",service="r e""#).as_deref(),
            Some("https://x/token?k=v&service=r+e&scope=repository%3Aa%2Fb%3Apull")
        );
        assert_eq!(url(r#"Bearer realm="file:///etc/passwd""#), None);
        assert_eq!(url(r#"Bearer realm="""#), None);
    }

    #[test]
    fn tokens() {
        let rows: [(&[u8], Option<&str>); 5] = [
            (br#"{"token":"a","expires_in":300}"#, Some("a")),
            (br#"{"access_token":"b"}"#, Some("b")),
            (br#"{"token":""}"#, None),
            (br#"{}"#, None),
            (b"<html>", None),
        ];
        for (answer, expected) in rows {
            assert_eq!(token(answer).as_deref(), expected);
        }
    }
}
