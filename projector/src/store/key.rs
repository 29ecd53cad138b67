//! Keys that sort as their fields do: tenant, view, fields.

use super::digest;

/// A key under construction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(Vec<u8>);

impl Key {
    /// Begins with the tenant and the view's byte.
    pub fn new(tenant: &pedigraph_proto::TenantId, view: u8) -> Key {
        Key(Vec::with_capacity(96)).text(tenant.as_str()).byte(view)
    }

    /// A text of any bytes: 00 is written as 00 ff, the end as 00 00, so that order is kept and no text is a prefix of
    /// another's key. A SHA-256 digest at its end is written as ff and 32 bytes instead, which is half as long: of texts
    /// that begin alike those with a digest there sort last, among themselves as they are written.
    #[must_use]
    pub fn text(mut self, text: &str) -> Key {
        match digest::split(text) {
            Some((before, digest)) => {
                self = self.text_prefix(before);
                self.0.push(digest::MARK);
                self.0.extend_from_slice(&digest);
            }
            None => {
                self = self.text_prefix(text);
                self.0.extend_from_slice(&[0, 0]);
            }
        }
        self
    }

    /// Where texts lie that are SHA-256 digests and begin with these hex digits, of which there may be an odd number:
    /// from the first key up to before the second. For other digests see [`Key::text_prefix`].
    #[must_use]
    pub fn digests(self, hex: &str) -> (Key, Key) {
        let digests = self.byte(digest::MARK);
        let filled = |digit: &str| if hex.len() % 2 == 1 { format!("{hex}{digit}") } else { hex.to_owned() };
        match (digest::raw(&filled("0")), digest::raw(&filled("f"))) {
            (Some(low), Some(high)) if low.len() <= 32 => {
                (digests.clone().bytes(&low), digests.bytes(&high).prefix_end())
            }
            _ => (digests.clone(), digests),
        }
    }

    /// The beginning of a text: for scans over all texts that begin so, but for those of which a SHA-256 digest begins
    /// there or before.
    #[must_use]
    pub fn text_prefix(mut self, text: &str) -> Key {
        for part in text.split_inclusive('\0') {
            self.0.extend_from_slice(part.as_bytes());
            if part.ends_with('\0') {
                self.0.push(0xff);
            }
        }
        self
    }

    /// Where keys begin that begin with this one and go on with a text that comes after this one; with any where it is
    /// empty: who walks on from a text that may be empty itself cannot use it.
    #[must_use]
    pub fn after_text(&self, after: &str) -> Key {
        if after.is_empty() { self.clone() } else { self.clone().text(after).prefix_end() }
    }

    /// One byte.
    #[must_use]
    pub fn byte(mut self, byte: u8) -> Key {
        self.0.push(byte);
        self
    }

    /// Bytes as they are, of a length that is the same in all keys of the table.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Key {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Eight bytes, big-endian.
    #[must_use]
    pub fn number(mut self, number: u64) -> Key {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Four bytes, big-endian: a place within an entry.
    #[must_use]
    pub fn ordinal(self, ordinal: u32) -> Key {
        self.bytes(&ordinal.to_be_bytes())
    }

    /// Since when something holds: from this index and ordinal on.
    #[must_use]
    pub fn since(self, (index, ordinal): (u64, u32)) -> Key {
        self.number(index).ordinal(ordinal)
    }

    /// A time, order kept also below 1970.
    #[must_use]
    pub fn time(self, time: pedigraph_proto::Nanos) -> Key {
        self.number(time.0.cast_unsigned() ^ (1 << 63))
    }

    /// The exclusive end of keys that begin with this one and go on with a time up to and with `at`; absent: of them all.
    #[must_use]
    pub fn until(self, at: Option<pedigraph_proto::Nanos>) -> Key {
        match at.and_then(|at| at.0.checked_add(1)) {
            Some(after) => self.time(pedigraph_proto::Nanos(after)),
            None => self.prefix_end(),
        }
    }

    /// The exclusive end of keys that begin with this one and go on with a time before `time`; absent: of them all.
    #[must_use]
    pub fn before(self, time: Option<pedigraph_proto::Nanos>) -> Key {
        match time {
            Some(time) => self.time(time),
            None => self.prefix_end(),
        }
    }

    /// A key by its bytes, as [`Key::as_bytes`] gave them.
    pub fn from_bytes(bytes: &[u8]) -> Key {
        Key(bytes.to_vec())
    }

    /// Whether a key begins with this one, by what follows `beginning` in both: this one begins with that.
    pub(crate) fn goes_on(&self, beginning: &Key, rest: &[u8]) -> bool {
        self.0.get(beginning.0.len()..).is_some_and(|own| rest.starts_with(own))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first key after all that begin with this one: the exclusive end of a prefix scan.
    #[must_use]
    pub fn prefix_end(&self) -> Key {
        let mut end = self.0.clone();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                break;
            }
        }
        Key(end)
    }
}

/// Reads the fields of a key in order.
#[derive(Clone, Debug)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// At the first of these bytes.
    pub fn new(fields: &'a [u8]) -> KeyReader<'a> {
        KeyReader(fields)
    }

    /// At the first field after a beginning that the key has.
    pub fn after(key: &'a [u8], beginning: &Key) -> KeyReader<'a> {
        KeyReader(key.get(beginning.as_bytes().len()..).unwrap_or_default())
    }

    /// At the first field after tenant and view.
    pub fn after_view(key: &'a [u8]) -> Option<KeyReader<'a>> {
        let mut reader = KeyReader(key);
        reader.text()?;
        reader.byte()?;
        Some(reader)
    }

    /// A text.
    pub fn text(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            let plain = self.0.iter().position(|byte| matches!(*byte, 0 | digest::MARK))?;
            text.extend_from_slice(&self.0[..plain]);
            match &self.0[plain..] {
                [0, 0, rest @ ..] => {
                    self.0 = rest;
                    return String::from_utf8(text).ok();
                }
                [digest::MARK, rest @ ..] => {
                    let (digest, rest) = rest.split_first_chunk()?;
                    self.0 = rest;
                    return Some(digest::text(std::str::from_utf8(&text).ok()?, digest));
                }
                [0, 0xff, rest @ ..] => {
                    text.push(0);
                    self.0 = rest;
                }
                [byte, rest @ ..] => {
                    text.push(*byte);
                    self.0 = rest;
                }
                [] => return None,
            }
        }
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// Eight bytes, big-endian.
    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    /// Four bytes, big-endian.
    pub fn ordinal(&mut self) -> Option<u32> {
        let (ordinal, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*ordinal))
    }

    /// A time.
    pub fn time(&mut self) -> Option<pedigraph_proto::Nanos> {
        Some(pedigraph_proto::Nanos((self.number()? ^ (1 << 63)).cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::{Nanos, TenantId};
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str, time: i64) -> Key {
        Key::new(&TenantId::default(), b'x').text(text).time(Nanos(time)).number(7)
    }

    fn read(key: &Key) -> (Option<String>, Option<Nanos>, Option<u64>) {
        let mut reader = KeyReader::after_view(key.as_bytes()).expect("a key");
        (reader.text(), reader.time(), reader.number())
    }

    #[test]
    fn fields_come_back_and_keep_their_order() {
        assert_eq!(read(&key("a\0b", -5)), (Some("a\0b".to_owned()), Some(Nanos(-5)), Some(7)));
        let sorted = [key("a", 1), key("a\0", -1), key("a\0b", -5), key("ab", -2), key("ab", 3)];
        assert!(sorted.is_sorted());
    }

    /// Texts with digests, such that look like it, and others.
    fn text() -> impl Strategy<Value = String> {
        let hex = prop::collection::vec(prop::sample::select(&b"05afAF"[..]), 62..67);
        let like = (prop::sample::select(&["", "a", "r.io/x@", "ä\0"][..]), hex)
            .prop_map(|(before, hex)| format!("{before}sha256:{}", String::from_utf8(hex).expect("ASCII")));
        let digest = (prop::sample::select(&["", "r.io/x@", "\0"][..]), any::<[u8; 32]>())
            .prop_map(|(before, bytes)| digest::text(before, &bytes));
        prop_oneof![digest, like, "(?s).{0,80}"]
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in text(), time in any::<i64>()) {
            prop_assert_eq!(read(&key(&text, time)), (Some(text), Some(Nanos(time)), Some(7)));
        }

        #[test]
        fn no_text_is_a_prefix_of_another(a in text(), b in text()) {
            let bytes = |text: &str| Key::new(&TenantId::default(), b'x').text(text).as_bytes().to_vec();
            prop_assert_eq!(bytes(&b).starts_with(&bytes(&a)), a == b);
        }

        #[test]
        fn digests_lie_where_their_beginning_says(bytes in any::<[u8; 32]>(), digits in 0_usize..65, change in 0_usize..64) {
            let whole = digest::text("", &bytes);
            let hex = &whole["sha256:".len()..];
            let (first, end) = Key::new(&TenantId::default(), b'x').digests(&hex[..digits]);
            let lies = |text: &str| {
                let key = key(text, 3);
                first <= key && key < end
            };
            prop_assert!(lies(&whole));
            let mut other = hex.as_bytes().to_vec();
            other[change] = if other[change] == b'0' { b'1' } else { b'0' };
            let other = format!("sha256:{}", String::from_utf8(other).expect("ASCII"));
            prop_assert_eq!(lies(&other), change >= digits, "{} {}", whole, other);
            prop_assert!(!lies("sha256") && !lies("zebra") && !lies(&("a".to_owned() + &whole)));
        }
    }
}
