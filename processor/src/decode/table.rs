//! The table of decoders. A new format is a file with its [`Decoder`], its `mod`, and one line here.

use pedigraph_proto::message::{Code, Reject};

use super::detect::Shape;
use super::document::{Document, Failure};
use super::tame::tamed;
use super::{
    Found, Given, Understood, cdevents, cloudevents, csaf, cyclonedx, dsse, grype, guard, intoto, oci, openvex, osv,
    own_events, spdx, trivy,
};

/// All decoders. Where a document looks like those of several, the first one has it.
static TABLE: [&[Decoder]; 13] = [
    &cloudevents::DECODERS,
    &cdevents::DECODERS,
    &own_events::DECODERS,
    &cyclonedx::DECODERS,
    &spdx::DECODERS,
    &dsse::DECODERS,
    &intoto::DECODERS,
    &openvex::DECODERS,
    &csaf::DECODERS,
    &trivy::DECODERS,
    &grype::DECODERS,
    &osv::DECODERS,
    &oci::DECODERS,
];

/// A format: how it is recognized, and how it is read.
pub(super) struct Decoder {
    /// What entries and counts call it, and the name by which a source or a header forces it.
    pub(super) name: &'static str,
    /// Version of its rules, in the leaf of each entry that it read: goes up when the same bytes come to other facts.
    pub(super) version: u32,
    /// Media types that name it beyond doubt.
    pub(super) media_types: &'static [&'static str],
    /// Types of CloudEvents whose data it reads, whatever the data looks like.
    pub(super) event_type: fn(&str) -> bool,
    /// Types of in-toto predicates that it reads.
    pub(super) predicate_type: fn(&str) -> bool,
    /// Members of a document's top level whose values `matches` asks for; with a dot, members of such members' values,
    /// of which it asks whether there are any.
    pub(super) tells: &'static [&'static str],
    /// Whether a document looks like one of this format.
    pub(super) matches: fn(&Shape<'_>) -> bool,
    /// How it is read.
    pub(super) decode: Decode,
}

/// What a decoder is given, by what it can read.
#[derive(Clone, Copy)]
pub(super) enum Decode {
    /// An event that may bring its own name and time, as text.
    Event(fn(&str, &Given<'_>, &mut Understood) -> Result<Found, Reject>),
    /// A document as text that is whole in memory.
    Text(fn(&str, &Given<'_>) -> Result<Found, Reject>),
    /// Several documents as text that follow each other.
    Lines(fn(&str, &Given<'_>) -> Result<Found, Reject>),
    /// Bytes that need not be text, whole in memory.
    Bytes(fn(&[u8], &Given<'_>) -> Result<Found, Reject>),
    /// A document of any size, in one pass over memory or over a file.
    Stream(fn(Document<'_>, &Given<'_>) -> Result<Found, Failure>),
}

impl Decoder {
    /// A decoder of documents that nothing but its name tells: what else tells them is added by its file.
    pub(super) const fn new(name: &'static str, version: u32, decode: Decode) -> Decoder {
        let never = |_: &str| false;
        Decoder {
            name,
            version,
            media_types: &[],
            event_type: never,
            predicate_type: never,
            tells: &[],
            matches: |_| false,
            decode,
        }
    }

    /// Reads bytes that are whole in memory.
    pub(super) fn read(
        &'static self,
        bytes: &[u8],
        given: &Given<'_>,
        understood: &mut Understood,
    ) -> Result<Found, Reject> {
        if let Decode::Bytes(read) = self.decode {
            understood.decoder = Some(self);
            return read(bytes, given);
        }
        understood.decoder = Some(self);
        self.read_text(guard::text(bytes, given.limits)?, given, understood)
    }

    /// Reads text that was checked already.
    pub(super) fn read_text(
        &'static self,
        text: &str,
        given: &Given<'_>,
        understood: &mut Understood,
    ) -> Result<Found, Reject> {
        understood.decoder = Some(self);
        match self.decode {
            Decode::Event(read) => read(text, given, understood),
            Decode::Text(read) | Decode::Lines(read) => read(text, given),
            Decode::Bytes(read) => read(text.as_bytes(), given),
            Decode::Stream(read) => {
                let read = |text: &str| read(Document::Text(text), given).map_err(Failure::in_memory);
                read(text).or_else(|reject| match tamed(text) {
                    Some(tamed) if reject.code == Code::SchemaViolation => read(&tamed).map_err(|_| reject),
                    Some(_) | None => Err(reject),
                })
            }
        }
    }

    /// Whether it is the decoder of that name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Every decoder in order.
pub(super) fn all() -> impl Iterator<Item = &'static Decoder> {
    TABLE.iter().copied().flatten()
}

/// The decoder that a source or a header forces.
pub(super) fn named(name: &str) -> Result<&'static Decoder, Reject> {
    let found = all().find(|decoder| decoder.is(name));
    found.ok_or_else(|| Reject::new(Code::UnsupportedFormat, format!("no decoder is named {name:?}")))
}

/// The decoder that a media type names beyond doubt.
pub(super) fn of_media_type(media_type: &str) -> Option<&'static Decoder> {
    all().find(|decoder| decoder.media_types.iter().any(|known| known.eq_ignore_ascii_case(media_type)))
}

/// The decoder of the data of an event, by the event's type.
pub(super) fn of_event_type(event_type: &str) -> Option<&'static Decoder> {
    all().find(|decoder| (decoder.event_type)(event_type))
}

/// The decoder of an in-toto predicate.
pub(super) fn of_predicate_type(predicate_type: &str) -> Option<&'static Decoder> {
    all().find(|decoder| (decoder.predicate_type)(predicate_type))
}

/// The decoder of a document that looks so.
pub(super) fn of_shape(shape: &Shape<'_>) -> Option<&'static Decoder> {
    let by_look = all().find(|decoder| (decoder.matches)(shape));
    by_look.or_else(|| of_media_type(shape.value("mediaType")))
}

/// Whether some decoder asks for the value of a member of a document's top level.
pub(super) fn tells(member: &str) -> bool {
    member == "mediaType" || all().any(|decoder| decoder.tells.contains(&member))
}

/// Whether some decoder asks for a member of the value of a member of a document's top level.
pub(super) fn tells_within(member: &str) -> bool {
    let within = |tell: &&str| tell.split_once('.').is_some_and(|(outer, _)| outer == member);
    all().any(|decoder| decoder.tells.iter().any(within))
}
