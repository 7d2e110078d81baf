//! Changing one container for another, so that whoever comes after an interruption knows from the names what is left to do.
//!
//! | `NAME` | `.redflag-new` | `.redflag-old` | what happened | what is done |
//! |---|---|---|---|---|
//! | yes | yes | no | created, not switched | the new one goes, `NAME` is started if it was stopped |
//! | no | yes | yes | between the two renames | the new one goes, the old one comes back |
//! | yes | no | yes | switched, not judged | `NAME` is judged: it stays, or the old one comes back |
//! | no | no | yes | on the way back | the old one comes back |
//! | no | yes | no | somebody removed the old one | the new one, never started, goes |
//!
//! The old container becomes `NAME.redflag-kept-TIME` once the new one has proved itself. Until then it keeps its restart policy and
//! the new one has none, so that after a reboot in the middle the engine starts the old one.

use super::watch::{Patience, watch};
use crate::engine::{Engine, EngineError};
use crate::scan::docker::containers::OURS;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// The names a container goes by in the course of an update.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub name: String,
    pub new: String,
    pub old: String,
}

impl Names {
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), new: format!("{name}{OURS}new"), old: format!("{name}{OURS}old") }
    }

    fn kept(&self, at: Duration) -> String {
        format!("{}{OURS}kept-{}", self.name, at.as_secs())
    }
}

/// Why the container is not the new one, and whether the old one is back.
#[derive(Debug)]
pub(super) struct Undone {
    pub reason: String,
    /// What went wrong on the way back.
    pub way_back: Option<String>,
}

/// What recovering did to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The new one proved itself and stays.
    Finished,
    /// The old one runs.
    Returned,
}

/// Puts `NAME.redflag-new` in the place of `NAME` and waits until it has proved itself. The old one is not kept for good yet.
pub(super) async fn switch(engine: &Engine, names: &Names, patience: Patience) -> Result<(), String> {
    let done = async {
        engine.stop(&names.name).await?;
        engine.rename(&names.name, &names.old).await?;
        engine.rename(&names.new, &names.name).await?;
        engine.start(&names.name).await?;
        watch(engine, &names.name, patience).await
    };
    match done.await {
        Ok(well) => well,
        Err(error) => Err(error.to_string()),
    }
}

/// Lets the new container have the old one's restart policy, and keeps the old one under a name that says until when.
pub(super) async fn finish(engine: &Engine, names: &Names) -> Result<(), EngineError> {
    let policy = policy(&engine.container_in_full(&names.old).await?);
    if engine.is_podman() {
        // Its policies cannot be changed, and this one would start the old container beside the new one after a reboot.
        if policy["Name"] == "always" {
            return engine.remove(&names.old).await;
        }
    } else if is_set(&policy) {
        // Interrupted between these two, the second attempt finds the old one without.
        engine.set_restart_policy(&names.name, &policy).await?;
        engine.set_restart_policy(&names.old, &serde_json::json!({"Name": "no"})).await?;
    }
    engine.rename(&names.old, &names.kept(now())).await
}

/// Brings the old container back, from wherever a switch has come to.
pub(super) async fn back(engine: &Engine, names: &Names) -> Result<(), EngineError> {
    let present = present(engine).await?;
    let has = |name: &str| present.contains(name);
    if has(&names.old) {
        if has(&names.name) && !has(&names.new) {
            let (new, old) = (engine.container_in_full(&names.name).await?, engine.container_in_full(&names.old).await?);
            if !engine.is_podman() && is_set(&policy(&new)) && !is_set(&policy(&old)) {
                engine.set_restart_policy(&names.old, &policy(&new)).await?;
            }
            engine.remove(&names.name).await?;
        }
        remove_if(engine, has(&names.new), &names.new).await?;
        retag(engine, &names.old).await?;
        // Started under its other name first: once it has its own again, nothing would tell that it is still to be started.
        engine.start(&names.old).await?;
        return engine.rename(&names.old, &names.name).await;
    }
    if has(&names.name) {
        retag(engine, &names.name).await?;
        engine.start(&names.name).await?;
    }
    remove_if(engine, has(&names.new), &names.new).await
}

/// Finishes or undoes what an earlier run left half done to one container.
pub(super) async fn settle(engine: &Engine, names: &Names, patience: Patience) -> Result<Settled, EngineError> {
    let present = present(engine).await?;
    let switched = present.contains(&names.name) && present.contains(&names.old) && !present.contains(&names.new);
    if switched && !engine.container(&names.old).await?.state.running {
        // It may have been renamed and never started.
        if engine.start(&names.name).await.is_ok() && watch(engine, &names.name, patience).await?.is_ok() {
            return finish(engine, names).await.map(|()| Settled::Finished);
        }
    }
    back(engine, names).await.map(|()| Settled::Returned)
}

/// Containers that an earlier run left half done.
pub(super) async fn unsettled(engine: &Engine) -> Result<Vec<Names>, EngineError> {
    let present = present(engine).await?;
    let base =
        |name: &String| Some(name.strip_suffix(&format!("{OURS}new")).or_else(|| name.strip_suffix(&format!("{OURS}old")))?.to_owned());
    let bases: BTreeSet<String> = present.iter().filter_map(base).collect();
    Ok(bases.iter().map(|name| Names::of(name)).collect())
}

/// Removes the containers that were kept for longer than `kept_for`, with their images where nothing else needs them. What cannot be
/// removed is returned.
pub(super) async fn remove_expired(engine: &Engine, kept_for: Duration) -> Result<Vec<String>, EngineError> {
    let mut complaints = Vec::new();
    for name in present(engine).await? {
        let Some(kept_at) = name.rsplit_once(&format!("{OURS}kept-")).and_then(|(_, at)| at.parse().ok()) else { continue };
        if now().saturating_sub(Duration::from_secs(kept_at)) < kept_for {
            continue;
        }
        let image = engine.container(&name).await?.image;
        if let Err(error) = engine.remove(&name).await {
            complaints.push(error.to_string());
            continue;
        }
        // A tag means that somebody may still want it; in use, the engine refuses.
        let untagged = engine.image_in_full(&image).await.is_ok_and(|image| image["RepoTags"].as_array().is_none_or(Vec::is_empty));
        if untagged && let Err(error) = engine.remove_image(&image).await {
            complaints.push(error.to_string());
        }
    }
    Ok(complaints)
}

async fn present(engine: &Engine) -> Result<BTreeSet<String>, EngineError> {
    let containers = engine.containers().await?;
    Ok(containers.iter().filter_map(|container| container.name().map(str::to_owned)).collect())
}

async fn remove_if(engine: &Engine, there: bool, name: &str) -> Result<(), EngineError> {
    if there { engine.remove(name).await } else { Ok(()) }
}

/// Lets the tag that a container names mean the image that it runs, as before the update.
async fn retag(engine: &Engine, name: &str) -> Result<(), EngineError> {
    let container = engine.container(name).await?;
    match super::spelled(&container.config.image) {
        Some((repository, tag)) => engine.tag(&container.image, repository, tag).await,
        None => Ok(()),
    }
}

fn policy(container: &Value) -> Value {
    container["HostConfig"]["RestartPolicy"].clone()
}

fn is_set(policy: &Value) -> bool {
    !matches!(policy["Name"].as_str(), None | Some("" | "no"))
}

/// Seconds since 1970, for the name of what is kept.
fn now() -> Duration {
    Duration::from_micros(u64::try_from(crate::clock::now().as_micros()).unwrap_or_default())
}
