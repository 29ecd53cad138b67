//! Texts in values of rows: half as long where they end with a digest. For `#[serde(with = "text")]`.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::store::digest;

pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&digest::pack(text))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_bytes(Packed)
}

/// A text that is a row's whole value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Text(#[serde(with = "crate::rows::text")] pub(crate) String);

struct Packed;

impl Visitor<'_> for Packed {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<String, E> {
        digest::unpack(bytes).ok_or_else(|| E::custom("not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_digests_are_short() {
        let digest = format!("sha256:{}", "5a".repeat(32));
        for (text, bytes) in [("", 1), ("\u{ff}", 3), (digest.as_str(), 34), (&format!("r.example/a@{digest}"), 46)] {
            let text = Text(text.to_owned());
            let stored = postcard::to_stdvec(&text).expect("written");
            assert_eq!(stored.len(), bytes, "{text:?}");
            assert_eq!(postcard::from_bytes::<Text>(&stored).expect("read"), text);
        }
        assert!(postcard::from_bytes::<Text>(&[2, 0xff, b'a']).is_err());
    }
}
