//! Whatever happens on the way, the server ends up with what the last good scan said.

use crate::support::{Fault, Lab};
use proptest::prelude::*;
use redflag_agent::Silent;
use std::collections::BTreeMap;

const NAMES: [&str; 6] = ["bash", "curl", "dpkg", "git", "tar", "wget"];

/// One thing that happens to an agent.
#[derive(Clone, Debug)]
enum Step {
    /// Package by package: absent (0), or offered in that version.
    Offers([u8; 6]),
    ScanFails,
    ScanIsPartial,
    Report,
    ReportWith(Fault),
    /// The server does not answer for a whole round of tries.
    ReportInVain,
    Restart,
    /// The server loses everything reported.
    ServerForgets,
}

fn step() -> impl Strategy<Value = Step> {
    let refused = Fault::Answer { status: 422, code: "odd", retry_after: None };
    prop_oneof![
        4 => prop::array::uniform6(0..4_u8).prop_map(Step::Offers),
        1 => Just(Step::ScanFails),
        1 => Just(Step::ScanIsPartial),
        4 => Just(Step::Report),
        2 => Just(Step::ReportWith(Fault::LoseAnswer)),
        1 => Just(Step::ReportWith(refused)),
        1 => Just(Step::ReportInVain),
        2 => Just(Step::Restart),
        1 => Just(Step::ServerForgets),
    ]
}

fn offer(lab: &Lab, versions: [u8; 6]) -> BTreeMap<String, String> {
    let texts: Vec<_> = NAMES.into_iter().zip(versions).map(|(name, version)| (name, format!("1-{version}"))).collect();
    let (absent, offered): (Vec<_>, Vec<_>) = texts.iter().partition(|(_, version)| version == "1-0");
    let offers: Vec<_> = offered.iter().map(|(name, version)| (*name, "1-0", version.as_str())).collect();
    let installed: Vec<_> = absent.iter().map(|(name, _)| (*name, "1-9")).collect();
    lab.apt.offers(&offers, &installed);
    offered.iter().map(|(name, version)| ((*name).to_owned(), version.clone())).collect()
}

async fn play(steps: Vec<Step>, last: [u8; 6]) {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    for step in steps {
        match step {
            Step::Offers(versions) => drop(offer(&lab, versions)),
            Step::ScanFails => lab.apt.change(|scan| scan.failed("the dpkg lock is held")),
            Step::ScanIsPartial => lab.apt.change(|scan| scan.with_gaps(&["a line could not be read".to_owned()])),
            Step::Restart => {
                drop(agent);
                agent = lab.agent();
            }
            Step::ServerForgets => lab.server.lose_reports().await,
            Step::Report => drop(agent.report(&mut Silent).await.unwrap()),
            Step::ReportWith(fault) => {
                lab.server.fail([fault]);
                drop(agent.report(&mut Silent).await.unwrap());
            }
            Step::ReportInVain => {
                lab.server.fail(std::iter::repeat_n(Fault::LoseRequest, 4));
                drop(agent.report(&mut Silent).await.unwrap());
            }
        }
    }
    let expected = offer(&lab, last);
    drop(agent.report(&mut Silent).await.unwrap());
    assert_eq!(lab.server.open().await, expected);
    assert_eq!(agent.outbox_depth().reports, 0);
    agent.report(&mut Silent).await.unwrap();
    assert!(lab.server.last_report()["scopes"][0]["digest"].is_string(), "what is agreed on is not sent again");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn the_server_ends_up_with_the_last_good_scan(steps in prop::collection::vec(step(), 0..24), last in prop::array::uniform6(0..4_u8)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(steps, last));
    }
}
