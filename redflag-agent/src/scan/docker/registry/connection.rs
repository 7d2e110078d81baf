//! One registry over HTTP: where it is, how it wants to be authenticated with, and limits on everything it says.

use super::{
    super::{
        credentials::{self, Credentials, Login},
        reference::{DOCKER_HUB, Repository, host_allowed},
    },
    Memory, RegistryError,
    challenge::{Challenge, realm_allowed},
    destination::{DOCKER_HUB_HOST, DestinationError, Destinations, Lookup},
    lock,
    redirect::{self, REDIRECTS_MAX},
    settings::RegistrySettings,
};
use crate::{error::with_causes, server::retry_after};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::OnceCell;

/// Most bytes of a token service's answer.
const TOKEN_BYTES_MAX: usize = 256 * 1024;
/// How long a registry is left alone that has enough of us and does not say for how long.
const PAUSE_DEFAULT: Duration = Duration::from_secs(600);

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A registry for the length of one scan or plan.
#[derive(Debug)]
pub(super) struct Connection {
    registry: Arc<str>,
    destinations: Destinations,
    credentials: Credentials,
    insecure: bool,
    base: OnceCell<Url>,
    /// What to send with requests about a repository.
    authorizations: Mutex<HashMap<Arc<str>, HeaderValue>>,
    /// Why there is no use in asking again.
    given_up: Mutex<Option<RegistryError>>,
    memory: Arc<Memory>,
}

impl Connection {
    /// Prepares to ask `registry`; nothing is sent yet.
    pub(super) fn new(
        registry: &Arc<str>,
        settings: &RegistrySettings,
        memory: Arc<Memory>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, RegistryError> {
        let mut authorities = Vec::new();
        for pem in settings.authorities(registry)? {
            authorities.extend(reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| RegistryError::Answer {
                registry: registry.clone(),
                reason: format!("its certificate authority cannot be read: {}", with_causes(&error)),
            })?);
        }
        Ok(Self {
            registry: registry.clone(),
            destinations: Destinations::new(registry.clone(), settings.clone(), authorities, lookup),
            credentials: credentials::credentials(&settings.credentials, registry)?,
            insecure: settings.insecure(registry)?,
            base: OnceCell::new(),
            authorizations: Mutex::default(),
            given_up: Mutex::default(),
            memory,
        })
    }

    /// Asks about a repository; `path` comes after `/v2/REPOSITORY/` and may hold a query. The status may be any that says
    /// something about the thing asked for (2xx, 304, 404, 405, 501).
    pub(super) async fn ask(
        &self,
        method: Method,
        repository: &Repository,
        path: &str,
        headers: HeaderMap,
        bytes_max: usize,
    ) -> Result<Answer, RegistryError> {
        let given_up = lock(&self.given_up).clone();
        if let Some(error) = given_up.or_else(|| self.memory.paused(&self.registry)) {
            return Err(error);
        }
        let asked = self.ask_anyway(method, repository, path, headers, bytes_max).await;
        match &asked {
            // Every further request would wait for the same time-out, or be refused for the same reason.
            Err(error @ (RegistryError::Unreachable { .. } | RegistryError::NotAllowed { .. })) => {
                *lock(&self.given_up) = Some(error.clone())
            }
            Err(RegistryError::RateLimited { pause, .. }) => self.memory.pause(&self.registry, *pause),
            _ => {}
        }
        asked
    }

    async fn ask_anyway(
        &self,
        method: Method,
        repository: &Repository,
        path: &str,
        headers: HeaderMap,
        bytes_max: usize,
    ) -> Result<Answer, RegistryError> {
        let base = self.base.get_or_try_init(|| self.find_base()).await?;
        let url = base.join(&format!("/v2/{}/{path}", repository.path)).map_err(|error| self.answer(error.to_string()))?;
        let known = lock(&self.authorizations).get(&repository.path).cloned();
        let mut response = self.send(&method, url.clone(), authorized(&headers, known.as_ref())).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let authorization = self.authorize(base, repository, response.headers()).await?;
            response = self.send(&method, url, authorized(&headers, Some(&authorization))).await?;
            lock(&self.authorizations).insert(repository.path.clone(), authorization);
        }
        self.judge(&response)?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, body: self.read(response, bytes_max).await? })
    }

    /// Where the registry is: over TLS, or where the host's settings let it be insecure, without if it speaks none.
    async fn find_base(&self) -> Result<Url, RegistryError> {
        if !host_allowed(&self.registry) {
            return Err(RegistryError::HostNotAllowed { host: self.registry.to_string() });
        }
        let host = if *self.registry == *DOCKER_HUB { DOCKER_HUB_HOST } else { &self.registry };
        let url = |scheme: &str| format!("{scheme}://{host}/").parse::<Url>().map_err(|error| self.answer(error.to_string()));
        let encrypted = url("https")?;
        if !self.insecure {
            return Ok(encrypted);
        }
        let client = self.destinations.client(&encrypted).await.map_err(|error| self.not_asked(error))?;
        let probe = client.get(encrypted.join("/v2/").map_err(|error| self.answer(error.to_string()))?).send().await;
        if probe.is_err_and(|error| error.is_connect()) { url("http") } else { Ok(encrypted) }
    }

    /// Meets the demand of a 401 answer.
    async fn authorize(&self, base: &Url, repository: &Repository, headers: &HeaderMap) -> Result<HeaderValue, RegistryError> {
        let refused = |reason: &str| RegistryError::Unauthorized { registry: self.registry.clone(), reason: reason.to_owned() };
        let login = match &self.credentials {
            Credentials::Login(login) => Some(login),
            Credentials::None | Credentials::Helper => None,
        };
        match Challenge::of(headers).ok_or_else(|| refused("it demands an authentication we do not know"))? {
            Challenge::Basic => {
                let login = login.ok_or_else(|| refused(self.without_login()))?;
                basic(login).ok_or_else(|| refused("the login cannot be sent"))
            }
            Challenge::Bearer { realm, service, scope } => {
                let mut realm: Url = realm.parse().map_err(|_| refused("the address of its token service cannot be read"))?;
                if !realm_allowed(base, &realm) {
                    let host = realm.host_str().unwrap_or_default();
                    return Err(refused(&format!("it sends us to a token service elsewhere ({host})")));
                }
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", repository.path));
                realm.query_pairs_mut().append_pair("scope", &scope);
                if let Some(service) = service {
                    realm.query_pairs_mut().append_pair("service", &service);
                }
                let login = login.map(|login| basic(login).ok_or_else(|| refused("the login cannot be sent"))).transpose()?;
                if let Err(error) = self.destinations.client(&realm).await {
                    return Err(refused(&format!("its token service is not asked: {error}")));
                }
                self.token(realm, login.as_ref()).await
            }
        }
    }

    async fn token(&self, realm: Url, login: Option<&HeaderValue>) -> Result<HeaderValue, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let response = self.send(&Method::GET, realm, authorized(&HeaderMap::new(), login)).await?;
        self.judge(&response)?;
        if !response.status().is_success() {
            return Err(self.answer(format!("its token service answered {}", response.status())));
        }
        let body = self.read(response, TOKEN_BYTES_MAX).await?;
        let token: Token = serde_json::from_slice(&body).map_err(|_| self.answer("its token service's answer cannot be read"))?;
        let token = token.token.filter(|token| !token.is_empty()).or(token.access_token).unwrap_or_default();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| self.answer("its token cannot be sent"))?;
        if token.is_empty() { Err(self.answer("its token service gave no token")) } else { Ok(value) }
    }

    /// Sends a request and follows a few redirects: every hop is judged, and credentials stay where they belong.
    async fn send(&self, method: &Method, mut url: Url, mut headers: HeaderMap) -> Result<Response, RegistryError> {
        let not_followed = |reason: String| self.answer(format!("its redirect is not followed: {reason}"));
        let mut client = self.destinations.client(&url).await.map_err(|error| self.not_asked(error))?;
        for _ in 0..=REDIRECTS_MAX {
            let request = client.request(method.clone(), url.clone()).headers(headers.clone());
            let response = request.send().await.map_err(|error| self.unreachable(&error))?;
            let next = redirect::next(&url, response.status(), response.headers()).map_err(|reason| not_followed(reason.to_owned()))?;
            let Some(next) = next else { return Ok(response) };
            if !redirect::keeps_credentials(&url, &next) {
                headers.remove(AUTHORIZATION);
            }
            client = self.destinations.client(&next).await.map_err(|error| not_followed(error.to_string()))?;
            url = next;
        }
        Err(not_followed(format!("it is the one after {REDIRECTS_MAX}")))
    }

    /// Tells the answers that say nothing about the thing asked for.
    fn judge(&self, response: &Response) -> Result<(), RegistryError> {
        let registry = || self.registry.clone();
        match response.status() {
            StatusCode::TOO_MANY_REQUESTS => {
                Err(RegistryError::RateLimited { registry: registry(), pause: retry_after(response.headers()).unwrap_or(PAUSE_DEFAULT) })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RegistryError::Unauthorized { registry: registry(), reason: self.without_login().into() })
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_MODIFIED | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(RegistryError::Status { registry: registry(), status: status.as_u16() }),
        }
    }

    async fn read(&self, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(self.answer(format!("its answer is longer than {bytes_max} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What stands in the way when it does not let us in.
    const fn without_login(&self) -> &'static str {
        match &self.credentials {
            Credentials::None => "there is no login for it, or the repository does not exist",
            Credentials::Login(_) => "the login is not accepted for it",
            Credentials::Helper => "the login is kept by a credential helper, which is not asked",
        }
    }

    fn not_asked(&self, error: DestinationError) -> RegistryError {
        let registry = self.registry.clone();
        match error {
            DestinationError::Settings(error) => error.into(),
            DestinationError::NotAllowed { .. } => RegistryError::NotAllowed { registry, reason: error.to_string() },
            DestinationError::Unresolved { .. } | DestinationError::Client(_) => {
                RegistryError::Unreachable { registry, reason: error.to_string() }
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry.clone(), reason: with_causes(error) }
    }

    pub(super) fn answer(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Answer { registry: self.registry.clone(), reason: reason.into() }
    }
}

fn authorized(headers: &HeaderMap, authorization: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = headers.clone();
    if let Some(value) = authorization {
        headers.insert(AUTHORIZATION, value.clone());
    }
    headers
}

/// A login as HTTP sends it (RFC 7617).
fn basic(login: &Login) -> Option<HeaderValue> {
    let encoded = BASE64_STANDARD.encode(format!("{}:{}", login.name, login.password));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::reference::{ImageDigest, Reference},
            Registries,
            stand_ins::{Answers, Server},
        },
        *,
    };
    use std::{fs, path::Path};

    const DIGEST: &str = "sha256:dad3a9f37d7ae51eaf9776e96c73c3b8526e02b37a784fa968e4982e6d54464d";
    const TYPE: &str = "Content-Type: application/vnd.oci.image.index.v1+json";

    fn says_digest() -> String {
        format!("200 OK\r\n{TYPE}\r\nDocker-Content-Digest: {DIGEST}")
    }

    async fn digest(directory: &Path, answers: &Arc<Answers>, image: &str) -> Result<ImageDigest, String> {
        let registries = Registries { lookup: answers.clone(), ..Registries::new(RegistrySettings::within(directory), Arc::default()) };
        let reference = Reference::parse(image).map_err(|error| error.to_string())?;
        registries.digest(&reference.repository, "latest").await.map_err(|error| error.to_string())
    }

    fn insecure(directory: &Path, registries: &[String]) {
        fs::write(directory.join("daemon.json"), serde_json::json!({ "insecure-registries": registries }).to_string()).unwrap();
    }

    #[tokio::test]
    async fn a_registry_inside_is_asked_once_this_host_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::at("127.0.0.1:0").await;
        server.answers(&says_digest());
        let answers = Answers::new([("registry.lab", vec![vec!["127.0.0.1"]])]);
        let registry = format!("registry.lab:{}", server.address.port());
        let image = format!("{registry}/lab/web");
        let refused = digest(directory.path(), &answers, &image).await.unwrap_err();
        for words in [&*format!("{registry} is not asked"), "127.0.0.1", "this host itself", &format!("certs.d/{registry}")] {
            assert!(refused.contains(words), "{words}: {refused}");
        }
        assert!(server.heads().is_empty());
        insecure(directory.path(), &[registry]);
        assert_eq!(digest(directory.path(), &answers, &image).await.unwrap().as_str(), DIGEST);
        // A registry that is written as this host is this host's.
        let image = format!("{}/lab/web", server.address);
        fs::remove_file(directory.path().join("daemon.json")).unwrap();
        assert_eq!(digest(directory.path(), &answers, &image).await.unwrap().as_str(), DIGEST);
    }

    #[tokio::test]
    async fn a_name_that_changes_its_place_leads_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let first = Server::at("127.0.0.1:0").await;
        let port = first.address.port();
        let second = Server::at(&format!("127.0.0.2:{port}")).await;
        for server in [&first, &second] {
            server.answers(&says_digest());
        }
        let answers = Answers::new([("registry.lab", vec![vec!["127.0.0.1"], vec!["127.0.0.2"]])]);
        let registry = format!("registry.lab:{port}");
        insecure(directory.path(), std::slice::from_ref(&registry));
        let settings = RegistrySettings::within(directory.path());
        let registries = Registries { lookup: answers.clone(), ..Registries::new(settings, Arc::default()) };
        let repository = Reference::parse(&format!("{registry}/lab/web")).unwrap().repository;
        // Every answer closes its connection: each request makes a new one.
        for tag in ["1", "2", "3"] {
            registries.digest(&repository, tag).await.unwrap();
        }
        assert_eq!(first.heads().iter().filter(|head| head.starts_with("HEAD ")).count(), 3);
        assert_eq!((second.heads(), answers.asked()), (vec![], vec!["registry.lab".to_owned()]));
    }

    #[tokio::test]
    async fn redirects_lead_to_places_that_may_be_asked_and_take_no_login_along() {
        let directory = tempfile::tempdir().unwrap();
        let (server, other) = (Server::at("127.0.0.1:0").await, Server::at("127.0.0.1:0").await);
        other.answers(&says_digest());
        let names = ["registry.lab", "storage.lab", "localhost"];
        let answers = Answers::new([
            (names[0], vec![vec!["127.0.0.1"]]),
            (names[1], vec![vec!["127.0.0.1"]]),
            (names[2], vec![vec!["127.0.0.1"]]),
            ("inside.lab", vec![vec!["10.0.0.1"]]),
        ]);
        let (registry, port) = (format!("registry.lab:{}", server.address.port()), other.address.port());
        let image = format!("{registry}/lab/web");
        insecure(directory.path(), std::slice::from_ref(&registry));
        for location in [
            "http://169.254.169.254/latest/meta-data".to_owned(),
            "http://2852039166/latest".to_owned(),
            "http://0xa9fea9fe/latest".to_owned(),
            "http://0251.0376.0251.0376/latest".to_owned(),
            "http://[::ffff:169.254.169.254]/latest".to_owned(),
            "http://[64:ff9b::169.254.169.254]/latest".to_owned(),
            "http://10.0.0.1/".to_owned(),
            "http://inside.lab/".to_owned(),
            "http://[fd00::1]/".to_owned(),
            "file:///etc/passwd".to_owned(),
            format!("http://127.0.0.1:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://2130706433:{port}/"),
            format!("http://registry.lab:{port}/"),
            format!("http://storage.lab:{port}/"),
            format!("http://{registry}/again"),
        ] {
            server.answers(&format!("302 Found\r\nLocation: {location}"));
            let refused = digest(directory.path(), &answers, &image).await.unwrap_err();
            assert!(refused.contains("its redirect is not followed"), "{location}: {refused}");
            let requests = server.heads().iter().filter(|head| head.starts_with("HEAD ")).count();
            assert!(requests <= 1 + REDIRECTS_MAX, "{location}: {requests} requests");
        }
        assert!(other.heads().is_empty());

        insecure(directory.path(), &[registry.clone(), format!("storage.lab:{port}")]);
        let login = serde_json::json!({ "auths": { &*registry: { "auth": "YW5uYTpzZWNyZXQ=" } } });
        fs::write(directory.path().join("config.json"), login.to_string()).unwrap();
        server.answers("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"lab\"");
        let asked = digest(directory.path(), &answers, &image).await.unwrap_err();
        assert!(asked.contains("the login is not accepted"), "{asked}");
        assert!(server.heads().iter().any(|head| head.contains("authorization: Basic YW5uYTpzZWNyZXQ=")), "the registry itself gets it");
        let connection =
            Connection::new(&registry.as_str().into(), &RegistrySettings::within(directory.path()), Arc::default(), answers).unwrap();
        server.answers(&format!("307 Temporary Redirect\r\nLocation: http://storage.lab:{port}/x"));
        let url = format!("http://{registry}/v2/").parse().unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer a.token"))]);
        assert_eq!(connection.send(&Method::GET, url, headers).await.unwrap().status(), StatusCode::OK);
        assert!(server.heads()[0].contains("authorization: Bearer a.token"));
        let heads = other.heads();
        assert!(heads.len() == 1 && heads[0].starts_with("GET /x ") && !heads[0].contains("authorization"), "{heads:?}");
    }

    #[tokio::test]
    async fn a_token_service_inside_is_not_asked_unless_this_host_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let (server, tokens) = (Server::at("127.0.0.1:0").await, Server::at("127.0.0.1:0").await);
        let answers = Answers::new([("registry.acme.lab", vec![vec!["127.0.0.1"]]), ("auth.acme.lab", vec![vec!["127.0.0.1"]])]);
        let registry = format!("registry.acme.lab:{}", server.address.port());
        let service = format!("auth.acme.lab:{}", tokens.address.port());
        let image = format!("{registry}/lab/web");
        insecure(directory.path(), std::slice::from_ref(&registry));
        for (realm, words) in [
            (format!("http://{service}/token"), "its token service is not asked"),
            ("http://10.0.0.1/token".to_owned(), "a token service elsewhere"),
            ("http://169.254.169.254/token".to_owned(), "a token service elsewhere"),
            (format!("http://{}/token", tokens.address), "a token service elsewhere"),
        ] {
            server.answers(&format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\""));
            let refused = digest(directory.path(), &answers, &image).await.unwrap_err();
            assert!(refused.contains(words), "{realm}: {refused}");
        }
        assert!(tokens.heads().is_empty());
        insecure(directory.path(), &[registry, service.clone()]);
        tokens.answers("500 Internal Server Error");
        server.answers(&format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://{service}/token\""));
        assert!(digest(directory.path(), &answers, &image).await.is_err());
        assert!(tokens.heads().iter().any(|head| head.starts_with("GET /token?")), "a service that is named is asked");
    }
}
