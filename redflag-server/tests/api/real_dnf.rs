//! The whole path on real input: this machine's apt and a real dnf with exactly 3,488 updates, scanned, reported, stored in a
//! SQLite file and listed.

use redflag_agent::{
    Agent, AgentHome, Delivery, EnrolOptions, Silent, enrol,
    scan::{Apt, Dnf},
};
use redflag_core::{
    Fleet,
    names::Manager,
    query::{PageNumber, PageSize, PageStart, UpdateFilter, UpdateQuery},
};
use redflag_server::{EnrolmentTokenOptions, Server, Settings};
use redflag_store_sqlite::{Options, SqliteStore};
use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};
use tokio_util::sync::CancellationToken;

/// Package, installed version, offered version, origin.
type Row = (String, String, String, String);

fn lab(directory: &Path) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab/dnf-big.py");
    let output = Command::new("/usr/bin/python3").arg(&script).arg(directory).arg("3488").output();
    let output = output.unwrap_or_else(|error| panic!("running {}: {error} (Debian package: python3)", script.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed (Debian packages: dnf rpm createrepo-c): {said}", script.display());
}

fn expected_of_dnf(directory: &Path) -> BTreeSet<Row> {
    let plain = |version: &str| version.strip_prefix("0:").unwrap_or(version).to_owned();
    let expected = fs::read_to_string(directory.join("expected.tsv")).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        (format!("{}:noarch", fields[0]), plain(fields[1]), plain(fields[2]), "lab".to_owned())
    };
    expected.lines().map(row).collect()
}

/// What `apt list --upgradable` says, without origins, which it words differently.
fn expected_of_apt() -> BTreeSet<(String, String, String)> {
    let output = Command::new("apt").args(["list", "--upgradable"]).env("LC_ALL", "C.UTF-8").output().expect("apt runs");
    let row = |line: &str| {
        let (name, rest) = line.split_once('/')?;
        let mut fields = rest.split_whitespace().skip(1);
        let (version, arch) = (fields.next()?, fields.next()?);
        let installed = line.rsplit_once("[upgradable from: ")?.1.trim_end_matches(']');
        Some((format!("{name}:{arch}"), installed.to_owned(), version.to_owned()))
    };
    String::from_utf8(output.stdout).unwrap().lines().filter_map(row).collect()
}

async fn listed(fleet: &Fleet, manager: &str) -> BTreeSet<Row> {
    let filter = UpdateFilter { manager: Some(Manager::parse(manager).unwrap()), ..UpdateFilter::default() };
    let mut rows = BTreeSet::new();
    for number in 1.. {
        let start = PageStart::Number(PageNumber::new(number).unwrap());
        let query = UpdateQuery { filter: filter.clone(), start, size: PageSize::new(500).unwrap(), ..UpdateQuery::default() };
        let page = fleet.store().updates(&query).await.unwrap();
        if page.items.is_empty() {
            assert_eq!(rows.len() as u64, page.stats.total, "no row of {manager} twice, none missing");
            break;
        }
        rows.extend(page.items.into_iter().map(|row| {
            let (package, offer) = (&row.state.package, &row.state.offer);
            let arch = package.arch_text();
            let installed = offer.installed.as_ref().map(ToString::to_string).unwrap_or_default();
            let origin = offer.candidate.origin.as_ref().map(ToString::to_string).unwrap_or_default();
            (format!("{}:{arch}", package.name), installed, offer.candidate.version.to_string(), origin)
        }));
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_machines_apt_and_a_dnf_of_3488_updates_reach_the_list_exactly() {
    let directory = tempfile::tempdir().unwrap();
    let dnf_lab = directory.path().join("dnf");
    lab(&dnf_lab);
    let store = SqliteStore::open(directory.path().join("redflag.db"), Options::default()).unwrap();
    let fleet = Fleet::new(store);
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Settings::default() };
    let server = Server::bind(settings, fleet.clone()).await.unwrap();
    let token = server.enrolment_token(EnrolmentTokenOptions::default()).await.unwrap();
    let options = EnrolOptions { server: server.url(), token, ..EnrolOptions::default() };
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));

    let home = AgentHome::open(directory.path().join("agent")).unwrap();
    enrol(&home, &options).await.unwrap();
    let scanners: Vec<Box<dyn redflag_agent::scan::Scanner>> =
        vec![Box::new(Apt::new()), Box::new(Dnf::with_command(dnf_lab.join("dnf.sh"), []))];
    let mut agent = Agent::open(home, scanners).unwrap();
    let first = agent.report(&mut Silent).await.unwrap();
    let Delivery::Delivered(counts) = &first.delivery else { panic!("{:?}", first.delivery) };
    assert_eq!((counts.rejected, counts.unchanged), (0, 0));
    let expected = expected_of_dnf(&dnf_lab);
    assert_eq!(expected.len(), 3_488);
    assert_eq!(listed(&fleet, "dnf").await, expected);
    let apt = listed(&fleet, "apt").await.into_iter().map(|(package, from, to, _)| (package, from, to)).collect::<BTreeSet<_>>();
    assert_eq!(apt, expected_of_apt());

    let second = agent.report(&mut Silent).await.unwrap();
    let Delivery::Delivered(counts) = &second.delivery else { panic!("{:?}", second.delivery) };
    assert_eq!((counts.events, counts.batches), (0, 0), "nothing changed, so nothing is written");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
