//! Tags that are versions: which of a repository's tags is a newer version of the one in use.
//!
//! A tag such as `v1.25.3-rc1-alpine` is read as numbers, perhaps a pre-release, and a flavour. Only tags of the same shape are
//! compared: the same prefix, number of parts and flavour; a year or a build date never with a small number. So `15` is never
//! replaced by `15.2`, `1.25-alpine` never by `1.26`, and a pre-release only follows another one.

use std::cmp::Ordering;

/// Numbers from this on are years and dates written together, such as `20240101`, and no ordinary part of a version.
const DATE_MIN: u64 = 1_000_000;
const PARTS_MAX: usize = 5;

/// A tag read as a version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TagVersion<'a> {
    prefix: &'a str,
    numbers: Vec<u64>,
    pre_release: Option<PreRelease<'a>>,
    flavour: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PreRelease<'a> {
    /// Words of pre-releases happen to be in the order of the alphabet.
    word: &'a str,
    number: u64,
}

/// The words that mark a pre-release; any other suffix is a flavour.
const PRE_RELEASES: [&str; 9] = ["alpha", "beta", "canary", "dev", "nightly", "pre", "preview", "rc", "snapshot"];

/// The newest tag that is a later version of `current` in the same shape.
pub(crate) fn newer<'a>(current: &str, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let current = TagVersion::parse(current)?;
    let candidates = tags.into_iter().filter_map(|tag| Some((TagVersion::parse(tag)?, tag)));
    let candidates = candidates.filter(|(version, _)| version.same_shape(&current) && version.order(&current) == Ordering::Greater);
    candidates.max_by(|(a, one), (b, other)| a.order(b).then_with(|| one.cmp(other))).map(|(_, tag)| tag)
}

/// Whether a tag is a version at all.
#[cfg(feature = "agent")]
pub(crate) fn is_version(tag: &str) -> bool {
    TagVersion::parse(tag).is_some()
}

impl<'a> TagVersion<'a> {
    fn parse(tag: &'a str) -> Option<Self> {
        let rest = tag.strip_prefix(['v', 'V']).unwrap_or(tag);
        let prefix = &tag[..tag.len() - rest.len()];
        let mut numbers = Vec::new();
        let mut rest = rest;
        loop {
            let (number, after) = number(rest)?;
            numbers.push(number);
            rest = after;
            match rest.strip_prefix('.') {
                Some(after) if after.starts_with(|c: char| c.is_ascii_digit()) => rest = after,
                _ => break,
            }
        }
        let ends = rest.is_empty() || rest.starts_with(['-', '_']) || PreRelease::parse(rest).is_some();
        if numbers.len() > PARTS_MAX || !ends {
            return None;
        }
        let (pre_release, flavour) = PreRelease::parse(rest).map_or((None, rest), |(pre_release, after)| (Some(pre_release), after));
        Some(Self { prefix, numbers, pre_release, flavour })
    }

    fn same_shape(&self, other: &Self) -> bool {
        let shape = |version: &Self| version.numbers.iter().map(|number| *number >= DATE_MIN).collect::<Vec<_>>();
        self.prefix == other.prefix
            && self.flavour == other.flavour
            && shape(self) == shape(other)
            && (self.pre_release.is_none() || other.pre_release.is_some())
    }

    fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (&self.pre_release, &other.pre_release) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => one.cmp(other),
        })
    }
}

impl<'a> PreRelease<'a> {
    /// Reads `rc1`, `-rc1`, `-rc.1`, `-beta-2`; what follows is the flavour.
    fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        let text = text.strip_prefix(['-', '.', '_']).unwrap_or(text);
        let length = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (word, after) = text.split_at(length);
        if !PRE_RELEASES.contains(&word) {
            return None;
        }
        let digits = after.strip_prefix(['.', '-']).unwrap_or(after);
        let (number, after) = number(digits).unwrap_or((0, after));
        (after.is_empty() || after.starts_with(['-', '_', '.'])).then_some((Self { word, number }, after))
    }
}

fn number(text: &str) -> Option<(u64, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(length);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn newer_tags_have_the_same_shape() {
        let tags = [
            "latest",
            "1",
            "1.25",
            "1.26",
            "1.25.3",
            "1.25.10",
            "1.26.0-rc1",
            "1.25.11-alpine",
            "1.25.3-alpine",
            "v1.30.0",
            "20240101",
            "15",
            "16",
            "16beta1",
            "16rc2",
            "22.04",
            "24.04",
            "1.25.4-alpine3.18",
            "stable",
            "alpine",
            "1.x",
            "2.0.0-beta.2",
            "2.0.0-beta.10",
        ];
        for (current, expected) in [
            ("1.25.3", Some("1.25.10")),
            ("1.25.10", None),
            ("1.25", Some("24.04")),
            ("1.25.3-alpine", Some("1.25.11-alpine")),
            ("1.25.3-alpine3.18", Some("1.25.4-alpine3.18")),
            ("v1.2.0", Some("v1.30.0")),
            ("15", Some("16")),
            ("20230601", Some("20240101")),
            ("22.04", Some("24.04")),
            ("1.26.0-rc1", Some("2.0.0-beta.10")),
            ("16beta1", Some("16")),
            ("latest", None),
            ("stable", None),
            ("alpine", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(newer(current, tags), expected, "{current}");
        }
    }

    #[test]
    fn a_release_follows_its_pre_releases_and_never_the_other_way_round() {
        assert_eq!(newer("2.0.0-rc1", ["2.0.0-rc2", "2.0.0", "2.0.0-beta9"]), Some("2.0.0"));
        assert_eq!(newer("2.0.0", ["2.0.1-rc1", "2.1.0-alpha"]), None);
        assert_eq!(newer("3.13.0rc1-slim", ["3.13.0rc2", "3.13.0rc2-slim"]), Some("3.13.0rc2-slim"));
    }

    proptest! {
        #[test]
        fn any_tags_are_judged_without_panic(current in "\\PC*|[v0-9.\\-a-z]{0,12}", tags in proptest::collection::vec("[v0-9.\\-a-z_]{0,12}", 0..8)) {
            let found = newer(&current, tags.iter().map(String::as_str));
            if let Some(found) = found {
                prop_assert_ne!(found, current.as_str());
                prop_assert_eq!(newer(found, [current.as_str()]), None, "what is newer cannot be older too");
            }
        }

        #[test]
        fn plain_versions_are_ordered_by_their_numbers(a in proptest::array::uniform3(0_u64..40), b in proptest::array::uniform3(0_u64..40)) {
            let text = |v: [u64; 3]| format!("{}.{}.{}", v[0], v[1], v[2]);
            let (one, other) = (text(a), text(b));
            prop_assert_eq!(newer(&one, [other.as_str()]).is_some(), b > a);
        }
    }
}
