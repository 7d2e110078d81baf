//! What this host says about registries: certificates, credentials, and which may be asked without TLS.
//!
//! The engine's own files are read, so that a registry that works for the engine works for us and nothing is configured twice:
//! `certs.d/HOST[:PORT]/*.crt` of Docker and Podman, `config.json` of `docker login`, `auth.json` of `podman login`, and
//! `insecure-registries` of the daemon.

use super::{
    super::reference::{self, DOCKER_HUB},
    RegistryError,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Most bytes of a file that is read here.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How `docker login` calls Docker Hub.
const DOCKER_HUB_LOGIN: &str = "https://index.docker.io/v1/";

/// Where the facts about registries are, and how long an answer of a registry stays fresh.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Directories that hold one directory a registry, named `HOST` or `HOST:PORT`, with certificates of its authorities.
    pub certificates: Vec<PathBuf>,
    /// Files with credentials, in the form of docker's `config.json`; the first that knows a registry counts.
    pub credentials: Vec<PathBuf>,
    /// The daemon's configuration, whose `insecure-registries` are asked without TLS where they have none.
    pub daemon: Option<PathBuf>,
    /// How long the answer about a reference is used again instead of asking; the registry is asked with `ETag` afterwards.
    pub fresh: Duration,
}

impl RegistrySettings {
    /// The usual files of this host and of this user.
    #[must_use]
    pub fn of_host() -> Self {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let docker =
            variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker"))).map(|directory| directory.join("config.json"));
        let podman = variable("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
        Self {
            certificates: ["/etc/docker/certs.d", "/etc/containers/certs.d"].map(PathBuf::from).into(),
            credentials: docker.into_iter().chain(podman).collect(),
            daemon: Some("/etc/docker/daemon.json".into()),
            fresh: Duration::from_secs(300),
        }
    }

    /// The usual files of the root user, whatever its environment says.
    #[must_use]
    pub fn of_root() -> Self {
        let credentials = ["/root/.docker/config.json", "/run/containers/0/auth.json", "/root/.config/containers/auth.json"];
        Self { credentials: credentials.map(PathBuf::from).into(), ..Self::of_host() }
    }

    /// Certificates of the authorities that vouch for `registry` besides the system's, in PEM.
    pub(super) fn authorities(&self, registry: &str) -> Result<Vec<Vec<u8>>, RegistryError> {
        let mut found = Vec::new();
        for directory in &self.certificates {
            let directory = directory.join(registry);
            let unreadable = |source| RegistryError::Settings { path: directory.clone(), message: format!("{source}") };
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(error)),
            };
            let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
            files.retain(|file| file.extension().is_some_and(|extension| extension == "crt"));
            files.sort_unstable();
            for file in files {
                found.extend(read(&file)?);
            }
        }
        Ok(found)
    }

    /// What `docker login` or `podman login` left for `registry`.
    pub(crate) fn credentials(&self, registry: &str) -> Result<Credentials, RegistryError> {
        let mut helper = false;
        for path in &self.credentials {
            let Some(bytes) = read(path)? else { continue };
            let file: CredentialFile = serde_json::from_slice(&bytes).map_err(|error| unusable(path, error))?;
            let names = if registry == DOCKER_HUB { vec![DOCKER_HUB_LOGIN, DOCKER_HUB, "index.docker.io"] } else { vec![registry] };
            let login = file.auths.iter().find(|(name, _)| names.iter().any(|known| *name == known || host_of(name) == *known));
            if let Some(login) = login.and_then(|(_, login)| login.auth.as_deref()).filter(|login| !login.is_empty()) {
                return Login::decode(login)
                    .map(Credentials::Login)
                    .ok_or_else(|| unusable(path, "a login is not NAME:PASSWORD in base64"));
            }
            helper |= file.creds_store.is_some() || names.iter().any(|name| file.cred_helpers.contains_key(*name));
        }
        Ok(if helper { Credentials::Helper } else { Credentials::None })
    }

    /// Whether `registry` may be asked without TLS: the daemon's configuration says so, or it is on this host, as for the engine.
    pub(super) fn insecure(&self, registry: &str) -> Result<bool, RegistryError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "kebab-case", default)]
        struct Daemon {
            insecure_registries: Vec<String>,
        }
        if reference::is_loopback(registry) {
            return Ok(true);
        }
        let Some(path) = &self.daemon else { return Ok(false) };
        let Some(bytes) = read(path)? else { return Ok(false) };
        let daemon: Daemon = serde_json::from_slice(&bytes).map_err(|error| unusable(path, error))?;
        Ok(daemon.insecure_registries.iter().any(|name| name == registry))
    }
}

/// What is known of this host's account with a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    Login(Login),
    /// A helper program keeps them, which is not asked.
    Helper,
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub name: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Login {
    fn decode(text: &str) -> Option<Self> {
        let decoded = String::from_utf8(BASE64_STANDARD.decode(text.trim()).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        // Docker pads a password with NUL.
        Some(Self { name: name.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CredentialFile {
    auths: BTreeMap<String, CredentialEntry>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct CredentialEntry {
    auth: Option<String>,
}

/// The host of an entry, which may be written as a URL.
fn host_of(entry: &str) -> &str {
    let bare = entry.strip_prefix("https://").or_else(|| entry.strip_prefix("http://")).unwrap_or(entry);
    bare.split('/').next().unwrap_or(bare)
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> RegistryError {
    RegistryError::Settings { path: path.to_owned(), message: error.to_string() }
}

/// A file's bytes; none where it is not there or not for us to read.
fn read(path: &Path) -> Result<Option<Vec<u8>>, RegistryError> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => Err(unusable(path, format!("longer than {FILE_BYTES_MAX} bytes"))),
        Ok(_) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(unusable(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings(directory: &Path) -> RegistrySettings {
        RegistrySettings {
            certificates: vec![directory.join("certs.d")],
            credentials: vec![directory.join("config.json")],
            daemon: Some(directory.join("daemon.json")),
            fresh: Duration::ZERO,
        }
    }

    #[test]
    fn logins_are_found_by_host_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        assert_eq!(settings.credentials("registry.example:5000").unwrap(), Credentials::None);
        let encoded = BASE64_STANDARD.encode("anna:s3cr:t\0");
        let file = format!(
            r#"{{"auths":{{"https://registry.example:5000/v2/":{{"auth":"{encoded}"}},"https://index.docker.io/v1/":{{"auth":"{encoded}"}},"empty":{{}}}},"credHelpers":{{"gcr.io":"x"}},"other":1}}"#
        );
        fs::write(directory.path().join("config.json"), file).unwrap();
        let login = Login { name: "anna".into(), password: "s3cr:t".into() };
        assert!(!format!("{login:?}").contains("s3cr"), "{login:?}");
        assert_eq!(settings.credentials("registry.example:5000").unwrap(), Credentials::Login(login.clone()));
        assert_eq!(settings.credentials(DOCKER_HUB).unwrap(), Credentials::Login(login));
        assert_eq!(settings.credentials("registry.example").unwrap(), Credentials::None);
        assert_eq!(settings.credentials("gcr.io").unwrap(), Credentials::Helper);
        fs::write(directory.path().join("config.json"), r#"{"auths":{"a.b":{"auth":"%"}}}"#).unwrap();
        assert!(matches!(settings.credentials("a.b"), Err(RegistryError::Settings { .. })));
        fs::write(directory.path().join("config.json"), "{").unwrap();
        assert!(matches!(settings.credentials("a.b"), Err(RegistryError::Settings { .. })));
    }

    #[test]
    fn tls_is_left_out_only_where_the_host_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        assert!(
            settings.insecure("127.0.0.1:5000").unwrap()
                && settings.insecure("localhost:5000").unwrap()
                && settings.insecure("[::1]:5000").unwrap()
        );
        assert!(!settings.insecure("registry.example:5000").unwrap());
        fs::write(directory.path().join("daemon.json"), r#"{"insecure-registries":["registry.example:5000"],"debug":true}"#).unwrap();
        assert!(settings.insecure("registry.example:5000").unwrap());
        assert!(!settings.insecure("registry.example").unwrap());
        assert!(!settings.insecure("localhost.example").unwrap());
    }

    #[test]
    fn authorities_are_those_of_the_registrys_own_directory() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = directory.path().join("certs.d/registry.example:5000");
        fs::create_dir_all(&certificates).unwrap();
        for (name, text) in [("ca.crt", "one"), ("b.crt", "two"), ("client.key", "no")] {
            fs::write(certificates.join(name), text).unwrap();
        }
        let settings = settings(directory.path());
        assert_eq!(settings.authorities("registry.example:5000").unwrap(), [b"two".to_vec(), b"one".to_vec()]);
        assert!(settings.authorities("registry.example").unwrap().is_empty());
    }
}
