//! The whole way with a real Docker: seen through the view by an unprivileged agent, planned, signed, recreated by the executor as
//! root, and seen by a new scan; and back again by itself when the new container is not well.

use crate::{
    container_lab::{self, REGISTRY, alone},
    lab::{Lab, command, refusal, signed},
    service::{NOBODY, Service, answer, own, write},
};
use assert_cmd::cargo::cargo_bin;
use redflag_agent::{executor::answer::Outcome, install::InstallError};
use redflag_core::{
    command::{
        payload::{Action, Order},
        plan::Item,
        refusal::RefusalCode,
    },
    names::{PackageKey, Text, Version},
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

/// What `redflag-agent scan` finds as a user without rights, through the view.
fn offered(view: &Service) -> Vec<Item> {
    let mut scan = Command::new("setpriv");
    scan.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(cargo_bin!("redflag-agent"));
    scan.args(["scan", "--manager", "docker", "--json"]).env("DOCKER_HOST", format!("unix://{}", view.socket.display()));
    let document: serde_json::Value = serde_json::from_str(&container_lab::stdout(&mut scan)).unwrap();
    let text = |offer: &serde_json::Value, field: &str| offer[field].as_str().unwrap().to_owned();
    let item = |offer: &serde_json::Value| Item {
        package: PackageKey::parse("docker", &text(offer, "package_name"), None).unwrap(),
        from: Version::parse(&text(offer, "current_version")).unwrap(),
        to: Version::parse(&text(offer, "available_version")).unwrap(),
        origin: Some(Text::parse(&text(offer, "repository_source")).unwrap()),
    };
    document["scans"][0]["offers"].as_array().unwrap().iter().map(item).collect()
}

#[test]
fn an_approved_image_goes_from_scan_to_scan_and_back_when_it_is_not_well() {
    alone("docker::an_approved_image_goes_from_scan_to_scan_and_back_when_it_is_not_well", async |world| {
        let (registry, docker, lab) = (world.registry(""), world.docker(), Lab::new());
        let push = |version: &str, health: &str| registry.push("lab/web", "latest", version, &["--index", "--health", health]);
        let first = push("1.0", "healthy");
        docker.run("web", &format!("{REGISTRY}/lab/web:latest"), &["--network", "host", "-e", "TOKEN=s3cret"]);
        let second = push("2.0", "healthy");
        fs::set_permissions(lab.path(), PermissionsExt::from_mode(0o755)).unwrap();
        lab.write_policy(|policy| format!("users = [\"nobody\"]\n{}", policy.replace("[\"apt\"]", "[\"docker\"]")));
        let service = Service::listening(&lab);
        let socket = lab.path().join("engine.sock");
        let mut view = Command::new(cargo_bin!("redflag-executor"));
        view.arg("view").args(own(&lab)).arg("--listen").arg(&socket).stdout(Stdio::null());
        let view = Service::start(view, socket);
        let execute =
            |counter, action| answer(&service.execute(Some(NOBODY), &write(&lab, &signed(&command(counter, action))), &["--json"]));

        let items = offered(&view);
        let versions: Vec<_> = items.iter().map(|item| format!("{} -> {}", item.from, item.to)).collect();
        assert_eq!(versions, [format!("latest@{first} -> latest@{second}")]);
        let Outcome::Planned { plan, plan_digest, excess } = execute(1, Action::Plan { items: items.clone() }).outcome else { panic!() };
        assert_eq!((plan.changes.len(), excess.len()), (1, 0));
        let order = Order { items: items.clone(), side_effects: BTreeSet::new(), plan_digest };
        let done = execute(2, Action::Recreate(order.clone()));
        assert!(matches!(done.outcome, Outcome::Installed(_)), "{done:?}");
        assert_eq!(offered(&view), [], "a new scan sees it installed");
        assert!(docker.docker(&["exec", "web", "env"]).contains("TOKEN=s3cret"));
        assert_eq!(docker.docker(&["exec", "web", "cat", "/version"]), "2.0");
        assert_eq!(refusal(&execute(3, Action::Recreate(order))), RefusalCode::NoPlan, "it runs another version now");

        push("3.0", "unhealthy");
        let items = offered(&view);
        let Outcome::Planned { plan_digest, .. } = execute(3, Action::Plan { items: items.clone() }).outcome else { panic!() };
        let failed = execute(4, Action::Recreate(Order { items: items.clone(), side_effects: BTreeSet::new(), plan_digest }));
        let Outcome::Failed { error: InstallError::Failed { rolled_back, .. } } = &failed.outcome else { panic!("{failed:?}") };
        assert!(*rolled_back, "{failed:?}");
        assert_eq!(docker.docker(&["exec", "web", "cat", "/version"]), "2.0");
        assert_eq!(offered(&view), items, "still offered");
    });
}
