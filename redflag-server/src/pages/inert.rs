//! The escaper of every template: whatever an agent sends is shown as text, never interpreted.
//!
//! Besides the five characters HTML gives a meaning, it makes characters visible that would hide or reorder what stands around
//! them: C0 and C1 controls, and the invisible format characters that Unicode calls bidirectional or zero-width. It is set in
//! `askama.toml`, so a template cannot forget it.

use crate::visible::{hides, named};
use askama::filters::Escaper;
use std::fmt::{self, Write};

/// Escapes text for HTML and makes invisible characters visible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inert;

impl Escaper for Inert {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, character) in text.char_indices() {
            if is_plain(character) {
                continue;
            }
            dest.write_str(&text[plain..at])?;
            write_shown(&mut dest, character)?;
            plain = at + character.len_utf8();
        }
        dest.write_str(&text[plain..])
    }
}

fn is_plain(character: char) -> bool {
    !matches!(character, '<' | '>' | '&' | '"' | '\'') && !character.is_control() && !hides(character)
}

fn write_shown<W: Write>(dest: &mut W, character: char) -> fmt::Result {
    match character {
        '<' => dest.write_str("&#60;"),
        '>' => dest.write_str("&#62;"),
        '&' => dest.write_str("&#38;"),
        '"' => dest.write_str("&#34;"),
        '\'' => dest.write_str("&#39;"),
        hidden => dest.write_str(&named(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut shown = String::new();
        Inert.write_escaped_str(&mut shown, text).unwrap();
        shown
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(shown(r#"<img src=x onerror='a("b")'>&amp;"#), "&#60;img src=x onerror=&#39;a(&#34;b&#34;)&#39;&#62;&#38;amp;");
    }

    #[test]
    fn what_hides_or_reorders_is_named() {
        assert_eq!(shown("a\u{202e}b\u{1b}[31m\u{0}c\u{200b}\u{e0041}"), "a⟨U+202E⟩b⟨U+001B⟩[31m⟨U+0000⟩c⟨U+200B⟩⟨U+E0041⟩");
    }

    #[test]
    fn every_script_stays_as_it_is() {
        for text in ["plain", "naïve", "日本語", "עברית", "ελληνικά", "🎉"] {
            assert_eq!(shown(text), text);
        }
    }
}
