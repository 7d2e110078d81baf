//! The query part of a URL, read strictly and written back.

use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::{
    query::{PageNumber, PageSize, QueryError},
    rejection::quoted,
};
use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

/// The parameters of a URL that were not taken yet.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query part of `uri`; each name may stand once.
    pub(crate) fn read(uri: &Uri) -> Result<Self, Problem> {
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::new(axum::http::StatusCode::BAD_REQUEST, "bad_query", error.to_string()))?;
        for (index, (name, value)) in pairs.iter().enumerate() {
            // Bytes that are no UTF-8 decode to the replacement character, which nobody means to look for.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Problem::parameter(name, "is not UTF-8"));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, "stands twice"));
            }
        }
        Ok(Self(pairs))
    }

    /// Takes a parameter; an empty value counts as absent.
    pub(crate) fn take<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<T>, Problem> {
        self.take_with(name, T::from_str)
    }

    /// Takes a parameter that `read` understands.
    pub(crate) fn take_with<T, E: Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let Some(index) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(index);
        if value.is_empty() {
            return Ok(None);
        }
        read(&value).map(Some).map_err(|error| Problem::parameter(name, complaint(name, &value, &error.to_string())))
    }

    /// Takes a whole number within bounds.
    pub(crate) fn take_number<N: FromStr + PartialOrd + Display>(
        &mut self,
        name: &'static str,
        bounds: RangeInclusive<N>,
    ) -> Result<Option<N>, Problem> {
        let outside = || format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
        self.take_with(name, |text| text.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(outside))
    }

    /// Takes the number of a page.
    pub(super) fn page(&mut self) -> Result<Option<PageNumber>, Problem> {
        let number = self.take_with("page", whole_number)?;
        Ok(number.map(PageNumber::new).transpose()?)
    }

    /// Takes the size of a page.
    pub(super) fn page_size(&mut self) -> Result<PageSize, Problem> {
        let rows = self.take_with("page_size", whole_number)?;
        Ok(rows.map(PageSize::new).transpose()?.unwrap_or_default())
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Problem::parameter(quoted(&name).trim_matches('"'), "unknown parameter")),
            None => Ok(()),
        }
    }
}

fn whole_number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("must be a whole number from 1 to {}", u32::MAX))
}

/// Names the value at fault once and the parameter not at all: the problem has a member for it.
fn complaint(name: &str, value: &str, error: &str) -> String {
    let error = error.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(error);
    let value = quoted(value);
    if error.contains(&value) { error.to_owned() } else { format!("{error} ({value})") }
}

/// The orders of a list by the words of its `sort`, the default first; `-` before a word reverses.
pub(super) struct Sorts<Key: 'static>(pub(super) &'static [(&'static str, Key)]);

impl<Key: Copy + PartialEq> Sorts<Key> {
    pub(super) fn read(&self, text: &str) -> Result<(Key, bool), QueryError> {
        let (reverse, word) = text.strip_prefix('-').map_or((false, text), |word| (true, word));
        let known = self.0.iter().find(|(known, _)| *known == word);
        known.map(|(_, key)| (*key, reverse)).ok_or_else(|| {
            let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
            let words = words.join(", ");
            QueryError::new("sort", format!("unknown sort {}; known are: {words}, each with or without a leading '-'", quoted(text)))
        })
    }

    /// The word that leads here again; none for the default.
    pub(super) fn word(&self, key: Key, reverse: bool) -> Option<String> {
        let (place, (word, _)) = self.0.iter().enumerate().find(|(_, (_, known))| *known == key)?;
        (place > 0 || reverse).then(|| format!("{}{word}", if reverse { "-" } else { "" }))
    }
}

/// The parameters of a link, in the order written.
#[derive(Default)]
pub(super) struct Written(Vec<(&'static str, String)>);

impl Written {
    pub(super) fn add(&mut self, name: &'static str, value: Option<impl Display>) {
        self.0.extend(value.map(|value| (name, value.to_string())));
    }

    pub(super) fn finish(self) -> Vec<(&'static str, String)> {
        self.0
    }

    pub(super) fn page(&mut self, number: PageNumber, size: PageSize) {
        self.add("page_size", (size != PageSize::default()).then(|| size.get()));
        self.add("page", (number != PageNumber::default()).then(|| number.get()));
    }
}

/// `value` percent-encoded but for the unreserved characters of RFC 3986.
pub(super) fn encoded(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte => write!(text, "%{byte:02X}").expect("writing into a string cannot fail"),
        }
        text
    })
}
