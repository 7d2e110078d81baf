//! The server as the agent sees it: where it is, how a request is signed, and what its answers mean.
//!
//! One request, one answer: trying again is the business of [`crate::delivery`].

use crate::error::{Error, Result, with_causes};
use ed25519_dalek::{Signer as _, SigningKey};
use redflag_core::{
    ids::AgentId,
    signing::{self, SignatureParameters, SignedRequest},
    time::Timestamp,
};
use reqwest::{
    StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, sync::Once, time::Duration};

/// Most bytes of an answer that are read; one outcome per fact fits many times over.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// A server that asks for more patience than this gets this much.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// With which code a server refuses an agent whose key two hosts use.
const QUARANTINED: &str = "quarantined";

/// Where plain HTTP may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainHttp {
    /// To this host's own loopback addresses only.
    #[default]
    LoopbackOnly,
    /// To any host: whoever holds the network can read the reports (they cannot change them).
    Anywhere,
}

/// Whose certificates a server may show, where the authorities that this host trusts do not count: certificates of a private authority,
/// or the server's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedCertificates(String);

impl TrustedCertificates {
    /// Reads certificates in PEM.
    ///
    /// # Errors
    /// When there is none, or one is damaged.
    pub fn parse(pem: &str) -> Result<Self> {
        let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| Error::invalid(format!("the trusted certificates cannot be read: {}", with_causes(&error))))?;
        if found.is_empty() {
            return Err(Error::invalid("there is no certificate in PEM among the trusted certificates"));
        }
        Ok(Self(pem.to_owned()))
    }

    fn certificates(&self) -> reqwest::Result<Vec<reqwest::Certificate>> {
        reqwest::Certificate::from_pem_bundle(self.0.as_bytes())
    }
}

impl TryFrom<String> for TrustedCertificates {
    type Error = Error;

    fn try_from(pem: String) -> Result<Self> {
        Self::parse(&pem)
    }
}

impl From<TrustedCertificates> for String {
    fn from(trusted: TrustedCertificates) -> Self {
        trusted.0
    }
}

/// The address of a server, checked once, and how it proves to be that server.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    url: Url,
    plain_http: PlainHttp,
    trusted: Option<TrustedCertificates>,
}

impl ServerUrl {
    /// Parses `https://host[:port][/prefix]`; `http://` where `plain_http` lets it.
    ///
    /// # Errors
    /// For anything else.
    pub fn parse(text: &str, plain_http: PlainHttp) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("the server address {text:?} {why}"));
        let mut url: Url = text.parse().map_err(|error| invalid(&format!("is no URL ({error}); write it like https://redflag.example")))?;
        let host = url.host_str().ok_or_else(|| invalid("names no host"))?;
        match url.scheme() {
            "https" => {}
            "http" if plain_http == PlainHttp::Anywhere || loopback(host) => {}
            "http" => return Err(invalid("is plain HTTP to another host; use https, or --allow-plain-http if the network is trusted")),
            scheme => return Err(invalid(&format!("has the scheme {scheme:?}; use https"))),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("must hold nothing but host, port and path"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self { url, plain_http, trusted: None })
    }

    /// The same address, whose server must prove itself by one of these certificates; by those this host trusts when none.
    #[must_use]
    pub fn trusting(self, trusted: Option<TrustedCertificates>) -> Self {
        Self { trusted, ..self }
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    pub(crate) const fn plain_http(&self) -> PlainHttp {
        self.plain_http
    }

    pub(crate) const fn trusted(&self) -> Option<&TrustedCertificates> {
        self.trusted.as_ref()
    }

    /// The host alone, for people.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// What the `Host` header says: the port is left out where it is the scheme's own.
    fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn endpoint(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path()));
        url
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Who signs a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature<'a> {
    pub(crate) agent: AgentId,
    pub(crate) key: &'a SigningKey,
    /// Larger than that of every request signed with this key before.
    pub(crate) counter: u64,
    /// When, by this host's clock.
    pub(crate) signed_at: Timestamp,
}

/// A connection to one server; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    http: reqwest::Client,
    url: ServerUrl,
}

impl Server {
    /// A client of the server at `url`; connects when first used.
    pub(crate) fn new(url: ServerUrl) -> Result<Self> {
        install_crypto_provider();
        let unusable = |error: reqwest::Error| Error::invalid(format!("could not set up the HTTP client: {}", with_causes(&error)));
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("redflag-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // A signature binds host and path, so following a redirect could only fail further away.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(trusted) = url.trusted() {
            http = http.tls_certs_only(trusted.certificates().map_err(unusable)?);
        }
        Ok(Self { http: http.build().map_err(unusable)?, url })
    }

    /// Posts JSON and returns the body of the 2xx answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when it is unknown whether the server acted; [`Error::Unauthorized`]; [`Error::Refused`] for good.
    pub(crate) async fn post(&self, path: &str, body: Vec<u8>, signature: Option<Signature<'_>>) -> Result<Vec<u8>> {
        let url = self.url.endpoint(path);
        let headers = signature.map(|signature| self.signed(&url, &body, &signature)).unwrap_or_default();
        let request = self.http.post(url).headers(headers).header(header::CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(|error| self.unreachable(with_causes(&error), None))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(with_causes(&error), None))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.unreachable(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"), None));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(body) } else { Err(self.failure(status, retry_after, &body)) }
    }

    /// Asks whether the server lives, and what time it has, where it tells.
    ///
    /// # Errors
    /// [`Error::Unreachable`] or [`Error::Refused`], with the reason.
    pub(crate) async fn greet(&self) -> Result<Option<Timestamp>> {
        let request = self.http.get(self.url.endpoint("healthz")).timeout(CONNECT_TIMEOUT);
        let response = request.send().await.map_err(|error| self.unreachable(with_causes(&error), None))?;
        let date = response.headers().get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        match response.status() {
            status if status.is_success() => Ok(date.map(Timestamp::from_system_time)),
            status => Err(self.failure(status, None, &[])),
        }
    }

    fn signed(&self, url: &Url, body: &[u8], signature: &Signature<'_>) -> HeaderMap {
        let digest = signing::content_digest(body);
        let created = signature.signed_at.as_micros().div_euclid(1_000_000);
        let parameters = SignatureParameters { created, agent: signature.agent, counter: signature.counter };
        let (authority, query) = (self.url.authority(), url.query().unwrap_or_default());
        let request = SignedRequest { method: "POST", authority: &authority, path: url.path(), query, content_digest: &digest };
        let bytes = signature.key.sign(parameters.signature_base(&request).as_bytes()).to_bytes();
        let values = [
            (signing::CONTENT_DIGEST, digest),
            (signing::SIGNATURE_INPUT, parameters.to_header()),
            (signing::SIGNATURE, signing::signature_header(&bytes)),
        ];
        let header = |(name, value): (&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_str(&value).expect("the signature profile is printable ASCII"))
        };
        values.map(header).into_iter().collect()
    }

    pub(crate) fn unreachable(&self, message: impl Into<String>, retry_after: Option<Duration>) -> Error {
        Error::Unreachable { server: self.url.to_string(), message: message.into(), retry_after }
    }

    fn failure(&self, status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Error {
        let problem = Problem::read(status, body);
        let server = self.url.to_string();
        match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized { server, problem: problem.detail },
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                self.unreachable(format!("{status}: {}", problem.detail), retry_after)
            }
            // Nothing is wrong with what was sent: it waits until an administrator has decided.
            StatusCode::FORBIDDEN if problem.code == QUARANTINED => self.unreachable(format!("{status}: {}", problem.detail), retry_after),
            status if status.is_client_error() => {
                Error::Refused { server, status: status.as_u16(), code: problem.code, detail: problem.detail }
            }
            status if status.is_redirection() => {
                self.unreachable(format!("{status}, a redirect; enrol with the address it leads to"), retry_after)
            }
            status => self.unreachable(format!("{status}: {}", problem.detail), retry_after),
        }
    }
}

/// An RFC 9457 problem, or what can be made of another body.
struct Problem {
    code: String,
    detail: String,
}

impl Problem {
    fn read(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            code: Option<String>,
            title: Option<String>,
            detail: Option<String>,
        }
        let body: Body = serde_json::from_slice(body).unwrap_or(Body { code: None, title: None, detail: None });
        let reason = status.canonical_reason().unwrap_or("no reason given");
        let short = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect();
        Self {
            code: short(body.code.unwrap_or_else(|| "unknown".to_owned())),
            detail: short(body.detail.or(body.title).unwrap_or_else(|| reason.to_owned())),
        }
    }
}

pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// rustls wants one cryptography for the whole process; ours is ring.
pub(crate) fn install_crypto_provider() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("another cryptography provider was installed before; it is used");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_unless_allowed() {
        let parse = |text| ServerUrl::parse(text, PlainHttp::LoopbackOnly);
        for good in ["https://redflag.example", "http://localhost:8080", "http://127.0.0.1", "http://[::1]:8080/prefix"] {
            assert_eq!(parse(good).unwrap().as_str(), good);
        }
        for bad in
            ["http://redflag.example", "http://localhost.example", "ftp://a", "redflag", "https://u:p@a", "https://a?b", "https://a#b"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(ServerUrl::parse("http://redflag.example", PlainHttp::Anywhere).is_ok());
    }

    #[test]
    fn the_authority_is_that_of_the_host_header_and_prefixes_are_kept() {
        let url = |text| ServerUrl::parse(text, PlainHttp::LoopbackOnly).unwrap();
        assert_eq!(url("https://RedFlag.example:443").authority(), "redflag.example");
        assert_eq!(url("http://[::1]:8080").authority(), "[::1]:8080");
        assert_eq!(url("https://a.example/fleet").endpoint("api/v1/report").path(), "/fleet/api/v1/report");
    }

    #[test]
    fn answers_are_told_apart() {
        let server = Server::new(ServerUrl::parse("http://127.0.0.1:1", PlainHttp::LoopbackOnly).unwrap()).unwrap();
        let failure = |status: u16, body: &str| server.failure(StatusCode::from_u16(status).unwrap(), None, body.as_bytes());
        for status in [408, 429, 500, 503, 301] {
            assert!(failure(status, "").may_pass(), "{status}");
        }
        for status in [400, 404, 409, 413, 422] {
            assert!(matches!(failure(status, ""), Error::Refused { .. }), "{status}");
        }
        assert!(failure(403, r#"{"code":"quarantined"}"#).may_pass(), "reports wait for the administrator's decision");
        assert!(matches!(failure(403, r#"{"code":"role"}"#), Error::Refused { .. }));
        assert!(matches!(failure(401, "<html>"), Error::Unauthorized { .. }));
        let refused = failure(409, r#"{"code":"report_id_reused","detail":"same\nid"}"#).to_string();
        assert_eq!(refused, "http://127.0.0.1:1 refused the request with 409 report_id_reused: same id");
    }
}
