//! `redflag-server audit`: verifying the audit log, writing it out, and showing its key.

use super::{database, whole_file::WholeFile};
use crate::{
    arguments::{self, AuditKeyFile, Database, Format},
    cli::WrongUsage,
    interrupt, output,
    progress::Progress,
};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use redflag_core::{
    audit::{
        AuditKind,
        chain::Link,
        damage::Gap,
        entry::By,
        verify::{Fault, FaultAt, Summary, Verifier},
    },
    ids::Digest,
    limits,
    names::Text,
    public_key::PublicKey,
    signing,
};
use redflag_server::{
    audit::{AuditFilter, AuditKey, AuditLog, Verdict, Verified, VerifyError},
    clock,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Arguments of `redflag-server audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read the whole log, every checkpoint and every batch that is still there, and name the first bad entry
    Verify(Verify),
    /// Write the log as JSON Lines, which `audit verify --input` verifies without the database
    Export(Export),
    /// Show the newest checkpoint and the key that signs; and entries, newest first
    Show(Show),
    /// Go on behind a damaged end, with an entry that says so and that verify names for ever; no server may run
    Continue(Continue),
}

/// Which log, and for whom to print.
#[derive(Debug, Args)]
struct On {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    key: AuditKeyFile,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Verify {
    /// Verify the lines of an export instead of a database, or - for standard input; needs --public-key
    #[arg(long, short, value_name = "FILE", requires = "public_key")]
    input: Option<PathBuf>,
    /// Believe checkpoints of this key, in base64, beside those of the key file; may be repeated
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    public_key: Vec<PublicKey>,
    /// A gap that somebody knows of, by the digest that verify names; may be repeated. Any other is a failure
    #[arg(long, value_name = "DIGEST")]
    known_gap: Vec<Digest>,
    #[command(flatten)]
    on: On,
}

#[derive(Debug, Args)]
struct Continue {
    /// Why, in words; kept in the log
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    reason: Text,
    /// The operator's name, as the log will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    #[command(flatten)]
    on: On,
}

#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    database: Database,
    /// A new file for the lines, or - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct Show {
    /// Show so many entries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::PAGE_SIZE_MAX)))]
    entries: Option<u32>,
    /// Only entries with a number below this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=limits::COMMAND_COUNTER_MAX))]
    before: Option<u64>,
    /// Only entries of this kind, for example signed-in
    #[arg(long, value_name = "KIND")]
    kind: Option<AuditKind>,
    /// Only entries by this one: the name of an account or of somebody at a command line, the id of an agent, server or stranger
    #[arg(long, value_name = "WHO", value_parser = arguments::text)]
    by: Option<Text>,
    #[command(flatten)]
    on: On,
}

impl Audit {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Verify(verify) => interrupt::or_interrupted(verify.run()).await,
            What::Export(export) => interrupt::or_interrupted(export.run()).await,
            What::Show(show) => show.run().await,
            What::Continue(further) => further.run().await,
        }
    }
}

impl Verify {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let progress = Progress::counting("verifying");
        let mut keys = self.public_key;
        let (found, fault) = match self.input {
            Some(input) => split(lines(&input, keys)?.map(|log| Found::new(json!({"log": log}), told(&log), &log, &self.known_gap))),
            None => {
                database::name(&self.on.database.database)?;
                let path = self.on.key.path(&self.on.database)?;
                if let Some(key) = path.as_deref().map(AuditKey::read).transpose()?.flatten() {
                    keys.push(key.public_key());
                }
                if keys.is_empty() {
                    let place = path.as_deref().map_or_else(|| "a fleet in memory".into(), Path::to_string_lossy);
                    let usage = WrongUsage("there is none; give its file as --audit-key, or its public half as --public-key");
                    return Err(anyhow::Error::from(usage).context(format!("looking for the audit key at {place}")));
                }
                let log = AuditLog::new(database::existing(&self.on.database.database).await?);
                let tell = |number: u64| {
                    if number.is_multiple_of(1_000) {
                        progress.tell(&format!("entry {number}"));
                    }
                };
                let verified = log.verify(keys, tell).await;
                // For the page, which is no part of verifying.
                if let Err(error) = log.keep_verdict(&verdict(&verified, &self.known_gap)).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the verdict is not kept for the page");
                }
                match verified {
                    Ok(found) => split(Ok(Found::new(json!(found), told_of_batches(&found), &found.log, &self.known_gap))),
                    Err(VerifyError::Fault(fault)) => split(Err(fault)),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        drop(progress);
        let good = found.as_ref().is_some_and(|found| found.unknown.is_empty());
        output::line(&if self.on.format.json {
            document(found.as_ref(), fault.as_ref()).to_string()
        } else {
            text(found, fault.as_ref())
        })?;
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A log without fault.
struct Found {
    document: Value,
    text: String,
    /// The gaps nobody said they know of.
    unknown: Vec<Gap>,
}

impl Found {
    fn new(document: Value, text: String, log: &Summary, known: &[Digest]) -> Self {
        Self { document, text, unknown: unknown(log, known) }
    }
}

/// The gaps nobody said they know of.
fn unknown(log: &Summary, known: &[Digest]) -> Vec<Gap> {
    log.gaps.iter().filter(|gap| !known.contains(&gap.digest)).copied().collect()
}

fn verdict(verified: &Result<Verified, VerifyError>, known: &[Digest]) -> Verdict {
    let (entries, wrong) = match verified {
        Ok(found) if unknown(&found.log, known).is_empty() => (found.log.entries, None),
        Ok(found) => (found.log.entries, Some("it was damaged and continued, and nobody said they know of it".to_owned())),
        Err(error) => (0, Some(error.to_string())),
    };
    Verdict { at: clock::now(), entries, wrong }
}

fn split(result: Result<Found, Fault>) -> (Option<Found>, Option<Fault>) {
    match result {
        Ok(found) => (Some(found), None),
        Err(fault) => (None, Some(fault)),
    }
}

/// Verifies the lines of an export.
fn lines(input: &Path, keys: Vec<PublicKey>) -> anyhow::Result<Result<Summary, Fault>> {
    let reading = || format!("reading {}", input.display());
    let from: Box<dyn io::Read> =
        if input == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(input).with_context(reading)?) };
    let mut verifier = Verifier::new(keys);
    for line in BufReader::new(from).lines() {
        if let Err(fault) = verifier.line(&line.with_context(reading)?) {
            return Ok(Err(fault));
        }
    }
    Ok(verifier.finish())
}

fn document(found: Option<&Found>, fault: Option<&Fault>) -> Value {
    let mut document = json!({"verified": found.is_some_and(|found| found.unknown.is_empty())});
    if let Some(found) = found {
        document["found"] = found.document.clone();
        document["unknown_gaps"] = json!(found.unknown);
    }
    if let Some(Fault { at, what }) = fault {
        let (kind, number) = match at {
            FaultAt::Entry(number) => ("entry", number),
            FaultAt::Checkpoint(number) => ("checkpoint", number),
        };
        document["first_bad"] = json!({kind: number, "what": what});
    }
    document
}

fn text(found: Option<Found>, fault: Option<&Fault>) -> String {
    match fault {
        Some(fault) => format!("ALTERED OR DAMAGED\nfirst bad is {fault}"),
        None => found.map_or_else(String::new, |Found { text, unknown, .. }| {
            if unknown.is_empty() {
                text
            } else {
                format!("DAMAGED, AND CONTINUED: somebody must know of each gap (--known-gap DIGEST)\n{text}")
            }
        }),
    }
}

fn told_of(gap: &Gap) -> String {
    let Gap { after, continued, digest, signed } = gap;
    let signed = if *signed == 0 { String::new() } else { format!("; checkpoints stood for {signed} of what was lost") };
    format!("\ndamaged behind entry {after}, continued at entry {continued}{signed}\n  gap {digest}")
}

fn told(log: &Summary) -> String {
    let Summary { entries, head, checkpoints, covered, gaps, .. } = log;
    let (open, gaps) = (entries - covered, gaps.iter().map(told_of).collect::<String>());
    let behind =
        if open == 0 { String::new() } else { format!("; {open} entries behind the newest checkpoint could be cut off unnoticed") };
    format!("verified {entries} entries with {checkpoints} checkpoints, the newest over {covered}{behind}\nhead {head}{gaps}")
}

fn told_of_batches(verified: &Verified) -> String {
    let Verified { log, batches, batches_gone, batches_gone_before, commands, commands_gone, gone_unexplained, unsealed } = verified;
    let unexplained = match gone_unexplained {
        0 => String::new(),
        count => format!("\n{count} of what has gone went without an entry that says so, or with one that was lost"),
    };
    let unsealed = if *unsealed { "\nthe feed goes on behind what is sealed; a running server seals it" } else { "" };
    format!(
        "{}\n{batches} batches are as they were sealed; {batches_gone} have gone since by retention or removals, {batches_gone_before} before, \
         and their digests are kept\n{commands} entries about commands fit what is stored; {commands_gone} are about commands of removed \
         agents{unexplained}{unsealed}",
        told(log)
    )
}

impl Export {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let log = AuditLog::new(database::existing(&self.database.database).await?);
        let written = if self.output == Path::new("-") {
            let mut out = BufWriter::new(io::stdout().lock());
            let written = write(&log, &mut out).await?;
            out.flush().context("writing to standard output")?;
            written
        } else {
            let mut file = WholeFile::create(&self.output)?;
            let written = write(&log, &mut file).await?;
            file.finish()?;
            written
        };
        output::aside(&format!("exported {written} lines"));
        Ok(ExitCode::SUCCESS)
    }
}

async fn write(log: &AuditLog, out: &mut impl Write) -> anyhow::Result<u64> {
    let progress = Progress::counting("exporting");
    let (mut lines, mut written) = (log.lines(), 0);
    loop {
        let some = lines.next().await?;
        if some.is_empty() {
            return Ok(written);
        }
        for line in some {
            writeln!(out, "{line}").context("writing a line")?;
            written += 1;
        }
        progress.tell(&format!("{written} lines"));
    }
}

impl Continue {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.on.database.database).await?;
        let (log, by) = (AuditLog::new(fleet), By::CommandLine { name: self.name });
        let Some(Link { entry, digest }) = log.continue_behind_damage(by, &self.reason, clock::now()).await? else {
            anyhow::bail!(
                "the end of the audit log can be read: servers go on by themselves, and audit verify says what is damaged before it"
            );
        };
        let key = self.on.key.path(&self.on.database)?.map(|path| AuditKey::read(&path)).transpose()?.flatten();
        if let Some(key) = &key {
            log.checkpoint(key).await?;
        }
        let after = entry.damage.map_or(0, |damage| damage.after);
        output::line(&if self.on.format.json {
            json!({"after": after, "continued": entry.number, "gap": digest, "signed": key.is_some()}).to_string()
        } else {
            let signed = if key.is_some() {
                "a checkpoint is signed over it"
            } else {
                "a server signs it when it starts: there is no audit key here"
            };
            format!(
                "the log goes on at entry {} behind entry {after}; {signed}\nwhat could not be read is kept in the database\n\
                 from now on: audit verify --known-gap {digest}",
                entry.number
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Show {
    async fn run(self) -> anyhow::Result<ExitCode> {
        database::name(&self.on.database.database)?;
        let path = self.on.key.path(&self.on.database)?.context("a fleet in memory has no key file")?;
        let key =
            AuditKey::read(&path)?.with_context(|| format!("no audit key at {}: a server makes it when it starts", path.display()))?;
        let log = AuditLog::new(database::existing(&self.on.database.database).await?);
        let (place, newest) = (log.place().await?, log.newest_checkpoint().await?);
        let listed = listed(&log, self.entries, self.before, AuditFilter { kind: self.kind, by: self.by }).await?;
        let public_key = STANDARD.encode(key.public_key().to_bytes());
        let checkpoint = newest.as_ref().map(|newest| &newest.checkpoint);
        output::line(&if self.on.format.json {
            let mut document = json!({"key_id": key.id(), "fingerprint": key.fingerprint(), "public_key": public_key,
                "entries": place.number, "head": place.digest, "checkpoint": checkpoint});
            if let Some((links, before)) = &listed {
                document["listed"] = json!(links);
                document["next_before"] = json!(before);
            }
            document.to_string()
        } else {
            let newest = newest.as_ref().map_or_else(
                || "no checkpoint yet".to_owned(),
                |newest| {
                    let (said, by) = (&newest.checkpoint, signing::fingerprint_of(&newest.key_id));
                    format!("checkpoint {} of {} over {} entries, signed by {by}\n  {}", said.number, said.at, said.size, said.digest())
                },
            );
            let (number, digest, fingerprint) = (place.number, place.digest, key.fingerprint());
            let listed = listed.as_ref().map_or_else(String::new, told_of_entries);
            format!("{number} entries, head {digest}\n{newest}\nkey {fingerprint}\n  {public_key}{listed}")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The entries that are asked for, and below which number to go on; none when none are.
async fn listed(log: &AuditLog, entries: Option<u32>, before: Option<u64>, filter: AuditFilter) -> anyhow::Result<Option<Listed>> {
    if entries.is_none() && before.is_none() && filter == AuditFilter::default() {
        return Ok(None);
    }
    let limit = entries.unwrap_or(ENTRIES_SHOWN) as usize;
    let (mut links, mut before) = (Vec::new(), before);
    loop {
        let (more, next) = log.backwards(before, limit - links.len(), |entry| filter.passes(entry)).await?;
        links.extend(more);
        if links.len() == limit || next.is_none() {
            return Ok(Some((links, next)));
        }
        before = next;
    }
}

/// Entries, newest first, and below which number to go on.
type Listed = (Vec<Link>, Option<u64>);

/// Entries that are shown where nobody says how many.
const ENTRIES_SHOWN: u32 = 20;

fn told_of_entries((links, before): &Listed) -> String {
    let line = |Link { entry, .. }: &Link| {
        let facts = entry.facts.iter().map(|(name, value)| format!("{name} {value}"));
        let batch = entry.batch.as_ref().map(|batch| format!("position {} of agent {}", batch.position, batch.agent));
        let told = batch.into_iter().chain(facts).collect::<Vec<_>>().join(", ");
        format!("\n{}  {}  {}  {}  {told}", entry.number, entry.at, entry.kind, entry.by)
    };
    let more = before.map_or_else(String::new, |before| format!("\nolder ones: --before {before}"));
    format!("\n{}{more}", links.iter().map(line).collect::<String>())
}

/// Reads a public key in base64.
fn public_key(written: &str) -> Result<PublicKey, String> {
    let bytes = STANDARD.decode(written).map_err(|error| error.to_string())?;
    let bytes = bytes.try_into().map_err(|bytes: Vec<u8>| format!("{} bytes, and a key has 32", bytes.len()))?;
    PublicKey::new(&bytes).map_err(|error| error.to_string())
}
