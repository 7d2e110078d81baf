//! The container scanner against real engines and a real registry.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod container_lab;

use container_lab::{
    Lab, REGISTRY, alone,
    gate::{GATE, Gate, LOGIN, Mood},
};
use redflag_agent::scan::{Scan, Scanner as _};
use redflag_core::{
    names::PackageKey,
    offer::Offer,
    words::{AvailabilityKind, ScanResult},
};

fn key(name: &str) -> PackageKey {
    PackageKey::parse("docker", name, None).expect("a package key")
}

/// `FROM -> TO kind`.
fn brief(offer: &Offer) -> String {
    let installed = offer.installed.as_ref().map_or("-", |version| version.as_str());
    format!("{installed} -> {} {}", offer.candidate.version, offer.availability.kind)
}

fn offers(scan: &Scan) -> Vec<String> {
    scan.offers.iter().map(|(package, offer)| format!("{} {}", package.name, brief(offer))).collect()
}

fn problem(scan: &Scan) -> &str {
    scan.error.as_ref().map_or("", |error| error.as_str())
}

async fn complete(lab: &Lab) -> Scan {
    let scan = lab.scanner().scan().await;
    assert_eq!((scan.result, problem(&scan)), (ScanResult::Complete, ""));
    scan
}

#[test]
fn a_tag_that_moves_is_an_update_until_the_container_runs_what_it_points_to() {
    alone("a_tag_that_moves_is_an_update_until_the_container_runs_what_it_points_to", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let image = format!("{REGISTRY}/lab/web:latest");
        // An index, as public images are: its digest is the tag's, not that of the platform's manifest.
        let first = registry.push("lab/web", "latest", "1.0", &["--index"]);
        engine.run("web", &image, &[]);
        let package = format!("{REGISTRY}/lab/web@web");
        let scan = complete(&lab).await;
        assert_eq!(offers(&scan), [] as [&str; 0], "the container runs what the tag points to");
        assert_eq!(scan.installed[&key(&package)].as_str(), format!("latest@{first}"));

        let second = registry.push("lab/web", "latest", "2.0", &["--index"]);
        let expected = [format!("{package} latest@{first} -> latest@{second} installable")];
        assert_eq!(offers(&complete(&lab).await), expected);

        // Pulling moves the tag on this host; the container still runs the old image.
        engine.docker(&["pull", &image]);
        let scan = complete(&lab).await;
        assert_eq!(offers(&scan), expected);
        let candidate = &scan.offers[&key(&package)].candidate;
        assert_eq!(candidate.origin.as_ref().unwrap().as_str(), REGISTRY);
        assert!(candidate.size_bytes.is_some_and(|bytes| bytes > 100_000), "{candidate:?}");
        assert_eq!(candidate.description.as_ref().unwrap().as_str(), "the tag latest points to another image now");

        engine.docker(&["rm", "-f", "web"]);
        engine.run("web", &image, &[]);
        let scan = complete(&lab).await;
        assert_eq!(offers(&scan), [] as [&str; 0]);
        assert_eq!(scan.installed[&key(&package)].as_str(), format!("latest@{second}"));
    });
}

#[test]
fn podman_forgets_the_digest_of_an_image_whose_tag_has_moved_and_is_asked_again() {
    alone("podman_forgets_the_digest_of_an_image_whose_tag_has_moved_and_is_asked_again", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.podman());
        let image = format!("{REGISTRY}/lab/web:latest");
        let first = registry.push("lab/web", "latest", "1.0", &["--index", "--oci"]);
        engine.docker(&["pull", &image]);
        engine.run("web", &image, &["--network", "host"]);
        let package = format!("{REGISTRY}/lab/web@web");
        let scan = complete(&lab).await;
        assert_eq!((offers(&scan).as_slice(), scan.installed[&key(&package)].as_str()), (&[][..], format!("latest@{first}").as_str()));
        let second = registry.push("lab/web", "latest", "2.0", &["--index", "--oci"]);
        engine.docker(&["pull", &image]);
        assert_eq!(offers(&complete(&lab).await), [format!("{package} latest@{first} -> latest@{second} installable")]);
    });
}

#[test]
fn seven_outdated_images_are_found_at_once_with_one_lookup_for_each() {
    alone("seven_outdated_images_are_found_at_once_with_one_lookup_for_each", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let names: Vec<String> = (1..=7).map(|number| format!("svc{number}")).collect();
        let push = |name: &str, version: &str| registry.push(&format!("lab/{name}"), "latest", version, &["--index"]);
        let mut expected = Vec::new();
        for name in &names {
            let first = push(name, "1.0");
            engine.run(name, &format!("{REGISTRY}/lab/{name}:latest"), &["--network", "host"]);
            let second = push(name, "2.0");
            expected.push(format!("{REGISTRY}/lab/{name}@{name} latest@{first} -> latest@{second} installable"));
        }
        // A second container of an image, and one that is as it should be.
        engine.run("twin", &format!("{REGISTRY}/lab/svc1:latest"), &["--network", "host"]);
        expected.insert(0, expected[0].replace("@svc1 ", "@twin "));
        expected.sort();
        push("current", "1.0");
        engine.run("current", &format!("{REGISTRY}/lab/current:latest"), &["--network", "host"]);
        registry.requests();

        let scan = complete(&lab).await;
        assert_eq!(offers(&scan), expected);
        assert_eq!((scan.installable(), scan.installed.len()), (8, 9));
        let requests = registry.requests();
        let heads = requests.iter().filter(|request| request.starts_with("HEAD ")).count();
        assert_eq!(heads, 8, "one for each distinct image: {requests:#?}");
        assert!(!requests.iter().any(|request| request.contains("/manifests/latest") && request.starts_with("GET ")), "{requests:#?}");
    });
}

#[test]
fn a_newer_version_is_offered_once_the_tag_itself_is_current() {
    alone("a_newer_version_is_offered_once_the_tag_itself_is_current", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let old = registry.push("lab/web", "1.9-alpine", "1.9", &[]);
        engine.run("web", &format!("{REGISTRY}/lab/web:1.9-alpine"), &["--network", "host"]);
        let package = format!("{REGISTRY}/lab/web@web");
        for tag in ["1.11", "latest", "1.12-rc1-alpine", "1.9.5-alpine", "v1.13-alpine"] {
            registry.push("lab/web", tag, tag, &[]);
        }
        assert_eq!(offers(&complete(&lab).await), [] as [&str; 0], "none of them has the same shape");
        registry.push("lab/web", "1.10-alpine", "1.10", &[]);
        let newest = registry.push("lab/web", "1.11-alpine", "1.11-alpine", &[]);
        let scan = complete(&lab).await;
        assert_eq!(offers(&scan), [format!("{package} 1.9-alpine@{old} -> 1.11-alpine@{newest} installable")]);
        assert_eq!(scan.offers[&key(&package)].candidate.description.as_ref().unwrap().as_str(), "1.11-alpine is newer than 1.9-alpine");

        let rebuilt = registry.push("lab/web", "1.9-alpine", "1.9 rebuilt", &[]);
        assert_eq!(offers(&complete(&lab).await), [format!("{package} 1.9-alpine@{old} -> 1.9-alpine@{rebuilt} installable")]);
    });
}

#[test]
fn what_cannot_or_need_not_be_updated_is_told_apart() {
    alone("what_cannot_or_need_not_be_updated_is_told_apart", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let host = ["--network", "host"];
        let with = |options: &[&'static str]| [&host[..], options].concat();
        let first = registry.push("lab/web", "latest", "1.0", &["--index"]);
        let image = format!("{REGISTRY}/lab/web:latest");
        engine.run("pinned", &format!("{REGISTRY}/lab/web@{first}"), &host);
        engine.docker(&["pull", &image]);
        engine.docker(&["tag", &image, "built-here:1.0"]);
        engine.run("local", "built-here:1.0", &host);
        engine.run("once", &image, &with(&["--rm"]));
        engine.run("swarm", &image, &with(&["--label", "com.docker.swarm.service.name=shop_web"]));
        engine.run("stopped", &image, &with(&["--restart", "always"]));
        engine.run("ended", &image, &host);
        engine.docker(&["stop", "stopped", "ended"]);
        let compose = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web"];
        engine.run("shop-web-1", &image, &with(&compose));
        engine.run("shop_web_again", &image, &with(&compose));
        let digest = registry.push("lab/web", "latest", "2.0", &["--index"]);
        // Another platform's image is no update for this host.
        registry.push("lab/other", "latest", "1.0", &["--index"]);
        engine.run("other", &format!("{REGISTRY}/lab/other:latest"), &host);
        registry.push("lab/other", "latest", "2.0", &["--index", "--platform", "s390x"]);

        let scan = lab.scanner().scan().await;
        let found: Vec<String> = scan
            .offers
            .iter()
            .map(|(package, offer)| {
                let name = package.name.as_str().rsplit('@').next().unwrap();
                format!("{name} {} {}", offer.availability.kind, offer.availability.reason.as_ref().map_or("", |reason| reason.as_str()))
            })
            .collect();
        assert_eq!(
            found,
            [
                "other blocked it has no image for linux/amd64",
                "once blocked it is removed when it stops (--rm), so there would be no way back",
                "shop/web installable ",
                "stopped blocked it does not run (exited)",
                "swarm blocked the swarm service shop_web manages it",
            ]
        );
        assert!(scan.offers.values().take(1).all(|offer| offer.availability.kind == AvailabilityKind::Blocked));
        assert_eq!(scan.installed[&key(&format!("{REGISTRY}/lab/web@pinned"))].as_str(), first);
        assert!(
            !scan.installed.keys().any(|package| package.name.as_str().contains("ended") || package.name.as_str().contains("built-here"))
        );
        assert!(scan.offers[&key(&format!("{REGISTRY}/lab/web@shop/web"))].candidate.version.as_str().ends_with(&digest));
        assert_eq!(
            (scan.result, problem(&scan)),
            (ScanResult::Partial, "containers shop-web-1 and shop_web_again say that they are the same service")
        );
    });
}

#[test]
fn a_registry_that_does_not_say_makes_nothing_current() {
    alone("a_registry_that_does_not_say_makes_nothing_current", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let gate = Gate::open(REGISTRY).await;
        for name in ["lab/web", "lab/api"] {
            registry.push(name, "1.0", "1.0", &["--index"]);
        }
        engine.run("web", &format!("{GATE}/lab/web:1.0"), &["--network", "host"]);
        engine.run("api", &format!("{GATE}/lab/api:1.0"), &["--network", "host"]);
        assert_eq!(offers(&complete(&lab).await), [] as [&str; 0]);
        let unknown = async |mood: Mood, words: &str| {
            gate.set(mood.clone());
            gate.requests();
            let scan = lab.scanner().scan().await;
            assert_eq!((scan.result, scan.offers.len(), scan.metadata_at), (ScanResult::Partial, 0, None), "{mood:?}");
            assert!(problem(&scan).contains(words), "{mood:?}: {:?}", scan.error);
            assert_eq!(scan.installed.len(), 2, "what runs is known all the same");
            gate.requests()
        };
        let requests = unknown(Mood::Answer(429, vec![("retry-after", "120".into())]), "(429), for 120 s").await;
        assert!(requests.len() <= 4, "it is left alone after its first refusal: {requests:?}");
        unknown(Mood::Answer(500, vec![]), "status 500").await;
        unknown(Mood::Answer(503, vec![]), "status 503").await;
        unknown(Mood::Answer(403, vec![]), "does not let us in").await;
        unknown(Mood::Answer(401, vec![]), "an authentication we do not know").await;
        unknown(Mood::Answer(404, vec![]), "has no tag 1.0 of lab/web").await;
        unknown(Mood::Answer(200, vec![]), "unknown kind").await;
        unknown(Mood::Answer(302, vec![("location", "http://169.254.169.254/latest/meta-data".into())]), "redirect").await;
        unknown(Mood::Answer(302, vec![("location", format!("http://{GATE}/v2/loop"))]), "redirect").await;
        unknown(Mood::Endless, "longer than 4194304 bytes").await;

        // The same scanner leaves a registry alone for as long as it was told to.
        let scanner = lab.scanner();
        gate.set(Mood::Answer(429, vec![("retry-after", "3600".into())]));
        assert_eq!(scanner.scan().await.result, ScanResult::Partial);
        gate.set(Mood::Open);
        gate.requests();
        let scan = scanner.scan().await;
        assert!(problem(&scan).contains("(429), for 35"), "{:?}", scan.error);
        assert_eq!(gate.requests(), [] as [&str; 0]);

        // A registry without HEAD and without digests in its headers says all the same what a tag points to.
        registry.push("lab/web", "1.0", "1.0 rebuilt", &["--index"]);
        gate.set(Mood::WithoutHead);
        let scan = lab.scanner().scan().await;
        assert_eq!((scan.result, scan.offers.len()), (ScanResult::Complete, 1), "{:?}", scan.error);
        drop(gate);
        let scan = lab.scanner().scan().await;
        assert_eq!((scan.result, scan.offers.len()), (ScanResult::Partial, 0));
        assert!(problem(&scan).contains("could not be reached"), "{:?}", scan.error);
    });
}

#[test]
fn a_registry_inside_that_this_host_does_not_name_makes_nothing_current() {
    alone("a_registry_inside_that_this_host_does_not_name_makes_nothing_current", async |lab| {
        // The engine takes a name that resolves to loopback for a registry of this host. We cannot know who gave it that address.
        let hosts = lab.write("hosts", "127.0.0.1 localhost registry.inside\n");
        container_lab::stdout(std::process::Command::new("mount").arg("--bind").args([&*hosts, "/etc/hosts".as_ref()]));
        let (registry, engine) = (lab.registry(""), lab.docker());
        registry.push("lab/web", "latest", "1.0", &["--index"]);
        let inside = REGISTRY.replace("127.0.0.1", "registry.inside");
        engine.run("web", &format!("{inside}/lab/web:latest"), &["--network", "host"]);
        registry.requests();
        let scan = lab.scanner().scan().await;
        assert_eq!((scan.result, scan.offers.len(), scan.metadata_at), (ScanResult::Partial, 0, None));
        for words in [&*format!("{inside} is not asked"), &format!("create the directory {}", lab.path("certs.d").join(&inside).display())]
        {
            assert!(problem(&scan).contains(words), "{words}: {:?}", scan.error);
        }
        assert_eq!(registry.requests(), [] as [&str; 0]);

        let mut settings = lab.registries();
        settings.daemon = Some(lab.write("insecure.json", &format!(r#"{{"insecure-registries":["{inside}"]}}"#)));
        let scanner = redflag_agent::scan::Docker::new().with_registries(settings);
        let scan = scanner.scan().await;
        assert_eq!((scan.result, problem(&scan), scan.offers.len()), (ScanResult::Complete, "", 0));
    });
}

#[test]
fn logins_are_used_where_the_registry_wants_them_and_nowhere_else() {
    alone("logins_are_used_where_the_registry_wants_them_and_nowhere_else", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        let gate = Gate::open(REGISTRY).await;
        registry.push("lab/web", "latest", "1.0", &["--index"]);
        engine.run("web", &format!("{GATE}/lab/web:latest"), &["--network", "host"]);
        let token = |realm: &str| Mood::Token { realm: realm.to_owned() };

        gate.set(token(&format!("http://{GATE}/token")));
        let scan = lab.scanner().scan().await;
        assert!(problem(&scan).contains("there is no login for it"), "{:?}", scan.error);

        lab.write("config.json", &format!(r#"{{"auths":{{"{GATE}":{{"auth":"{LOGIN}"}}}}}}"#));
        gate.requests();
        assert_eq!(offers(&complete(&lab).await), [] as [&str; 0]);
        let requests = gate.requests();
        assert!(requests.iter().any(|request| request.contains("scope=repository%3Alab%2Fweb%3Apull&service=lab")), "{requests:?}");
        assert_eq!(requests.iter().filter(|request| request.contains("/token")).count(), 1, "{requests:?}");

        // The token service of somebody else gets neither a request nor the password.
        gate.set(token("https://evil.example/token"));
        let scan = lab.scanner().scan().await;
        assert!(problem(&scan).contains("a token service elsewhere (evil.example)"), "{:?}", scan.error);

        gate.set(Mood::Basic);
        assert_eq!(offers(&complete(&lab).await), [] as [&str; 0]);
        lab.write("config.json", r#"{"auths":{"127.0.0.1:5001":{"auth":"YW5uYTp3cm9uZw=="}}}"#);
        let scan = lab.scanner().scan().await;
        assert!(problem(&scan).contains("the login is not accepted"), "{:?}", scan.error);
        lab.write("config.json", "{");
        let scan = lab.scanner().scan().await;
        assert!(problem(&scan).contains("config.json"), "{:?}", scan.error);
    });
}

#[test]
fn answers_are_kept_for_as_long_as_they_are_fresh_and_asked_for_by_etag_afterwards() {
    alone("answers_are_kept_for_as_long_as_they_are_fresh_and_asked_for_by_etag_afterwards", async |lab| {
        let (registry, engine) = (lab.registry(""), lab.docker());
        registry.push("lab/web", "latest", "1.0", &[]);
        engine.run("web", &format!("{REGISTRY}/lab/web:latest"), &["--network", "host"]);
        let mut settings = lab.registries();
        settings.fresh = std::time::Duration::from_secs(3600);
        let scanner = redflag_agent::scan::Docker::new().with_registries(settings);
        assert_eq!(offers(&scanner.scan().await), [] as [&str; 0]);
        let moved = registry.push("lab/web", "latest", "2.0", &[]);
        registry.requests();
        assert_eq!(offers(&scanner.scan().await), [] as [&str; 0], "asked a moment ago");
        assert_eq!(registry.requests(), [] as [&str; 0]);

        let scanner = lab.scanner();
        for _ in 0..2 {
            let scan = scanner.scan().await;
            assert!(scan.offers[&key(&format!("{REGISTRY}/lab/web@web"))].candidate.version.as_str().ends_with(&moved), "{scan:?}");
        }
        let requests = registry.requests();
        let ending = |words: &str| requests.iter().filter(|request| request.ends_with(words)).count();
        assert_eq!((ending("/manifests/latest 200"), ending("/manifests/latest 304")), (1, 1), "{requests:?}");
        let manifests = requests.iter().filter(|request| request.contains("/manifests/sha256")).count();
        assert_eq!(manifests, 1, "the manifest of a digest cannot change: {requests:?}");
    });
}

#[test]
fn a_registry_with_a_certificate_of_the_hosts_own_authority_is_asked_over_tls() {
    alone("a_registry_with_a_certificate_of_the_hosts_own_authority_is_asked_over_tls", async |lab| {
        let plain = lab.registry("");
        plain.push("lab/web", "latest", "1.0", &["--index"]);
        let engine = lab.docker();
        engine.run("web", &format!("{REGISTRY}/lab/web:latest"), &["--network", "host"]);
        let digest = plain.push("lab/web", "latest", "2.0", &["--index"]);
        plain.stop();
        let openssl = |arguments: &str| {
            container_lab::stdout(std::process::Command::new("openssl").args(arguments.split(' ')).current_dir(lab.path("")))
        };
        openssl(
            "req -x509 -newkey ed25519 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=Lab -addext basicConstraints=critical,CA:TRUE",
        );
        openssl("req -newkey ed25519 -nodes -keyout tls.key -out tls.csr -subj /CN=registry");
        lab.write("san", "subjectAltName=IP:127.0.0.1\n");
        openssl("x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out tls.pem");
        let [certificate, private] = ["tls.pem", "tls.key"].map(|name| lab.path(name).display().to_string());
        let _encrypted = lab.registry(&format!("  tls: {{certificate: {certificate}, key: {private}}}\n"));
        let scan = lab.scanner().scan().await;
        assert_eq!((scan.result, scan.offers.len()), (ScanResult::Partial, 0), "nobody vouches for it");

        lab.write(&format!("certs.d/{REGISTRY}/ca.crt"), &std::fs::read_to_string(lab.path("ca.pem")).unwrap());
        let scan = complete(&lab).await;
        assert!(scan.offers[&key(&format!("{REGISTRY}/lab/web@web"))].candidate.version.as_str().ends_with(&digest), "{scan:?}");
    });
}

#[test]
fn the_command_shows_containers_and_an_engine_that_is_away_is_no_empty_answer() {
    alone("the_command_shows_containers_and_an_engine_that_is_away_is_no_empty_answer", async |lab| {
        assert!(!lab.scanner().present().await, "no socket, no engine");
        let (registry, engine) = (lab.registry(""), lab.docker());
        let first = registry.push("lab/web", "latest", "1.0", &["--index"]);
        engine.run("web", &format!("{REGISTRY}/lab/web:latest"), &["--network", "host"]);
        let second = registry.push("lab/web", "latest", "2.0", &["--index"]);
        let command = |arguments: &[&str]| {
            let mut command = assert_cmd::Command::cargo_bin("redflag-agent").unwrap();
            command.args(["scan", "--manager", "docker"]).args(arguments).env("HOME", lab.path("home"));
            command
        };
        let output = command(&["--json"]).assert().success().get_output().stdout.clone();
        let document: serde_json::Value = serde_json::from_slice(&output).unwrap();
        let offer = &document["scans"][0]["offers"][0];
        assert_eq!(offer["package_name"], format!("{REGISTRY}/lab/web@web"));
        assert_eq!(
            (&offer["current_version"], &offer["available_version"]),
            (&format!("latest@{first}").into(), &format!("latest@{second}").into())
        );
        let table = String::from_utf8(command(&[]).assert().success().get_output().stdout.clone()).unwrap();
        assert!(table.contains("docker: 1 updates, 1 installable"), "{table}");

        drop(engine);
        assert!(lab.scanner().present().await, "the socket tells that there is an engine");
        let scan = lab.scanner().scan().await;
        assert_eq!(scan.result, ScanResult::Failed);
        assert!(problem(&scan).starts_with("connecting to the container engine at /run/docker.sock"), "{:?}", scan.error);
        command(&[]).assert().code(3);
    });
}
