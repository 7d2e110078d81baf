//! The one place where the commands write to standard output and standard error.

use std::io::{self, Write as _};

/// Writes `text` and a line end to standard output.
///
/// # Errors
/// When it cannot be written. A reader that went away is not an error: there is nobody left to tell.
pub fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes `text` as it is to standard error.
#[cfg(feature = "agent")]
pub fn show(text: &str) {
    // With standard error gone there is nobody left to tell.
    drop(write!(io::stderr().lock(), "{text}"));
}

/// Writes `text` and a line end to standard error. Whether logs are wanted plays no part.
pub fn note(text: &str) {
    // With standard error gone there is nobody left to tell.
    drop(writeln!(io::stderr().lock(), "{text}"));
}
