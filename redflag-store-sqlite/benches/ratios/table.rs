//! The table: one line a goal.

/// One goal of `docs/performance.md` with what was measured.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(crate) goal: String,
    pub(crate) ours: String,
    pub(crate) raw: String,
    pub(crate) naive: String,
    pub(crate) ratio: String,
    pub(crate) demand: String,
    pub(crate) stretch: String,
    /// None where nothing is demanded.
    pub(crate) met: Option<Met>,
}

/// How far a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Met {
    Short,
    Demand,
    Stretch,
}

impl Met {
    /// Of two conditions, which hold or not.
    pub(crate) const fn of(demand: bool, stretch: bool) -> Self {
        match (demand, stretch) {
            (false, _) => Self::Short,
            (true, false) => Self::Demand,
            (true, true) => Self::Stretch,
        }
    }
}

/// Prints the head of the table.
pub(crate) fn head() {
    print("goal | ours | raw limit | naive | ratio | demand | stretch | ok or short");
    print("---|---|---|---|---|---|---|---");
}

impl Row {
    pub(crate) fn print(&self) {
        let Self { goal, ours, raw, naive, ratio, demand, stretch, met } = self;
        let verdict = match met {
            None => "",
            Some(Met::Short) => "**short**",
            Some(Met::Demand) => "ok",
            Some(Met::Stretch) => "ok, stretch",
        };
        print(&format!("{goal} | {ours} | {raw} | {naive} | {ratio} | {demand} | {stretch} | {verdict}"));
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}
