//! Keys of people: whose they are, which count, listing one and revoking one.

use super::{
    frame::{Answer, Frame, Place, page},
    server_url,
    text::When,
};
use crate::{
    access::{AccountName, Operator, Role},
    app::{App, AppState},
    listing::no_parameters,
    people::{self, ListedKey, NewKey},
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, Path, State},
    http::Uri,
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{command::payload::SigningMode, ids::Digest, names::Text, time::Timestamp};
use serde::Deserialize;

/// Where the keys are listed.
const PATH: &str = "/keys";

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    mode: SigningMode,
    /// How many people must sign a command.
    signatures: u32,
    server: String,
    rows: Vec<KeyRow>,
    /// Whether the operator may list and revoke keys.
    changes: bool,
}

struct KeyRow {
    person: AccountName,
    label: Option<Text>,
    fingerprint: String,
    listed_by: Text,
    listed: When,
    revoked: Option<Revoked>,
    /// What root adds to the policy of a host.
    policy: String,
    href: String,
}

struct Revoked {
    by: Text,
    at: When,
    reason: Option<Text>,
}

impl KeyRow {
    fn new(key: ListedKey, now: Timestamp) -> Self {
        let ListedKey { person, public_key, label, listed_by, listed_at, revoked } = key;
        Self {
            fingerprint: public_key.fingerprint(),
            policy: public_key.policy_block(&person),
            href: format!("{PATH}/{}/revoke", public_key.id()),
            revoked: revoked.map(|revoked| Revoked { by: revoked.by, at: When::seen_from(now, revoked.at), reason: revoked.reason }),
            listed: When::seen_from(now, listed_at),
            person,
            label,
            listed_by,
        }
    }
}

/// `GET /keys`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let now = app.now();
    let keys = people::keys(app.fleet.store()).await?;
    page(&KeysPage {
        frame: Frame::within(&app, Place::Commands, &operator).await?,
        mode: app.settings.terms.mode,
        signatures: app.settings.terms.signatures_min,
        server: server_url(&app),
        rows: keys.into_iter().map(|key| KeyRow::new(key, now)).collect(),
        changes: operator.role >= Role::Admin,
    })
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct KeyForm {
    person: String,
    public_key: String,
    #[serde(default)]
    label: String,
}

/// `POST /keys`.
pub(super) async fn add(State(app): State<AppState>, operator: Operator, Form(form): Form<KeyForm>) -> Answer {
    let person = form.person.trim().parse().map_err(|error: String| Problem::parameter("person", error))?;
    let public_key = form.public_key.trim().parse().map_err(|error: String| Problem::parameter("public_key", error))?;
    let new = NewKey { person, public_key, label: optional("label", &form.label)?, by: operator.by() };
    people::list(&app.audit, new).await.map_err(Problem::from)?;
    Ok(Redirect::to(PATH).into_response())
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct RevokeForm {
    #[serde(default)]
    reason: String,
}

/// `GET /keys/{id}/revoke`: looking at it revokes nothing.
pub(super) async fn ask_revoke(State(app): State<AppState>, operator: Operator, Path(id): Path<String>, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let row = KeyRow::new(find(&app, &id).await?, app.now());
    page(&RevokePage { frame: Frame::within(&app, Place::Commands, &operator).await?, row })
}

#[derive(Template)]
#[template(path = "key_revoke.html")]
struct RevokePage {
    frame: Frame,
    row: KeyRow,
}

/// `POST /keys/{id}/revoke`.
pub(super) async fn revoke(
    State(app): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    Form(form): Form<RevokeForm>,
) -> Answer {
    let id = find(&app, &id).await?.public_key.id();
    people::revoke(&app.audit, id, operator.by(), optional("reason", &form.reason)?).await?;
    Ok(Redirect::to(PATH).into_response())
}

async fn find(app: &App, id: &str) -> Result<ListedKey, Problem> {
    let unknown = || Problem::not_found("no key has this address");
    let id: Digest = id.parse().map_err(|_| unknown())?;
    people::keys(app.fleet.store()).await?.into_iter().find(|key| key.public_key.id() == id).ok_or_else(unknown)
}

fn optional(name: &'static str, written: &str) -> Result<Option<Text>, Problem> {
    let written = Some(written.trim()).filter(|written| !written.is_empty());
    written.map(|written| Text::parse_as(name, written)).transpose().map_err(|error| Problem::parameter(name, error.message))
}
