//! Our own event types, `io.pedigraph.<event>.v1`: the canonical message as JSON or protobuf (SPEC §2.1).
//!
//! What they say is normalized like what foreign formats say, and refused when it names nothing.

use pedigraph_proto::event::ImageObserved;
use pedigraph_proto::fact::change::{Artifact, Deploy, Evidence, Family, Work};
use pedigraph_proto::ids::DigestError;
use pedigraph_proto::image::normal_platform;
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::decode_varint;
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Event, control, fact};

use super::budget::Budget;
use super::facts::{self, Named, canonical_purl, canonical_ref};
use super::guard::opening_brackets;
use super::headers::is_protobuf;
use super::lengths::{Fit as _, fit_items};
use super::read::json_reject;
use super::table::{Decode, Decoder};
use super::{Found, Given};

/// Version of the rules by which these events are read, and written where the ledger speaks of itself.
pub(crate) const VERSION: u32 = 4;

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    event_type: |kind| kebab_name(kind).is_some(),
    ..Decoder::new("pedigraph", VERSION, Decode::Bytes(decode))
}];

/// The event's name in kebab-case, if the type is one of ours in a version that is read here. Components come only with
/// the SBOM that lists them: a set is named by its content, which nobody else can be trusted to have computed.
pub(super) fn kebab_name(kind: &str) -> Option<&str> {
    let kebab = kind.strip_prefix("io.pedigraph.")?.strip_suffix(".v1")?;
    (kebab != "components-listed" && Event::KEBAB_NAMES.contains(&kebab)).then_some(kebab)
}

/// Refuses a type that only the ledger itself may say, in any version: sent by a pipeline it would be a lie in the
/// ledger's own name (docs/decisions/008).
pub(super) fn check_kind(kind: &str) -> Result<(), Reject> {
    let name = kind.strip_prefix("io.pedigraph.").and_then(|rest| rest.split('.').next());
    match name.filter(|name| control::KEBAB_NAMES.contains(name)) {
        Some(name) => Err(forbidden(&format!("{name} is said by the ledger itself"))),
        None => Ok(()),
    }
}

/// Refuses the source under which the ledger speaks.
pub(super) fn check_source(source: &str) -> Result<(), Reject> {
    if source == control::SOURCE {
        return Err(forbidden(&format!("the source {source:?} is the ledger's own; name another one")));
    }
    Ok(())
}

fn forbidden(reason: &str) -> Reject {
    Reject::new(Code::ControlEventForbidden, reason)
}

/// Reads the data of an event of our own.
fn decode(data: &[u8], given: &Given<'_>) -> Result<Found, Reject> {
    let no_such_event = || Reject::new(Code::UnsupportedFormat, "the type of the event is none of ours");
    let kebab = kebab_name(given.event_type).ok_or_else(no_such_event)?;
    let protobuf = is_protobuf(given.media_type);
    let items = if protobuf { parts_of(data) } else { opening_brackets(data) };
    given.budget.hold(items.saturating_mul(ITEM_BYTES))?;
    let event = if protobuf { from_protobuf(kebab, data)? } else { from_json(kebab, data, given)? };
    let mut event = event.ok_or_else(no_such_event)?;
    event.fit()?;
    fit_items(&mut event)?;
    normalize(&mut event, given);
    check_digest(&mut event)?;
    check_names(&event)?;
    Ok(Found { facts: split(event, given.budget)?.into(), time: None })
}

/// Memory that an item of an event takes while it is read, however small it is there, bytes.
const ITEM_BYTES: usize = 512;

/// How many fields a message of protobuf has that have a length, as its items do; none that follow after what is no
/// protobuf.
fn parts_of(data: &[u8]) -> usize {
    let (mut rest, mut parts) = (data, 0);
    while let Some(has_length) = skip_field(&mut rest) {
        parts += usize::from(has_length);
    }
    parts
}

/// Goes past one field; tells whether it has a length.
fn skip_field(rest: &mut &[u8]) -> Option<bool> {
    let wire_type = decode_varint(rest).ok()? & 7;
    let length = match wire_type {
        0 => decode_varint(rest).map(|_| 0).ok()?,
        1 => 8,
        2 => usize::try_from(decode_varint(rest).ok()?).ok()?,
        5 => 4,
        _ => return None,
    };
    *rest = rest.get(length..)?;
    Some(wire_type == 2)
}

fn from_protobuf(kebab: &str, data: &[u8]) -> Result<Option<Event>, Reject> {
    let event = Event::from_protobuf(kebab, data).transpose();
    event.map_err(|error| Reject::new(Code::SchemaViolation, error.to_string()))
}

fn from_json(kebab: &str, data: &[u8], given: &Given<'_>) -> Result<Option<Event>, Reject> {
    let text = super::guard::text(data, given.limits)?;
    let event = Event::from_json(kebab, text.as_bytes()).transpose();
    event.map_err(|error| json_reject(&error, Code::SchemaViolation))
}

/// The artifact that an event is about: its digest field and its reference field, where it has them.
fn artifact(event: &mut Event) -> Option<(&mut String, Option<&mut String>)> {
    match event.family_mut() {
        Family::Artifact(event) => artifact_itself(event),
        Family::Evidence(event) => artifact_of_evidence(event),
        Family::Deploy(Deploy::ServiceDeployed(e)) => Some((&mut e.artifact_digest, Some(&mut e.artifact_ref))),
        Family::Deploy(Deploy::CanaryChanged(e)) => Some((&mut e.artifact_digest, Some(&mut e.artifact_ref))),
        Family::Source(_) | Family::Work(_) | Family::Deploy(_) | Family::Control(_) => None,
    }
}

fn artifact_itself(event: Artifact<'_>) -> Option<(&mut String, Option<&mut String>)> {
    Some(match event {
        Artifact::ArtifactPackaged(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Artifact::ArtifactPublished(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Artifact::ArtifactSigned(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Artifact::ArtifactDeleted(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Artifact::ArtifactDownloaded(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Artifact::ImageObserved(e) => (&mut e.digest, Some(&mut e.artifact_ref)),
        Artifact::TagObserved(e) => (&mut e.digest, None),
        Artifact::AliasObserved(_) => return None,
    })
}

fn artifact_of_evidence(event: Evidence<'_>) -> Option<(&mut String, Option<&mut String>)> {
    Some(match event {
        Evidence::SbomAttached(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Evidence::ScanCompleted(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Evidence::TestsFinished(e) => (&mut e.artifact_digest, Some(&mut e.artifact_ref)),
        Evidence::ReachabilityAnalyzed(e) => (&mut e.artifact_digest, None),
        Evidence::RebuildChecked(e) => (&mut e.artifact_digest, None),
        Evidence::ApprovalDecided(e) => (&mut e.artifact_digest, None),
        Evidence::ComponentsListed(_)
        | Evidence::AttestationAttached(_)
        | Evidence::VexIssued(_)
        | Evidence::AdvisoryPublished(_) => return None,
    })
}

fn normalize(event: &mut Event, given: &Given<'_>) {
    let tag_is_gone = matches!(event, Event::TagObserved(tag) if tag.digest.is_empty());
    if let Some((digest, reference)) = artifact(event).filter(|_| !tag_is_gone) {
        normalize_artifact(digest, reference, facts::outside(given));
    }
    normalize_lists(event);
    if let Event::VexIssued(vex) = event {
        // What was verified is known by who verified it, and not by who sends it.
        vex.verification = given.verification.into();
    }
}

/// A digest in canonical form; where it is absent, or no digest, the one that the reference names or the subject given
/// outside. What names no digest at all stays as it is, and is refused ([`check_digest`]).
fn normalize_artifact(digest: &mut String, mut reference: Option<&mut String>, outside: Option<&Digest>) {
    normalize_digest(digest);
    if !digest.is_empty() && !is_digest(digest) {
        // The image id of a pod: `docker-pullable://repository@sha256:…`, `repository@sha256:…`, `docker://sha256:…`.
        let named = Named::parse(digest).digest;
        if !named.is_empty() {
            let image_id = std::mem::replace(digest, named);
            if let Some(reference) = reference.as_mut().filter(|reference| reference.is_empty()) {
                **reference = image_id;
            }
        }
    }
    if let Some(reference) = reference.filter(|reference| !reference.is_empty()) {
        let named = Named::parse(reference);
        *reference = named.reference;
        if !named.digest.is_empty() && !is_digest(digest) {
            *digest = named.digest;
        }
    }
    if let Some(outside) = outside.filter(|_| !is_digest(digest)) {
        *digest = outside.to_string();
    }
}

fn is_digest(text: &str) -> bool {
    text.parse::<Digest>().is_ok()
}

/// A digest of empty content joins nothing and is left out.
fn normalize_digest(text: &mut String) {
    match text.parse::<Digest>() {
        Ok(digest) if digest.is_of_empty_content() => text.clear(),
        Ok(digest) => *text = digest.to_string(),
        Err(_) => {}
    }
}

/// A digest that joins nothing anyway: its spelling alone.
fn spell(text: &mut String) {
    if let Ok(digest) = text.parse::<Digest>() {
        *text = digest.to_string();
    }
}

/// [`normalize_digest`] for a list of digests that belong to nothing else.
fn normalize_digests(list: &mut Vec<String>) {
    list.iter_mut().for_each(normalize_digest);
    list.retain(|digest| !digest.is_empty());
}

fn normalize_lists(event: &mut Event) {
    match event.family_mut() {
        Family::Artifact(event) => normalize_artifact_lists(event),
        Family::Evidence(event) => normalize_evidence_lists(event),
        Family::Work(Work::RunFinished(e)) => normalize_digests(&mut e.artifact_digests),
        Family::Deploy(Deploy::ServiceDeployed(e)) => spell(&mut e.config_digest),
        Family::Deploy(Deploy::ConfigChanged(e)) => {
            [&mut e.config_digest, &mut e.previous_digest].into_iter().for_each(spell);
        }
        Family::Source(_) | Family::Work(_) | Family::Deploy(_) | Family::Control(_) => {}
    }
}

fn normalize_artifact_lists(event: Artifact<'_>) {
    match event {
        Artifact::ArtifactPackaged(e) => {
            let materials = e.materials.iter_mut().map(|material| &mut material.digest);
            materials.chain([&mut e.base_digest]).for_each(normalize_digest);
            normalize_digests(&mut e.parent_digests);
            e.platform = normal_platform(&e.platform);
            e.base_ref = canonical_ref(&e.base_ref);
            e.purl = canonical_purl(&e.purl).0;
        }
        Artifact::ArtifactPublished(e) => {
            e.purl = canonical_purl(&e.purl).0;
            e.platform = normal_platform(&e.platform);
        }
        Artifact::ImageObserved(e) => normalize_image(e),
        Artifact::AliasObserved(e) => normalize_digests(&mut e.digests),
        Artifact::TagObserved(e) => normalize_repository(&mut e.repository, &e.tag),
        Artifact::ArtifactSigned(_) | Artifact::ArtifactDeleted(_) | Artifact::ArtifactDownloaded(_) => {}
    }
}

fn normalize_evidence_lists(event: Evidence<'_>) {
    match event {
        Evidence::AttestationAttached(e) => {
            let materials = e.materials.iter_mut().map(|material| &mut material.digest);
            e.artifact_digests.iter_mut().chain(materials).for_each(normalize_digest);
        }
        Evidence::SbomAttached(e) => {
            normalize_digest(&mut e.sbom_digest);
            e.purl = canonical_purl(&e.purl).0;
        }
        Evidence::ScanCompleted(e) => {
            e.findings.iter_mut().for_each(|finding| finding.purl = canonical_purl(&finding.purl).0);
        }
        Evidence::VexIssued(e) => {
            for statement in &mut e.statements {
                normalize_digests(&mut statement.product_digests);
                let named = statement.product.parse::<Digest>().ok().filter(|digest| !digest.is_of_empty_content());
                if let Some(digest) = named.map(|digest| digest.to_string()) {
                    statement.product.clone_from(&digest);
                    if !statement.product_digests.contains(&digest) {
                        statement.product_digests.push(digest);
                    }
                }
                statement.product = canonical_purl(&statement.product).0;
                statement.subcomponents.iter_mut().for_each(|purl| *purl = canonical_purl(purl).0);
            }
        }
        Evidence::RebuildChecked(e) => normalize_digest(&mut e.rebuilt_digest),
        Evidence::AdvisoryPublished(e) => {
            e.affected.iter_mut().for_each(|package| package.purl = canonical_purl(&package.purl).0);
        }
        Evidence::ComponentsListed(_)
        | Evidence::TestsFinished(_)
        | Evidence::ReachabilityAnalyzed(_)
        | Evidence::ApprovalDecided(_) => {}
    }
}

fn normalize_image(image: &mut ImageObserved) {
    for manifest in &mut image.manifests {
        normalize_digest(&mut manifest.digest);
        manifest.platform = normal_platform(&manifest.platform);
    }
    image.manifests.retain(|manifest| !manifest.digest.is_empty());
    let single = [&mut image.config_digest, &mut image.base_digest, &mut image.subject_digest];
    single.into_iter().for_each(normalize_digest);
    normalize_digests(&mut image.parent_digests);
    // Layers are told apart by their places: an empty one keeps its own.
    image.layer_digests.iter_mut().chain(&mut image.diff_ids).for_each(spell);
    image.platform = normal_platform(&image.platform);
    image.base_ref = canonical_ref(&image.base_ref);
}

/// A repository is written as references are: without a scheme.
fn normalize_repository(repository: &mut String, tag: &str) {
    let named = ArtifactRef::parse(&format!("{repository}:{tag}"));
    if let Some(named) = named.filter(|named| named.tag == tag && !repository.starts_with("pkg:")) {
        *repository = named.repository;
    }
}

/// Refuses evidence that names its artifact by what is no digest: it would be kept, and stand in no answer. What runs is
/// shown by its reference all the same.
fn check_digest(event: &mut Event) -> Result<(), Reject> {
    let name = event.name();
    if !matches!(event.family(), fact::Family::Artifact(_) | fact::Family::Evidence(_)) {
        return Ok(());
    }
    let Some((digest, _)) = artifact(event).filter(|(digest, _)| !digest.is_empty()) else { return Ok(()) };
    let refused = |error: DigestError| Reject::new(Code::DigestInvalid, format!("the artifact of {name}: {error}"));
    digest.parse::<Digest>().map(drop).map_err(refused)
}

/// What an event must say: whether it does, the code when it does not, and what is needed.
type Needed = (bool, Code, &'static str);

/// Refuses an event that does not say what it is about.
fn check_names(event: &Event) -> Result<(), Reject> {
    let (ok, code, needed) = match event.family() {
        fact::Family::Source(event) => needed_of_source(event),
        fact::Family::Work(event) => needed_of_work(event),
        fact::Family::Artifact(event) => needed_of_artifact(event),
        fact::Family::Evidence(event) => needed_of_evidence(event),
        fact::Family::Deploy(event) => needed_of_deploy(event),
        fact::Family::Control(fact::Control::OpaqueReceived(_)) => return Ok(()),
        fact::Family::Control(_) => return Err(forbidden(&format!("{} is said by the ledger itself", event.name()))),
    };
    if ok { Ok(()) } else { Err(Reject::new(code, format!("{} needs {needed}", event.name()))) }
}

fn needed_of_source(event: fact::Source<'_>) -> Needed {
    match event {
        fact::Source::ChangeMerged(e) => named(any(&[&e.change_id, &e.commit]), "changeId or commit"),
        fact::Source::RefUpdated(e) => named(all(&[&e.repository, &e.r#ref]), "repository and ref"),
        fact::Source::RepositoryObserved(e) => named(any(&[&e.repository]), "repository"),
    }
}

fn needed_of_work(event: fact::Work<'_>) -> Needed {
    match event {
        fact::Work::RunStarted(e) => named(any(&[&e.run]), "run"),
        fact::Work::RunFinished(e) => named(any(&[&e.run]), "run"),
        fact::Work::StepFinished(e) => named(any(&[&e.step]), "step"),
    }
}

fn needed_of_artifact(event: fact::Artifact<'_>) -> Needed {
    match event {
        fact::Artifact::ArtifactPackaged(e) => artifact_named(&e.artifact_digest),
        fact::Artifact::ArtifactPublished(e) => artifact_named(&e.artifact_digest),
        fact::Artifact::ArtifactSigned(e) => artifact_named(&e.artifact_digest),
        fact::Artifact::ArtifactDeleted(e) => artifact_named(&e.artifact_digest),
        fact::Artifact::ArtifactDownloaded(e) => artifact_named(&e.artifact_digest),
        fact::Artifact::TagObserved(e) => named(all(&[&e.repository, &e.tag]), "repository and tag"),
        fact::Artifact::ImageObserved(e) => artifact_named(&e.digest),
        fact::Artifact::AliasObserved(e) => {
            let valid = e.digests.iter().filter(|digest| is_digest(digest)).count();
            (valid >= 2, Code::SubjectMissing, "two digests")
        }
    }
}

fn needed_of_evidence(event: fact::Evidence<'_>) -> Needed {
    match event {
        fact::Evidence::SbomAttached(e) => {
            let named = is_digest(&e.artifact_digest) || is_digest(&e.sbom_digest);
            (named, Code::SubjectMissing, "the digest of an artifact or SBOM")
        }
        fact::Evidence::AttestationAttached(e) => {
            let valid = e.artifact_digests.iter().any(|digest| is_digest(digest));
            (valid, Code::SubjectMissing, "a digest in artifactDigests")
        }
        fact::Evidence::ScanCompleted(e) => artifact_named(&e.artifact_digest),
        fact::Evidence::VexIssued(e) => named(!e.statements.is_empty(), "statements"),
        fact::Evidence::TestsFinished(e) => {
            (any(&[&e.artifact_digest, &e.run]), Code::SubjectMissing, "artifactDigest or run")
        }
        fact::Evidence::ReachabilityAnalyzed(e) => artifact_named(&e.artifact_digest),
        fact::Evidence::RebuildChecked(e) => artifact_named(&e.artifact_digest),
        fact::Evidence::ApprovalDecided(e) => {
            (any(&[&e.artifact_digest, &e.environment]), Code::SubjectMissing, "artifactDigest or environment")
        }
        fact::Evidence::AdvisoryPublished(e) => named(any(&[&e.id]), "id"),
        fact::Evidence::ComponentsListed(_) => (true, Code::SchemaViolation, ""),
    }
}

fn needed_of_deploy(event: fact::Deploy<'_>) -> Needed {
    match event {
        fact::Deploy::EnvironmentChanged(e) => named(any(&[&e.environment]), "environment"),
        fact::Deploy::ServiceDeployed(e) => service_named(&e.service, &e.environment),
        fact::Deploy::ServiceRemoved(e) => service_named(&e.service, &e.environment),
        fact::Deploy::CanaryChanged(e) => service_named(&e.service, &e.environment),
        fact::Deploy::FlagChanged(e) => named(any(&[&e.flag]), "flag"),
        fact::Deploy::ConfigChanged(e) => service_named(&e.service, &e.environment),
        fact::Deploy::FreezeChanged(e) => named(any(&[&e.environment]), "environment"),
    }
}

fn named(ok: bool, needed: &'static str) -> Needed {
    (ok, Code::SchemaViolation, needed)
}

fn any(fields: &[&str]) -> bool {
    fields.iter().any(|field| !field.is_empty())
}

fn all(fields: &[&str]) -> bool {
    fields.iter().all(|field| !field.is_empty())
}

/// A reference alone says nothing: which digest it led to is not known for sure, and evidence is of one.
fn artifact_named(digest: &str) -> Needed {
    (is_digest(digest), Code::SubjectMissing, "the digest of an artifact")
}

fn service_named(service: &str, environment: &str) -> Needed {
    named(all(&[service, environment]), "service and environment")
}

/// Cuts long lists into facts that fit, as for foreign documents.
fn split(event: Event, budget: &Budget) -> Result<Vec<Fact>, Reject> {
    if let Event::ScanCompleted(mut scan) = event {
        let findings = std::mem::take(&mut scan.findings);
        findings.iter().try_for_each(|finding| budget.take(finding))?;
        return facts::scan(scan, findings, budget);
    }
    if let Event::VexIssued(mut vex) = event {
        let statements = std::mem::take(&mut vex.statements);
        statements.iter().try_for_each(|statement| budget.take(statement))?;
        return facts::vex(vex, statements, budget);
    }
    if let Event::AdvisoryPublished(mut advisory) = event {
        let affected = std::mem::take(&mut advisory.affected);
        affected.iter().try_for_each(|package| budget.take(package))?;
        return facts::advisory(advisory, affected, budget);
    }
    if let Event::AttestationAttached(mut statement) = event {
        let names = std::mem::take(&mut statement.subject_names).into_iter().chain(std::iter::repeat(String::new()));
        let subjects = std::mem::take(&mut statement.artifact_digests).into_iter().zip(names);
        let subjects: Vec<_> = subjects.filter(|(digest, _)| !digest.is_empty()).collect();
        let materials = std::mem::take(&mut statement.materials);
        return facts::attestation(&statement, &subjects, &materials);
    }
    Ok(vec![Fact::now(event)])
}
