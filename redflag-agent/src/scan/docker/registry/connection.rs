//! One registry over HTTP: where it is, how it wants to be authenticated with, and limits on everything it says.

use super::{
    super::{
        credentials::{self, Credentials},
        reference::{DOCKER_HUB, Repository, address_allowed, host_allowed},
    },
    Memory, RegistryError,
    challenge::{Challenge, realm_allowed},
    settings::RegistrySettings,
};
use crate::{
    error::with_causes,
    server::{install_crypto_provider, retry_after},
};
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
    redirect,
};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::OnceCell;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 3;
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
    http: Client,
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
    pub(super) fn new(registry: &Arc<str>, settings: &RegistrySettings, memory: Arc<Memory>) -> Result<Self, RegistryError> {
        install_crypto_provider();
        let mut authorities = Vec::new();
        for pem in settings.authorities(registry)? {
            authorities.extend(reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| RegistryError::Answer {
                registry: registry.clone(),
                reason: format!("its certificate authority cannot be read: {}", with_causes(&error)),
            })?);
        }
        let http = Client::builder()
            .user_agent(concat!("redflag-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .redirect(redirect::Policy::custom(follow))
            .dns_resolver(Arc::new(NoLinkLocal))
            .tls_certs_merge(authorities)
            .build()
            .map_err(|error| RegistryError::Unreachable { registry: registry.clone(), reason: with_causes(&error) })?;
        Ok(Self {
            registry: registry.clone(),
            http,
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
            // Every further request would wait for the same time-out.
            Err(error @ RegistryError::Unreachable { .. }) => *lock(&self.given_up) = Some(error.clone()),
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
        let request = || self.http.request(method.clone(), url.clone()).headers(headers.clone());
        let mut response = self.send(authorized(request(), known.as_ref())).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let authorization = self.authorize(base, repository, response.headers()).await?;
            response = self.send(authorized(request(), Some(&authorization))).await?;
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
        let host = if *self.registry == *DOCKER_HUB { "registry-1.docker.io" } else { &self.registry };
        let url = |scheme: &str| format!("{scheme}://{host}/").parse::<Url>().map_err(|error| self.answer(error.to_string()));
        let encrypted = url("https")?;
        if !self.insecure {
            return Ok(encrypted);
        }
        let probe = self.http.get(encrypted.join("/v2/").map_err(|error| self.answer(error.to_string()))?).send().await;
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
                let request = self.http.get(base.clone()).basic_auth(&login.name, Some(&login.password)).build();
                let request = request.map_err(|_| refused("the login cannot be sent"))?;
                request.headers().get(AUTHORIZATION).cloned().ok_or_else(|| refused("the login cannot be sent"))
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
                let request = self.http.get(realm);
                let request = match login {
                    Some(login) => request.basic_auth(&login.name, Some(&login.password)),
                    None => request,
                };
                self.token(request).await
            }
        }
    }

    async fn token(&self, request: RequestBuilder) -> Result<HeaderValue, RegistryError> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let response = self.send(request).await?;
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

    async fn send(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        request.send().await.map_err(|error| self.unreachable(&error))
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

    fn unreachable(&self, error: &reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { registry: self.registry.clone(), reason: with_causes(error) }
    }

    pub(super) fn answer(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Answer { registry: self.registry.clone(), reason: reason.into() }
    }
}

fn authorized(request: RequestBuilder, authorization: Option<&HeaderValue>) -> RequestBuilder {
    match authorization {
        Some(value) => request.header(AUTHORIZATION, value.clone()),
        None => request,
    }
}

/// Follows a few redirects, never from TLS to none and never to an address no registry has. reqwest itself leaves credentials behind
/// when the host changes.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade = attempt.url().scheme() != "https" && attempt.previous().iter().any(|url| url.scheme() == "https");
    let allowed = attempt.url().host_str().is_some_and(host_allowed);
    if attempt.previous().len() > REDIRECTS_MAX || downgrade || !allowed {
        return attempt.error("a redirect that is not followed");
    }
    attempt.follow()
}

/// Resolves names, except to addresses that no registry has.
#[derive(Debug)]
struct NoLinkLocal;

impl Resolve for NoLinkLocal {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = addresses.filter(|address| address_allowed(address.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("{} resolves to no address a registry has", name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is kept in these is replaced whole: a panic elsewhere leaves it usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
