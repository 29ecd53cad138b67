//! Which format a JSON document is, by the names of its members and a few of their values.

use std::fmt;
use std::io::{self, Read};

use pedigraph_proto::message::{Code, Reject};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::read::{Text, clip_to, json_reject};

/// A format that has a decoder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    CloudEvent,
    CdEvent,
    CycloneDx,
    OpenVex,
    Dsse,
    Bundle,
    Statement,
    OciIndex,
    OciManifest,
    OciConfig,
    Trivy,
}

impl Format {
    /// The decoder's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::CloudEvent => "cloudevents",
            Format::CdEvent => "cdevents",
            Format::CycloneDx => "cyclonedx",
            Format::OpenVex => "openvex",
            Format::Dsse => "dsse",
            Format::Bundle => "sigstore",
            Format::Statement => "in-toto",
            Format::OciIndex => "oci-index",
            Format::OciManifest => "oci-manifest",
            Format::OciConfig => "oci-config",
            Format::Trivy => "trivy",
        }
    }

    /// The format that a source or a header forces.
    pub(super) fn named(name: &str) -> Result<Format, Reject> {
        const ALL: [Format; 11] = [
            Format::CloudEvent,
            Format::CdEvent,
            Format::CycloneDx,
            Format::OpenVex,
            Format::Dsse,
            Format::Bundle,
            Format::Statement,
            Format::OciIndex,
            Format::OciManifest,
            Format::OciConfig,
            Format::Trivy,
        ];
        let found = ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| Reject::new(Code::UnsupportedFormat, format!("no decoder is named {name:?}")))
    }

    /// The format that a media type names beyond doubt.
    pub(super) fn of_media_type(media_type: &str) -> Option<Format> {
        Some(match media_type.to_ascii_lowercase().as_str() {
            "application/vnd.cyclonedx+json" => Format::CycloneDx,
            "application/vnd.openvex+json" | "application/openvex+json" | "text/openvex" => Format::OpenVex,
            "application/vnd.dsse.envelope.v1+json" | "application/vnd.in-toto.bundle" => Format::Dsse,
            "application/vnd.in-toto+json" => Format::Statement,
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                Format::OciIndex
            }
            "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
                Format::OciManifest
            }
            "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json" => {
                Format::OciConfig
            }
            _ => return None,
        })
    }
}

/// What a text turned out to be.
pub(super) struct Sniffed {
    /// The format of the (first) document.
    pub(super) format: Result<Format, Reject>,
    /// More documents follow the first one.
    pub(super) several: bool,
}

/// Whether a document's first member is `context`, as CDEvents are written.
pub(super) fn begins_with_context(text: &str) -> bool {
    let rest = text.trim_ascii_start().strip_prefix('{').map(str::trim_ascii_start);
    rest.is_some_and(|rest| rest.starts_with("\"context\""))
}

/// Finds the format of a document; an error when the text is not JSON.
pub(super) fn sniff(text: &str) -> Result<Sniffed, Reject> {
    if let Some(reject) = not_json(text) {
        return Err(reject);
    }
    let mut shape = Shape::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    (&mut shape).deserialize(&mut reader).map_err(|error| json_reject(&error, Code::MalformedJson))?;
    let several = reader.end().is_err();
    let format = shape.format();
    if several && !matches!(format, Ok(Format::Dsse | Format::Bundle | Format::Statement)) {
        let reason = "more follows the first JSON value; send several documents as application/x-ndjson";
        return Err(Reject::new(Code::MalformedJson, reason));
    }
    Ok(Sniffed { format, several })
}

/// The format of one line, as [`sniff`] finds it.
pub(super) fn sniff_one(text: &str) -> Result<Format, Reject> {
    sniff(text)?.format
}

/// Whether the first bytes of a document tell that it is CycloneDX; `None` when they do not tell.
pub(super) fn is_cyclonedx_head(head: &[u8]) -> Option<bool> {
    let head = &head[..head.len() - cut_character(head)];
    let mut shape = Shape::default();
    let whole = (&mut shape).deserialize(&mut serde_json::Deserializer::from_slice(head)).is_ok();
    match shape.format() {
        Ok(format) => Some(format == Format::CycloneDx),
        // A document may begin with its largest member.
        Err(_) => whole.then_some(false),
    }
}

fn cut_character(head: &[u8]) -> usize {
    match std::str::from_utf8(head) {
        Err(error) if error.error_len().is_none() => head.len() - error.valid_up_to(),
        Ok(_) | Err(_) => 0,
    }
}

/// Whether a document is CycloneDX, by all of it.
pub(super) fn is_cyclonedx(reader: impl Read) -> io::Result<bool> {
    let mut shape = Shape::default();
    match (&mut shape).deserialize(&mut serde_json::Deserializer::from_reader(reader)) {
        Err(error) if error.is_io() => Err(error.into()),
        Ok(()) | Err(_) => Ok(matches!(shape.format(), Ok(Format::CycloneDx))),
    }
}

/// Formats that are text but not JSON: recognized so that the reject can name them.
fn not_json(text: &str) -> Option<Reject> {
    let text = text.trim_ascii_start();
    let head = clip_to(text, 1_024);
    let what = match text.as_bytes().first()? {
        b'<' if head.contains("cyclonedx.org/schema/bom") => "CycloneDX XML",
        b'<' => "XML",
        b'S' if head.starts_with("SPDXVersion:") => "SPDX tag-value",
        _ => return None,
    };
    Some(unsupported(what))
}

fn unsupported(what: &str) -> Reject {
    Reject::new(Code::UnsupportedFormat, format!("recognized as {what}, which this version does not read"))
}

/// The members of a document's top level: names, and values where they are short strings.
#[derive(Default)]
struct Shape {
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

impl Shape {
    fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(key, _)| key == name)
    }

    fn all(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.has(name))
    }

    fn value(&self, name: &str) -> &str {
        self.members.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    fn format(&self) -> Result<Format, Reject> {
        let found = self.event().or_else(|| self.evidence()).or_else(|| self.image());
        found.ok_or_else(|| match self.foreign() {
            Some(what) => unsupported(what),
            None => Reject::new(Code::UnsupportedFormat, "JSON, but none of the supported formats"),
        })
    }

    fn event(&self) -> Option<Format> {
        if self.all(&["specversion", "type"]) || self.all(&["specversion", "source", "id"]) {
            return Some(Format::CloudEvent);
        }
        self.all(&["context", "subject"]).then_some(Format::CdEvent)
    }

    fn evidence(&self) -> Option<Format> {
        let context = self.value("@context");
        if self.has("bomFormat") || self.value("$schema").contains("cyclonedx.org") || self.is_unmarked_bom() {
            Some(Format::CycloneDx)
        } else if self.all(&["payloadType", "payload"]) || self.all(&["payload", "signatures"]) {
            Some(Format::Dsse)
        } else if self.has("dsseEnvelope") || self.value("mediaType").starts_with("application/vnd.dev.sigstore.bundle")
        {
            Some(Format::Bundle)
        } else if self.has("predicateType") || self.value("_type").starts_with("https://in-toto.io/Statement") {
            Some(Format::Statement)
        } else if context.contains("openvex.dev") || (self.all(&["statements", "author"]) && context.is_empty()) {
            Some(Format::OpenVex)
        } else if self.has("SchemaVersion") && (self.has("ArtifactName") || self.has("Results")) {
            Some(Format::Trivy)
        } else {
            None
        }
    }

    /// A CycloneDX document that lacks its mark: the decoder says so better than detection could.
    fn is_unmarked_bom(&self) -> bool {
        self.has("specVersion") && (self.has("components") || self.has("metadata") || self.has("vulnerabilities"))
    }

    fn image(&self) -> Option<Format> {
        let by_type = Format::of_media_type(self.value("mediaType"));
        let by_shape = || {
            if self.all(&["schemaVersion", "manifests"]) {
                Some(Format::OciIndex)
            } else if self.all(&["schemaVersion", "config", "layers"]) {
                Some(Format::OciManifest)
            } else if self.has("rootfs") && (self.has("architecture") || self.has("os")) {
                Some(Format::OciConfig)
            } else {
                None
            }
        };
        by_type.or_else(by_shape)
    }

    /// Formats without a decoder here, so that the reject can name them: nothing is lost, it can be driven again.
    fn foreign(&self) -> Option<&'static str> {
        let schema = self.value("$schema");
        let context = self.value("@context");
        let known: [(bool, &str); 18] = [
            (self.has("spdxVersion"), "SPDX 2"),
            (context.contains("spdx.org"), "SPDX 3"),
            (self.has("document") && (self.has("vulnerabilities") || self.has("product_tree")), "CSAF"),
            (self.all(&["matches", "source"]) || self.all(&["matches", "descriptor"]), "a Grype report"),
            (self.has("runs") && (schema.contains("sarif") || self.has("version")), "SARIF"),
            (self.all(&["results", "experimental_config"]), "an osv-scanner report"),
            (self.all(&["id", "modified", "affected"]) || self.all(&["schema_version", "id"]), "an OSV advisory"),
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
            (self.kind == Kind::List, "a list"),
        ];
        known.into_iter().find(|(matches, _)| *matches).map(|(_, what)| what)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Shape {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Shape {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON document")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.kind = Kind::Object;
        while let Some(name) = map.next_key::<Text<'de>>()? {
            if self.members.len() < MEMBERS_MAX {
                let name = clip_to(name.as_str(), MEMBER_BYTES_MAX).to_owned();
                // The name counts even when its value is cut off by the end of the head.
                self.members.push((name, String::new()));
                let value = map.next_value::<Text<'de, false>>()?;
                if let Some((_, kept)) = self.members.last_mut() {
                    *kept = clip_to(value.as_str(), MEMBER_BYTES_MAX).to_owned();
                }
            } else {
                map.next_value::<IgnoredAny>()?;
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
