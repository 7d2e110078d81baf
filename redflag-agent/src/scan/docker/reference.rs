//! Image references, as engines and registries write them, and the version an image has for us.
//!
//! The grammar is that of distribution/reference (`reference.go` and `normalize.go`): `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, where a
//! name without a host is one of Docker Hub and a single word is in its `library`. Only `sha256` digests are taken.

use super::address::Place;
#[cfg(feature = "agent")]
use redflag_core::names::Version;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Docker Hub, by the name every reference to it is normalised to.
pub(crate) const DOCKER_HUB: &str = "docker.io";
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;
const DIGEST_PREFIX: &str = "sha256:";
const DIGEST_HEX: usize = 64;

/// Why a text is no reference that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    /// `bad_ref`: outside the grammar.
    #[error("{text:?} is no image reference: {reason}")]
    Grammar { text: String, reason: &'static str },
    /// `not_pinned`: an installation names a digest.
    #[error("{text:?} names no digest")]
    NotPinned { text: String },
    /// `host_not_allowed`: an address no registry has, such as that of a cloud's metadata service.
    #[error("{host} is no address of a registry")]
    HostNotAllowed { host: String },
}

/// A registry and a repository in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Repository {
    /// Host, and port where the reference names one.
    pub registry: Arc<str>,
    /// Path within the registry.
    pub path: Arc<str>,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A `sha256` digest of a manifest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ImageDigest(Arc<str>);

impl ImageDigest {
    /// Parses `sha256:` and 64 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(DIGEST_PREFIX)?;
        let kept = hex.len() == DIGEST_HEX && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        kept.then(|| Self(text.into()))
    }

    #[cfg(feature = "agent")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A parsed reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub repository: Repository,
    pub tag: Option<Arc<str>>,
    pub digest: Option<ImageDigest>,
}

impl Reference {
    /// Parses and normalises a reference.
    ///
    /// # Errors
    /// When it is outside the grammar, or its host is an address no registry has.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let bad = |reason| ReferenceError::Grammar { text: text.chars().take(NAME_BYTES_MAX).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => (rest, Some(ImageDigest::parse(digest).ok_or_else(|| bad("the digest is not sha256 in full"))?)),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("the tag is outside the grammar"));
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path.to_owned()),
            Some(_) => (DOCKER_HUB, name.to_owned()),
            None => (DOCKER_HUB, format!("library/{name}")),
        };
        let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
        let path = if host == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
        if !host_and_port(host) {
            return Err(bad("the host is outside the grammar"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(bad("the repository is outside the grammar"));
        }
        if host.len() + 1 + path.len() > NAME_BYTES_MAX {
            return Err(bad("the name is longer than 255 bytes"));
        }
        if !host_allowed(host) {
            return Err(ReferenceError::HostNotAllowed { host: host.to_owned() });
        }
        let repository = Repository { registry: host.into(), path: path.into() };
        Ok(Self { repository, tag: tag.map(Into::into), digest })
    }

    /// The tag that a reference without tag and digest means.
    pub(crate) fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

/// What an image is for us: the tag it is run by, and the digest of its manifest or index; written `TAG@sha256:…`, or the digest
/// alone where the container was made from a digest without a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageVersion {
    pub tag: Option<Arc<str>>,
    pub digest: ImageDigest,
}

impl ImageVersion {
    /// Reads a version back.
    ///
    /// # Errors
    /// When it holds no digest, or anything outside the grammar.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let bad = |reason| ReferenceError::Grammar { text: text.to_owned(), reason };
        let (tag, digest) = match text.split_once('@') {
            Some((tag, digest)) => (Some(tag), digest),
            None if text.starts_with(DIGEST_PREFIX) => (None, text),
            None => return Err(ReferenceError::NotPinned { text: text.to_owned() }),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("the tag is outside the grammar"));
        }
        let digest = ImageDigest::parse(digest).ok_or_else(|| bad("the digest is not sha256 in full"))?;
        Ok(Self { tag: tag.map(Into::into), digest })
    }

    /// As a version of a package.
    #[cfg(feature = "agent")]
    pub(crate) fn version(&self) -> Version {
        Version::parse(&self.to_string()).expect("a tag and a digest keep the grammar of versions")
    }
}

impl fmt::Display for ImageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tag {
            Some(tag) => write!(f, "{tag}@{}", self.digest),
            None => self.digest.fmt(f),
        }
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_BYTES_MAX && text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || b".-".contains(&b))
}

/// Whether the first part of a name is a host: it has a dot, a port or a capital letter, or is `localhost`.
fn is_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|b| b.is_ascii_uppercase())
}

/// Whether a text is `HOST[:PORT]` by the grammar.
pub(crate) fn host_and_port(text: &str) -> bool {
    let (host, port) = split_port(text);
    let label = |label: &str| {
        label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = address.map_or_else(|| host.split('.').all(label), |address| address.parse::<Ipv6Addr>().is_ok());
    host && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Splits `HOST[:PORT]`; the host of an IPv6 address keeps its brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// Lower-case words joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let length = rest.iter().take_while(|b| word(**b)).count();
        if length == 0 {
            return false;
        }
        rest = &rest[length..];
        if rest.is_empty() {
            return true;
        }
        let length = match rest {
            [b'_', b'_', ..] => 2,
            [b'.' | b'_', ..] => 1,
            _ => rest.iter().take_while(|b| **b == b'-').count(),
        };
        rest = &rest[length..];
    }
}

/// Whether a host, with or without port, may be asked for images as far as its name tells. Addresses of one link, where clouds keep
/// their metadata, and addresses of no single machine may not. Names, and networks of one's own, are judged where they are asked.
pub(crate) fn host_allowed(host_and_port: &str) -> bool {
    let bare = bare_host(host_and_port);
    match bare.parse::<IpAddr>() {
        Ok(address) => !matches!(Place::of(address), Place::Nowhere(_)),
        Err(_) => !ends_in_number(bare),
    }
}

/// Whether a resolver may take a name for an address, as it takes `2852039166` and `0xa9.0376.43518`: its last label is a number
/// (<https://url.spec.whatwg.org/#ends-in-a-number-checker>). No registry is named so.
fn ends_in_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    last.starts_with("0x") || last.starts_with("0X") || last.bytes().all(|b| b.is_ascii_digit())
}

/// The host without port and brackets.
pub(crate) fn bare_host(host_and_port: &str) -> &str {
    let host = split_port(host_and_port).0;
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Whether a registry is on this very host.
#[cfg(feature = "agent")]
pub(crate) fn is_loopback(host_and_port: &str) -> bool {
    let bare = bare_host(host_and_port);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| Place::of(address) == Place::Loopback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "dad3a9f37d7ae51eaf9776e96c73c3b8526e02b37a784fa968e4982e6d54464d";

    fn parse(text: &str) -> Result<(String, Option<String>, Option<String>), ReferenceError> {
        let reference = Reference::parse(text)?;
        Ok((reference.repository.to_string(), reference.tag.map(|tag| tag.to_string()), reference.digest.map(|digest| digest.to_string())))
    }

    #[test]
    fn names_are_normalised_as_engines_do() {
        for (text, name, tag) in [
            ("nginx", "docker.io/library/nginx", None),
            ("nginx:1.25-alpine", "docker.io/library/nginx", Some("1.25-alpine")),
            ("docker.io/nginx", "docker.io/library/nginx", None),
            ("index.docker.io/grafana/grafana:11", "docker.io/grafana/grafana", Some("11")),
            ("grafana/grafana", "docker.io/grafana/grafana", None),
            ("localhost/web", "localhost/web", None),
            ("127.0.0.1:5555/lab/web:latest", "127.0.0.1:5555/lab/web", Some("latest")),
            ("host:5000/web", "host:5000/web", None),
            ("[::1]:5000/a/b__c.d---e:v1", "[::1]:5000/a/b__c.d---e", Some("v1")),
            ("ghcr.io/acme/api", "ghcr.io/acme/api", None),
        ] {
            assert_eq!(parse(text).unwrap(), (name.to_owned(), tag.map(str::to_owned), None), "{text}");
        }
        let digest = format!("sha256:{HEX}");
        let parsed = parse(&format!("registry.example:8443/a/b:1.0@{digest}")).unwrap();
        assert_eq!(parsed, ("registry.example:8443/a/b".into(), Some("1.0".into()), Some(digest)));
    }

    #[test]
    fn what_is_outside_the_grammar_is_refused_with_its_kind() {
        let long = format!("a.b/{}", "x".repeat(252));
        for text in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "HOST/../img",
            "a/../b",
            "a/.",
            "img@sha256:short",
            "img@md5:0",
            "Img",
            "a b",
            "img:",
            "img:-x",
            "a:b:c",
            "-a.b/c",
            "a..b/c",
            "host:0/a",
            "host:99999/a",
            "host:port/a",
            "[::1/a",
            "[x]:1/a",
            "http://a.b/c",
            "a?b",
            "a%2fb",
            "img:latest@",
            "a/b-",
            "a/_b",
            "a/b___c",
            "a/b.-c",
            long.as_str(),
        ] {
            assert!(matches!(Reference::parse(text), Err(ReferenceError::Grammar { .. })), "{text:?}: {:?}", Reference::parse(text));
        }
        for text in [
            "169.254.169.254/a",
            "169.254.169.254:80/a/b",
            "[fe80::1]/a",
            "0.0.0.0:5000/a",
            "[::ffff:169.254.169.254]/a",
            "224.0.0.1/a",
            "255.255.255.255/a",
            "0xa9.0xfe.0xa9.0xfe/a",
            "0XA9FEA9FE:80/a",
            "2852039166:80/a",
            "0251.0376.0251.0376/a",
            "017700000001:5000/a",
            "0x7f.1/a",
            "0X7F.1/a",
            "1.2852039166/a",
            "168.63.129.16/a",
            "100.100.100.200/a",
            "[fd00:ec2::254]/a",
            "[64:ff9b::a9fe:a9fe]/a",
            "[2002:a9fe:a9fe::1]/a",
        ] {
            assert!(matches!(Reference::parse(text), Err(ReferenceError::HostNotAllowed { .. })), "{text:?}: {:?}", Reference::parse(text));
        }
        assert!(matches!(ImageVersion::parse("latest"), Err(ReferenceError::NotPinned { .. })));
        assert!(matches!(ImageVersion::parse("latest@sha256:short"), Err(ReferenceError::Grammar { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic_and_what_passes_is_canonical(text in "\\PC*|[a-z0-9:/@.\\-_\\[\\]]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                let again = Reference::parse(&reference.repository.to_string()).unwrap();
                prop_assert_eq!(&again.repository, &reference.repository);
                for part in reference.repository.path.split('/') {
                    prop_assert!(part != "." && part != ".." && !part.is_empty());
                }
                prop_assert!(reference.repository.to_string().bytes().all(|b| b.is_ascii_graphic()));
            }
            let _ = ImageVersion::parse(&text);
        }

        #[test]
        fn references_made_of_their_parts_are_read_back(
            host in prop_oneof!["[a-z][a-z0-9]{0,8}\\.[a-z]{2,5}", "[a-z]{1,9}:[1-9][0-9]{0,3}", "127\\.0\\.0\\.1:[1-9][0-9]{3}"],
            path in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,8}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.\\-]{0,20}"),
            digest in proptest::option::of("[0-9a-f]{64}"),
        ) {
            let mut text = format!("{host}/{path}");
            if let Some(tag) = &tag { text.push_str(&format!(":{tag}")); }
            if let Some(digest) = &digest { text.push_str(&format!("@sha256:{digest}")); }
            let reference = Reference::parse(&text).unwrap();
            prop_assert_eq!(reference.repository.to_string(), format!("{host}/{path}"));
            prop_assert_eq!(reference.tag.as_deref(), tag.as_deref());
            if let Some(digest) = reference.digest {
                let version = ImageVersion { tag: reference.tag, digest };
                prop_assert_eq!(ImageVersion::parse(&version.to_string()).unwrap(), version.clone());
                prop_assert_eq!(version.version().to_string(), version.to_string());
            }
        }
    }
}
