//! The state directory and what lies in it.

use super::{Finding, locks};
use crate::{
    clock,
    error::{Error, with_causes},
    home::AgentHome,
    host::Machine,
    identity::Identity,
    outbox::Outbox,
    quarantine::quarantined,
    status::Status,
    witness::{Witnessed, witnessed},
};
use redflag_core::agent::about;
use std::{
    fs::Metadata,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// Below this the outbox may run out of space at any time; it may grow to 64 MiB.
const DISK_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Below this it is time to make room.
const DISK_BYTES_FEW: u64 = 256 * 1024 * 1024;
/// Reports that wait from which on something holds them up.
const WAITING_MANY: u64 = 3;

const ENROL: &str = "run `redflag-agent enrol --server URL --token TOKEN`";

pub(super) fn directory(path: &Path) -> Finding {
    const CHECK: &str = "state directory";
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return Finding::problem(CHECK, format!("{shown} is not a directory")).remedy("give another one with --state-dir"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::problem(CHECK, format!("{shown} does not exist: no agent was enrolled here")).remedy(ENROL);
        }
        Err(error) => return Finding::problem(CHECK, format!("{shown} cannot be looked at: {error}")).remedy(as_owner(None)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    let euid = rustix::process::geteuid();
    if mode & 0o077 != 0 {
        let message = format!("others may enter {shown} (mode {mode:o}), and the agent refuses to work in it");
        return Finding::problem(CHECK, message).remedy(format!("chmod 700 {shown}; if others could read the key in it, enrol anew"));
    }
    if metadata.uid() != euid.as_raw() && !euid.is_root() {
        let message = format!("{shown} belongs to user {}, and this is user {euid}", metadata.uid());
        return Finding::problem(CHECK, message).remedy(as_owner(Some(&metadata)));
    }
    Finding::ok(CHECK, format!("{shown} is private to user {}", metadata.uid()))
}

fn as_owner(metadata: Option<&Metadata>) -> String {
    let who = metadata.map_or_else(|| "its owner".to_owned(), |metadata| format!("user {}", metadata.uid()));
    format!("run the doctor as {who} or as root")
}

pub(super) fn audit_log(home: &AgentHome) -> Finding {
    const CHECK: &str = "audit log";
    match witnessed(home) {
        Err(error) => Finding::warning(CHECK, error.to_string()).remedy("run `redflag-agent forget-checkpoint`"),
        Ok(None) => Finding::skipped(CHECK, "no checkpoint of the server's was seen yet"),
        Ok(Some(Witnessed { objection: Some((at, what)), .. })) => Finding::warning(CHECK, format!("not believed since {at}: {what}"))
            .remedy("ask the server's operator why; for a good reason, such as a restored backup, run `redflag-agent forget-checkpoint`"),
        Ok(Some(Witnessed { checkpoint, key_fingerprint, .. })) => {
            let number = checkpoint.map_or_else(|| "none".to_owned(), |number| number.to_string());
            Finding::ok(CHECK, format!("the newest checkpoint seen is {number}, signed by {key_fingerprint}"))
        }
    }
}

pub(super) fn machine(home: &AgentHome) -> Finding {
    const CHECK: &str = "machine";
    match Machine::of_this_host().compare(home) {
        Ok(Some(_)) => Finding::ok(CHECK, "the state directory belongs to this machine"),
        Ok(None) => Finding::ok(CHECK, "the state directory is not bound to a machine yet; the next start binds it to this one"),
        Err(error @ Error::OtherMachine { .. }) => Finding::problem(CHECK, "the state directory was enrolled on another machine")
            .remedy(error.to_string().split_once("; ").map_or_else(String::new, |(_, remedy)| remedy.to_owned())),
        Err(error) => Finding::problem(CHECK, with_causes(&error)),
    }
}

/// Findings about enrolment and key, and the identity if there is a usable one.
pub(super) fn identity(home: &AgentHome) -> (Vec<Finding>, Option<Identity>) {
    const ENROLMENT: &str = "enrolment";
    const KEY: &str = "key";
    match Identity::read(home) {
        Ok(Some(identity)) if identity.enrolled_at.is_some() => {
            let Identity { name, agent, server, .. } = &identity;
            let enrolled = Finding::ok(ENROLMENT, format!("enrolled as {name} ({agent}) at {server}"));
            let key = Finding::ok(KEY, format!("private, with the fingerprint {}", identity.fingerprint()));
            (vec![enrolled, key], Some(identity))
        }
        Ok(Some(identity)) => {
            let message = format!("enrolment at {} was begun and not completed", identity.server);
            (vec![Finding::problem(ENROLMENT, message).remedy("run `redflag-agent enrol` again: id and key stay the same")], None)
        }
        Ok(None) => (vec![Finding::problem(ENROLMENT, "no agent was enrolled here").remedy(ENROL)], None),
        Err(error) => {
            let check = if error.to_string().contains("agent.json") { ENROLMENT } else { KEY };
            let remedy = "restore the file from a backup of this host, or remove the state directory and enrol anew";
            (vec![Finding::problem(check, with_causes(&error)).remedy(remedy)], None)
        }
    }
}

pub(super) fn last_delivery(home: &AgentHome) -> Finding {
    const CHECK: &str = "last report";
    let status = Status::read(home);
    let delivered = status.last_delivery.map(|last| format!("the server took a report {} ago", about(clock::now().since(last.at))));
    match (delivered, status.trouble) {
        (Some(delivered), None) => Finding::ok(CHECK, delivered),
        (None, None) => Finding::warning(CHECK, "none was delivered yet").remedy("run `redflag-agent report`, or start the service"),
        (delivered, Some(trouble)) => {
            let before = delivered.map_or_else(|| "none was delivered yet".to_owned(), |delivered| format!("before that {delivered}"));
            let ago = about(clock::now().since(trouble.at));
            Finding::warning(CHECK, format!("{} ({ago} ago; {before})", trouble.message))
                .remedy("run `redflag-agent report` and look at what it says")
        }
    }
}

pub(super) fn outbox(home: &AgentHome) -> Finding {
    const CHECK: &str = "outbox";
    // What looks torn may be a record just being written; then it is whole at the second look.
    let inspected =
        Outbox::inspect(home).and_then(|(depth, damage)| if damage.is_empty() { Ok((depth, damage)) } else { Outbox::inspect(home) });
    let (depth, damage) = match inspected {
        Ok(inspected) => inspected,
        Err(error) => return Finding::problem(CHECK, with_causes(&error)).remedy("see to it that the agent's user can read its files"),
    };
    let waiting = format!("{} reports wait, {} bytes", depth.reports, depth.bytes);
    if let Some(first) = damage.first() {
        return Finding::problem(CHECK, format!("{first}; {waiting}"))
            .remedy("restart the agent: it sets the damaged part aside and delivers the rest; then look at the disk");
    }
    match depth.reports {
        0 => Finding::ok(CHECK, "nothing waits"),
        reports if reports < WAITING_MANY => Finding::ok(CHECK, waiting),
        _ => Finding::warning(CHECK, waiting).remedy("see what the checks of server and clock say; nothing is lost meanwhile"),
    }
}

pub(super) fn quarantine(home: &AgentHome) -> Finding {
    const CHECK: &str = "quarantine";
    match quarantined(home) {
        Ok(files) if files.is_empty() => Finding::ok(CHECK, "empty"),
        Ok(files) => Finding::warning(CHECK, format!("holds {}", files.join(", "))).remedy(format!(
            "read the .reason files in {}, mend what they name, then delete them",
            home.path().join("quarantine").display()
        )),
        Err(error) => Finding::problem(CHECK, with_causes(&error)).remedy("see to it that the agent's user can read its files"),
    }
}

pub(super) fn disk(path: &Path) -> Finding {
    const CHECK: &str = "disk space";
    let space = match rustix::fs::statvfs(path) {
        Ok(space) => space,
        Err(error) => return Finding::warning(CHECK, format!("the space at {} cannot be told: {error}", path.display())),
    };
    let bytes = space.f_bavail.saturating_mul(space.f_frsize);
    let free = format!("{} MiB are free at {}", bytes / (1024 * 1024), path.display());
    let remedy = "make room: without it no report can be kept";
    // Some file systems have no fixed number of files, and say 0 of 0.
    let files_left = space.f_files == 0 || space.f_favail > 0;
    match bytes {
        _ if !files_left => {
            Finding::problem(CHECK, format!("no file can be made at {}: all inodes are used", path.display())).remedy(remedy)
        }
        ..DISK_BYTES_MIN => Finding::problem(CHECK, free).remedy(remedy),
        DISK_BYTES_MIN..DISK_BYTES_FEW => Finding::warning(CHECK, free).remedy(remedy),
        _ => Finding::ok(CHECK, free),
    }
}

pub(super) fn process(root: &Path, home: &AgentHome) -> Finding {
    const CHECK: &str = "agent process";
    match locks::holders(root, &[home.file("lock")]).first() {
        Some(holder) => Finding::ok(CHECK, format!("{} works in the state directory (process {})", holder.program, holder.pid)),
        None => Finding::warning(CHECK, "no agent works in the state directory now")
            .remedy("start the service (`systemctl enable --now redflag-agent`), or have `redflag-agent report` run by a timer"),
    }
}
