//! Package managers: whether they answer, how old their metadata is, and what stands in their way.

use super::{Finding, locks};
use crate::{
    clock, engine,
    progress::{Progress, Stage},
    scan::{Scan, Scanner},
};
use redflag_core::{agent::about, words::ScanResult};
use std::{
    fs::File,
    io::{BufRead as _, BufReader, ErrorKind},
    path::Path,
    time::Duration,
};
use tokio::net::UnixStream;

/// Metadata older than this hides updates.
const METADATA_AGE_MAX: Duration = Duration::from_hours(7 * 24);
/// Package names that a finding lists.
const NAMES_SHOWN: usize = 5;
/// Files that package managers lock while they change something.
const LOCKS: &[&str] = &[
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
    "var/lib/apt/lists/lock",
    "var/lib/rpm/.rpm.lock",
    "usr/lib/sysimage/rpm/.rpm.lock",
];

/// One finding per manager this host has.
pub(super) async fn scans(scanners: &[Box<dyn Scanner>], progress: &mut dyn Progress) -> Vec<Finding> {
    let mut findings = Vec::new();
    for scanner in scanners {
        if scanner.present().await {
            progress.stage(&Stage::Scanning { manager: scanner.manager() });
            findings.push(of_scan(&scanner.scan().await));
        }
    }
    if findings.is_empty() {
        let known: Vec<_> = scanners.iter().map(|scanner| scanner.manager().to_string()).collect();
        findings.push(Finding::problem("package managers", format!("this host has none of the known ones: {}", known.join(", "))));
    }
    findings
}

fn of_scan(scan: &Scan) -> Finding {
    const CHECK: &str = "package manager";
    let manager = &scan.manager;
    let because = scan.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    let counts = format!("{manager} answers, with {} updates", scan.offers.len());
    match scan.result {
        ScanResult::Failed => Finding::problem(CHECK, format!("{manager} could not be asked{because}"))
            .remedy(format!("run `redflag-agent scan --manager {manager}` and mend what it names")),
        ScanResult::Partial => Finding::warning(CHECK, format!("{counts}, but not fully{because}"))
            .remedy(format!("run `redflag-agent scan --manager {manager}` and mend what it names")),
        ScanResult::Complete => of_metadata(scan, &counts),
    }
}

fn of_metadata(scan: &Scan, counts: &str) -> Finding {
    const CHECK: &str = "package manager";
    let refresh = match scan.manager.as_str() {
        redflag_core::names::APT => "run `apt-get update` regularly, for example by apt-daily.timer".to_owned(),
        manager => format!("see why {manager} does not refresh its metadata"),
    };
    match (scan.metadata_at.map(|at| clock::now().since(at)), &scan.refresh_error) {
        (_, Some(error)) => Finding::warning(CHECK, format!("{counts}, but its metadata could not be refreshed: {error}")).remedy(refresh),
        (Some(age), None) if age > METADATA_AGE_MAX => {
            Finding::warning(CHECK, format!("{counts}, but its metadata is {} old", about(age))).remedy(refresh)
        }
        (Some(age), None) => Finding::ok(CHECK, format!("{counts}; its metadata is {} old", about(age))),
        (None, None) => Finding::ok(CHECK, counts.to_owned()),
    }
}

/// Whether dpkg was interrupted, in the two ways it shows: a journal that was not merged, and packages left half way.
pub(super) fn dpkg(root: &Path) -> Finding {
    const CHECK: &str = "dpkg";
    const REMEDY: &str = "run `dpkg --configure -a` as root, then `apt-get -f install`";
    let directory = root.join("var/lib/dpkg");
    let half_way = match half_way(&directory.join("status")) {
        Ok(packages) => packages,
        Err(error) if error.kind() == ErrorKind::NotFound => return Finding::skipped(CHECK, "this host has no dpkg"),
        Err(error) => return Finding::warning(CHECK, format!("its database cannot be read: {error}")),
    };
    let journal = std::fs::read_dir(directory.join("updates")).into_iter().flatten().flatten();
    let is_entry = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    if journal.into_iter().any(|entry| is_entry(&entry.file_name())) {
        return Finding::problem(CHECK, "dpkg was interrupted, and apt refuses to work until that is mended").remedy(REMEDY);
    }
    if half_way.is_empty() {
        return Finding::ok(CHECK, "every package is whole");
    }
    let more = half_way.len().saturating_sub(NAMES_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = half_way.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    Finding::problem(CHECK, format!("packages are left half installed: {names}{more}")).remedy(REMEDY)
}

/// Packages whose state is none in which dpkg leaves a package by itself.
fn half_way(status: &Path) -> std::io::Result<Vec<String>> {
    let (mut package, mut found) = (String::new(), Vec::new());
    for line in BufReader::new(File::open(status)?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = line.strip_prefix("Package: ") {
            name.trim().clone_into(&mut package);
        } else if let Some(state) = line.strip_prefix("Status: ").and_then(|words| words.split_whitespace().nth(2))
            && !matches!(state, "installed" | "config-files" | "not-installed")
        {
            found.push(format!("{package} ({state})"));
        }
    }
    Ok(found)
}

pub(super) fn package_locks(root: &Path) -> Finding {
    const CHECK: &str = "package locks";
    let files: Vec<_> = LOCKS.iter().map(|file| root.join(file)).collect();
    match locks::holders(root, &files).first() {
        None => Finding::ok(CHECK, "no other process changes packages now"),
        Some(holder) => {
            let (program, pid, file) = (&holder.program, holder.pid, holder.file.display());
            Finding::warning(CHECK, format!("{program} (process {pid}) holds {file}"))
                .remedy("wait until it is done; installations wait for it too, up to their limit")
        }
    }
}

pub(super) async fn containers(root: &Path) -> Finding {
    const CHECK: &str = "container engine";
    for socket in engine::SOCKETS {
        let socket = root.join(socket.trim_start_matches('/'));
        let shown = socket.display();
        match UnixStream::connect(&socket).await {
            Ok(_) => return Finding::ok(CHECK, format!("listens at {shown}")),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Finding::warning(CHECK, format!("listens at {shown}, which this user may not use"))
                    .remedy("let the executor serve its read-only view; who may use the socket itself is as good as root");
            }
            Err(error) => {
                return Finding::warning(CHECK, format!("{shown} is there and does not answer: {error}"))
                    .remedy("start the engine, or remove the left-over socket");
            }
        }
    }
    Finding::skipped(CHECK, "none listens on this host")
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn root(status: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("var/lib/dpkg/updates")).unwrap();
        std::fs::write(root.path().join("var/lib/dpkg/status"), status).unwrap();
        root
    }

    #[test]
    fn packages_left_half_way_are_named() {
        let whole = "Package: bash\nStatus: install ok installed\n\nPackage: vim\nStatus: deinstall ok config-files\n";
        assert_eq!(dpkg(root(whole).path()).verdict, Verdict::Ok);
        let broken = format!("{whole}\nPackage: lab-fail\nVersion: 2\nStatus: install ok half-configured\n");
        let found = dpkg(root(&broken).path());
        assert_eq!(found.verdict, Verdict::Problem);
        assert!(found.message.contains("lab-fail (half-configured)") && found.remedy.unwrap().contains("dpkg --configure -a"));
        let interrupted = root(whole);
        std::fs::write(interrupted.path().join("var/lib/dpkg/updates/0001"), "").unwrap();
        assert!(dpkg(interrupted.path()).message.contains("interrupted"));
        assert_eq!(dpkg(tempfile::tempdir().unwrap().path()).verdict, Verdict::Skipped);
    }

    #[test]
    fn whoever_holds_a_lock_is_named() {
        let root = root("");
        std::os::unix::fs::symlink("/proc", root.path().join("proc")).unwrap();
        assert_eq!(package_locks(root.path()).verdict, Verdict::Ok);
        let lock = File::create(root.path().join("var/lib/dpkg/lock-frontend")).unwrap();
        lock.lock().unwrap();
        let found = package_locks(root.path());
        assert!(found.message.contains(&format!("process {}", std::process::id())), "{}", found.message);
    }

    #[tokio::test]
    async fn an_engine_is_found_by_its_socket() {
        let root = root("");
        assert_eq!(containers(root.path()).await.verdict, Verdict::Skipped);
        std::fs::create_dir_all(root.path().join("run")).unwrap();
        let listening = tokio::net::UnixListener::bind(root.path().join("run/docker.sock")).unwrap();
        assert_eq!(containers(root.path()).await.verdict, Verdict::Ok);
        drop(listening);
        assert!(containers(root.path()).await.message.contains("does not answer"));
    }

    #[test]
    fn a_scan_is_judged_by_its_result_and_its_metadata() {
        let scan = |metadata_hours: u64| {
            let scan = Scan::begun("apt".parse().unwrap(), redflag_core::words::VersionOrder::Dpkg);
            Scan { metadata_at: Some(clock::now().saturating_sub(Duration::from_hours(metadata_hours))), ..scan }
        };
        assert_eq!(of_scan(&scan(1)).verdict, Verdict::Ok);
        assert_eq!(of_scan(&scan(7 * 24 + 1)).verdict, Verdict::Warning);
        assert_eq!(of_scan(&scan(1).with_gaps(&["a gap".into()])).verdict, Verdict::Warning);
        assert_eq!(of_scan(&scan(1).failed("locked")).verdict, Verdict::Problem);
    }
}
