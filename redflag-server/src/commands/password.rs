//! A new password, asked for at the terminal without showing it, or read as one line where nobody can be asked. Never an argument:
//! those stand in the list of processes and in the history of shells.

use crate::output;
use anyhow::{Context as _, bail};
use redflag_server::access::{AccountName, PASSWORD_BYTES_MAX, Password};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

/// Reads a password for the account `name`; at the terminal twice.
///
/// # Errors
/// When it is not good enough, the two differ, or it cannot be read.
pub(super) fn read(name: &AccountName) -> anyhow::Result<Password> {
    let written = if io::stdin().is_terminal() { asked(name)? } else { line()? };
    Password::parse(name, &written).map_err(|why| anyhow::anyhow!("{why}"))
}

fn asked(name: &AccountName) -> anyhow::Result<String> {
    let unseen = Unseen::begin()?;
    output::ask(&format!("New password of {name}: "))?;
    let first = unseen.line()?;
    output::ask("\nThe same again: ")?;
    let second = unseen.line()?;
    output::aside("");
    if first != second {
        bail!("the two are not the same");
    }
    Ok(first)
}

/// One line of standard input, without its end.
fn line() -> anyhow::Result<String> {
    let mut written = String::new();
    // One byte over the limit is enough to be refused.
    io::stdin().lock().take(PASSWORD_BYTES_MAX as u64 + 2).read_line(&mut written).context("reading the password")?;
    Ok(written.trim_end_matches(['\n', '\r']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped. What would end or stop this process ends the line instead, or does
/// nothing: a process that is gone leaves its terminal as it is.
struct Unseen {
    before: Termios,
    interrupt: u8,
}

impl Unseen {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("asking the terminal how it is set")?;
        let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen).context("hiding what is typed")?;
        Ok(Self { before, interrupt })
    }

    /// One line, without its end.
    fn line(&self) -> anyhow::Result<String> {
        let mut written = Vec::new();
        // One byte over the limit is enough to be refused.
        for byte in io::stdin().lock().bytes().take(PASSWORD_BYTES_MAX + 1) {
            match byte.context("reading the password")? {
                b'\n' => break,
                // 0 means that no key interrupts.
                byte if byte == self.interrupt && byte != 0 => bail!("interrupted"),
                byte => written.push(byte),
            }
        }
        String::from_utf8(written).context("reading the password")
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone needs no setting back.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).ok();
    }
}
