//! JSON that is valid and that the reader cannot hold: numbers beyond a double (`1e400`), and names of members with
//! half of a surrogate pair (`"\ud800"`). Where they stand for something that is not read, they must not cost the
//! document.

/// The text with such numbers and names replaced by some of the same length that can be held; `None` when it has none.
pub(super) fn tamed(text: &str) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let (mut at, mut changed) = (0, false);
    while at < bytes.len() {
        let end = match bytes[at] {
            b'"' => {
                let end = string_end(&bytes, at);
                let is_name = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                changed |= is_name && tame_name(&mut bytes[at..end]);
                end
            }
            b'-' | b'0'..=b'9' => {
                let in_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(in_number).count();
                changed |= tame_number(&mut bytes[at..end]);
                end
            }
            _ => at + 1,
        };
        at = end;
    }
    if changed { String::from_utf8(bytes).ok() } else { None }
}

/// Where a string ends that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    bytes.len().min(at + 1)
}

/// The shortest number that is too large has five characters.
fn tame_number(number: &mut [u8]) -> bool {
    const LARGE: &[u8] = b"1e308";
    let too_large = std::str::from_utf8(number).is_ok_and(|text| text.parse::<f64>().is_ok_and(f64::is_infinite));
    if !too_large || number.len() < LARGE.len() {
        return false;
    }
    number.fill(b' ');
    number[..LARGE.len()].copy_from_slice(LARGE);
    true
}

fn tame_name(name: &mut [u8]) -> bool {
    let (mut at, mut changed) = (0, false);
    while at < name.len() {
        if name[at] != b'\\' {
            at += 1;
            continue;
        }
        let length = match (escaped(name, at), escaped(name, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                name[at..at + 6].copy_from_slice(br"\ufffd");
                changed = true;
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        at += length;
    }
    changed
}

/// The unit of UTF-16 that `\u` and four digits stand for.
fn escaped(name: &[u8], at: usize) -> Option<u16> {
    let digits = name.get(at..at + 6)?.strip_prefix(br"\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_held_is_replaced() {
        let check = |text: &str, want: &str| {
            let got = tamed(text).expect("changed");
            assert_eq!((got.as_str(), got.len()), (want, text.len()));
        };
        check(r#"{"a": -9e999, "b":1e309}"#, r#"{"a": 1e308 , "b":1e308}"#);
        check(r#"{"x\udbff\u0041\\\udc00" :1}"#, r#"{"x\ufffd\u0041\\\ufffd" :1}"#);
        check(&format!("[{}]", "7".repeat(400)), &format!("[1e308{}]", " ".repeat(395)));
        for same in [r#"{"\ud83d\ude00":"\ud800 1e999","n":1e308,"\\ud800":1}"#, "1e99", "\"1e999", "{\"\\", ""] {
            assert_eq!(tamed(same), None, "{same}");
        }
    }
}
