//! One line a goal: `goal | ours | raw limit | naive | ratio | demand | stretch | ok or short`.

/// What a goal bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {}", with_unit(bound, unit)),
            Self::AtMost(bound) => format!("<= {}", with_unit(bound, unit)),
        }
    }
}

/// A value with as many digits as mean anything.
pub(crate) fn with_unit(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

/// One goal with what was measured. What does not apply stays empty.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) goal: String,
    pub(crate) ours: String,
    pub(crate) raw: String,
    pub(crate) naive: String,
    pub(crate) ratio: String,
}

/// Prints lines and counts those that fall short.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    met: u32,
    short: Vec<String>,
}

impl Goals {
    /// Prints the names of the columns.
    pub(crate) fn head(&self) {
        print("goal | ours | raw limit | naive | ratio | demand | stretch | ok or short");
    }

    /// Prints `line`, whose bounded value is `value`, in `unit`.
    pub(crate) fn line(&mut self, line: &Line, value: f64, unit: &str, demand: Bound, stretch: Option<Bound>) {
        let Line { goal, ours, raw, naive, ratio } = line;
        let verdict = match (demand.holds(value), stretch.is_some_and(|stretch| stretch.holds(value))) {
            (true, true) => "ok, stretch",
            (true, false) => "ok",
            (false, _) => "short",
        };
        if demand.holds(value) {
            self.met += 1;
        } else {
            self.short.push(goal.clone());
        }
        let stretch = stretch.map_or(String::new(), |stretch| stretch.text(unit));
        print(&format!("{goal} | {ours} | {raw} | {naive} | {ratio} | {} | {stretch} | {verdict}", demand.text(unit)));
    }

    /// A line whose bounded value is what is ours.
    pub(crate) fn plain(&mut self, goal: &str, value: f64, unit: &str, demand: Bound, stretch: Option<Bound>) {
        let line = Line { goal: goal.to_owned(), ours: with_unit(value, unit), ..Line::default() };
        self.line(&line, value, unit, demand, stretch);
    }

    /// Prints how many goals are met and which are not.
    pub(crate) fn summary(&self) {
        print(&format!("{} of {} goals met", self.met, self.met as usize + self.short.len()));
        for goal in &self.short {
            print(&format!("short: {goal}"));
        }
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}
