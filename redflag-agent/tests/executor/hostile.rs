//! Names and versions that a package manager would take for something else, through the whole executor: none reaches an installer
//! outside the grammar, whoever signed it.

use crate::lab::*;
use redflag_agent::executor::answer::Outcome;
use redflag_core::{command::plan::Item, names::PackageKey};
use serde_json::Value;

/// Things to put into, before, behind or in place of a name.
const PIECES: &[&str] = &[
    "",
    "-",
    "+",
    "=",
    "/",
    "^",
    "*",
    "?",
    "[a-z]",
    "~",
    ":",
    "@",
    "!",
    "|",
    "&",
    ";",
    "$(reboot)",
    "`reboot`",
    "\n",
    "\r",
    "\t",
    " ",
    "\0",
    "\u{1b}[2J",
    "\u{202e}",
    "é",
    "оpenssl",
    "-oDPkg::Pre-Invoke::=reboot",
    "--allow-downgrades",
    "=1.0",
    "/sid",
    "./x.deb",
    "../../x.deb",
    "https://h/x.deb",
    "%s",
    "\\",
    "'",
    "\"",
    "<",
    "lab-app",
    "App",
    "a",
];

#[tokio::test]
async fn a_thousand_hostile_names_and_versions_stop_before_the_installer() {
    let lab = Lab::new();
    let mut executor = lab.open().await.unwrap();
    let (mut tried, mut counter, mut installed) = (0, 0, 0);
    for first in PIECES {
        for second in PIECES {
            let hostile = format!("{first}lab{second}");
            for field in ["package_name", "arch", "from", "to"] {
                tried += 1;
                let envelope = with_field(counter + 1, field, &hostile);
                let before = lab.host().ledger().len();
                let answer = executor.run(&envelope).await;
                if !matches!(answer.outcome, Outcome::Refused(_)) {
                    counter += 1;
                }
                for line in &lab.host().ledger()[before..] {
                    installed += 1;
                    assert!(is_harmless(line), "{line:?} from {field} {hostile:?}");
                }
            }
        }
    }
    assert!(tried > 1_000 && installed > 0, "{tried} tried, {installed} of them harmless");
}

/// An order for one item with one field replaced in the signed bytes: the checks of our own types do not stand in between.
fn with_field(counter: u64, field: &str, hostile: &str) -> Vec<u8> {
    let mut command: Value = serde_json::from_slice(&install(counter, &["app"]).to_bytes()).unwrap();
    let item = &mut command["action"]["items"][0];
    let place = if matches!(field, "from" | "to") { &mut item[field] } else { &mut item["package"][field] };
    *place = hostile.into();
    // The order says what its own plan would be, so that nothing but its names can be wrong with it.
    if let Ok(item) = serde_json::from_value::<Item>(item.clone()) {
        command["action"]["plan_digest"] = order(&[item]).plan_digest.to_string().into();
    }
    command.sort_all_objects();
    signed_payload(command.to_string().as_bytes())
}

/// Written anew from deb-control(5) and deb-version(7), not taken from the code under test.
fn is_harmless(line: &str) -> bool {
    let (name, version) = line.split_once(' ').unwrap();
    let name_of = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let version_of = |c: char| c.is_ascii_alphanumeric() || ".+~-:".contains(c);
    let starts = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts(name)
        && name.chars().all(name_of)
        && !name.ends_with('-')
        && starts(version)
        && version.chars().all(version_of)
        && PackageKey::parse("apt", name, None).is_ok()
}
