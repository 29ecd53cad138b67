//! Pieces of JSON documents: `null` counts as absent everywhere, a wrong type where we read is an error (SPEC §2.4).
//! Where a format leaves the types to its users (what is custom in CDEvents), a wrong type counts as absent: `Text<'_,
//! false>`, `Whole<false>`, `Lax`, `LaxList`, `Own`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use pedigraph_proto::message::{Code, Reject};
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde_json::value::RawValue;

use super::tame::tamed;

/// A string, borrowed where the input allows; another type is an error, or counts as absent where not `STRICT`.
#[derive(Clone, Default, Debug)]
pub(super) struct Text<'a, const STRICT: bool = true>(pub(super) Option<Cow<'a, str>>);

impl<const STRICT: bool> Text<'_, STRICT> {
    /// The string; empty when it is absent.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The string unless it is absent or empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// A copy that fits into a fact.
    pub(super) fn owned(&self) -> String {
        clip(self.as_str()).to_owned()
    }

    /// A copy of a name: where it is too long, all of the facts are refused for it ([`super::lengths`]).
    pub(super) fn whole(&self) -> String {
        self.as_str().to_owned()
    }

    /// The string, else that of another field: a field's older name.
    pub(super) fn or<'b>(&'b self, other: &'b Self) -> &'b Self {
        if self.get().is_some() { self } else { other }
    }
}

/// Longest string that goes into a fact, bytes.
pub(super) const FACT_TEXT_BYTES_MAX: usize = 64 << 10;

/// Cuts a string to [`FACT_TEXT_BYTES_MAX`] at a character boundary.
pub(super) fn clip(text: &str) -> &str {
    clip_to(text, FACT_TEXT_BYTES_MAX)
}

/// Cuts a string to a length in bytes at a character boundary.
pub(super) fn clip_to(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// What is no value of the wanted type: an error, or absent where that is tolerated.
macro_rules! wrong {
    (if $strict:ident: $($method:ident($type:ty) as $kind:ident),* $(,)?) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<Self::Value, E> {
            if $strict { Err(E::invalid_type(Unexpected::$kind(value), &self)) } else { Ok(Self::Value::default()) }
        })*
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            if $strict {
                return Err(A::Error::invalid_type(Unexpected::Seq, &self));
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            if $strict {
                return Err(A::Error::invalid_type(Unexpected::Map, &self));
            }
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}

/// What is no value of the wanted type and counts as absent.
macro_rules! absent {
    ($($method:ident($type:ty)),* $(,)?) => {
        $(fn $method<E: Error>(self, _: $type) -> Result<Self::Value, E> { Ok(Self::Value::default()) })*
    };
    (unit) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
        fn visit_none<E: Error>(self) -> Result<Self::Value, E> { Ok(Self::Value::default()) }
    };
    (seq) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
    (map) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Self::Value::default())
        }
    };
}
pub(super) use absent;

impl<'de: 'a, 'a, const STRICT: bool> Deserialize<'de> for Text<'a, STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<const STRICT: bool>;
        impl<'de, const STRICT: bool> Visitor<'de> for TextVisitor<STRICT> {
            type Value = Text<'de, STRICT>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            wrong!(if STRICT: visit_bool(bool) as Bool, visit_i64(i64) as Signed, visit_u64(u64) as Unsigned, visit_f64(f64) as Float);
            absent!(unit);
        }
        deserializer.deserialize_any(TextVisitor::<STRICT>)
    }
}

/// A whole number, or a string of digits; another type is an error, or counts as absent where not `STRICT`. A number
/// that is not whole counts as absent.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Whole<const STRICT: bool = true>(pub(super) Option<u64>);

impl<const STRICT: bool> Whole<STRICT> {
    /// The number if it fits.
    pub(super) fn get_u32(self) -> Option<u32> {
        self.0.and_then(|number| u32::try_from(number).ok())
    }
}

impl<'de, const STRICT: bool> Deserialize<'de> for Whole<STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor<const STRICT: bool>;
        impl<'de, const STRICT: bool> Visitor<'de> for WholeVisitor<STRICT> {
            type Value = Whole<STRICT>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Whole(Some(number)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.parse() {
                    Err(_) if STRICT => Err(E::invalid_type(Unexpected::Str(text), &self)),
                    number => Ok(Whole(number.ok())),
                }
            }
            wrong!(if STRICT: visit_bool(bool) as Bool);
            absent!(visit_i64(i64), visit_f64(f64));
            absent!(unit);
        }
        deserializer.deserialize_any(WholeVisitor::<STRICT>)
    }
}

/// `true` or `false`; another type is an error.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Flag(Option::deserialize(deserializer)?.unwrap_or_default()))
    }
}

/// An object that is needed where it is read: `null` is its default, another type an error.
#[derive(Clone, Default, Debug)]
pub(super) struct Obj<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Obj<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for ObjVisitor<T> {
            type Value = Obj<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Obj<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Obj)
            }
            absent!(unit);
        }
        deserializer.deserialize_any(ObjVisitor(PhantomData))
    }
}

/// An object that is welcome: anything else is its default.
#[derive(Clone, Default, Debug)]
pub(super) struct Lax<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Lax<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LaxVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for LaxVisitor<T> {
            type Value = Lax<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Lax<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Lax)
            }
            absent!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
            absent!(unit);
            absent!(seq);
        }
        deserializer.deserialize_any(LaxVisitor(PhantomData))
    }
}

/// Most bytes of a list that is held whole: an element may take a hundred times the bytes that it has in the document.
const LIST_BYTES_MAX: usize = 32 << 20;

/// Makes room for one more; a list doubles as it grows, but never beyond what it may take.
fn make_room<T, E: Error>(list: &mut Vec<T>) -> Result<(), E> {
    let count_max = LIST_BYTES_MAX / size_of::<T>().max(1);
    if list.len() < count_max {
        let is_full = list.len() == list.capacity();
        if is_full && list.len() > count_max / 2 {
            list.reserve_exact(count_max - list.len());
        }
        return Ok(());
    }
    let reason = format!("a list has more than {count_max} elements; send them in several documents");
    Err(refused(&Reject::new(Code::TooManyItems, reason)))
}

/// A list that is needed where it is read: `null` is empty, another type an error.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    make_room(&mut list)?;
                    list.push(element);
                }
                Ok(List(list))
            }
            absent!(unit);
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// A list that is welcome: anything else is empty.
#[derive(Clone, Debug)]
pub(super) struct LaxList<T>(pub(super) Vec<T>);

impl<T> Default for LaxList<T> {
    fn default() -> Self {
        LaxList(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LaxList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LaxListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for LaxListVisitor<T> {
            type Value = LaxList<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<LaxList<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    make_room(&mut list)?;
                    list.push(element);
                }
                Ok(LaxList(list))
            }
            absent!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));
            absent!(unit);
            absent!(map);
        }
        deserializer.deserialize_any(LaxListVisitor(PhantomData))
    }
}

/// The members of an object whose names are data, in the document's order: digest maps, or annotations and labels where
/// not `STRICT`. Of these only those are read whose names begin like [`READ_LABELS`]; any other may have any type.
#[derive(Clone, Default, Debug)]
pub(super) struct Pairs<'a, const STRICT: bool = true>(pub(super) Vec<(Cow<'a, str>, Text<'a>)>);

/// What the names of labels and annotations begin with that are read.
const READ_LABELS: [&str; 3] = ["org.opencontainers.image.", "vnd.docker.reference.", "io.containerd.image.name"];

impl<const STRICT: bool> Pairs<'_, STRICT> {
    /// A member's string; empty when it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }
}

impl<'de: 'a, 'a, const STRICT: bool> Deserialize<'de> for Pairs<'a, STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<const STRICT: bool>;
        impl<'de, const STRICT: bool> Visitor<'de> for PairsVisitor<STRICT> {
            type Value = Pairs<'de, STRICT>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    make_room(&mut pairs)?;
                    if STRICT || READ_LABELS.iter().any(|prefix| key.as_str().starts_with(prefix)) {
                        pairs.push((key.0.unwrap_or_default(), map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Pairs(pairs))
            }
            absent!(unit);
        }
        deserializer.deserialize_any(PairsVisitor::<STRICT>)
    }
}

/// What a format leaves to its users to fill: default unless it happens to be readable.
#[derive(Clone, Default, Debug)]
pub(super) struct Own<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Own<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        Ok(Own(serde_json::from_str(raw).unwrap_or_default()))
    }
}

/// What is read only where something else is not said. It is copied, so that documents that are streamed may have it,
/// and may hold numbers that are too large to be read.
#[derive(Clone, Default, Debug)]
pub(super) struct Unread(Option<Box<RawValue>>);

impl Unread {
    /// It, or the default where it is absent or cannot be read.
    pub(super) fn read<'a, T: Deserialize<'a> + Default>(&'a self) -> T {
        self.0.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Unread(Some(raw)))
    }
}

/// A string, or an object in newer versions of a format.
#[derive(Clone, Debug)]
pub(super) enum TextOr<'a, T> {
    /// The older form.
    Text(Cow<'a, str>),
    /// The newer form.
    Object(T),
}

impl<T: Default> Default for TextOr<'_, T> {
    fn default() -> Self {
        TextOr::Object(T::default())
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de> + Default> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for TextOrVisitor<T> {
            type Value = TextOr<'de, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Object)
            }
            absent!(unit);
        }
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

/// What reads an object member by member, so that a long list in it is never whole in memory.
pub(super) trait Members<'de> {
    /// Takes the value of a member, if only to skip it.
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Skips the value of a member.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// An object that is needed where it is read, member by member: `null` has none, another type is an error.
pub(super) struct Object<'m, M>(pub(super) &'m mut M);

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Object<'_, M> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Object<'_, M> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Text<'de>>()? {
            self.0.member(name.as_str(), &mut map)?;
        }
        Ok(())
    }
    absent!(unit);
}

/// A list of objects that are all read member by member; `null` is empty.
pub(super) struct Objects<'m, M>(pub(super) &'m mut M);

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Objects<'_, M> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Objects<'_, M> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Object(&mut *self.0))?.is_some() {}
        Ok(())
    }
    absent!(unit);
}

/// A list whose elements are handed on one by one; it tells whether there is a list, as `null` is none.
pub(super) struct Each<T, F>(F, PhantomData<T>);

impl<T, F: FnMut(T) -> Result<(), Reject>> Each<T, F> {
    /// A list whose elements `take` takes; the first one that it refuses ends the document.
    pub(super) fn new(take: F) -> Each<T, F> {
        Each(take, PhantomData)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), Reject>> DeserializeSeed<'de> for Each<T, F> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), Reject>> Visitor<'de> for Each<T, F> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        while let Some(element) = seq.next_element()? {
            (self.0)(element).map_err(|reject| refused(&reject))?;
        }
        Ok(true)
    }
    absent!(unit);
}

/// Reads one JSON document; `wrong_type` is the code for a value of another type than the one that is needed.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str, wrong_type: Code) -> Result<T, Reject> {
    serde_json::from_str(text).or_else(|error| {
        let tamed = if cannot_be_held(&error) { tamed(text) } else { None };
        let again = tamed.and_then(|tamed| owned(&tamed).ok());
        again.ok_or_else(|| json_reject(&error, wrong_type))
    })
}

/// Reads one JSON document and borrows nothing of it.
fn owned<'a, T: Deserialize<'a>>(text: &str) -> Result<T, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_reader(text.as_bytes());
    let value = T::deserialize(&mut reader)?;
    reader.end().map(|()| value)
}

/// Whether the reader stopped at valid JSON that has no value here: a number beyond a double, or half of a surrogate
/// pair.
fn cannot_be_held(error: &serde_json::Error) -> bool {
    const WORDS: [&str; 3] =
        ["number out of range", "lone leading surrogate in hex escape", "unexpected end of hex escape"];
    let text = error.to_string();
    error.is_syntax() && WORDS.iter().any(|words| text.starts_with(words))
}

/// An error by which a reader says a reject of its own: see [`json_reject`].
pub(super) fn refused<E: Error>(reject: &Reject) -> E {
    E::custom(format_args!("{}: {}", reject.code.as_str(), reject.reason))
}

/// A reject for what a JSON reader found.
pub(super) fn json_reject(error: &serde_json::Error, wrong_type: Code) -> Reject {
    let text = error.to_string();
    // The reader's own words begin in lower case.
    let own =
        text.split_once(": ").and_then(|(code, rest)| Some((Code::ALL.iter().find(|c| c.as_str() == code)?, rest)));
    if let Some((code, reason)) = own {
        return Reject::new(*code, reason);
    }
    let code = match error.classify() {
        serde_json::error::Category::Data => wrong_type,
        _ if cannot_be_held(error) => Code::SchemaViolation,
        // The reader's own bound on recursion; ours was checked before, but may be configured higher.
        _ if text.starts_with("recursion limit exceeded") => Code::TooDeep,
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            Code::MalformedJson
        }
    };
    Reject::new(code, text)
}
