//! What a registry demands before it answers: `WWW-Authenticate` of RFC 9110, and which token services it may name.

use super::super::reference;
use reqwest::{Url, header::HeaderMap, header::WWW_AUTHENTICATE};
use std::net::IpAddr;

/// Most bytes of one header that are read.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// A demand that can be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with the request.
    Basic,
    /// A token from the service at `realm` (distribution's token authentication).
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The first demand that can be met; a token goes before a password.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Self> = values.filter_map(Self::parse).collect();
        challenges.iter().find(|challenge| matches!(challenge, Self::Bearer { .. })).or_else(|| challenges.first()).cloned()
    }

    /// Reads one header value that holds one challenge, as registries send them.
    fn parse(text: &str) -> Option<Self> {
        let text = text.get(..HEADER_BYTES_MAX.min(text.len()))?.trim_start();
        let (scheme, parameters) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in Parameters(parameters) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// `name=token` and `name="quoted \"string\""`, separated by commas.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.trim_start_matches([',', ' ', '\t']).split_once('=')?;
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            self.0 = &rest[end..];
            return Some((name.trim(), rest[..end].trim().to_owned()));
        };
        let (mut value, mut escaped) = (String::new(), false);
        for (index, character) in quoted.char_indices() {
            match character {
                '\\' if !escaped => escaped = true,
                '"' if !escaped => {
                    self.0 = &quoted[index + 1..];
                    return Some((name.trim(), value));
                }
                _ => {
                    value.push(character);
                    escaped = false;
                }
            }
        }
        // The string has no end: the header was cut or forged.
        self.0 = "";
        None
    }
}

/// Whether `registry` may send us to `realm` with its credentials: the same host, its parent domain, or a sibling in it, over TLS
/// unless the registry itself is asked without.
pub(super) fn realm_allowed(registry: &Url, realm: &Url) -> bool {
    let (Some(host), Some(other)) = (registry.host_str(), realm.host_str()) else { return false };
    let encrypted = realm.scheme() == "https" || realm.scheme() == "http" && registry.scheme() == "http";
    let plain = realm.username().is_empty() && realm.password().is_none() && realm.fragment().is_none();
    encrypted && plain && reference::host_allowed(other) && (host == other || shares_domain(host, other))
}

fn shares_domain(host: &str, other: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    let Some((_, parent)) = host.split_once('.') else { return false };
    if bare.parse::<IpAddr>().is_ok() || !parent.contains('.') {
        return false;
    }
    // `registry.co.uk` and `evil.co.uk` share a registry's suffix, no owner: two short labels are taken for such a suffix.
    let suffix = parent.split('.').all(|label| label.len() <= 3) && parent.split('.').count() == 2;
    !suffix && (other == parent || other.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn challenges_are_read() {
        let bearer = Challenge::parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull""#,
        );
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: Some("repository:library/nginx:pull".into()),
        };
        assert_eq!(bearer, Some(expected));
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        let odd = Challenge::parse(r#"bearer  service=a b , realm="say \"x\", y" , extra=1"#);
        assert_eq!(odd, Some(Challenge::Bearer { realm: "say \"x\", y".into(), service: Some("a b".into()), scope: None }));
        for text in ["", "Digest realm=\"x\"", "Bearer", "Bearer service=\"x\"", "Bearer realm=\"cut", "Negotiate"] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }

    #[test]
    fn credentials_stay_with_the_registrys_own_domain() {
        let allowed = |registry: &str, realm: &str| realm_allowed(&registry.parse().unwrap(), &realm.parse().unwrap());
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://registry.acme.example:8443", "https://gitlab.acme.example/jwt/auth"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:6000/token"),
            ("http://registry.lab.example", "https://auth.lab.example/token"),
        ] {
            assert!(allowed(registry, realm), "{registry} {realm}");
        }
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://evil.example/token"),
            ("https://registry-1.docker.io", "http://auth.docker.io/token"),
            ("https://registry-1.docker.io", "https://evildocker.io/token"),
            ("https://ghcr.io", "https://evil.io/token"),
            ("https://registry.co.uk", "https://evil.co.uk/token"),
            ("https://registry.example", "https://other.example/token"),
            ("https://10.0.0.1", "https://10.0.0.2/token"),
            ("http://registry.lab.example", "http://169.254.169.254/latest"),
            ("https://ghcr.io", "https://user:password@ghcr.io/token"),
        ] {
            assert!(!allowed(registry, realm), "{registry} {realm}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(text in "\\PC*|(Bearer|Basic) [a-z=\",\\\\ ]{0,60}") {
            let _ = Challenge::parse(&text);
        }
    }
}
