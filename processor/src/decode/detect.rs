//! Which format a JSON document is, by the names of its members and a few of their values.

use std::fmt;
use std::io::{self, Read};

use pedigraph_proto::message::{Code, Reject};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::read::{Text, clip_to, json_reject};
use super::table::{self, Decode, Decoder};

/// Whether a document's first member is `context`, as CDEvents are written.
pub(super) fn begins_with_context(text: &str) -> bool {
    let rest = text.trim_ascii_start().strip_prefix('{').map(str::trim_ascii_start);
    rest.is_some_and(|rest| rest.starts_with("\"context\""))
}

/// Finds the decoder of a document; an error when the text is not JSON and nothing else that is known.
pub(super) fn decoder_of(text: &str) -> Result<&'static Decoder, Reject> {
    let mut shape = Shape { text: text.trim_ascii_start(), ..Shape::default() };
    if !shape.may_be_json() {
        return table::of_shape(&shape).ok_or_else(|| not_json(&shape));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    (&mut shape).deserialize(&mut reader).map_err(|error| json_reject(&error, Code::MalformedJson))?;
    shape.several = reader.end().is_err();
    let found = table::of_shape(&shape);
    if shape.several && !found.is_some_and(|decoder| matches!(decoder.decode, Decode::Lines(_))) {
        let reason = "more follows the first JSON value; send several documents as application/x-ndjson";
        return Err(Reject::new(Code::MalformedJson, reason));
    }
    found.ok_or_else(|| shape.unknown())
}

/// Finds the decoder of a document by all of it, without holding it.
pub(super) fn decoder_of_reader(reader: impl Read) -> io::Result<Option<&'static Decoder>> {
    let mut shape = Shape::default();
    match (&mut shape).deserialize(&mut serde_json::Deserializer::from_reader(reader)) {
        Err(error) if error.is_io() => Err(error.into()),
        Ok(()) | Err(_) => Ok(table::of_shape(&shape)),
    }
}

/// What the first bytes of a document tell.
pub(super) struct Head {
    /// The decoder that they name.
    pub(super) decoder: Option<&'static Decoder>,
    /// The document has no more bytes, or is not JSON: nothing after them would tell more.
    pub(super) whole: bool,
}

fn cut_character(head: &[u8]) -> usize {
    match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => head.len() - error.valid_up_to(),
        Ok(_) | Err(_) => 0,
    }
}

/// Formats that are text but not JSON: recognized so that the reject can name them.
fn not_json(shape: &Shape<'_>) -> Reject {
    let head = clip_to(shape.text, 1_024);
    let what = match shape.text.as_bytes().first() {
        Some(b'<') if head.contains("cyclonedx.org/schema/bom") => "CycloneDX XML",
        Some(b'<') => "XML",
        Some(b'S') if head.starts_with("SPDXVersion:") => "SPDX tag-value",
        _ => return Reject::new(Code::MalformedJson, "not JSON: no value begins so"),
    };
    unsupported(what)
}

fn unsupported(what: &str) -> Reject {
    Reject::new(Code::UnsupportedFormat, format!("recognized as {what}, which this version does not read"))
}

/// What a document looks like from outside: its text, and the members of its top level where it is JSON.
#[derive(Default)]
pub(super) struct Shape<'a> {
    /// Without white space before it; empty where the document is read in pieces.
    pub(super) text: &'a str,
    /// More documents follow the first one.
    pub(super) several: bool,
    /// Names, and values where they are short strings that some decoder asks for.
    members: Vec<(String, String)>,
    kind: Kind,
}

#[derive(Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Other,
    Object,
    List,
}

/// Most members that are looked at.
const MEMBERS_MAX: usize = 128;
/// Longest name or value that is kept.
const MEMBER_BYTES_MAX: usize = 128;

impl<'a> Shape<'a> {
    /// What the first bytes of a document tell.
    pub(super) fn of_head(head: &'a [u8]) -> Head {
        let head = &head[..head.len() - cut_character(head)];
        let text = std::str::from_utf8(head).unwrap_or_default().trim_ascii_start();
        let mut shape = Shape { text, ..Shape::default() };
        let json = shape.may_be_json();
        let whole = !json || (&mut shape).deserialize(&mut serde_json::Deserializer::from_slice(head)).is_ok();
        Head { decoder: table::of_shape(&shape), whole }
    }

    fn may_be_json(&self) -> bool {
        matches!(
            self.text.as_bytes().first(),
            None | Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
        )
    }

    /// Whether it has a member.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(key, _)| key == name)
    }

    /// Whether it has all of some members.
    pub(super) fn all(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.has(name))
    }

    /// The value of a member that the decoder names in [`Decoder::tells`]; empty where it is no string.
    pub(super) fn value(&self, name: &str) -> &str {
        self.members.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// Notes a member and those of its value, as far as that was read before an error.
    fn look_into<'de, A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let mut value = Shape::default();
        let read = map.next_value_seed(&mut value);
        let within = value.members.into_iter().map(|(member, _)| (format!("{name}.{member}"), String::new()));
        let within: Vec<_> = within.filter(|(member, _)| table::tells(member)).collect();
        if self.members.len() < MEMBERS_MAX {
            self.members.push((name, String::new()));
            self.members.extend(within);
        }
        read
    }

    /// Why nobody reads it.
    fn unknown(&self) -> Reject {
        match self.foreign() {
            Some(what) => unsupported(what),
            None if self.kind == Kind::List => {
                let reason = "a list: send events in it as application/cloudevents-batch+json, and other documents one by \
                              one, as lines of application/x-ndjson";
                Reject::new(Code::UnsupportedFormat, reason)
            }
            None => Reject::new(Code::UnsupportedFormat, "JSON, but none of the supported formats"),
        }
    }

    /// Formats without a decoder here, so that the reject can name them: nothing is lost, it can be driven again.
    fn foreign(&self) -> Option<&'static str> {
        let schema = self.value("$schema");
        let context = self.value("@context");
        let known: [(bool, &str); 13] = [
            (context.contains("spdx.org"), "SPDX 3"),
            (self.has("runs") && (schema.contains("sarif") || self.has("version")), "SARIF"),
            (self.all(&["results", "experimental_config"]), "an osv-scanner report"),
            (self.all(&["dataType", "cveMetadata"]), "a CVE record"),
            (self.has("resourceSpans"), "OTLP traces"),
            (self.has("resourceMetrics"), "OTLP metrics"),
            (self.has("resourceLogs"), "OTLP logs"),
            (self.all(&["eventTime", "run", "job"]), "OpenLineage"),
            (self.all(&["fsLayers", "history"]), "a Docker image manifest of schema 1"),
            (self.has("object_kind"), "a GitLab webhook"),
            (self.has("repository") && self.has("sender"), "a GitHub webhook"),
            (self.all(&["alerts", "receiver"]), "an Alertmanager webhook"),
            (self.all(&["involvedObject", "reportingController"]), "a Flux event"),
        ];
        known.into_iter().find(|(matches, _)| *matches).map(|(_, what)| what)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Shape<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Shape<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON document")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.kind = Kind::Object;
        while let Some(Name(name)) = map.next_key::<Name>()? {
            if table::tells_within(&name) {
                self.look_into(name, &mut map)?;
                continue;
            }
            let asked_for = table::tells(&name);
            if self.members.len() < MEMBERS_MAX {
                // The name counts even when its value is cut off by the end of the head.
                self.members.push((name, String::new()));
            }
            if !asked_for {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Text<'de, false>>()?;
            if let Some((_, kept)) = self.members.last_mut() {
                *kept = clip_to(value.as_str(), MEMBER_BYTES_MAX).to_owned();
            }
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.kind = Kind::List;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A member's name, as far as it is kept. A name may have what is no character (`"\ud800"`): it is none that is asked
/// for.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_bytes<E>(self, name: &[u8]) -> Result<Name, E> {
                let name = &name[..name.len().min(MEMBER_BYTES_MAX)];
                Ok(Name(String::from_utf8_lossy(name).into_owned()))
            }
        }
        deserializer.deserialize_bytes(NameVisitor)
    }
}
