//! What apt, dpkg, dnf and rpm are really told: programs that write down their arguments stand in for them.

use super::{Apt, Dnf, InstallError, Installer, hostile};
use crate::Printed;
use redflag_core::{
    command::plan::Item,
    names::{APT, DNF},
};
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

/// How many items are tried.
const ITEMS: usize = 1_000;
/// How many of those that are accepted go into one transaction.
const ITEMS_PER_TRANSACTION: usize = 25;

/// Writes a program that notes its name and its arguments, one a line, and then does `script` in the directory.
fn stand_in(directory: &Path, program: &str, script: &str) {
    let file = directory.join(program);
    let text = format!("#!/bin/sh\ncd {} || exit 1\nprintf '%s\\n' \"$0\" \"$@\" >> words\n{script}\n", directory.display());
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Tries every item alone: what is refused reaches no tool. Installs the others together, for which `answers` prepares what the
/// tools say. Before `--` every word the tools heard must be an option or one of `fixed`, after it one for which `kept` holds.
async fn check(
    directory: &Path,
    installer: &dyn Installer,
    items: &[Item],
    answers: fn(&Path, &[Item]),
    fixed: &[&str],
    kept: fn(&Item, &str) -> bool,
) {
    let words = || fs::read_to_string(directory.join("words")).unwrap_or_default();
    let mut accepted = BTreeMap::new();
    for item in items {
        answers(directory, &[]);
        match installer.plan(std::slice::from_ref(item)).await.unwrap_err() {
            InstallError::Grammar { .. } => assert_eq!(words(), "", "{item:?} was refused and asked all the same"),
            InstallError::Precondition { .. } => drop(accepted.insert(item.package.clone(), item.clone())),
            error => panic!("{item:?}: {error}"),
        }
        let _ = fs::remove_file(directory.join("words"));
    }
    let accepted: Vec<Item> = accepted.into_values().collect();
    println!("{}: {} of {} items accepted", installer.manager(), accepted.len(), items.len());
    assert!(accepted.len() > ITEMS_PER_TRANSACTION && accepted.len() < items.len());
    for items in accepted.chunks(ITEMS_PER_TRANSACTION) {
        answers(directory, items);
        let plan = installer.plan(items).await.unwrap();
        installer.install(items, &plan, &Printed::default()).await.unwrap();
        let heard = words();
        let (mut told, mut options) = (0, true);
        for word in heard.lines() {
            if word.starts_with(directory.to_str().unwrap()) {
                // The name of the program: another command begins.
                options = true;
            } else if options {
                assert!(word.starts_with('-') || fixed.contains(&word), "{word:?}");
                options = word != "--";
            } else {
                assert!(items.iter().any(|item| kept(item, word)), "{word:?}");
                told += 1;
            }
        }
        assert!(told >= 2 * items.len(), "every item is in the plan and in the installation");
        fs::remove_file(directory.join("words")).unwrap();
    }
}

#[tokio::test]
async fn apt_and_dpkg_hear_nothing_outside_the_grammar() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    stand_in(path, "apt-config", &format!("echo \"STATUS='{}/status'\"; echo \"ROOT='/'\"; echo \"ARCH='amd64'\"", path.display()));
    stand_in(path, "apt-cache", "[ \"$1\" != show ] || cat records");
    stand_in(path, "dpkg-query", "cat installed");
    stand_in(path, "apt-get", "case \" $* \" in *' -s '*) cat simulation ;; *' --print-uris '*) ;; *) cp after installed ;; esac");
    let answers = |path: &Path, items: &[Item]| {
        let all = |line: fn(&Item) -> String| items.iter().map(line).collect::<String>();
        let installed = |item: &Item, version: &str| format!("{}\tamd64\t{version}\tinstall\tinstalled\n", item.package.name);
        fs::write(path.join("installed"), items.iter().map(|item| installed(item, item.from.as_str())).collect::<String>()).unwrap();
        fs::write(path.join("after"), items.iter().map(|item| installed(item, item.to.as_str())).collect::<String>()).unwrap();
        let inst = all(|item| format!("Inst {} [{}] ({} Lab:lab [amd64])\n", item.package.name, item.from, item.to));
        let summary = format!("{} upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n", items.len());
        fs::write(path.join("simulation"), inst + &summary).unwrap();
        let records = all(|item| format!("Package: {}\nArchitecture: amd64\nVersion: {}\nSize: 1\n\n", item.package.name, item.to));
        fs::write(path.join("records"), records).unwrap();
    };
    let kept = |item: &Item, word: &str| {
        let name = format!("{}:amd64", item.package.name);
        word == name || word == format!("{name}={}", item.to)
    };
    let apt = Apt::new().with_programs_in(path);
    let fixed = ["shell", "policy", "show", "install", "LISTS", "Dir::State::lists/d", "STATUS", "Dir::State::status/f"];
    let fixed = [&fixed[..], &["ROOT", "Dir/d", "ARCH", "APT::Architecture", crate::scan::apt::read::INSTALLED_FORMAT]].concat();
    check(path, &apt, &hostile::items(APT, "amd64", ITEMS), answers, &fixed, kept).await;
}

#[tokio::test]
async fn dnf_and_rpm_hear_nothing_outside_the_grammar() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    stand_in(path, "rpm", "cat installed");
    let dnf = "case \" $* \" in *' --assumeno '*) cat transaction; exit 1 ;; *' repoquery '*) cat sizes ;; *' upgrade '*) cp after installed ;; esac";
    stand_in(path, "dnf", dnf);
    let answers = |path: &Path, items: &[Item]| {
        let parts = |version: &str| {
            let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
            format!("{epoch}\t{}", rest.replace('-', "\t"))
        };
        let line = |item: &Item, version: &str| format!("{}\t{}\tnoarch", item.package.name, parts(version));
        let all = |line: &dyn Fn(&Item) -> String| items.iter().map(|item| line(item) + "\n").collect::<String>();
        fs::write(path.join("installed"), all(&|item| line(item, item.from.as_str()))).unwrap();
        fs::write(path.join("after"), all(&|item| line(item, item.to.as_str()))).unwrap();
        fs::write(path.join("sizes"), all(&|item| line(item, item.to.as_str()) + "\tlab\t1\t")).unwrap();
        let table = all(&|item| format!(" {} noarch {} lab 1 k", item.package.name, item.to));
        let text = format!(
            "Dependencies resolved.\n===\n Package Architecture Version Repository Size\n===\nUpgrading:\n{table}\nTransaction Summary\n===\nUpgrade {} Packages\n",
            items.len()
        );
        fs::write(path.join("transaction"), text).unwrap();
    };
    let kept = |item: &Item, word: &str| {
        let epoch = if item.to.as_str().contains(':') { "" } else { "0:" };
        word == format!("{}-{epoch}{}.noarch", item.package.name, item.to)
    };
    let dnf = Dnf::with_commands((path.join("dnf"), []), (path.join("rpm"), []));
    let fixed = ["upgrade", "repoquery", "history", "info", "last", "needs-restarting", "check", crate::scan::dnf::read::RPM_FORMAT];
    let fixed = [&fixed[..], &["%{name}\\t%{epoch}\\t%{version}\\t%{release}\\t%{arch}\\t%{repoid}\\t%{downloadsize}\\t\\n"]].concat();
    check(path, &dnf, &hostile::items(DNF, "noarch", ITEMS), answers, &fixed, kept).await;
}
