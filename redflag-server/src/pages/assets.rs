//! The files pages refer to: embedded in the binary, served under a URL that holds the digest of their content.
//!
//! Another content has another URL, so browsers may keep an answer for ever.

use crate::{
    access::{Policy, PolicyRouter},
    problem::Problem,
};
use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use redflag_core::ids::Digest;
use std::sync::LazyLock;

/// One file.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
    tag: LazyLock<String>,
}

/// The style sheet.
pub(crate) static STYLE: Asset = Asset {
    name: "redflag.css",
    media_type: "text/css; charset=utf-8",
    content: include_str!("../../assets/redflag.css"),
    tag: LazyLock::new(|| tag(include_str!("../../assets/redflag.css"))),
};
/// The module that brings the keyboard.
pub(crate) static SCRIPT: Asset = Asset {
    name: "redflag.js",
    media_type: "text/javascript; charset=utf-8",
    content: include_str!("../../assets/redflag.js"),
    tag: LazyLock::new(|| tag(include_str!("../../assets/redflag.js"))),
};
/// The icon.
pub(crate) static ICON: Asset = Asset {
    name: "icon.svg",
    media_type: "image/svg+xml",
    content: include_str!("../../assets/icon.svg"),
    tag: LazyLock::new(|| tag(include_str!("../../assets/icon.svg"))),
};

static ALL: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];

fn tag(content: &str) -> String {
    Digest::of("redflag asset", &[content.as_bytes()]).to_string()[..16].to_owned()
}

impl Asset {
    /// Where pages find it.
    pub(crate) fn url(&self) -> String {
        format!("/assets/{}/{}", *self.tag, self.name)
    }
}

/// Registers the files.
pub(super) fn routes(router: PolicyRouter) -> PolicyRouter {
    router.get("/assets/{tag}/{name}", Policy::Public, serve)
}

async fn serve(Path((tag, name)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, Problem> {
    let found = ALL.iter().find(|asset| asset.name == name && *asset.tag == tag);
    let asset = found.ok_or_else(|| Problem::not_found("no such file"))?;
    let etag = format!("\"{tag}\"");
    let fresh = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let kept = [(header::ETAG, etag), (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned())];
    if fresh {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((kept, [(header::CONTENT_TYPE, asset.media_type)], asset.content).into_response())
}
