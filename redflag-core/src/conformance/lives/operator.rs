//! Operators in a life: what they approve, request, confirm, sign, call off and ask for again.

use super::{CheckResult, World};
use crate::{
    command::{
        envelope::Envelope,
        lifecycle::CommandState,
        payload::Action,
        people::People,
        record::{CommandRecord, Ending, Success, Terms},
        step::{Confirm, Request, Retry, Sign, Step, Wanted},
    },
    conformance::generate::{batch_id, text},
    event::Actor,
    names::PackageKey,
    query::{CommandFilter, StatusFilter},
    signing,
    words::Status,
    work::{Decide, Decision, UnitOfWork},
};
use ed25519_dalek::{Signer as _, SigningKey};

/// Who signs, and the seeds of their keys.
const SIGNERS: [(&str, u8); 2] = [("ada", 1), ("grace", 2)];

fn people(signers: &[(&str, u8)]) -> People {
    let with = |people: People, (name, seed): &(&str, u8)| {
        let public_key = SigningKey::from_bytes(&[*seed; 32]).verifying_key().to_bytes();
        people.with(text(name), &public_key).expect("a sound key")
    };
    signers.iter().fold(People::default(), with)
}

impl World {
    async fn decide(&mut self, place: usize, decisions: Vec<(PackageKey, Decision)>) -> CheckResult {
        let (agent, batch) = (self.hosts[place].agent, batch_id(self.number()));
        let work = Decide { agent, batch, operator: text("ada"), decisions, received_at: self.clock };
        drop(self.submit(&UnitOfWork::Decide(work)).await?);
        Ok(())
    }

    fn some_terms(&mut self) -> Terms {
        let lifetime_seconds = *self.rng.pick(&[300, 3_600, 7_200, 86_400]);
        let run_seconds = *self.rng.pick(&[60, 600, 3_600]);
        let not_before = self.rng.chance(15).then(|| self.clock.saturating_add(std::time::Duration::from_secs(600)));
        Terms { lifetime_seconds, run_seconds, not_before, ..self.terms.clone() }
    }

    /// Some updates are approved, and a plan of what is approved is asked for.
    pub(super) async fn approve_and_request(&mut self, place: usize) -> CheckResult {
        let mut approved = Vec::new();
        let mut decisions = Vec::new();
        for row in self.updates(place, StatusFilter::Open).await? {
            let state = row.state;
            let decidable = matches!(state.status(), Status::Pending | Status::Failed | Status::RolledBack | Status::NeedsReview);
            if decidable && self.rng.chance(40) {
                let decision = Decision::Approve { offer_digest: state.offer_digest(), comment: None };
                decisions.push((state.package.clone(), decision));
            } else if state.status() != Status::Approved {
                continue;
            }
            approved.push(state.package);
        }
        if !decisions.is_empty() {
            self.decide(place, decisions).await?;
        }
        if approved.is_empty() {
            return Ok(());
        }
        // Few at a time, so that there are many commands.
        approved.truncate(1 + self.rng.below(3));
        self.request(place, Wanted::Updates(approved)).await
    }

    pub(super) async fn request_on_host(&mut self, place: usize) -> CheckResult {
        let action = if self.rng.chance(80) { Action::Rescan } else { Action::Reboot };
        self.request(place, Wanted::Host(action)).await
    }

    async fn request(&mut self, place: usize, wanted: Wanted) -> CheckResult {
        let (command, terms) = (self.command_id(), self.some_terms());
        let request = Request { command, by: Actor::Operator(text("ada")), wanted, terms };
        self.send(self.hosts[place].agent, Step::Request(request)).await?;
        Ok(())
    }

    pub(super) async fn withdraw(&mut self, place: usize) -> CheckResult {
        let withdrawable = |status: Status| matches!(status, Status::Approved | Status::NeedsReview | Status::Queued);
        let updates = self.updates(place, StatusFilter::Open).await?;
        let some: Vec<_> = updates.into_iter().map(|row| row.state).filter(|state| withdrawable(state.status())).collect();
        if some.is_empty() {
            return Ok(());
        }
        let package = self.rng.pick(&some).package.clone();
        self.decide(place, vec![(package, Decision::WithdrawApproval { comment: None })]).await
    }

    async fn any_command(
        &mut self,
        place: usize,
        wanted: impl Fn(&CommandRecord) -> bool,
    ) -> Result<Option<CommandRecord>, super::Failure> {
        let all = self.commands(Some(self.hosts[place].agent), CommandFilter::Any).await?;
        let some: Vec<_> = all.into_iter().filter(wanted).collect();
        Ok(if some.is_empty() { None } else { Some(self.rng.pick(&some).clone()) })
    }

    pub(super) async fn cancel(&mut self, place: usize) -> CheckResult {
        let Some(record) = self.any_command(place, |record| record.state.open()).await? else { return Ok(()) };
        let reason = self.rng.chance(50).then(|| text("not today"));
        let step = Step::Cancel { command: record.id, by: Actor::Operator(text("grace")), reason };
        self.send(self.hosts[place].agent, step).await?;
        Ok(())
    }

    pub(super) async fn retry(&mut self, place: usize) -> CheckResult {
        let Some(record) = self.any_command(place, |record| !record.state.open()).await? else { return Ok(()) };
        let retry = Retry { command: self.command_id(), failed: record.id, operator: text("grace") };
        self.send(self.hosts[place].agent, Step::Retry(retry)).await?;
        Ok(())
    }

    pub(super) async fn confirm(&mut self, place: usize) -> CheckResult {
        let planned = |record: &CommandRecord| match record.end.as_ref().map(|end| &end.how) {
            Some(Ending::Succeeded(Success { plan, .. })) => plan.clone(),
            _ => None,
        };
        let Some(record) = self.any_command(place, |record| planned(record).is_some()).await? else { return Ok(()) };
        let Some(plan) = planned(&record) else { return Ok(()) };
        let confirm = Confirm {
            command: self.command_id(),
            plan: record.id,
            digest: plan.digest(),
            operator: text("grace"),
            comment: Some(text("yes")),
        };
        self.send(self.hosts[place].agent, Step::Confirm(confirm)).await?;
        Ok(())
    }

    pub(super) async fn sign(&mut self, place: usize) -> CheckResult {
        let waits = |record: &CommandRecord| record.state == CommandState::AwaitingSignature;
        let Some(record) = self.any_command(place, waits).await? else { return Ok(()) };
        let agent = self.hosts[place].agent;
        let given = self.store.agent(agent).await?.map_or(0, |head| head.commands);
        // Now and then from a view that is out of date.
        let counter = if self.rng.chance(10) { given } else { record.counter.unwrap_or(given + 1) };
        let (name, seed) = *self.rng.pick(&SIGNERS);
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let envelope = Envelope::around(&record.payload_with(counter));
        let signature = secret.sign(&envelope.bytes_to_sign()).to_bytes();
        let key_id = signing::key_id(&secret.verifying_key().to_bytes());
        let sign = Sign { command: record.id, counter, person: text(name), key_id, signature, people: people(&SIGNERS) };
        self.send(agent, Step::Sign(sign)).await?;
        Ok(())
    }

    /// One of the two keys is revoked, and listed again before anybody signs next.
    pub(super) async fn recall(&mut self, place: usize) -> CheckResult {
        let kept = *self.rng.pick(&SIGNERS);
        self.send(self.hosts[place].agent, Step::Recall { people: people(&[kept]) }).await?;
        Ok(())
    }
}
