//! Another certificate for a server that runs: the real binary, told by SIGHUP or by nobody.

use crate::{
    network::{authority, certify},
    process::Running,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use std::{fs, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longest wait for what should happen: a server looks every ten seconds, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server learns that its files are others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    BySignal,
    ByNobody,
}

/// A connection to who has a certificate of this authority.
async fn connect(address: &str, trusted: &str) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Whether the server answers on this connection.
async fn answers(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).await.unwrap();
    let mut rest = vec![0; 4_096];
    assert!(stream.read(&mut rest).await.unwrap() > 0);
    start == *b"HTTP/1.1 200 OK"
}

async fn another_certificate_is_taken_up(told: Told) {
    let directory = tempfile::tempdir().unwrap();
    let (before, after) = (authority(), authority());
    let (trusting_before, trusting_after) = (before.pem(), after.pem());
    let files = certify(&before, directory.path());
    let arguments = ["--tls-certificate".as_ref(), files.certificate.as_os_str(), "--tls-key".as_ref(), files.key.as_os_str()];
    let mut running = Running::start_with("memory:", &arguments, 1).await;
    let mut log = BufReader::new(running.child.stderr.take().unwrap()).lines();
    let mut said = async |words: &str| {
        let line = async { while !log.next_line().await.unwrap().expect("the server runs on").contains(words) {} };
        timeout(PATIENCE, line).await.unwrap_or_else(|_| panic!("{told:?}: the server never says {words:?}"));
    };
    let address = running.url.strip_prefix("https://").unwrap().to_owned();
    let mut there = connect(&address, &trusting_before).await.unwrap();
    assert!(answers(&mut there).await);
    assert!(connect(&address, &trusting_after).await.is_err());
    let tell = async || match told {
        Told::BySignal => running.signal("HUP").await,
        Told::ByNobody => {}
    };

    fs::write(&files.certificate, "rubbish").unwrap();
    tell().await;
    let words = match told {
        Told::BySignal => "SIGHUP: the certificate before stays in force",
        Told::ByNobody => "the one before stays in force",
    };
    said(words).await;
    let mut still = connect(&address, &trusting_before).await.expect("the certificate before is still served");
    assert!(answers(&mut still).await && answers(&mut there).await);

    certify(&after, directory.path());
    tell().await;
    said("the TLS certificate was read").await;
    let mut new = connect(&address, &trusting_after).await.expect("the new certificate is served");
    assert!(answers(&mut new).await);
    assert!(connect(&address, &trusting_before).await.is_err(), "to everybody who comes new");
    assert!(answers(&mut there).await && answers(&mut still).await, "those that were there go on");
    running.signal("TERM").await;
    assert!(running.child.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_read_anew_at_sighup() {
    another_certificate_is_taken_up(Told::BySignal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_changed_is_read_anew_by_itself() {
    another_certificate_is_taken_up(Told::ByNobody).await;
}
