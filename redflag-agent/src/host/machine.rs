//! Which machine a state directory belongs to, so that a copy of it on another machine is noticed before it reports.
//!
//! An agent is its key, and the key lives in the state directory: whoever keeps the directory across a new installation keeps the
//! agent. A copied directory, as in a cloned virtual machine, would make two agents of one key, which confuse each other's reports.
//! So the directory remembers a digest of the machine id it was enrolled on; a machine with another id is refused.

use crate::{
    durable,
    error::{Error, Result},
    home::AgentHome,
};
use redflag_core::{ids::Digest, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::path::Path;
use uuid::Uuid;

const MACHINE: &str = "machine.json";
const DOMAIN: &str = "redflag machine id";

/// A machine and its current run, as far as they can be told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// A digest of `/etc/machine-id`: machine-id(5) asks to keep the id itself confidential. None where the machine has no id.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// The id of the run of the kernel.
    #[serde(default)]
    pub boot_id: Option<Uuid>,
    /// When that run began, by the host's clock as it was first read: the kernel's own word moves with every correction of the clock.
    #[serde(default)]
    pub booted_at: Option<Timestamp>,
}

impl Machine {
    /// The machine whose root is `root`.
    fn of(root: &Path) -> Self {
        let id =
            super::line_of(&root.join("etc/machine-id")).filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Self {
            digest: id.map(|id| Digest::of(DOMAIN, &[id.as_bytes()])),
            boot_id: super::line_of(&root.join("proc/sys/kernel/random/boot_id")).and_then(|id| id.parse().ok()),
            booted_at: std::fs::read_to_string(root.join("proc/stat")).ok().and_then(|stat| booted_at(&stat)),
        }
    }

    /// This machine.
    #[must_use]
    pub fn of_this_host() -> Self {
        Self::of(Path::new(super::ROOT))
    }

    /// The machine that the state directory in `home` is bound to, which must be this one; a directory that knows none is bound
    /// to it. Needs the lock.
    ///
    /// # Errors
    /// [`Error::OtherMachine`] on another machine; when the file is damaged or cannot be written.
    pub(crate) fn settle(home: &AgentHome) -> Result<Self> {
        Self::of_this_host().settle_in(home)
    }

    /// The machine the state directory is bound to, if it is to any.
    ///
    /// # Errors
    /// [`Error::OtherMachine`] if that is not this one; when the file is damaged or cannot be read.
    pub(crate) fn compare(&self, home: &AgentHome) -> Result<Option<Self>> {
        let known = Self::known(home)?;
        let digests = (known.as_ref().and_then(|known| known.digest), self.digest);
        match digests {
            (Some(known), Some(this)) if known != this => Err(Error::OtherMachine { path: home.path().to_owned() }),
            _ => Ok(known),
        }
    }

    fn settle_in(self, home: &AgentHome) -> Result<Self> {
        let known = self.compare(home)?.unwrap_or_default();
        let same_run = known.boot_id.is_some() && known.boot_id == self.boot_id;
        let settled = Self {
            // A machine that has lost its id is not told from others; the directory keeps what it knows.
            digest: self.digest.or(known.digest),
            booted_at: if same_run { known.booted_at } else { self.booted_at },
            ..self
        };
        if settled != known {
            durable::replace_json(&home.file(MACHINE), &settled)?;
        }
        Ok(settled)
    }

    fn known(home: &AgentHome) -> Result<Option<Self>> {
        let path = home.file(MACHINE);
        let damaged = |error: Error| match error {
            Error::Damaged { message, .. } => {
                Error::damaged(&path, format!("{message}; if this is the machine that was enrolled, run `redflag-agent report --adopt`"))
            }
            error => error,
        };
        durable::read_json(&path).map_err(damaged)
    }
}

/// Binds the state directory in `home` to this machine, whichever it belonged to: for one that was moved on purpose, not copied.
///
/// # Errors
/// [`Error::Busy`] while another process works with the directory; when the file cannot be written.
pub fn adopt(home: &AgentHome) -> Result<()> {
    let _lock = home.lock()?;
    durable::replace_json(&home.file(MACHINE), &Machine::of_this_host())
}

/// The start of the kernel's run in `proc_stat(5)`, in seconds of the epoch.
fn booted_at(stat: &str) -> Option<Timestamp> {
    let seconds: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Timestamp::from_micros(seconds.checked_mul(1_000_000)?).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::root, *};

    const ID: &str = "2b6f8c4c9a0e4d2f8f3b8a5f6f1d7e90\n";
    const BOOT: &str = "b7f67f73-8aad-45b8-a86d-b572d971c866\n";

    fn machine(id: &str, boot_id: &str, booted_at: u32) -> Machine {
        let stat = format!("cpu 1 2\nbtime {booted_at}\nprocesses 9\n");
        let root = root(&[("etc/machine-id", id), ("proc/sys/kernel/random/boot_id", boot_id), ("proc/stat", &stat)]);
        Machine::of(root.path())
    }

    fn home() -> (tempfile::TempDir, AgentHome) {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        (directory, home)
    }

    #[test]
    fn a_copy_on_another_machine_is_refused_until_it_is_adopted() {
        let (_directory, home) = home();
        let (one, other) = (machine(ID, BOOT, 1), machine(&ID.replace('2', "3"), BOOT, 1));
        one.clone().settle_in(&home).unwrap();
        let refused = other.clone().settle_in(&home).unwrap_err();
        assert!(matches!(refused, Error::OtherMachine { .. }) && refused.to_string().contains("--adopt"), "{refused}");
        one.settle_in(&home).unwrap();
        durable::replace_json(&home.file(MACHINE), &other).unwrap();
        assert_eq!(other.clone().settle_in(&home).unwrap(), other);
        adopt(&home).unwrap();
        Machine::settle(&home).unwrap();
    }

    #[test]
    fn the_id_is_kept_as_a_digest_only() {
        let (_directory, home) = home();
        machine(ID, BOOT, 1).settle_in(&home).unwrap();
        let kept = std::fs::read_to_string(home.file(MACHINE)).unwrap();
        assert!(!kept.contains(ID.trim()) && kept.contains("digest"), "{kept}");
    }

    #[test]
    fn the_time_of_the_start_stays_while_the_kernel_runs() {
        let (_directory, home) = home();
        let first = machine(ID, BOOT, 1_000).settle_in(&home).unwrap();
        assert_eq!(first.booted_at.unwrap().to_string(), "1970-01-01T00:16:40Z");
        assert_eq!(machine(ID, BOOT, 1_001).settle_in(&home).unwrap(), first, "the clock was corrected");
        let restarted = machine(ID, &BOOT.replace('b', "c"), 2_000);
        assert_eq!(restarted.clone().settle_in(&home).unwrap(), restarted);
    }

    #[test]
    fn a_machine_without_an_id_is_taken_for_the_one_known() {
        let (_directory, home) = home();
        let one = machine(ID, BOOT, 1).settle_in(&home).unwrap();
        for unset in ["", "uninitialized\n"] {
            assert_eq!(machine(unset, BOOT, 1).digest, None);
            assert_eq!(machine(unset, BOOT, 1).settle_in(&home).unwrap().digest, one.digest);
        }
    }
}
