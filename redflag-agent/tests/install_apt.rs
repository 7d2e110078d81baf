//! The apt installer against a private apt made for the test: what is offered is planned, installed and seen by a new scan, and
//! everything in the way has its own name.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod scan_lab;

use redflag_agent::{
    Printed,
    install::{Apt, InstallError, Installed, Installer},
    scan::{self, Scan, Scanner},
};
use redflag_core::{
    command::plan::{Change, Excess, Item, Plan},
    names::{PackageKey, Text, Version},
    words::ScanResult,
};
use scan_lab::{build, directory, require, stdout, update_of};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

const TOOLS: &[(&str, &str)] = &[("apt", "apt"), ("apt-ftparchive", "apt-utils"), ("gpg", "gnupg"), ("dpkg-deb", "dpkg")];

/// A private apt with updates.
struct Lab {
    directory: TempDir,
    apt: Apt,
}

impl Lab {
    fn new() -> Self {
        require(TOOLS);
        let directory = directory();
        build("apt-lab.sh", &[directory.path().to_str().expect("a path of plain letters")]);
        let apt = Apt::with_configuration(directory.path().join("apt.conf")).with_lock_time_max(Duration::from_secs(1));
        Self { directory, apt }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Offers one more version, with maintainer scripts or other files of the package's control directory.
    fn publish(&self, name: &str, version: &str, control: &str, scripts: &[(&str, &str)]) {
        let directory = self.path(&format!("scripts/{name}-{version}"));
        for (script, text) in scripts {
            fs::create_dir_all(&directory).expect("a directory of the lab");
            fs::write(directory.join(script), text).expect("a file of the lab");
        }
        build("apt-lab.sh", &[self.directory.path().to_str().expect("a path of plain letters"), "publish", name, version, control]);
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        stdout(program, arguments, &[("APT_CONFIG", &self.path("apt.conf"))])
    }

    async fn scan(&self) -> Scan {
        scan::Apt::with_configuration(self.path("apt.conf")).scan().await
    }

    /// The items that bring packages to the versions they are offered.
    async fn offered(&self, names: &[&str]) -> Vec<Item> {
        let scan = self.scan().await;
        names.iter().map(|name| update_of(&scan, &package(name))).collect()
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        self.apt.plan(items).await
    }

    /// The dpkg database and the packages' files: what an installation changes.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = ["root/opt/lab", "root/var/lib/dpkg/info", "root/var/lib/dpkg/updates"]
            .iter()
            .flat_map(|directory| fs::read_dir(self.path(directory)).expect("a directory of the lab"))
            .map(|entry| entry.expect("an entry").path())
            .chain([self.path("root/var/lib/dpkg/status")])
            .map(|path| (path.clone(), fs::read(path).expect("a file of the lab")))
            .collect();
        files.sort();
        files
    }

    /// Installs with the plan that is made now.
    async fn install(&self, items: &[Item]) -> Result<Installed, InstallError> {
        self.apt.install(items, &self.apt.plan(items).await?, &Printed::default()).await
    }

    /// What keeps `items` from being installed; nothing of them is.
    async fn refused(&self, items: &[Item]) -> InstallError {
        let before = self.contents();
        let error = self.install(items).await.expect_err("it is refused");
        assert_eq!(self.contents(), before, "{error}");
        error
    }
}

fn package(name: &str) -> PackageKey {
    PackageKey::parse("apt", name, Some("all")).expect("a package key")
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn item(name: &str, from: &str, to: &str) -> Item {
    Item { package: package(name), from: version(from), to: version(to), origin: None }
}

fn change(name: &str, from: Option<&str>, to: Option<&str>, origin: Option<&str>) -> Change {
    Change { package: package(name), from: from.map(version), to: to.map(version), origin: origin.map(Text::lossy) }
}

#[tokio::test]
async fn offered_updates_are_planned_installed_and_seen_by_the_next_scan() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app", "lab-lib"]).await;
    let plan = lab.plan(&items).await.unwrap();
    assert_eq!(plan.excess(&items), [], "{plan:?}");
    assert_eq!(
        plan.changes,
        [
            change("lab-app", Some("1.0-1"), Some("2.0-1"), Some("Lab:lab")),
            change("lab-lib", Some("1.0-1"), Some("1:0.9~rc1+dfsg-1ubuntu0.1"), Some("Lab-Security:lab-security")),
        ]
    );
    let size = |file: &str| fs::metadata(lab.path(file)).unwrap().len();
    let sizes = size("pool/main/lab-app_2.0-1_all.deb") + size("pool/security/lab-lib_1%3a0.9~rc1+dfsg-1ubuntu0.1_all.deb");
    assert_eq!((plan.download_bytes, plan.reboot_required), (Some(sizes), None));

    let part = Plan::of(plan.changes[..1].to_vec());
    let error = lab.apt.install(&items, &part, &Printed::default()).await.unwrap_err();
    assert!(matches!(&error, InstallError::PlanChanged { reason } if reason.starts_with("now with apt lab-")), "{error:?}");
    assert_eq!(lab.plan(&items).await.unwrap(), plan, "nothing was begun");

    let installed = lab.apt.install(&items, &plan, &Printed::default()).await.unwrap();
    assert!(installed.output.contains("Setting up lab-app (2.0-1)"), "{}", installed.output);
    assert_eq!((installed.reboot_required, installed.transaction), (None, None));
    let scan = lab.scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    for item in &items {
        assert_eq!((scan.installed.get(&item.package), scan.offers.get(&item.package)), (Some(&item.to), None));
    }
    assert_eq!(fs::read_to_string(lab.path("root/opt/lab/lab-app")).unwrap(), "lab-app 2.0-1\n");

    let error = lab.refused(&items).await;
    assert!(
        matches!(&error, InstallError::Precondition { installed, expected, .. } if installed == "2.0-1" && expected == "1.0-1"),
        "{error}"
    );
}

#[tokio::test]
async fn a_new_dependency_is_planned_and_comes_with_what_needs_it() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-newdeps"]).await;
    let plan = lab.plan(&items).await.unwrap();
    assert_eq!(plan.excess(&items), [Excess::NewPackage(change("lab-newdep", None, Some("1.0-1"), Some("Lab:lab")))]);
    lab.install(&items).await.unwrap();
    let scan = lab.scan().await;
    assert_eq!(scan.installed[&package("lab-newdep")], version("1.0-1"));
    assert_eq!(scan.installed[&package("lab-newdeps")], version("2.0-1"));
}

#[tokio::test]
async fn what_would_remove_a_package_is_planned_and_never_done() {
    let lab = Lab::new();
    lab.publish("lab-app", "3.0-1", "Conflicts: lab-current", &[]);
    let items = [item("lab-app", "1.0-1", "3.0-1")];
    let plan = lab.plan(&items).await.unwrap();
    assert_eq!(plan.excess(&items), [Excess::Removal(change("lab-current", Some("1.0-1"), None, None))]);
    let error = lab.refused(&items).await;
    assert!(matches!(&error, InstallError::Unresolvable { reason } if reason == "apt lab-current:all would be removed"), "{error}");
}

#[tokio::test]
async fn held_phased_kept_back_and_vanished_versions_are_refused_each_by_its_name() {
    let lab = Lab::new();
    let plan =
        async |name, to| lab.plan(&[item("lab-lib", "1.0-1", "1:0.9~rc1+dfsg-1ubuntu0.1"), item(name, "1.0-1", to)]).await.unwrap_err();
    let held = plan("lab-held", "2.0-1").await;
    assert!(matches!(&held, InstallError::Held { reason } if reason == "apt lab-held:all is on hold (apt-mark hold)"), "{held}");
    let phased = plan("lab-phased", "2.0-1").await;
    assert!(matches!(&phased, InstallError::Phased { reason } if reason == "apt lab-phased:all 2.0-1 is at 0 % of hosts"), "{phased}");
    let kept = plan("lab-kept", "2.0-1").await;
    let obstacle = "lab-kept : Depends: lab-nowhere but it is not installable";
    assert!(matches!(&kept, InstallError::Unresolvable { reason } if reason == obstacle), "{kept}");
    let vanished = plan("lab-app", "9.9").await;
    assert!(
        matches!(&vanished, InstallError::NotOffered { reason } if reason == "Version '9.9' for 'lab-app' was not found"),
        "{vanished}"
    );
    let absent = plan("lab-nosuch", "9.9").await;
    assert!(matches!(&absent, InstallError::Precondition { installed, .. } if installed == "none"), "{absent}");

    let all = ["lab-held", "lab-phased", "lab-kept"].map(|name| item(name, "1.0-1", "2.0-1"));
    for item in all {
        lab.refused(&[item]).await;
    }
    // A hold in the way of a dependency.
    lab.publish("lab-app", "3.0-1", "Depends: lab-held (>= 2)", &[]);
    let error = lab.refused(&[item("lab-app", "1.0-1", "3.0-1")]).await;
    let obstacle = "lab-app : Depends: lab-held (>= 2) but 1.0-1 is to be installed";
    assert!(matches!(&error, InstallError::Unresolvable { reason } if reason == obstacle), "{error}");
}

/// To apt `lab-app=2.0-1-` is an order to remove, and `lab-app=2.0-1+` means `lab-app=2.0-1` where no such version is known.
#[tokio::test]
async fn words_that_apt_would_take_for_something_else_are_refused() {
    let lab = Lab::new();
    let error = lab.refused(&[item("lab-app", "1.0-1", "2.0-1-")]).await;
    assert!(matches!(&error, InstallError::Grammar { reason, .. } if reason == "\"2.0-1-\" is no Debian version"), "{error}");
    let error = lab.refused(&[item("lab-app", "1.0-1", "2.0-1+")]).await;
    assert!(matches!(&error, InstallError::NotOffered { reason } if reason == "apt knows no apt lab-app:all 2.0-1+"), "{error}");

    // The same letters are fine where they are a name and a version.
    lab.publish("lab-g++", "1.0+", "", &[]);
    lab.run("apt-get", &["-y", "-qq", "install", "lab-g++"]);
    lab.publish("lab-g++", "2.0+", "", &[]);
    lab.install(&[item("lab-g++", "1.0+", "2.0+")]).await.unwrap();
    assert_eq!(lab.scan().await.installed[&package("lab-g++")], version("2.0+"));
}

#[tokio::test]
async fn items_that_are_no_upgrades_of_apt_are_refused() {
    let lab = Lab::new();
    let dnf = Item { package: PackageKey::parse("dnf", "lab-app", Some("noarch")).unwrap(), ..item("lab-app", "1.0-1", "2.0-1") };
    let twice = item("lab-app", "1.0-1", "2.0-1");
    for (items, expected) in [
        (vec![], "a transaction has 1 to 5000"),
        (vec![dnf], "not a package of apt"),
        (vec![item("lab-app", "2.0-1", "1.0-1")], "not newer than 2.0-1"),
        (vec![item("lab-app", "2.0-1", "2.0-1")], "not newer than 2.0-1"),
        (vec![twice.clone(), twice], "named twice"),
    ] {
        let error = lab.refused(&items).await;
        assert!(matches!(&error, InstallError::Grammar { reason, .. } if reason == expected), "{error}");
    }
}

#[tokio::test]
async fn a_lock_is_waited_for_and_then_named() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app"]).await;
    let lock = fs::File::create(lab.path("root/var/lib/dpkg/lock-frontend")).unwrap();
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    lab.plan(&items).await.expect("a plan needs no lock");
    let error = lab.refused(&items).await;
    assert!(matches!(&error, InstallError::Locked { reason } if reason.contains("lock-frontend")), "{error}");
    drop(lock);
    lab.install(&items).await.unwrap();
}

#[tokio::test]
async fn a_failing_script_leaves_a_package_half_configured_and_nothing_else_is_touched_until_it_is_repaired() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app", "lab-broken"]).await;
    let error = lab.install(&items).await.unwrap_err();
    let InstallError::Failed { reason, done, rolled_back: false, output } = error else { panic!("{error}") };
    assert_eq!(done, ["apt lab-app:all"]);
    assert!(reason.starts_with("apt lab-broken:all is half-configured: ") && reason.contains("post-installation script"), "{reason}");
    assert!(output.contains("lab-broken: postinst fails on purpose"), "{output}");

    let items = lab.offered(&["lab-lib"]).await;
    let error = lab.refused(&items).await;
    let expected = "apt lab-broken:all is half-configured: run dpkg --configure -a";
    assert!(matches!(&error, InstallError::Interrupted { reason } if reason == expected), "{error}");
    fs::write(lab.path("root/var/lib/dpkg/info/lab-broken.postinst"), "#!/bin/sh\n").unwrap();
    let root = format!("--root={}", lab.path("root").display());
    stdout("dpkg", &[&root, "--force-not-root", "--force-script-chrootless", "--configure", "-a"], &[]);
    lab.install(&items).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_was_killed_is_told_and_has_to_be_repaired() {
    let lab = Lab::new();
    // Signal 9 for the whole process group: the script, dpkg and apt-get.
    lab.publish("lab-app", "3.0-1", "", &[("postinst", "#!/bin/sh\nkill -9 0\n")]);
    let items = [item("lab-app", "1.0-1", "3.0-1")];
    let error = lab.install(&items).await.unwrap_err();
    assert!(matches!(&error, InstallError::Failed { reason, done, .. } if done.is_empty() && reason.contains("signal 9")), "{error}");
    let error = lab.refused(&lab.offered(&["lab-lib"]).await).await;
    assert!(matches!(&error, InstallError::Interrupted { reason } if reason.ends_with("run dpkg --configure -a")), "{error}");

    // dpkg's own note alone, which a simulation does not mind.
    let lab = Lab::new();
    fs::write(lab.path("root/var/lib/dpkg/updates/0001"), "").unwrap();
    let error = lab.refused(&lab.offered(&["lab-lib"]).await).await;
    assert!(matches!(&error, InstallError::Interrupted { reason } if reason.starts_with("dpkg was ended")), "{error}");
}

#[tokio::test]
async fn nothing_that_is_not_signed_as_it_should_be_is_installed_or_believed() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app"]).await;
    lab.apt.refresh().await.unwrap();

    // The package is not the one of the index.
    let file = lab.path("pool/main/lab-app_2.0-1_all.deb");
    let genuine = fs::read(&file).unwrap();
    fs::write(&file, [&genuine[..], b"x"].concat()).unwrap();
    let error = lab.refused(&items).await;
    assert!(
        matches!(&error, InstallError::Untrusted { reason } if reason.contains("Hash Sum mismatch") || reason.contains("unexpected size")),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    let error = lab.refused(&items).await;
    assert!(matches!(&error, InstallError::NotOffered { reason } if reason.contains("File not found")), "{error}");
    fs::write(&file, genuine).unwrap();

    // The index is not the one that was signed: plain `apt-get update` would call that a success.
    let release = lab.path("dists/lab/InRelease");
    let signed = fs::read_to_string(&release).unwrap();
    fs::write(&release, signed.replacen("Label: Lab", "Label: Bad", 1)).unwrap();
    let error = lab.apt.refresh().await.unwrap_err();
    assert!(matches!(&error, InstallError::Untrusted { .. }), "{error}");

    // No signature at all.
    fs::remove_file(&release).unwrap();
    let error = lab.apt.refresh().await.unwrap_err();
    assert!(matches!(&error, InstallError::Untrusted { .. }), "{error}");
    lab.run(
        "apt-get",
        &["-qq", "update", "-o=Acquire::AllowInsecureRepositories=true", "-o=Acquire::AllowDowngradeToInsecureRepositories=true"],
    );
    let error = lab.refused(&items).await;
    assert!(matches!(&error, InstallError::Untrusted { reason } if reason.contains("unauthenticated")), "{error}");

    // No source at all.
    fs::rename(lab.path("dists"), lab.path("elsewhere")).unwrap();
    let error = lab.apt.refresh().await.unwrap_err();
    assert!(matches!(&error, InstallError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn configuration_files_stay_as_the_administrator_left_them_and_a_needed_reboot_is_told() {
    let lab = Lab::new();
    let conffiles = [("conffiles", "/etc/lab.conf\n")];
    let publish = |version: &str, text: &str, scripts: &[(&str, &str)]| {
        let etc = lab.path(&format!("files/lab-conf-{version}/etc"));
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("lab.conf"), text).unwrap();
        lab.publish("lab-conf", version, "", scripts);
    };
    publish("1.0-1", "one\n", &conffiles);
    lab.run("apt-get", &["-y", "-qq", "install", "lab-conf"]);
    fs::write(lab.path("root/etc/lab.conf"), "mine\n").unwrap();
    let postinst =
        "#!/bin/sh\nset -e\nprintenv > \"$DPKG_ROOT/environment\"\nmkdir -p \"$DPKG_ROOT/run\"\n: > \"$DPKG_ROOT/run/reboot-required\"\n";
    publish("2.0-1", "two\n", &[conffiles[0], ("postinst", postinst)]);
    let installed = lab.install(&lab.offered(&["lab-conf"]).await).await.unwrap();
    assert_eq!(fs::read_to_string(lab.path("root/etc/lab.conf")).unwrap(), "mine\n");
    assert_eq!(installed.reboot_required, Some(true));
    let environment = fs::read_to_string(lab.path("root/environment")).unwrap();
    assert!(environment.contains("DEBIAN_FRONTEND=noninteractive\n") && environment.contains("LC_ALL=C.UTF-8\n"), "{environment}");
    assert!(!environment.contains("CARGO"), "nothing of the caller's environment comes through");
}

/// All that this very machine is offered, planned as one transaction of genuine packages.
#[tokio::test]
async fn on_this_machine_all_installable_updates_are_planned_as_they_are_offered() {
    require(TOOLS);
    let scan = scan::Apt::new().scan().await;
    let installable = scan.offers.iter().filter(|(_, offer)| scan_lab::installable(offer));
    let items: Vec<Item> = installable.map(|(package, _)| update_of(&scan, package)).collect();
    if items.is_empty() {
        println!("this machine is up to date");
        return;
    }
    let plan = Apt::new().plan(&items).await.unwrap();
    let excess = plan.excess(&items);
    assert!(excess.iter().all(|excess| matches!(excess, Excess::NewPackage(_))), "{excess:?}");
    println!("{} items, {} changes, {:?} bytes", items.len(), plan.changes.len(), plan.download_bytes);
}

#[tokio::test]
async fn an_apt_that_is_not_there_is_an_error_of_its_own() {
    let error = Apt::new().with_programs_in("/nonexistent").plan(&[item("lab-app", "1.0-1", "2.0-1")]).await.unwrap_err();
    assert!(matches!(&error, InstallError::Tool { reason } if reason.starts_with("starting apt-config")), "{error}");
}
