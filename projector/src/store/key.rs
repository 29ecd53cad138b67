//! Keys that sort as their fields do: tenant, view, fields.

/// A key under construction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(Vec<u8>);

impl Key {
    /// Begins with the tenant and the view's byte.
    pub fn new(tenant: &pedigraph_proto::TenantId, view: u8) -> Key {
        Key(Vec::with_capacity(96)).text(tenant.as_str()).byte(view)
    }

    /// A text of any bytes: 00 is written as 00 ff, the end as 00 00, so that order is kept and no text is a prefix of
    /// another's key.
    #[must_use]
    pub fn text(mut self, text: &str) -> Key {
        self = self.text_prefix(text);
        self.0.extend_from_slice(&[0, 0]);
        self
    }

    /// The beginning of a text: for scans over all texts that begin so.
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

    /// A time, order kept also below 1970.
    #[must_use]
    pub fn time(self, time: pedigraph_proto::Nanos) -> Key {
        self.number(time.0.cast_unsigned() ^ (1 << 63))
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
            match self.0 {
                [0, 0, rest @ ..] => {
                    self.0 = rest;
                    return String::from_utf8(text).ok();
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

    /// A time.
    pub fn time(&mut self) -> Option<pedigraph_proto::Nanos> {
        Some(pedigraph_proto::Nanos((self.number()? ^ (1 << 63)).cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::{Nanos, TenantId};

    use super::*;

    #[test]
    fn fields_come_back_and_keep_their_order() {
        let key = |text: &str, time: i64| Key::new(&TenantId::default(), b'x').text(text).time(Nanos(time)).number(7);
        let bytes = key("a\0b", -5);
        let mut reader = KeyReader::after_view(bytes.as_bytes()).expect("a key");
        assert_eq!(reader.text().as_deref(), Some("a\0b"));
        assert_eq!(reader.time(), Some(Nanos(-5)));
        assert_eq!(reader.number(), Some(7));
        let sorted = [key("a", 1), key("a\0", -1), key("a\0b", -5), key("ab", -2), key("ab", 3)];
        assert!(sorted.is_sorted());
    }
}
