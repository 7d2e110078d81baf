//! Commands worth looking at: a plan that goes too far, an installation under way, what failed and what waits.

use super::host::{HOSTILE, agent_id, ago};
use redflag_core::{
    Fleet,
    command::{
        payload::Action,
        plan::{Change, Plan},
        record::{Claim, CommandRecord, Failure, Success, Terms},
        step::{Request, Step, Wanted},
    },
    event::Actor,
    ids::{AgentId, CommandId},
    names::{DNF, PackageKey, Text, Version},
    offer::OfferDigest,
    query::{UpdateFilter, UpdateQuery},
    time::Timestamp,
    work::Decision,
};
use redflag_server::ids;

/// The commands that tests look for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Commands {
    /// A plan beyond its terms, on the web host.
    pub(crate) review: Option<CommandId>,
    /// An installation that its agent has begun, on the mail host.
    pub(crate) running: Option<CommandId>,
    /// One whose agent says hostile things about it.
    pub(crate) hostile: Option<CommandId>,
    /// One that waits for its agent.
    pub(crate) waiting: Option<CommandId>,
}

/// Puts them into the queues of the hosts.
pub(crate) async fn fill(fleet: &Fleet) -> Commands {
    let (web, mail, hostile, fresh) = (agent_id(2), agent_id(3), agent_id(4), agent_id(5));
    approve(fleet, web, &["openssl-libs", "kernel-core"], ago(250)).await;
    let planned = plan(fleet, web, with_more, ago(200)).await;
    approve(fleet, mail, &["postfix", "libc6"], ago(240)).await;
    let plan = plan(fleet, mail, |exactly| exactly, ago(180)).await;
    let install = CommandId::of_plan(mail, plan);
    begin(fleet, mail, install, ago(120)).await;

    let broken = host(fleet, hostile, Action::Rescan, ago(170)).await;
    begin(fleet, hostile, broken, ago(160)).await;
    let failure = Failure { reason: Text::lossy(HOSTILE[0]), rolled_back: false, output: HOSTILE.join("\n") };
    step(fleet, hostile, Step::Finish { command: broken, claim: Claim::Failed(failure.clone()) }, ago(150)).await;
    let late = Claim::Failed(Failure { reason: Text::lossy(HOSTILE[1]), ..failure });
    step(fleet, hostile, Step::Finish { command: broken, claim: late }, ago(140)).await;

    let done = host(fleet, web, Action::Rescan, ago(100)).await;
    begin(fleet, web, done, ago(90)).await;
    step(fleet, web, Step::Finish { command: done, claim: Claim::Succeeded(Success::default()) }, ago(80)).await;
    let reboot = host(fleet, mail, Action::Reboot, ago(70)).await;
    let (by, reason) = (Actor::Operator(Text::lossy("grace")), Some(Text::lossy("not during the day")));
    step(fleet, mail, Step::Cancel { command: reboot, by, reason }, ago(60)).await;
    let waiting = host(fleet, fresh, Action::RefreshMetadata { manager: DNF.parse().expect("a manager") }, ago(50)).await;
    Commands { review: Some(planned), running: Some(install), hostile: Some(broken), waiting: Some(waiting) }
}

async fn step(fleet: &Fleet, agent: AgentId, step: Step, at: Timestamp) -> Vec<CommandRecord> {
    fleet.command(agent, step, at).await.expect("the step is taken")
}

async fn host(fleet: &Fleet, agent: AgentId, action: Action, at: Timestamp) -> CommandId {
    let (command, by) = (ids::command_id(), Actor::Operator(Text::lossy("ada")));
    step(fleet, agent, Step::Request(Request { command, by, wanted: Wanted::Host(action), terms: Terms::default() }), at).await;
    command
}

async fn begin(fleet: &Fleet, agent: AgentId, command: CommandId, at: Timestamp) {
    step(fleet, agent, Step::Lease { limit: 16 }, at).await;
    step(fleet, agent, Step::Start { command }, at).await;
}

async fn approve(fleet: &Fleet, agent: AgentId, packages: &[&str], at: Timestamp) {
    let query = UpdateQuery { filter: UpdateFilter { agent: Some(agent), ..UpdateFilter::default() }, ..UpdateQuery::default() };
    let rows = fleet.store().updates(&query).await.expect("a page").items;
    let rows = rows.into_iter().filter(|row| packages.contains(&row.state.package.name.as_str()));
    let decision = |offer_digest: OfferDigest| Decision::Approve { offer_digest, comment: Some(Text::lossy("tested on staging")) };
    let decisions: Vec<_> = rows.map(|row| (row.state.package.clone(), decision(row.state.offer_digest()))).collect();
    assert_eq!(decisions.len(), packages.len(), "{packages:?} are offered");
    fleet.decide(agent, ids::batch_id(), Text::lossy("ada"), decisions, at).await.expect("decided");
}

/// Plans what is approved; the manager answers what `answer` makes of exactly that.
async fn plan(fleet: &Fleet, agent: AgentId, answer: impl FnOnce(Vec<Change>) -> Vec<Change>, at: Timestamp) -> CommandId {
    let requested = fleet.request_approved(agent, &Terms::default(), at).await.expect("requested");
    let record = requested.commands.first().expect("one plan").clone();
    begin(fleet, agent, record.id, at).await;
    let exactly = record.action.items().iter().map(|item| Change {
        package: item.package.clone(),
        from: Some(item.from.clone()),
        to: Some(item.to.clone()),
        origin: item.origin.clone(),
    });
    let plan = Plan { download_bytes: Some(20_971_520), reboot_required: Some(true), ..Plan::of(answer(exactly.collect())) };
    let output = "Last metadata expiration check: 0:12:41 ago.\nDependencies resolved.\n\nTransaction test succeeded.\n".to_owned();
    let claim = Claim::Succeeded(Success { plan: Some(plan), output, ..Success::default() });
    step(fleet, agent, Step::Finish { command: record.id, claim }, at).await;
    record.id
}

fn with_more(mut changes: Vec<Change>) -> Vec<Change> {
    let package = |name: &str| PackageKey::parse("dnf", name, Some("x86_64")).expect("a package");
    let version = |text: &str| Version::parse(text).expect("a version");
    let change = |name: &str, from: Option<&str>, to: Option<&str>| Change {
        package: package(name),
        from: from.map(version),
        to: to.map(version),
        origin: to.map(|_| Text::lossy("baseos")),
    };
    changes.push(change("kernel-modules-core", None, Some("5.14.0-503.el9")));
    changes.push(change("kernel-core-debuginfo-with-a-rather-long-name", Some("5.14.0-427.el9"), None));
    changes.push(change("linux-firmware", Some("20240905-143.3.el9"), Some("20250314-151.el9")));
    changes
}
