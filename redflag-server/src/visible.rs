//! Text from elsewhere, made harmless: what would hide or reorder its neighbours, or command a terminal, is shown by its number.

/// `text` on one line, with every control character and every invisible format character as `⟨U+202E⟩`.
#[must_use]
pub fn visible(text: &str) -> String {
    let shown = |character: char| match character {
        hidden if hidden.is_control() || hides(hidden) => named(hidden),
        plain => plain.to_string(),
    };
    text.chars().map(shown).collect()
}

/// A character by its number.
pub(crate) fn named(character: char) -> String {
    format!("⟨U+{:04X}⟩", u32::from(character))
}

/// Format characters that show nothing themselves and change how their neighbours look: those that Unicode calls bidirectional or
/// zero-width.
pub(crate) fn hides(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_reorders_or_commands_a_terminal_is_named() {
        assert_eq!(visible("a\u{202e}b\u{1b}[31m\n\u{0}c\u{200b}\u{9b}"), "a⟨U+202E⟩b⟨U+001B⟩[31m⟨U+000A⟩⟨U+0000⟩c⟨U+200B⟩⟨U+009B⟩");
        assert_eq!(visible("naïve 日本語 <b>"), "naïve 日本語 <b>");
    }
}
