//! Lists while another process writes the same file: what is kept in memory for them holds for one moment of the file, not for this
//! process alone.

#[path = "common/own_file.rs"]
mod own_file;
#[path = "common/seeded.rs"]
mod seeded;

use own_file::{open, place};
use redflag_core::{
    Fleet,
    conformance::generate::{agent, at, enrolment},
    event::Actor,
    query::{PackageQuery, PageSize, UpdatePage, UpdateQuery},
    store::StateStore,
};
use redflag_store_sqlite::SqliteStore;
use seeded::{first_report, offers};
use std::path::Path;

/// The list of a store, after checking it against one that reads the file anew.
async fn list(store: &SqliteStore, path: &Path) -> UpdatePage {
    let query = UpdateQuery { size: PageSize::new(100).expect("a size"), ..UpdateQuery::default() };
    let (page, fresh) = (store.updates(&query).await.expect("a page"), open(path));
    assert_eq!(page, fresh.updates(&query).await.expect("a page"));
    let packages = store.packages(&PackageQuery::default()).await.expect("packages");
    assert_eq!(packages, fresh.packages(&PackageQuery::default()).await.expect("packages"));
    page
}

#[tokio::test]
async fn what_another_process_writes_is_in_the_next_list() {
    let (_directory, path) = place();
    let stores = [open(&path), open(&path)];
    for (host, updates) in (0..6).zip([20, 5, 1, 12, 30, 7]) {
        // Who writes has the index of its own last commit, who lists that of its own last list.
        let [writer, other] = if host % 2 == 0 { [&stores[0], &stores[1]] } else { [&stores[1], &stores[0]] };
        let fleet = Fleet::new(writer.clone());
        fleet.enrol(enrolment(host)).await.unwrap();
        let before = list(writer, &path).await.stats.total;
        fleet.record_report(agent(host), first_report(&offers(&[("apt", updates)])), at(1 + host)).await.unwrap();
        assert_eq!(list(other, &path).await.stats.total, before + updates as u64);
        assert_eq!(list(writer, &path).await.stats.total, before + updates as u64);
    }
    Fleet::new(stores[0].clone()).remove_agent(agent(4), Actor::Agent, None, at(9)).await.unwrap();
    for store in &stores {
        assert_eq!(list(store, &path).await.stats.total, 20 + 5 + 1 + 12 + 7);
    }
}
