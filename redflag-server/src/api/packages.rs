//! Packages: how many hosts have an update of each.

use super::{updates::UpdateFilterParameters, views::text};
use crate::{
    app::AppState,
    listing::Listing as _,
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::query::{PackageQuery, PackageRow};
use serde::Serialize;
use utoipa::ToSchema;

/// Which part of a list of packages, in which order; an empty value counts as absent. Which updates count, the filter says.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `crate::listing` reads them")]
pub(super) struct PackageListParameters {
    /// The page, from 1.
    #[param(minimum = 1, maximum = 4_294_967_295_u64)]
    page: Option<u64>,
    /// Rows on a page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    page_size: Option<u32>,
    /// `hosts` (if absent; most first) or `name`; with `-` before it wholly reversed.
    #[param(pattern = "^(-?(hosts|name))?$")]
    sort: Option<String>,
}

/// A page of packages.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PackageListView {
    /// The rows.
    packages: Vec<PackageView>,
    /// Packages of the whole list.
    total: u64,
    /// The page asked for.
    page: u32,
    /// Rows a page holds.
    page_size: u32,
}

/// One package.
#[derive(Debug, Serialize, ToSchema)]
struct PackageView {
    /// The manager.
    package_type: String,
    /// The package.
    package_name: String,
    /// Its architecture, where the manager knows one.
    arch: Option<String>,
    /// Hosts with an update of it that passes the filter.
    hosts: u64,
    /// The most serious of these updates.
    severity: &'static str,
    /// How many of them are security updates.
    security: u64,
}

/// A page of packages with how many hosts have an update of each.
#[utoipa::path(get, path = "/api/v1/packages", tag = "updates", params(UpdateFilterParameters, PackageListParameters),
    responses((status = 200, body = PackageListView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<PackageListView>, Problem> {
    let query = PackageQuery::from_uri(&uri)?;
    let page = app.fleet.store().packages(&query).await?;
    let packages = page.items.iter().map(PackageView::from).collect();
    Ok(Json(PackageListView { packages, total: page.total, page: query.page.get(), page_size: query.size.get() }))
}

impl From<&PackageRow> for PackageView {
    fn from(row: &PackageRow) -> Self {
        Self {
            package_type: row.package.manager.to_string(),
            package_name: row.package.name.to_string(),
            arch: text(row.package.arch.as_ref()),
            hosts: row.hosts,
            severity: row.severity.as_str(),
            security: row.security,
        }
    }
}
