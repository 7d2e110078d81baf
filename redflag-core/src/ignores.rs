//! Ignores that end: what an operator ignored until a time is asked about again after it.

use crate::{
    Fleet,
    batch::{Item, Planner},
    event::{Actor, Event, EventKind, Source},
    fleet::wrong_answer,
    ids::{AgentId, BatchId, Digest, EventId},
    names::{PackageKey, Text},
    query::{PageSize, PageStart, StatusFilter, UpdateFilter, UpdateQuery},
    state::{Context, PackageState, Standing},
    store::{StoreError, StoreErrorKind},
    time::Timestamp,
    words::Status,
    work::{Answer, Changes, Decided, Loaded, Needs, Refusal, StateNeeds, UnitOfWork, Withheld, known_agent},
};
use std::collections::BTreeMap;

/// Reopens those of an agent's packages whose ignore has run out.
#[derive(Clone, Debug)]
pub struct EndIgnores {
    /// The agent.
    pub agent: AgentId,
    /// The packages; those whose ignore has not run out stay as they are.
    pub packages: Vec<PackageKey>,
    /// When, by the store's clock.
    pub at: Timestamp,
}

impl Fleet {
    /// Reopens every update whose ignore has run out; answers how many. Any number of processes may do this at once.
    ///
    /// Reads every ignored update of the fleet.
    ///
    /// # Errors
    /// When the store fails; what was reopened until then stays.
    pub async fn end_ignores(&self, at: Timestamp) -> Result<u64, StoreError> {
        let mut reopened = 0;
        for (agent, packages) in self.ignores_run_out(at).await? {
            match self.run(UnitOfWork::EndIgnores(EndIgnores { agent, packages, at })).await {
                Ok(Answer::IgnoresEnded(count)) => reopened += u64::from(count),
                Ok(other) => return Err(wrong_answer(&other)),
                // Removed meanwhile, with what was ignored of it.
                Err(error) if matches!(error.kind(), StoreErrorKind::Refused(Refusal::UnknownAgent { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(reopened)
    }

    async fn ignores_run_out(&self, at: Timestamp) -> Result<BTreeMap<AgentId, Vec<PackageKey>>, StoreError> {
        let filter = UpdateFilter { status: StatusFilter::Is(Status::Ignored), ..UpdateFilter::default() };
        let mut query = UpdateQuery { filter, size: PageSize::MAX, ..UpdateQuery::default() };
        let mut found = BTreeMap::<_, Vec<_>>::new();
        loop {
            let page = self.store().updates(&query).await?;
            for row in page.items.into_iter().filter(|row| has_run_out(&row.state, at)) {
                found.entry(row.agent).or_default().push(row.state.package);
            }
            match page.next {
                Some(cursor) => query.start = PageStart::After(cursor),
                None => return Ok(found),
            }
        }
    }
}

impl EndIgnores {
    pub(crate) fn needs(&self) -> Needs {
        Needs { states: StateNeeds::Packages(self.packages.clone()), ..Needs::head(self.agent) }
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        let run_out = |package: &&PackageKey| loaded.states.get(package).is_some_and(|state| has_run_out(state, self.at));
        let packages: Vec<_> = self.packages.iter().filter(run_out).collect();
        if packages.is_empty() {
            return Ok(Decided { changes: Changes::default(), answer: Answer::IgnoresEnded(0) });
        }
        let batch = BatchId::of_ended_ignores(self.agent, head.batches + 1);
        let comment = Some(Text::lossy("the ignore ran out"));
        let event = |(index, package): (u32, &PackageKey)| Event {
            id: EventId::of_batch(self.agent, batch, index),
            package: package.clone(),
            kind: EventKind::Reopened { comment: comment.clone() },
            observed_at: None,
        };
        let events: Vec<_> = (0..).zip(packages).map(event).collect();
        let digest = Digest::of("redflag ended ignores v1", &[&serde_json::to_vec(&events).expect("events always serialise")]);
        let (withheld, actor) = (Withheld::default(), Actor::System(Text::lossy("ignores")));
        let mut planner = Planner::new(loaded, &withheld, head, Context { actor, received_at: self.at });
        let receipt = planner.batch(batch, Source::Decision, digest, events.into_iter().map(Item::valid));
        Ok(Decided { changes: planner.finish(|_| ()), answer: Answer::IgnoresEnded(receipt.accepted) })
    }
}

fn has_run_out(state: &PackageState, at: Timestamp) -> bool {
    matches!(&state.standing, Standing::Ignored(ignore) if ignore.until.is_some_and(|until| until <= at))
}
