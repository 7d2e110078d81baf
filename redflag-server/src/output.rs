//! The one place where the binary writes to its standard streams; everything else is logged.

use anyhow::Context as _;
use std::io::{self, Write as _};

/// One line of a result, on standard output.
///
/// # Errors
/// When nobody reads it any more.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}").context("writing to standard output")
}

/// One line beside a result that has standard output for itself, or why a command failed, on standard error; where even that is closed, the exit code has to do.
pub(crate) fn aside(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// A question, on standard error.
///
/// # Errors
/// When nobody can read it.
pub(crate) fn ask(question: &str) -> anyhow::Result<()> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question}").and_then(|()| stderr.flush()).context("asking")
}
