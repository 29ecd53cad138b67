//! OCI image index, manifest and configuration, and Docker's types of the same (image-spec 1.1).

use std::collections::BTreeSet;

use pedigraph_proto::event::{DigestKind, HistoryEntry, ImageObserved, PlatformManifest};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Nanos, Purl, image};
use serde::Deserialize;
use sha2::Digest as _;

use super::budget::Budget;
use super::detect::Shape;
use super::facts::{Aliases, ITEMS_MAX, NAME_BYTES_MAX, canonical_digest, canonical_ref, outside, pieces};
use super::lengths::Fit as _;
use super::read::{Flag, List, Obj, Pairs, Text, Whole, clip_to, json};
use super::table::{Decode, Decoder};
use super::{Found, Given, image_name};

pub(super) static DECODERS: [Decoder; 3] = [
    Decoder {
        media_types: &INDEX_TYPES,
        tells: &["mediaType"],
        matches: |shape| looks_like(shape, &INDEX_TYPES, shape.all(&["schemaVersion", "manifests"])),
        ..Decoder::new(
            "oci-index",
            4,
            Decode::Text(|text, given| named(text, given, |digest| index(&read(text)?, digest, given.budget))),
        )
    },
    Decoder {
        media_types: &MANIFEST_TYPES,
        tells: &["mediaType"],
        matches: |shape| looks_like(shape, &MANIFEST_TYPES, shape.all(&["schemaVersion", "config", "layers"])),
        ..Decoder::new(
            "oci-manifest",
            3,
            Decode::Text(|text, given| named(text, given, |digest| manifest(&read(text)?, digest))),
        )
    },
    Decoder {
        media_types: &CONFIG_TYPES,
        tells: &["mediaType"],
        matches: |shape| {
            let by_members = shape.has("rootfs") && (shape.has("architecture") || shape.has("os"));
            looks_like(shape, &CONFIG_TYPES, by_members)
        },
        ..Decoder::new(
            "oci-config",
            3,
            Decode::Text(|text, given| named(text, given, |digest| config(&read(text)?, digest))),
        )
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

/// Reads a document by its digest, and says what else that is called.
fn named(text: &str, given: &Given<'_>, decode: impl FnOnce(String) -> Result<Found, Reject>) -> Result<Found, Reject> {
    let (digest, aliases) = own_digest(text, given);
    let mut found = decode(digest)?;
    found.facts.extend(aliases.into_facts());
    Ok(found)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Reject> {
    json(text, Code::SchemaViolation)
}

/// Annotations of an entry of an index that may hold a whole name of it: containerd's, and OCI's, which is a bare tag
/// where the layout is of one repository.
const NAMES: [&str; 2] = ["io.containerd.image.name", REF_NAME];
const REF_NAME: &str = "org.opencontainers.image.ref.name";

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
    #[serde(borrow, rename = "os.version")]
    os_version: Text<'a>,
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
    #[serde(borrow, rename = "os.version")]
    os_version: Text<'a>,
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

/// The digest that was given outside, else that of the bytes. One that names the same bytes by a stronger algorithm is
/// an alias of their SHA-256, by which everybody else knows them.
fn own_digest(text: &str, given: &Given<'_>) -> (String, Aliases) {
    let (own, mut aliases) = (Digest::sha256(given.sha256), Aliases::default());
    let Some(outside) = outside(given) else { return (own.to_string(), aliases) };
    let same_bytes = match outside.algorithm() {
        "sha512" => outside.to_bytes() == sha2::Sha512::digest(text.as_bytes()).as_slice(),
        "sha384" => outside.to_bytes() == sha2::Sha384::digest(text.as_bytes()).as_slice(),
        _ => false,
    };
    if !same_bytes {
        return (outside.to_string(), aliases);
    }
    aliases.note([own.clone(), outside.clone()]);
    (own.to_string(), aliases)
}

fn index(index: &Index<'_>, digest: String, budget: &Budget) -> Result<Found, Reject> {
    check_schema(index.schema_version)?;
    let mut head = labelled(digest, DigestKind::Index, &index.annotations);
    head.artifact_type = index.artifact_type.whole();
    head.subject_digest = canonical_digest(index.subject.0.digest.as_str());
    if let Some(cache) =
        index.manifests.0.iter().map(|Obj(entry)| entry.media_type.as_str()).find(|kind| is_cache(kind))
    {
        // BuildKit writes a cache as an index of layers: none of them is a manifest, and the index is no image.
        head.artifact_type = clip_to(cache, 256).to_owned();
        return Ok(Found { time: Nanos::parse(&head.created), facts: vec![Fact::now(head)].into() });
    }
    let manifests: Vec<_> = index.manifests.0.iter().filter_map(|Obj(entry)| platform_manifest(entry)).collect();
    let attestations = index.manifests.0.iter().filter_map(|Obj(entry)| attestation_of(entry));
    let names = index.manifests.0.iter().flat_map(|Obj(entry)| names_of(entry));
    let beside: Vec<Fact> =
        attestations.chain(names).map(|said| budget.take(&said).map(|()| Fact::now(said))).collect::<Result<_, _>>()?;
    head.tags = layout_tag(index).into_iter().collect();
    let time = Nanos::parse(&head.created);
    let mut facts: Vec<Fact> = Vec::new();
    manifests.iter().try_for_each(|manifest| budget.take(manifest))?;
    let slices = pieces(manifests);
    head.fit()?;
    budget.take_times(&head, slices.len().max(1))?;
    for (_, manifests) in slices {
        facts.push(Fact::now(ImageObserved { manifests, ..head.clone() }));
    }
    if facts.is_empty() {
        facts.push(Fact::now(head));
    }
    facts.extend(beside);
    Ok(Found { facts: facts.into(), time })
}

/// The tag of an OCI layout: its `index.json` tags its entries by annotation, and tags itself when it has one.
fn layout_tag(index: &Index<'_>) -> Option<String> {
    let names = index.manifests.0.iter().map(|Obj(entry)| &entry.annotations);
    let tags = names.map(|names| names.get(REF_NAME)).filter(|name| !name.is_empty());
    match tags.collect::<Vec<_>>().as_slice() {
        [only] if image::is_version_tag(only) => Some(clip_to(only, 256).to_owned()),
        _ => None,
    }
}

fn is_cache(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.buildkit.cacheconfig.")
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
    let digest = joining(entry.digest.as_str())?;
    Some(PlatformManifest {
        digest: digest.to_string(),
        platform: entry.platform.0.normal(),
        artifact_type: clip_to(entry.kind(), 256).to_owned(),
    })
}

/// What an index says of an attestation in it: which of the manifests it is about.
fn attestation_of(entry: &Descriptor<'_>) -> Option<ImageObserved> {
    let (digest, subject) = (joining(entry.digest.as_str())?, entry.annotations.get("vnd.docker.reference.digest"));
    let subject = joining(subject).filter(|_| !entry.kind().is_empty())?;
    Some(ImageObserved {
        digest: digest.to_string(),
        digest_kind: DigestKind::Manifest.into(),
        subject_digest: subject.to_string(),
        artifact_type: clip_to(entry.kind(), 256).to_owned(),
        ..ImageObserved::default()
    })
}

/// What an entry of an index is called by whole names, as the `index.json` of an OCI layout has them: containerd and
/// BuildKit write them beside the bare tag, Skopeo, Podman and Crane in place of it. A bare tag names no repository.
fn names_of(entry: &Descriptor<'_>) -> impl Iterator<Item = ImageObserved> {
    let is = |types: &[&str]| types.iter().any(|known| known.eq_ignore_ascii_case(entry.media_type.as_str()));
    let kind = match entry.kind() {
        kind if !kind.is_empty() && !image::is_evidence_type(kind) => Some(DigestKind::Package),
        _ if is(&INDEX_TYPES) => Some(DigestKind::Index),
        _ if is(&MANIFEST_TYPES) => Some(DigestKind::Manifest),
        _ => None,
    };
    let named = joining(entry.digest.as_str()).zip(kind);
    let names = named.map(|(digest, kind)| {
        let texts = NAMES.map(|annotation| entry.annotations.get(annotation));
        let names: BTreeSet<String> = texts.iter().filter_map(|text| whole_name(text, &digest)).collect();
        names.into_iter().map(move |name| ImageObserved {
            digest: digest.to_string(),
            digest_kind: kind.into(),
            artifact_ref: name,
            artifact_type: clip_to(entry.kind(), 256).to_owned(),
            platform: entry.platform.0.normal(),
            ..ImageObserved::default()
        })
    });
    names.into_iter().flatten()
}

/// A name with registry, repository and tag. One with a digest beside the tag is of that digest alone.
fn whole_name(text: &str, digest: &Digest) -> Option<String> {
    let named = ArtifactRef::parse(text).filter(|_| text.len() <= NAME_BYTES_MAX)?;
    let is_its_own = named.digest.as_ref().is_none_or(|other| other == digest);
    let is_whole = !named.tag.is_empty() && Purl::parse(text).is_none() && image_name::is_pullable(text, &named);
    (is_its_own && is_whole).then(|| ArtifactRef { digest: None, ..named }.to_string())
}

/// A digest that can join things.
fn joining(text: &str) -> Option<Digest> {
    text.parse::<Digest>().ok().filter(|digest| !digest.is_of_empty_content())
}

impl Descriptor<'_> {
    /// What is in it where that is no image, as far as the index says.
    fn kind(&self) -> &str {
        self.artifact_type.get().unwrap_or_else(|| self.annotations.get("vnd.docker.reference.type"))
    }
}

impl Platform<'_> {
    /// As containerd writes it.
    fn normal(&self) -> String {
        let parts = [&self.os, &self.architecture, &self.variant, &self.os_version];
        let [os, architecture, variant, version] = parts.map(|part| clip_to(part.as_str(), 64));
        image::platform(os, architecture, variant, version)
    }
}

fn manifest(manifest: &Manifest<'_>, digest: String) -> Result<Found, Reject> {
    check_schema(manifest.schema_version)?;
    let Obj(config) = &manifest.config;
    let mut observed = labelled(digest, DigestKind::Manifest, &manifest.annotations);
    let layers = manifest.layers.0.iter().filter_map(|Obj(layer)| layer.digest.as_str().parse::<Digest>().ok());
    observed.layer_digests = layers.take(ITEMS_MAX).map(|digest| digest.to_string()).collect();
    observed.subject_digest = canonical_digest(manifest.subject.0.digest.as_str());
    observed.artifact_type = manifest.kind().to_owned();
    if !is_image_config(config.media_type.as_str()) && !image::is_evidence_type(&observed.artifact_type) {
        // A chart, a module or whatever else a registry keeps: no container runs it.
        observed.digest_kind = DigestKind::Package.into();
    }
    if observed.artifact_type.is_empty() {
        observed.config_digest = canonical_digest(config.digest.as_str());
    }
    let time = Nanos::parse(&observed.created);
    Ok(Found { facts: vec![Fact::now(observed)].into(), time })
}

impl Manifest<'_> {
    /// What it is a manifest of; empty for an image. Cosign and BuildKit give signatures and attestations the
    /// configuration of an image: what they are, only their layers say.
    fn kind(&self) -> &str {
        let config = self.config.0.media_type.as_str();
        if let Some(kind) = self.artifact_type.get() {
            return clip_to(kind, 256);
        }
        if !is_image_config(config) {
            return clip_to(config, 256);
        }
        let mut layers = self.layers.0.iter().map(|Obj(layer)| layer.media_type.as_str());
        let first = layers.next().filter(|kind| image::is_evidence_type(kind));
        let only = first.filter(|_| layers.all(image::is_evidence_type));
        clip_to(only.unwrap_or_default(), 256)
    }
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
    let mut image = labelled(digest, DigestKind::Config, &config.config.0.labels);
    let created = said_time(config.created.as_str());
    if !created.is_empty() {
        image.created = created;
    }
    let parts = [&config.os, &config.architecture, &config.variant, &config.os_version];
    let [os, architecture, variant, version] = parts.map(|part| clip_to(part.as_str(), 64));
    image.platform = image::platform(os, architecture, variant, version);
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
        created: clip_to(&said_time(entry.created.as_str()), 64).to_owned(),
        empty_layer: entry.empty_layer.0,
    }
}

/// A time as it is written; nothing for a constant one, which counts as absent.
fn said_time(text: &str) -> String {
    if Nanos::counts_as_absent(text) { String::new() } else { clip_to(text, 128).to_owned() }
}

/// What annotations of a manifest, or labels of a configuration, say by their common names.
pub(super) fn labelled(digest: String, kind: DigestKind, annotations: &Pairs<'_, false>) -> ImageObserved {
    let get = |name: &str| annotations.get(&format!("org.opencontainers.image.{name}")).to_owned();
    ImageObserved {
        digest,
        digest_kind: kind.into(),
        base_digest: canonical_digest(&get("base.digest")),
        base_ref: canonical_ref(&get("base.name")),
        created: said_time(&get("created")),
        commit: get("revision"),
        repository: get("source"),
        version: get("version"),
        ..ImageObserved::default()
    }
}
