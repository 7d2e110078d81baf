//! From an approval to the plan, and from the plan's result to the installation, again and again.

use crate::scene::{Scene, command};
use redflag_core::command::{
    payload::{Action, Command},
    plan::{Change, Item, Plan},
    record::{Claim, Success},
};
use serde_json::Value;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// After this an agent that asked waits.
const SETTLED: Duration = Duration::from_millis(30);

/// How long something took, each time.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The value below which `percent` of 100 lie.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |percent| self.percentile(percent).as_secs_f64() * 1_000.0;
        write!(f, "{:.1} / {:.1} ms", millis(50), millis(99))
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// From an approval to the plan command of an agent that waits for it.
    pub(crate) waited: Latencies,
    /// The same when the agent asks after the approval was answered.
    pub(crate) asked: Latencies,
    /// From the plan's result to the command that installs.
    pub(crate) installs: Latencies,
}

/// Approves `rounds` updates of each kind, in turns, and lets the agent see them through.
pub(crate) async fn measure(scene: &Scene, rounds: usize) -> Measured {
    let mut measured = Measured::default();
    for pair in scene.updates(2 * rounds).await.chunks_exact(2) {
        let (plan, took) = waited(scene, &pair[0]).await;
        measured.waited.0.push(took);
        measured.installs.0.push(see_through(scene, &plan).await);
        let (plan, took) = asked(scene, &pair[1]).await;
        measured.asked.0.push(took);
        measured.installs.0.push(see_through(scene, &plan).await);
    }
    measured
}

async fn waited(scene: &Scene, (path, body): &(String, Value)) -> (Command, Duration) {
    let waits = async { (scene.lease(&scene.agent, 50).await, Instant::now()) };
    let approves = async {
        tokio::time::sleep(SETTLED).await;
        let began = Instant::now();
        scene.approve(path, body).await;
        began
    };
    let ((answer, answered), began) = tokio::join!(waits, approves);
    (command(&answer), answered - began)
}

async fn asked(scene: &Scene, (path, body): &(String, Value)) -> (Command, Duration) {
    let began = Instant::now();
    scene.approve(path, body).await;
    let answer = scene.lease(&scene.agent, 0).await;
    (command(&answer), began.elapsed())
}

/// Plans exactly what was approved and installs it. How long it took from the plan's result to the order to install.
async fn see_through(scene: &Scene, plan: &Command) -> Duration {
    let Action::Plan { items } = &plan.action else { panic!("{plan:?}") };
    let change = |item: &Item| Change {
        package: item.package.clone(),
        from: Some(item.from.clone()),
        to: Some(item.to.clone()),
        origin: item.origin.clone(),
    };
    let planned = Success { plan: Some(Plan::of(items.iter().map(change))), ..Success::default() };
    start(scene, plan).await;
    let began = Instant::now();
    finish(scene, plan, planned).await;
    let answer = scene.lease(&scene.agent, 50).await;
    let took = began.elapsed();
    let install = command(&answer);
    start(scene, &install).await;
    finish(scene, &install, Success::default()).await;
    took
}

async fn start(scene: &Scene, command: &Command) {
    scene.say(&scene.agent, &format!("/api/v1/commands/{}/start", command.id), Vec::new()).await;
}

async fn finish(scene: &Scene, command: &Command, success: Success) {
    let body = serde_json::to_vec(&Claim::Succeeded(success)).unwrap();
    scene.say(&scene.agent, &format!("/api/v1/commands/{}/result", command.id), body).await;
}
