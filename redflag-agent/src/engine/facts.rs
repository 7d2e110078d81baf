//! What a scan reads of a container engine, and nothing else.
//!
//! Environment, commands, mounts and foreign labels may hold secrets: they have no field here. The engine's answers are read into
//! these types, and [`super::view`] writes them out again: what an unprivileged reader can see is exactly what it needs.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Labels that say who manages a container; every other label is dropped.
const LABELS_KEPT: [&str; 6] = [
    "com.docker.compose.project",
    "com.docker.compose.service",
    "com.docker.compose.container-number",
    "com.docker.compose.oneoff",
    "com.docker.swarm.service.name",
    "io.kubernetes.pod.name",
];
/// Podman's own label on containers that a systemd unit starts.
pub(crate) const SYSTEMD_UNIT: &str = "PODMAN_SYSTEMD_UNIT";

/// `GET /version`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VersionFacts {
    pub version: String,
    pub api_version: String,
    #[serde(rename = "MinAPIVersion", default, skip_serializing_if = "Option::is_none")]
    pub api_version_min: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub components: Vec<Component>,
}

/// One part of an engine; Podman is known by the name of one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Component {
    pub name: String,
}

/// One line of `GET /containers/json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerSummary {
    pub id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub names: Vec<String>,
    #[serde(default)]
    pub state: String,
}

impl ContainerSummary {
    /// Its own name: the one without a further slash, which legacy links add.
    pub(crate) fn name(&self) -> Option<&str> {
        let mut names = self.names.iter().filter_map(|name| name.strip_prefix('/').or(Some(name)));
        names.find(|name| !name.is_empty() && !name.contains('/'))
    }
}

/// `GET /containers/{name}/json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerFacts {
    pub id: String,
    pub name: String,
    /// The id of the image it runs, whatever its tag points to by now.
    pub image: String,
    pub state: State,
    pub config: ContainerConfig,
    pub host_config: HostConfig,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub status: String,
    #[serde(default)]
    pub running: bool,
    #[serde(default)]
    pub restarting: bool,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub exit_code: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Health {
    #[serde(default)]
    pub status: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ContainerConfig {
    /// The image as it was named when the container was created.
    #[serde(default)]
    pub image: String,
    #[serde(default, deserialize_with = "labels_kept")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HostConfig {
    #[serde(deserialize_with = "null_is_default")]
    pub restart_policy: RestartPolicy,
    pub auto_remove: bool,
    pub network_mode: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RestartPolicy {
    pub name: String,
}

/// `GET /images/{id}/json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageFacts {
    pub id: String,
    /// `REPOSITORY@sha256:…` for every repository it was pulled from or pushed to.
    #[serde(default, deserialize_with = "null_is_default")]
    pub repo_digests: Vec<String>,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: String,
}

/// `GET /libpod/images/{id}/json`: Podman forgets the digests of an image whose tag has moved everywhere but here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PodmanImageFacts {
    pub id: String,
    #[serde(default)]
    pub digest: String,
    /// The references it was known by.
    #[serde(default, deserialize_with = "null_is_default")]
    pub names_history: Vec<String>,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn labels_kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut labels: BTreeMap<String, String> = null_is_default(deserializer)?;
    labels.retain(|name, _| name == SYSTEMD_UNIT || LABELS_KEPT.contains(&name.as_str()));
    Ok(labels)
}
