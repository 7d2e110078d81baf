//! What an engine says, and what is asked of its view, as arbitrary bytes.

use super::{ContainerFacts, ContainerSummary, ImageFacts, facts, view, write};
use crate::scan::docker::containers;
use serde::{Serialize, de::DeserializeOwned};

/// Answers of an engine: what is read into facts and written out again is the same, and tells nothing that facts have no field for.
///
/// # Panics
/// When it does.
pub fn engine_answers(bytes: &[u8]) {
    let _ = write::progress("image", bytes);
    again::<facts::VersionFacts>(bytes);
    again::<facts::PodmanImageFacts>(bytes);
    again::<Vec<ContainerSummary>>(bytes);
    let container = again::<ContainerFacts>(bytes);
    let image = again::<ImageFacts>(bytes);
    if let (Some(container), Some(image)) = (container, image)
        && let Ok(Some(judged)) = containers::judged("name", &container, &image)
    {
        let _ = judged.version().version();
    }
}

fn again<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let facts: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&facts).expect("facts can be written");
    let read: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&read).expect("facts can be written"), written);
    Some(facts)
}

/// A target asked of the view.
///
/// # Panics
/// When something that could lead elsewhere is taken.
pub fn engine_view(bytes: &[u8]) {
    if let Some(part) = view::taken(&String::from_utf8_lossy(bytes)) {
        assert!(!part.contains(['/', '%', '?', '#', '\\']) && !part.starts_with('.'), "{part}");
    }
}
