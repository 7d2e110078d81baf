//! Lists in the order of the reference where everything but the last columns is equal: same names under several managers,
//! architectures and agents, enrolled in another order than that of their ids, in both letter cases (clause Q1).

use crate::server::Server;
use redflag_core::{
    Fleet, MemoryStore,
    agent::Enrolment,
    conformance::generate::{agent, at, checked, enrolment, report_id, report_of, scope_of, text},
    offer::OfferInput,
    query::{PageNumber, PageSize, PageStart, Search, Sort, SortKey, StatusFilter, UpdateFilter, UpdateQuery},
    store::Store,
    words::{AvailabilityKind, Severity},
};
use std::sync::Arc;

/// Three agents, two of one name, each with the same twenty-seven packages; some closed again.
async fn filled(store: Arc<dyn Store>) -> Fleet {
    let fleet = Fleet::shared(store);
    for (number, name) in [(2, "same"), (0, "same"), (1, "Same")] {
        fleet.enrol(Enrolment { name: text(name), ..enrolment(number) }).await.expect("the agent is enrolled");
        let scope = |manager: &str, count: usize, seconds: u32| {
            let keys = ["lib_a", "LIB-B", "lib%"].into_iter().flat_map(|name| [None, Some("amd64"), Some("Z")].map(|arch| (name, arch)));
            let offer = |(place, (name, arch)): (usize, (&str, Option<&str>))| OfferInput {
                package_name: name.to_owned(),
                arch: arch.map(str::to_owned),
                available_version: "2".to_owned(),
                severity: (place % 4 == 1).then(|| "critical".to_owned()),
                security: place % 3 == 0,
                availability: (place % 5 == 2).then(|| "held".to_owned()),
                ..OfferInput::default()
            };
            let offers: Vec<_> = keys.enumerate().map(offer).take(count).collect();
            scope_of(manager, at(seconds), &checked(manager, &offers), &[])
        };
        let full = ["snap", "docker", "flatpak"].map(|manager| scope(manager, 9, 1)).to_vec();
        fleet.record_report(agent(number), report_of(report_id(1), 1, full), at(1)).await.expect("the report is taken");
        let fewer = vec![scope("docker", 7, 2)];
        fleet.record_report(agent(number), report_of(report_id(2), 2, fewer), at(2)).await.expect("the report is taken");
    }
    fleet
}

fn filters() -> Vec<UpdateFilter> {
    let any = UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
    let search = |text: &str| Some(Search::new(text).expect("a search"));
    vec![
        UpdateFilter::default(),
        UpdateFilter { agent: Some(agent(1)), ..any.clone() },
        UpdateFilter { search: search("IB_"), ..any.clone() },
        UpdateFilter { search: search("%"), agent: Some(agent(0)), ..any.clone() },
        UpdateFilter { severity: Some(Severity::Unknown), security: Some(true), ..any.clone() },
        UpdateFilter { availability: Some(AvailabilityKind::Held), manager: Some("snap".parse().expect("a manager")), ..any.clone() },
        UpdateFilter { status: StatusFilter::Is("withdrawn".parse().expect("a status")), ..any },
    ]
}

#[tokio::test]
async fn ties_are_broken_as_the_reference_breaks_them() {
    let server = Server::shared();
    let postgres = filled(Arc::new(server.open(&Server::options()).await)).await;
    let memory = filled(Arc::new(MemoryStore::new())).await;
    let mut pages = 0;
    for filter in filters() {
        for key in [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange] {
            for (reverse, size) in [(false, 5), (true, 5), (false, 500)] {
                let size = PageSize::new(size).unwrap();
                let mut query = UpdateQuery { filter: filter.clone(), sort: Sort { key, reverse }, size, start: PageStart::default() };
                for number in 1.. {
                    let expected = memory.store().updates(&query).await.unwrap();
                    assert_eq!(postgres.store().updates(&query).await.unwrap(), expected, "{query:?}");
                    let numbered = PageStart::Number(PageNumber::new(number).unwrap());
                    let numbered = UpdateQuery { start: numbered, ..query.clone() };
                    assert_eq!(postgres.store().updates(&numbered).await.unwrap(), expected, "{numbered:?}");
                    pages += 1;
                    let Some(next) = expected.next else { break };
                    query.start = PageStart::After(next);
                }
            }
        }
    }
    assert!(pages > 200, "{pages} pages compared");
}
