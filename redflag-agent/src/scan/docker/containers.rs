//! The containers of an engine that count as installed packages: their keys, the images they run, and what speaks against
//! recreating them.

use super::reference::{ImageDigest, ImageVersion, Reference};
use crate::engine::{ContainerFacts, Engine, EngineError, ImageFacts, SYSTEMD_UNIT};
use redflag_core::names::{DOCKER, PackageKey};
use serde::Deserialize;
use std::{collections::HashMap, sync::Arc};

/// Most containers that are looked at.
const CONTAINERS_MAX: usize = 5_000;
/// What the installer puts between a container's name and what the copy is for; see [`crate::install::Docker`].
pub(crate) const OURS: &str = ".redflag-";

/// A container that counts.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// The repository, and the container's own name or that of its compose service.
    pub package: PackageKey,
    /// The container's name.
    pub name: String,
    /// The image as the container names it.
    pub reference: Reference,
    pub image: Arc<Image>,
    /// Why it cannot be recreated from here.
    pub obstacle: Option<String>,
}

/// What is known of an image in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The digests it has there; a tag that points to one of them points to this image. Never empty.
    pub digests: Vec<ImageDigest>,
    pub platform: Platform,
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default)]
    pub variant: String,
}

impl Container {
    /// The version it runs, by the digest it was most likely pulled by.
    pub(crate) fn version(&self) -> ImageVersion {
        self.version_by(&self.image.digests[0])
    }

    /// The version it runs, by one of the digests it is known by.
    pub(crate) fn version_by(&self, digest: &ImageDigest) -> ImageVersion {
        ImageVersion { tag: self.tag().map(Into::into), digest: self.reference.digest.as_ref().unwrap_or(digest).clone() }
    }

    /// The tag it follows or was named by; none when it names a digest alone.
    fn tag(&self) -> Option<&str> {
        match self.reference.digest {
            Some(_) => self.reference.tag.as_deref(),
            None => Some(self.reference.tag_or_latest()),
        }
    }

    /// The tag it follows; none when a digest pins it.
    pub(crate) fn followed_tag(&self) -> Option<&str> {
        self.reference.digest.is_none().then(|| self.reference.tag_or_latest())
    }
}

/// Every container that counts, and what could not be judged of the others.
///
/// # Errors
/// When the engine cannot list its containers.
pub(crate) async fn containers(engine: &Engine, gaps: &mut Vec<String>) -> Result<Vec<Container>, EngineError> {
    let mut summaries = engine.containers().await?;
    if summaries.len() > CONTAINERS_MAX {
        gaps.push(format!("only {CONTAINERS_MAX} of {} containers were looked at", summaries.len()));
    }
    summaries.sort_by(|one, other| one.name().cmp(&other.name()));
    let mut images: HashMap<String, ImageFacts> = HashMap::new();
    let mut found: Vec<Container> = Vec::new();
    for summary in summaries.iter().take(CONTAINERS_MAX) {
        let Some(name) = summary.name() else {
            gaps.push(format!("container {} has no name", summary.id));
            continue;
        };
        if name.contains(OURS) {
            continue;
        }
        let facts = match engine.container(&summary.id).await {
            Ok(facts) => facts,
            Err(error) if error.is_not_found() => continue,
            Err(error) => {
                gaps.push(format!("container {name}: {error}"));
                continue;
            }
        };
        if !counts(&facts) || named_by_id(&facts) {
            continue;
        }
        if !images.contains_key(&facts.image) {
            match engine.image(&facts.image).await {
                Ok(image) => images.insert(facts.image.clone(), image),
                Err(error) => {
                    gaps.push(format!("the image of container {name}: {error}"));
                    continue;
                }
            };
        }
        match judged(name, &facts, &images[&facts.image]) {
            Ok(Some(container)) => match found.iter().find(|other| other.package == container.package) {
                None => found.push(container),
                Some(other) => gaps.push(format!("containers {} and {name} say that they are the same service", other.name)),
            },
            Ok(None) => {}
            Err(gap) => gaps.push(gap),
        }
    }
    Ok(found)
}

/// A container that runs, or that the engine will start again by itself. What was run once and has ended is no installed package.
fn counts(facts: &ContainerFacts) -> bool {
    let state = &facts.state;
    let active = state.running || state.restarting || state.paused;
    let restarts = matches!(facts.host_config.restart_policy.name.as_str(), "always" | "unless-stopped" | "on-failure");
    let leaving = matches!(state.status.as_str(), "removing" | "dead");
    let once = facts.config.labels.get("com.docker.compose.oneoff").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    !leaving && (active || restarts && !once)
}

/// Whether the container was made from an image's id: nothing says which tag it should follow.
fn named_by_id(facts: &ContainerFacts) -> bool {
    const HEX_MIN: usize = 12;
    let bare = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
    let named = bare(&facts.config.image);
    facts.config.image.is_empty() || named.len() >= HEX_MIN && bare(&facts.image).starts_with(&named)
}

/// The container as a package; none when its image belongs to no registry.
pub(crate) fn judged(name: &str, facts: &ContainerFacts, image: &ImageFacts) -> Result<Option<Container>, String> {
    let reference = Reference::parse(&facts.config.image).map_err(|error| format!("container {name}: {error}"))?;
    // Podman's word for images that were built here.
    if *reference.repository.registry == *"localhost" {
        return Ok(None);
    }
    let mut digests = Vec::new();
    for digest in image.repo_digests.iter().filter_map(|text| Reference::parse(text).ok()) {
        if let Some(digest) = digest.digest.filter(|_| digest.repository == reference.repository)
            && !digests.contains(&digest)
        {
            digests.push(digest);
        }
    }
    if digests.is_empty() {
        let Some(pinned) = &reference.digest else { return Ok(None) };
        digests.push(pinned.clone());
    }
    let package = format!("{}@{}", reference.repository, service(name, facts));
    let package = PackageKey::parse(DOCKER, &package, None).map_err(|rejection| format!("container {name}: {}", rejection.message))?;
    let platform = Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() };
    let image = Arc::new(Image { digests, platform });
    Ok(Some(Container { package, name: name.to_owned(), reference, image, obstacle: obstacle(facts) }))
}

/// The name that stays when the container is recreated: `PROJECT/SERVICE` of compose, with the number of a further copy, or else
/// the container's own.
fn service(name: &str, facts: &ContainerFacts) -> String {
    let label = |word: &str| {
        let value = facts.config.labels.get(&format!("com.docker.compose.{word}")).map(String::as_str)?;
        let kept = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        kept.then_some(value)
    };
    let once = label("oneoff").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match (label("project"), label("service")) {
        (Some(project), Some(service)) if !once => match label("container-number") {
            None | Some("1") => format!("{project}/{service}"),
            Some(number) => format!("{project}/{service}/{number}"),
        },
        _ => name.to_owned(),
    }
}

/// What speaks against recreating a container, whatever the new image is.
fn obstacle(facts: &ContainerFacts) -> Option<String> {
    let label = |name: &str| facts.config.labels.get(name);
    if let Some(service) = label("com.docker.swarm.service.name") {
        return Some(format!("the swarm service {service} manages it"));
    }
    if label("io.kubernetes.pod.name").is_some() {
        return Some("Kubernetes manages it".into());
    }
    if let Some(unit) = label(SYSTEMD_UNIT) {
        return Some(format!("the systemd unit {unit} manages it"));
    }
    if facts.host_config.auto_remove {
        return Some("it is removed when it stops (--rm), so there would be no way back".into());
    }
    (!facts.state.running || facts.state.paused || facts.state.restarting).then(|| format!("it does not run ({})", facts.state.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ID: &str = "sha256:a369b54de8c241b707acaf85df8b8292c5a318640498f0fefbdde070bff48ecf";
    const HEX: &str = "dad3a9f37d7ae51eaf9776e96c73c3b8526e02b37a784fa968e4982e6d54464d";

    fn facts(change: Value) -> ContainerFacts {
        let mut facts = json!({
            "Id": "7f8171f21ac2cdef", "Name": "/web1", "Image": ID,
            "State": {"Status": "running", "Running": true},
            "Config": {"Image": "127.0.0.1:5555/lab/web:1.0", "Labels": null},
            "HostConfig": {"RestartPolicy": {"Name": "no"}, "NetworkMode": "default"}
        });
        merge(&mut facts, change);
        serde_json::from_value(facts).unwrap()
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (name, value) in from {
                    merge(into.entry(name).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    fn image(digests: &[&str]) -> ImageFacts {
        serde_json::from_value(json!({"Id": ID, "RepoDigests": digests, "Os": "linux", "Architecture": "amd64"})).unwrap()
    }

    fn package(change: Value) -> String {
        let digest = format!("127.0.0.1:5555/lab/web@sha256:{HEX}");
        judged("web1", &facts(change), &image(&[&digest])).unwrap().unwrap().package.name.to_string()
    }

    #[test]
    fn a_package_is_named_by_what_survives_recreating() {
        let compose = |words: &[(&str, &str)]| {
            let labels: serde_json::Map<_, _> =
                words.iter().map(|(word, value)| (format!("com.docker.compose.{word}"), json!(value))).collect();
            package(json!({"Config": {"Labels": labels}}))
        };
        assert_eq!(package(json!({})), "127.0.0.1:5555/lab/web@web1");
        assert_eq!(compose(&[("project", "shop"), ("service", "web"), ("container-number", "1")]), "127.0.0.1:5555/lab/web@shop/web");
        assert_eq!(compose(&[("project", "shop"), ("service", "web"), ("container-number", "2")]), "127.0.0.1:5555/lab/web@shop/web/2");
        assert_eq!(compose(&[("project", "shop"), ("service", "web"), ("oneoff", "True")]), "127.0.0.1:5555/lab/web@web1");
        assert_eq!(compose(&[("project", "a b"), ("service", "web")]), "127.0.0.1:5555/lab/web@web1");
    }

    #[test]
    fn digests_of_other_repositories_do_not_count() {
        let other = format!("127.0.0.1:5555/lab/other@sha256:{}", "b".repeat(64));
        let own = format!("127.0.0.1:5555/lab/web@sha256:{HEX}");
        let container = judged("web1", &facts(json!({})), &image(&[&other, "<none>@<none>", &own])).unwrap().unwrap();
        assert_eq!(container.version().to_string(), format!("1.0@sha256:{HEX}"));
        assert!(judged("web1", &facts(json!({})), &image(&[&other])).unwrap().is_none(), "it was built here");
        let hub = facts(json!({"Config": {"Image": "nginx"}}));
        let hub = judged("web1", &hub, &image(&[&format!("nginx@sha256:{HEX}")])).unwrap().unwrap();
        assert_eq!(
            (hub.package.name.as_str(), hub.version().to_string()),
            ("docker.io/library/nginx@web1", format!("latest@sha256:{HEX}"))
        );
    }

    #[test]
    fn a_pinned_container_has_a_version_and_follows_nothing() {
        let pinned = facts(json!({"Config": {"Image": format!("127.0.0.1:5555/lab/web@sha256:{HEX}")}}));
        let container = judged("web1", &pinned, &image(&[])).unwrap().unwrap();
        assert_eq!((container.version().to_string(), container.followed_tag()), (format!("sha256:{HEX}"), None));
        assert!(named_by_id(&facts(json!({"Config": {"Image": ID}}))) && named_by_id(&facts(json!({"Config": {"Image": "a369b54de8c2"}}))));
        assert!(!named_by_id(&facts(json!({"Config": {"Image": "a369b54de8c3"}}))));
    }

    #[test]
    fn what_has_ended_for_good_is_not_installed() {
        let ended = |policy: &str, labels: Value| {
            facts(
                json!({"State": {"Status": "exited", "Running": false}, "HostConfig": {"RestartPolicy": {"Name": policy}}, "Config": {"Labels": labels}}),
            )
        };
        assert!(counts(&facts(json!({}))));
        assert!(!counts(&ended("no", json!({}))) && !counts(&ended("", json!({}))));
        assert!(counts(&ended("always", json!({}))) && counts(&ended("unless-stopped", json!({}))));
        assert!(!counts(&ended("always", json!({"com.docker.compose.oneoff": "True"}))));
        assert!(obstacle(&ended("always", json!({}))).unwrap().contains("does not run (exited)"));
    }

    #[test]
    fn containers_that_others_manage_are_left_to_them() {
        assert_eq!(obstacle(&facts(json!({}))), None);
        assert!(obstacle(&facts(json!({"HostConfig": {"AutoRemove": true}}))).unwrap().contains("--rm"));
        for label in ["com.docker.swarm.service.name", "io.kubernetes.pod.name", SYSTEMD_UNIT] {
            assert!(obstacle(&facts(json!({"Config": {"Labels": {label: "x"}}}))).unwrap().contains("manages it"), "{label}");
        }
    }

    #[test]
    fn a_reference_that_cannot_be_used_is_named() {
        let forged = facts(json!({"Config": {"Image": "169.254.169.254/latest"}}));
        assert_eq!(judged("web1", &forged, &image(&[])).unwrap_err(), "container web1: 169.254.169.254 is no address of a registry");
    }
}
