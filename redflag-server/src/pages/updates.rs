//! The list of updates: filters, search, order and pages, all in the URL.

use super::{
    bulk,
    frame::{Answer, Frame, Place, page},
    list::{Chip, Column, Order, Pager},
    update_filter::{self, FilterForm, Menus, View},
    update_row::UpdateView,
};
use crate::{
    access::{Operator, Role},
    app::AppState,
    listing::{Listing as _, Numbered as _},
};
use askama::Template;
use axum::{extract::State, http::Uri};
use redflag_core::query::{PageStart, Sort, SortKey, UpdateFilter, UpdateQuery};

pub(super) const PATH: &str = "/updates";

#[derive(Template)]
#[template(path = "updates.html")]
struct UpdatesPage {
    frame: Frame,
    lead: String,
    views: [View; 2],
    form: FilterForm,
    chips: Vec<Chip>,
    columns: Columns,
    rows: Vec<UpdateView>,
    pager: Pager,
    /// Where this very page is, to come back to after a decision.
    here: String,
    first_href: String,
    /// Whether the operator may decide.
    decides: bool,
    /// Where one decides about everything in the list.
    bulk_href: String,
}

struct Columns {
    name: Column,
    agent: Column,
    severity: Column,
    last_change: Column,
}

/// Where the updates that pass `filter` are listed.
pub(super) fn href(filter: &UpdateFilter) -> String {
    UpdateQuery { filter: filter.clone(), ..UpdateQuery::default() }.href(PATH)
}

/// `GET /updates`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let query = UpdateQuery::from_uri(&uri)?;
    let store = app.fleet.store();
    let found = store.updates(&query).await?;
    let menus = Menus::load(store, &query.filter).await?;
    let now = app.now();
    let first = query.at_page(1);
    page(&UpdatesPage {
        frame: Frame::of(&app, Place::Updates, &operator).await?,
        lead: update_filter::status(&query.filter),
        views: update_filter::views(PATH, &query.filter),
        form: FilterForm::new(PATH, &query, &query.filter, &menus),
        chips: menus.chips(&query.filter, |filter| UpdateQuery { filter, ..first.clone() }.href(PATH)),
        columns: columns(&query),
        rows: found.items.iter().map(|row| UpdateView::new(row, now)).collect(),
        pager: Pager::new(PATH, &query, found.stats.total, page_number(&query), query.size, |size| UpdateQuery { size, ..first.clone() }),
        here: query.href(PATH),
        first_href: first.href(PATH),
        decides: operator.role >= Role::Approver,
        bulk_href: bulk::href(&query.filter),
    })
}

fn page_number(query: &UpdateQuery) -> u32 {
    match &query.start {
        PageStart::Number(number) => number.get(),
        PageStart::After(_) => 1,
    }
}

fn columns(query: &UpdateQuery) -> Columns {
    let column = |title, key| {
        let order = (query.sort.key == key).then(|| Order::reversed(query.sort.reverse));
        Column::new(title, order, |order| {
            UpdateQuery { sort: Sort { key, reverse: order == Order::Descending }, ..query.at_page(1) }.href(PATH)
        })
    };
    Columns {
        name: column("Package", SortKey::Name),
        agent: column("Agent", SortKey::Agent),
        severity: column("Severity", SortKey::Severity),
        last_change: column("Changed", SortKey::LastChange),
    }
}
