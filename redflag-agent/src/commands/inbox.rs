//! The inbox: commands that were taken and not yet answered for, one file each, safe against crashes and power cuts.

use crate::{
    commands::claim,
    durable,
    error::{Error, Result},
    home::AgentHome,
    quarantine::Quarantine,
};
use redflag_core::{
    command::{payload::ActionKind, record::Claim},
    ids::CommandId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

const DIRECTORY: &str = "commands";
const EXTENSION: &str = "json";

/// The commands an agent has taken.
#[derive(Debug)]
pub struct Inbox {
    directory: PathBuf,
    quarantine: Quarantine,
}

/// A command as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Its id.
    pub id: CommandId,
    /// What is to be done; none where keys of people sign, which only the executor can verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionKind>,
    /// When it came, by this host's clock.
    pub received_at: Timestamp,
    /// Where it stands.
    pub step: Step,
    /// Its envelope, byte for byte.
    pub envelope: String,
}

/// How far a command has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Nothing was done.
    Received,
    /// The server has said that it may be begun; whether the executor has had it is not known.
    Started,
    /// It ended like this, and the server has not answered.
    Ended {
        /// How.
        claim: Claim,
    },
    /// The server has answered; a report of what is installed now is owed.
    Answered,
}

impl Step {
    /// It ended like this; what is more than a server takes is cut off.
    #[must_use]
    pub fn ended(claim: Claim) -> Self {
        Self::Ended { claim: claim::bounded(claim) }
    }

    /// In a word, for people.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Started => "started",
            Self::Ended { .. } => "ended",
            Self::Answered => "answered",
        }
    }
}

impl Inbox {
    /// That of `home`, made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(home: &AgentHome) -> Result<Self> {
        Ok(Self { directory: home.directory(DIRECTORY)?, quarantine: Quarantine::of(home)? })
    }

    /// Everything in it, in the order in which it came. What is damaged is moved to the quarantine; the second value tells of each.
    ///
    /// # Errors
    /// When files cannot be read or moved. Damaged content is not an error.
    pub fn take_stock(&self) -> Result<(Vec<Kept>, Vec<String>)> {
        let (mut kept, mut damage) = (Vec::new(), Vec::new());
        for path in files(&self.directory)? {
            match read(&path) {
                Ok(Some(command)) => kept.push(command),
                Ok(None) => {}
                Err(error @ Error::Damaged { .. }) => damage.push(self.set_aside(&path, &error)?),
                Err(error) => return Err(error),
            }
        }
        kept.sort_by_key(|kept| (kept.received_at, kept.id));
        Ok((kept, damage))
    }

    /// What lies in the inbox of `home`, without touching it; what is damaged is left out.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn look(home: &AgentHome) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for path in files(&home.file(DIRECTORY))? {
            match read(&path) {
                Ok(command) => kept.extend(command),
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        kept.sort_by_key(|kept| (kept.received_at, kept.id));
        Ok(kept)
    }

    /// Keeps a command as it stands; it is on disk when this returns.
    ///
    /// # Errors
    /// When it could not be made durable; what was kept of it before is in place then.
    pub fn keep(&self, kept: &Kept) -> Result<()> {
        durable::replace_json(&self.path(kept.id), kept)
    }

    /// Forgets a command.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(&self, id: CommandId) -> Result<()> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::state("remove", path)(error)),
            _ => durable::sync_directory_of(&path),
        }
    }

    fn path(&self, id: CommandId) -> PathBuf {
        self.directory.join(id.to_string()).with_extension(EXTENSION)
    }

    fn set_aside(&self, path: &Path, error: &Error) -> Result<String> {
        let bytes = std::fs::read(path).map_err(Error::state("read", path))?;
        let name = path.file_name().map_or_else(|| "command".into(), |name| name.to_string_lossy().into_owned());
        let kept = self.quarantine.keep(&format!("command-{name}"), &bytes)?;
        std::fs::remove_file(path).map_err(Error::state("remove", path))?;
        durable::sync_directory_of(path)?;
        Ok(format!("{error}; it is kept in {}", kept.display()))
    }
}

/// The files of commands; one that was being written when the process ended has another name, and says nothing.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let paths = durable::entries(directory)?.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION)).collect())
}

/// Reads one command; none when it is gone, as it may be while somebody only looks.
fn read(path: &Path) -> Result<Option<Kept>> {
    let kept: Option<Kept> = durable::read_json(path)?;
    match kept {
        Some(kept) if path.file_stem().is_none_or(|stem| stem != kept.id.to_string().as_str()) => {
            Err(Error::damaged(path, format!("it holds command {}", kept.id)))
        }
        kept => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, quarantine::quarantined};
    use redflag_core::command::record::{Failure, Success};
    use redflag_core::names::Text;

    fn kept(step: Step) -> Kept {
        let id = CommandId::from_uuid(clock::new_uuid()).unwrap();
        Kept { id, action: Some(ActionKind::Install), received_at: clock::now(), step, envelope: "{\"é\":1}".into() }
    }

    fn home() -> (tempfile::TempDir, AgentHome) {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        (directory, home)
    }

    #[test]
    fn commands_read_back_in_every_step_and_are_forgotten() {
        let (_directory, home) = home();
        let inbox = Inbox::open(&home).unwrap();
        let failed = Claim::Failed(Failure { reason: Text::lossy("x"), rolled_back: true, output: "y".into() });
        let succeeded = Claim::Succeeded(Success::default());
        let steps = [Step::Received, Step::Started, Step::Ended { claim: failed }, Step::Ended { claim: succeeded }, Step::Answered];
        let mut commands: Vec<_> = steps.into_iter().map(kept).collect();
        for (seconds, command) in (0..).zip(&mut commands) {
            command.received_at = Timestamp::EPOCH.saturating_add(std::time::Duration::from_secs(seconds));
        }
        commands.iter().for_each(|command| inbox.keep(command).unwrap());
        let again = Inbox::open(&home).unwrap();
        assert_eq!(again.take_stock().unwrap(), (commands.clone(), vec![]));
        assert_eq!(Inbox::look(&home).unwrap(), commands);
        for command in &commands {
            again.forget(command.id).unwrap();
            again.forget(command.id).unwrap();
        }
        assert_eq!(inbox.take_stock().unwrap(), (vec![], vec![]));
    }

    /// Every state a torn write can leave a file in.
    #[test]
    fn damaged_files_are_set_aside_once_and_the_others_stay() {
        let (_directory, home) = home();
        let inbox = Inbox::open(&home).unwrap();
        let (good, bad) = (kept(Step::Started), kept(Step::Received));
        inbox.keep(&good).unwrap();
        inbox.keep(&bad).unwrap();
        let whole = std::fs::read(inbox.path(bad.id)).unwrap();
        for cut in 0..whole.len() - 2 {
            std::fs::write(inbox.path(bad.id), &whole[..cut]).unwrap();
            let (commands, damage) = inbox.take_stock().unwrap();
            assert_eq!((commands, damage.len()), (vec![good.clone()], 1), "cut at {cut}");
            assert_eq!(inbox.take_stock().unwrap().1, Vec::<String>::new(), "damage is found once");
        }
        std::fs::write(inbox.path(bad.id), serde_json::to_vec(&good).unwrap()).unwrap();
        assert!(inbox.take_stock().unwrap().1[0].contains("it holds command"));
        std::fs::write(inbox.path(bad.id).with_extension("new"), "{").unwrap();
        assert_eq!(inbox.take_stock().unwrap(), (vec![good], vec![]), "what was never put into place is no damage");
        assert_eq!(quarantined(&home).unwrap().len(), 1);
    }
}
