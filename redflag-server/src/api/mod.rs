//! The JSON API: handlers that translate HTTP to one call of the fleet or its store, and back.

mod account_views;
mod accounts;
mod agents;
pub(crate) mod audit;
mod audit_views;
mod batches;
mod command_signatures;
mod command_steps;
mod command_views;
mod commands;
mod commands_of_agents;
mod decisions;
mod enrolment_tokens;
mod feed;
mod halting;
mod health;
pub(crate) mod id;
mod keys;
pub(crate) mod openapi;
mod operations;
pub(crate) mod own_account;
mod own_second_factor;
mod packages;
mod past;
mod quarantine;
mod removal;
mod reports;
mod session;
mod trend;
mod updates;
mod views;

pub use decisions::decide;
pub use quarantine::release;
pub use removal::remove;
pub use views::{EventView, StatsView, UpdateDetailView, UpdateView, VersionChangeView};

use crate::access::{Policy, PolicyRouter, Role, Scope};

/// Registers the API.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    const READ: Policy = Policy::Operator(Role::Viewer, Scope::Read);
    const DECIDE: Policy = Policy::Operator(Role::Approver, Scope::Decide);
    const COMMAND: Policy = Policy::Operator(Role::Approver, Scope::Command);
    const HALT: Policy = Policy::Operator(Role::Admin, Scope::Command);
    const ENROL: Policy = Policy::Operator(Role::Admin, Scope::Enrol);
    const ADMINISTER: Policy = Policy::Operator(Role::Admin, Scope::Administer);
    const PERSON: Policy = Policy::Person(Role::Viewer);
    router
        .get("/healthz", Policy::Public, health::live)
        .get("/readyz", Policy::Public, health::ready)
        .get("/metrics", READ, health::metrics)
        .get("/api/v1/openapi.json", Policy::Public, openapi::document)
        .post("/api/v1/enrol", Policy::Public, reports::enrol)
        .post("/api/v1/report", Policy::Agent, reports::report)
        .post("/api/v1/agents/{id}/updates", Policy::Agent, reports::compatible_report)
        .post("/api/v1/commands/lease", Policy::Agent, commands_of_agents::lease)
        .post("/api/v1/commands/{id}/start", Policy::Agent, commands_of_agents::start)
        .post("/api/v1/commands/{id}/result", Policy::Agent, commands_of_agents::result)
        .post("/api/v1/commands/{id}/output", Policy::Agent, commands_of_agents::output)
        .post("/api/v1/audit/witness", Policy::Agent, audit::witness)
        .post("/api/v1/audit/fork", Policy::Agent, audit::fork)
        .get("/api/v1/audit", READ, audit::list)
        .get("/api/v1/audit/checkpoint", READ, audit::checkpoint)
        .get("/api/v1/audit/export", ADMINISTER, audit::export)
        .get("/api/v1/agents", READ, agents::list)
        .get("/api/v1/agents/{id}", READ, agents::one)
        .delete("/api/v1/agents/{id}", ADMINISTER, removal::agent)
        .delete("/api/v1/agents/{id}/quarantine", ADMINISTER, quarantine::lift)
        .get("/api/v1/updates", READ, updates::list)
        .get("/api/v1/updates/{id}", READ, updates::one)
        .get("/api/v1/updates/{id}/history", READ, updates::history)
        .get("/api/v1/updates/{id}/events", READ, updates::events)
        .get("/api/v1/updates/{id}/past", READ, past::state)
        .post("/api/v1/updates/{id}/approve", DECIDE, decisions::approve)
        .post("/api/v1/updates/{id}/withdraw-approval", DECIDE, decisions::withdraw_approval)
        .post("/api/v1/updates/{id}/ignore", DECIDE, decisions::ignore)
        .post("/api/v1/updates/{id}/reopen", DECIDE, decisions::reopen)
        .get("/api/v1/selection", DECIDE, operations::select)
        .post("/api/v1/operations", DECIDE, operations::start)
        .get("/api/v1/operations/{id}", READ, operations::one)
        .get("/api/v1/commands", READ, commands::list)
        .get("/api/v1/commands/{agent_id}/{id}", READ, commands::one)
        .post("/api/v1/commands/{agent_id}/{id}/cancel", COMMAND, command_steps::cancel)
        .post("/api/v1/commands/{agent_id}/{id}/retry", COMMAND, command_steps::retry)
        .post("/api/v1/commands/{agent_id}/{id}/confirm", COMMAND, command_steps::confirm)
        .post("/api/v1/agents/{id}/commands", COMMAND, command_steps::request)
        .get("/api/v1/commands/{agent_id}/{id}/to-sign", READ, command_signatures::to_sign)
        .post("/api/v1/commands/{agent_id}/{id}/signatures", COMMAND, command_signatures::sign)
        .get("/api/v1/signing", READ, keys::signing)
        .get("/api/v1/keys", READ, keys::list)
        .post("/api/v1/keys", ADMINISTER, keys::add)
        .post("/api/v1/keys/{id}/revoke", ADMINISTER, keys::revoke)
        .get("/api/v1/halt", READ, halting::show)
        .post("/api/v1/halt", HALT, halting::set)
        .delete("/api/v1/halt", HALT, halting::lift)
        .get("/api/v1/account", PERSON, own_account::show)
        .post("/api/v1/account/password", PERSON, own_account::set_password)
        .get("/api/v1/account/second-factor", PERSON, own_second_factor::offer)
        .post("/api/v1/account/second-factor", PERSON, own_second_factor::set)
        .post("/api/v1/account/second-factor/remove", PERSON, own_second_factor::remove)
        .delete("/api/v1/account/sessions", PERSON, own_account::end_sessions)
        .post("/api/v1/account/tokens", PERSON, own_account::make_token)
        .delete("/api/v1/account/tokens/{id}", PERSON, own_account::revoke_token)
        .get("/api/v1/accounts", ADMINISTER, accounts::list)
        .post("/api/v1/accounts", ADMINISTER, accounts::add)
        .get("/api/v1/accounts/{name}", ADMINISTER, accounts::one)
        .post("/api/v1/accounts/{name}/role", ADMINISTER, accounts::set_role)
        .post("/api/v1/accounts/{name}/disable", ADMINISTER, accounts::disable)
        .post("/api/v1/accounts/{name}/enable", ADMINISTER, accounts::enable)
        .delete("/api/v1/accounts/{name}/second-factor", ADMINISTER, accounts::remove_second_factor)
        .post("/api/v1/accounts/{name}/sign-in-link", ADMINISTER, accounts::link)
        .delete("/api/v1/accounts/{name}/tokens/{id}", ADMINISTER, accounts::revoke_token)
        .post("/api/v1/enrolment-tokens", ENROL, enrolment_tokens::make)
        .get("/api/v1/session", PERSON, session::show)
        .get("/api/v1/stats", READ, updates::stats)
        .get("/api/v1/packages", READ, packages::list)
        .get("/api/v1/trend", READ, trend::show)
        .get("/api/v1/feed", READ, feed::list)
        .get("/api/v1/batches", READ, batches::list)
        .get("/api/v1/batches/{agent_id}/{batch_id}", READ, batches::one)
}
