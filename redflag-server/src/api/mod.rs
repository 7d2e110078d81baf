//! The JSON API: handlers that translate HTTP to one call of the fleet or its store, and back.

mod agents;
mod batches;
mod command_steps;
mod command_views;
mod commands;
mod commands_of_agents;
mod decisions;
mod feed;
mod halting;
mod health;
pub(crate) mod id;
mod openapi;
mod operations;
mod packages;
mod past;
mod removal;
mod reports;
mod session;
mod trend;
mod updates;
mod views;

pub use decisions::decide;
pub use removal::remove;
pub use views::{EventView, StatsView, UpdateDetailView, UpdateView, VersionChangeView};

use crate::access::{Policy, PolicyRouter, Role};

/// Registers the API.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    const VIEWER: Policy = Policy::Operator(Role::Viewer);
    const APPROVER: Policy = Policy::Operator(Role::Approver);
    const ADMIN: Policy = Policy::Operator(Role::Admin);
    router
        .get("/healthz", Policy::Public, health::live)
        .get("/readyz", Policy::Public, health::ready)
        .get("/api/v1/openapi.json", Policy::Public, openapi::document)
        .post("/api/v1/enrol", Policy::Public, reports::enrol)
        .post("/api/v1/report", Policy::Agent, reports::report)
        .post("/api/v1/agents/{id}/updates", Policy::Agent, reports::compatible_report)
        .post("/api/v1/commands/lease", Policy::Agent, commands_of_agents::lease)
        .post("/api/v1/commands/{id}/start", Policy::Agent, commands_of_agents::start)
        .post("/api/v1/commands/{id}/result", Policy::Agent, commands_of_agents::result)
        .post("/api/v1/commands/{id}/output", Policy::Agent, commands_of_agents::output)
        .get("/api/v1/agents", VIEWER, agents::list)
        .get("/api/v1/agents/{id}", VIEWER, agents::one)
        .delete("/api/v1/agents/{id}", ADMIN, removal::agent)
        .get("/api/v1/updates", VIEWER, updates::list)
        .get("/api/v1/updates/{id}", VIEWER, updates::one)
        .get("/api/v1/updates/{id}/history", VIEWER, updates::history)
        .get("/api/v1/updates/{id}/events", VIEWER, updates::events)
        .get("/api/v1/updates/{id}/past", VIEWER, past::state)
        .post("/api/v1/updates/{id}/approve", APPROVER, decisions::approve)
        .post("/api/v1/updates/{id}/withdraw-approval", APPROVER, decisions::withdraw_approval)
        .post("/api/v1/updates/{id}/ignore", APPROVER, decisions::ignore)
        .post("/api/v1/updates/{id}/reopen", APPROVER, decisions::reopen)
        .get("/api/v1/selection", APPROVER, operations::select)
        .post("/api/v1/operations", APPROVER, operations::start)
        .get("/api/v1/operations/{id}", VIEWER, operations::one)
        .get("/api/v1/commands", VIEWER, commands::list)
        .get("/api/v1/commands/{agent_id}/{id}", VIEWER, commands::one)
        .post("/api/v1/commands/{agent_id}/{id}/cancel", APPROVER, command_steps::cancel)
        .post("/api/v1/commands/{agent_id}/{id}/retry", APPROVER, command_steps::retry)
        .post("/api/v1/commands/{agent_id}/{id}/confirm", APPROVER, command_steps::confirm)
        .post("/api/v1/agents/{id}/commands", APPROVER, command_steps::request)
        .get("/api/v1/halt", VIEWER, halting::show)
        .post("/api/v1/halt", ADMIN, halting::set)
        .delete("/api/v1/halt", ADMIN, halting::lift)
        .get("/api/v1/session", VIEWER, session::show)
        .get("/api/v1/stats", VIEWER, updates::stats)
        .get("/api/v1/packages", VIEWER, packages::list)
        .get("/api/v1/trend", VIEWER, trend::show)
        .get("/api/v1/feed", VIEWER, feed::list)
        .get("/api/v1/batches", VIEWER, batches::list)
        .get("/api/v1/batches/{agent_id}/{batch_id}", VIEWER, batches::one)
}
