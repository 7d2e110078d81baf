//! The command line: what it offers, and how a failure ends it.

use crate::commands::{
    account, api_token, audit, backup, command, decide, enrolment_token, export, halt, import, list, migrate_store, prune, quarantine,
    rebuild, remove_agent, serve, sign, sign_in_link, signer, signing_key,
};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  redflag-server serve
      Serves http://127.0.0.1:8080 from the SQLite file redflag.db and, the first time, prints a sign-in link.
  redflag-server sign-in-link --name ada --role approver
      Prints a link that signs ada in once, within 15 minutes. The server may be running.
  redflag-server account password ada
      Asks for a password of ada, who signs in with it from then on.
  redflag-server enrolment-token --seats 20 --expires 8h
      Prints a token with which 20 agents can enrol.
  redflag-server serve --database postgres://redflag:PASSWORD@db.example/redflag
  redflag-server serve --listen 0.0.0.0:8443 --tls-certificate chain.pem --tls-key key.pem --public-url https://redflag.example:8443
      Serves TLS.
  redflag-server serve --listen 0.0.0.0:8080 --behind-tls-proxy --trusted-proxy 10.0.0.5 --public-url https://redflag.example
      Serves behind a proxy that ends TLS.
  redflag-server migrate-store --from redflag.db --to postgres://redflag:PASSWORD@db.example/redflag
      Moves the fleet to PostgreSQL.

Exit codes: 0 done, 1 failed (standard error says why; `rebuild --check`: something differs), 2 wrong usage.
Logs go to standard error; REDFLAG_LOG sets their level (info if absent).";

/// Server of RedFlag: which package updates wait on every machine, their history, and decisions about them.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the pages until SIGTERM or Ctrl-C
    #[command(after_help = "\
Examples:
  redflag-server serve
  redflag-server serve --database /var/lib/redflag/redflag.db --listen 127.0.0.1:9000
  redflag-server serve --database postgres://redflag:PASSWORD@db.example/redflag
  redflag-server serve --listen 0.0.0.0:8443 --tls-certificate chain.pem --tls-key key.pem --public-url https://redflag.example:8443
  redflag-server serve --listen 0.0.0.0:8080 --behind-tls-proxy --trusted-proxy 10.0.0.5 --public-url https://redflag.example

A new certificate is served within a minute after its files were replaced, or at SIGHUP; one that cannot be used is logged, and the one \
before stays.")]
    Serve(serve::Serve),
    /// Print a link that signs an operator in, once, within 15 minutes
    #[command(after_help = "\
Examples:
  redflag-server sign-in-link
  redflag-server sign-in-link --name ada --role approver

Give the database that `serve` was given. The server may be running.")]
    SignInLink(sign_in_link::SignInLink),
    /// List, make and change the accounts of operators
    #[command(after_help = "\
Examples:
  redflag-server account list
  redflag-server account add ada --role approver
  redflag-server account role ada admin
  redflag-server account disable ada
  redflag-server account password ada
  redflag-server account password ada < FILE
  redflag-server account remove-second-factor ada

Accounts are never deleted, because decisions name them. What an account had (sessions, links, API tokens) ends at once when its role, \
password or standing changes. The server may be running.")]
    Account(account::Accounts),
    /// Make, list and revoke the API tokens of accounts
    #[command(after_help = "\
Examples:
  redflag-server api-token create --account ci --scope read --scope decide --label 'patch pipeline' --expires 30d
  redflag-server api-token list
  redflag-server api-token revoke 3f0c9a17be52d804

A token is sent as `authorization: Bearer TOKEN`. It ends with its account's password and role; for an automation make an account of its \
own, which needs no password. The server may be running.")]
    ApiToken(api_token::ApiTokens),
    /// Print a token with which agents enrol
    #[command(after_help = "\
Examples:
  redflag-server enrolment-token
  redflag-server enrolment-token --seats 20 --expires 8h --label 'web servers'

Then, on each host: redflag-agent enrol --server URL --token TOKEN")]
    EnrolmentToken(enrolment_token::EnrolmentToken),
    /// Write the whole fleet as JSON Lines, for a move, an archive or a look
    #[command(after_help = "\
Examples:
  redflag-server export --output fleet.jsonl
  redflag-server export --database postgres://redflag:PASSWORD@db.example/redflag | zstd > fleet.jsonl.zst

Stop the server first: an export that finds an agent changed under it fails. FILE gets its name only when it is complete and on disk, and \
an existing file is never replaced; interrupted or killed, nothing has that name. The last line counts the lines before it and bears \
their SHA-256. The file is as confidential as the database. With --output - the summary goes to standard error.")]
    Export(export::Export),
    /// Read a fleet from JSON Lines into an empty database
    #[command(after_help = "\
Examples:
  redflag-server import --database new.db --input fleet.jsonl
  zstd -dc fleet.jsonl.zst | redflag-server import --database postgres://redflag:PASSWORD@db.example/redflag

The database must be empty or not there yet. When the import fails or is interrupted, a SQLite file it made is deleted again; another \
database is left with a part of the fleet, the next import refuses it, and the error says how to empty it.")]
    Import(import::Import),
    /// Move the whole fleet to another database and show that both hold the same
    #[command(after_help = "\
Examples:
  redflag-server migrate-store --from redflag.db --to postgres://redflag:PASSWORD@db.example/redflag
  redflag-server migrate-store --from postgres://redflag:PASSWORD@db.example/redflag --to redflag.db

Stop the server first, and start it with the new --database afterwards. The fleet is exported from one and imported into the other; then \
the copy is exported once more, and the digests of both exports must be equal. The source is only read. When the move fails or is \
interrupted, a SQLite file it made is deleted again; another database is left with a part of the fleet, which the next try refuses.")]
    MigrateStore(migrate_store::MigrateStore),
    /// Compare states, history and counters with the log they follow from, and mend what differs
    #[command(after_help = "\
Examples:
  redflag-server rebuild --check
  redflag-server rebuild
  redflag-server rebuild --agent 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3

--check exits with 1 when something differs, and prints each difference. Each agent is mended in one transaction of its own: interrupted, \
some are mended and some are not, and none is half. The server may be running, except that --check over all agents then may tell of totals \
that moved while they were added up.")]
    Rebuild(rebuild::Rebuild),
    /// Take the start of each agent's log: what was received before a window of days
    #[command(after_help = "\
Examples:
  redflag-server prune --older-than 400d --dry-run
  redflag-server prune --older-than 400d
  redflag-server prune --older-than 90d --agent 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3

States, counts, version history and the feed's positions and digests stay. What goes are batches, events, rejections and reports, and with \
them two promises: a batch, event or report id from before the window is not recognised any more, so submitting it again has an effect \
again; and states before the window cannot be looked up. Interrupted, what went has gone, and the next run goes on. The server may be \
running.")]
    Prune(prune::Prune),
    /// Remove an agent with everything stored of it, for good
    #[command(after_help = "\
Examples:
  redflag-server remove-agent 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3 --reason 'scrapped in June'
  redflag-server remove-agent 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3 --reason 'scrapped in June' --name ada --yes

Asks first; where nobody can be asked, --yes is needed. It is one transaction: interrupted, all of the agent is there or none. The same \
again answers the same. A host that comes back has to be enrolled again, and is a new agent. The server may be running.")]
    RemoveAgent(remove_agent::RemoveAgent),
    /// Approve, ignore or reopen every update that matches
    #[command(after_help = "\
Examples:
  redflag-server decide approve --manager apt --severity critical --dry-run
  redflag-server decide approve --manager apt --severity critical --comment 'patch day' --name ada
  redflag-server decide ignore --search firefox --scope package --until 2027-01-31T00:00:00Z --yes --json

Counts first, then asks; where nobody can be asked, --yes is needed. What changes after it was counted is skipped, never decided. Interrupted, \
a part is decided; the same arguments with the --operation and --as-of it tells go on from there, without a second effect. Exits with 1 when \
a decision failed. The server may be running.")]
    Decide(decide::Decide),
    /// List the commands of agents, newest first
    #[command(after_help = "\
Examples:
  redflag-server commands
  redflag-server commands --state open --agent 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3
  redflag-server commands --state failed --limit 1000 --json

A line ends with the ids of agent and command, as `command` takes them. The server may be running.")]
    Commands(list::Commands),
    /// Show a command, call it off, ask for it again, or accept its plan
    #[command(after_help = "\
Examples:
  redflag-server command show 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4
  redflag-server command cancel AGENT ID --reason 'not during the day' --name ada
  redflag-server command retry AGENT ID --name ada
  redflag-server command confirm AGENT ID --plan-digest DIGEST --comment 'the new library is fine' --name ada

`show` prints the digest of a plan and, with ! before it, everything in it that was not approved. A running server hands out what is new when \
the agent asks again, at most 50 seconds later. Exits with 1 when the step is refused.")]
    Command(command::Command),
    /// Halt all commands of all agents, lift the halt, or tell whether they are halted
    #[command(after_help = "\
Examples:
  redflag-server halt
  redflag-server halt --reason 'a mirror serves bad packages' --name ada
  redflag-server halt --lift --name ada

While commands are halted, nothing is handed out and nothing that was handed out may be begun; what runs ends by itself. Every page shows the \
reason. A second halt leaves the first as it is. The server may be running.")]
    Halt(halt::Halting),
    /// Verify the audit log, write it out, or show its newest checkpoint and its key
    #[command(after_help = "\
Examples:
  redflag-server audit verify
  redflag-server audit verify --database postgres://redflag:PASSWORD@db.example/redflag --audit-key redflag.audit-key --json
  redflag-server audit export --output audit.jsonl
  redflag-server audit verify --input audit.jsonl --public-key 'KEY THAT audit show PRINTS'
  redflag-server audit show

`verify` only reads. It exits with 1 when something was altered or damaged, and names the first bad entry. Entries behind the newest checkpoint \
can be cut off unnoticed, and whoever holds the database and the key can write another log: agents that kept a checkpoint tell of that. The \
server may be running.")]
    Audit(audit::Audit),
    /// Show the key that signs commands, or replace it in two steps
    #[command(after_help = "\
Examples:
  redflag-server signing-key show
  redflag-server signing-key prepare
  redflag-server signing-key rotate

Each prints what to do next. To replace the key and lose no command: prepare, run the printed commands on every host (its agent pins the \
key beforehand, its policy names it), rotate, restart the server, then take the old lines out of the policies. A host refuses what a key \
signed that its agent has not pinned or its policy does not name.")]
    SigningKey(signing_key::SigningKeys),
    /// List the agents in quarantine, or let one out
    #[command(after_help = "\
Examples:
  redflag-server quarantine
  redflag-server quarantine --release 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3 --name ada

An agent comes into quarantine when two hosts sign with its key: nothing is taken from it and nothing handed out to it. Let it out once only \
one host has the key, or remove it (remove-agent) and enrol both hosts anew. The server may be running.")]
    Quarantine(quarantine::Quarantined),
    /// Make and show a person's key, and keep the list of people's keys
    #[command(after_help = "\
Examples:
  redflag-server signer new --person ada
  redflag-server signer show --person ada
  redflag-server signer add ada 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= --label laptop
  redflag-server signer list
  redflag-server signer revoke KEY-ID --reason 'the laptop is gone'

new and show work on the machine of the person who signs: the key stays there, in a file that nobody else may read, and has no passphrase of \
its own; keep it on an encrypted disk. list, add and revoke work on the database; the server may be running. What is revoked is revoked for \
good. A host obeys a key as long as its own policy names it.")]
    Signer(signer::Signers),
    /// Read what waits for signatures at a server, and sign it with the key on this machine
    #[command(after_help = "\
Examples:
  redflag-server sign --server https://redflag.example --token-file ~/.config/redflag/token
  redflag-server sign --server https://redflag.example --agent AGENT --command ID
  redflag-server sign --server https://redflag.example --all
  redflag-server sign --server https://redflag.example --all --yes --json

Shows each command as the bytes say that are signed, with every hidden character named, and asks. The key stays on this machine; the \
signature is sent. What the server says beside the bytes is not believed. The token is one of the account whose key it is, with the scopes \
read and command, in --token-file or REDFLAG_TOKEN. Exits with 1 when something could not be signed.")]
    Sign(sign::Sign),
    /// Copy a SQLite fleet to a new file while it is served
    #[command(after_help = "\
Examples:
  redflag-server backup fleet-2026-11-25.db
  redflag-server backup --database /var/lib/redflag/redflag.db /backup/fleet.db

The copy is the fleet as it was when the backup began; the server may be running. An existing file is never replaced. Killed or interrupted, \
nothing has FILE's name; a directory .redflag-….partial may be left beside it, which can be deleted. To restore, stop the server, put the \
copy in the place of the database, delete its -wal and -shm files, and start the server. PostgreSQL makes its own backups: see \
docs/backup.md.")]
    Backup(backup::Backup),
}

/// The exit code of wrong usage, which clap has too.
const WRONG_USAGE: u8 = 2;

/// Usage that only shows to be wrong when a command runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongUsage(pub(crate) &'static str);

/// Runs the command.
///
/// # Errors
/// Why it failed, with its causes.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Serve(command) => command.run().await,
        Command::SignInLink(command) => command.run().await,
        Command::Account(command) => command.run().await,
        Command::ApiToken(command) => command.run().await,
        Command::EnrolmentToken(command) => command.run().await,
        Command::Export(command) => command.run().await,
        Command::Import(command) => command.run().await,
        Command::MigrateStore(command) => command.run().await,
        Command::Rebuild(command) => command.run().await,
        Command::Prune(command) => command.run().await,
        Command::RemoveAgent(command) => command.run().await,
        Command::Backup(command) => command.run().await,
        Command::Decide(command) => command.run().await,
        Command::Commands(command) => command.run().await,
        Command::Command(command) => command.run().await,
        Command::Halt(command) => command.run().await,
        Command::Quarantine(command) => command.run().await,
        Command::Audit(command) => command.run().await,
        Command::SigningKey(command) => command.run(),
        Command::Signer(command) => command.run().await,
        Command::Sign(command) => command.run().await,
    }
}

/// With which code a failure ends the process.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<WrongUsage>() { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Arguments::command().get_subcommands() {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("Examples:\n  redflag-server "), "{}: {examples}", command.get_name());
        }
    }

    #[test]
    fn the_terminal_alone_breaks_the_lines_of_a_paragraph() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let prose = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
            for (line, next) in help.lines().zip(help.lines().skip(1)) {
                assert!(!(prose(line) && prose(next)), "{}: a break after {line:?}", command.get_name());
            }
        }
    }
}
