//! Names as pages show them.

use maud::{Markup, html};

/// Bytes of a word that stay together: about half of a digest.
const WORD_BYTES_MAX: usize = 32;

/// A name that breaks at its separators, and within a word only where that is longer than any line.
pub fn wrapped(name: &str) -> Markup {
    let parts = name.split_inclusive(['/', ':', '@', '-', '_', '+', '?', '&', '%', ' ', ',']);
    html! {
        @for part in parts {
            @if part.len() <= WORD_BYTES_MAX { (part) wbr; }
            @else { @for piece in pieces(part) { (piece) wbr; } }
        }
    }
}

/// Pieces of a long word.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(WORD_BYTES_MAX));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_at_separators_and_long_words_somewhere() {
        assert_eq!(wrapped("r.io/a:1").into_string(), "r.io/<wbr>a:<wbr>1<wbr>");
        let long = wrapped(&"é".repeat(40)).into_string();
        assert_eq!(long.matches("<wbr>").count(), 3);
        assert_eq!(long.replace("<wbr>", ""), "é".repeat(40));
        assert_eq!(wrapped("<b>").into_string(), "&lt;b&gt;<wbr>");
    }
}
