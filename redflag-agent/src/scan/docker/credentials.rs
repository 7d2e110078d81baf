//! What `docker login` and `podman login` left on this host, and the reading of such files.

use super::reference::DOCKER_HUB;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Most bytes of a file that is read here.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How `docker login` calls Docker Hub.
const DOCKER_HUB_LOGIN: &str = "https://index.docker.io/v1/";

/// A file of this host that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading {}: {message}", path.display())]
pub(crate) struct SettingsError {
    pub path: PathBuf,
    pub message: String,
}

/// What is known of `registry` in `files`, which have the form of docker's `config.json`; the first that knows it counts.
///
/// # Errors
/// When a file is there and cannot be read as one.
pub(crate) fn credentials(files: &[PathBuf], registry: &str) -> Result<Credentials, SettingsError> {
    let mut found = Credentials::None;
    for path in files {
        let Some(bytes) = read(path)? else { continue };
        match in_file(&bytes, registry).map_err(|message| unusable(path, message))? {
            Credentials::None => {}
            Credentials::Helper => found = Credentials::Helper,
            login @ Credentials::Login(_) => return Ok(login),
        }
    }
    Ok(found)
}

/// What the bytes of one such file say.
pub(super) fn in_file(bytes: &[u8], registry: &str) -> Result<Credentials, String> {
    let file: CredentialFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let names = if registry == DOCKER_HUB { vec![DOCKER_HUB_LOGIN, DOCKER_HUB, "index.docker.io"] } else { vec![registry] };
    let login = file.auths.iter().find(|(name, _)| names.iter().any(|known| *name == known || host_of(name) == *known));
    if let Some(login) = login.and_then(|(_, login)| login.auth.as_deref()).filter(|login| !login.is_empty()) {
        return Login::decode(login).map(Credentials::Login).ok_or_else(|| "a login is not NAME:PASSWORD in base64".into());
    }
    let helper = file.creds_store.is_some() || names.iter().any(|name| file.cred_helpers.contains_key(*name));
    Ok(if helper { Credentials::Helper } else { Credentials::None })
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

pub(super) fn unusable(path: &Path, error: impl std::fmt::Display) -> SettingsError {
    SettingsError { path: path.to_owned(), message: error.to_string() }
}

/// A file's bytes; none where it is not there or not for us to read.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, SettingsError> {
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

    #[test]
    fn logins_are_found_by_host_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let files = [directory.path().join("config.json")];
        let credentials = |registry: &str| credentials(&files, registry);
        assert_eq!(credentials("registry.example:5000").unwrap(), Credentials::None);
        let encoded = BASE64_STANDARD.encode("anna:s3cr:t\0");
        let file = format!(
            r#"{{"auths":{{"https://registry.example:5000/v2/":{{"auth":"{encoded}"}},"https://index.docker.io/v1/":{{"auth":"{encoded}"}},"empty":{{}}}},"credHelpers":{{"gcr.io":"x"}},"other":1}}"#
        );
        fs::write(directory.path().join("config.json"), file).unwrap();
        let login = Login { name: "anna".into(), password: "s3cr:t".into() };
        assert!(!format!("{login:?}").contains("s3cr"), "{login:?}");
        assert_eq!(credentials("registry.example:5000").unwrap(), Credentials::Login(login.clone()));
        assert_eq!(credentials(DOCKER_HUB).unwrap(), Credentials::Login(login));
        assert_eq!(credentials("registry.example").unwrap(), Credentials::None);
        assert_eq!(credentials("gcr.io").unwrap(), Credentials::Helper);
        fs::write(directory.path().join("config.json"), r#"{"auths":{"a.b":{"auth":"%"}}}"#).unwrap();
        assert!(matches!(credentials("a.b"), Err(SettingsError { .. })));
        fs::write(directory.path().join("config.json"), "{").unwrap();
        assert!(matches!(credentials("a.b"), Err(SettingsError { .. })));
    }
}
