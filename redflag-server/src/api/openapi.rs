//! The OpenAPI document, made from the handlers themselves.

mod common;
pub(super) mod wire;

use super::{
    accounts, agents, batches, command_signatures, command_steps, commands, commands_of_agents, decisions, feed, halting, health, keys,
    operations, own_account, packages, past, quarantine, removal, reports, session, trend, updates,
};
use crate::{listing, problem::Problem};
use axum::{
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use common::Common;
use std::sync::LazyLock;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    modifiers(&Common),
    info(
        title = "RedFlag",
        description = "Which package updates wait on every machine of a fleet, their whole history, and decisions about them. \
                       Operators carry a session cookie, and on every POST and DELETE the header `x-csrf-token`; or an API token \
                       as `authorization: Bearer`, and then no cookie. Agents sign every request \
                       (RFC 9421). Errors are RFC 9457 problems with a stable `code`."
    ),
    paths(
        reports::enrol,
        reports::report,
        reports::compatible_report,
        commands_of_agents::lease,
        commands_of_agents::start,
        commands_of_agents::result,
        commands_of_agents::output,
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
        own_account::end_sessions,
        own_account::make_token,
        own_account::revoke_token,
        accounts::list,
        accounts::add,
        accounts::one,
        accounts::set_role,
        accounts::disable,
        accounts::enable,
        accounts::link,
        accounts::revoke_token,
        accounts::make_enrolment_token,
        session::show,
        document,
    ),
    components(schemas(wire::OfferBody, wire::GoneBody, wire::CompatibleUpdateBody))
)]
struct Document;

static JSON: LazyLock<String> = LazyLock::new(|| Document::openapi().to_pretty_json().expect("the document always serialises"));

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "meta", responses((status = 200, body = Object)))]
pub(super) async fn document(uri: Uri) -> Result<Response, Problem> {
    listing::no_parameters(&uri)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response())
}
