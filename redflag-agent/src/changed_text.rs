//! What a tool printed, with characters of it changed: for the properties of readers.

use proptest::{prelude::*, sample::Index};

/// Where something changes, and to what.
pub(crate) type Changes = Vec<(Index, char)>;

/// Up to twenty changes.
pub(crate) fn changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((any::<Index>(), any::<char>()), 0..20)
}

/// `whole` with the changes made to it, one after the other.
pub(crate) fn changed(whole: &str, changes: &Changes) -> String {
    let mut characters: Vec<char> = whole.chars().collect();
    if !characters.is_empty() {
        for (at, character) in changes {
            let at = at.index(characters.len());
            characters[at] = *character;
        }
    }
    characters.into_iter().collect()
}
