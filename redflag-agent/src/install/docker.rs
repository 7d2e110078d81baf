//! Installs container images: pulls exactly the approved digest and makes the container again from it, with its configuration.
//!
//! All images are pulled and all new containers are made and compared before the first old one is stopped. Then one after the other
//! is switched and watched; when one does not prove itself, every old container comes back. The old ones are kept, stopped, for a
//! while. How an interruption is recovered from is written in [`switch`], what is carried over in [`recipe`].
//!
//! A container is not recreated when that could not be undone or would lose something: see [`obstacle`].

mod recipe;
mod switch;
mod watch;

use super::{InstallError, Installed, Installer, OUTPUT_BYTES_MAX, items};
use crate::{
    Printed,
    engine::{self, Engine, EngineError},
    scan::docker::{
        containers::{self, Container, Platform},
        credentials::{Credentials, Login, SettingsError, credentials},
        reference::{ImageVersion, Reference},
        tag,
    },
};
use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use recipe::Old;
use redflag_core::{
    command::plan::{Change, Item, Plan},
    names::{DOCKER, Manager, PackageKey, Text},
    words::VersionOrder,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use switch::{Names, Settled, Undone};
use watch::Patience;

/// Longest time a health check may take to say "healthy", unless told otherwise.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How long a container without a health check has to stay up, unless told otherwise.
const STEADY_TIME: Duration = Duration::from_secs(10);
/// Where `docker login` and `podman login` of the root user leave what they learn.
const LOGINS: [&str; 3] = ["/root/.docker/config.json", "/run/containers/0/auth.json", "/root/.config/containers/auth.json"];
/// How long an old container is kept, unless told otherwise.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Installs with Docker or Podman.
#[derive(Clone, Debug)]
pub struct Docker {
    socket: Option<PathBuf>,
    logins: Vec<PathBuf>,
    patience: Patience,
    kept_for: Duration,
}

impl Default for Docker {
    fn default() -> Self {
        Self::new()
    }
}

impl Docker {
    /// The engine of the whole host, and the root user's logins. Unlike the scanner it does not look at `DOCKER_HOST`: what runs as
    /// root takes no orders from its environment.
    #[must_use]
    pub fn new() -> Self {
        Self {
            socket: None,
            logins: LOGINS.map(PathBuf::from).into(),
            patience: Patience { health_time_max: HEALTH_TIME_MAX, steady_time: STEADY_TIME },
            kept_for: KEPT_FOR,
        }
    }

    /// Another engine, by its socket.
    #[must_use]
    pub fn with_socket(self, socket: impl Into<PathBuf>) -> Self {
        Self { socket: Some(socket.into()), ..self }
    }

    /// Other files with logins than the root user's, in the form of docker's `config.json`.
    #[must_use]
    pub fn with_logins(self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { logins: files.into_iter().collect(), ..self }
    }

    /// Waits this long for a health check to say "healthy"; 5 minutes otherwise.
    #[must_use]
    pub fn with_health_time_max(self, health_time_max: Duration) -> Self {
        Self { patience: Patience { health_time_max, ..self.patience }, ..self }
    }

    /// Lets a container without a health check stay up for this long before it counts as well; 10 seconds otherwise.
    #[must_use]
    pub fn with_steady_time(self, steady_time: Duration) -> Self {
        Self { patience: Patience { steady_time, ..self.patience }, ..self }
    }

    /// Keeps old containers and their images for this long, counted in seconds; 7 days otherwise. They are removed by the first
    /// installation or refresh after that.
    #[must_use]
    pub fn kept_for(self, kept_for: Duration) -> Self {
        Self { kept_for, ..self }
    }

    async fn recovered(&self, engine: &Engine) -> Result<Vec<String>, InstallError> {
        let mut told = Vec::new();
        for names in switch::unsettled(engine).await? {
            let settled = switch::settle(engine, &names, self.patience).await?;
            let words = match settled {
                Settled::Finished => "an interrupted update was finished",
                Settled::Returned => "an interrupted update was undone",
            };
            told.push(format!("{}: {words}", names.name));
        }
        Ok(told)
    }

    async fn engine(&self) -> Result<Engine, InstallError> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => engine::of_root().await,
        };
        Ok(Engine::open(&socket).await?)
    }

    /// What each item asks of which container, if all of it can be done.
    async fn targets(&self, engine: &Engine, items: &[Item]) -> Result<Vec<Target>, InstallError> {
        let versions = items::arguments(DOCKER, VersionOrder::None, items, versions)?;
        if let Some(names) = switch::unsettled(engine).await?.first() {
            let reason = format!("the update of container {}; refreshing the metadata of docker finishes or undoes it", names.name);
            return Err(InstallError::Interrupted { reason });
        }
        let all = containers::containers(engine, &mut Vec::new()).await?;
        let mut targets = Vec::new();
        for (item, (from, to)) in items.iter().zip(versions) {
            let container = all.iter().find(|container| container.package == item.package);
            let precondition = |installed: String| InstallError::Precondition {
                package: item.package.to_string(),
                installed,
                expected: item.from.to_string(),
            };
            let container = container.ok_or_else(|| precondition("none".into()))?;
            let runs = container.image.digests.iter().any(|digest| container.version_by(digest) == from);
            if !runs {
                let reached = container.image.digests.iter().any(|digest| container.version_by(digest) == to);
                return Err(precondition(if reached { to.to_string() } else { container.version().to_string() }));
            }
            targets.push(Target { container: container.clone(), full: Full::of(engine, container).await?, to });
        }
        let guests = guests(engine).await?;
        for target in &targets {
            if let Some(reason) = obstacle(engine, target, &guests).await? {
                return Err(InstallError::Held { reason: format!("container {}: {reason}", target.container.name) });
            }
        }
        Ok(targets)
    }

    /// The plan, if the images are to be had. How much of them is here already only the engine finds out, when it pulls.
    async fn planned(&self, engine: &Engine, items: &[Item], targets: &[Target]) -> Result<Plan, InstallError> {
        let mut seen = BTreeSet::new();
        for target in targets {
            if seen.insert(target.pinned()) && !engine.is_podman() {
                self.look_up(engine, target).await?;
            }
        }
        Ok(plan_of(items, targets))
    }

    /// Whether the registry still has the image, for this platform.
    async fn look_up(&self, engine: &Engine, target: &Target) -> Result<(), InstallError> {
        let (pinned, platform) = (target.pinned(), &target.container.image.platform);
        let platforms = engine.platforms(&pinned, self.login(target)?.as_deref()).await.map_err(not_had)?;
        let same = |other: &Platform| (&other.os, &other.architecture) == (&platform.os, &platform.architecture);
        // A manifest of one platform may not say which.
        if platforms.len() > 1 && !platforms.iter().any(same) {
            let reason = format!("{pinned} has no image for {}/{}", platform.os, platform.architecture);
            return Err(InstallError::Unresolvable { reason });
        }
        Ok(())
    }

    /// The login for a target's registry, as the engine's API takes it.
    fn login(&self, target: &Target) -> Result<Option<String>, InstallError> {
        let registry = &target.container.reference.repository.registry;
        let Credentials::Login(Login { name, password }) = credentials(&self.logins, registry)? else { return Ok(None) };
        let login = json!({"username": name, "password": password, "serveraddress": &**registry});
        Ok(Some(BASE64_URL_SAFE.encode(login.to_string())))
    }

    /// Pulls the image, makes the new container beside the old one, and compares them.
    async fn prepare(&self, engine: &Engine, target: &Target) -> Result<Prepared, InstallError> {
        let (container, pinned) = (&target.container, target.pinned());
        engine.pull(&pinned, self.login(target)?.as_deref()).await.map_err(not_had)?;
        let image = engine.image_in_full(&pinned).await?;
        let id = image["Id"].as_str().ok_or_else(|| tool(format!("the engine names no image for {pinned}")))?;
        let names = Names::of(&container.name);
        let reference = target.reference();
        if let Some((repository, tag)) = spelled(&reference) {
            engine.tag(id, repository, tag).await?;
        }
        if target.full.container["Image"] == *id {
            // The tag names the same image by another digest: nothing to change but what the engine knows.
            return Ok(Prepared { names, recreated: false });
        }
        let host_name = host_name();
        let old = target.full.old(engine);
        let recipe = old.recipe(&reference, id, &host_name);
        engine.create(&names.new, &recipe.create).await?;
        for (network, endpoint) in &recipe.joins {
            engine.join(&names.new, network, endpoint).await?;
        }
        let new = engine.container_in_full(&names.new).await?;
        let mut differences = old.differences(&new, &host_name);
        if new["Image"] != *id {
            differences.push("Image".into());
        }
        if !differences.is_empty() {
            let reason = format!("container {} cannot be made again as it is: {} would differ", container.name, differences.join(", "));
            return Err(InstallError::Held { reason });
        }
        Ok(Prepared { names, recreated: true })
    }

    /// Prepares every container, or leaves none prepared.
    async fn prepare_all(&self, engine: &Engine, targets: &[Target], printed: &Printed) -> Result<Vec<Prepared>, InstallError> {
        let mut prepared = Vec::new();
        for target in targets {
            printed.line(&format!("{}: fetching {}", target.container.name, target.pinned()));
            match self.prepare(engine, target).await {
                Ok(one) => prepared.push(one),
                Err(error) => {
                    for target in targets {
                        let names = Names::of(&target.container.name);
                        if let Err(trouble) = switch::back(engine, &names).await {
                            tracing::warn!(container = names.name, %trouble, "what was prepared could not be taken back");
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(prepared)
    }

    /// Switches one container after the other; when one fails, all come back.
    async fn switch_all(&self, engine: &Engine, prepared: &[Prepared], output: &mut Output<'_>) -> Result<(), Undone> {
        let changed: Vec<_> = prepared.iter().filter(|one| one.recreated).map(|one| &one.names).collect();
        for (index, names) in changed.iter().enumerate() {
            let Err(reason) = switch::switch(engine, names, self.patience).await else {
                output.line(&format!("{}: runs the new image", names.name));
                continue;
            };
            let reason = format!("container {}: {reason}", names.name);
            let mut way_back = Vec::new();
            // The one that failed first, then those before it, the last first; those after it were only prepared.
            for names in changed[..=index].iter().rev().chain(&changed[index + 1..]) {
                match switch::back(engine, names).await {
                    Ok(()) => output.line(&format!("{}: runs the old image", names.name)),
                    Err(error) => way_back.push(format!("{} (its old container may be {}): {error}", names.name, names.old)),
                }
            }
            return Err(Undone { reason, way_back: (!way_back.is_empty()).then(|| way_back.join("; ")) });
        }
        Ok(())
    }
}

#[async_trait]
impl Installer for Docker {
    fn manager(&self) -> Manager {
        Manager::parse(DOCKER).expect("the word is a manager's")
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        let engine = self.engine().await?;
        let targets = self.targets(&engine, items).await?;
        self.planned(&engine, items, &targets).await
    }

    async fn install(&self, items: &[Item], approved: &Plan, printed: &Printed) -> Result<Installed, InstallError> {
        let engine = self.engine().await?;
        let mut output = Output { text: String::new(), printed };
        self.recovered(&engine).await?.iter().for_each(|line| output.line(line));
        let targets = self.targets(&engine, items).await?;
        items::as_approved(&plan_of(items, &targets), approved)?;
        let prepared = self.prepare_all(&engine, &targets, printed).await?;
        let failed = |reason, done, rolled_back, output: &Output<'_>| InstallError::Failed {
            reason,
            done,
            rolled_back,
            output: ended(&output.text),
        };
        if let Err(undone) = self.switch_all(&engine, &prepared, &mut output).await {
            let reason = match &undone.way_back {
                Some(trouble) => format!("{}; and the way back failed: {trouble}", undone.reason),
                None => undone.reason,
            };
            return Err(failed(reason, Vec::new(), undone.way_back.is_none(), &output));
        }
        let (done, missing) = verified(&engine, &targets).await?;
        if let Some(missing) = missing {
            return Err(failed(missing, done, false, &output));
        }
        for one in prepared.iter().filter(|one| one.recreated) {
            if let Err(error) = switch::finish(&engine, &one.names).await {
                return Err(failed(format!("{} could not be put aside: {error}", one.names.old), done, false, &output));
            }
        }
        for complaint in switch::remove_expired(&engine, self.kept_for).await? {
            output.line(&format!("not removed: {complaint}"));
        }
        Ok(Installed { reboot_required: Some(false), transaction: None, output: ended(&output.text) })
    }

    async fn recover(&self) -> Result<Vec<String>, InstallError> {
        self.recovered(&self.engine().await?).await
    }

    /// A container engine keeps nothing of its sources. What an interruption left is finished or undone, and what was kept for long
    /// enough is removed.
    async fn refresh(&self) -> Result<(), InstallError> {
        let engine = self.engine().await?;
        self.recovered(&engine).await?;
        for complaint in switch::remove_expired(&engine, self.kept_for).await? {
            tracing::warn!(complaint, "an old container or image was not removed");
        }
        Ok(())
    }
}

/// What an installation tells, as it comes and in the end.
#[derive(Debug)]
struct Output<'a> {
    text: String,
    printed: &'a Printed,
}

impl Output<'_> {
    fn line(&mut self, line: &str) {
        self.printed.line(line);
        self.text.extend([line, "\n"]);
    }
}

/// A container to bring to a version.
#[derive(Debug)]
struct Target {
    container: Container,
    full: Full,
    to: ImageVersion,
}

impl Target {
    /// The approved image, by its digest.
    fn pinned(&self) -> String {
        format!("{}@{}", self.container.reference.repository, self.to.digest)
    }

    /// The image as the new container names it: as before, with the new tag where there is one.
    fn reference(&self) -> String {
        let before = self.full.container["Config"]["Image"].as_str().unwrap_or_default();
        match (&self.to.tag, self.container.followed_tag()) {
            (Some(tag), Some(followed)) if **tag != *followed => {
                let name = before.strip_suffix(followed).and_then(|name| name.strip_suffix(':')).unwrap_or(before);
                format!("{name}:{tag}")
            }
            _ => before.to_owned(),
        }
    }
}

/// What recreating the containers changes: they, and nothing else.
fn plan_of(items: &[Item], targets: &[Target]) -> Plan {
    let change = |(item, target): (&Item, &Target)| Change {
        package: item.package.clone(),
        from: Some(item.from.clone()),
        to: Some(item.to.clone()),
        origin: Some(Text::lossy(&target.container.reference.repository.registry)),
    };
    Plan { reboot_required: Some(false), ..Plan::of(items.iter().zip(targets).map(change)) }
}

/// Everything the engine says of a container and its image.
#[derive(Debug)]
struct Full {
    container: Value,
    image: Value,
}

impl Full {
    async fn of(engine: &Engine, container: &Container) -> Result<Self, InstallError> {
        let container = engine.container_in_full(&container.name).await?;
        let image = container["Image"].as_str().ok_or_else(|| tool("the engine names no image of a container"))?;
        let image = engine.image_in_full(image).await?;
        Ok(Self { container, image })
    }

    const fn old(&self, engine: &Engine) -> Old<'_> {
        Old { container: &self.container, image: &self.image, podman: engine.is_podman() }
    }
}

/// A new container beside the old one.
#[derive(Debug)]
struct Prepared {
    names: Names,
    recreated: bool,
}

/// The versions of an item, by the grammar of images; what a scan would never offer is none.
fn versions(item: &Item) -> Result<(ImageVersion, ImageVersion), String> {
    let version = |version: &redflag_core::names::Version| ImageVersion::parse(version.as_str()).map_err(|error| error.to_string());
    let (from, to) = (version(&item.from)?, version(&item.to)?);
    let name = item.package.name.as_str();
    let (repository, _) = name.split_once('@').ok_or("the name is not REPOSITORY@CONTAINER")?;
    let reference = Reference::parse(repository).map_err(|error| error.to_string())?;
    if reference.repository.to_string() != repository || item.package.arch.is_some() {
        return Err("the name is not REPOSITORY@CONTAINER".into());
    }
    let (Some(old), Some(new)) = (&from.tag, &to.tag) else { return Err("it follows no tag".into()) };
    if old != new && tag::newer(old, [&**new]).is_none() {
        return Err(format!("{new} is no newer version of the tag {old}"));
    }
    Ok((from, to))
}

/// The containers that live in the network of another, by the name or id they call it.
async fn guests(engine: &Engine) -> Result<BTreeMap<String, String>, EngineError> {
    let mut guests = BTreeMap::new();
    for summary in engine.containers().await? {
        let guest = engine.container(&summary.id).await?;
        if let Some(host) = guest.host_config.network_mode.strip_prefix("container:") {
            guests.insert(host.to_owned(), summary.name().unwrap_or(&summary.id).to_owned());
        }
    }
    Ok(guests)
}

/// What speaks against making a container again.
async fn obstacle(engine: &Engine, target: &Target, guests: &BTreeMap<String, String>) -> Result<Option<String>, EngineError> {
    let (container, id) = (&target.container, target.full.container["Id"].as_str().unwrap_or_default());
    if let Some(obstacle) = &container.obstacle {
        return Ok(Some(obstacle.clone()));
    }
    if let Some(guest) = guests.get(&container.name).or_else(|| guests.get(id)) {
        return Ok(Some(format!("container {guest} lives in its network")));
    }
    if !engine.is_podman() {
        return Ok(None);
    }
    // What the compatible API does not tell would be lost.
    let more = engine.podman_container(&container.name).await?;
    let some = |value: &Value| value.as_array().is_some_and(|items| !items.is_empty());
    if more["Pod"].as_str().is_some_and(|pod| !pod.is_empty()) {
        return Ok(Some("it is part of a pod".into()));
    }
    if some(&more["Config"]["Secrets"]) {
        return Ok(Some("it has secrets of podman, which would be lost".into()));
    }
    Ok(some(&more["Dependencies"]).then(|| "other containers are required by it".into()))
}

/// Which packages are at their version now, and what is wrong with the first that is not.
async fn verified(engine: &Engine, targets: &[Target]) -> Result<(Vec<String>, Option<String>), InstallError> {
    let now = containers::containers(engine, &mut Vec::new()).await?;
    let runs = |package: &PackageKey, to: &ImageVersion| {
        let mut same = now.iter().filter(|container| container.package == *package);
        same.any(|container| container.image.digests.iter().any(|digest| container.version_by(digest) == *to))
    };
    let (done, missing): (Vec<_>, Vec<_>) = targets.iter().partition(|target| runs(&target.container.package, &target.to));
    let names = done.iter().map(|target| target.container.package.to_string()).collect();
    Ok((names, missing.first().map(|target| format!("{} does not run {}", target.container.package, target.to))))
}

/// `REPOSITORY` and `TAG` of a reference as it is written; none for a digest.
fn spelled(reference: &str) -> Option<(&str, &str)> {
    if reference.contains('@') {
        return None;
    }
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => Some((name, tag)),
        _ => Some((reference, "latest")),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The end of an output.
fn ended(output: &str) -> String {
    output[output.ceil_char_boundary(output.len().saturating_sub(OUTPUT_BYTES_MAX))..].to_owned()
}

fn tool(reason: impl Into<String>) -> InstallError {
    InstallError::Tool { reason: reason.into() }
}

/// What an engine could not get. It tells in words only whether the image is gone or its registry.
fn not_had(error: EngineError) -> InstallError {
    let reason = error.to_string();
    let gone = ["manifest unknown", "not found"].iter().any(|words| reason.contains(words));
    match error {
        EngineError::Pull { .. } | EngineError::Answer { .. } if gone => InstallError::NotOffered { reason },
        EngineError::Pull { .. } | EngineError::Answer { .. } | EngineError::Time { .. } => InstallError::Unreachable { reason },
        error => error.into(),
    }
}

impl From<SettingsError> for InstallError {
    fn from(error: SettingsError) -> Self {
        tool(error.to_string())
    }
}

impl From<EngineError> for InstallError {
    fn from(error: EngineError) -> Self {
        let reason = error.to_string();
        match error {
            EngineError::Connect { .. } | EngineError::Time { .. } => Self::Unreachable { reason },
            _ => Self::Tool { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{install::hostile, simulation::random::Random};
    use redflag_core::names::{PackageName, Version};

    const HEX: &str = "dad3a9f37d7ae51eaf9776e96c73c3b8526e02b37a784fa968e4982e6d54464d";

    fn item(name: &str, from: &str, to: &str) -> Option<Item> {
        let name = PackageName::parse(name).ok()?;
        let package = PackageKey { manager: Manager::parse(DOCKER).unwrap(), name, arch: None };
        Some(Item { package, from: Version::parse(from).ok()?, to: Version::parse(to).ok()?, origin: None })
    }

    #[test]
    fn only_what_a_scan_could_offer_is_taken() {
        let versions = |name: &str, from: &str, to: &str| {
            let other = "a".repeat(64);
            versions(&item(name, &from.replace('$', &format!("sha256:{other}")), &to.replace('$', &format!("sha256:{HEX}"))).unwrap())
        };
        for (from, to) in [("latest@$", "latest@$"), ("1.9@$", "1.10@$"), ("1.9-alpine@$", "1.10-alpine@$")] {
            assert!(versions("docker.io/library/web@web", from, to).is_ok(), "{from} {to}");
        }
        for (from, to) in [
            ("1.10@$", "1.9@$"),
            ("latest@$", "1.9@$"),
            ("1.9-alpine@$", "1.10@$"),
            ("$", "$"),
            ("1.9@$", "$"),
            ("1.9@$", "1.10"),
            ("1.9", "1.9@$"),
        ] {
            assert!(versions("docker.io/library/web@web", from, to).is_err(), "{from} {to}");
        }
        for name in
            ["web@web", "docker.io/library/web", "docker.io/web@web", "docker.io/library/web:1@web", "../web@web", "169.254.169.254/a@web"]
        {
            assert!(versions(name, "latest@$", "latest@$").is_err(), "{name}");
        }
    }

    #[test]
    fn a_million_hostile_items_give_no_reference_outside_the_grammar() {
        let mut random = Random::strand(20_261_125, &[1]);
        let (mut built, mut refused) = (0_u64, 0_u64);
        let names = ["docker.io/library/web@web", "127.0.0.1:5000/lab/web@shop/web", "ghcr.io/acme/a_b.c@x"];
        let (from, to) = (format!("1.9@sha256:{}", "a".repeat(64)), [format!("1.9@sha256:{HEX}"), format!("1.10@sha256:{HEX}")]);
        for _ in 0..1_000_000 {
            let (mut name, mut to) = (random.one_of(&names).to_owned(), to[usize::try_from(random.below(2)).unwrap()].clone());
            for word in [&mut name, &mut to] {
                for _ in 0..random.below(3) {
                    hostile::spoil(&mut random, word);
                }
            }
            let Some(Ok((_, version))) = item(&name, &from, &to).map(|item| versions(&item)) else {
                refused += 1;
                continue;
            };
            built += 1;
            let repository = name.split('@').next().unwrap();
            let pinned = format!("{repository}@{}", version.digest);
            let kept = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".:/_-@[]".contains(&b) || b.is_ascii_uppercase();
            assert!(pinned.bytes().all(kept) && !pinned.contains("..") && !pinned.contains("//") && !pinned.starts_with('-'), "{pinned:?}");
            let again = Reference::parse(&pinned).unwrap();
            assert_eq!((again.repository.to_string(), again.digest.unwrap()), (repository.to_owned(), version.digest), "{pinned:?}");
        }
        println!("docker: {built} references built, {refused} refused");
        assert!(built > 100_000 && refused > 100_000);
    }

    #[test]
    fn a_reference_is_told_apart_as_it_is_written() {
        assert_eq!(spelled("nginx"), Some(("nginx", "latest")));
        assert_eq!(spelled("host:5000/web"), Some(("host:5000/web", "latest")));
        assert_eq!(spelled("host:5000/web:1.0"), Some(("host:5000/web", "1.0")));
        assert_eq!(spelled("web@sha256:x"), None);
    }

    #[test]
    fn the_end_of_a_long_output_is_kept() {
        let long = "é".repeat(OUTPUT_BYTES_MAX);
        assert!(ended(&long).len() <= OUTPUT_BYTES_MAX && ended(&long).ends_with('é'));
        assert_eq!(ended("short"), "short");
    }
}
