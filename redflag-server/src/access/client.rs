//! From which address a request comes.
//!
//! That is the peer of the connection, unless the peer is a listed proxy: then it is the address the proxy names. What others write into
//! `X-Forwarded-For` counts for nothing; `Forwarded` and its relatives are not read.

use crate::app::{App, AppState};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use ipnet::IpNet;
use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Where proxies write from whom a request came: the nearest last.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of a client.
///
/// As an extractor it is there on every route. Where there is no connection, as in tests without a socket, it is `0.0.0.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The client's address of a request.
    pub(crate) fn of(app: &App, parts: &Parts) -> Self {
        let peer = peer(parts).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Self(named_by_proxies(&app.settings.trusted_proxies, peer, &parts.headers))
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        Ok(Self::of(app, parts))
    }
}

/// The other end of a request's connection; an IPv4 address that came through an IPv6 socket is written as IPv4.
pub(crate) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get().map(|ConnectInfo::<SocketAddr>(peer)| peer.ip().to_canonical())
}

/// Who has an address: of IPv6 one host has a whole /64.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

/// Addresses of proxies whose word counts: one, or a network like `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| format!("{text:?} is neither an address nor a network like 10.0.0.0/8"))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Goes from the peer back along the chain of proxies, for as long as who named the next address is listed.
fn named_by_proxies(trusted: &[TrustedProxy], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let listed = |address: IpAddr| trusted.iter().any(|proxy| proxy.contains(address));
    let values: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut named = values.iter().rev().flat_map(|value| value.rsplit(',')).map(|address| address.trim().parse::<IpAddr>());
    let mut client = peer;
    while listed(client) {
        // The first hop that is no address was written by somebody who is not to be believed further.
        match named.next() {
            Some(Ok(address)) => client = address.to_canonical(),
            Some(Err(_)) | None => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<TrustedProxy> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
        }
        named_by_proxies(&trusted, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_listed_proxies_say_who_a_client_is() {
        assert_eq!(client(&[], "192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "nobody is listed");
        assert_eq!(client(&["10.0.0.0/8"], "192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "the peer is not listed");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &[]), "10.1.2.3", "a proxy that names nobody");
    }

    #[test]
    fn a_client_cannot_put_an_address_before_its_own() {
        let spoofed = ["203.0.113.9, 198.51.100.7"];
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &spoofed), "198.51.100.7");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["203.0.113.9", "198.51.100.7"]), "198.51.100.7", "nor in a header before");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["203.0.113.9, rubbish"]), "10.1.2.3", "what is no address ends the chain");
        assert_eq!(client(&["10.0.0.0/8"], "10.1.2.3", &["198.51.100.7, 10.9.9.9"]), "198.51.100.7", "two listed proxies");
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        assert_eq!(client(&["::1"], "::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(client(&["127.0.0.1"], "127.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        for wrong in ["", "10.0.0.0/33", "proxy.example", "10.0.0"] {
            assert!(wrong.parse::<TrustedProxy>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn one_subscriber_is_one_address() {
        let of = |written: &str| subscriber(written.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"), "IPv4 in IPv6 is IPv4");
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
