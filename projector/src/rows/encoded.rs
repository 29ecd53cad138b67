//! Messages of the contract as values of rows, in their protobuf form: a field that is added later leaves old rows
//! readable, which postcard would not.

use std::fmt;
use std::marker::PhantomData;

use pedigraph_proto::protobuf::Message;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A message that is a row's whole value: written of a reference, read as itself.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Encoded<M>(pub(crate) M);

impl<M: Message> Serialize for Encoded<&M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.encode_to_vec())
    }
}

impl<'de, M: Message + Default> Deserialize<'de> for Encoded<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes(PhantomData)).map(Encoded)
    }
}

struct Bytes<M>(PhantomData<M>);

impl<M: Message + Default> Visitor<'_> for Bytes<M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<M, E> {
        M::decode(bytes).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::event::{AffectedPackage, AffectedRange, RangeEvent};

    use super::*;

    #[test]
    fn messages_come_back() {
        let event = RangeEvent { fixed: "1.2".to_owned(), ..RangeEvent::default() };
        let range = AffectedRange { r#type: "SEMVER".to_owned(), events: vec![event] };
        let package = AffectedPackage { purl: "pkg:npm/a".to_owned(), ranges: vec![range], ..Default::default() };
        let stored = postcard::to_stdvec(&Encoded(&package)).expect("written");
        assert_eq!(postcard::from_bytes::<Encoded<AffectedPackage>>(&stored).expect("read").0, package);
        assert!(postcard::from_bytes::<Encoded<AffectedPackage>>(&[1, 0xff]).is_err());
    }
}
