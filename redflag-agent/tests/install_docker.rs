//! The container installer on real engines with a real registry: what is offered is planned, installed and seen by the next scan;
//! whatever goes wrong, the old container is back.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod container_lab;

use container_lab::{
    Engine, Lab, REGISTRY, Registry, alone,
    cut::Cut,
    gate::{GATE, Gate, LOGIN, Mood},
};
use redflag_agent::{
    Printed,
    install::{InstallError, Installer as _},
    scan::Scanner as _,
};
use redflag_core::{
    command::plan::{Change, Item, Plan},
    names::{PackageKey, Text, Version},
    words::ScanResult,
};
use serde_json::{Value, json};
use std::time::Duration;

/// What the scan offers, as items of a command.
async fn offered(lab: &Lab) -> Vec<Item> {
    let scan = lab.scanner().scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    scan.offers.iter().map(|(package, offer)| Item::of_offer(package, offer).expect("a container runs something")).collect()
}

/// The names of all containers, with those times of keeping taken out.
fn names(engine: &Engine) -> Vec<String> {
    let listed = engine.docker(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let mut names: Vec<String> = listed
        .lines()
        .map(|line| match line.split_once(".redflag-kept-") {
            Some((name, rest)) => format!("{name}.redflag-kept {}", rest.split_once(' ').expect("a state").1),
            None => line.to_owned(),
        })
        .collect();
    names.sort();
    names
}

fn inspect(engine: &Engine, name: &str) -> Value {
    let text = engine.docker(&["inspect", name]);
    serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
}

/// `IMAGE_VERSION` of the image a container runs.
fn version(engine: &Engine, name: &str) -> String {
    let inspected = inspect(engine, name);
    let variables = inspected["Config"]["Env"].as_array().expect("variables").clone();
    variables.iter().find_map(|variable| variable.as_str()?.strip_prefix("IMAGE_VERSION=").map(str::to_owned)).expect("a version")
}

fn web(registry: &Registry, version: &str, options: &[&str]) -> String {
    registry.push("lab/web", "latest", version, &[&["--index"], options].concat())
}

fn image() -> String {
    format!("{REGISTRY}/lab/web:latest")
}

/// The plan of recreating containers: they, and nothing else.
fn approved(items: &[Item]) -> Plan {
    Plan::of(items.iter().map(|item| Change {
        package: item.package.clone(),
        from: Some(item.from.clone()),
        to: Some(item.to.clone()),
        origin: item.package.name.as_str().split_once('/').map(|(registry, _)| Text::lossy(registry)),
    }))
}

#[test]
fn a_container_is_made_again_as_it_was_from_exactly_the_approved_image() {
    alone("a_container_is_made_again_as_it_was_from_exactly_the_approved_image", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        web(&registry, "1.0", &["--volume", "/data", "--health", "healthy"]);
        engine.docker(&["network", "create", "--subnet", "10.211.0.0/24", "front"]);
        engine.docker(&["network", "create", "back"]);
        let secrets = lab.write("secrets", "TOKEN=s3cret\n").display().to_string();
        let conf = lab.write("conf", "setting\n").display().to_string();
        #[rustfmt::skip]
        let options = [
            "--network", "front", "--ip", "10.211.0.9", "--network-alias", "www", "-p", "127.0.0.1:8080:80", "--restart", "always",
            "--env-file", &secrets, "-e", "MODE=a b", "--memory", "32m", "--cpus", "0.5", "-v", &format!("{conf}:/conf:ro"), "-v", "named:/named",
            "--mount", "type=tmpfs,target=/scratch", "--label", "team=shop", "--cap-drop", "ALL", "--read-only", "--ulimit", "nofile=1000:2000",
            "--user", "65534:65534", "--init", "--add-host", "db:10.9.9.9", "--stop-timeout", "3", "--log-opt", "max-size=1m",
        ];
        engine.run("web", &image(), &options);
        engine.docker(&["network", "connect", "--alias", "inner", "back", "web"]);
        engine.docker(&["exec", "-u", "0", "web", "sh", "-c", "echo kept > /data/file"]);
        let before = inspect(&engine, "web");
        let second = web(&registry, "2.0", &["--volume", "/data", "--health", "healthy"]);

        let items = offered(&lab).await;
        let plan = lab.installer().plan(&items).await.unwrap();
        assert_eq!(plan.excess(&items), []);
        assert_eq!(plan.reboot_required, Some(false));
        assert_eq!(
            (names(&engine), &inspect(&engine, "web")["Id"]),
            (vec!["web running".to_owned()], &before["Id"]),
            "a plan changes nothing"
        );
        // The tag moves on between approval and installation: what was approved is installed all the same.
        let third = web(&registry, "3.0", &[]);
        let installed = lab.installer().install(&items, &approved(&items), &Printed::default()).await.unwrap();
        assert_eq!(installed.output, "web: runs the new image\n");

        assert_eq!(names(&engine), ["web running", "web.redflag-kept exited"]);
        assert_eq!(version(&engine, "web"), "2.0");
        let after = inspect(&engine, "web");
        let host_config = |container: &Value| {
            let mut host_config = container["HostConfig"].clone();
            // The volume without a name is bound by the one it was given; the mounts tell.
            host_config.as_object_mut().map(|fields| fields.remove("Binds"));
            host_config
        };
        assert_eq!(host_config(&after), host_config(&before));
        let mounts = |container: &Value| {
            let mut mounts: Vec<_> = container["Mounts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|mount| (mount["Destination"].to_string(), mount["Source"].to_string()))
                .collect();
            mounts.sort();
            mounts
        };
        assert_eq!(mounts(&after), mounts(&before));
        assert_eq!(engine.docker(&["exec", "web", "cat", "/data/file", "/conf"]), "kept\nsetting");
        let environment = engine.docker(&["exec", "web", "env"]);
        assert!(
            environment.contains("TOKEN=s3cret") && environment.contains("MODE=a b") && environment.contains("IMAGE_VERSION=2.0"),
            "{environment}"
        );
        assert_eq!((&after["Config"]["User"], &after["Config"]["StopTimeout"]), (&json!("65534:65534"), &json!(3)));
        assert_eq!(
            (&after["Config"]["Labels"]["team"], &after["Config"]["Labels"]["org.opencontainers.image.version"]),
            (&json!("shop"), &json!("2.0"))
        );
        let network = |name: &str, field: &str| after["NetworkSettings"]["Networks"][name][field].clone();
        assert_eq!(network("front", "IPAddress"), "10.211.0.9");
        assert!(network("front", "Aliases").as_array().unwrap().contains(&json!("www")));
        assert!(network("back", "Aliases").as_array().unwrap().contains(&json!("inner")));
        assert_ne!(after["Config"]["Hostname"], before["Config"]["Hostname"], "the name an engine makes up is not kept");
        assert_eq!(after["Config"]["Image"], image());
        let kept = engine.docker(&["ps", "-a", "--filter", "name=web.redflag-kept", "--format", "{{.Names}}"]);
        assert_eq!(inspect(&engine, &kept)["HostConfig"]["RestartPolicy"]["Name"], "no", "a reboot must not start it");

        let items = offered(&lab).await;
        assert!(items[0].from.as_str().ends_with(&second) && items[0].to.as_str().ends_with(&third), "{items:?}");
        lab.installer().kept_for(Duration::ZERO).install(&items, &approved(&items), &Printed::default()).await.unwrap();
        assert_eq!((offered(&lab).await, names(&engine)), (vec![], vec!["web running".to_owned()]));
        let images = engine.docker(&["images", "-q"]);
        assert_eq!(images.lines().count(), 1, "old images go with the old containers: {images}");
    });
}

#[test]
fn an_update_that_does_not_prove_itself_is_undone() {
    alone("an_update_that_does_not_prove_itself_is_undone", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        web(&registry, "1.0", &["--health", "healthy"]);
        registry.push("lab/db", "latest", "1.0", &[]);
        engine.run("web", &image(), &["--network", "host", "--restart", "unless-stopped"]);
        engine.run("db", &format!("{REGISTRY}/lab/db:latest"), &["--network", "host"]);
        let before = (inspect(&engine, "web")["Id"].clone(), inspect(&engine, "db")["Id"].clone());
        // The first of the two is fine and comes back with the other: one transaction.
        registry.push("lab/db", "latest", "2.0", &[]);
        for (version, options, words) in [
            ("2.0", &["--health", "unhealthy"][..], "container web: its health check says unhealthy"),
            ("3.0", &["--exit", "7"], "container web: it is exited (exit code 7)"),
        ] {
            web(&registry, version, options);
            let items = offered(&lab).await;
            assert_eq!(items.len(), 2);
            let error = lab.installer().install(&items, &approved(&items), &Printed::default()).await.unwrap_err();
            let InstallError::Failed { reason, done, rolled_back, output } = &error else { panic!("{error:?}") };
            assert!(reason.contains(words) && *rolled_back && done.is_empty(), "{error:?}");
            assert_eq!(output, "db: runs the new image\nweb: runs the old image\ndb: runs the old image\n");
            assert_eq!(names(&engine), ["db running", "web running"]);
            let web = inspect(&engine, "web");
            assert_eq!((&web["Id"], &inspect(&engine, "db")["Id"]), (&before.0, &before.1), "the very same containers");
            assert_eq!(web["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
            assert_eq!(inspect(&engine, &image())["Id"], web["Image"], "the tag is what it was too");
            assert_eq!(offered(&lab).await, items, "still offered");
        }
    });
}

#[test]
fn what_is_not_as_approved_is_refused_before_anything_changes() {
    alone("what_is_not_as_approved_is_refused_before_anything_changes", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let first = web(&registry, "1.0", &[]);
        engine.run("web", &image(), &["--network", "host"]);
        engine.run("guest", &image(), &["--network", "container:web"]);
        engine.run("once", &image(), &["--network", "host", "--rm"]);
        let second = web(&registry, "2.0", &[]);
        let before = names(&engine);
        let item = |name: &str, from: &str, to: &str| Item {
            package: PackageKey::parse("docker", name, None).unwrap(),
            from: Version::parse(from).unwrap(),
            to: Version::parse(to).unwrap(),
            origin: None,
        };
        let (from, to) = (format!("latest@{first}"), format!("latest@{second}"));
        let absent = format!("latest@sha256:{}", "a".repeat(64));
        let guest = format!("{REGISTRY}/lab/web@guest");
        for (item, code) in [
            (item(&format!("{REGISTRY}/lab/web@web"), &from, &to), "held"),
            (item(&format!("{REGISTRY}/lab/web@once"), &from, &to), "held"),
            (item(&guest, &to, &from), "precondition"),
            (item(&guest, &absent, &to), "precondition"),
            (item(&format!("{REGISTRY}/lab/web@nobody"), &from, &to), "precondition"),
            (item("localhost:5000/lab/web@guest", &from, &to), "precondition"),
            (item(&guest, &from, &absent), "not-offered"),
            (item(&guest, &from, "latest"), "grammar"),
            (item(&guest, &from, "latest@sha256:short"), "grammar"),
            (item(&guest, &from, &to.replace("latest", "1.0")), "grammar"),
            (item(&guest, &from, &from), "grammar"),
            (item("169.254.169.254/lab/web@guest", &from, &to), "grammar"),
            (item(&format!("{REGISTRY}/../web@guest"), &from, &to), "grammar"),
            (item("lab/web@guest", &from, &to), "grammar"),
            (item(&image(), &from, &to), "grammar"),
        ] {
            let item = [item];
            for result in [
                lab.installer().plan(&item).await.map(|plan| format!("{plan:?}")),
                lab.installer().install(&item, &approved(&item), &Printed::default()).await.map(|done| done.output),
            ] {
                let error = serde_json::to_value(result.expect_err("it is refused")).unwrap();
                assert_eq!(error["code"], code, "{item:?}: {error}");
            }
            assert_eq!(names(&engine), before);
        }
        let twice = item(&guest, &from, &to);
        assert!(matches!(lab.installer().plan(&[twice.clone(), twice.clone()]).await, Err(InstallError::Grammar { .. })));
        let plan: Plan = lab.installer().plan(std::slice::from_ref(&twice)).await.unwrap();
        assert_eq!(plan.excess(std::slice::from_ref(&twice)), []);
        let other = lab.installer().install(std::slice::from_ref(&twice), &Plan::default(), &Printed::default()).await;
        assert!(matches!(other, Err(InstallError::PlanChanged { .. })), "{other:?}");
        registry.stop();
        let fresh = lab.installer();
        assert!(matches!(fresh.plan(std::slice::from_ref(&twice)).await, Err(InstallError::Unreachable { .. })));
        assert!(matches!(
            fresh.install(std::slice::from_ref(&twice), &plan, &Printed::default()).await,
            Err(InstallError::Unreachable { .. })
        ));
        assert_eq!(names(&engine), before);
        drop(engine);
        assert!(matches!(fresh.plan(&[twice]).await, Err(InstallError::Unreachable { .. })));
    });
}

#[test]
fn killed_after_any_change_the_next_run_finishes_or_undoes_it() {
    alone("killed_after_any_change_the_next_run_finishes_or_undoes_it", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        web(&registry, "1.0", &["--volume", "/data"]);
        let socket = lab.path("cut.sock");
        let (mut finished, mut undone) = (0, 0);
        for changes_max in 0.. {
            engine.docker(&["pull", "-q", &format!("{REGISTRY}/lab/web:latest")]);
            engine.run("web", &image(), &["--network", "host", "--restart", "always"]);
            engine.docker(&["exec", "web", "sh", "-c", "echo kept > /data/file"]);
            let digest = web(&registry, "2.0", &["--volume", "/data"]);
            let items = offered(&lab).await;
            let cut = Cut::open(socket.clone(), &engine.socket, changes_max);
            let killed = lab.installer().with_socket(&socket).install(&items, &approved(&items), &Printed::default()).await;
            let made = cut.made();
            drop(cut);
            let after_kill = names(&engine);

            lab.installer().refresh().await.unwrap_or_else(|error| panic!("after {made:?}: {error}"));
            let story = format!("after {made:?}, {after_kill:?}");
            let now = names(&engine);
            let inspected = inspect(&engine, "web");
            assert_eq!(inspected["State"]["Running"], true, "{story}");
            assert_eq!(inspected["HostConfig"]["RestartPolicy"]["Name"], "always", "{story}");
            assert_eq!(engine.docker(&["exec", "web", "cat", "/data/file"]), "kept", "{story}");
            match version(&engine, "web").as_str() {
                "1.0" => {
                    undone += 1;
                    assert_eq!(now, ["web running"], "{story}");
                    assert_eq!(offered(&lab).await, items, "{story}");
                }
                "2.0" => {
                    finished += 1;
                    assert_eq!(now, ["web running", "web.redflag-kept exited"], "{story}");
                    assert_eq!(offered(&lab).await, [], "{story}");
                }
                other => panic!("{story}: {other}"),
            }
            assert!(made.last().is_none_or(|last| last == "dead") || killed.is_ok(), "{killed:?}");
            for name in engine.docker(&["ps", "-aq"]).lines() {
                engine.docker(&["rm", "-f", "-v", name]);
            }
            engine.docker(&["rmi", "-f", &format!("{REGISTRY}/lab/web@{digest}")]);
            web(&registry, "1.0", &["--volume", "/data"]);
            if killed.is_ok() {
                println!("{finished} finished, {undone} undone");
                assert!(finished > 2 && undone > 4, "{finished} finished, {undone} undone, the last: {made:?}");
                break;
            }
        }
    });
}

#[test]
fn a_plan_says_what_an_interrupted_update_waits_for() {
    alone("a_plan_says_what_an_interrupted_update_waits_for", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        web(&registry, "1.0", &[]);
        engine.run("web", &image(), &["--network", "host"]);
        web(&registry, "2.0", &[]);
        let items = offered(&lab).await;
        engine.docker(&["create", "--name", "web.redflag-new", "--network", "host", &image()]);
        engine.docker(&["stop", "web"]);
        let error = lab.installer().plan(&items).await.unwrap_err();
        assert!(matches!(&error, InstallError::Interrupted { reason } if reason.contains("container web;")), "{error:?}");
        // The next installation takes care of it by itself.
        lab.installer().install(&items, &approved(&items), &Printed::default()).await.unwrap();
        assert_eq!(version(&engine, "web"), "2.0");
        assert_eq!(names(&engine), ["web running", "web.redflag-kept exited"]);
    });
}

#[test]
fn a_newer_version_takes_its_tag_along_and_a_login_is_given_to_the_engine() {
    alone("a_newer_version_takes_its_tag_along_and_a_login_is_given_to_the_engine", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let gate = Gate::open(REGISTRY).await;
        registry.push("lab/web", "1.9", "1.9", &["--index"]);
        engine.run("web", &format!("{GATE}/lab/web:1.9"), &["--network", "host"]);
        let newer = registry.push("lab/web", "1.10", "1.10", &["--index"]);
        gate.set(Mood::Token { realm: format!("http://{GATE}/token") });
        lab.write("config.json", &format!(r#"{{"auths":{{"{GATE}":{{"auth":"{LOGIN}"}}}}}}"#));
        let items = offered(&lab).await;
        assert_eq!(items[0].to.as_str(), format!("1.10@{newer}"));
        lab.installer().plan(&items).await.unwrap();
        lab.installer().install(&items, &approved(&items), &Printed::default()).await.unwrap();
        assert_eq!((version(&engine, "web"), offered(&lab).await), ("1.10".to_owned(), vec![]));
        assert_eq!(inspect(&engine, "web")["Config"]["Image"], format!("{GATE}/lab/web:1.10"));
    });
}

#[test]
fn podman_recreates_and_returns_as_docker_does() {
    alone("podman_recreates_and_returns_as_docker_does", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.podman());
        web(&registry, "1.0", &["--oci"]);
        engine.docker(&["pull", &image()]);
        let options = ["--network", "host", "-e", "MODE=a b", "-v", "named:/named", "--label", "team=shop", "--restart", "on-failure"];
        engine.run("web", &image(), &options);
        engine.run("bare", &image(), &["--network", "host", "--restart", "always"]);
        web(&registry, "2.0", &["--oci"]);
        let items = offered(&lab).await;
        let plan = lab.installer().plan(&items).await.unwrap();
        assert_eq!(plan.excess(&items), []);
        lab.installer().install(&items, &approved(&items), &Printed::default()).await.unwrap();
        assert_eq!((version(&engine, "web"), offered(&lab).await), ("2.0".to_owned(), vec![]));
        assert_eq!(names(&engine), ["bare running", "web running", "web.redflag-kept exited"], "podman would start the old one at boot");
        let inspected = inspect(&engine, "web");
        assert!(inspected["Config"]["Env"].as_array().unwrap().contains(&json!("MODE=a b")));
        assert_eq!((&inspected["Config"]["Labels"]["team"], &inspected["Mounts"][0]["Name"]), (&json!("shop"), &json!("named")));

        web(&registry, "3.0", &["--oci", "--exit", "7"]);
        let items = offered(&lab).await;
        let error = lab.installer().install(&items, &approved(&items), &Printed::default()).await.unwrap_err();
        assert!(matches!(&error, InstallError::Failed { rolled_back: true, .. }), "{error:?}");
        assert_eq!(version(&engine, "web"), "2.0");
    });
}
