//! The OpenAPI document, made from the handlers themselves.

mod common;
mod security;
pub(super) mod wire;

use super::{
    accounts, agents, audit, batches, command_signatures, command_steps, commands, commands_of_agents, decisions, enrolment_tokens, feed,
    halting, health, keys, operations, own_account, own_second_factor, packages, past, quarantine, removal, reports, session, trend,
    updates,
};
use crate::{app::AppState, listing, problem::Problem, router};
use axum::{
    extract::State,
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use common::Common;
use serde_json::Value;
use std::sync::OnceLock;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    modifiers(&Common),
    info(
        title = "RedFlag",
        description = "Which package updates wait on every machine of a fleet, their whole history, and decisions about them. \
                       Operators carry a session cookie, and on every POST and DELETE the header `x-csrf-token`; or an API token \
                       as `authorization: Bearer`, and then no cookie. Agents sign every request \
                       (RFC 9421). Errors are RFC 9457 problems with a stable `code`. What is no sound HTTP is answered before that, \
                       without a body: 400, or 431 for a head over its limits; the connection is closed. A head that does not \
                       come in time ends the connection without an answer."
    ),
    paths(
        reports::enrol,
        reports::report,
        reports::compatible_report,
        commands_of_agents::lease,
        commands_of_agents::start,
        commands_of_agents::result,
        commands_of_agents::output,
        audit::witness,
        audit::fork,
        audit::list,
        audit::checkpoint,
        audit::export,
        agents::list,
        agents::one,
        removal::agent,
        quarantine::lift,
        updates::list,
        updates::one,
        updates::history,
        updates::events,
        past::state,
        updates::stats,
        packages::list,
        trend::show,
        health::metrics,
        feed::list,
        decisions::approve,
        decisions::withdraw_approval,
        decisions::ignore,
        decisions::reopen,
        operations::select,
        operations::start,
        operations::one,
        commands::list,
        commands::one,
        command_steps::request,
        command_steps::cancel,
        command_steps::retry,
        command_steps::confirm,
        command_signatures::to_sign,
        command_signatures::sign,
        keys::signing,
        keys::list,
        keys::add,
        keys::revoke,
        halting::show,
        halting::set,
        halting::lift,
        batches::list,
        batches::one,
        own_account::show,
        own_account::set_password,
        own_second_factor::offer,
        own_second_factor::set,
        own_second_factor::remove,
        own_account::end_sessions,
        own_account::make_token,
        own_account::revoke_token,
        accounts::list,
        accounts::add,
        accounts::one,
        accounts::set_role,
        accounts::disable,
        accounts::enable,
        accounts::remove_second_factor,
        accounts::link,
        accounts::revoke_token,
        enrolment_tokens::make,
        session::show,
        document,
    ),
    components(schemas(wire::reports::OfferBody, wire::reports::GoneBody, wire::reports::CompatibleUpdateBody))
)]
struct Operations;

static DOCUMENT: OnceLock<Document> = OnceLock::new();

/// The OpenAPI document, as a value and as it is sent.
pub(crate) struct Document {
    /// For our own page of it.
    pub(crate) value: Value,
    json: String,
}

/// The document of the API, made once.
pub(crate) fn of(app: &AppState) -> &'static Document {
    DOCUMENT.get_or_init(|| {
        let mut document = Operations::openapi();
        security::complete(&mut document, &router::table(app));
        let value = serde_json::to_value(&document).expect("the document always serialises");
        Document { json: format!("{value:#}"), value }
    })
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "meta", responses((status = 200, body = Object)))]
pub(super) async fn document(State(app): State<AppState>, uri: Uri) -> Result<Response, Problem> {
    listing::no_parameters(&uri)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], of(&app).json.as_str()).into_response())
}
