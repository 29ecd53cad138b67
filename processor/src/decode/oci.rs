//! OCI image index, manifest and configuration, and Docker's types of the same (image-spec 1.1).

use pedigraph_proto::event::{DigestKind, HistoryEntry, ImageObserved, PlatformManifest};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos};
use serde::Deserialize;

use super::detect::Shape;
use super::facts::{ITEMS_MAX, canonical_digest, canonical_ref, pieces};
use super::read::{Flag, List, Obj, Pairs, Text, Whole, clip_to, json};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 3] = [
    Decoder {
        media_types: &INDEX_TYPES,
        tells: &["mediaType"],
        matches: |shape| looks_like(shape, &INDEX_TYPES, shape.all(&["schemaVersion", "manifests"])),
        ..Decoder::new("oci-index", 1, Decode::Text(|text, given| index(&read(text)?, digest(given))))
    },
    Decoder {
        media_types: &MANIFEST_TYPES,
        tells: &["mediaType"],
        matches: |shape| looks_like(shape, &MANIFEST_TYPES, shape.all(&["schemaVersion", "config", "layers"])),
        ..Decoder::new("oci-manifest", 1, Decode::Text(|text, given| manifest(&read(text)?, digest(given))))
    },
    Decoder {
        media_types: &CONFIG_TYPES,
        tells: &["mediaType"],
        matches: |shape| {
            let by_members = shape.has("rootfs") && (shape.has("architecture") || shape.has("os"));
            looks_like(shape, &CONFIG_TYPES, by_members)
        },
        ..Decoder::new("oci-config", 1, Decode::Text(|text, given| config(&read(text)?, digest(given))))
    },
];

const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// By its media type where it names one of an image's documents, else by its members.
fn looks_like(shape: &Shape<'_>, own: &[&str], by_members: bool) -> bool {
    let named = shape.value("mediaType");
    let is = |types: &[&str]| types.iter().any(|known| known.eq_ignore_ascii_case(named));
    let named_any = is(&INDEX_TYPES) || is(&MANIFEST_TYPES) || is(&CONFIG_TYPES);
    if named_any { is(own) } else { by_members }
}

/// A document is called by its own digest, unless another is given.
fn digest(given: &Given<'_>) -> String {
    given.subject.clone().unwrap_or_else(|| Digest::sha256(given.sha256)).to_string()
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Reject> {
    json(text, Code::SchemaViolation)
}

/// Longest line of a build history that is kept, bytes: 512 of them must fit into a fact.
const HISTORY_LINE_BYTES_MAX: usize = 1_024;

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Index<'a> {
    schema_version: Whole,
    #[serde(borrow)]
    manifests: List<Obj<Descriptor<'a>>>,
    #[serde(borrow)]
    annotations: Pairs<'a, false>,
    #[serde(borrow)]
    artifact_type: Text<'a>,
    #[serde(borrow)]
    subject: Obj<Descriptor<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: Whole,
    #[serde(borrow)]
    artifact_type: Text<'a>,
    #[serde(borrow)]
    config: Obj<Descriptor<'a>>,
    #[serde(borrow)]
    layers: List<Obj<Descriptor<'a>>>,
    #[serde(borrow)]
    subject: Obj<Descriptor<'a>>,
    #[serde(borrow)]
    annotations: Pairs<'a, false>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Descriptor<'a> {
    #[serde(borrow)]
    digest: Text<'a>,
    #[serde(borrow)]
    media_type: Text<'a>,
    #[serde(borrow)]
    artifact_type: Text<'a>,
    #[serde(borrow)]
    platform: Obj<Platform<'a>>,
    #[serde(borrow)]
    annotations: Pairs<'a, false>,
}

/// What an image runs on.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Platform<'a> {
    #[serde(borrow)]
    architecture: Text<'a>,
    #[serde(borrow)]
    os: Text<'a>,
    #[serde(borrow)]
    variant: Text<'a>,
}

/// An image's configuration; Trivy's report carries one too.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Config<'a> {
    #[serde(borrow)]
    architecture: Text<'a>,
    #[serde(borrow)]
    os: Text<'a>,
    #[serde(borrow)]
    variant: Text<'a>,
    #[serde(borrow)]
    created: Text<'a>,
    #[serde(borrow)]
    config: Obj<RunConfig<'a>>,
    #[serde(borrow)]
    rootfs: Obj<RootFs<'a>>,
    #[serde(borrow)]
    history: List<Obj<History<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RunConfig<'a> {
    #[serde(borrow, rename = "Labels")]
    labels: Pairs<'a, false>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RootFs<'a> {
    #[serde(borrow)]
    diff_ids: List<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct History<'a> {
    #[serde(borrow)]
    created: Text<'a>,
    #[serde(borrow)]
    created_by: Text<'a>,
    empty_layer: Flag,
}

fn index(index: &Index<'_>, digest: String) -> Result<Found, Reject> {
    check_schema(index.schema_version)?;
    let mut head = observed(digest, DigestKind::Index, &index.annotations);
    head.artifact_type = index.artifact_type.owned();
    head.subject_digest = canonical_digest(index.subject.0.digest.as_str());
    let manifests: Vec<_> = index.manifests.0.iter().filter_map(|Obj(entry)| platform_manifest(entry)).collect();
    let names = index.manifests.0.iter().map(|Obj(entry)| &entry.annotations);
    // An OCI layout's index.json tags its entries by annotation.
    let tags = names.map(|names| names.get("org.opencontainers.image.ref.name")).filter(|name| !name.is_empty());
    if let [only] = tags.collect::<Vec<_>>().as_slice() {
        head.tags = vec![clip_to(only, 256).to_owned()];
    }
    let time = Nanos::parse(&head.created);
    let mut facts: Vec<Fact> = Vec::new();
    for (_, manifests) in pieces(manifests) {
        facts.push(Fact::now(ImageObserved { manifests, ..head.clone() }));
    }
    if facts.is_empty() {
        facts.push(Fact::now(head));
    }
    Ok(Found { facts: facts.into(), time })
}

fn check_schema(version: Whole) -> Result<(), Reject> {
    match version.0 {
        Some(2) | None => Ok(()),
        Some(other) => {
            let reason = format!("schemaVersion {other} of an image manifest is not 2");
            Err(Reject::new(Code::UnsupportedVersion, reason))
        }
    }
}

/// An entry of an index; one without a valid digest is left out. Attestations stand in an index as manifests of an
/// unknown platform: they keep their type so that nobody takes them for images.
fn platform_manifest(entry: &Descriptor<'_>) -> Option<PlatformManifest> {
    let digest = entry.digest.as_str().parse::<Digest>().ok()?;
    let Obj(Platform { architecture, os, variant }) = &entry.platform;
    let reference_type = entry.annotations.get("vnd.docker.reference.type");
    let artifact_type = entry.artifact_type.get().unwrap_or(reference_type);
    Some(PlatformManifest {
        digest: digest.to_string(),
        platform: platform(os, architecture, variant),
        artifact_type: clip_to(artifact_type, 256).to_owned(),
    })
}

/// `os/architecture[/variant]`.
fn platform(os: &Text<'_>, architecture: &Text<'_>, variant: &Text<'_>) -> String {
    let parts = [os, architecture, variant].map(|part| clip_to(part.as_str(), 64));
    match parts {
        ["", "", _] => String::new(),
        [os, architecture, ""] => format!("{os}/{architecture}"),
        [os, architecture, variant] => format!("{os}/{architecture}/{variant}"),
    }
}

fn manifest(manifest: &Manifest<'_>, digest: String) -> Result<Found, Reject> {
    check_schema(manifest.schema_version)?;
    let Obj(config) = &manifest.config;
    let mut image = observed(digest, DigestKind::Manifest, &manifest.annotations);
    let layers = manifest.layers.0.iter().filter_map(|Obj(layer)| layer.digest.as_str().parse::<Digest>().ok());
    image.layer_digests = layers.take(ITEMS_MAX).map(|digest| digest.to_string()).collect();
    image.subject_digest = canonical_digest(manifest.subject.0.digest.as_str());
    if is_image_config(config.media_type.as_str()) {
        image.config_digest = canonical_digest(config.digest.as_str());
    } else {
        image.artifact_type = config.media_type.owned();
    }
    if manifest.artifact_type.get().is_some() {
        image.artifact_type = manifest.artifact_type.owned();
    }
    let time = Nanos::parse(&image.created);
    Ok(Found { facts: vec![Fact::now(image)].into(), time })
}

/// Other configurations, above all the empty one, are shared by artifacts that have nothing else in common.
fn is_image_config(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
    )
}

fn config(config: &Config<'_>, digest: String) -> Result<Found, Reject> {
    if config.rootfs.0.diff_ids.0.is_empty() && config.history.0.is_empty() {
        return Err(Reject::new(Code::SchemaViolation, "an image configuration without rootfs.diff_ids and history"));
    }
    let image = config_observed(config, digest);
    let time = Nanos::parse(&image.created);
    Ok(Found { facts: vec![Fact::now(image)].into(), time })
}

/// What a configuration says of its image.
pub(super) fn config_observed(config: &Config<'_>, digest: String) -> ImageObserved {
    let mut image = observed(digest, DigestKind::Config, &config.config.0.labels);
    if config.created.get().is_some() {
        image.created = config.created.owned();
    }
    image.platform = platform(&config.os, &config.architecture, &config.variant);
    image.diff_ids = diff_ids(&config.rootfs.0.diff_ids);
    image.history = config.history.0.iter().take(ITEMS_MAX).map(|Obj(entry)| history_entry(entry)).collect();
    image
}

/// The valid ones of a list of diff ids.
pub(super) fn diff_ids(list: &List<Text<'_>>) -> Vec<String> {
    let digests = list.0.iter().filter_map(|id| id.as_str().parse::<Digest>().ok());
    digests.take(ITEMS_MAX).map(|digest| digest.to_string()).collect()
}

fn history_entry(entry: &History<'_>) -> HistoryEntry {
    HistoryEntry {
        created_by: clip_to(entry.created_by.as_str(), HISTORY_LINE_BYTES_MAX).to_owned(),
        created: clip_to(entry.created.as_str(), 64).to_owned(),
        empty_layer: entry.empty_layer.0,
    }
}

/// What annotations of a manifest, or labels of a configuration, say by their common names.
fn observed(digest: String, kind: DigestKind, annotations: &Pairs<'_, false>) -> ImageObserved {
    let get = |name: &str| clip_to(annotations.get(&format!("org.opencontainers.image.{name}")), 4_096).to_owned();
    ImageObserved {
        digest,
        digest_kind: kind.into(),
        base_digest: canonical_digest(&get("base.digest")),
        base_ref: canonical_ref(&get("base.name")),
        created: get("created"),
        commit: get("revision"),
        repository: get("source"),
        version: get("version"),
        ..ImageObserved::default()
    }
}
