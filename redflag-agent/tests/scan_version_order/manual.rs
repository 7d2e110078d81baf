//! The rules of deb-version(7) and rpm-version(7), written down as plainly as they read and without a thought for speed: a version
//! becomes a list of parts, and lists are compared part by part.

use std::cmp::Ordering;

/// Debian: runs of non-digits and of digits in turn, for the upstream version and then for the revision.
pub(crate) fn dpkg(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let (epoch, rest) = epoch(text);
        let (upstream, revision) = rest.rsplit_once('-').map_or((rest, "0"), |parts| parts);
        (epoch, runs(upstream), runs(revision))
    };
    let ((epoch_a, upstream_a, revision_a), (epoch_b, upstream_b, revision_b)) = (parts(a), parts(b));
    epoch_a.cmp(&epoch_b).then_with(|| compare_runs(&upstream_a, &upstream_b)).then_with(|| compare_runs(&revision_a, &revision_b))
}

fn epoch(text: &str) -> (u32, &str) {
    text.split_once(':').map_or((0, text), |(epoch, rest)| (epoch.parse().expect("a number"), rest))
}

/// A run of non-digits, as weights ended by the weight of the end, and the number after it.
type Run = (Vec<u32>, u128);

fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(digits);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        runs.push((word.chars().map(weight).chain([END]).collect(), number.parse().unwrap_or(0)));
        rest = after;
    }
    runs
}

const END: u32 = 1;

/// "~" before the end, the end before letters, letters before everything else.
fn weight(character: char) -> u32 {
    match character {
        '~' => 0,
        letter if letter.is_ascii_alphabetic() => 2 + u32::from(letter),
        other => 1_000 + u32::from(other),
    }
}

fn compare_runs(a: &[Run], b: &[Run]) -> Ordering {
    let nothing = (vec![END], 0);
    (0..a.len().max(b.len()))
        .map(|at| a.get(at).unwrap_or(&nothing).cmp(b.get(at).unwrap_or(&nothing)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// rpm: segments of digits and of letters; what separates them does not count, but for "~" and "^".
pub(crate) fn rpm(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let (epoch, rest) = epoch(text);
        let (version, release) = rest.rsplit_once('-').expect("a version and a release");
        (epoch, segments(version), segments(release))
    };
    let ((epoch_a, version_a, release_a), (epoch_b, version_b, release_b)) = (parts(a), parts(b));
    epoch_a.cmp(&epoch_b).then_with(|| version_a.cmp(&version_b)).then_with(|| release_a.cmp(&release_b))
}

/// In the order in which they sort where both versions have one: the end of a version stands between "~" and "^".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Tilde,
    End,
    Caret,
    Letters(String),
    Number(u128),
}

fn segments(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let alike = |c: char| c.is_ascii_alphabetic() == first.is_ascii_alphabetic() && c.is_ascii_digit() == first.is_ascii_digit();
        let length = if first.is_ascii_alphanumeric() { rest.find(|c| !alike(c)).unwrap_or(rest.len()) } else { 1 };
        let (segment, after) = rest.split_at(length);
        match first {
            '~' => segments.push(Segment::Tilde),
            '^' => segments.push(Segment::Caret),
            letter if letter.is_ascii_alphabetic() => segments.push(Segment::Letters(segment.to_owned())),
            digit if digit.is_ascii_digit() => segments.push(Segment::Number(segment.parse().expect("digits"))),
            _ => {}
        }
        rest = after;
    }
    segments.push(Segment::End);
    segments
}
