//! Where an answer sends us, and what may go along.
//!
//! Redirects are followed here and not by the client, so that every hop is judged as the first request is.

use reqwest::{
    StatusCode, Url,
    header::{HeaderMap, LOCATION},
};

/// Most redirects of one request: a registry, its storage, and one more.
pub(super) const REDIRECTS_MAX: usize = 3;

/// The next hop after an answer from `from`; none where the answer is the answer.
///
/// # Errors
/// When the hop is none to follow.
pub(super) fn next(from: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Option<Url>, &'static str> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let Some(location) = headers.get(LOCATION).filter(|_| redirects.contains(&status)) else { return Ok(None) };
    let next = location.to_str().ok().and_then(|location| from.join(location).ok()).ok_or("it leads to no URL")?;
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("it leaves TLS"),
        _ => return Err("it leads to no registry"),
    }
    if next.host_str().is_none() || !next.username().is_empty() || next.password().is_some() {
        return Err("it leads to no registry");
    }
    Ok(Some(next))
}

/// Whether credentials for `from` may go to `next`: the same scheme, host and port (RFC 6454).
pub(super) fn keeps_credentials(from: &Url, next: &Url) -> bool {
    from.origin() == next.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(from: &str, status: u16, location: &str) -> Result<Option<String>, &'static str> {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        let next = next(&from.parse().unwrap(), StatusCode::from_u16(status).unwrap(), &headers)?;
        Ok(next.map(|url| url.to_string()))
    }

    #[test]
    fn hops_are_read_and_never_leave_tls() {
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(hop("https://a.example/v2/x", status, "https://b.example/y").unwrap().as_deref(), Some("https://b.example/y"));
        }
        assert_eq!(hop("https://a.example/v2/x", 302, "../y").unwrap().as_deref(), Some("https://a.example/y"));
        assert_eq!(hop("http://a.example/", 302, "//b.example/y").unwrap().as_deref(), Some("http://b.example/y"));
        assert_eq!(hop("http://a.example/", 302, "http://2852039166/").unwrap().as_deref(), Some("http://169.254.169.254/"));
        for status in [200, 201, 300, 304, 305, 404] {
            assert_eq!(hop("https://a.example/", status, "https://b.example/"), Ok(None), "{status}");
        }
        for (from, location) in [
            ("https://a.example/", "http://a.example/"),
            ("https://a.example/", "ftp://a.example/"),
            ("http://a.example/", "file:///etc/passwd"),
            ("http://a.example/", "gopher://127.0.0.1:6379/_x"),
            ("http://a.example/", "data:,x"),
            ("http://a.example/", "http://"),
            ("http://a.example/", "http://name:password@b.example/"),
            ("http://a.example/", "http://name@b.example/"),
        ] {
            assert!(hop(from, 302, location).is_err(), "{from} {location}");
        }
    }

    #[test]
    fn credentials_go_nowhere_else() {
        let keeps = |from: &str, next: &str| keeps_credentials(&from.parse().unwrap(), &next.parse().unwrap());
        assert!(keeps("https://a.example/x", "https://a.example:443/y"));
        for next in ["https://b.example/", "https://a.example:444/", "http://a.example:443/", "https://x.a.example/"] {
            assert!(!keeps("https://a.example/", next), "{next}");
        }
    }
}
