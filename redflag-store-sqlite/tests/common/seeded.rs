//! Reports of any size, the same in every run.

use redflag_core::{
    conformance::generate::{self, Rng, checked, report_id, report_of, scope_of},
    names::PackageKey,
    offer::Offer,
    report::Report,
};

/// Offers by manager.
pub(crate) type Offers = Vec<(&'static str, Vec<(PackageKey, Offer)>)>;

/// So many offers of each manager.
pub(crate) fn offers(counts: &[(&'static str, usize)]) -> Offers {
    let mut rng = Rng::new(11);
    counts.iter().map(|(manager, count)| (*manager, checked(manager, &generate::offers(&mut rng, manager, *count)))).collect()
}

/// Report 1, with exactly these offers.
pub(crate) fn first_report(offers: &Offers) -> Report {
    report_of(report_id(1), 1, offers.iter().map(|(manager, offers)| scope_of(manager, generate::at(1), offers, &[])).collect())
}
