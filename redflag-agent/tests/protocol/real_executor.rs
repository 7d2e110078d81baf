//! The whole way with the executor itself at its end: an approval on the server, a host that changes.

use crate::{
    command_lab::run_until,
    desk::{SERVER, public},
    stand_in::change,
    support::{FakeManager, Lab, TestServer, home},
};
use redflag_agent::{
    CommandOptions, Printed, RunOptions, Silent,
    commands::inbox::Inbox,
    executor::{ExecutorOptions, service},
    install::{InstallError, Installed, Installer},
    status::Status,
};
use redflag_core::{
    command::{
        plan::{Item, Plan},
        record::{Claim, Success},
    },
    ids::Digest,
    names::Manager,
};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio::{net::UnixListener, sync::Notify};

/// The host's packages: what the scanner sees, and what the installer changes. Installers are made by a function, which can reach them
/// only here.
static APT: OnceLock<FakeManager> = OnceLock::new();
/// Told when the server has heard what an installation prints.
static HEARD: OnceLock<Arc<Notify>> = OnceLock::new();

/// Installs by changing what the next scan says.
#[derive(Debug)]
struct FakeInstaller;

#[async_trait::async_trait]
impl Installer for FakeInstaller {
    fn manager(&self) -> Manager {
        Manager::parse("apt").unwrap()
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        Ok(Plan::of(items.iter().map(change)))
    }

    async fn install(&self, items: &[Item], _approved: &Plan, printed: &Printed) -> Result<Installed, InstallError> {
        printed.line("unpacking");
        // It ends when the server has heard that: what is printed comes while it runs.
        HEARD.get().expect("the desk is there").notified().await;
        let installed: Vec<_> = items.iter().map(|item| (item.package.name.as_str(), item.to.as_str())).collect();
        APT.get().expect("the host is there").offers(&[], &installed);
        Ok(Installed { reboot_required: Some(false), transaction: None, output: "unpacked\n".into() })
    }

    async fn recover(&self) -> Result<Vec<String>, InstallError> {
        Ok(vec![])
    }

    async fn refresh(&self) -> Result<(), InstallError> {
        Ok(())
    }
}

fn policy(lab: &Lab) -> String {
    let (audience, server) = (lab.identity.audience(), Digest::from_bytes(public(SERVER)));
    format!(
        r#"[agent]
agent = "{}"
key_id = "{}"

[[signer]]
name = "server"
mode = "server-signs"
public_key = "{server}"

[allow]
actions = ["plan", "install"]
managers = ["apt"]
packages = ["*"]
"#,
        audience.agent, audience.key_id
    )
}

/// An executor of this host that listens; ends with its runtime.
fn listen(lab: &Lab, directory: &Path) -> CommandOptions {
    let options = ExecutorOptions {
        state_dir: directory.join("executor"),
        policy: directory.join("executor.toml"),
        reboot: vec!["false".to_owned()],
    };
    std::fs::write(&options.policy, policy(lab)).unwrap();
    let socket = directory.join("real.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let installers = || -> Vec<Box<dyn Installer>> { vec![Box::new(FakeInstaller)] };
        service::serve(&listener, &options, installers, None, std::future::pending()).await.unwrap();
    });
    CommandOptions::through(socket)
}

#[tokio::test]
async fn what_was_approved_is_installed_by_the_executor_and_proven_by_a_scan() {
    let lab = Lab::at(TestServer::commanding().await).await;
    APT.set(lab.apt.clone()).expect("one test has this host");
    HEARD.set(lab.server.desk.with(|papers| Arc::clone(&papers.heard))).expect("one test has this host");
    let options = RunOptions { commands: Some(listen(&lab, lab.directory.path())), ..RunOptions::default() };
    lab.apt.offers(&[("bash", "5.1-1", "5.2-1")], &[]);
    lab.agent().report(&mut Silent).await.unwrap();
    lab.server.approve_all(lab.identity.agent).await;
    let forgotten = || Inbox::look(&home(&lab.directory)).unwrap().is_empty();
    run_until(lab.agent(), &options, async || lab.server.open().await.is_empty() && forgotten()).await;
    let results = lab.server.results();
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(lab.server.desk.with(|papers| papers.printed.clone()), "unpacking\n");
    let installed = Success { plan: None, reboot_required: Some(false), output: "unpacked\n".into() };
    assert_eq!(results[1].1, Claim::Succeeded(installed));
    let status = Status::read(&home(&lab.directory)).commands;
    assert_eq!((status.last.unwrap().id, status.held_up, status.trouble), (results[1].0, None, None));
}
