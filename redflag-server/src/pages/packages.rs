//! The list of packages: how many hosts have an update of each.

use super::{
    frame::{Answer, Frame, Place, page},
    list::{Chip, Column, Order, Pager},
    update_filter::{self, FilterForm, Menus, View},
    update_row::updates_href,
};
use crate::{
    access::Operator,
    app::AppState,
    listing::{Listing as _, Numbered as _},
};
use askama::Template;
use axum::{extract::State, http::Uri};
use redflag_core::{
    limits,
    query::{PackageQuery, PackageRow, PackageSortKey, Search, UpdateFilter},
    words::Severity,
};

pub(super) const PATH: &str = "/packages";

#[derive(Template)]
#[template(path = "packages.html")]
struct PackagesPage {
    frame: Frame,
    lead: String,
    views: [View; 2],
    form: FilterForm,
    chips: Vec<Chip>,
    columns: Columns,
    rows: Vec<PackageView>,
    pager: Pager,
    first_href: String,
}

struct Columns {
    name: Column,
    hosts: Column,
}

struct PackageView {
    name: String,
    manager: String,
    arch: Option<String>,
    /// The updates with this name in theirs, by the filter in force.
    href: String,
    hosts: u64,
    severity: Severity,
    security: u64,
}

/// `GET /packages`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let query = PackageQuery::from_uri(&uri)?;
    let store = app.fleet.store();
    let found = store.packages(&query).await?;
    let menus = Menus::load(store, &query.filter).await?;
    let first = query.at_page(1);
    page(&PackagesPage {
        frame: Frame::within(&app, Place::Updates, &operator).await?,
        lead: update_filter::status(&query.filter),
        views: update_filter::views(PATH, &query.filter),
        form: FilterForm::new(PATH, &query, &query.filter, &menus),
        chips: menus.chips(&query.filter, |filter| PackageQuery { filter, ..first.clone() }.href(PATH)),
        columns: columns(&first),
        rows: found.items.iter().map(|row| package_view(row, &query.filter)).collect(),
        pager: Pager::new(PATH, &query, found.total, query.page.get(), query.size, |size| PackageQuery { size, ..first.clone() }),
        first_href: first.href(PATH),
    })
}

fn package_view(row: &PackageRow, filter: &UpdateFilter) -> PackageView {
    let name = row.package.name.as_str();
    // Of a name longer than a search may be, its start.
    let search = Search::new(name.get(..limits::SEARCH_BYTES_MAX).unwrap_or(name)).ok();
    PackageView {
        name: name.to_owned(),
        manager: row.package.manager.to_string(),
        arch: row.package.arch.as_ref().map(ToString::to_string),
        href: updates_href(UpdateFilter { search, manager: Some(row.package.manager.clone()), ..filter.clone() }),
        hosts: row.hosts,
        severity: row.severity,
        security: row.security,
    }
}

fn columns(first: &PackageQuery) -> Columns {
    let order = |sort| (first.sort == sort).then(|| Order::reversed(first.reverse));
    let href = |sort| move |order| PackageQuery { sort, reverse: order == Order::Descending, ..first.clone() }.href(PATH);
    let (name, hosts) = (PackageSortKey::Name, PackageSortKey::Hosts);
    Columns { name: Column::new("Package", order(name), href(name)), hosts: Column::largest_first("Hosts", order(hosts), href(hosts)) }
}
