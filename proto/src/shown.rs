//! Text of a stranger as people are shown it.
//!
//! What events say is never changed where it is kept or given to programs. A person who reads it on a page or in a
//! terminal must see what is there: characters that nobody sees, or that turn the writing of what stands beside them,
//! make one name look like another ([Trojan Source](https://trojansource.codes)), and a terminal obeys control
//! characters. They are written as `[U+202E]`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with each hidden character written out.
pub fn shown(text: &str) -> Cow<'_, str> {
    written_out(text, is_hidden)
}

/// The same of a text in lines: ends of lines and tabs stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// Control characters (C0, C1, delete), other ends of lines, characters without width, and what turns the direction of
/// writing: marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm (UAX #9).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn written_out(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            // Writing to a string does not fail.
            let _written = write!(shown, "[U+{:04X}]", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_written_out_and_letters_of_any_language_stay() {
        for (text, wanted) in [
            ("registry.example/app:1.2", "registry.example/app:1.2"),
            ("שלום/عربي é 版本 🚀", "שלום/عربي é 版本 🚀"),
            ("a\u{202e}gpj.exe", "a[U+202E]gpj.exe"),
            ("\u{1b}[31m\u{9b}2J\u{7f}\0", "[U+001B][31m[U+009B]2J[U+007F][U+0000]"),
            ("pro\u{200b}d\u{feff}\u{2066}\u{2069}\u{200f}", "pro[U+200B]d[U+FEFF][U+2066][U+2069][U+200F]"),
            ("a\nb\u{2028}c\u{e0041}", "a[U+000A]b[U+2028]c[U+E0041]"),
        ] {
            assert_eq!(shown(text), wanted);
        }
        assert_eq!(shown_lines("a\n\tb\r\u{202d}"), "a\n\tb[U+000D][U+202D]");
    }
}
