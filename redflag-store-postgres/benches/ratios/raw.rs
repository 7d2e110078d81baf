//! The limit of the database: the same texts into one table without any index, by COPY in its binary form.

use crate::{
    cluster::script,
    workload::{Host, rest},
};
use sqlx::PgConnection;

pub(crate) struct Raw {
    connection: PgConnection,
    rows: Vec<[String; 9]>,
}

impl Raw {
    pub(crate) async fn new(mut connection: PgConnection, host: &Host) -> Self {
        script(
            &mut connection,
            "CREATE TABLE raw (id text, agent text, manager text, name text, installed text, version text, severity text, origin text,
                               metadata text)",
        )
        .await;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let rows = host.offers().enumerate().map(|(number, (package, offer))| {
            [
                format!("e7e00000-0000-4000-8000-{number:012}"),
                "a9e00000-0000-4000-8000-000000000001".to_owned(),
                package.manager.as_str().to_owned(),
                package.name.as_str().to_owned(),
                text(offer.installed.as_ref().map(AsRef::as_ref)),
                offer.candidate.version.as_str().to_owned(),
                offer.candidate.severity.as_str().to_owned(),
                text(offer.candidate.origin.as_ref().map(AsRef::as_ref)),
                rest(offer),
            ]
        });
        Self { connection, rows: rows.collect() }
    }

    /// Stores one report, durably.
    pub(crate) async fn report(&mut self) {
        let mut data = Vec::with_capacity(self.rows.len() * 400);
        data.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        data.extend_from_slice(&[0; 8]);
        for row in &self.rows {
            data.extend_from_slice(&9_i16.to_be_bytes());
            for text in row {
                data.extend_from_slice(&i32::try_from(text.len()).expect("a short text").to_be_bytes());
                data.extend_from_slice(text.as_bytes());
            }
        }
        data.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = self.connection.copy_in_raw("COPY raw FROM STDIN (FORMAT binary)").await.expect("copies");
        copy.send(data).await.expect("copies");
        assert_eq!(copy.finish().await.expect("commits"), self.rows.len() as u64);
    }
}
