//! From an approval to a changed host where people sign: the real server, agent and executor, and the command line on two people's machines.

use crate::process::output;
use redflag_agent::{
    Agent, AgentHome, CommandOptions, EnrolOptions, Printed, RunOptions, Silent, enrol,
    executor::{ExecutorOptions, service},
    install::{InstallError, Installed, Installer},
    scan::{Scan, Scanner},
};
use redflag_core::{
    Fleet,
    audit::entry::By,
    command::{
        lifecycle::CommandState,
        payload::SigningMode,
        plan::{Change, Item, Plan},
        record::{CommandRecord, Terms},
    },
    ids::AgentId,
    names::{Manager, PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    query::{CommandQuery, UpdateQuery},
    signing,
    words::VersionOrder,
    work::Decision,
};
use redflag_server::{
    AccountName, EnrolmentTokenOptions, Role, Scope, Server, Settings,
    access::{ApiTokenOptions, add_account, issue_api_token},
    audit::AuditLog,
    ids,
    people::{self, NewKey},
};
use redflag_store_sqlite::SqliteStore;
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// What the only package of the host is at. Installers are made by a function, which can reach it only here.
static INSTALLED: Mutex<&str> = Mutex::new("5.1-1");
const OFFERED: &str = "5.2-1";

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// Looks at the host, and changes it.
#[derive(Debug)]
struct Apt;

#[async_trait::async_trait]
impl Scanner for Apt {
    fn manager(&self) -> Manager {
        Manager::parse("apt").unwrap()
    }

    fn version_order(&self) -> VersionOrder {
        VersionOrder::Dpkg
    }

    async fn present(&self) -> bool {
        true
    }

    async fn scan(&self) -> Scan {
        let (key, installed) = (PackageKey::parse("apt", "bash", Some("amd64")).unwrap(), *INSTALLED.lock().unwrap());
        let mut scan = Scan::begun(Scanner::manager(self), VersionOrder::Dpkg);
        if installed != OFFERED {
            let candidate = Arc::new(Candidate::new(version(OFFERED)));
            let offer = Offer { installed: Some(version(installed)), candidate, availability: Availability::INSTALLABLE };
            scan.offers.insert(key.clone(), offer);
        }
        scan.installed.insert(key, version(installed));
        scan
    }
}

#[async_trait::async_trait]
impl Installer for Apt {
    fn manager(&self) -> Manager {
        Manager::parse("apt").unwrap()
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        let change = |Item { package, from, to, origin }: Item| Change { package, from: Some(from), to: Some(to), origin };
        Ok(Plan::of(items.iter().cloned().map(change)))
    }

    async fn install(&self, items: &[Item], _approved: &Plan, _printed: &Printed) -> Result<Installed, InstallError> {
        assert!(items.len() == 1 && items[0].to == version(OFFERED), "{items:?}");
        *INSTALLED.lock().unwrap() = OFFERED;
        Ok(Installed { reboot_required: Some(false), transaction: None, output: "unpacked\n".into() })
    }

    async fn recover(&self) -> Result<Vec<String>, InstallError> {
        Ok(vec![])
    }

    async fn refresh(&self) -> Result<(), InstallError> {
        Ok(())
    }
}

/// Somebody with an account, and a machine with a key and a token on it.
struct Person {
    key: PathBuf,
    token: PathBuf,
    policy: String,
}

impl Person {
    async fn new(fleet: &Fleet, directory: &Path, name: &str) -> Self {
        let store = fleet.store();
        let (key, token) = (directory.join(format!("{name}/signer.key")), directory.join(format!("{name}.token")));
        let account: AccountName = name.parse().unwrap();
        add_account(store, account.clone(), Role::Approver).await.unwrap();
        let scopes = [Scope::Read, Scope::Command].into();
        let options =
            ApiTokenOptions { account: account.clone(), label: Text::lossy("sign"), scopes, expires_in: Duration::from_secs(600) };
        std::fs::write(&token, issue_api_token(store, options).await.unwrap().expose()).unwrap();
        let (code, shown, error) = output("memory:", &["signer", "new", "--json", "--person", name, "--key", key.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{error}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let public_key = shown["public_key"].as_str().unwrap().parse().unwrap();
        let by = By::CommandLine { name: Text::lossy("root") };
        people::list(&AuditLog::new(fleet.clone()), NewKey { person: account, public_key, label: None, by }).await.unwrap();
        Self { key, token, policy: shown["policy"].as_str().unwrap().to_owned() }
    }

    /// Runs `redflag-server sign`; its exit code, what it says, and why not.
    async fn sign(&self, url: &str, arguments: &[&str]) -> (i32, String, String) {
        let (key, token) = (self.key.to_str().unwrap(), self.token.to_str().unwrap());
        output("memory:", &[&["sign", "--server", url, "--token-file", token, "--key", key], arguments].concat()).await
    }
}

/// Lets the host's executor listen, which obeys these people and nobody else.
fn listen(directory: &Path, audience: &redflag_core::command::payload::Audience, people: &[&Person]) -> CommandOptions {
    let options = ExecutorOptions {
        state_dir: directory.join("executor"),
        policy: directory.join("executor.toml"),
        reboot: vec!["false".to_owned()],
    };
    let signers: Vec<_> = people.iter().map(|person| person.policy.as_str()).collect();
    let policy = format!(
        "[agent]\nagent = \"{}\"\nkey_id = \"{}\"\n\n{}\n\n[allow]\nactions = [\"plan\", \"install\"]\nmanagers = [\"apt\"]\npackages = [\"*\"]\n\n\
         [require]\nsignatures = 2\n",
        audience.agent,
        audience.key_id,
        signers.join("\n\n")
    );
    std::fs::write(&options.policy, policy).unwrap();
    let socket = directory.join("executor.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let installers = || -> Vec<Box<dyn Installer>> { vec![Box::new(Apt)] };
        service::serve(&listener, &options, installers, None, std::future::pending()).await.unwrap();
    });
    CommandOptions { pause: Duration::from_millis(20), ..CommandOptions::through(socket) }
}

async fn commands(fleet: &Fleet) -> Vec<CommandRecord> {
    let page = fleet.store().commands(&CommandQuery::default()).await.unwrap();
    page.items.into_iter().map(|row| row.record).collect()
}

/// The newest of so many commands, once it waits for signatures.
async fn waiting(fleet: &Fleet, count: usize) -> CommandRecord {
    let waits = |commands: &Vec<CommandRecord>| commands.len() == count && commands[0].state == CommandState::AwaitingSignature;
    until(async || Some(commands(fleet).await).filter(waits)).await.remove(0)
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("what is waited for does not come about")
}

async fn approve_all(fleet: &Fleet) {
    let page = fleet.store().updates(&UpdateQuery::default()).await.unwrap();
    for row in page.items {
        let (agent, package) = (row.agent, row.state.package.clone());
        let decision = Decision::Approve { offer_digest: row.state.offer_digest(), comment: None };
        fleet.decide(agent, ids::batch_id(), Text::lossy("ada"), vec![(package, decision)], redflag_server::clock::now()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_two_people_signed_is_installed_and_nothing_before() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let terms = Terms { mode: SigningMode::OperatorSigns, signatures_min: 2, ..Terms::default() };
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), terms, ..Settings::default() };
    let server = Server::bind(settings, fleet.clone()).await.unwrap();
    let (url, shutdown) = (server.url(), CancellationToken::new());
    let token = server.enrolment_token(EnrolmentTokenOptions::default()).await.unwrap();
    let server_key = server.app().signing_key.public_key();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let (ada, grace) = (Person::new(&fleet, directory.path(), "ada").await, Person::new(&fleet, directory.path(), "grace").await);

    let home = || AgentHome::open(directory.path().join("state")).unwrap();
    let options = EnrolOptions { server: url.clone(), token, name: Some("web-01".to_owned()), ..EnrolOptions::default() };
    let identity = enrol(&home(), &options).await.unwrap();
    assert_eq!(identity.pins.as_ref().unwrap().current().mode(), SigningMode::OperatorSigns);
    let commands_of_host = listen(directory.path(), &identity.audience(), &[&ada, &grace]);
    let options = RunOptions { commands: Some(commands_of_host), ..RunOptions::default() };
    let mut agent = Agent::open(home(), vec![Box::new(Apt)]).unwrap();
    agent.report(&mut Silent).await.unwrap();
    approve_all(&fleet).await;
    let signing = people_sign(&fleet, &url, identity.agent, [&ada, &grace]);
    tokio::select! {
        ended = agent.run(&options, CancellationToken::new()) => panic!("the agent has ended: {ended:?}"),
        () = signing => {}
    }
    let server_key_id = signing::key_id(&server_key);
    let history = commands(&fleet).await;
    assert!(history.iter().all(|command| command.signatures.len() == 2 && !command.signatures.contains_key(&server_key_id)), "{history:?}");
    refusals(&url, identity.agent, &ada).await;
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

/// Each command is read and signed by both, while the host waits for it.
async fn people_sign(fleet: &Fleet, url: &str, agent: AgentId, [ada, grace]: [&Person; 2]) {
    for (count, action) in [(1, "PLAN"), (2, "INSTALL")] {
        let command = waiting(fleet, count).await;
        let (code, said, error) = ada.sign(url, &["--all", "--yes"]).await;
        assert_eq!(code, 0, "{said}{error}");
        for part in [&format!("{action} 1 package of apt"), "bash (amd64)  5.1-1 -> 5.2-1", &agent.to_string()] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(said.contains("signed; it is awaiting-signature now"), "{said}");
        let again: Value = serde_json::from_str(&ada.sign(url, &["--all", "--yes", "--json"]).await.1).unwrap();
        assert_eq!(again["commands"][0]["left"], "this key has signed it already");
        assert_eq!(*INSTALLED.lock().unwrap(), "5.1-1", "half signed");
        let (agent_id, id) = (agent.to_string(), command.id.to_string());
        let (code, said, error) = grace.sign(url, &["--agent", &agent_id, "--command", &id, "--all", "--yes"]).await;
        assert!(code == 0 && said.contains("signed; it is queued now"), "{said}{error}");
    }
    until(async || (*INSTALLED.lock().unwrap() == OFFERED).then_some(())).await;
    until(async || commands(fleet).await.iter().all(|command| command.state == CommandState::Succeeded).then_some(())).await;
}

/// What is not there, whom nobody can ask, and whose token ends nowhere.
async fn refusals(url: &str, agent: AgentId, ada: &Person) {
    let (code, _, error) =
        ada.sign(url, &["--agent", &agent.to_string(), "--command", &ids::command_id().to_string(), "--all", "--yes"]).await;
    assert!(code == 1 && error.contains("does not wait for signatures"), "{error}");
    let (code, _, error) = ada.sign(url, &[]).await;
    assert!(code == 2 && error.contains("--all --yes"), "{error}");
    std::fs::write(&ada.token, "redflag_x").unwrap();
    let (code, _, error) = ada.sign(url, &["--all", "--yes"]).await;
    assert!(code == 1 && error.contains("401"), "{error}");
}
