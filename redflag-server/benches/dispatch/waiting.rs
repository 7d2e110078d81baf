//! Agents that wait for commands which never come, and what the server spends on them.

use crate::scene::Scene;
use redflag_core::command::delivery::WAIT_SECONDS_MAX;
use std::{convert::Infallible, fs, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Agents that wait, until this is dropped.
pub(crate) struct Waiting(#[expect(dead_code, reason = "ends its tasks when it is dropped")] JoinSet<Infallible>);

impl Waiting {
    /// Lets the first `count` agents ask for commands again and again, and goes on when all of them wait. Their polls are spread
    /// evenly, as those of a fleet are.
    pub(crate) async fn begin(scene: &Arc<Scene>, count: usize, wait_seconds: u32) -> Self {
        let mut tasks = JoinSet::new();
        for (agent, first) in scene.others[..count].iter().cloned().zip((1..=wait_seconds).cycle()) {
            let scene = Arc::clone(scene);
            tasks.spawn(async move {
                scene.lease(&agent, first).await;
                loop {
                    scene.lease(&agent, wait_seconds).await;
                }
            });
        }
        while connections(scene) < count {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The last ones are connected and not heard yet.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self(tasks)
    }
}

/// The processor time the server spends on one of `count` agents that wait, in a minute of waits as long as an agent may ask for;
/// measured over one wait of all of them.
pub(crate) async fn cost_of_a_minute(scene: &Scene, count: usize, wait_seconds: u32) -> Duration {
    let before = processor_time(scene);
    tokio::time::sleep(Duration::from_secs(wait_seconds.into())).await;
    let spent = processor_time(scene) - before;
    spent.div_f64(count as f64).mul_f64(60.0 / f64::from(WAIT_SECONDS_MAX))
}

fn process_file(scene: &Scene, name: &str) -> String {
    format!("/proc/{}/{name}", scene.server.child.id().unwrap())
}

fn connections(scene: &Scene) -> usize {
    let files = fs::read_dir(process_file(scene, "fd")).unwrap();
    files
        .filter(|file| {
            file.as_ref().is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        })
        .count()
}

fn processor_time(scene: &Scene) -> Duration {
    let stat = fs::read_to_string(process_file(scene, "stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    Duration::from_secs_f64(ticks / rustix::param::clock_ticks_per_second() as f64)
}
