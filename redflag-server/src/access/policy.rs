//! The route table: every route with its policy, as data that tests can walk.

use super::{
    guard::guard,
    role::{Role, Scope},
};
use crate::app::AppState;
use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::Method,
    middleware::{self, Next},
    routing::{self, MethodRouter},
};
use std::sync::Arc;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Anybody.
    Public,
    /// An enrolled agent, by its signature.
    Agent,
    /// An operator with at least this role, signed in or by an API token with this scope. With a session every method but GET also
    /// needs its CSRF token and an origin of our own.
    Operator(Role, Scope),
    /// The same, but signed in: no API token reaches it. Pages, and what concerns people's own passwords, sessions and tokens.
    Person(Role),
}

/// What kind of answer a client of the route expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// JSON, or text for machines; refusals are problems.
    Api,
    /// Pages for people; who is not signed in is sent to the sign-in page.
    Page,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The method; GET stands for HEAD too.
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub policy: Policy,
}

impl RouteEntry {
    /// Whether it belongs to the API or to the pages.
    #[must_use]
    pub fn surface(&self) -> Surface {
        if self.path.starts_with("/api/") || self.path == "/metrics" { Surface::Api } else { Surface::Page }
    }

    /// Whether who still has to set up a second factor reaches it: their own account without its API tokens, which would do without one.
    pub(super) fn before_second_factor(&self) -> bool {
        let path = self.path.strip_prefix("/api/v1").unwrap_or(self.path);
        let own_account = path == "/account" || path.starts_with("/account/") && !path.starts_with("/account/tokens");
        own_account || path == "/session" || path == "/sign-out"
    }
}

/// A router that takes no route without a policy.
#[derive(Debug)]
pub struct PolicyRouter {
    app: AppState,
    router: Router<AppState>,
    table: Vec<RouteEntry>,
}

impl PolicyRouter {
    /// A router without routes.
    #[must_use]
    pub fn new(app: AppState) -> Self {
        Self { app, router: Router::new(), table: Vec::new() }
    }

    /// Registers a handler for GET and HEAD.
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, policy: Policy, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.route(Method::GET, path, policy, routing::get(handler))
    }

    /// Registers a handler for POST.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, policy: Policy, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.route(Method::POST, path, policy, routing::post(handler))
    }

    /// Registers a handler for DELETE.
    #[must_use]
    pub fn delete<H, T>(self, path: &'static str, policy: Policy, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        self.route(Method::DELETE, path, policy, routing::delete(handler))
    }

    /// Every route registered.
    #[must_use]
    pub fn table(&self) -> &[RouteEntry] {
        &self.table
    }

    /// The routes behind their guards.
    pub(crate) fn into_router(self) -> Router<AppState> {
        self.router
    }

    fn route(mut self, method: Method, path: &'static str, policy: Policy, handler: MethodRouter<AppState>) -> Self {
        let entry = Arc::new(RouteEntry { method, path, policy });
        self.table.push(RouteEntry::clone(&entry));
        let app = AppState::clone(&self.app);
        let guarded = move |request: Request, next: Next| guard(AppState::clone(&app), Arc::clone(&entry), request, next);
        self.router = self.router.route(path, handler.route_layer(middleware::from_fn(guarded)));
        self
    }
}
