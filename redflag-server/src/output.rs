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

/// Why a command failed, on standard error; where even that is closed, the exit code has to do.
pub(crate) fn complain(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}
