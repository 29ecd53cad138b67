//! What a message's headers and its source say of it.

use pedigraph_proto::Digest;
use pedigraph_proto::message::{Code, Message, Reject};

use crate::limits::Limits;

/// The headers that detection asks for.
#[derive(Default)]
pub(super) struct Headers<'a> {
    /// `content-type` as sent.
    pub(super) content_type: Option<&'a str>,
    /// A CloudEvent in the structured JSON mode.
    pub(super) structured: bool,
    /// Some attribute of a CloudEvent that every event must have is a header.
    pub(super) binary: bool,
    forced: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Reads them, within the limits.
    pub(super) fn read(message: &'a Message, limits: &Limits) -> Result<Headers<'a>, Reject> {
        if message.headers.len() > limits.attributes_max {
            let reason = format!("{} headers are more than {}", message.headers.len(), limits.attributes_max);
            return Err(Reject::new(Code::TooManyItems, reason));
        }
        let mut headers = Headers::default();
        for (name, value) in &message.headers {
            let value = value.as_deref().unwrap_or_default();
            if name.len() > limits.attribute_name_bytes_max {
                let reason = format!("the name of a header is longer than {} bytes", limits.attribute_name_bytes_max);
                return Err(Reject::new(Code::TooLarge, reason));
            }
            if value.len() > limits.attribute_bytes_max {
                let reason = format!("header {name:?} is longer than {} bytes", limits.attribute_bytes_max);
                return Err(Reject::new(Code::TooLarge, reason));
            }
            headers.note(name, value);
        }
        headers.refuse_other_event_formats()?;
        Ok(headers)
    }

    fn note(&mut self, name: &str, value: &'a [u8]) {
        match name {
            "content-type" => self.content_type = std::str::from_utf8(value).ok(),
            "pedigraph-format" => self.forced = std::str::from_utf8(value).ok(),
            _ => {
                let attribute = name.strip_prefix("ce_").or_else(|| name.strip_prefix("ce-"));
                self.binary |= matches!(attribute, Some("specversion" | "type" | "id" | "source"));
            }
        }
    }

    fn refuse_other_event_formats(&mut self) -> Result<(), Reject> {
        let Some(media_type) = self.content_type.and_then(|text| cloudevents_suffix(text)) else { return Ok(()) };
        self.structured = media_type.is_empty() || media_type.eq_ignore_ascii_case("+json");
        if self.structured || media_type.eq_ignore_ascii_case("-batch+json") {
            return Ok(());
        }
        let reason = format!("event format application/cloudevents{media_type} is not supported; use +json");
        Err(Reject::new(Code::UnsupportedFormat, reason))
    }

    /// Whether it says to be a CloudEvent.
    pub(super) fn is_event(&self) -> bool {
        self.structured || self.binary
    }

    /// The format that the source or a header forces.
    pub(super) fn forced_format(&self, message: &'a Message) -> Option<&'a str> {
        message.format.as_deref().or(self.forced).filter(|name| !name.is_empty() && *name != "auto")
    }
}

/// What follows `application/cloudevents` in a media type, compared without case.
pub(super) fn cloudevents_suffix(content_type: &str) -> Option<&str> {
    const PREFIX: &str = "application/cloudevents";
    let media_type = essence(content_type);
    let prefix = media_type.get(..PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| &media_type[PREFIX.len()..])
}

/// A media type without its parameters.
pub(super) fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a media type without parameters is one of protobuf's.
pub(super) fn is_protobuf(media_type: &str) -> bool {
    const NAMES: [&str; 3] = ["application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf"];
    NAMES.iter().any(|name| name.eq_ignore_ascii_case(media_type))
}

/// The subject given beside the document, as text.
pub(super) fn subject_text(message: &Message) -> Option<String> {
    if let Some(subject) = &message.subject {
        return Some(subject.clone());
    }
    let (_, value) = message.headers.iter().find(|(name, _)| name == "pedigraph-subject")?;
    Some(String::from_utf8_lossy(value.as_deref()?).into_owned())
}

/// The subject given beside the document.
pub(super) fn subject(message: &Message) -> Result<Option<Digest>, Reject> {
    let Some(text) = subject_text(message) else { return Ok(None) };
    let digest = text.parse::<Digest>().map_err(|error| Reject::new(Code::DigestInvalid, error.to_string()))?;
    Ok(Some(digest))
}
