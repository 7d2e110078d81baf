//! What all lists share: page numbers, sortable columns, filter menus and the chips of filters in force.

use super::text::{counted, grouped};
use crate::listing::{self, Listing, Numbered};
use redflag_core::query::PageSize;

/// The page sizes offered.
const SIZES: [u32; 4] = [50, 100, 200, 500];
/// How many page numbers stand on each side of the current one.
const NEIGHBOURS: u32 = 2;

/// The paging of a list.
#[derive(Clone, Debug)]
pub(crate) struct Pager {
    /// Rows of the whole list.
    pub(crate) total: u64,
    /// The current page.
    pub(crate) current: u32,
    /// The last page.
    pub(crate) last_number: u32,
    /// The first page, unless it is the current one; so the three below.
    pub(crate) first: Option<String>,
    /// The page before.
    pub(crate) previous: Option<String>,
    /// The page after.
    pub(crate) next: Option<String>,
    /// The last page.
    pub(crate) last: Option<String>,
    /// The numbered pages shown.
    pub(crate) pages: Vec<PageLink>,
    /// The page sizes.
    pub(crate) sizes: Vec<SizeLink>,
    size: u32,
}

/// A numbered page.
#[derive(Clone, Debug)]
pub(crate) struct PageLink {
    /// Its number.
    pub(crate) number: u64,
    /// Its URL.
    pub(crate) href: String,
    /// Whether it is the current one.
    pub(crate) current: bool,
    /// Whether numbers are left out after it.
    pub(crate) gap_after: bool,
}

/// A page size.
#[derive(Clone, Debug)]
pub(crate) struct SizeLink {
    /// Rows.
    pub(crate) number: u32,
    /// The URL of the first page in this size.
    pub(crate) href: String,
    /// Whether it is in force.
    pub(crate) current: bool,
}

impl Pager {
    /// The paging of `list` at `path`, on page `current` of `total` rows; `resized` is the same list from its first page in
    /// another size.
    pub(crate) fn new<L: Numbered>(
        path: &str,
        list: &L,
        total: u64,
        current: u32,
        size: PageSize,
        resized: impl Fn(PageSize) -> L,
    ) -> Self {
        let last_number = listing::pages(total, size);
        let to = |number: u32| list.at_page(number).href(path);
        let sizes = SIZES.iter().filter_map(|rows| PageSize::new(*rows).ok());
        Self {
            total,
            current,
            last_number,
            first: (current > 1).then(|| to(1)),
            previous: (current > 1).then(|| to((current - 1).min(last_number))),
            next: (current < last_number).then(|| to(current + 1)),
            last: (current != last_number).then(|| to(last_number)),
            pages: numbers(current, last_number)
                .map(|(number, gap_after)| PageLink { number: number.into(), href: to(number), current: number == current, gap_after })
                .collect(),
            sizes: sizes
                .map(|rows| SizeLink { number: rows.get(), href: resized(rows).at_page(1).href(path), current: rows == size })
                .collect(),
            size: size.get(),
        }
    }

    /// Which rows are shown, of how many.
    pub(crate) fn summary(&self) -> String {
        let from = u64::from(self.current - 1) * u64::from(self.size) + 1;
        let to = (from - 1 + u64::from(self.size)).min(self.total);
        if self.total == 0 || from > self.total {
            return counted(self.total, "row", "rows");
        }
        format!("{}–{} of {}", grouped(from), grouped(to), grouped(self.total))
    }
}

/// The paging of a list without page numbers, which is walked from its newest row on.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// Rows shown, of how many.
    pub(crate) summary: String,
    /// The start of the list, unless it is shown.
    pub(crate) newest: Option<String>,
    /// What comes behind the rows shown.
    pub(crate) next: Option<String>,
    /// The page sizes.
    pub(crate) sizes: Vec<SizeLink>,
}

impl Walk {
    /// The paging of a list that shows `shown` of `total` rows; `resized` is where it starts in another size.
    pub(crate) fn new(
        shown: usize,
        total: u64,
        newest: Option<String>,
        next: Option<String>,
        size: PageSize,
        resized: impl Fn(PageSize) -> String,
    ) -> Self {
        let sizes = SIZES.iter().filter_map(|rows| PageSize::new(*rows).ok());
        Self {
            summary: if shown as u64 == total {
                counted(total, "row", "rows")
            } else {
                format!("{} of {}", grouped(shown as u64), counted(total, "row", "rows"))
            },
            newest,
            next,
            sizes: sizes.map(|rows| SizeLink { number: rows.get(), href: resized(rows), current: rows == size }).collect(),
        }
    }
}

/// The first page, the last, and those around the current one; each with whether numbers are left out after it.
fn numbers(current: u32, last: u32) -> impl Iterator<Item = (u32, bool)> {
    let near = current.saturating_sub(NEIGHBOURS).max(1)..=current.saturating_add(NEIGHBOURS).min(last);
    let mut numbers: Vec<u32> = std::iter::once(1).chain(near).chain([last]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let next: Vec<_> = numbers.iter().skip(1).copied().map(Some).chain([None]).collect();
    numbers.into_iter().zip(next).map(|(number, next)| (number, next.is_some_and(|next| next > number + 1)))
}

/// A sortable column: its link orders by it, or turns the order round where it is in force.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its title.
    pub(crate) title: &'static str,
    /// The list ordered by it.
    pub(crate) href: String,
    /// How it is ordered now: a word of `aria-sort`.
    pub(crate) order: Option<&'static str>,
}

impl Column {
    /// A column; `order` is none when the list is ordered by another one.
    pub(crate) fn new(title: &'static str, order: Option<Order>, href: impl FnOnce(Order) -> String) -> Self {
        let next = order.map_or(Order::Ascending, Order::turned);
        Self { title, href: href(next), order: order.map(Order::as_str) }
    }

    /// The same of a key that puts the largest number first: to a reader, that is descending.
    pub(crate) fn largest_first(title: &'static str, order: Option<Order>, href: impl FnOnce(Order) -> String) -> Self {
        Self { order: order.map(|order| order.turned().as_str()), ..Self::new(title, order, href) }
    }
}

/// The direction of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As the key says.
    Ascending,
    /// The reverse.
    Descending,
}

impl Order {
    /// Reads core's flag.
    pub(crate) const fn reversed(reverse: bool) -> Self {
        if reverse { Self::Descending } else { Self::Ascending }
    }

    const fn turned(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
        }
    }
}

/// A menu of a filter.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    /// The parameter.
    pub(crate) name: &'static str,
    /// Its label.
    pub(crate) title: &'static str,
    /// What can be chosen; the first means "no filter".
    pub(crate) options: Vec<Choice>,
}

/// One entry of a menu.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// The value sent; empty for "no filter".
    pub(crate) value: String,
    /// What people read.
    pub(crate) title: String,
    /// Whether it is in force.
    pub(crate) selected: bool,
}

impl Choice {
    /// An entry.
    pub(crate) fn new(value: impl Into<String>, title: impl Into<String>, selected: bool) -> Self {
        Self { value: value.into(), title: title.into(), selected }
    }

    /// The entry for "no filter" and then one per word.
    pub(crate) fn of_words(all: &str, chosen: Option<&str>, words: impl Iterator<Item = &'static str>) -> Vec<Self> {
        let none = Self::new("", all, chosen.is_none());
        std::iter::once(none).chain(words.map(|word| Self::new(word, super::text::spaced(word), chosen == Some(word)))).collect()
    }
}

/// A filter in force, which a click removes.
#[derive(Clone, Debug)]
pub(crate) struct Chip {
    /// The filter in words.
    pub(crate) title: String,
    /// The list without it.
    pub(crate) href: String,
}

/// The parameters of a list that its filter form does not show and must carry along.
pub(crate) fn carried(list: &impl Listing, names: &[&str]) -> Vec<(&'static str, String)> {
    list.parameters().into_iter().filter(|(name, _)| names.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_numbers_show_both_ends_and_the_neighbourhood() {
        let shown = |current, last| {
            numbers(current, last).map(|(number, gap)| format!("{number}{}", if gap { "…" } else { "" })).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(1, 1), "1");
        assert_eq!(shown(1, 76), "1 2 3… 76");
        assert_eq!(shown(40, 76), "1… 38 39 40 41 42… 76");
        assert_eq!(shown(76, 76), "1… 74 75 76");
        assert_eq!(shown(3, 6), "1 2 3 4 5 6");
    }
}
