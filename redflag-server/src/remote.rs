//! A server over the network, as a person's command line asks it: with an API token, over TLS or on this machine alone.

use anyhow::{Context as _, bail};
use redflag_server::visible::visible;
use reqwest::{RequestBuilder, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{net::IpAddr, time::Duration};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A server, and who asks it.
pub(crate) struct Remote {
    http: reqwest::Client,
    url: Url,
    token: String,
}

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the server refused it with {status} {code}: {detail}")]
pub(crate) struct Refused {
    status: StatusCode,
    /// The stable reason.
    pub(crate) code: String,
    detail: String,
}

/// The address of a server: `https://`, or `http://` of this machine, where a token meets nobody else.
pub(crate) fn address(written: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("{written:?} {why}");
    let mut url: Url = written.parse().map_err(|_| wrong("is no URL; write it like https://redflag.example"))?;
    let host = url.host_str().ok_or_else(|| wrong("names no host"))?.trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return Err(wrong("is not https, and a token would be for everybody on the way to read")),
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must hold nothing but host, port and path"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

impl Remote {
    /// The server at `url`, asked with this API token; connects when first used.
    pub(crate) fn new(url: Url, token: String) -> anyhow::Result<Self> {
        // rustls wants one cryptography for the whole process; where there is one already, that is it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .user_agent(concat!("redflag-server/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // A redirect would carry the token elsewhere.
            .redirect(redirect::Policy::none())
            .build();
        Ok(Self { http: http.context("setting up the HTTP client")?, url, token })
    }

    /// What the server answers to GET.
    ///
    /// # Errors
    /// [`Refused`], or when it cannot be reached or understood.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.http.get(self.endpoint(path)?)).await
    }

    /// What the server answers to POST of `body`.
    ///
    /// # Errors
    /// As [`Remote::get`].
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.answer(self.http.post(self.endpoint(path)?).json(body)).await
    }

    fn endpoint(&self, path: &str) -> anyhow::Result<Url> {
        self.url.join(path).with_context(|| format!("the path {path:?}"))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let asking = || format!("asking {}", self.url);
        let mut response = request.bearer_auth(&self.token).send().await.with_context(asking)?;
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.with_context(asking)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                bail!("the answer of {} is longer than {ANSWER_BYTES_MAX} bytes", self.url);
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&body).with_context(|| format!("the answer of {} cannot be read", self.url));
        }
        Err(refused(status, &body).into())
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Refused {
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        detail: String,
    }
    let Problem { code, detail } = serde_json::from_slice(body).unwrap_or_default();
    let short = |text: String| visible(&text).chars().take(512).collect();
    Refused { status, code: short(code), detail: short(detail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_nowhere() {
        for good in
            ["https://redflag.example", "https://redflag.example/fleet", "http://127.0.0.1:8080", "http://[::1]:1", "http://localhost"]
        {
            assert!(address(good).unwrap().path().ends_with('/'), "{good}");
        }
        for bad in
            ["http://redflag.example", "http://localhost.example", "ftp://a", "redflag", "https://u:p@a", "https://a?b", "https://a#b"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_server_says_commands_no_terminal() {
        let told = refused(StatusCode::CONFLICT, br#"{"code":"illegal_step","detail":"no\u001b[2J\nsigned"}"#);
        assert_eq!(told.to_string(), "the server refused it with 409 Conflict illegal_step: no⟨U+001B⟩[2J⟨U+000A⟩signed");
        assert_eq!(refused(StatusCode::BAD_GATEWAY, b"<html>").code, "");
    }
}
