//! Registries: what a tag points to, which tags there are, and what an image consists of (distribution's API, version 2).
//!
//! What could not be learned is an error with its kind, never an answer: only a registry that says "this digest" can make an image
//! current. A registry that does not answer, or has enough of us, is not asked again in the same scan, and in the latter case not
//! before it wants to be.

mod challenge;
mod connection;
mod destination;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod redirect;
mod settings;
#[cfg(test)]
mod stand_ins;

pub use settings::RegistrySettings;

use super::{
    containers::Platform,
    credentials::SettingsError,
    reference::{self, ImageDigest, Repository},
};
use connection::{Answer, Connection};
use destination::{HostLookup, Lookup};
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LINK},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// All four, always: with fewer a registry answers with the digest of one platform, or with none, and both look like an update.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Most bytes of a manifest; registries take no more than 4 MiB either.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
const TAGS_PAGE_BYTES_MAX: usize = 1024 * 1024;
const TAGS_PER_PAGE: u32 = 1_000;
const TAGS_PAGES_MAX: usize = 50;
/// Most answers that are remembered between scans.
const REMEMBERED_MAX: usize = 4_096;

/// Why a registry's answer is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("{registry} has no {what}")]
    NotFound { registry: Arc<str>, what: String },
    #[error("{registry} does not let us in: {reason}")]
    Unauthorized { registry: Arc<str>, reason: String },
    #[error("{registry} limits how often it is asked (429), for {} s", pause.as_secs())]
    RateLimited { registry: Arc<str>, pause: Duration },
    #[error("{registry} could not be reached: {reason}")]
    Unreachable { registry: Arc<str>, reason: String },
    #[error("{registry} answered with status {status}")]
    Status { registry: Arc<str>, status: u16 },
    #[error("{registry}: {reason}")]
    Answer { registry: Arc<str>, reason: String },
    #[error("{host} is no address of a registry")]
    HostNotAllowed { host: String },
    /// `host_not_allowed`, by what its name resolves to.
    #[error("{registry} is not asked: {reason}")]
    NotAllowed { registry: Arc<str>, reason: String },
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// A manifest of one platform, or an index of several.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// The platforms of an index.
    #[serde(default)]
    pub manifests: Vec<PlatformManifest>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    #[serde(default)]
    size: u64,
}

/// One platform of an index.
#[derive(Debug, Deserialize)]
pub(crate) struct PlatformManifest {
    pub digest: String,
    #[serde(default)]
    pub platform: Option<Platform>,
}

impl Manifest {
    /// Bytes to download when nothing of it is there yet; none for an index.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let config = self.config.as_ref()?;
        self.layers.iter().try_fold(config.size, |sum, layer| sum.checked_add(layer.size))
    }

    /// The digest an index has for a platform.
    pub(crate) fn of_platform(&self, platform: &Platform) -> Option<ImageDigest> {
        let same = |entry: &&PlatformManifest| {
            entry.platform.as_ref().is_some_and(|other| {
                (&other.os, &other.architecture) == (&platform.os, &platform.architecture)
                    && (platform.variant.is_empty() || other.variant.is_empty() || other.variant == platform.variant)
            })
        };
        self.manifests.iter().find(same).and_then(|entry| ImageDigest::parse(&entry.digest))
    }
}

/// What is remembered of registries between scans, in memory only.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    answers: Mutex<HashMap<(Repository, String), Remembered>>,
    paused: Mutex<HashMap<Arc<str>, Instant>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    asked_at: Instant,
    etag: Option<HeaderValue>,
    fact: Fact,
}

#[derive(Clone, Debug)]
enum Fact {
    Digest(ImageDigest),
    Tags(Arc<[String]>),
    Manifest(Arc<Manifest>),
}

impl Memory {
    fn recall(&self, question: &(Repository, String)) -> Option<Remembered> {
        lock(&self.answers).get(question).cloned()
    }

    fn keep(&self, question: (Repository, String), etag: Option<HeaderValue>, fact: Fact) {
        let mut answers = lock(&self.answers);
        if answers.len() >= REMEMBERED_MAX {
            // Far more than any host runs: whatever they are, they can be asked for again.
            answers.clear();
        }
        answers.insert(question, Remembered { asked_at: Instant::now(), etag, fact });
    }

    fn pause(&self, registry: &Arc<str>, pause: Duration) {
        lock(&self.paused).insert(registry.clone(), Instant::now() + pause);
    }

    /// The refusal of a registry that does not want to be asked yet.
    fn paused(&self, registry: &Arc<str>) -> Option<RegistryError> {
        let until = *lock(&self.paused).get(registry)?;
        let pause = until.checked_duration_since(Instant::now()).filter(|pause| !pause.is_zero())?;
        Some(RegistryError::RateLimited { registry: registry.clone(), pause })
    }
}

/// The registries that one scan or plan asks.
#[derive(Debug)]
pub(crate) struct Registries {
    settings: RegistrySettings,
    memory: Arc<Memory>,
    lookup: Arc<dyn Lookup>,
    connections: Mutex<HashMap<Arc<str>, Opened>>,
}

/// A registry that can be asked, or why it cannot be: its settings are read once.
type Opened = Result<Arc<Connection>, RegistryError>;

impl Registries {
    /// Registries by the host's settings, which are read when a registry is first asked.
    pub(crate) fn new(settings: RegistrySettings, memory: Arc<Memory>) -> Self {
        Self { settings, memory, lookup: Arc::new(HostLookup), connections: Mutex::default() }
    }

    /// What `tag` points to: the digest of an index where there is one, as engines keep it.
    ///
    /// # Errors
    /// When the registry does not say.
    pub(crate) async fn digest(&self, repository: &Repository, tag: &str) -> Result<ImageDigest, RegistryError> {
        let question = (repository.clone(), format!("manifests/{tag}"));
        let known = self.memory.recall(&question);
        if let Some(Remembered { asked_at, fact: Fact::Digest(digest), .. }) = &known
            && asked_at.elapsed() < self.settings.fresh
        {
            return Ok(digest.clone());
        }
        let connection = self.connection(repository)?;
        let mut headers = accept();
        if let Some(etag) = known.as_ref().and_then(|known| known.etag.clone()) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        let head = connection.ask(Method::HEAD, repository, &question.1, headers, MANIFEST_BYTES_MAX).await?;
        let (digest, etag) = match (head.status, known.map(|known| (known.etag, known.fact))) {
            (StatusCode::NOT_MODIFIED, Some((etag, Fact::Digest(digest)))) => (digest, etag),
            (StatusCode::NOT_FOUND, _) => return Err(not_found(repository, &format!("tag {tag} of {}", repository.path))),
            (StatusCode::OK, _) if content_digest(&head).is_some() => {
                (manifest_digest(&connection, &head)?, head.headers.get(ETAG).cloned())
            }
            _ => {
                // A registry without HEAD, or without the digest in it.
                let get = connection.ask(Method::GET, repository, &question.1, accept(), MANIFEST_BYTES_MAX).await?;
                match get.status {
                    StatusCode::OK => (manifest_digest(&connection, &get)?, get.headers.get(ETAG).cloned()),
                    StatusCode::NOT_FOUND => return Err(not_found(repository, &format!("tag {tag} of {}", repository.path))),
                    status => return Err(connection.answer(format!("answered a request for a manifest with {status}"))),
                }
            }
        };
        self.memory.keep(question, etag, Fact::Digest(digest.clone()));
        Ok(digest)
    }

    /// Every tag of a repository.
    ///
    /// # Errors
    /// When the registry does not say, or there are more than [`TAGS_PAGES_MAX`] pages of them.
    pub(crate) async fn tags(&self, repository: &Repository) -> Result<Arc<[String]>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let question = (repository.clone(), "tags/list".to_owned());
        if let Some(Remembered { asked_at, fact: Fact::Tags(tags), .. }) = self.memory.recall(&question)
            && asked_at.elapsed() < self.settings.fresh
        {
            return Ok(tags);
        }
        let connection = self.connection(repository)?;
        let mut tags = Vec::new();
        let mut path = format!("tags/list?n={TAGS_PER_PAGE}");
        for _ in 0..TAGS_PAGES_MAX {
            let answer = connection.ask(Method::GET, repository, &path, HeaderMap::new(), TAGS_PAGE_BYTES_MAX).await?;
            if answer.status != StatusCode::OK {
                return Err(not_found(repository, &format!("list of the tags of {}", repository.path)));
            }
            let page: Page = serde_json::from_slice(&answer.body).map_err(|_| connection.answer("its list of tags cannot be read"))?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| reference::is_tag(tag)));
            let Some(next) = next_page(&answer.headers) else {
                let tags: Arc<[String]> = tags.into();
                self.memory.keep(question, None, Fact::Tags(tags.clone()));
                return Ok(tags);
            };
            path = format!("tags/list?{next}");
        }
        Err(connection.answer(format!("{} has more than {} tags", repository.path, TAGS_PER_PAGE as usize * TAGS_PAGES_MAX)))
    }

    /// The manifest of a digest. It cannot change and is not asked for twice while it is remembered.
    ///
    /// # Errors
    /// When the registry does not say, or what it says is not what the digest names.
    pub(crate) async fn manifest(&self, repository: &Repository, digest: &ImageDigest) -> Result<Arc<Manifest>, RegistryError> {
        let question = (repository.clone(), format!("manifests/{digest}"));
        if let Some(Remembered { fact: Fact::Manifest(manifest), .. }) = self.memory.recall(&question) {
            return Ok(manifest);
        }
        let connection = self.connection(repository)?;
        let answer = connection.ask(Method::GET, repository, &question.1, accept(), MANIFEST_BYTES_MAX).await?;
        if answer.status != StatusCode::OK {
            return Err(not_found(repository, &format!("{digest} of {}", repository.path)));
        }
        if sha256(&answer.body) != *digest {
            return Err(connection.answer(format!("gave something else for {digest}")));
        }
        let manifest: Manifest = serde_json::from_slice(&answer.body).map_err(|_| connection.answer("a manifest cannot be read"))?;
        let manifest = Arc::new(manifest);
        self.memory.keep(question, None, Fact::Manifest(manifest.clone()));
        Ok(manifest)
    }

    fn connection(&self, repository: &Repository) -> Result<Arc<Connection>, RegistryError> {
        let mut connections = lock(&self.connections);
        let new = || Connection::new(&repository.registry, &self.settings, self.memory.clone(), self.lookup.clone()).map(Arc::new);
        connections.entry(repository.registry.clone()).or_insert_with(new).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept in these is replaced whole: a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(&MANIFESTS.join(", ")).expect("media types are printable"))])
}

fn not_found(repository: &Repository, what: &str) -> RegistryError {
    RegistryError::NotFound { registry: repository.registry.clone(), what: what.to_owned() }
}

fn content_digest(answer: &Answer) -> Option<ImageDigest> {
    ImageDigest::parse(answer.headers.get(CONTENT_DIGEST)?.to_str().ok()?)
}

/// The digest of the manifest an answer is about, which must be of a kind that engines name images by.
fn manifest_digest(connection: &Connection, answer: &Answer) -> Result<ImageDigest, RegistryError> {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !MANIFESTS.contains(&kind) {
        return Err(connection.answer(format!("its manifest is of an unknown kind ({kind:?})")));
    }
    let stated = content_digest(answer);
    if answer.body.is_empty() {
        return stated.ok_or_else(|| connection.answer("gave a manifest without its digest"));
    }
    let digest = sha256(&answer.body);
    if stated.is_some_and(|stated| stated != digest) {
        return Err(connection.answer("gave a manifest that has another digest"));
    }
    Ok(digest)
}

fn sha256(bytes: &[u8]) -> ImageDigest {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    ImageDigest::parse(&format!("sha256:{hex}")).expect("a SHA-256 in hexadecimal is a digest")
}

/// The query of the next page, from `Link: <URL>; rel="next"`. Only the query is taken: the rest of the way is ours.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let (target, parameters) = headers.get(LINK)?.to_str().ok()?.trim().strip_prefix('<')?.split_once('>')?;
    let next = parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
    let url = Url::parse("http://registry/").ok()?.join(target).ok()?;
    next.then(|| url.query().map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn link(text: &str) -> Option<String> {
        next_page(&HeaderMap::from_iter([(LINK, HeaderValue::from_str(text).ok()?)]))
    }

    #[test]
    fn the_next_page_is_only_ever_a_query() {
        assert_eq!(link("</v2/lab/web/tags/list?last=b&n=2>; rel=\"next\"").as_deref(), Some("last=b&n=2"));
        assert_eq!(link("<https://evil.example/x?last=b>; rel=\"next\"").as_deref(), Some("last=b"));
        for text in ["", "</v2/x?y>", "</v2/x>; rel=\"next\"", "/v2/x?y; rel=\"next\"", "<//>; rel=\"next\"", "</v2/x?y>; rel=\"prev\""] {
            assert_eq!(link(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_summed_and_platforms_found() {
        let manifest: Manifest = serde_json::from_str(r#"{"config":{"size":5},"layers":[{"size":7},{"size":8}]}"#).unwrap();
        assert_eq!(manifest.bytes(), Some(20));
        let huge: Manifest = serde_json::from_str(&format!(r#"{{"config":{{"size":5}},"layers":[{{"size":{}}}]}}"#, u64::MAX)).unwrap();
        assert_eq!(huge.bytes(), None);
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = format!(
            r#"{{"manifests":[{{"digest":"{digest}","platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},{{"digest":"x"}}]}}"#
        );
        let index: Manifest = serde_json::from_str(&text).unwrap();
        let platform = |variant: &str| Platform { os: "linux".into(), architecture: "arm".into(), variant: variant.into() };
        assert_eq!(index.of_platform(&platform("v7")).unwrap().as_str(), digest);
        assert!(index.of_platform(&platform("")).is_some());
        assert_eq!(index.of_platform(&platform("v6")), None);
        assert_eq!(index.bytes(), None);
    }

    #[test]
    fn a_paused_registry_is_asked_again_when_its_time_has_come() {
        let (memory, registry) = (Memory::default(), Arc::from("registry.example"));
        assert_eq!(memory.paused(&registry), None);
        memory.pause(&registry, Duration::from_secs(60));
        assert!(matches!(memory.paused(&registry), Some(RegistryError::RateLimited { .. })));
        memory.pause(&registry, Duration::ZERO);
        assert_eq!(memory.paused(&registry), None);
    }

    proptest! {
        #[test]
        fn any_manifest_and_any_link_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "\\PC*|<[a-z/?=&:]{0,20}>; rel=\"?next\"?") {
            let _ = serde_json::from_slice::<Manifest>(&bytes);
            let _ = link(&text);
        }
    }
}
