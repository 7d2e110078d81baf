//! The trend as a chart: one column a day, its parts by severity, drawn as rectangles that need no script; and the same numbers as rows.

use super::{text::counted, update_row::updates_href};
use redflag_core::{
    query::{TrendPoint, TrendQuery, UpdateFilter},
    store::{Store, StoreError},
    time::{Day, Timestamp},
    words::Severity,
};

/// Days of the chart.
const DAYS: u32 = 30;
/// Height of the chart in its own units; a column is as wide as [`STEP`] less the gap.
const HEIGHT: u64 = 1_000;
const STEP: u64 = 10;

/// Open updates of the last days.
#[derive(Clone, Debug)]
pub(crate) struct Trend {
    /// What the chart says, in a sentence.
    pub(crate) summary: String,
    /// The count at the top of the chart.
    pub(crate) top: u64,
    /// Its width in its own units.
    pub(crate) width: u64,
    pub(crate) columns: Vec<Column>,
    /// Newest first.
    pub(crate) rows: Vec<Row>,
    pub(crate) first: Day,
}

/// One day in the chart.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) title: String,
    pub(crate) x: u64,
    pub(crate) parts: Vec<Part>,
}

/// One severity of one day, measured from the top.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) word: Severity,
    pub(crate) y: u64,
    pub(crate) height: u64,
}

/// One day in the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) day: Day,
    pub(crate) cells: Vec<Cell>,
}

/// One number of one day; of today it leads to the list it counts.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) href: Option<String>,
}

impl Trend {
    /// The last days, up to `now`.
    pub(super) async fn load(store: &dyn Store, now: Timestamp) -> Result<Self, StoreError> {
        let query = TrendQuery::new(None, Day::of(now), DAYS)?;
        Ok(Self::of(query.first(), &store.trend(&query).await?))
    }

    fn of(first: Day, points: &[TrendPoint]) -> Self {
        let top = scale(points.iter().map(total).max().unwrap_or(0));
        let (before, today) = (points.first().map_or(0, total), points.last().map_or(0, total));
        Self {
            summary: format!("{} open now, {before} {DAYS} days ago", counted(today, "update", "updates")),
            top,
            width: points.len() as u64 * STEP,
            columns: points.iter().zip((0..).step_by(STEP as usize)).map(|(point, x)| column(point, x, top)).collect(),
            rows: points.iter().rev().enumerate().map(|(age, point)| row(point, age == 0)).collect(),
            first,
        }
    }
}

fn total(point: &TrendPoint) -> u64 {
    point.open.values().sum()
}

fn count(point: &TrendPoint, word: Severity) -> u64 {
    point.open.get(&word).copied().unwrap_or(0)
}

/// The next round number: 1, 2 or 5 with zeros.
fn scale(most: u64) -> u64 {
    let mut top = 10;
    while top < most {
        top = [top * 2, top * 5, top * 10].into_iter().find(|round| *round >= most).unwrap_or(top * 10);
    }
    top
}

/// The parts stand on each other, the most serious at the bottom; each ends where its rounded sum does, so that no rounding adds up.
fn column(point: &TrendPoint, x: u64, top: u64) -> Column {
    let mut below = 0;
    let mut parts = Vec::new();
    for word in Severity::ALL {
        let from = below * HEIGHT / top;
        below += count(point, *word);
        let height = below * HEIGHT / top - from;
        if height > 0 {
            parts.push(Part { word: *word, y: HEIGHT - from - height, height });
        }
    }
    let words: Vec<_> = point.open.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let title = format!("{}: {} open{}{}", point.day, total(point), if words.is_empty() { "" } else { ", of them " }, words.join(", "));
    Column { title, x, parts }
}

fn row(point: &TrendPoint, today: bool) -> Row {
    let href = |severity| today.then(|| updates_href(UpdateFilter { severity, ..UpdateFilter::default() }));
    let whole = Cell { name: "trend-open".to_owned(), count: total(point), href: href(None) };
    let part = |word: &Severity| Cell { name: format!("trend-{word}"), count: count(point, *word), href: href(Some(*word)) };
    Row { day: point.day, cells: std::iter::once(whole).chain(Severity::ALL.iter().map(part)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn point(open: &[(Severity, u64)]) -> TrendPoint {
        TrendPoint { day: Day::default(), open: open.iter().copied().collect::<BTreeMap<_, _>>() }
    }

    #[test]
    fn the_top_of_the_chart_is_round_and_holds_everything() {
        let tops: Vec<_> = [0, 1, 10, 11, 20, 21, 50, 51, 100, 3_772, 5_001, 999_999].map(scale).into();
        assert_eq!(tops, [10, 10, 10, 20, 20, 50, 50, 100, 100, 5_000, 10_000, 1_000_000]);
    }

    #[test]
    fn parts_stand_on_each_other_without_gap_and_end_at_their_sum() {
        let open = [(Severity::Critical, 1), (Severity::Moderate, 333), (Severity::Low, 333), (Severity::Unknown, 333)];
        let column = column(&point(&open), 0, 1_000);
        let mut floor = HEIGHT;
        for part in &column.parts {
            assert_eq!(part.y + part.height, floor, "{column:?}");
            floor = part.y;
        }
        assert_eq!(floor, 0, "a thousand of a thousand fills the column");
        assert_eq!(column.title, "1970-01-01: 1000 open, of them 1 critical, 333 moderate, 333 low, 333 unknown");
    }

    #[test]
    fn only_today_leads_to_lists() {
        let trend = Trend::of(Day::default(), &[point(&[]), point(&[(Severity::Low, 2)])]);
        assert!(trend.rows[0].cells.iter().all(|cell| cell.href.is_some()));
        assert!(trend.rows[1].cells.iter().all(|cell| cell.href.is_none()));
        assert_eq!(trend.rows[0].cells[0].count, 2);
        assert_eq!(trend.columns[0].parts.len(), 0);
    }
}
