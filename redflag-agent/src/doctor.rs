//! What is wrong with this agent and how to mend it: one finding per check, each with a verdict, a reason and a remedy.
//!
//! A doctor never fails: whatever a check meets becomes a finding. It changes nothing, takes no lock that somebody may wait for, and
//! ends, because every wait has a limit. It scans the managers for real, since only that shows whether they answer.

mod commands;
mod locks;
mod managers;
mod network;
mod service;
mod state;

use crate::{home::AgentHome, identity::Identity, progress::Progress, scan::Scanner};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// Why, in a line for people.
    pub message: String,
    /// What to do about it; none where nothing has to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There is nothing to look at on this host.
    Skipped,
    /// As it should be.
    Ok,
    /// The agent works, but not for long or not fully.
    Warning,
    /// The agent cannot do its work.
    Problem,
}

impl Finding {
    fn new(check: &'static str, verdict: Verdict, message: impl Into<String>) -> Self {
        Self { check, verdict, message: message.into(), remedy: None }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, message)
    }

    fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, message)
    }

    fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Warning, message)
    }

    fn problem(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, Verdict::Problem, message)
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// What to look at.
#[derive(Debug)]
pub struct Doctor {
    state_dir: PathBuf,
    root: PathBuf,
    scanners: Vec<Box<dyn Scanner>>,
}

impl Doctor {
    /// A doctor for the agent that keeps its state in `state_dir` and scans with `scanners`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, scanners: Vec<Box<dyn Scanner>>) -> Self {
        Self { state_dir: state_dir.into(), root: PathBuf::from("/"), scanners }
    }

    /// Looks at everything. Takes as long as a scan of every manager, at most.
    pub async fn examine(&self, progress: &mut dyn Progress) -> Vec<Finding> {
        let mut findings = vec![state::directory(&self.state_dir)];
        // Without a directory there is nothing more to say about what lies in it.
        let home = AgentHome::as_found(&self.state_dir);
        if let Some(home) = &home {
            findings.push(state::machine(home));
            let (enrolment, identity) = state::identity(home);
            findings.extend(enrolment);
            findings.extend(self.examine_work(home, identity).await);
        }
        findings.extend(self.examine_host(progress).await);
        findings
    }

    async fn examine_work(&self, home: &AgentHome, identity: Option<Identity>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(identity) = identity {
            findings.push(commands::server_key(&self.root, home, &identity));
            findings.push(commands::taken(home).await);
            findings.extend(network::server(identity.server).await);
            findings.push(state::last_delivery(home));
            findings.push(state::audit_log(home));
        }
        findings.push(state::outbox(home));
        findings.push(state::quarantine(home));
        findings.push(state::disk(home.path()));
        findings.push(state::process(&self.root, home));
        findings
    }

    async fn examine_host(&self, progress: &mut dyn Progress) -> Vec<Finding> {
        let root: &Path = &self.root;
        let mut findings = managers::scans(&self.scanners, progress).await;
        findings.push(managers::dpkg(root));
        findings.push(managers::package_locks(root));
        findings.push(managers::containers(root).await);
        findings.push(service::executor(root).await);
        findings.push(service::unit(root).await);
        findings
    }
}

/// The worst of the verdicts.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Skipped)
}
