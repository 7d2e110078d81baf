//! Rows of the catalogs: found by what they hold or by their ref, and made.

use crate::{
    error::Failure,
    rows::{self, candidate_columns},
    stored::{bigint, code, get, json, package_key},
    transaction::Transaction,
};
use hashbrown::HashMap;
use redflag_core::{
    ids::Digest,
    names::{PackageKey, Text},
    offer::Candidate,
};
use sqlx::postgres::PgRow;
use std::sync::Arc;

/// Refs by the place of what was looked for, counted from 0.
fn by_place(rows: &[PgRow]) -> Result<HashMap<usize, i32>, Failure> {
    let entry = |row: &PgRow| Ok((get::<u32>(row, 0)? as usize, get(row, 1)?));
    rows.iter().map(entry).collect()
}

pub(super) async fn find_packages(transaction: &mut Transaction, packages: &[PackageKey]) -> Result<HashMap<usize, i32>, Failure> {
    if packages.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT (q.place - 1)::integer, p.package_ref
         FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q (manager, name, arch, place)
         JOIN packages AS p ON p.name = q.name AND p.manager = q.manager AND p.arch = q.arch",
    )
    .bind(packages.iter().map(|package| package.manager.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(PackageKey::arch_text).collect::<Vec<_>>());
    by_place(&transaction.rows(select).await?)
}

pub(super) async fn find_candidates(
    transaction: &mut Transaction,
    candidates: &[(Digest, Arc<Candidate>)],
) -> Result<HashMap<usize, i32>, Failure> {
    if candidates.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT (q.place - 1)::integer, c.candidate_ref
         FROM UNNEST($1::bytea[]) WITH ORDINALITY AS q (content_key, place)
         JOIN candidates AS c ON c.content_key = q.content_key",
    )
    .bind(candidates.iter().map(|(digest, _)| digest.as_bytes().as_slice()).collect::<Vec<_>>());
    by_place(&transaction.rows(select).await?)
}

pub(super) async fn find_texts(transaction: &mut Transaction, texts: &[Arc<str>]) -> Result<HashMap<usize, i32>, Failure> {
    if texts.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT (q.place - 1)::integer, t.text_ref
         FROM UNNEST($1::text[]) WITH ORDINALITY AS q (text, place)
         JOIN texts AS t ON t.text = q.text",
    )
    .bind(texts.iter().map(|text| &**text).collect::<Vec<_>>());
    by_place(&transaction.rows(select).await?)
}

pub(super) async fn insert_packages(transaction: &mut Transaction, packages: &[PackageKey]) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query(
        "INSERT INTO packages (manager, name, arch)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(packages.iter().map(|package| package.manager.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(PackageKey::arch_text).collect::<Vec<_>>());
    transaction.execute(insert).await.map(|_| ())
}

pub(super) async fn insert_candidates(transaction: &mut Transaction, candidates: &[(Digest, Arc<Candidate>)]) -> Result<(), Failure> {
    if candidates.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(candidates: &'a [(Digest, Arc<Candidate>)], of: impl Fn(&'a Candidate) -> T) -> Vec<T> {
        candidates.iter().map(|(_, candidate)| of(candidate)).collect()
    }
    let ids = |ids: &[Text]| (!ids.is_empty()).then(|| json(&ids));
    let sizes = candidates.iter().map(|(_, candidate)| candidate.size_bytes.map(bigint).transpose());
    let insert = sqlx::query(
        "INSERT INTO candidates
         (content_key, version, origin, severity, severity_word, security, advisories, cves, size_bytes, description, metadata)
         SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::boolean[], $7::text[], $8::text[],
             $9::bigint[], $10::text[], $11::text[])
         ON CONFLICT DO NOTHING",
    )
    .bind(candidates.iter().map(|(digest, _)| digest.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(column(candidates, |candidate| candidate.version.as_str()))
    .bind(column(candidates, |candidate| candidate.origin.as_ref().map(Text::as_str)))
    .bind(column(candidates, |candidate| code(candidate.severity.code())))
    .bind(column(candidates, |candidate| candidate.severity_word.as_ref().map(Text::as_str)))
    .bind(column(candidates, |candidate| candidate.security))
    .bind(column(candidates, |candidate| ids(&candidate.advisories)))
    .bind(column(candidates, |candidate| ids(&candidate.cves)))
    .bind(sizes.collect::<Result<Vec<_>, _>>()?)
    .bind(column(candidates, |candidate| candidate.description.as_ref().map(Text::as_str)))
    .bind(column(candidates, |candidate| candidate.metadata.as_ref().map(|metadata| metadata.as_json())));
    transaction.execute(insert).await.map(|_| ())
}

pub(super) async fn insert_texts(transaction: &mut Transaction, texts: &[Arc<str>]) -> Result<(), Failure> {
    if texts.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query("INSERT INTO texts (text) SELECT * FROM UNNEST($1::text[]) ON CONFLICT DO NOTHING")
        .bind(texts.iter().map(|text| &**text).collect::<Vec<_>>());
    transaction.execute(insert).await.map(|_| ())
}

pub(super) async fn read_packages(transaction: &mut Transaction, refs: &[i32]) -> Result<Vec<(i32, PackageKey)>, Failure> {
    if refs.is_empty() {
        return Ok(Vec::new());
    }
    let select = sqlx::query("SELECT package_ref, manager, name, arch FROM packages WHERE package_ref = ANY($1)").bind(refs);
    transaction.rows(select).await?.iter().map(|row| Ok((get(row, 0)?, package_key(row, 1)?))).collect()
}

pub(super) async fn read_candidates(transaction: &mut Transaction, refs: &[i32]) -> Result<Vec<(i32, Arc<Candidate>)>, Failure> {
    if refs.is_empty() {
        return Ok(Vec::new());
    }
    let select = concat!("SELECT c.candidate_ref, ", candidate_columns!(), " FROM candidates AS c WHERE c.candidate_ref = ANY($1)");
    let rows = transaction.rows(sqlx::query(select).bind(refs)).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, Arc::new(rows::candidate(row, 1)?)))).collect()
}

pub(super) async fn read_texts(transaction: &mut Transaction, refs: &[i32]) -> Result<Vec<(i32, Arc<str>)>, Failure> {
    if refs.is_empty() {
        return Ok(Vec::new());
    }
    let select = sqlx::query("SELECT text_ref, text FROM texts WHERE text_ref = ANY($1)").bind(refs);
    transaction.rows(select).await?.iter().map(|row| Ok((get(row, 0)?, get::<String>(row, 1)?.into()))).collect()
}
