//! Keys and terms change between two starts of a server, and the log says so.

use redflag_core::{
    Fleet,
    audit::{AuditKind, FactName},
    command::{
        payload::{SideEffect, SigningMode},
        record::Terms,
    },
    store::Expected,
};
use redflag_server::{
    Settings,
    app::App,
    audit::{AuditKey, keeper},
    signing_key::SigningKey,
};
use redflag_store_sqlite::SqliteStore;

/// Starts a server and answers what it puts down, and in how many blocks.
async fn started(fleet: &Fleet, terms: &Terms, signing_key: &SigningKey, audit_key: &AuditKey) -> (Vec<(AuditKind, Vec<String>)>, usize) {
    let settings = Settings { terms: terms.clone(), ..Settings::default() };
    let app = App::with_keys(fleet.clone(), settings, signing_key.clone(), audit_key.clone());
    let blocks = async || fleet.store().list("audit", None, 500).await.unwrap().len();
    let (before, blocks_before) = (app.audit.place().await.unwrap().number, blocks().await);
    keeper::begin(&app).await.unwrap();
    let told = [FactName::OldKeyId, FactName::Before, FactName::KeyId, FactName::Mode];
    let entries = app.audit.entries(before + 1..=u64::MAX).await.unwrap();
    let entries = entries.iter().filter(|link| link.entry.kind != AuditKind::LogBegun);
    let facts = |link: &redflag_core::audit::chain::Link| {
        told.iter().filter_map(|name| link.entry.facts.get(name)).map(ToString::to_string).collect::<Vec<_>>()
    };
    (entries.map(|link| (link.entry.kind, facts(link))).collect(), blocks().await - blocks_before)
}

#[tokio::test]
async fn a_start_with_other_keys_or_terms_is_an_entry_of_its_own() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signing.key");
    let (old, audit_key, terms) = (SigningKey::open(&path).unwrap(), AuditKey::new(), Terms::default());
    let start = async |terms: &Terms, key: &SigningKey, audit_key: &AuditKey| started(&fleet, terms, key, audit_key).await;
    let usual = |key: &SigningKey, mode: &str| (AuditKind::ServerStarted, vec![key.id().to_string(), mode.to_owned()]);
    assert_eq!(start(&terms, &old, &audit_key).await, (vec![usual(&old, "server-signs")], 1));
    assert_eq!(start(&terms, &old, &audit_key).await, (vec![usual(&old, "server-signs")], 1), "nothing has changed");

    SigningKey::prepare(&path).unwrap();
    assert_eq!(start(&terms, &SigningKey::open(&path).unwrap(), &audit_key).await.0.len(), 1, "the next key signs nothing yet");
    SigningKey::rotate(&path).unwrap();
    let new = SigningKey::open(&path).unwrap();
    let changed = (AuditKind::SigningKeyChanged, vec![old.id().to_string(), new.id().to_string()]);
    assert_eq!(start(&terms, &new, &audit_key).await, (vec![usual(&new, "server-signs"), changed.clone()], 1), "at once, or not at all");
    assert_eq!(start(&terms, &new, &audit_key).await.0, [usual(&new, "server-signs")], "once");

    let people = Terms { mode: SigningMode::OperatorSigns, signatures_min: 2, ..Terms::default() };
    let sign = "server-signs, 0 signatures of people, side effects: -, second factor: optional".to_owned();
    let changed = (AuditKind::TermsChanged, vec![sign, "operator-signs".to_owned()]);
    assert_eq!(start(&people, &new, &audit_key).await, (vec![usual(&new, "operator-signs"), changed], 1));
    let one = Terms { signatures_min: 1, side_effects: [SideEffect::Removal].into(), ..people.clone() };
    let before = "operator-signs, 2 signatures of people, side effects: -, second factor: optional".to_owned();
    let changed = (AuditKind::TermsChanged, vec![before, "operator-signs".to_owned()]);
    assert_eq!(start(&one, &new, &audit_key).await.0[1..], [changed], "one signature fewer, and what may come along");

    let other = AuditKey::new();
    let changed = (AuditKind::AuditKeyChanged, vec![audit_key.id().to_string(), other.id().to_string()]);
    assert_eq!(start(&one, &new, &other).await.0[1..], [changed], "though no checkpoint was signed yet");
    assert_eq!(start(&one, &new, &other).await.0.len(), 1);
}

/// So does how one signs in.
#[tokio::test]
async fn a_start_that_demands_second_factors_or_does_not_any_more_is_an_entry_of_its_own() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let (key, audit_key) = (SigningKey::new(), AuditKey::new());
    for (required, changed) in [(false, 0), (true, 1), (true, 1), (false, 2)] {
        let settings = Settings { second_factor_required: required, ..Settings::default() };
        let app = App::with_keys(fleet.clone(), settings, key.clone(), audit_key.clone());
        keeper::begin(&app).await.unwrap();
        let entries = app.audit.entries(1..=u64::MAX).await.unwrap();
        let of_terms: Vec<_> = entries.iter().filter(|link| link.entry.kind == AuditKind::TermsChanged).collect();
        assert_eq!(of_terms.len(), changed, "{required}");
        let told = |link: &redflag_core::audit::chain::Link| link.entry.facts[&FactName::SecondFactor].to_string();
        assert!(of_terms.last().is_none_or(|link| told(link) == if required { "required" } else { "optional" }));
    }
}

/// Where the newest start stands is remembered beside the log; the log is what counts.
#[tokio::test]
async fn a_start_that_was_not_remembered_is_found() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let (key, audit_key, terms) = (SigningKey::new(), AuditKey::new(), Terms::default());
    started(&fleet, &terms, &key, &audit_key).await;
    let log = redflag_server::audit::AuditLog::new(fleet.clone());
    for _ in 0..6_000 / 500 {
        let note = redflag_core::audit::entry::Note::new(
            AuditKind::SignInRefused,
            redflag_core::audit::entry::By::Stranger,
            redflag_server::clock::now(),
        );
        log.note_all(vec![note; 500]).await.unwrap();
    }
    let store = fleet.store();
    for wrong in [None, Some("1"), Some("999999"), Some("nonsense")] {
        let record = store.get("audit-started", "entry").await.unwrap().unwrap();
        match wrong {
            None => assert!(store.delete("audit-started", "entry", record.revision).await.unwrap()),
            Some(wrong) => drop(store.put("audit-started", "entry", wrong, Expected::Revision(record.revision)).await.unwrap().unwrap()),
        }
        let other = SigningKey::new();
        let (noted, _) = started(&fleet, &terms, &other, &audit_key).await;
        assert_eq!(noted[1].0, AuditKind::SigningKeyChanged, "{wrong:?}");
    }
}
