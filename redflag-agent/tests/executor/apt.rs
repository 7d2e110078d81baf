//! The whole way with a real apt: scanned, planned, signed, handed over by an unprivileged agent, installed by the executor as root,
//! and seen by a new scan.
//!
//! The executor takes no configuration from its environment, so it gets a mount namespace of its own, in which the configuration of
//! the lab's private apt lies at the place of the host's.

use crate::{
    lab::{Lab, command, refusal, refused, signed},
    scan_lab,
    service::{NOBODY, Service, answer, own, write},
};
use assert_cmd::cargo::cargo_bin;
use redflag_agent::{
    executor::answer::Outcome,
    install::InstallError,
    scan::{self, Scanner as _},
};
use redflag_core::{
    command::{
        payload::{Action, Order},
        plan::Item,
        refusal::RefusalCode,
    },
    names::PackageKey,
};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

const TOOLS: &[(&str, &str)] = &[
    ("apt", "apt"),
    ("apt-ftparchive", "apt-utils"),
    ("gpg", "gnupg"),
    ("dpkg-deb", "dpkg"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
];

/// Two packages of the lab, in the order of their names.
const NAMES: [&str; 2] = ["lab-app", "lab-lib"];

fn package(name: &str) -> PackageKey {
    PackageKey::parse("apt", name, Some("all")).unwrap()
}

async fn offered(apt: &Path) -> Vec<Item> {
    let scan = scan::Apt::with_configuration(apt).scan().await;
    NAMES.iter().filter_map(|name| Item::of_offer(&package(name), scan.offers.get(&package(name))?)).collect()
}

/// An executor as root, for which the lab's apt is the host's.
fn serve(lab: &Lab, world: &Path) -> Service {
    let configuration = world.join("etc-apt");
    fs::create_dir(&configuration).unwrap();
    fs::copy(world.join("apt.conf"), configuration.join("apt.conf")).unwrap();
    let socket = lab.path().join("socket");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", r#"mount --bind "$0" /etc/apt && exec "$@""#]);
    command.arg(&configuration).arg(cargo_bin!("redflag-executor")).arg("serve").args(own(lab)).arg("--listen").arg(&socket);
    Service::start(command, socket)
}

#[tokio::test]
async fn an_approved_update_goes_from_scan_to_scan_through_the_unprivileged_agent() {
    scan_lab::require(TOOLS);
    let (world, lab) = (scan_lab::directory(), Lab::new());
    scan_lab::build("apt-lab.sh", &[world.path().to_str().unwrap()]);
    fs::set_permissions(lab.path(), PermissionsExt::from_mode(0o755)).unwrap();
    lab.write_policy(|policy| format!("users = [\"nobody\"]\n{}", policy.replace("\"reboot\", ", "")));
    let service = serve(&lab, world.path());
    let execute = |counter, action| answer(&service.execute(Some(NOBODY), &write(&lab, &signed(&command(counter, action))), &["--json"]));

    let items = offered(&world.path().join("apt.conf")).await;
    assert_eq!(items.iter().map(|item| item.to.as_str()).collect::<Vec<_>>(), ["2.0-1", "1:0.9~rc1+dfsg-1ubuntu0.1"]);
    let planned = execute(1, Action::Plan { items: items.clone() });
    let Outcome::Planned { plan, plan_digest, excess } = planned.outcome else { panic!("{planned:?}") };
    assert_eq!((plan.changes.len(), excess.len()), (2, 0));
    let order = Order { items: items.clone(), side_effects: BTreeSet::new(), plan_digest };

    let other_plan = Order { items: items[..1].to_vec(), ..order.clone() };
    assert_eq!(refusal(&execute(2, Action::Install(other_plan))), RefusalCode::PlanChanged);
    let output = service.execute(Some(NOBODY), &write(&lab, &signed(&command(2, Action::Install(order.clone())))), &["--json"]);
    let (installed, printed) = (answer(&output), String::from_utf8(output.stderr).unwrap());
    assert!(printed.contains("Setting up lab-app (2.0-1)"), "what apt prints comes beside the answer: {printed}");
    assert!(matches!(installed.outcome, Outcome::Installed(_)), "{installed:?}");
    assert!(offered(&world.path().join("apt.conf")).await.is_empty(), "a new scan sees them installed");
    for name in NAMES {
        assert!(fs::read_to_string(world.path().join("root/opt/lab").join(name)).unwrap().starts_with(name));
    }

    let again = execute(3, Action::Install(order));
    assert_eq!(refusal(&again), RefusalCode::NoPlan, "their installed version is another now");
    assert!(matches!(refused(&again).error, Some(InstallError::Precondition { .. })), "{again:?}");
    let extra = Item { package: package("lab-newdeps"), ..items[0].clone() };
    let planned = execute(3, Action::Plan { items: vec![extra.clone()] });
    let Outcome::Planned { plan_digest, excess, .. } = planned.outcome else { panic!("{planned:?}") };
    assert_eq!(excess.len(), 1, "it needs a new package");
    let order = Order { items: vec![extra], side_effects: BTreeSet::new(), plan_digest };
    assert_eq!(refusal(&execute(4, Action::Install(order))), RefusalCode::ExtraPackage);
}
