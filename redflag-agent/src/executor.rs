//! The executor: the only part of an agent that is root. It takes one signed command at a time and trusts nobody.
//!
//! ```text
//! envelope → signature, audience, counter, time (core) → policy → dry run, compared with the approved plan
//!          → intent and counter on disk → installer → result on disk → answer
//! ```
//!
//! Whatever is wrong before the intent is on disk refuses the command, and nothing has changed. What happens behind it is in the
//! [`answer`]. A command is carried out at most once: its counter is used up before anything is executed. If the executor is killed
//! in between, the next start looks at what is installed (`found.rs`) and says what became of it.
//!
//! [`policy`] is what root allows on this host, `journal.rs` what is kept on disk, [`service`] the socket, [`command_line`] the
//! binary `redflag-executor`.

pub mod answer;
pub mod command_line;
pub mod policy;
pub mod service;

mod found;
mod journal;

use crate::{
    Printed, clock,
    error::{Result, with_causes},
    home::{AgentHome, HomeLock},
    install::{InstallError, Installer},
    tool::Tool,
};
use answer::{Answer, Found, Outcome, Refused};
use journal::{Intent, Journal};
use policy::Policy;
use redflag_core::{
    command::{
        payload::{Action, Command, Order},
        plan::{Item, Plan},
        refusal::{CommandRefusal, RefusalCode},
        verify::{Authentic, Verified},
    },
    ids::CommandId,
    names::{Manager, Text},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Where the executor keeps its journal when nothing else is asked for.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/redflag-executor";

/// Where an executor finds what it needs.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// Where it keeps its journal.
    pub state_dir: PathBuf,
    /// Its policy.
    pub policy: PathBuf,
    /// The command that restarts the host; it gets no arguments of a command's.
    pub reboot: Vec<String>,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            state_dir: DEFAULT_STATE_DIR.into(),
            policy: policy::DEFAULT_POLICY.into(),
            reboot: ["/usr/bin/systemctl", "reboot"].map(str::to_owned).to_vec(),
        }
    }
}

/// Carries out commands, one at a time. There is one on a host: it holds its state directory.
#[derive(Debug)]
pub struct Executor {
    options: ExecutorOptions,
    installers: Vec<Arc<dyn Installer>>,
    journal: Journal,
    /// Told with the next answer.
    notes: Vec<String>,
    _lock: HomeLock,
}

impl Executor {
    /// Opens the executor, and finds out what became of a command whose end was not seen.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] while another executor works, or a package manager that one has started still does; else when its files
    /// cannot be used.
    pub async fn open(options: ExecutorOptions, installers: Vec<Box<dyn Installer>>) -> Result<Self> {
        let home = AgentHome::open(&options.state_dir)?;
        let lock = home.lock()?;
        lock.keep_in_children()?;
        let (journal, notes) = Journal::open(home)?;
        let installers = installers.into_iter().map(Arc::from).collect();
        let mut executor = Self { options, installers, journal, notes, _lock: lock };
        executor.recover().await?;
        Ok(executor)
    }

    /// Carries out the command in `envelope`, or says why not.
    ///
    /// Not cancel safe: dropping the future kills a package manager in the middle of its work.
    pub async fn run(&mut self, envelope: &[u8]) -> Answer {
        self.run_and_print(envelope, &Printed::default()).await
    }

    /// As [`Executor::run`]; what an installation prints goes to `printed` as it comes.
    ///
    /// Not cancel safe, as [`Executor::run`].
    pub async fn run_and_print(&mut self, envelope: &[u8], printed: &Printed) -> Answer {
        // A command whose result could not be kept, on a full disk for example, comes to its end first.
        if let Err(error) = self.recover().await {
            return Answer::not_ready(&error);
        }
        let mut answer = match self.verify(envelope) {
            Ok((policy, verified)) => Answer::about(verified.command(), self.carry_out(&policy, verified.command(), printed).await),
            Err(answer) => *answer,
        };
        answer.notes.append(&mut self.notes);
        answer
    }

    /// As [`Executor::run`] up to the point where something would be changed or used up: says whether it would be carried out.
    ///
    /// Cancel safe.
    pub async fn check(&mut self, envelope: &[u8]) -> Answer {
        let mut answer = match self.verify(envelope) {
            Ok((policy, verified)) => {
                let prepared = self.prepare(&policy, &verified.command().action).await;
                let outcome = prepared.map_or_else(Outcome::Refused, |task| Outcome::WouldRun { plan: task.into_plan() });
                Answer::about(verified.command(), outcome)
            }
            Err(answer) => *answer,
        };
        answer.notes.append(&mut self.notes);
        answer
    }

    /// What is to be told with the next answer, such as damage that was found.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The policy as it stands now.
    ///
    /// # Errors
    /// As [`Policy::read`].
    pub fn policy(&self) -> Result<Policy> {
        Policy::read(&self.options.policy)
    }

    /// Everything that can be judged without asking a package manager.
    fn verify(&self, envelope: &[u8]) -> Result<(Policy, Verified), Box<Answer>> {
        let policy = self.policy().map_err(|error| Box::new(Answer::not_ready(&error)))?;
        let authentic = Authentic::read(envelope, &policy.signers, policy.signatures_min);
        let authentic = authentic.map_err(|refusal| Box::new(Answer::refused(refusal.code, refusal.message)))?;
        let command = authentic.command().clone();
        let verified = self.verify_here(&policy, authentic).map_err(|refusal| {
            let earlier = (refusal.code == RefusalCode::Replayed).then(|| self.journal.result_of(command.id)).flatten();
            let refused = Refused { earlier: earlier.map(Box::new), ..Refused::of(refusal) };
            Box::new(Answer::about(&command, Outcome::Refused(Box::new(refused))))
        })?;
        Ok((policy, verified))
    }

    fn verify_here(&self, policy: &Policy, authentic: Authentic) -> Result<Verified, CommandRefusal> {
        authentic.check_audience(&policy.audience)?;
        let counter = self.journal.counter().ok_or_else(|| {
            let path = self.journal.counter_path();
            let message = format!(
                "damage has left no way to tell which commands were carried out; look up the counter of this host's last command at the \
                 server and write {{\"counter\": N}} to {}",
                path.display()
            );
            CommandRefusal::new(RefusalCode::CounterUnknown, message)
        })?;
        let now = clock::now();
        let verified = authentic.verify(&policy.audience, counter, now, policy.clock_tolerance)?;
        policy.judge(verified.command(), now)?;
        Ok(verified)
    }

    /// What is to be done, after the dry run of what changes packages, which must stay within what was approved.
    async fn prepare(&self, policy: &Policy, action: &Action) -> Result<Task, Box<Refused>> {
        match action {
            Action::Install(order) | Action::Recreate(order) => {
                let installer = self.installer(action)?;
                let plan = plan_within(policy, &*installer, order).await?;
                Ok(Task::Install { installer, items: order.items.clone(), plan })
            }
            Action::Plan { items } => Ok(Task::Plan { installer: self.installer(action)?, items: items.clone() }),
            Action::RefreshMetadata { .. } => Ok(Task::Refresh { installer: self.installer(action)? }),
            Action::Reboot => Ok(Task::Reboot),
            Action::Cancel { command } => Ok(Task::Cancel { command: *command }),
            Action::Rescan => {
                let message = "the agent scans by itself; the executor has no part in it";
                Err(CommandRefusal::new(RefusalCode::UnsupportedAction, message).into())
            }
        }
    }

    /// Who drives the manager that an action is about.
    fn installer(&self, action: &Action) -> Result<Arc<dyn Installer>, CommandRefusal> {
        let found = self.installers.iter().find(|installer| action.manager() == Some(&installer.manager()));
        found.cloned().ok_or_else(|| {
            let manager = action.manager().map_or("no manager", Manager::as_str);
            CommandRefusal::new(RefusalCode::ManagerForbidden, format!("this executor does not drive {manager}"))
        })
    }

    async fn carry_out(&mut self, policy: &Policy, command: &Command, printed: &Printed) -> Outcome {
        let task = match self.prepare(policy, &command.action).await {
            Ok(task) => task,
            Err(refused) => return Outcome::Refused(refused),
        };
        if let Err(error) = self.journal.begin(command, clock::now(), boot()) {
            return CommandRefusal::new(RefusalCode::NotReady, with_causes(&error)).into();
        }
        let outcome = self.execute(task, policy.time_max, printed).await.cleaned();
        if let Err(error) = self.journal.finish(&outcome) {
            self.notes.push(format!("what became of this command could not be kept: {}", with_causes(&error)));
        }
        outcome
    }

    async fn execute(&self, task: Task, time_max: Duration, printed: &Printed) -> Outcome {
        match task {
            Task::Install { installer, items, plan } => match timeout(time_max, installer.install(&items, &plan, printed)).await {
                Ok(Ok(installed)) => Outcome::Installed(installed),
                Ok(Err(error)) => Outcome::Failed { error },
                Err(_) => found::of_items(&*installer, &items, format!("it took longer than {} s", time_max.as_secs())).await,
            },
            Task::Plan { installer, items } => match timeout(time_max, installer.plan(&items)).await {
                Ok(Ok(plan)) => Outcome::Planned { plan_digest: plan.digest(), excess: plan.excess(&items), plan },
                Ok(Err(error)) => Outcome::Failed { error },
                Err(_) => failed(format!("no plan within {} s", time_max.as_secs())),
            },
            Task::Refresh { installer } => match timeout(time_max, installer.refresh()).await {
                Ok(Ok(())) => Outcome::Refreshed,
                Ok(Err(error)) => Outcome::Failed { error },
                Err(_) => failed(format!("not refreshed within {} s", time_max.as_secs())),
            },
            Task::Reboot => self.reboot().await,
            Task::Cancel { command } => match self.journal.result_of(command) {
                Some(earlier) => Outcome::TooLate { earlier: Box::new(earlier) },
                None => Outcome::Cancelled,
            },
        }
    }

    async fn reboot(&self) -> Outcome {
        let tool = self.options.reboot.split_first().map(|(program, arguments)| Tool::new(program).with(arguments));
        match tool.expect("the options name a program").run().await {
            Ok(_) => Outcome::Rebooting,
            Err(error) => failed(error.to_string()),
        }
    }

    /// Finds out what became of a command whose end was not seen.
    async fn recover(&mut self) -> Result<()> {
        let Some(intent) = self.journal.unfinished().cloned() else { return Ok(()) };
        let reason = "the executor was ended before it could see the end of the command".to_owned();
        let outcome = match (&intent.action, self.installer(&intent.action)) {
            (Action::Install(Order { items, .. }) | Action::Recreate(Order { items, .. }), Ok(installer)) => {
                let recovered = installer.recover().await;
                self.notes.extend(recovered.unwrap_or_else(|error| vec![format!("{}: {error}", installer.manager())]));
                found::of_items(&*installer, items, reason).await
            }
            (Action::Reboot, _) => {
                let found = if boot().is_some() && intent.boot.is_some() && boot() != intent.boot { Found::Done } else { Found::Unknown };
                Outcome::Interrupted { reason, found, items: Vec::new() }
            }
            (Action::Plan { .. }, _) => Outcome::Interrupted { reason, found: Found::NotDone, items: Vec::new() },
            // A cancelled command has an older counter than the cancellation, which is used up.
            (Action::Cancel { .. }, _) => Outcome::Cancelled,
            _ => Outcome::Interrupted { reason, found: Found::Unknown, items: Vec::new() },
        };
        self.journal.finish(&outcome)?;
        if let Outcome::Interrupted { found, .. } = outcome {
            let Intent { command_id, begun_at, action, .. } = intent;
            self.notes.push(format!("command {command_id} ({}), begun at {begun_at}, was interrupted; found: {found}", action.kind()));
        }
        Ok(())
    }
}

const fn failed(reason: String) -> Outcome {
    Outcome::Failed { error: InstallError::Tool { reason } }
}

/// A command taken apart, with who carries it out.
#[derive(Debug)]
enum Task {
    Install { installer: Arc<dyn Installer>, items: Vec<Item>, plan: Plan },
    Plan { installer: Arc<dyn Installer>, items: Vec<Item> },
    Refresh { installer: Arc<dyn Installer> },
    Reboot,
    Cancel { command: CommandId },
}

impl Task {
    fn into_plan(self) -> Option<Plan> {
        match self {
            Self::Install { plan, .. } => Some(plan),
            Self::Plan { .. } | Self::Refresh { .. } | Self::Reboot | Self::Cancel { .. } => None,
        }
    }
}

async fn plan_within(policy: &Policy, installer: &dyn Installer, order: &Order) -> Result<Plan, Box<Refused>> {
    let Order { items, side_effects, plan_digest } = order;
    let plan = installer.plan(items).await.map_err(|error| {
        let refusal = CommandRefusal::new(RefusalCode::NoPlan, error.to_string());
        Box::new(Refused { error: Some(error), ..Refused::of(refusal) })
    })?;
    let judged = policy.judge_plan(&plan, plan.excess(items), side_effects);
    judged.map_err(|(refusal, excess)| Box::new(Refused { excess, ..Refused::of(refusal) }))?;
    if plan.digest() != *plan_digest {
        let message = format!("the digest of the plan is {} now, and {plan_digest} was approved", plan.digest());
        return Err(CommandRefusal::new(RefusalCode::PlanChanged, message).into());
    }
    Ok(plan)
}

/// What the kernel calls this boot of the host.
fn boot() -> Option<Text> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().and_then(|id| Text::parse(id.trim()).ok())
}
