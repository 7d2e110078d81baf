//! Pages for people: server-rendered, complete without JavaScript, nothing fetched from elsewhere.
//!
//! Handlers are thin: a URL becomes a query of core, what comes back becomes a view, a template prints it. No page runs a query
//! per row. Everything agents send passes the escaper of [`inert`], which templates cannot forget.

mod account;
mod activity;
mod agent;
mod agent_row;
mod agents;
mod api_docs;
mod audit;
mod batch_row;
mod batches;
mod bulk;
mod command;
mod command_row;
mod commands;
mod enrolment;
mod frame;
mod host_action;
mod keys;
mod life;
mod list;
mod overview;
mod packages;
mod plan_view;
mod problem;
mod qr;
mod removal;
mod roll;
mod second_factor;
mod sign_in;
mod text;
mod trend;
mod update;
mod update_command;
mod update_filter;
mod update_row;
mod updates;
mod user;
mod users;

pub(crate) mod assets;
pub(crate) mod inert;

pub(crate) use problem::{PageProblem, problem_page, said_on};
pub(crate) use sign_in::{Door, sign_in_page};

use crate::{
    access::{Policy, PolicyRouter, Role},
    app::App,
};

/// Where one sets up a second factor.
pub(crate) const SECOND_FACTOR: &str = "/account/second-factor";

/// Registers the pages; every one with its policy.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    let (viewer, approver, admin) = (Policy::Person(Role::Viewer), Policy::Person(Role::Approver), Policy::Person(Role::Admin));
    let router = router
        .get("/", viewer, overview::show)
        .get("/updates", viewer, updates::list)
        .get("/updates/{id}", viewer, update::show)
        .post("/updates/{id}/decision", approver, update::decide)
        .get("/bulk", approver, bulk::show)
        .post("/bulk", approver, bulk::confirm)
        .get("/operations/{id}", viewer, bulk::operation)
        .get("/packages", viewer, packages::list)
        .get("/agents", viewer, agents::list)
        .get("/agents/{id}", viewer, agent::show)
        .get("/agents/{id}/remove", admin, removal::show)
        .post("/agents/{id}/remove", admin, removal::remove)
        .post("/agents/{id}/release", admin, agent::release)
        .post("/agents/{id}/commands", approver, host_action::ask)
        .get("/enrol", viewer, enrolment::show)
        .post("/enrol", admin, enrolment::make)
        .get("/commands", viewer, commands::list)
        .post("/commands/halt", admin, commands::halt)
        .post("/commands/lift", admin, commands::lift)
        .get("/commands/{agent}/{command}", viewer, command::show)
        .get("/commands/{agent}/{command}/cancel", approver, command::ask_cancel)
        .post("/commands/{agent}/{command}/cancel", approver, command::cancel)
        .post("/commands/{agent}/{command}/retry", approver, command::retry)
        .post("/commands/{agent}/{command}/confirm", approver, command::confirm)
        .get("/account", viewer, account::show)
        .post("/account/password", viewer, account::set_password)
        .get(SECOND_FACTOR, viewer, second_factor::show)
        .post(SECOND_FACTOR, viewer, second_factor::set)
        .post("/account/second-factor/remove", viewer, second_factor::remove)
        .post("/account/sign-out", viewer, account::sign_out_everywhere)
        .post("/account/tokens", viewer, account::make_token)
        .post("/account/tokens/{id}/revoke", viewer, account::revoke_token)
        .get("/users", admin, users::list)
        .post("/users", admin, users::add)
        .get("/users/{name}", admin, user::show)
        .post("/users/{name}/role", admin, user::set_role)
        .post("/users/{name}/disable", admin, user::disable)
        .post("/users/{name}/enable", admin, user::enable)
        .post("/users/{name}/remove-second-factor", admin, user::remove_second_factor)
        .post("/users/{name}/link", admin, user::link)
        .post("/users/{name}/tokens/{id}/revoke", admin, user::revoke_token)
        .get("/keys", viewer, keys::list)
        .post("/keys", admin, keys::add)
        .get("/keys/{id}/revoke", admin, keys::ask_revoke)
        .post("/keys/{id}/revoke", admin, keys::revoke)
        .get("/audit", viewer, audit::list)
        .get("/batches", viewer, batches::list)
        .get("/docs/api", viewer, api_docs::show)
        .get("/batches/{agent}/{batch}", viewer, batches::show);
    assets::routes(router)
}

/// How clients reach the server, for the commands shown to whoever enrols a host.
pub(crate) fn server_url(app: &App) -> String {
    app.settings.url()
}
