//! Progress of long work: a line that changes, on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

/// The line; it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of work whose end is not known.
    pub(crate) fn counting(what: &'static str) -> Self {
        Self::new(None, what, "{spinner} {prefix} {elapsed} {msg}")
    }

    /// Of `count` pieces of work.
    pub(crate) fn of(what: &'static str, count: usize) -> Self {
        Self::new(Some(count as u64), what, "{spinner} {prefix} {wide_bar} {pos}/{len} {msg}")
    }

    fn new(length: Option<u64>, what: &'static str, template: &str) -> Self {
        const TICK: Duration = Duration::from_millis(120);
        let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target).with_prefix(what);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Says more.
    pub(crate) fn tell(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// One piece is done.
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
    }

    /// Runs what writes to the terminal beside the line.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
