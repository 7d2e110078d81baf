//! Where requests go: a host is resolved once, its addresses are judged, and connections go to these and to no others.
//!
//! What names a host here comes from outside: from the name of an image, from a registry that names its token service, from a
//! redirect. Each of them is judged alike, or whoever writes one could let this host ask its own services, its network's, or its
//! cloud's. A name that is resolved again when it is connected to may then be another place ("rebinding"); so the judged addresses are
//! what the client connects to.
//!
//! A registry inside a network is asked when the host's settings name it ([`RegistrySettings::names`]). A registry that is written as
//! this host itself (`localhost:5000`, `127.0.0.1:5000`) needs no naming, as little as engines ask for one: that a container runs its
//! image is the word of who may start containers here, whom no name from elsewhere can stand in for. It leads to loopback and nowhere
//! else, while names that resolve to loopback, and registries elsewhere that send us there, are refused.

use super::{
    super::{address::Place, credentials::SettingsError, reference},
    lock,
    settings::RegistrySettings,
};
use crate::{error::with_causes, server::install_crypto_provider};
use async_trait::async_trait;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{
    Certificate, Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use std::{
    collections::HashMap,
    fmt,
    future::ready,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::OnceCell;

const LOOKUP_TIME_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Docker Hub's registry, which no reference names.
pub(super) const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Who knows the addresses of a name.
#[async_trait]
pub(super) trait Lookup: fmt::Debug + Send + Sync {
    /// Every address of `host`.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// Whether requests for a URL go to a proxy, which resolves its host.
    fn is_proxied(&self, url: &Url) -> bool;
}

/// This host's resolver.
#[derive(Debug)]
pub(super) struct HostLookup;

#[async_trait]
impl Lookup for HostLookup {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }

    /// By this process's environment, as the client itself reads it.
    fn is_proxied(&self, url: &Url) -> bool {
        url.as_str().parse::<hyper::Uri>().is_ok_and(|uri| Matcher::from_system().intercept(&uri).is_some())
    }
}

/// Why a place is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DestinationError {
    /// `host_not_allowed`: it is none of the addresses that may be asked.
    #[error("{host} is at {address}, {place}{remedy}")]
    NotAllowed { host: String, address: IpAddr, place: Place, remedy: String },
    #[error("{host} has no address: {reason}")]
    Unresolved { host: String, reason: String },
    #[error("no client can be made: {0}")]
    Client(String),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// How far from the Internet a host's addresses may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    Loopback,
    Inside,
}

impl Reach {
    const fn allows(self, place: Place) -> bool {
        match place {
            Place::Public => true,
            Place::Loopback => matches!(self, Self::Loopback | Self::Inside),
            Place::Inside(_) => matches!(self, Self::Inside),
            Place::Nowhere(_) => false,
        }
    }
}

/// What is learned once: it stays the answer for as long as this registry is asked.
type Once<T> = Arc<OnceCell<T>>;
/// The addresses of a name, or why there are none.
type Resolved = Result<Arc<[IpAddr]>, String>;
/// A client for one place, or why there is none.
type Judged = Result<Client, DestinationError>;

/// The places that one registry's requests go to.
#[derive(Debug)]
pub(super) struct Destinations {
    registry: Arc<str>,
    settings: RegistrySettings,
    authorities: Vec<Certificate>,
    lookup: Arc<dyn Lookup>,
    resolved: Mutex<HashMap<String, Once<Resolved>>>,
    clients: Mutex<HashMap<(String, u16), Once<Judged>>>,
}

impl Destinations {
    /// Nothing is resolved yet.
    pub(super) fn new(registry: Arc<str>, settings: RegistrySettings, authorities: Vec<Certificate>, lookup: Arc<dyn Lookup>) -> Self {
        Self { registry, settings, authorities, lookup, resolved: Mutex::default(), clients: Mutex::default() }
    }

    /// A client that connects to the judged addresses of this URL's host and follows nothing by itself.
    ///
    /// # Errors
    /// When the host has no address, or none that may be asked.
    pub(super) async fn client(&self, url: &Url) -> Judged {
        let place = (url.host_str().unwrap_or_default().to_owned(), url.port_or_known_default().unwrap_or_default());
        let client = lock(&self.clients).entry(place).or_default().clone();
        client.get_or_init(|| self.judge(url)).await.clone()
    }

    async fn judge(&self, url: &Url) -> Judged {
        install_crypto_provider();
        let client = Client::builder()
            .user_agent(concat!("redflag-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .redirect(redirect::Policy::none())
            .tls_certs_merge(self.authorities.clone());
        let host = url.host_str().unwrap_or_default();
        let client = if self.lookup.is_proxied(url) {
            // The proxy resolves names, in its own network and by its own rules; one that only it knows has no address here. An
            // address, and the name of this host, mean the same to everybody.
            if reference::is_loopback(host) || reference::bare_host(host).parse::<IpAddr>().is_ok() {
                self.addresses(url).await?;
            }
            client
        } else {
            let addresses = self.addresses(url).await?.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            client.no_proxy().dns_resolver(Arc::new(Pinned { host: host.to_owned(), addresses }))
        };
        client.build().map_err(|error| DestinationError::Client(with_causes(&error)))
    }

    /// The addresses of a URL's host that may be asked.
    async fn addresses(&self, url: &Url) -> Result<Vec<IpAddr>, DestinationError> {
        let names = self.names(url);
        let unresolved = |reason: &str| DestinationError::Unresolved { host: names[0].clone(), reason: reason.to_owned() };
        let host = url.host_str().ok_or_else(|| unresolved("it is no host"))?;
        let addresses = self.resolve(host).await.map_err(|reason| unresolved(&reason))?;
        let reach = self.reach(host, &names)?;
        let allowed: Vec<IpAddr> = addresses.iter().copied().filter(|address| reach.allows(Place::of(*address))).collect();
        match (allowed.is_empty(), addresses.first()) {
            (true, None) => Err(unresolved("the answer is empty")),
            (true, Some(address)) => {
                let place = Place::of(*address);
                let remedy = match place {
                    Place::Nowhere(_) => ", where no registry is".to_owned(),
                    _ => format!(", which is not asked unless this host's settings name it: {}", self.settings.how_to_name(&names[0])),
                };
                Err(DestinationError::NotAllowed { host: names[0].clone(), address: *address, place, remedy })
            }
            (false, _) => Ok(allowed),
        }
    }

    /// Resolves a host, once.
    async fn resolve(&self, host: &str) -> Resolved {
        // A URL writes addresses in one way only: `2852039166` and `0xa9.254.43518` have become dotted quads here.
        if let Ok(address) = reference::bare_host(host).parse() {
            return Ok(Arc::new([address]));
        }
        let addresses = lock(&self.resolved).entry(host.to_owned()).or_default().clone();
        let look_up = async || match tokio::time::timeout(LOOKUP_TIME_MAX, self.lookup.addresses(host)).await {
            Ok(Ok(addresses)) => Ok(addresses.into()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LOOKUP_TIME_MAX.as_secs())),
        };
        addresses.get_or_init(look_up).await.clone()
    }

    fn reach(&self, host: &str, names: &[String]) -> Result<Reach, SettingsError> {
        for name in names {
            if self.settings.names(name)? {
                return Ok(Reach::Inside);
            }
        }
        let itself = reference::is_loopback(&self.registry) && reference::is_loopback(host);
        Ok(if itself { Reach::Loopback } else { Reach::Public })
    }

    /// How settings may name a URL's host; the first is how we name it.
    fn names(&self, url: &Url) -> Vec<String> {
        let host = url.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
        let mut names = if url.port().is_none() { vec![host.to_owned(), with_port] } else { vec![with_port] };
        if names[0] == DOCKER_HUB_HOST {
            names.insert(0, reference::DOCKER_HUB.to_owned());
        }
        // A URL is in lower case; settings may write the registry as its images do.
        if names.iter().any(|name| name.eq_ignore_ascii_case(&self.registry)) {
            names.insert(0, self.registry.to_string());
        }
        names
    }
}

/// Answers with the judged addresses of one host, and knows no other.
#[derive(Debug)]
struct Pinned {
    host: String,
    addresses: Vec<SocketAddr>,
}

impl Resolve for Pinned {
    fn resolve(&self, name: Name) -> Resolving {
        let known = name.as_str().eq_ignore_ascii_case(&self.host);
        let answer =
            if known { Ok(Box::new(self.addresses.clone().into_iter()) as Addrs) } else { Err("a host that was not judged".into()) };
        Box::pin(ready(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stand_ins::Answers, *};

    fn destinations(directory: &std::path::Path, registry: &str, answers: &Arc<Answers>) -> Destinations {
        Destinations::new(registry.into(), RegistrySettings::within(directory), Vec::new(), answers.clone())
    }

    async fn judged(destinations: &Destinations, url: &str) -> Result<Vec<IpAddr>, DestinationError> {
        destinations.addresses(&url.parse().unwrap()).await
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn what_a_name_resolves_to_is_judged_once_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let answers = Answers::new([("registry.example", vec![vec!["1.1.1.1"], vec!["10.0.0.1"]])]);
        let destinations = destinations(directory.path(), "registry.example", &answers);
        for url in ["https://registry.example/", "https://registry.example/v2/", "http://registry.example:8080/"] {
            assert_eq!(judged(&destinations, url).await.unwrap(), [ip("1.1.1.1")], "{url}");
        }
        assert_eq!(answers.asked(), ["registry.example"], "the second answer is another place");

        // Who asks anew judges anew.
        let again = self::destinations(directory.path(), "registry.example", &answers);
        assert!(matches!(judged(&again, "https://registry.example/").await, Err(DestinationError::NotAllowed { .. })));
    }

    #[tokio::test]
    async fn of_mixed_answers_only_what_may_be_asked_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let answers = Answers::new([("registry.example", vec![vec!["127.0.0.1", "1.1.1.1", "169.254.169.254", "::ffff:10.0.0.1"]])]);
        let destinations = destinations(directory.path(), "registry.example", &answers);
        assert_eq!(judged(&destinations, "https://registry.example/").await.unwrap(), [ip("1.1.1.1")]);
    }

    #[tokio::test]
    async fn inside_is_only_what_the_settings_name_by_host_and_port() {
        let directory = tempfile::tempdir().unwrap();
        let inside =
            ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "fd00::1"];
        let forms = ["::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1", "2002:a00:1::1"];
        for address in inside.iter().chain(&forms) {
            let answers = || Answers::new([("registry.lab", vec![vec![*address]])]);
            let refused =
                judged(&destinations(directory.path(), "registry.lab:5000", &answers()), "https://registry.lab:5000/").await.unwrap_err();
            let text = refused.to_string();
            assert!(text.contains("registry.lab:5000 is at ") && text.contains("certs.d/registry.lab:5000"), "{address}: {text}");
        }
        std::fs::create_dir_all(directory.path().join("certs.d/registry.lab:5000")).unwrap();
        for address in inside.iter().chain(&forms) {
            let answers = Answers::new([("registry.lab", vec![vec![*address]])]);
            let destinations = destinations(directory.path(), "registry.lab:5000", &answers);
            assert_eq!(judged(&destinations, "https://registry.lab:5000/").await.unwrap(), [ip(address)]);
            let other = judged(&destinations, "https://registry.lab:22/").await;
            assert!(matches!(other, Err(DestinationError::NotAllowed { .. })), "{address}: another port is another service: {other:?}");
        }
        for address in
            ["0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1", "::", "100.100.100.200", "fd00:ec2::254"]
        {
            let answers = Answers::new([("registry.lab", vec![vec![address]])]);
            let refused = judged(&destinations(directory.path(), "registry.lab:5000", &answers), "https://registry.lab:5000/").await;
            assert!(refused.unwrap_err().to_string().ends_with("where no registry is"), "{address}");
        }
    }

    #[tokio::test]
    async fn this_host_is_meant_only_by_who_writes_it_so() {
        let directory = tempfile::tempdir().unwrap();
        let answers = Answers::new([("localhost", vec![vec!["127.0.0.1", "10.0.0.1"]]), ("evil.example", vec![vec!["127.0.0.1"]])]);
        let local = destinations(directory.path(), "127.0.0.1:5000", &answers);
        assert_eq!(judged(&local, "http://127.0.0.1:5000/").await.unwrap(), [ip("127.0.0.1")]);
        assert_eq!(judged(&local, "http://[::1]:6000/token").await.unwrap(), [ip("::1")]);
        assert_eq!(judged(&local, "http://localhost:5000/").await.unwrap(), [ip("127.0.0.1")], "and nothing else inside");
        assert!(judged(&local, "http://evil.example/").await.is_err());
        assert!(judged(&local, "http://10.0.0.1/").await.is_err());
        let elsewhere = destinations(directory.path(), "registry.example", &answers);
        for url in [
            "http://127.0.0.1:5000/",
            "http://localhost:5000/",
            "http://[::1]/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
        ] {
            assert!(matches!(judged(&elsewhere, url).await, Err(DestinationError::NotAllowed { .. })), "{url}");
        }
    }

    #[tokio::test]
    async fn a_host_without_an_address_is_no_place() {
        let directory = tempfile::tempdir().unwrap();
        let answers = Answers::new([("empty.example", vec![vec![]])]);
        let destinations = destinations(directory.path(), "registry.example", &answers);
        for url in ["https://empty.example/", "https://unknown.example/"] {
            assert!(matches!(judged(&destinations, url).await, Err(DestinationError::Unresolved { .. })), "{url}");
        }
    }

    #[tokio::test]
    async fn names_are_left_to_a_proxy_and_addresses_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let destinations =
            destinations(directory.path(), "registry.example", &Answers::behind_a_proxy([("localhost", vec![vec!["127.0.0.1"]])]));
        let client = async |url: &str| destinations.client(&url.parse().unwrap()).await;
        assert!(client("https://registry.example/").await.is_ok(), "it has no address here");
        for url in ["https://10.0.0.1/", "https://169.254.169.254/", "https://[::1]/", "https://localhost/"] {
            assert!(matches!(client(url).await, Err(DestinationError::NotAllowed { .. })), "{url}");
        }
    }
}
