//! A server with a fleet worth looking at: healthy, degraded, silent and new hosts, one with 3,772 updates, and one whose
//! reports try to break the pages.

use super::queue::{self, Commands};
use redflag_core::{
    Fleet,
    agent::Enrolment,
    ids::{AgentId, Digest},
    names::Text,
    time::Timestamp,
    wire::read_report,
};
use redflag_server::{Server, Settings, clock, open_fleet};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Updates of the largest host.
pub(crate) const LARGE: usize = 3_772;
/// Its docker images among them.
pub(crate) const IMAGES: usize = 12;
/// Facts that the hostile host sends and that are rejected.
pub(crate) const REJECTED: usize = 3;

/// Texts that must come out as they went in, and do nothing.
pub(crate) const HOSTILE: [&str; 6] = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=\"window.pwned=1\">",
    "javascript:window.pwned=1",
    "</title><svg onload=window.pwned=1>",
    "{{7*7}} ${7*7} <%= 7*7 %>",
    "invoice\u{202e}gpj.exe\u{1b}[31m\u{200b}",
];

/// A running server.
pub(crate) struct Host {
    pub(crate) url: String,
    pub(crate) sign_in: String,
    pub(crate) fleet: Fleet,
    pub(crate) large: AgentId,
    pub(crate) hostile: AgentId,
    pub(crate) fresh: AgentId,
    pub(crate) commands: Commands,
    _running: DropGuard,
    _directory: tempfile::TempDir,
}

impl Host {
    /// Starts a server whose fleet is empty.
    pub(crate) async fn empty() -> Self {
        Self::start(async |_| Commands::default()).await
    }

    /// Starts a server whose fleet has something to show.
    pub(crate) async fn populated() -> Self {
        Self::start(populate).await
    }

    /// Starts a server on a database of its own, as an operator would.
    async fn start(fill: impl AsyncFnOnce(&Fleet) -> Commands) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the database");
        let database = directory.path().join("redflag.db").display().to_string();
        let settings = Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), database, ..Settings::default() };
        let fleet = open_fleet(&settings).await.expect("the database opens");
        let commands = fill(&fleet).await;
        let server = Server::bind(settings, fleet.clone()).await.expect("the server binds");
        let (url, sign_in) = (server.url(), server.sign_in_link().await.expect("a link"));
        let shutdown = CancellationToken::new();
        tokio::spawn(server.run(shutdown.clone()));
        let (large, hostile, fresh) = (agent_id(1), agent_id(4), agent_id(5));
        Self { url, sign_in, fleet, large, hostile, fresh, commands, _running: shutdown.drop_guard(), _directory: directory }
    }

    /// The large host's next report offers a newer bash: what an operator looked at before is no longer what is offered.
    pub(crate) async fn offer_newer_bash(&self, version: &str) {
        let mut offers = large_apt();
        offers[0]["available_version"] = json!(version);
        report(&self.fleet, self.large, 9, &[scope("apt", "dpkg", &offers, ago(1))], ago(0)).await;
    }
}

/// The id of the agent `number`.
pub(crate) fn agent_id(number: u8) -> AgentId {
    format!("0192f0c1-2d3e-7a4b-8c5d-0000000000{number:02x}").parse().expect("an id")
}

pub(crate) fn ago(seconds: u64) -> Timestamp {
    let now = clock::now();
    Timestamp::from_micros(now.as_micros() - i64::try_from(seconds * 1_000_000).expect("in range")).expect("in range")
}

async fn populate(fleet: &Fleet) -> Commands {
    let hour = 3_600;
    enrol(fleet, 1, "build-01.fra", &[], ago(40 * 24 * hour)).await;
    let large = [scope("apt", "dpkg", &large_apt(), ago(170)), scope("docker", "none", &images(), ago(170))];
    report(fleet, agent_id(1), 1, &large, ago(170)).await;

    enrol(fleet, 2, "web-01.fra", &[], ago(39 * 24 * hour)).await;
    let web = [scope("dnf", "rpm", &web_offers("3.2.2-6.el9"), ago(26 * hour))];
    report(fleet, agent_id(2), 1, &web, ago(26 * hour)).await;
    let failed = json!({"package_type": "docker", "version_order": "none", "result": "failed", "scanned_at": ago(300),
        "error": "cannot connect to the Docker daemon at unix:///var/run/docker.sock"});
    let web = [scope("dnf", "rpm", &web_offers("3.2.2-7.el9"), ago(300)), failed];
    report(fleet, agent_id(2), 2, &web, ago(300)).await;

    enrol(fleet, 3, "mail-01.ams", &[], ago(30 * 24 * hour)).await;
    for day in (4..29).rev().step_by(2) {
        let at = ago(u64::from(day) * 24 * hour);
        report(fleet, agent_id(3), 100 - u64::from(day), &[scope("apt", "dpkg", &past_offers(day), at)], at).await;
    }
    report(fleet, agent_id(3), 100, &[scope("apt", "dpkg", &mail_offers(), ago(73 * hour))], ago(73 * hour)).await;

    enrol(fleet, 4, HOSTILE[0], &[], ago(9 * hour)).await;
    report(fleet, agent_id(4), 1, &hostile_scopes(), ago(2 * hour)).await;

    enrol(fleet, 5, "new-host.ams", &[], ago(400)).await;

    for number in 6..18_u8 {
        enrol(fleet, number, &format!("sim-{:02}", number - 5), &["simulated"], ago(5 * hour)).await;
        let offers: Vec<Value> =
            (0..u32::from(number) % 5).map(|i| offer(&format!("libdemo{i}"), "1.0-1", &format!("1.{number}-1"), "low")).collect();
        report(fleet, agent_id(number), 1, &[scope("apt", "dpkg", &offers, ago(120))], ago(u64::from(number) * 7)).await;
    }
    queue::fill(fleet).await
}

async fn enrol(fleet: &Fleet, number: u8, name: &str, tags: &[&str], enrolled_at: Timestamp) {
    let enrolment = Enrolment {
        agent: agent_id(number),
        name: Text::parse(name).expect("a name"),
        public_key: [number; 32],
        tags: tags.iter().map(|tag| Text::parse(tag).expect("a tag")).collect(),
        enrolled_at,
    };
    fleet.enrol(enrolment).await.expect("enrolled");
}

async fn report(fleet: &Fleet, agent: AgentId, sequence: u64, scopes: &[Value], at: Timestamp) {
    let id = redflag_server::ids::batch_id();
    let system = if sequence == 2 { "Rocky Linux 9.4" } else { "Debian GNU/Linux 12" };
    let hostile = agent == agent_id(4);
    let host = json!({"hostname": if hostile { HOSTILE[1] } else { "localhost" }, "os": if hostile { HOSTILE[3] } else { system },
        "kernel": "6.1.0-27-amd64", "arch": "x86_64", "agent_version": "0.1.0",
        "virtualisation": {"kind": "virtual-machine", "technology": if hostile { HOSTILE[2] } else { "kvm" }},
        "booted_at": ago(20 * 24 * 3_600), "machine_digest": Digest::of("machine", &[agent.as_uuid().as_bytes()]),
        "reboot_reasons": if hostile { HOSTILE.to_vec() } else { vec!["kernel 6.1.0-41-amd64 is installed, 6.1.0-27-amd64 runs"] },
        "services_to_restart": if hostile { HOSTILE.to_vec() } else { Vec::new() }});
    let body = json!({"schema": 1, "report_id": id, "sequence": sequence, "sent_at": at, "host": host, "scopes": scopes});
    let report = read_report(body.to_string().as_bytes()).expect("a readable envelope");
    fleet.record_report(agent, report, at).await.expect("recorded");
}

fn scope(manager: &str, order: &str, offers: &[Value], scanned_at: Timestamp) -> Value {
    let metadata_at = Timestamp::from_micros(scanned_at.as_micros() - 1_800_000_000).expect("in range");
    json!({"package_type": manager, "version_order": order, "result": "complete", "scanned_at": scanned_at,
        "metadata_at": metadata_at, "offers": offers, "gone": []})
}

fn offer(name: &str, from: &str, to: &str, severity: &str) -> Value {
    json!({"package_name": name, "arch": "amd64", "current_version": from, "available_version": to, "severity": severity,
        "repository_source": "bookworm/main", "size_bytes": 1_482_304})
}

fn large_apt() -> Vec<Value> {
    let severities = ["low", "moderate", "low", "unknown", "important", "low", "moderate", "low"];
    let mut offers =
        vec![json!({"package_name": "bash", "arch": "amd64", "current_version": "5.2.15-2+b7", "available_version": "5.2.15-2+deb12u1",
        "severity": "critical", "security": true, "repository_source": "bookworm-security/main", "size_bytes": 1_490_944,
        "package_description": "GNU Bourne Again SHell", "advisories": ["DSA-5900-1"], "cve_list": ["CVE-2026-10001", "CVE-2026-10002"],
        "metadata": {"section": "shells", "priority": "required"}})];
    for number in 1..LARGE - IMAGES {
        let severity = severities[number % severities.len()];
        let mut offer = offer(&format!("libpackage{number:04}"), &format!("1.{number}-1"), &format!("1.{number}-2"), severity);
        match number % 97 {
            0 => offer["security"] = json!(true),
            13 => {
                offer["availability"] = json!("phased");
                offer["availability_reason"] = json!("phased update, 20% so far");
            }
            29 => {
                offer["availability"] = json!("held");
                offer["availability_reason"] = json!("apt-mark hold");
            }
            _ => {}
        }
        offers.push(offer);
    }
    offers
}

fn images() -> Vec<Value> {
    let digest = |number: usize| format!("sha256:{}", format!("{number:02x}").repeat(32));
    (0..IMAGES)
        .map(|number| {
            json!({"package_name": format!("registry.example/team/service-{number}:stable@service-{number}"), "current_version": digest(number),
                "available_version": digest(number + 100), "repository_source": "registry.example"})
        })
        .collect()
}

fn web_offers(openssl: &str) -> Vec<Value> {
    vec![
        json!({"package_name": "openssl-libs", "arch": "x86_64", "current_version": "1:3.0.7-27.el9", "available_version": format!("1:{openssl}"),
            "severity": "Important", "security": true, "repository_source": "baseos", "advisories": ["RLSA-2026:9333"], "cve_list": ["CVE-2026-5535"]}),
        json!({"package_name": "kernel-core", "arch": "x86_64", "current_version": "5.14.0-427.el9", "available_version": "5.14.0-503.el9",
            "severity": "Moderate", "repository_source": "baseos", "size_bytes": 18_874_368}),
        json!({"package_name": "nginx", "arch": "x86_64", "current_version": "1:1.20.1-14.el9", "available_version": "1:1.20.1-20.el9",
            "severity": "enhancement", "repository_source": "appstream", "availability": "kept-back", "availability_reason": "excluded by versionlock"}),
    ]
}

fn mail_offers() -> Vec<Value> {
    vec![
        json!({"package_name": "postfix", "arch": "amd64", "current_version": "3.7.10-0+deb12u1", "available_version": "3.7.11-0+deb12u1",
            "severity": "important", "security": true, "repository_source": "bookworm-security/main", "cve_list": ["CVE-2026-27305"]}),
        offer("libc6", "2.36-9+deb12u7", "2.36-9+deb12u9", "moderate"),
    ]
}

/// What the mail host lacked some days ago: it was patched once a week, and never quite.
fn past_offers(day: u32) -> Vec<Value> {
    let severities = ["critical", "important", "moderate", "moderate", "low", "low", "low", "unknown"];
    let waiting = 300 + 150 * (28 - day) % 1_300;
    (0..waiting).map(|number| offer(&format!("libmail{number:04}"), "1.0-1", "1.0-2", severities[number as usize % 8])).collect()
}

fn hostile_scopes() -> Vec<Value> {
    let mut offers: Vec<Value> = HOSTILE
        .iter()
        .enumerate()
        .map(|(number, text)| {
            json!({"package_name": format!("evil{number}"), "current_version": "1", "available_version": "2", "severity": text,
                "repository_source": text, "package_description": text, "advisories": [text], "cve_list": [text],
                "availability": "held", "availability_reason": text, "metadata": {"note": text}})
        })
        .collect();
    offers.push(json!({"package_name": "<img/src=x/onerror=window.pwned=1>", "current_version": "\"onmouseover=1", "available_version": "<b>2</b>"}));
    // These three break a rule each and are shown as rejected.
    offers.push(json!({"package_name": HOSTILE[0], "available_version": "1 2"}));
    offers.push(json!({"package_name": "a b", "available_version": HOSTILE[1]}));
    offers.push(json!({"package_name": "evil-version", "available_version": HOSTILE[5]}));
    let mut odd = scope("odd", "none", &offers, ago(7_200));
    odd["refresh_error"] = json!(HOSTILE[1]);
    vec![odd]
}
