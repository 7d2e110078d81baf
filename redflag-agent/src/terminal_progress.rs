//! Progress of a command, drawn on standard error.

use crate::progress::{Progress, Stage};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

/// Progress as a line that changes on a terminal, and nothing where standard error is no terminal.
#[derive(Debug)]
pub struct TerminalProgress {
    bar: ProgressBar,
}

impl TerminalProgress {
    /// A line that shows what is being done.
    #[must_use]
    pub fn new() -> Self {
        let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }
}

impl Default for TerminalProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for TerminalProgress {
    fn stage(&mut self, stage: &Stage) {
        let counted = |done: u64, of: u64, what: String| {
            if self.bar.length() != Some(of) {
                let style =
                    ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar());
                self.bar.set_style(style);
                self.bar.set_length(of);
            }
            self.bar.set_position(done);
            self.bar.set_message(what);
        };
        match stage {
            Stage::Scanning { manager } => self.bar.set_message(format!("scanning {manager} …")),
            Stage::Scanned { manager, result, updates } => self.bar.println(format!("{manager}: {result}, {updates} updates")),
            Stage::Kept { .. } => {}
            Stage::Sending { bytes, behind: 0, .. } => self.bar.set_message(format!("sending {bytes} bytes …")),
            Stage::Sending { bytes, behind, .. } => self.bar.set_message(format!("sending {bytes} bytes, {behind} more reports wait …")),
            Stage::Retrying { error, after } => self.bar.println(format!("{error}; sending again in {:.1} s", after.as_secs_f64())),
            Stage::Delivered { .. } => self.bar.set_message("delivered"),
            Stage::Enrolled { agents, of } => counted(*agents, *of, "enrolling".to_owned()),
            Stage::Reported { agents, of, round } => counted(*agents, *of, format!("round {round}, reporting")),
        }
    }
}
