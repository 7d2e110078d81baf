//! What the examples share: a reader of the HTTP API that signs in by a one-time link, as a person would.

use anyhow::{Context as _, bail};
use reqwest::{Client, StatusCode, Url, header, redirect};
use serde_json::Value;

/// A signed-in reader of a server's API.
#[derive(Debug)]
pub struct ApiReader {
    client: Client,
    server: Url,
    cookie: String,
}

impl ApiReader {
    /// Signs in with a one-time link, which is used up by it.
    ///
    /// # Errors
    /// When the server cannot be reached or the link is unknown, used or expired.
    pub async fn sign_in(link: &str) -> anyhow::Result<Self> {
        let link = Url::parse(link).with_context(|| format!("reading the sign-in link {link:?}"))?;
        let token = link.fragment().and_then(|fragment| fragment.strip_prefix("token="));
        let token = token.with_context(|| format!("the sign-in link {link} holds no token"))?;
        let client = Client::builder().redirect(redirect::Policy::none()).build().context("setting up the HTTP client")?;
        let server = link.join("/").context("reading the server's address from the link")?;
        let answer = client
            .post(server.join("sign-in")?)
            .header(header::ORIGIN, server.origin().ascii_serialization())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("token={token}"))
            .send()
            .await
            .context("signing in")?;
        let cookie = answer.headers().get(header::SET_COOKIE).and_then(|cookie| cookie.to_str().ok()?.split(';').next());
        match cookie {
            Some(cookie) => Ok(Self { client, server, cookie: cookie.to_owned() }),
            None => bail!("signing in: the server answered {}", answer.status()),
        }
    }

    /// Reads one JSON answer.
    ///
    /// # Errors
    /// When the server cannot be reached or answers anything but 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = self.server.join(path).with_context(|| format!("reading the path {path:?}"))?;
        let request = self.client.get(url.clone()).header(header::COOKIE, &self.cookie);
        let answer = request.send().await.with_context(|| format!("asking {url}"))?;
        let status = answer.status();
        let body = answer.bytes().await.with_context(|| format!("reading the answer of {url}"))?;
        if status != StatusCode::OK {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("reading the JSON of {url}"))
    }
}
