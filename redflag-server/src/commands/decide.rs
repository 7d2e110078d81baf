//! `redflag-server decide`: one decision about every update that matches, from the command line.

use super::database;
use crate::{
    arguments::{self, Database, Format},
    cli::WrongUsage,
    output,
    progress::Progress,
};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use redflag_core::{
    audit::entry::By,
    bulk::{BulkDecision, Operation, OperationCounts, Selected, Selection},
    feed::FeedPosition,
    ids::{AgentId, OperationId},
    names::{Manager, Text},
    query::{Search, StatusFilter, UpdateFilter},
    time::Timestamp,
    words::{AvailabilityKind, IgnoreScope, Severity},
};
use redflag_server::{audit::AuditLog, clock, ids, operations};
use serde_json::json;
use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

/// Arguments of `redflag-server decide`.
#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// What to decide
    #[arg(value_enum)]
    decision: Word,
    #[command(flatten)]
    which: Which,
    /// In which words; kept with the decision
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    comment: Option<Text>,
    /// Of an ignore: version (a newer one asks again) or package
    #[arg(long, value_name = "WORD")]
    scope: Option<IgnoreScope>,
    /// Of an ignore: until when, for example 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// The operator's name, as the decisions will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    /// Only tell how many updates it would be about
    #[arg(long)]
    dry_run: bool,
    /// Go on with an operation that was interrupted: the id it printed; needs --as-of
    #[arg(long, value_name = "ID", requires = "as_of")]
    operation: Option<OperationId>,
    /// Decide about what matched at this position of the feed, not now
    #[arg(long, value_name = "POSITION")]
    as_of: Option<u64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

/// Which updates; open ones of every agent unless something narrows.
#[derive(Debug, Args)]
struct Which {
    /// open (if absent), any, or one status
    #[arg(long, value_name = "WORD")]
    status: Option<StatusFilter>,
    /// Of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    /// Of this manager: apt, dnf, docker, …
    #[arg(long, value_name = "WORD")]
    manager: Option<Manager>,
    /// Of this severity
    #[arg(long, value_name = "WORD")]
    severity: Option<Severity>,
    /// Of this availability
    #[arg(long, value_name = "WORD")]
    availability: Option<AvailabilityKind>,
    /// Security updates (true) or others (false)
    #[arg(long, value_name = "BOOL")]
    security: Option<bool>,
    /// With this text in the package's name
    #[arg(long, value_name = "TEXT", value_parser = search)]
    search: Option<Search>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// Install exactly the offers that match
    Approve,
    /// Take approvals back
    WithdrawApproval,
    /// Do not ask about them
    Ignore,
    /// Ask again
    Reopen,
}

impl Decide {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let decision = self.decision()?;
        let fleet = database::existing(&self.database.database).await?;
        let mut selection = fleet.selection_now(self.which.filter()).await?;
        selection.as_of = self.as_of.map_or(selection.as_of, FeedPosition);
        let selected = {
            let _progress = Progress::counting("counting");
            fleet.select(&selection, &decision).await?
        };
        let id = self.operation.unwrap_or_else(ids::operation_id);
        if self.dry_run || selected.possible == 0 {
            self.tell(id, &selection, &selected, None)?;
            return Ok(ExitCode::SUCCESS);
        }
        if !self.yes && !self.confirmed(&selected)? {
            anyhow::bail!("nothing was decided");
        }
        let operation = Operation { id, operator: self.name.clone(), selection, decision };
        let by = By::CommandLine { name: self.name.clone() };
        let note = operations::note(by, &operation, &self.which.told(), selected.possible, clock::now());
        AuditLog::new(fleet.clone()).note(note).await?;
        let progress = Progress::of("deciding", usize::try_from(selected.agents).unwrap_or(usize::MAX));
        let counts = fleet.carry_out(&operation, clock::now(), |_| progress.advance()).await;
        drop(progress);
        let counts = counts.with_context(|| {
            format!("interrupted; go on with the same arguments and --operation {id} --as-of {}", operation.selection.as_of)
        })?;
        self.tell(id, &operation.selection, &selected, Some(&counts))?;
        Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn decision(&self) -> Result<BulkDecision, WrongUsage> {
        let comment = self.comment.clone();
        if !matches!(self.decision, Word::Ignore) && (self.scope.is_some() || self.until.is_some()) {
            return Err(WrongUsage("only an ignore has --scope or --until"));
        }
        Ok(match self.decision {
            Word::Approve => BulkDecision::Approve { comment },
            Word::WithdrawApproval => BulkDecision::WithdrawApproval { comment },
            Word::Ignore => BulkDecision::Ignore { scope: self.scope.unwrap_or(IgnoreScope::Version), until: self.until, reason: comment },
            Word::Reopen => BulkDecision::Reopen { comment },
        })
    }

    /// Asks whoever sits at the terminal.
    fn confirmed(&self, selected: &Selected) -> anyhow::Result<bool> {
        if !io::stdin().is_terminal() {
            return Err(WrongUsage("many updates are decided about at once: where nobody can be asked, give --yes or --dry-run").into());
        }
        let Selected { possible, agents, .. } = selected;
        output::ask(&format!("{} {possible} updates of {agents} agents? [y/N] ", self.word()))?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("reading the answer")?;
        Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
    }

    fn word(&self) -> String {
        self.decision.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn tell(&self, id: OperationId, selection: &Selection, selected: &Selected, counts: Option<&OperationCounts>) -> anyhow::Result<()> {
        let Selected { matching, possible, agents } = selected;
        let text = match (self.format.json, counts) {
            (true, _) => {
                let mut told = json!({"decision": self.word(), "as_of": selection.as_of, "matching": matching, "possible": possible,
                    "agents": agents, "dry_run": self.dry_run});
                if let Some(OperationCounts { done, changed, failed }) = counts {
                    told["operation_id"] = json!(id);
                    told["done"] = json!(done);
                    told["changed"] = json!(changed);
                    told["failed"] = json!(failed);
                }
                told.to_string()
            }
            (false, None) => {
                format!("{matching} updates match; about {possible} of them, of {agents} agents, this can be decided; nothing was")
            }
            (false, Some(OperationCounts { done, changed, failed })) => {
                format!("{done} decided, {changed} skipped because they changed meanwhile, {failed} failed (operation {id})")
            }
        };
        output::line(&text)
    }
}

impl Which {
    /// What narrows, as the audit log tells it.
    fn told(&self) -> String {
        let Self { status, agent, manager, severity, availability, security, search } = self;
        let given = [
            status.as_ref().map(|status| format!("status={status}")),
            agent.as_ref().map(|agent| format!("agent={agent}")),
            manager.as_ref().map(|manager| format!("manager={manager}")),
            severity.as_ref().map(|severity| format!("severity={severity}")),
            availability.as_ref().map(|availability| format!("availability={availability}")),
            security.as_ref().map(|security| format!("security={security}")),
            search.as_ref().map(|search| format!("search={}", search.as_str())),
        ];
        given.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    fn filter(&self) -> UpdateFilter {
        UpdateFilter {
            status: self.status.unwrap_or_default(),
            agent: self.agent,
            manager: self.manager.clone(),
            severity: self.severity,
            availability: self.availability,
            security: self.security,
            search: self.search.clone(),
        }
    }
}

fn search(written: &str) -> Result<Search, String> {
    Search::new(written).map_err(|error| error.to_string())
}
