//! Handing commands to agents: plans are requested for what is approved, commands are leased and signed, and whoever waits is woken.

mod handed;
mod output;
mod wake;

pub(crate) use handed::Handed;
pub(crate) use output::{Output, Outputs};
pub(crate) use wake::{Wakers, follow_feed};

use crate::{app::App, halt, people, problem::Problem};
use redflag_core::{
    audit::{self, AuditKind, entry::By},
    command::{
        delivery::{LeaseAnswer, LeasedCommand, WAIT_SECONDS_MAX},
        record::CommandRecord,
        step::Step,
    },
    ids::AgentId,
    store::{StoreError, StoreErrorKind},
};
use std::time::Duration;
use tokio::time::Instant;

/// How often commands that ran out are looked for.
const SWEEP_BETWEEN: Duration = Duration::from_secs(30);
/// Every how many times ignores that ran out are looked for, too: all that is ignored is read then.
const IGNORES_EVERY: u32 = 10;

/// The commands of an agent; waits for one, as long as the agent wants and a request may take.
///
/// # Errors
/// When the store fails.
///
/// # Cancel safety
/// What was leased for an answer that nobody takes is leased again by the next call.
pub(crate) async fn lease(app: &App, agent: AgentId, limit: u32, wait: Duration) -> Result<LeaseAnswer, Problem> {
    let longest = app.settings.limits.request_timeout.mul_f64(5.0 / 6.0).min(Duration::from_secs(WAIT_SECONDS_MAX.into()));
    let until = Instant::now() + wait.min(longest);
    let waker = app.wakers.of(agent);
    loop {
        // Before looking, so that what happens meanwhile is not missed.
        let mut woken = std::pin::pin!(waker.notified());
        woken.as_mut().enable();
        let answer = lease_now(app, agent, limit).await?;
        if !answer.commands.is_empty() {
            return Ok(answer);
        }
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep_until(until) => return Ok(answer),
            () = app.stopping.cancelled() => return Ok(answer),
        }
    }
}

async fn lease_now(app: &App, agent: AgentId, limit: u32) -> Result<LeaseAnswer, Problem> {
    let (now, terms) = (app.now(), &app.settings.terms);
    let (signer, next_key_id) = (app.signing_key.signer(terms.mode), app.next_signing_key().map(|key| key.id()));
    if let Some(halt) = halt::halted(app.fleet.store()).await? {
        return Ok(LeaseAnswer { commands: Vec::new(), signer, next_key_id, halted: Some(halt.reason) });
    }
    let requested = app.fleet.request_approved(agent, terms, now).await?;
    for refusal in requested.refused {
        tracing::warn!(%agent, "an approved update cannot be planned: {refusal}");
    }
    let leased = leased(app, agent, limit).await?;
    let mut commands = Vec::with_capacity(leased.len());
    for record in &leased {
        let envelope = app.signing_key.envelope(record).ok_or_else(|| no_counter(record.id))?;
        let envelope = String::from_utf8(envelope.to_json()).map_err(|error| Problem::internal(&error))?;
        tracing::info!(%agent, command = %record.id, action = %record.action.kind(), attempt = record.attempts, "a command is handed out");
        commands.push(LeasedCommand { id: record.id, envelope });
    }
    Ok(LeaseAnswer { commands, signer, next_key_id, halted: None })
}

/// How long ago the end of the audit log was seen, at most, before something is handed out.
const LOG_SEEN_MAX: Duration = Duration::from_secs(1);

/// What the agent is given. Nothing leaves that bears the signature of a key that does not count any more.
async fn leased(app: &App, agent: AgentId, limit: u32) -> Result<Vec<CommandRecord>, Problem> {
    loop {
        app.audit.ready_lately(LOG_SEEN_MAX).await?;
        let now = app.now();
        let leased = app.fleet.command(agent, Step::Lease { limit }, now).await?;
        if people::suffice(app.fleet.store(), &leased).await? {
            // What was handed out before, and is again because it was not begun, is in the audit log already.
            let note = |record| audit::command::note(AuditKind::CommandHandedOut, By::Server, record, now);
            app.audit.note_all(app.handed.not_noted(agent, &leased).into_iter().map(note).collect()).await?;
            app.handed.noted(agent, &leased);
            return Ok(leased);
        }
        people::recall(&app.fleet, agent).await?;
    }
}

fn no_counter(command: redflag_core::ids::CommandId) -> Problem {
    Problem::internal(&StoreError::caused(StoreErrorKind::Corrupt, format!("command {command} was leased without a counter")))
}

/// Ends what ran out, for as long as the server runs.
pub(crate) async fn sweep_for_ever(app: &App) -> ! {
    for sweep in (0..IGNORES_EVERY).cycle() {
        if sweep == 0 {
            match app.fleet.end_ignores(app.now()).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "ignores ran out"),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "ignores that ran out could not be ended; tried again")
                }
            }
        }
        match app.fleet.sweep_commands(app.now()).await {
            Ok(changed) => changed.iter().for_each(|record| {
                tracing::info!(agent = %record.audience.agent, command = %record.id, state = %record.state, "a command ran out");
                app.wakers.wake(record.audience.agent);
            }),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "commands that ran out could not be ended; tried again"),
        }
        tokio::time::sleep(SWEEP_BETWEEN).await;
    }
    unreachable!("it cycles")
}
