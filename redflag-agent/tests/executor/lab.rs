//! An executor in a directory of its own, with an installer that drives an invented host and keeps a ledger of what it did.
//!
//! The host is a directory of files, so that the ledger and what is installed outlive the executor's process.

use async_trait::async_trait;
use ed25519_dalek::{Signer as _, SigningKey};
use redflag_agent::{
    Printed, clock,
    executor::{
        Executor, ExecutorOptions,
        answer::{Answer, Outcome, Refused},
    },
    install::{InstallError, Installed, Installer},
};
use redflag_core::{
    command::{
        envelope::Envelope,
        payload::{Action, Audience, Command, CommandApproval, Order, Schema, SigningMode},
        plan::{Change, Item, Plan},
        refusal::RefusalCode,
    },
    ids::{CommandId, Digest},
    names::{Manager, PackageKey, Text, Version},
    signing,
};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::LazyLock,
    time::Duration,
};
use tempfile::TempDir;

pub(crate) const SERVER: u8 = 1;
pub(crate) const STRANGER: u8 = 7;
pub(crate) const AGENT: u8 = 9;

/// The key of every seed, made once.
static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| (0..=u8::MAX).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect());

pub(crate) fn key(seed: u8) -> &'static SigningKey {
    &KEYS[usize::from(seed)]
}

pub(crate) fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

pub(crate) fn audience() -> Audience {
    Audience { agent: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), key_id: signing::key_id(&public(AGENT)) }
}

/// What an operator asks for: one package, from its version 1 to 2.
pub(crate) fn item(name: &str) -> Item {
    let version = |text| Version::parse(text).unwrap();
    Item { package: PackageKey::parse("apt", name, Some("amd64")).unwrap(), from: version("1.0-1"), to: version("2.0-1"), origin: None }
}

pub(crate) fn change(item: &Item) -> Change {
    let Item { package, from, to, origin } = item.clone();
    Change { package, from: Some(from), to: Some(to), origin }
}

pub(crate) fn order(items: &[Item]) -> Order {
    let plan_digest = Plan::of(items.iter().map(change)).digest();
    Order { items: items.to_vec(), side_effects: BTreeSet::new(), plan_digest }
}

pub(crate) fn command(counter: u64, action: Action) -> Command {
    let now = clock::now();
    Command {
        schema: Schema,
        id: CommandId::from_uuid(clock::new_uuid()).unwrap(),
        audience: audience(),
        counter,
        not_before: now.saturating_sub(Duration::from_secs(60)),
        expires_at: now.saturating_add(Duration::from_hours(1)),
        mode: SigningMode::ServerSigns,
        action,
        approvals: vec![CommandApproval { actor: Text::lossy("alice"), at: now }],
    }
}

pub(crate) fn install(counter: u64, names: &[&str]) -> Command {
    let items: Vec<_> = names.iter().map(|name| item(name)).collect();
    command(counter, Action::Install(order(&items)))
}

pub(crate) fn signed_by(command: &Command, seed: u8) -> Vec<u8> {
    let envelope = Envelope::around(command);
    let signature = key(seed).sign(&envelope.bytes_to_sign()).to_bytes();
    envelope.with_signature(signing::key_id(&public(seed)), signature).to_json()
}

pub(crate) fn signed(command: &Command) -> Vec<u8> {
    signed_by(command, SERVER)
}

/// An envelope around any payload, signed by the server.
pub(crate) fn signed_payload(payload: &[u8]) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let payload_type = redflag_core::command::envelope::PAYLOAD_TYPE;
    let bytes = [format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes(), payload].concat();
    let (payload, sig) = (STANDARD.encode(payload), STANDARD.encode(key(SERVER).sign(&bytes).to_bytes()));
    let keyid = signing::key_id(&public(SERVER));
    format!(r#"{{"payload":"{payload}","payloadType":"{payload_type}","signatures":[{{"keyid":"{keyid}","sig":"{sig}"}}]}}"#).into_bytes()
}

pub(crate) fn refusal(answer: &Answer) -> RefusalCode {
    refused(answer).refusal.code
}

pub(crate) fn refused(answer: &Answer) -> &Refused {
    match &answer.outcome {
        Outcome::Refused(refused) => refused,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// An executor's directory and its host.
#[derive(Debug)]
pub(crate) struct Lab {
    pub directory: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        lab.write_policy(|policy| policy);
        Host::new(lab.path()).settle();
        lab
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the policy after `change`.
    pub(crate) fn write_policy(&self, change: impl FnOnce(String) -> String) {
        let (audience, server) = (audience(), Digest::from_bytes(public(SERVER)));
        let policy = format!(
            r#"[agent]
agent = "{}"
key_id = "{}"

[[signer]]
name = "server"
mode = "server-signs"
public_key = "{server}"

[allow]
actions = ["plan", "install", "recreate", "reboot", "cancel"]
managers = ["apt"]
packages = ["*"]
side_effects = []
"#,
            audience.agent, audience.key_id
        );
        fs::write(self.options().policy, change(policy)).unwrap();
    }

    pub(crate) fn options(&self) -> ExecutorOptions {
        options(self.path())
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.options().state_dir.join(name)
    }

    /// Lets the executor keep its state on a disk that can be broken.
    pub(crate) fn keep_state_on(&self, disk: &Path) {
        let (link, state) = (self.options().state_dir, disk.join("state"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&state).unwrap();
        if link.is_symlink() {
            fs::remove_file(&link).unwrap();
        }
        std::os::unix::fs::symlink(state, link).unwrap();
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(self.path())
    }

    pub(crate) async fn open(&self) -> redflag_agent::Result<Executor> {
        Executor::open(self.options(), vec![Box::new(self.host())]).await
    }

    /// Gives one envelope to an executor that is started for it.
    pub(crate) async fn run(&self, envelope: &[u8]) -> Answer {
        self.open().await.unwrap().run(envelope).await
    }

    pub(crate) async fn check(&self, envelope: &[u8]) -> Answer {
        self.open().await.unwrap().check(envelope).await
    }

    /// Gives an envelope that must be refused, and checks that nothing has happened.
    pub(crate) async fn refuses(&self, envelope: &[u8]) -> Answer {
        let before = self.host().ledger();
        let answer = self.run(envelope).await;
        assert!(matches!(answer.outcome, Outcome::Refused(_)), "{answer:?}");
        assert_eq!(self.host().ledger(), before);
        answer
    }
}

pub(crate) fn options(directory: &Path) -> ExecutorOptions {
    ExecutorOptions {
        state_dir: directory.join("state"),
        policy: directory.join("executor.toml"),
        reboot: vec!["sh".into(), "-c".into(), format!("echo reboot >>{}", directory.join("ledger").display())],
    }
}

/// An invented host: what is installed, and a ledger of what was done to it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    directory: PathBuf,
}

impl Host {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Makes the host: nothing has happened yet, and every package is at its version 1.
    fn settle(&self) {
        fs::write(self.ledger_path(), "").unwrap();
    }

    fn ledger_path(&self) -> PathBuf {
        self.directory.join("ledger")
    }

    /// What was done, in order.
    pub(crate) fn ledger(&self) -> Vec<String> {
        fs::read_to_string(self.ledger_path()).unwrap().lines().map(str::to_owned).collect()
    }

    fn done(&self, what: &str) {
        let mut ledger = fs::OpenOptions::new().append(true).open(self.ledger_path()).unwrap();
        ledger.write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    /// The last version the ledger names; what was done and what is installed cannot differ.
    fn installed(&self, item: &Item) -> String {
        let ledger = self.ledger();
        let done = ledger.iter().rev().find_map(|line| line.strip_prefix(item.package.name.as_str())?.strip_prefix(' '));
        done.unwrap_or("1.0-1").to_owned()
    }

    /// Lets plans hold more than what is asked for.
    pub(crate) fn also(&self, changes: &[Change]) {
        fs::write(self.directory.join("also"), serde_json::to_vec(changes).unwrap()).unwrap();
    }

    /// Says how the next installation is to go wrong.
    pub(crate) fn trouble(&self, trouble: Trouble) {
        fs::write(self.directory.join("trouble"), serde_json::to_vec(&trouble).unwrap()).unwrap();
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = fs::read(self.directory.join(name)).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    fn kill_executor() -> ! {
        redflag_faults::signal(std::process::id(), redflag_faults::Signal::KILL);
        unreachable!("nobody survives it")
    }
}

/// How an installation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Trouble {
    /// The executor is killed before anything has changed.
    KilledBefore,
    /// The executor is killed after the first item.
    KilledBetween,
    /// The executor is killed after the last item.
    KilledAfter,
    /// The executor is killed while a process it started goes on: one that reads from `pipe` and holds `alive` open.
    KilledAlone,
    /// It never ends.
    Hangs,
    /// It fails, with output that would command a terminal.
    Fails,
}

#[async_trait]
impl Installer for Host {
    fn manager(&self) -> Manager {
        Manager::parse("apt").unwrap()
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        for item in items {
            let installed = self.installed(item);
            if installed != item.from.as_str() {
                return Err(InstallError::Precondition { package: item.package.to_string(), installed, expected: item.from.to_string() });
            }
        }
        let also: Vec<Change> = self.read("also").unwrap_or_default();
        let kept = |item: &&Item| also.iter().all(|change| change.package != item.package);
        Ok(Plan::of(items.iter().filter(kept).map(change).chain(also.clone())))
    }

    #[expect(clippy::zombie_processes, reason = "who would wait is killed")]
    async fn install(&self, items: &[Item], _approved: &Plan, _printed: &Printed) -> Result<Installed, InstallError> {
        let trouble: Option<Trouble> = self.read("trouble");
        match trouble {
            Some(Trouble::KilledBefore) => Self::kill_executor(),
            Some(Trouble::KilledAlone) => {
                let script = "exec 3>alive; read -r line <pipe";
                let mut left = std::process::Command::new("sh");
                left.args(["-c", script]).current_dir(&self.directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                left.spawn().unwrap();
                Self::kill_executor();
            }
            Some(Trouble::Hangs) => std::future::pending().await,
            Some(Trouble::Fails) => {
                let output = "\u{1b}[2Jbroken\r\n".to_owned();
                return Err(InstallError::Failed { reason: "it broke\u{7}".into(), done: vec![], rolled_back: false, output });
            }
            _ => {}
        }
        for item in items {
            self.done(&format!("{} {}", item.package.name, item.to));
            if trouble == Some(Trouble::KilledBetween) {
                Self::kill_executor();
            }
        }
        if trouble == Some(Trouble::KilledAfter) {
            Self::kill_executor();
        }
        Ok(Installed { reboot_required: Some(false), transaction: None, output: "done\n".into() })
    }

    async fn recover(&self) -> Result<Vec<String>, InstallError> {
        Ok(vec!["the host was looked at".into()])
    }

    async fn refresh(&self) -> Result<(), InstallError> {
        self.done("refresh");
        Ok(())
    }
}
