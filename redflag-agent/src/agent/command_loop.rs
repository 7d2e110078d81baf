//! What the agent does about commands between its scans: asks for them, and carries each on until it is forgotten.
//!
//! Steps are kept in the inbox, so every wait can be cut short: a poll, a pause or a result that nobody answers gives way to the next
//! scan. Only the executor at its work makes a scan wait, because in the middle of an installation a package manager says nothing
//! true; and not for longer than the options say.

use super::{Agent, Delivery, log_summary};
use crate::{
    clock,
    commands::{
        CommandOptions, claim,
        handover::{self, Had},
        inbox::{Inbox, Kept, Step},
        judge::{Judged, judge, not_pinned, other_key, refused, unprepared},
        told::Told,
    },
    delivery::{self, Retries},
    error::{Error, Result},
    identity::Identity,
    progress::Silent,
    server::Server,
    signer::Pins,
    status::{CommandStatus, LastCommand, Trouble},
};
use redflag_core::{
    command::{
        delivery::{LeaseAnswer, LeaseBody, LeasedCommand, WAIT_SECONDS_MAX},
        lifecycle::CommandState,
        payload::ActionKind,
        record::{Claim, Success},
    },
    ids::Digest,
};
use std::{iter, time::Duration};
use tokio::sync::mpsc::channel;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How many new commands are taken at once.
const COMMANDS_TAKEN: u32 = 4;
/// How many parts of what a command prints wait for the server, at four a second.
const PARTS_KEPT: usize = 64;
/// An empty answer that comes sooner was not waited for, and the next poll waits instead.
const WAITED_MIN: Duration = Duration::from_secs(1);

/// An agent's dealings with commands.
pub(super) struct CommandLoop {
    options: CommandOptions,
    inbox: Inbox,
    retries: Retries,
    delays: Box<dyn Iterator<Item = Duration> + Send>,
}

/// What to do next.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Look for the next command.
    GoOn,
    /// The same again, after a wait that grows from time to time.
    Retry { asked: Option<Duration> },
    /// The same again, after the pause of the options.
    Pause,
    /// The time is up.
    Scan,
}

/// What comes of one step of a command.
enum Next {
    Step(Step),
    Forget(Then),
    Leave(Then),
}

impl CommandLoop {
    /// The loop of `agent`; none where it only observes.
    pub(super) fn open(agent: &mut Agent, options: Option<&CommandOptions>) -> Result<Option<Self>> {
        agent.note_commands(|status| {
            status.executor = options.map(|options| options.socket.clone());
            status.held_up = None;
        })?;
        let Some(options) = options else { return Ok(None) };
        let (inbox, retries) = (Inbox::open(&agent.home)?, agent.retries.endless());
        Ok(Some(Self { options: options.clone(), inbox, retries, delays: Box::new(iter::empty()) }))
    }

    /// Goes on with what is in the inbox and asks for more, until `until`.
    ///
    /// Cancel safe, as a crash is.
    ///
    /// # Errors
    /// Those after which an agent ends; others are logged, shown in the status, and tried again.
    pub(super) async fn attend(&mut self, agent: &mut Agent, until: Instant) -> Result<()> {
        // Kept from poll to poll, and not beyond: an agent that scans needs the memory.
        let server = match Server::new(agent.identity.server.clone()) {
            Ok(server) => server,
            Err(error) => {
                agent.survive(Err(error))?;
                sleep_until(until).await;
                return Ok(());
            }
        };
        while Instant::now() < until {
            let then = match self.round(agent, &server, until).await {
                Ok(then) => then,
                Err(error) => {
                    let held_up = crate::error::with_causes(&error);
                    agent.survive(Err(error))?;
                    let noted = agent.hold_up(Some(held_up));
                    agent.survive(noted)?;
                    Then::Retry { asked: None }
                }
            };
            let pause = match then {
                Then::GoOn => {
                    self.delays = Box::new(iter::empty());
                    continue;
                }
                Then::Retry { asked } => delivery::wait(self.next_delay(), asked),
                Then::Pause => self.options.pause / 2 + clock::random_up_to(self.options.pause),
                Then::Scan => break,
            };
            sleep_until(until.min(Instant::now() + pause)).await;
        }
        Ok(())
    }

    fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or_else(|| {
            self.delays = Box::new(self.retries.delays());
            self.delays.next().unwrap_or(self.retries.longest)
        })
    }

    async fn round(&mut self, agent: &mut Agent, server: &Server, until: Instant) -> Result<Then> {
        let (kept, damage) = self.inbox.take_stock()?;
        for damage in damage {
            tracing::error!("{damage}");
            agent.note_commands(|status| status.trouble = Some(Trouble::new(format!("a command's file was damaged: {damage}"))))?;
        }
        for kept in kept {
            let then = match kept.step {
                Step::Received => self.take(agent, server, kept, until).await?,
                _ => self.carry(agent, server, kept, Had::Perhaps, until).await?,
            };
            if !matches!(then, Then::GoOn) {
                return Ok(then);
            }
        }
        if Identity::read_pins(&agent.home)?.is_none() {
            return agent.hold_up(Some(not_pinned())).map(|()| Then::Pause);
        }
        self.poll(agent, server, until).await
    }

    async fn poll(&self, agent: &mut Agent, server: &Server, until: Instant) -> Result<Then> {
        let began = Instant::now();
        let left = u32::try_from(until.saturating_duration_since(began).as_secs()).unwrap_or(u32::MAX);
        let body = LeaseBody { limit: COMMANDS_TAKEN, wait_seconds: left.min(WAIT_SECONDS_MAX) };
        let Ok(asked) = timeout_at(until, agent.ask_for_commands(server, &body)).await else { return Ok(Then::Scan) };
        let LeaseAnswer { commands, signer: announced, next_key_id, halted } = match asked {
            Ok(answer) => answer,
            Err(error) => return agent.not_answered(error),
        };
        // Another key may have been pinned while the server was waited for.
        let Some(pins) = Identity::read_pins(&agent.home)? else { return Ok(Then::GoOn) };
        agent.note_next_key(&pins, next_key_id)?;
        agent.hold_up(other_key(&pins, &announced).or_else(|| halted.as_ref().map(|why| format!("commands are halted: {why}"))))?;
        let none = commands.is_empty();
        for LeasedCommand { id, envelope } in commands {
            let kept = Kept { id, action: None, received_at: clock::now(), step: Step::Received, envelope };
            let then = self.take(agent, server, kept, until).await?;
            if !matches!(then, Then::GoOn) {
                return Ok(then);
            }
        }
        Ok(match halted {
            Some(_) => Then::Pause,
            None if none && began.elapsed() < WAITED_MIN => Then::Retry { asked: None },
            None => Then::GoOn,
        })
    }

    /// Takes a command that was not begun: what is not signed as it must be is refused and never handed over.
    async fn take(&self, agent: &mut Agent, server: &Server, mut kept: Kept, until: Instant) -> Result<Then> {
        // Anew for each: the one before may have made the next key the only one.
        let Some(pins) = Identity::read_pins(&agent.home)? else { return Ok(Then::GoOn) };
        match judge(kept.id, &kept.envelope, &pins, &agent.identity.audience()) {
            Ok(Judged { action, next }) => {
                if let Some(next) = next {
                    // Before the command is kept, so that no death leaves it done and the old key pinned.
                    Identity::follow(&agent.home, next)?;
                    let (id, now, before) = (kept.id, next.fingerprint(), pins.current().fingerprint());
                    tracing::warn!(command = %id, "the server's next key {now} has signed: it is the pinned one now, and {before} is dropped");
                }
                kept.action = action;
            }
            Err(refusal) => {
                let message = refused(kept.id, &refusal, &pins);
                tracing::error!("{message}");
                agent.note_commands(|status| status.trouble = Some(Trouble::new(message)))?;
                kept.step = Step::ended(Claim::Refused(refusal));
                kept.envelope.clear();
            }
        }
        self.inbox.keep(&kept)?;
        self.carry(agent, server, kept, Had::Never, until).await
    }

    /// Carries a command on from where it stands.
    async fn carry(&self, agent: &mut Agent, server: &Server, mut kept: Kept, had: Had, until: Instant) -> Result<Then> {
        loop {
            let next = match &kept.step {
                Step::Received => begin(agent, server, &kept, until).await?,
                Step::Started if kept.action == Some(ActionKind::Rescan) => Next::Step(Step::ended(rescan(agent, until).await?)),
                Step::Started => self.hand_over(agent, server, &kept, had, until).await,
                Step::Ended { claim } => tell_end(agent, server, &kept, claim, until).await?,
                Step::Answered => {
                    report(agent, until).await?;
                    Next::Forget(Then::GoOn)
                }
            };
            match next {
                Next::Step(step) => {
                    kept.step = step;
                    self.inbox.keep(&kept)?;
                }
                Next::Forget(then) => return self.inbox.forget(kept.id).map(|()| then),
                Next::Leave(then) => return Ok(then),
            }
        }
    }

    async fn hand_over(&self, agent: &mut Agent, server: &Server, kept: &Kept, had: Had, until: Instant) -> Next {
        let until = until.max(Instant::now() + self.options.scan_patience);
        let (printed, parts) = channel(PARTS_KEPT);
        let handing_over = timeout_at(until, handover::hand_over(&self.options, kept, had, &printed));
        let handed_over = tokio::select! {
            handed_over = handing_over => handed_over,
            never = agent.tell_output(server, kept.id, parts) => match never {},
        };
        match handed_over {
            Ok(claim) => Next::Step(Step::ended(claim)),
            Err(_) => Next::Leave(Then::Scan),
        }
    }
}

/// Says that the command is about to be begun, and hears whether it may.
async fn begin(agent: &mut Agent, server: &Server, kept: &Kept, until: Instant) -> Result<Next> {
    let Ok(told) = timeout_at(until, agent.tell_start(server, kept.id)).await else { return Ok(Next::Leave(Then::Scan)) };
    match told? {
        Told::Stands(CommandState::Started) => Ok(Next::Step(Step::Started)),
        // It was called off, or is not to be begun now; what has not ended will be handed out again.
        Told::Stands(state) => {
            tracing::info!(command = %kept.id, "not begun: it is {state}");
            agent.note_commands(|status| status.last = Some(last(kept, format!("not begun: it is {state}"))))?;
            Ok(Next::Forget(if state.open() { Then::Pause } else { Then::GoOn }))
        }
        Told::Refused(error) => {
            agent.note_refused(kept, "was not begun", &error)?;
            Ok(Next::Forget(Then::Pause))
        }
    }
}

/// Scans and reports, as the server ordered.
async fn rescan(agent: &mut Agent, until: Instant) -> Result<Claim> {
    let delivery = match report(agent, until).await {
        Ok(delivery) => delivery,
        Err(error @ Error::Unauthorized { .. }) => return Err(error),
        Err(error) => return Ok(claim::failed(&crate::error::with_causes(&error))),
    };
    Ok(match delivery {
        Delivery::Delivered(_) => Claim::Succeeded(Success::default()),
        Delivery::Waiting { reason, .. } => {
            Claim::Succeeded(Success { output: format!("the report is kept: {reason}\n"), ..Success::default() })
        }
        Delivery::SetAside { reason } => claim::failed(&format!("the report was refused: {reason}")),
    })
}

/// Scans and reports now; a report that the server does not answer for is sent again until `until`, and with the next one after it.
async fn report(agent: &mut Agent, until: Instant) -> Result<Delivery> {
    let summary = agent.report(&mut Silent).await?;
    log_summary(&summary);
    if !matches!(summary.delivery, Delivery::Waiting { .. }) {
        return Ok(summary.delivery);
    }
    let retries = agent.retries.endless();
    timeout_at(until, agent.deliver(&retries, &mut Silent)).await.unwrap_or(Ok(summary.delivery))
}

/// Tells how the command ended.
async fn tell_end(agent: &mut Agent, server: &Server, kept: &Kept, claim: &Claim, until: Instant) -> Result<Next> {
    let Ok(told) = timeout_at(until, agent.tell_result(server, kept.id, claim)).await else { return Ok(Next::Leave(Then::Scan)) };
    let then = match told? {
        Told::Stands(state) => {
            let end = in_words(claim);
            tracing::info!(command = %kept.id, %state, "{end}");
            agent.note_commands(|status| {
                status.last = Some(last(kept, end));
                status.trouble = status.trouble.take().filter(|_| !matches!(claim, Claim::Succeeded(_)));
            })?;
            Then::GoOn
        }
        Told::Refused(error) => {
            if let Some(shorter) = claim::shorter(claim).filter(|_| matches!(error, Error::Refused { status: 413, .. })) {
                tracing::warn!(command = %kept.id, "{error}; telling less");
                return Ok(Next::Step(Step::ended(shorter)));
            }
            agent.note_refused(kept, &format!("{}, which was not heard", in_words(claim)), &error)?;
            Then::Pause
        }
    };
    Ok(if owes_report(kept, claim) { Next::Step(Step::Answered) } else { Next::Forget(then) })
}

/// Whether the host may have changed, which the next report proves (clause C4).
const fn owes_report(kept: &Kept, claim: &Claim) -> bool {
    let changes = matches!(kept.action, None | Some(ActionKind::Install | ActionKind::Recreate | ActionKind::RefreshMetadata));
    changes && !matches!(claim, Claim::Refused(_))
}

fn in_words(claim: &Claim) -> String {
    match claim {
        Claim::Succeeded(_) => "succeeded".to_owned(),
        Claim::Failed(failure) => format!("failed: {}", failure.reason),
        Claim::Refused(refusal) => format!("refused: {refusal}"),
    }
}

fn last(kept: &Kept, end: String) -> LastCommand {
    LastCommand { id: kept.id, action: kept.action, at: clock::now(), end }
}

impl Agent {
    /// What an unanswered poll means.
    fn not_answered(&mut self, error: Error) -> Result<Then> {
        let (message, then) = match &error {
            Error::Unreachable { retry_after, .. } => (error.to_string(), Then::Retry { asked: *retry_after }),
            Error::Refused { server, status: 404, .. } => {
                (format!("{server} hands out no commands (404); it may be older than this agent"), Then::Pause)
            }
            Error::Refused { .. } => (error.to_string(), Then::Pause),
            _ => return Err(error),
        };
        tracing::debug!("{message}");
        self.hold_up(Some(message)).map(|()| then)
    }

    /// Notes why no commands are taken now.
    fn hold_up(&mut self, message: Option<String>) -> Result<()> {
        let known = self.status.commands.held_up.as_ref().map(|trouble| &trouble.message);
        if known == message.as_ref() {
            return Ok(());
        }
        match &message {
            Some(message) => tracing::warn!("no commands are taken: {message}"),
            None => tracing::info!("commands are taken again"),
        }
        self.note_commands(|status| status.held_up = message.map(Trouble::new))
    }

    /// Notes which key the server has prepared, and says once what to do.
    fn note_next_key(&mut self, pins: &Pins, next_key_id: Option<Digest>) -> Result<()> {
        let news = self.status.commands.next_key_id != next_key_id;
        if let Some(message) = unprepared(pins, next_key_id).filter(|_| news) {
            tracing::warn!("{message}");
        }
        self.note_commands(|status| status.next_key_id = next_key_id)
    }

    fn note_refused(&mut self, kept: &Kept, what: &str, error: &Error) -> Result<()> {
        let message = format!("command {} {what}: {error}", kept.id);
        tracing::error!("{message}");
        self.note_commands(|status| {
            status.last = Some(last(kept, format!("{what}: {error}")));
            status.trouble = Some(Trouble::new(message));
        })
    }

    fn note_commands(&mut self, change: impl FnOnce(&mut CommandStatus)) -> Result<()> {
        let before = self.status.commands.clone();
        change(&mut self.status.commands);
        if self.status.commands == before { Ok(()) } else { self.status.write(&self.home) }
    }
}
