//! `redflag-agent scan`: what the scanners find, as tables for people or one JSON document for programs.
//!
//! Exit codes: 0 when every scan was complete, [`EXIT_FAILED`] when one failed, [`EXIT_PARTIAL`] when none failed and one is
//! partial. Updates that wait are no error.

use crate::{
    clock,
    host::{self, Machine},
    scan::{Scan, Scanner, scanners},
};
use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets};
use indicatif::{ProgressBar, ProgressStyle};
use redflag_core::{
    agent::HostFacts,
    names::{PackageKey, Text},
    offer::{Offer, OfferInput},
    time::Timestamp,
    words::{AvailabilityKind, ScanResult, VersionOrder},
};
use serde::Serialize;
use std::{
    io::{ErrorKind, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

/// Exit code when a scan failed.
pub const EXIT_FAILED: u8 = 3;
/// Exit code when no scan failed and one is partial.
pub const EXIT_PARTIAL: u8 = 4;

/// Arguments of `redflag-agent scan`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes: 0 every scan was complete, 3 a scan failed, 4 a scan is partial.\n\n\
    Examples:\n  redflag-agent scan\n  redflag-agent scan --manager apt --json")]
pub struct ScanArguments {
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
    /// Scan this manager only (may be repeated); otherwise every one this host has
    #[arg(long, value_name = "MANAGER")]
    pub manager: Vec<String>,
}

/// Scans and prints.
///
/// # Errors
/// When a manager is unknown or not on this host, or the output cannot be written.
pub async fn run(arguments: &ScanArguments) -> anyhow::Result<ExitCode> {
    let mut scans = Vec::new();
    for scanner in chosen(&arguments.manager).await? {
        let spinner = spinner(&format!("asking {}", scanner.manager()));
        scans.push(scanner.scan().await);
        spinner.finish_and_clear();
    }
    let managers: Vec<_> = scans.iter().map(|scan| &scan.manager).collect();
    let host = host::facts(&Machine::of_this_host(), &managers).await;
    let text = if arguments.json { json(&host, &scans)? } else { tables(&scans) + &notes(&host) };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough, as in `… | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("writing to standard output")?,
    }
    Ok(exit_code(&scans))
}

fn exit_code(scans: &[Scan]) -> ExitCode {
    let any = |result| scans.iter().any(|scan| scan.result == result);
    match (any(ScanResult::Failed), any(ScanResult::Partial)) {
        (true, _) => ExitCode::from(EXIT_FAILED),
        (false, true) => ExitCode::from(EXIT_PARTIAL),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// The scanners asked for, or all whose manager this host has.
async fn chosen(words: &[String]) -> anyhow::Result<Vec<Box<dyn Scanner>>> {
    let mut known = scanners();
    let names: Vec<_> = known.iter().map(|scanner| scanner.manager().to_string()).collect();
    if let Some(unknown) = words.iter().find(|word| !names.contains(word)) {
        bail!("unknown manager {unknown:?}; known are: {}", names.join(", "));
    }
    known.retain(|scanner| words.is_empty() || words.iter().any(|word| word == scanner.manager().as_str()));
    let mut chosen = Vec::new();
    for scanner in known {
        match scanner.present().await {
            true => chosen.push(scanner),
            false if words.is_empty() => {}
            false => bail!("this host has no {}", scanner.manager()),
        }
    }
    if chosen.is_empty() {
        bail!("this host has none of the known package managers: {}", names.join(", "));
    }
    Ok(chosen)
}

fn spinner(message: &str) -> ProgressBar {
    const TICK: Duration = Duration::from_millis(100);
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(message.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(TICK);
    spinner
}

/// The document `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    host: &'a HostFacts,
    scans: Vec<ScanDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct ScanDocument<'a> {
    manager: &'a str,
    version_order: VersionOrder,
    result: ScanResult,
    error: Option<&'a Text>,
    scanned_at: Timestamp,
    metadata_at: Option<Timestamp>,
    refresh_error: Option<&'a Text>,
    updates: usize,
    installable: usize,
    security: usize,
    installed_packages: usize,
    offers: Vec<OfferInput>,
}

fn json<'a>(host: &'a HostFacts, scans: &'a [Scan]) -> anyhow::Result<String> {
    let document = |scan: &'a Scan| ScanDocument {
        manager: scan.manager.as_str(),
        version_order: scan.version_order,
        result: scan.result,
        error: scan.error.as_ref(),
        scanned_at: scan.scanned_at,
        metadata_at: scan.metadata_at,
        refresh_error: scan.refresh_error.as_ref(),
        updates: scan.offers.len(),
        installable: scan.installable(),
        security: scan.security(),
        installed_packages: scan.installed.len(),
        offers: scan.offers.iter().map(|(package, offer)| OfferInput::from_offer(package, offer)).collect(),
    };
    let document = Document { host, scans: scans.iter().map(document).collect() };
    Ok(serde_json::to_string_pretty(&document).context("writing the scans as JSON")? + "\n")
}

fn tables(scans: &[Scan]) -> String {
    scans.iter().map(|scan| table(scan, Table::new().width()) + &summary(scan, clock::now()) + "\n").collect::<Vec<_>>().join("\n")
}

fn notes(host: &HostFacts) -> String {
    host::notes(host).iter().map(|note| format!("\n{note}\n")).collect()
}

/// Columns a narrow terminal does without, in this order; `--json` has them all.
const LEFT_OUT: [(usize, &str); 3] = [(5, "size"), (4, "origin"), (1, "arch")];
const AVAILABILITY: usize = 6;
/// Room for `installable`, which is what nearly every line says, and its padding.
const AVAILABILITY_WIDTH: u16 = 13;

/// One update a line; none without offers. Without a `width` to fit into a line has any length.
fn table(scan: &Scan, width: Option<u16>) -> String {
    if scan.offers.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["package", "arch", "installed", "candidate", "origin", "size", "availability"].map(heading));
    for (package, offer) in &scan.offers {
        table.add_row(row(package, offer));
    }
    if let Some(size) = table.column_mut(5) {
        size.set_cell_alignment(CellAlignment::Right);
    }
    let hint = width.map_or_else(String::new, |width| fit(&mut table, width));
    format!("{table}\n{hint}").lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>() + "\n"
}

/// Makes the table fit: whole columns give way before a version is broken into lines. Says what was left out.
fn fit(table: &mut Table, width: u16) -> String {
    const PADDING: usize = 2;
    let mut widths = table.column_max_content_widths();
    let fits = |widths: &[u16]| widths.iter().map(|content| usize::from(*content) + PADDING).sum::<usize>() <= usize::from(width);
    let mut left_out = Vec::new();
    for (index, heading) in LEFT_OUT {
        if fits(&widths) {
            break;
        }
        widths.remove(index);
        left_out.push(heading);
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    if !fits(&widths) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        if let Some(availability) = table.column_mut(AVAILABILITY) {
            availability.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(AVAILABILITY_WIDTH)));
        }
    }
    match left_out.as_slice() {
        [] => String::new(),
        columns => format!("(too narrow for {}; a wider terminal or --json shows them)\n", columns.join(", ")),
    }
}

fn heading(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold)
}

fn row(package: &PackageKey, offer: &Offer) -> [Cell; 7] {
    let candidate = &offer.candidate;
    let availability = match &offer.availability.reason {
        Some(reason) => format!("{}: {reason}", offer.availability.kind),
        None => offer.availability.kind.to_string(),
    };
    let available = Cell::new(printable(&availability));
    let origin = Cell::new(printable(candidate.origin.as_ref().map_or("-", Text::as_str)));
    [
        Cell::new(&package.name),
        Cell::new(package.arch.as_ref().map_or("-", |arch| arch.as_str())),
        Cell::new(offer.installed.as_ref().map_or("-", |version| version.as_str())),
        Cell::new(&candidate.version),
        if candidate.security { origin.fg(Color::Red) } else { origin },
        Cell::new(candidate.size_bytes.map_or_else(|| "-".into(), bytes)),
        if offer.availability.kind == AvailabilityKind::Installable { available.fg(Color::Green) } else { available.fg(Color::Yellow) },
    ]
}

/// Texts come from repositories: what would steer the terminal is left out.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

fn summary(scan: &Scan, now: Timestamp) -> String {
    let manager = &scan.manager;
    let reason = printable(scan.error.as_ref().map_or("no reason", Text::as_str));
    if scan.result == ScanResult::Failed {
        return format!("{manager}: the scan failed: {reason}\n");
    }
    let metadata = match scan.metadata_at {
        Some(at) => format!("metadata {} old", age(now.since(at))),
        None => "age of the metadata unknown".into(),
    };
    let (updates, installable, security) = (scan.offers.len(), scan.installable(), scan.security());
    let mut summary = format!("{manager}: {updates} updates, {installable} installable, {security} security; {metadata}\n");
    if scan.result == ScanResult::Partial {
        summary.push_str(&format!("{manager}: the scan is partial: {reason}\n"));
    }
    if let Some(error) = &scan.refresh_error {
        summary.push_str(&format!("{manager}: the metadata is out of date: {}\n", printable(error.as_str())));
    }
    summary
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1_000, unit + 1);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes: Vec<_> = [0, 999, 1_000, 315_764, 9_999_999, 12_345_678_901].map(bytes).into();
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "315.7 kB", "9.9 MB", "12.3 GB"]);
        let ages: Vec<_> = [0, 119, 120, 7_199, 7_200, 172_800].map(|seconds| age(Duration::from_secs(seconds))).into();
        assert_eq!(ages, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }

    fn scan(word: &str) -> Scan {
        let manager = redflag_core::names::Manager::parse(word).unwrap();
        let package = PackageKey::parse(word, "bash", Some("amd64")).unwrap();
        let input = OfferInput {
            package_name: "bash".into(),
            current_version: Some("5.1-1".into()),
            available_version: "5.2-1".into(),
            repository_source: Some("Debian-Security:oldstable-security\u{1b}[2J".into()),
            security: true,
            size_bytes: Some(1_500_000),
            availability: Some("held".into()),
            availability_reason: Some("held on this host".into()),
            ..OfferInput::default()
        };
        let mut scan = Scan::begun(manager, VersionOrder::Dpkg);
        scan.metadata_at = Some(scan.scanned_at);
        scan.offers.insert(package.clone(), input.check(&package).unwrap());
        scan
    }

    #[test]
    fn the_table_names_every_fact_and_lets_nothing_steer_the_terminal() {
        let text = tables(&[scan("apt")]);
        let line = text.lines().find(|line| line.contains("bash")).unwrap();
        for word in ["amd64", "5.1-1", "5.2-1", "Debian-Security:oldstable-security", "1.5 MB", "held: held on this host"] {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.contains("apt: 1 updates, 0 installable, 1 security; metadata 0 s old"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_loses_columns_before_versions_are_broken() {
        let text = table(&scan("apt"), Some(70));
        let line = text.lines().find(|line| line.contains("bash")).unwrap();
        for word in ["5.1-1", "5.2-1", "held: held on this host"] {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert!(!text.contains("oldstable") && text.contains("(too narrow for size, origin; "), "{text}");
        assert!(!table(&scan("apt"), Some(200)).contains("too narrow"));
    }

    #[test]
    fn a_failed_scan_is_never_shown_as_no_updates() {
        let failed = scan("apt").failed("apt ended with exit code 100");
        assert_eq!(tables(std::slice::from_ref(&failed)).trim(), "apt: the scan failed: apt ended with exit code 100");
        let document: serde_json::Value =
            serde_json::from_str(&json(&HostFacts::default(), std::slice::from_ref(&failed)).unwrap()).unwrap();
        assert_eq!(document["scans"][0]["result"], "failed");
        let code = |scans: &[Scan]| format!("{:?}", exit_code(scans));
        let partial = scan("dnf").with_gaps(&["a gap".into()]);
        assert_eq!(code(&[scan("apt"), failed, partial.clone()]), format!("{:?}", ExitCode::from(EXIT_FAILED)));
        assert_eq!(code(&[scan("apt"), partial]), format!("{:?}", ExitCode::from(EXIT_PARTIAL)));
        assert_eq!(code(&[scan("apt")]), format!("{:?}", ExitCode::SUCCESS));
    }

    #[tokio::test]
    async fn an_unknown_manager_is_an_error_that_names_the_known_ones() {
        let error = chosen(&["pacman".into()]).await.err().unwrap().to_string();
        assert_eq!(error, "unknown manager \"pacman\"; known are: apt, dnf, docker");
    }
}
