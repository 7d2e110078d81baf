//! The policy: what root of this host lets commands do, whoever signed them. One TOML file, owned by root, read anew for every
//! command. `docs/executor.md` explains every key.

mod file;
mod window;

pub use window::Window;

use crate::error::{Error, Result};
use glob::Pattern;
use redflag_core::{
    command::{
        payload::{Action, ActionKind, Audience, Command, SideEffect},
        plan::{Change, Excess, Plan},
        refusal::{CommandRefusal, RefusalCode},
        verify::PinnedKey,
    },
    names::{Manager, PackageKey},
    time::Timestamp,
};
use std::{
    collections::BTreeSet,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};

/// Where the policy lies when nothing else is asked for.
pub const DEFAULT_POLICY: &str = "/etc/redflag/executor.toml";
/// Longest time a policy can give one command.
pub const TIME_MAX: Duration = Duration::from_hours(12);

/// Where the users of a host are listed.
const USERS: &str = "/etc/passwd";
/// Most bytes of a policy file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What commands may do on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who this host is.
    pub audience: Audience,
    /// Whose signatures count.
    pub signers: Vec<PinnedKey>,
    /// How many of them a command needs.
    pub signatures_min: usize,
    /// How many different people must have approved a command that changes the host.
    pub approvals_min: usize,
    /// How far the clocks of signer and host may differ.
    pub clock_tolerance: Duration,
    /// How long an installation may take.
    pub time_max: Duration,
    users: BTreeSet<u32>,
    actions: BTreeSet<ActionKind>,
    managers: BTreeSet<Manager>,
    side_effects: BTreeSet<SideEffect>,
    allowed: Vec<Pattern>,
    denied: Vec<Pattern>,
    windows: Vec<Window>,
}

impl Policy {
    /// Reads the policy at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is not a plain file, could be changed by somebody else than root (or, for an executor that is not
    /// root, than its own user), or says what no policy can.
    pub fn read(path: &Path) -> Result<Self> {
        only_ours(path, Kind::File)?;
        only_ours(path.parent().unwrap_or_else(|| Path::new(".")), Kind::Directory)?;
        let text = std::fs::read_to_string(path).map_err(Error::state("read", path))?;
        let users = std::fs::read_to_string(USERS).map_err(Error::state("read", USERS))?;
        file::parse(&text, |name| user_id(&users, name)).map_err(|message| Error::damaged(path, message))
    }

    /// Whether a user may hand commands over. Root may, and so may the user an executor for tests runs as.
    #[must_use]
    pub fn accepts_from(&self, user: u32) -> bool {
        user == 0 || user == rustix::process::geteuid().as_raw() || self.users.contains(&user)
    }

    /// Judges a command by everything but its dry run.
    ///
    /// # Errors
    /// A refusal with the code `action-forbidden`, `too-few-approvals`, `manager-forbidden`, `package-forbidden`,
    /// `outside-window`, or one of those of [`Policy::judge_plan`] for side effects that are ordered and not allowed here.
    pub fn judge(&self, command: &Command, now: Timestamp) -> Result<(), CommandRefusal> {
        let (action, kind) = (&command.action, command.action.kind());
        if !self.actions.contains(&kind) {
            return Err(CommandRefusal::new(RefusalCode::ActionForbidden, format!("the policy does not allow {kind}")));
        }
        let changes = matches!(action, Action::Install(_) | Action::Recreate(_) | Action::Reboot);
        let people: BTreeSet<_> = command.approvals.iter().map(|approval| &approval.actor).collect();
        if changes && people.len() < self.approvals_min {
            let message = format!("{} people approved it, and the policy demands {}", people.len(), self.approvals_min);
            return Err(CommandRefusal::new(RefusalCode::TooFewApprovals, message));
        }
        if let Some(manager) = action.manager().filter(|manager| !self.managers.contains(manager)) {
            return Err(CommandRefusal::new(RefusalCode::ManagerForbidden, format!("the policy does not allow {manager}")));
        }
        action.items().iter().try_for_each(|item| self.judge_package(&item.package))?;
        if changes && !self.open(kind, now) {
            return Err(CommandRefusal::new(RefusalCode::OutsideWindow, format!("no window for {kind} is open at {now}")));
        }
        Ok(())
    }

    /// Judges what a dry run would change, given what the command allows beyond its items. Answers every excess that is not allowed
    /// by both, with the code of the gravest.
    ///
    /// # Errors
    /// A refusal with one of the codes for a plan that goes too far, or `package-forbidden`.
    pub fn judge_plan(
        &self,
        plan: &Plan,
        excess: Vec<Excess>,
        ordered: &BTreeSet<SideEffect>,
    ) -> Result<(), (CommandRefusal, Vec<Excess>)> {
        let allowed = |effect| ordered.contains(&effect) && self.side_effects.contains(&effect);
        let beyond: Vec<_> = excess.into_iter().filter(|excess| side_effect(excess).is_none_or(|effect| !allowed(effect))).collect();
        if let Some(gravest) = beyond.iter().min_by_key(|excess| gravity(excess)) {
            return Err((refusal_of(gravest), beyond));
        }
        let mut packages = plan.changes.iter().map(|change| &change.package);
        packages.try_for_each(|package| self.judge_package(package)).map_err(|refusal| (refusal, Vec::new()))
    }

    fn judge_package(&self, package: &PackageKey) -> Result<(), CommandRefusal> {
        let matches = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(package.name.as_str()));
        if matches(&self.allowed) && !matches(&self.denied) {
            return Ok(());
        }
        Err(CommandRefusal::new(RefusalCode::PackageForbidden, format!("the policy does not allow {package}")))
    }

    /// An action that no window names may happen at any time.
    fn open(&self, action: ActionKind, now: Timestamp) -> bool {
        let mut windows = self.windows.iter().filter(|window| window.is_for(action)).peekable();
        windows.peek().is_none() || windows.any(|window| window.contains(now))
    }
}

const fn side_effect(excess: &Excess) -> Option<SideEffect> {
    match excess {
        Excess::NewPackage(_) => Some(SideEffect::NewPackage),
        Excess::OtherPackage(_) => Some(SideEffect::OtherPackage),
        Excess::Removal(_) => Some(SideEffect::Removal),
        Excess::OtherVersion(_) | Excess::OtherOrigin(_) | Excess::Missing(_) => None,
    }
}

const fn gravity(excess: &Excess) -> u8 {
    match excess {
        Excess::Removal(_) => 0,
        Excess::OtherOrigin(_) => 1,
        Excess::OtherVersion(_) => 2,
        Excess::OtherPackage(_) => 3,
        Excess::NewPackage(_) => 4,
        Excess::Missing(_) => 5,
    }
}

fn refusal_of(excess: &Excess) -> CommandRefusal {
    let to = |change: &Change| change.to.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    let (code, message) = match excess {
        Excess::Removal(change) => (RefusalCode::Removal, format!("{} would be removed", change.package)),
        Excess::OtherOrigin(change) => {
            let from = change.origin.as_ref().map_or("nowhere", AsRef::as_ref);
            (RefusalCode::OtherOrigin, format!("{} would come from {from:?}", change.package))
        }
        Excess::OtherVersion(change) => (RefusalCode::OtherVersion, format!("{} would become {}", change.package, to(change))),
        Excess::OtherPackage(change) => (RefusalCode::OtherPackage, format!("{} would become {} too", change.package, to(change))),
        Excess::NewPackage(change) => (RefusalCode::ExtraPackage, format!("{} {} would be installed too", change.package, to(change))),
        Excess::Missing(item) => (RefusalCode::NotInPlan, format!("{} would stay as it is", item.package)),
    };
    CommandRefusal::new(code, message)
}

/// The number of a user in the form of passwd(5).
fn user_id(users: &str, name: &str) -> Option<u32> {
    users.lines().map(|line| line.split(':')).find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
}

/// Refuses what somebody else could change or replace.
fn only_ours(path: &Path, kind: Kind) -> Result<()> {
    let metadata = std::fs::symlink_metadata(path).map_err(Error::state("read", path))?;
    let expected = match kind {
        Kind::File => metadata.is_file(),
        Kind::Directory => metadata.is_dir(),
    };
    if !expected {
        return Err(Error::damaged(path, "the policy must be a plain file in a plain directory, not a link"));
    }
    let owner = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != owner {
        return Err(Error::damaged(path, format!("it belongs to user {}; run `chown root {}`", metadata.uid(), path.display())));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Error::damaged(path, format!("others may change it (mode {mode:o}); run `chmod go-w {}`", path.display())));
    }
    if kind == Kind::File && metadata.len() > FILE_BYTES_MAX {
        return Err(Error::damaged(path, format!("{} bytes, and {FILE_BYTES_MAX} is the limit", metadata.len())));
    }
    Ok(())
}
