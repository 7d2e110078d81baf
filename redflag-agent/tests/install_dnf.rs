//! The dnf installer against a real dnf in a private root: what is offered is planned, installed and seen by a new scan, and
//! everything in the way has its own name.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod scan_lab;

use redflag_agent::{
    Printed,
    install::{Dnf, InstallError, Installed, Installer},
    scan::{self, Scan, Scanner},
};
use redflag_core::{
    command::plan::{Change, Excess, Item, Plan},
    names::{PackageKey, Text, Version},
    words::ScanResult,
};
use scan_lab::{build, directory, require, stdout, update_of};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};
use tempfile::TempDir;

const TOOLS: &[(&str, &str)] = &[("dnf", "dnf"), ("dnf-3", "dnf-plugins-core"), ("rpmbuild", "rpm"), ("createrepo_c", "createrepo-c")];

/// A private dnf with updates.
struct Lab {
    directory: TempDir,
    dnf: Dnf,
}

impl Lab {
    fn new() -> Self {
        require(TOOLS);
        let directory = directory();
        build("dnf-lab.sh", &[directory.path().to_str().expect("a path of plain letters")]);
        let commands = ["dnf.sh", "rpm.sh"].map(|file| directory.path().join(file));
        let dnf = Dnf::with_commands((&commands[0], []), (&commands[1], [])).with_lock_time_max(Duration::ZERO);
        Self { directory, dnf }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn repository(&self, further: &str) {
        let text = format!("[lab]\nname=Lab updates\nbaseurl=file://{}\nenabled=1\n{further}", self.path("repo").display());
        fs::write(self.path("yum.repos.d/lab.repo"), text).expect("a file of the lab");
    }

    /// Offers one more version.
    fn publish(&self, name: &str, version: &str, release: &str, definitions: &[&str]) {
        let fixed = [self.directory.path().to_str().expect("a path of plain letters"), "publish", name, version, release];
        build("dnf-lab.sh", &[&fixed, definitions].concat());
    }

    fn run(&self, arguments: &[&str]) -> String {
        stdout(self.path("dnf.sh").to_str().expect("a path of plain letters"), arguments, &[])
    }

    async fn scan(&self) -> Scan {
        scan::Dnf::with_command(self.path("dnf.sh"), []).scan().await
    }

    /// The items that bring packages to the versions they are offered.
    async fn offered(&self, names: &[&str]) -> Vec<Item> {
        let scan = self.scan().await;
        names.iter().map(|name| update_of(&scan, &package(name))).collect()
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        self.dnf.plan(items).await
    }

    fn installed(&self) -> String {
        let program = self.path("rpm.sh");
        stdout(
            program.to_str().expect("a path of plain letters"),
            &["-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{INSTALLTID}\n"],
            &[],
        )
    }

    /// Installs with the plan that is made now.
    async fn install(&self, items: &[Item]) -> Result<Installed, InstallError> {
        self.dnf.install(items, &self.dnf.plan(items).await?, &Printed::default()).await
    }

    /// What keeps `items` from being installed; nothing of them is.
    async fn refused(&self, items: &[Item]) -> InstallError {
        let before = self.installed();
        let error = self.install(items).await.expect_err("it is refused");
        assert_eq!(self.installed(), before, "{error}");
        error
    }
}

/// A process that does nothing, and is gone when the test is.
struct Idle(Child);

impl Idle {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep runs"))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `NAME` or `NAME.ARCH`.
fn package(name: &str) -> PackageKey {
    let (name, arch) = name.split_once('.').unwrap_or((name, "noarch"));
    PackageKey::parse("dnf", name, Some(arch)).expect("a package key")
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn item(name: &str, from: &str, to: &str) -> Item {
    Item { package: package(name), from: version(from), to: version(to), origin: None }
}

fn change(name: &str, from: Option<&str>, to: Option<&str>) -> Change {
    Change { package: package(name), from: from.map(version), to: to.map(version), origin: to.map(|_| Text::lossy("lab")) }
}

#[tokio::test]
async fn offered_updates_are_planned_installed_and_seen_by_the_next_scan() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app", "lab-epoch", "lab-lib"]).await;
    let plan = lab.plan(&items).await.unwrap();
    assert_eq!(plan.excess(&items), [], "{plan:?}");
    assert_eq!(
        plan.changes,
        [
            change("lab-app", Some("1.0-1"), Some("2.0-1")),
            change("lab-epoch", Some("1.0-1"), Some("1:0.9~rc1-1")),
            change("lab-lib", Some("1.0-1"), Some("1.0-2")),
        ]
    );
    let size = |file: &str| fs::metadata(lab.path("repo").join(file)).unwrap().len();
    let sizes = size("lab-app-2.0-1.noarch.rpm") + size("lab-epoch-0.9~rc1-1.noarch.rpm") + size("lab-lib-1.0-2.noarch.rpm");
    assert_eq!((plan.download_bytes, plan.reboot_required), (Some(sizes), None));

    let part = Plan::of(plan.changes[..1].to_vec());
    let error = lab.dnf.install(&items, &part, &Printed::default()).await.unwrap_err();
    assert!(matches!(&error, InstallError::PlanChanged { reason } if reason.starts_with("now with dnf lab-")), "{error:?}");
    assert_eq!(lab.plan(&items).await.unwrap(), plan, "nothing was begun");

    let installed = lab.dnf.install(&items, &plan, &Printed::default()).await.unwrap();
    assert!(installed.output.contains("Complete!"), "{}", installed.output);
    let history = lab.run(&["-q", "history", "info", "last"]);
    let id = history.lines().find_map(|line| line.strip_prefix("Transaction ID : ")).unwrap();
    assert_eq!((installed.transaction.unwrap().as_str(), installed.reboot_required), (id.trim(), Some(false)));
    let scan = lab.scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    for item in &items {
        assert_eq!((scan.installed.get(&item.package), scan.offers.get(&item.package)), (Some(&item.to), None));
    }
    let error = lab.refused(&items).await;
    assert!(
        matches!(&error, InstallError::Precondition { installed, expected, .. } if installed == "2.0-1" && expected == "1.0-1"),
        "{error}"
    );
}

#[tokio::test]
async fn exactly_the_named_version_is_installed_although_newer_ones_are_offered() {
    let lab = Lab::new();
    for version in ["2.1~rc1", "2.1", "2.1^git1"] {
        lab.publish("lab-app", version, "1", &[]);
    }
    for (from, to) in [("1.0-1", "2.0-1"), ("2.0-1", "2.1~rc1-1"), ("2.1~rc1-1", "2.1-1"), ("2.1-1", "2.1^git1-1")] {
        let items = [item("lab-app", from, to)];
        let plan = lab.plan(&items).await.unwrap();
        assert_eq!(plan.excess(&items), [], "{plan:?}");
        lab.install(&items).await.unwrap();
    }
    assert!(lab.installed().contains("lab-app 2.1^git1-1 noarch"), "{}", lab.installed());
}

#[tokio::test]
async fn new_dependencies_are_planned_and_what_replaces_another_package_is_never_installed() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-newdeps"]).await;
    let plan = lab.plan(&items).await.unwrap();
    assert_eq!(plan.excess(&items), [Excess::NewPackage(change("lab-newdep", None, Some("1.0-1")))]);

    // It needs what takes the place of lab-old.
    lab.publish("lab-app", "3.0", "1", &["preq lab-new"]);
    let obsoleting = [item("lab-app", "1.0-1", "3.0-1")];
    let plan = lab.plan(&obsoleting).await.unwrap();
    let excess = [Excess::NewPackage(change("lab-new", None, Some("1.0-1"))), Excess::Removal(change("lab-old", Some("1.0-1"), None))];
    assert_eq!(plan.excess(&obsoleting), excess);
    let error = lab.refused(&obsoleting).await;
    assert!(matches!(&error, InstallError::Unresolvable { reason } if reason == "dnf lab-old:noarch would be removed"), "{error}");

    lab.install(&items).await.unwrap();
    assert_eq!(lab.scan().await.installed[&package("lab-newdep")], version("1.0-1"));
}

#[tokio::test]
async fn both_architectures_of_a_package_go_together() {
    let lab = Lab::new();
    let both = |version: &str| {
        for arch in ["parch i686", "parch x86_64"] {
            lab.publish("lab-multi", version, "1", &[arch]);
        }
    };
    both("1.0");
    lab.run(&["-q", "-y", "install", "lab-multi.i686", "lab-multi.x86_64"]);
    both("2.0");
    let items = lab.offered(&["lab-multi.i686", "lab-multi.x86_64"]).await;
    assert_eq!(lab.plan(&items).await.unwrap().excess(&items), []);
    lab.install(&items).await.unwrap();
    let scan = lab.scan().await;
    assert!(items.iter().all(|item| scan.installed[&item.package] == version("2.0-1")), "{:?}", scan.installed);
}

#[tokio::test]
async fn packages_that_stand_side_by_side_are_no_removals_when_the_oldest_goes() {
    let lab = Lab::new();
    let configuration = fs::read_to_string(lab.path("dnf.conf")).unwrap();
    let configuration = configuration.replace("installonly_limit=3", "installonly_limit=2\ninstallonlypkgs=lab-current");
    fs::write(lab.path("dnf.conf"), configuration).unwrap();
    for (from, to) in [("1.0-1", "2.0"), ("2.0-1", "3.0")] {
        lab.publish("lab-current", to, "1", &[&format!("pfile lab-current-{to}")]);
        let items = [item("lab-current", from, &format!("{to}-1"))];
        let plan = lab.plan(&items).await.unwrap();
        assert_eq!(plan.excess(&items), [], "{plan:?}");
        lab.install(&items).await.unwrap();
    }
    let installed = lab.installed();
    let versions: Vec<_> = installed.lines().filter(|line| line.starts_with("lab-current ")).collect();
    assert_eq!(versions.len(), 2, "{versions:?}");
}

#[tokio::test]
async fn locked_excluded_vanished_and_unresolvable_versions_are_refused_each_by_its_name() {
    let lab = Lab::new();
    let plan = async |name, to| lab.plan(&[item("lab-lib", "1.0-1", "1.0-2"), item(name, "1.0-1", to)]).await.unwrap_err();
    let locked = plan("lab-locked", "2.0-1").await;
    let expected = "lab-locked-0:2.0-1.noarch is locked (dnf versionlock lab-locked-0:1.0-1.*)";
    assert!(matches!(&locked, InstallError::Held { reason } if reason == expected), "{locked}");
    let broken = plan("lab-brokendep", "2.0-1").await;
    let expected = "nothing provides nosuch-capability needed by lab-brokendep-2.0-1.noarch";
    assert!(matches!(&broken, InstallError::Unresolvable { reason } if reason == expected), "{broken}");
    let vanished = plan("lab-app", "9.9-9").await;
    assert!(matches!(&vanished, InstallError::NotOffered { reason } if reason == "dnf knows no lab-app-0:9.9-9.noarch"), "{vanished}");
    let obsoleted = plan("lab-old", "2.0-1").await;
    assert!(matches!(&obsoleted, InstallError::NotOffered { .. }), "{obsoleted}");
    let absent = plan("lab-nosuch", "2.0-1").await;
    assert!(matches!(&absent, InstallError::Precondition { installed, .. } if installed == "none"), "{absent}");
    for name in ["lab-locked", "lab-brokendep"] {
        lab.refused(&[item(name, "1.0-1", "2.0-1")]).await;
    }
    lab.repository("excludepkgs=lab-app\n");
    let excluded = lab.refused(&[item("lab-app", "1.0-1", "2.0-1")]).await;
    assert!(matches!(&excluded, InstallError::Held { reason } if reason.contains("left out by a dnf plugin or rule")), "{excluded}");
}

#[tokio::test]
async fn items_that_are_no_upgrades_of_dnf_are_refused() {
    let lab = Lab::new();
    let apt = Item { package: PackageKey::parse("apt", "lab-app", Some("all")).unwrap(), ..item("lab-app", "1.0-1", "2.0-1") };
    for (items, expected) in [
        (vec![apt], "not a package of dnf"),
        (vec![item("lab-epoch", "1:0.9-1", "1.0-1")], "not newer than 1:0.9-1"),
        (vec![item("lab-app", "1.0-1", "2.0")], "\"2.0\" is no rpm [epoch:]version-release"),
        (vec![item("lab-app.rpm", "1.0-1", "2.0-1")], "\"rpm\" is no rpm architecture"),
    ] {
        let error = lab.refused(&items).await;
        assert!(matches!(&error, InstallError::Grammar { reason, .. } if reason == expected), "{error}");
    }
}

#[tokio::test]
async fn a_lock_is_waited_for_and_then_named() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app"]).await;
    let idle = Idle::start();
    let locks = [lab.path("root/var/cache/dnf/metadata_lock.pid"), lab.path("root/var/lib/dnf/rpmdb_lock.pid")];
    for lock in &locks {
        fs::write(lock, idle.0.id().to_string()).unwrap();
        let error = lab.refused(&items).await;
        assert!(
            matches!(&error, InstallError::Locked { reason } if reason.ends_with(&format!("already locked by {}", idle.0.id()))),
            "{error}"
        );
        fs::remove_file(lock).unwrap();
    }
    // Its holder ends while we wait.
    fs::write(&locks[0], idle.0.id().to_string()).unwrap();
    let patient = lab.dnf.clone().with_lock_time_max(Duration::from_secs(60));
    let waiting = tokio::spawn(async move { patient.plan(&items).await });
    drop(idle);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_failing_script_leaves_the_old_version_and_the_others_are_told_as_done() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app", "lab-broken"]).await;
    let error = lab.install(&items).await.unwrap_err();
    let InstallError::Failed { reason, done, rolled_back: false, output } = error else { panic!("{error}") };
    assert_eq!(done, ["dnf lab-app:noarch"]);
    assert!(reason.contains("Error in PREIN scriptlet in rpm package lab-broken"), "{reason}");
    assert!(output.contains("lab-broken: pre fails on purpose"), "{output}");
    assert!(lab.installed().contains("lab-broken 1.0-1"), "{}", lab.installed());
    lab.install(&lab.offered(&["lab-lib"]).await).await.expect("the host is whole");
}

#[tokio::test]
async fn a_transaction_that_was_killed_is_told_and_has_to_be_repaired() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-lib"]).await;
    lab.publish("lab-app", "3.0", "1", &["ppost posix.kill(posix.getprocessid('pid'), 9)"]);
    let error = lab.install(&[item("lab-app", "1.0-1", "3.0-1")]).await.unwrap_err();
    assert!(matches!(&error, InstallError::Failed { reason, .. } if reason.contains("signal 9")), "{error}");
    let error = lab.refused(&items).await;
    let expected = "lab-app-1.0-1.noarch is a duplicate with lab-app-3.0-1.noarch: run dnf remove --duplicates";
    assert!(matches!(&error, InstallError::Interrupted { reason } if reason == expected), "{error}");
    lab.run(&["-q", "-y", "remove", "--duplicates", "--setopt=tsflags=noscripts"]);
    lab.install(&items).await.unwrap();
}

#[tokio::test]
async fn nothing_that_is_not_signed_as_it_should_be_or_not_there_is_installed() {
    let lab = Lab::new();
    let items = lab.offered(&["lab-app"]).await;
    lab.dnf.refresh().await.unwrap();
    lab.repository("gpgcheck=1\n");
    let error = lab.refused(&items).await;
    assert!(matches!(&error, InstallError::Untrusted { reason } if reason == "Package lab-app-2.0-1.noarch.rpm is not signed"), "{error}");

    // The package is not the one of the index.
    lab.repository("");
    let file = lab.path("repo/lab-app-2.0-1.noarch.rpm");
    let genuine = fs::read(&file).unwrap();
    fs::write(&file, [&genuine[..], b"x"].concat()).unwrap();
    let error = lab.refused(&items).await;
    assert!(matches!(&error, InstallError::Untrusted { reason } if reason.contains("incorrect checksum")), "{error}");
    fs::write(&file, genuine).unwrap();

    // The repository is gone, with and without leave to skip it.
    fs::rename(lab.path("repo"), lab.path("elsewhere")).unwrap();
    for skip in ["skip_if_unavailable=0\n", "skip_if_unavailable=1\n"] {
        lab.repository(skip);
        let error = lab.refused(&items).await;
        assert!(matches!(&error, InstallError::Unreachable { reason } if reason.contains("lab")), "{error}");
        let error = lab.dnf.refresh().await.unwrap_err();
        assert!(matches!(&error, InstallError::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_dnf_that_is_not_there_is_an_error_of_its_own() {
    let missing = Dnf::with_commands(("/nonexistent/dnf", []), ("/nonexistent/rpm", []));
    let error = missing.plan(&[item("lab-app", "1.0-1", "2.0-1")]).await.unwrap_err();
    assert!(matches!(&error, InstallError::Tool { reason } if reason.starts_with("starting rpm")), "{error}");
}
