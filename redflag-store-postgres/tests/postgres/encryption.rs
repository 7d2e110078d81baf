//! Whoever stands between server and database gets nothing to read.

use redflag_core::store::StoreErrorKind;
use redflag_store_postgres::{Options, PostgresStore};
use std::{net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Linux takes this for the machine itself, and the store for another one.
const ANOTHER_MACHINE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// What asks for TLS, in PostgreSQL's protocol.
const TLS_ASKED_FOR: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

#[tokio::test]
async fn a_server_on_another_machine_that_knows_no_tls_hears_no_name_and_no_password() {
    let listener = TcpListener::bind((ANOTHER_MACHINE, 0)).await.unwrap();
    let url = format!("postgres://redflag:secret@{ANOTHER_MACHINE}:{}/redflag", listener.local_addr().unwrap().port());
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        stream.read_exact(&mut asked).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        drop(stream.read_to_end(&mut heard).await);
        (asked, heard)
    });
    let options = Options { acquire_timeout: Duration::from_secs(5), ..Options::default() };
    let refused = PostgresStore::connect(&url, options).await.unwrap_err();
    let (asked, heard) = heard.await.unwrap();
    assert_eq!((asked, heard), (TLS_ASKED_FOR, Vec::new()), "{refused}");
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(refused.kind() == &StoreErrorKind::Unavailable && why.contains("sslmode=") && why.contains("does not support TLS"), "{why}");
}
