//! A text as it reads once its escapes are undone, with the way back to its bytes.

use std::ops::Range;

/// Bytes in which `\/`, `\u00XX` and `%XX` stand for themselves, however often they were escaped on the way. It is only
/// looked into: what is found is overwritten where it stands, escapes and all.
pub(super) struct Plain {
    pub(super) bytes: Vec<u8>,
    /// After each escape: its place here and in the original.
    jumps: Vec<(usize, usize)>,
}

impl Plain {
    pub(super) fn of(original: &[u8]) -> Plain {
        let mut plain = Plain { bytes: Vec::with_capacity(original.len()), jumps: Vec::new() };
        let mut at = 0;
        while let Some(skip) = original[at..].iter().position(|byte| matches!(byte, b'\\' | b'%')) {
            plain.bytes.extend_from_slice(&original[at..at + skip]);
            at += skip;
            let escape = escape(&original[at..]);
            match escape.stands_for {
                Some(byte) => {
                    plain.bytes.push(byte);
                    at += escape.length;
                    plain.jumps.push((plain.bytes.len(), at));
                }
                None => {
                    plain.bytes.extend_from_slice(&original[at..at + escape.length]);
                    at += escape.length;
                }
            }
        }
        plain.bytes.extend_from_slice(&original[at..]);
        plain
    }

    /// Where a range stands in the original.
    pub(super) fn back(&self, range: &Range<usize>) -> Range<usize> {
        self.back_to(range.start)..self.back_to(range.end)
    }

    fn back_to(&self, place: usize) -> usize {
        let before = self.jumps.partition_point(|(here, _)| *here <= place);
        let (here, original) = before.checked_sub(1).map_or((0, 0), |last| self.jumps[last]);
        original + (place - here)
    }
}

struct Escape {
    /// `None`: it is no escape, or one of another kind.
    stands_for: Option<u8>,
    length: usize,
}

/// What stands at the beginning, which is a backslash or a percent sign.
fn escape(bytes: &[u8]) -> Escape {
    if bytes[0] == b'%' {
        let stands_for = hex(bytes.get(1..3));
        return Escape { stands_for, length: if stands_for.is_some() { 3 } else { 1 } };
    }
    // A text in a text has its backslashes doubled.
    let slashes = bytes.iter().take_while(|byte| **byte == b'\\').count();
    let rest = &bytes[slashes..];
    if rest.starts_with(b"/") {
        return Escape { stands_for: Some(b'/'), length: slashes + 1 };
    }
    let stands_for = rest.strip_prefix(b"u00").and_then(|digits| hex(digits.get(..2)));
    Escape { stands_for, length: slashes + if stands_for.is_some() { 5 } else { 0 } }
}

/// The ASCII character of two hex digits.
pub(super) fn hex(digits: Option<&[u8]>) -> Option<u8> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    byte.is_ascii().then_some(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_undone_however_deep() {
        let plain = |text: &str| String::from_utf8(Plain::of(text.as_bytes()).bytes).unwrap();
        assert_eq!(plain(r"https:\/\/a%3Ab%40c"), "https://a:b@c");
        assert_eq!(plain(r"x\\u005fy \u0041\\\/ \u00e9 \n %zz %"), r"x_y A/ \u00e9 \n %zz %");
    }

    proptest! {
        #[test]
        fn each_place_leads_back(text in r"([a-z%\\/]|\\u005f|%2F|\\/){0,40}") {
            let plain = Plain::of(text.as_bytes());
            let ends: Vec<usize> = (0..=plain.bytes.len()).map(|place| plain.back_to(place)).collect();
            prop_assert!(ends.is_sorted());
            prop_assert_eq!((ends[0], ends[plain.bytes.len()]), (0, text.len()));
            for (byte, range) in plain.bytes.iter().zip(ends.windows(2)) {
                let original = &text.as_bytes()[range[0]..range[1]];
                prop_assert!(original == [*byte] || Plain::of(original).bytes == [*byte]);
            }
        }
    }
}
