//! Version order by the manager's own rules (clauses S9 and A2), never as text.

use crate::{
    names::{APT, DNF, Manager, Version},
    words::VersionOrder,
};
use std::cmp::Ordering;

/// The order of a manager's versions, where this version knows the manager. Images are named by digests, which have none.
#[must_use]
pub fn of_manager(manager: &Manager) -> VersionOrder {
    match manager.as_str() {
        APT => VersionOrder::Dpkg,
        DNF => VersionOrder::Rpm,
        _ => VersionOrder::None,
    }
}

/// Compares two versions by `order`; `None` when the order is unknown for them and they differ.
#[must_use]
pub fn compare(order: VersionOrder, a: &Version, b: &Version) -> Option<Ordering> {
    let (a, b) = (a.as_str(), b.as_str());
    match order {
        VersionOrder::Dpkg => Some(dpkg(a, b)),
        VersionOrder::Rpm => Some(rpm(a, b)),
        VersionOrder::Semver => match (semver::Version::parse(a), semver::Version::parse(b)) {
            (Ok(a), Ok(b)) => Some(a.cmp_precedence(&b)),
            _ => (a == b).then_some(Ordering::Equal),
        },
        VersionOrder::None => (a == b).then_some(Ordering::Equal),
    }
}

/// Whether `installed` is `offered` or newer. Unknown order counts only equality.
#[must_use]
pub fn reached(order: VersionOrder, installed: &Version, offered: &Version) -> bool {
    compare(order, installed, offered).is_some_and(Ordering::is_ge)
}

/// deb-version(7): epoch, then upstream version, then revision; letters sort before other characters and `~` before the end.
fn dpkg(a: &str, b: &str) -> Ordering {
    let ((epoch_a, upstream_a, revision_a), (epoch_b, upstream_b, revision_b)) = (dpkg_parts(a), dpkg_parts(b));
    epoch_a.cmp(&epoch_b).then_with(|| dpkg_part(upstream_a, upstream_b)).then_with(|| dpkg_part(revision_a, revision_b))
}

fn dpkg_parts(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

fn dpkg_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        while starts_with_non_digit(a) || starts_with_non_digit(b) {
            let order = dpkg_rank(a.first()).cmp(&dpkg_rank(b.first()));
            if order.is_ne() {
                return order;
            }
            (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
        }
        let (number_a, rest_a) = leading_number(a);
        let (number_b, rest_b) = leading_number(b);
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn starts_with_non_digit(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| !byte.is_ascii_digit())
}

fn dpkg_rank(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// The leading digits without leading zeros (so that longer means larger, however long), and the rest.
fn leading_number(text: &[u8]) -> (&[u8], &[u8]) {
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    let digits = text[zeros..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (&text[zeros..zeros + digits], &text[zeros + digits..])
}

/// rpm's order of `[epoch:]version-release`; a missing epoch is 0.
fn rpm(a: &str, b: &str) -> Ordering {
    rpm_version::rpm_evr_compare(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order: VersionOrder, a: &str, b: &str) -> Option<Ordering> {
        compare(order, &Version::parse(a).unwrap(), &Version::parse(b).unwrap())
    }

    #[test]
    fn dpkg_order_of_known_pairs() {
        let long = "9".repeat(200);
        for (a, b, expected) in [
            ("1.9", "1.10", Ordering::Less),
            ("1.0~rc1", "1.0", Ordering::Less),
            ("1.0~~", "1.0~", Ordering::Less),
            ("1:0.9", "2.0", Ordering::Greater),
            ("0:1", "1", Ordering::Equal),
            ("1.0-1", "1.0-1+b1", Ordering::Less),
            ("2Z", "2Z0", Ordering::Equal),
            ("1.0a", "1.0+", Ordering::Less),
            ("1.1", long.as_str(), Ordering::Less),
        ] {
            assert_eq!(order(VersionOrder::Dpkg, a, b), Some(expected), "{a} against {b}");
            assert_eq!(order(VersionOrder::Dpkg, b, a), Some(expected.reverse()), "{b} against {a}");
        }
    }

    #[test]
    fn rpm_order_of_known_pairs() {
        for (a, b, expected) in [
            ("1.0~rc1-1", "1.0-1", Ordering::Less),
            ("1.0^git1-1", "1.0-1", Ordering::Greater),
            ("1:0.1-2", "9.9-1", Ordering::Greater),
            ("0:1-1", "1-1", Ordering::Equal),
            ("9-1", "10-1", Ordering::Less),
            ("1.0-1", "1.0-2", Ordering::Less),
        ] {
            assert_eq!(order(VersionOrder::Rpm, a, b), Some(expected), "{a} against {b}");
        }
    }

    #[test]
    fn an_unknown_order_knows_equality_only() {
        assert_eq!(order(VersionOrder::None, "a", "a"), Some(Ordering::Equal));
        assert_eq!(order(VersionOrder::None, "a", "b"), None);
        assert_eq!(order(VersionOrder::Semver, "1.0.0-rc.1", "1.0.0"), Some(Ordering::Less));
        assert_eq!(order(VersionOrder::Semver, "v1", "v2"), None);
    }
}
