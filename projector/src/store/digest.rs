//! SHA-256 digests as keys and rows hold them: 32 bytes behind a mark, not 71 letters.

/// Precedes the bytes of a digest. No UTF-8 text has this byte, so what follows it is told from text.
pub(crate) const MARK: u8 = 0xff;

/// Longer texts are kept as they are: lists whose pages go on after the beginning of a long name read all that begin so.
const TEXT_BYTES_MAX: usize = 1_024;
const PREFIX: &str = "sha256:";
const HEX_DIGITS: usize = 64;

/// A text that ends with a digest, and the digest's bytes. Only lower-case hex is one: the text must come back as it was.
pub(crate) fn split(text: &str) -> Option<(&str, [u8; 32])> {
    let before = text.len().checked_sub(PREFIX.len() + HEX_DIGITS).filter(|_| text.len() <= TEXT_BYTES_MAX)?;
    let hex = text.get(before..)?.strip_prefix(PREFIX)?;
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = of_pair(*pair)?;
    }
    Some((&text[..before], bytes))
}

/// The bytes of lower-case hex with an even number of digits.
pub(super) fn raw(hex: &str) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| of_pair(*pair)).collect()
}

fn of_pair([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// A text that ends with a digest, as it is written.
pub(super) fn text(before: &str, bytes: &[u8; 32]) -> String {
    [before, PREFIX, std::str::from_utf8(&digits(bytes)).unwrap_or_default()].concat()
}

/// The hex digits of a hash.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    String::from_utf8_lossy(&digits(bytes)).into_owned()
}

fn digits(bytes: &[u8; 32]) -> [u8; HEX_DIGITS] {
    const LETTERS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; HEX_DIGITS];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 15].map(|digit| LETTERS[usize::from(digit)]);
    }
    digits
}

/// The bytes of a text in a row, shorter where it ends with a digest.
pub(crate) fn pack(text: &str) -> Vec<u8> {
    match split(text) {
        Some((before, digest)) => [before.as_bytes(), &[MARK], &digest].concat(),
        None => text.as_bytes().to_vec(),
    }
}

/// What [`pack`] packed.
pub(crate) fn unpack(bytes: &[u8]) -> Option<String> {
    match bytes.split_last_chunk::<32>() {
        Some(([before @ .., MARK], digest)) => Some(text(std::str::from_utf8(before).ok()?, digest)),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}
