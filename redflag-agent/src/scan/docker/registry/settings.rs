//! What this host says about registries: certificates, credentials, and which may be asked without TLS.
//!
//! The engine's own files are read, so that a registry that works for the engine works for us and nothing is configured twice:
//! `certs.d/HOST[:PORT]/*.crt` of Docker and Podman, `config.json` of `docker login`, `auth.json` of `podman login`, and
//! `insecure-registries` of the daemon. A registry that one of them names may be inside a network; any other is asked at public
//! addresses only.

use super::super::{
    credentials::{self, Credentials, SettingsError, read, unusable},
    reference,
};
use serde::Deserialize;
use std::{io, path::PathBuf, time::Duration};

/// Where the facts about registries are, and how long an answer of a registry stays fresh.
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Directories that hold one directory a registry, named `HOST` or `HOST:PORT`, with certificates of its authorities. A registry
    /// that has one, empty or not, may be inside a network; so may one that `credentials` or `daemon` name.
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

    /// Files of one directory, for tests.
    #[cfg(test)]
    pub(super) fn within(directory: &std::path::Path) -> Self {
        Self {
            certificates: vec![directory.join("certs.d")],
            credentials: vec![directory.join("config.json")],
            daemon: Some(directory.join("daemon.json")),
            fresh: Duration::ZERO,
        }
    }

    /// Certificates of the authorities that vouch for `registry` besides the system's, in PEM.
    pub(super) fn authorities(&self, registry: &str) -> Result<Vec<Vec<u8>>, SettingsError> {
        let mut found = Vec::new();
        for directory in &self.certificates {
            let directory = directory.join(registry);
            let unreadable = |source: io::Error| unusable(&directory, source);
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

    /// Whether `registry` may be asked without TLS: the daemon's configuration says so, or it is on this host, as for the engine.
    pub(super) fn insecure(&self, registry: &str) -> Result<bool, SettingsError> {
        Ok(reference::is_loopback(registry) || self.listed_as_insecure(registry)?)
    }

    fn listed_as_insecure(&self, registry: &str) -> Result<bool, SettingsError> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "kebab-case", default)]
        struct Daemon {
            insecure_registries: Vec<String>,
        }
        let Some(path) = &self.daemon else { return Ok(false) };
        let Some(bytes) = read(path)? else { return Ok(false) };
        let daemon: Daemon = serde_json::from_slice(&bytes).map_err(|error| unusable(path, error))?;
        Ok(daemon.insecure_registries.iter().any(|name| name == registry))
    }

    /// Whether this host names `registry`, `HOST` or `HOST:PORT`, and it may therefore be inside a network: it has a directory of
    /// certificates, which may be empty, it is listed as insecure, or somebody logged in to it.
    pub(super) fn names(&self, registry: &str) -> Result<bool, SettingsError> {
        // Anything else could be another path.
        if !reference::host_and_port(registry) {
            return Ok(false);
        }
        let directory = self.certificates.iter().any(|directory| directory.join(registry).is_dir());
        let login = || credentials::credentials(&self.credentials, registry).map(|known| matches!(known, Credentials::Login(_)));
        Ok(directory || self.listed_as_insecure(registry)? || login()?)
    }

    /// What to do so that `registry` is named, for people.
    pub(super) fn how_to_name(&self, registry: &str) -> String {
        let directory = self.certificates.first().map_or_else(|| "certs.d".into(), |directory| directory.join(registry));
        format!("create the directory {} (it may stay empty), or log in to it", directory.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn tls_is_left_out_only_where_the_host_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let settings = RegistrySettings::within(directory.path());
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
        let settings = RegistrySettings::within(directory.path());
        assert_eq!(settings.authorities("registry.example:5000").unwrap(), [b"two".to_vec(), b"one".to_vec()]);
        assert!(settings.authorities("registry.example").unwrap().is_empty());
    }

    #[test]
    fn a_registry_is_named_by_its_directory_its_entry_or_its_login() {
        let directory = tempfile::tempdir().unwrap();
        let settings = RegistrySettings::within(directory.path());
        let names = |registry: &str| settings.names(registry).unwrap();
        let registries =
            ["by.directory:5000", "by.entry:5000", "by.login:5000", "by.helper:5000", "localhost:5000", "..", ".", "", "../certs.d"];
        assert!(!registries.iter().any(|registry| names(registry)));
        fs::create_dir_all(directory.path().join("certs.d/by.directory:5000")).unwrap();
        fs::write(directory.path().join("daemon.json"), r#"{"insecure-registries":["by.entry:5000"]}"#).unwrap();
        let logins = r#"{"auths":{"by.login:5000":{"auth":"YTpi"}},"credsStore":"x","credHelpers":{"by.helper:5000":"x"}}"#;
        fs::write(directory.path().join("config.json"), logins).unwrap();
        let named: Vec<_> = registries.into_iter().filter(|registry| names(registry)).collect();
        assert_eq!(named, ["by.directory:5000", "by.entry:5000", "by.login:5000"]);
        assert!(!names("by.directory") && !names("by.entry:5001"), "a port is part of the name");
    }
}
