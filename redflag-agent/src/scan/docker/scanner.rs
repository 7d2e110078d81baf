//! The scanner of container images: which containers run something else than their tag points to by now, or could run a newer tag.
//!
//! A container counts with the image it runs, whatever its tag names on this host by now; what the tag points to is asked of the
//! registry. An image is current when the registry's digest is among those the engine keeps for that repository. A version is
//! written `TAG@sha256:…`: people read the tag, the digest is exact. When the tag has not moved and is itself a version, a newer
//! tag of the same shape is the offer.
//!
//! Images that were built here or are pinned by a digest follow nothing: no offer, and no gap. A registry that cannot be asked makes
//! the scan partial, with the reason; it never makes an image current.

use super::{
    containers::{self, Container, Image},
    reference::{ImageDigest, ImageVersion, Repository},
    registry::{Memory, Registries, RegistryError, RegistrySettings},
    tag,
};
use crate::{
    engine::{self, Engine, EngineError},
    scan::{Scan, Scanner},
};
use async_trait::async_trait;
use redflag_core::{
    names::{DOCKER, Manager, Text},
    offer::{Availability, Candidate, Offer},
    words::{AvailabilityKind, VersionOrder},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};
use tokio::task::JoinSet;

/// Most repositories that are asked about at the same time.
const REPOSITORIES_AT_ONCE: usize = 4;

/// Scans the containers of Docker or Podman.
#[derive(Clone, Debug)]
pub struct Docker {
    socket: Option<PathBuf>,
    registries: RegistrySettings,
    memory: Arc<Memory>,
}

impl Default for Docker {
    fn default() -> Self {
        Self::new()
    }
}

impl Docker {
    /// The engine of this host: the one `DOCKER_HOST` names, else the first of the usual sockets this user may use.
    #[must_use]
    pub fn new() -> Self {
        Self { socket: None, registries: RegistrySettings::of_host(), memory: Arc::default() }
    }

    /// Another engine, by its socket.
    #[must_use]
    pub fn with_socket(self, socket: impl Into<PathBuf>) -> Self {
        Self { socket: Some(socket.into()), ..self }
    }

    /// Other facts about registries than the host's.
    #[must_use]
    pub fn with_registries(self, registries: RegistrySettings) -> Self {
        Self { registries, ..self }
    }

    async fn ask(&self, mut scan: Scan) -> Result<Scan, EngineError> {
        let Some(socket) = (match &self.socket {
            Some(socket) => Some(socket.clone()),
            None => engine::socket_of_host().await,
        }) else {
            return Ok(scan.failed("no container engine listens on this host, or not for this user"));
        };
        let mut gaps = Vec::new();
        let engine = Engine::open(&socket).await?;
        let containers = containers::containers(&engine, &mut gaps).await?;
        let registries = Arc::new(Registries::new(self.registries.clone(), self.memory.clone()));
        let news = news(&registries, &containers, &mut gaps).await;
        for container in containers {
            let image = container.followed_tag().and_then(|tag| news.get(&question(&container, tag)));
            let installed = match image {
                Some(News::Current(digest)) => container.version_by(digest),
                _ => container.version(),
            };
            if let Some(News::Newer(update)) = image {
                scan.offers.insert(container.package.clone(), update.offer(&container, &installed));
            }
            scan.installed.insert(container.package, installed.version());
        }
        if gaps.is_empty() {
            scan.metadata_at = Some(scan.scanned_at);
        }
        Ok(scan.with_gaps(&gaps))
    }
}

#[async_trait]
impl Scanner for Docker {
    fn manager(&self) -> Manager {
        Manager::parse(DOCKER).expect("the word is a manager's")
    }

    fn version_order(&self) -> VersionOrder {
        VersionOrder::None
    }

    async fn present(&self) -> bool {
        match &self.socket {
            Some(socket) => engine::usable(socket).await,
            None => engine::socket_of_host().await.is_some(),
        }
    }

    async fn scan(&self) -> Scan {
        let scan = Scan::begun(self.manager(), self.version_order());
        match self.ask(scan.clone()).await {
            Ok(scan) => scan,
            Err(error) => scan.failed(&error.to_string()),
        }
    }
}

/// What is asked of a registry: about a repository, the tag that is followed, and the image that is run.
type Question = (Repository, Arc<str>, Vec<ImageDigest>);

fn question(container: &Container, tag: &str) -> Question {
    (container.reference.repository.clone(), tag.into(), container.image.digests.clone())
}

/// What a registry says of an image. Unknown is neither: there is a gap for it then.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// The tag points to this image, by this digest.
    Current(ImageDigest),
    Newer(Update),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Update {
    to: ImageVersion,
    registry: Arc<str>,
    availability: Availability,
    size_bytes: Option<u64>,
    description: String,
}

impl Update {
    fn offer(&self, container: &Container, installed: &ImageVersion) -> Offer {
        let blocked = container.obstacle.as_deref().map(|reason| Availability::because(AvailabilityKind::Blocked, Text::lossy(reason)));
        let candidate = Candidate {
            origin: Some(Text::lossy(&self.registry)),
            description: Some(Text::lossy(&self.description)),
            size_bytes: self.size_bytes,
            ..Candidate::new(self.to.version())
        };
        let availability = blocked.unwrap_or_else(|| self.availability.clone());
        Offer { installed: Some(installed.version()), candidate: Arc::new(candidate), availability }
    }
}

/// Asks every registry about the images of these containers, each question once.
async fn news(registries: &Arc<Registries>, containers: &[Container], gaps: &mut Vec<String>) -> BTreeMap<Question, News> {
    let mut repositories: BTreeMap<Repository, BTreeMap<Arc<str>, Vec<Arc<Image>>>> = BTreeMap::new();
    for container in containers {
        let Some(tag) = container.followed_tag() else { continue };
        let images = repositories.entry(container.reference.repository.clone()).or_default().entry(tag.into()).or_default();
        if !images.contains(&container.image) {
            images.push(container.image.clone());
        }
    }
    let (mut news, mut reasons) = (BTreeMap::new(), BTreeSet::new());
    let mut waiting = repositories.into_iter();
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < REPOSITORIES_AT_ONCE
            && let Some((repository, tags)) = waiting.next()
        {
            asking.spawn(about_repository(registries.clone(), repository, tags));
        }
        match asking.join_next().await {
            None => break,
            Some(Ok((found, unknown))) => {
                news.extend(found);
                reasons.extend(unknown);
            }
            Some(Err(error)) => gaps.push(format!("asking a registry: {error}")),
        }
    }
    gaps.extend(reasons);
    news
}

/// One repository: its tags, one after the other, and what remains unknown.
async fn about_repository(
    registries: Arc<Registries>,
    repository: Repository,
    tags: BTreeMap<Arc<str>, Vec<Arc<Image>>>,
) -> (Vec<(Question, News)>, Vec<String>) {
    let (mut news, mut gaps) = (Vec::new(), Vec::new());
    let mut all_tags = None;
    for (tag, images) in tags {
        let digest = match registries.digest(&repository, &tag).await {
            Ok(digest) => digest,
            Err(error) => {
                gaps.push(format!("{repository}:{tag}: {error}"));
                continue;
            }
        };
        let newer = newer_tag(&registries, &repository, &tag, &mut all_tags).await.unwrap_or_else(|error| {
            gaps.push(format!("versions after {repository}:{tag}: {error}"));
            None
        });
        for image in images {
            let mut update = compared(&registries, &repository, &tag, &digest, &image).await;
            if let Some(moved) = &mut update {
                moved.description = format!("the tag {tag} points to another image now");
            } else if let Some((newer, digest)) = &newer {
                update = compared(&registries, &repository, newer, digest, &image).await;
                update.iter_mut().for_each(|update| update.description = format!("{newer} is newer than {tag}"));
            }
            let found = update.map_or_else(|| News::Current(digest.clone()), News::Newer);
            news.push(((repository.clone(), tag.clone(), image.digests.clone()), found));
        }
    }
    (news, gaps)
}

/// The newest tag that is a later version than `tag`, and its digest.
async fn newer_tag(
    registries: &Registries,
    repository: &Repository,
    tag: &str,
    all_tags: &mut Option<Result<Arc<[String]>, RegistryError>>,
) -> Result<Option<(Arc<str>, ImageDigest)>, RegistryError> {
    if !tag::is_version(tag) {
        return Ok(None);
    }
    if all_tags.is_none() {
        *all_tags = Some(registries.tags(repository).await);
    }
    let tags = all_tags.clone().unwrap_or_else(|| Ok(Arc::default()))?;
    match tag::newer(tag, tags.iter().map(String::as_str)) {
        Some(newer) => Ok(Some((newer.into(), registries.digest(repository, newer).await?))),
        None => Ok(None),
    }
}

/// The update that bringing `image` to `digest` would be; none when it is that image already.
async fn compared(registries: &Registries, repository: &Repository, tag: &str, digest: &ImageDigest, image: &Image) -> Option<Update> {
    if image.digests.contains(digest) {
        return None;
    }
    let because = |kind, reason: &str| (Availability::because(kind, Text::lossy(reason)), None);
    let (availability, size_bytes) = match registries.manifest(repository, digest).await {
        // The engine may keep the platform's own digest of an image that the tag names by an index.
        Ok(index) if index.manifests.iter().any(|entry| image.digests.iter().any(|digest| digest.as_str() == entry.digest)) => return None,
        Ok(manifest) if manifest.manifests.is_empty() => (Availability::INSTALLABLE, manifest.bytes()),
        Ok(index) => match index.of_platform(&image.platform) {
            Some(digest) => {
                // Its size is no more than a comfort.
                let manifest = registries.manifest(repository, &digest).await.ok();
                (Availability::INSTALLABLE, manifest.and_then(|manifest| manifest.bytes()))
            }
            None => {
                let platform = &image.platform;
                because(AvailabilityKind::Blocked, &format!("it has no image for {}/{}", platform.os, platform.architecture))
            }
        },
        Err(error) => because(AvailabilityKind::Unknown, &error.to_string()),
    };
    let to = ImageVersion { tag: Some(tag.into()), digest: digest.clone() };
    Some(Update { to, registry: repository.registry.clone(), availability, size_bytes, description: String::new() })
}
