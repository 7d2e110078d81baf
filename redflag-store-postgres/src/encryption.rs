//! Whether a connection is encrypted, where the URL does not say.
//!
//! The drivers of PostgreSQL try TLS first and go on without it, and without a look at the certificate: whoever is in between decides.

use crate::error::Failure;
use redflag_core::store::{StoreError, StoreErrorKind};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::{error::Error, net::IpAddr};

/// TLS could not be spoken, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error(
    "no TLS with it, which a database on another machine is asked over unless its URL says otherwise (sslmode=require, verify-ca or disable; \
     sslrootcert=FILE names a private authority): {0}"
)]
struct NoTls(Box<dyn Error + Send + Sync>);

/// Why no connection came about.
pub(crate) fn explained(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Tls(cause) => StoreError::caused(StoreErrorKind::Unavailable, NoTls(cause)),
        other => Failure::from(other).into(),
    }
}

/// To another machine TLS with a verified certificate, in place of a mode that anybody in between could choose; on this one as asked for.
pub(crate) fn encrypted(options: PgConnectOptions) -> PgConnectOptions {
    match options.get_ssl_mode() {
        PgSslMode::Allow | PgSslMode::Prefer if !on_this_machine(&options) => options.ssl_mode(PgSslMode::VerifyFull),
        PgSslMode::Disable if !on_this_machine(&options) => {
            tracing::warn!(host = options.get_host(), "the database is asked over the network without encryption, as its URL says");
            options
        }
        _ => options,
    }
}

fn on_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    let loopback = host.parse::<IpAddr>().map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback());
    loopback || options.get_socket().is_some() || host.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_asked_over_verified_tls_unless_the_url_says_otherwise() {
        let mode = |url: &str| format!("{:?}", encrypted(url.parse().unwrap()).get_ssl_mode());
        for url in [
            "postgres://redflag@db.example/redflag",
            "postgres://redflag@192.0.2.7:5433/redflag",
            "postgres://redflag@[2001:db8::7]/redflag",
            "postgres:///redflag?host=db.example",
            "postgres://redflag@localhost.example/redflag",
            "postgres://redflag@db.example/redflag?sslmode=prefer",
            "postgres://redflag@db.example/redflag?sslmode=allow",
        ] {
            assert_eq!(mode(url), "VerifyFull", "{url}");
        }
        for (url, said) in [("disable", "Disable"), ("require", "Require"), ("verify-ca", "VerifyCa"), ("verify-full", "VerifyFull")] {
            assert_eq!(mode(&format!("postgres://redflag@db.example/redflag?sslmode={url}")), said);
        }
        for url in
            ["postgres://redflag@127.0.0.1/redflag", "postgres://a@[::1]/b", "postgres://a@LocalHost/b", "postgres:///b?host=/run/pg"]
        {
            assert_eq!(mode(url), "Prefer", "{url}");
        }
    }
}
