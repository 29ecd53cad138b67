//! CDEvents 0.2 to 0.5.1 and the draft of 0.6, each upcast to the newest vocabulary.
//!
//! The readers borrow from the bytes and skip what lineage does not need: on Kafka these are most of the messages.

use pedigraph_proto::event::{
    ArtifactDeleted, ArtifactDownloaded, ArtifactKind, ArtifactPackaged, ArtifactPublished, ArtifactSigned,
    ChangeMerged, EnvironmentChanged, OpaqueReceived, Outcome, RefUpdated, RepositoryObserved, RunFinished, RunStarted,
    ServiceDeployed, ServiceRemoved, StepFinished, Strategy, TagObserved, TestsFinished,
};
use pedigraph_proto::json::{artifact_kind, strategy};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Event, Nanos, image, is_absolute_uri};
use serde::Deserialize;

use super::facts::{Aliases, ITEMS_MAX, Named, canonical_digest, canonical_ref, is_commit, spelled_digest};
use super::read::{self, Lax, LaxList, Obj, json};
use super::table::{Decode, Decoder};
use super::{Found, Given, Understood};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    event_type: |kind| kind.starts_with("dev.cdevents."),
    matches: |shape| shape.all(&["context", "subject"]),
    ..Decoder::new("cdevents", 4, Decode::Event(decode))
}];

/// Most flags of one deployment.
const FLAGS_MAX: usize = 256;

/// What producers of CDEvents write is often of another type than the schema says: such a string counts as absent.
type Text<'a> = read::Text<'a, false>;

#[derive(Deserialize, Default)]
#[serde(default)]
struct CdEvent<'a> {
    #[serde(borrow)]
    context: Obj<Context<'a>>,
    #[serde(borrow)]
    subject: Obj<Subject<'a>>,
    #[serde(borrow, rename = "customData")]
    custom_data: Lax<Box<Extras<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subject<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    source: Text<'a>,
    #[serde(borrow)]
    content: Obj<Box<Content<'a>>>,
}

/// The content of every subject that is read: the names do not collide, and older names stand beside newer ones.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Content<'a> {
    #[serde(borrow)]
    artifact_id: Text<'a>,
    #[serde(borrow)]
    change: Lax<Reference<'a>>,
    #[serde(borrow)]
    description: Text<'a>,
    #[serde(borrow)]
    environment: Lax<Reference<'a>>,
    #[serde(borrow)]
    errors: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    outcome: Text<'a>,
    #[serde(borrow)]
    owner: Text<'a>,
    #[serde(borrow)]
    pipeline_name: Text<'a>,
    #[serde(borrow)]
    pipeline_run: Lax<Reference<'a>>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    repository: Lax<Reference<'a>>,
    #[serde(borrow)]
    sbom: Lax<Located<'a>>,
    #[serde(borrow)]
    signature: Text<'a>,
    #[serde(borrow)]
    task_name: Text<'a>,
    #[serde(borrow)]
    test_case: Lax<Titled<'a>>,
    #[serde(borrow)]
    test_suite: Lax<Titled<'a>>,
    #[serde(borrow)]
    test_suite_run: Lax<Reference<'a>>,
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    user: Text<'a>,
    #[serde(borrow)]
    view_url: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    source: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Titled<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Located<'a> {
    #[serde(borrow)]
    uri: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
}

/// Fields of the canonical messages that CDEvents has no place for; producers may put them into `customData`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Extras<'a> {
    #[serde(borrow)]
    actor: Text<'a>,
    #[serde(borrow)]
    artifact_digest: Text<'a>,
    #[serde(borrow)]
    base_digest: Text<'a>,
    #[serde(borrow)]
    base_ref: Text<'a>,
    #[serde(borrow)]
    builder: Text<'a>,
    #[serde(borrow)]
    canary_group: Text<'a>,
    #[serde(borrow)]
    cluster: Text<'a>,
    #[serde(borrow)]
    commit: Text<'a>,
    #[serde(borrow)]
    config_digest: Text<'a>,
    #[serde(borrow)]
    flags: LaxList<Text<'a>>,
    #[serde(borrow)]
    key_id: Text<'a>,
    #[serde(borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    namespace: Text<'a>,
    #[serde(borrow)]
    parent_digests: LaxList<Text<'a>>,
    #[serde(borrow)]
    pipeline: Text<'a>,
    #[serde(borrow)]
    platform: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    #[serde(borrow)]
    region: Text<'a>,
    #[serde(borrow)]
    repository: Text<'a>,
    #[serde(borrow)]
    run: Text<'a>,
    #[serde(borrow)]
    run_source: Text<'a>,
    #[serde(borrow)]
    signer: Text<'a>,
    #[serde(borrow)]
    strategy: Text<'a>,
    weight: read::Whole<false>,
}

fn decode(text: &str, given: &Given<'_>, understood: &mut Understood) -> Result<Found, Reject> {
    if (DECODERS[0].event_type)(given.event_type) {
        return in_envelope(text, given);
    }
    let not_an_event = || Reject::new(Code::UnsupportedFormat, "context.type does not begin with dev.cdevents");
    bare(text, given, understood)?.ok_or_else(not_an_event)
}

/// Reads an event that came without an envelope, and takes its name and time from its context; `None` when it is no
/// CDEvent after all.
pub(super) fn bare(text: &str, given: &Given<'_>, understood: &mut Understood) -> Result<Option<Found>, Reject> {
    let event: CdEvent<'_> = match json(text, Code::SchemaViolation) {
        Ok(event) => event,
        Err(reject) if reject.code == Code::SchemaViolation && !text.contains("\"dev.cdevents") => return Ok(None),
        Err(reject) => {
            understood.decoder = Some(&DECODERS[0]);
            return Err(reject);
        }
    };
    let context = &event.context.0;
    if !context.kind.as_str().starts_with("dev.cdevents") {
        return Ok(None);
    }
    understood.decoder = Some(&DECODERS[0]);
    let (Some(source), Some(id)) = (context.source.get(), context.id.get()) else {
        return Err(Reject::new(Code::SchemaViolation, "context has no id or no source"));
    };
    understood.name = Some((source.to_owned(), id.to_owned()));
    understood.time = Nanos::parse(context.timestamp.as_str());
    event
        .facts(context.kind.as_str(), given.subject.as_ref())
        .map(|facts| Some(Found { facts: facts.into(), time: None }))
}

/// Reads an event that is the data of a CloudEvent, whose type stands in where the context has none.
fn in_envelope(text: &str, given: &Given<'_>) -> Result<Found, Reject> {
    let event: CdEvent<'_> = json(text, Code::SchemaViolation)?;
    let context = &event.context.0;
    let time = Nanos::parse(context.timestamp.as_str());
    let facts = event.facts(context.kind.get().unwrap_or(given.event_type), given.subject.as_ref())?;
    Ok(Found { facts: facts.into(), time })
}

impl CdEvent<'_> {
    /// `given` is the artifact that somebody names beside the event.
    fn facts(&self, kind: &str, given: Option<&Digest>) -> Result<Vec<Fact>, Reject> {
        let Some((subject, predicate)) = subject_and_predicate(kind) else { return Ok(opaque(kind)) };
        let fact: Event = match (subject, predicate) {
            ("service", "deployed" | "upgraded") => self.deployed(false)?,
            ("service", "rolledback") => self.deployed(true)?,
            ("service", "removed") => self.removed()?,
            ("artifact", "packaged") => self.packaged(given)?,
            ("artifact", "published") => {
                return Ok(self.published(given)?.into_iter().chain(self.alias_facts()).collect());
            }
            ("artifact", "signed") => self.signed(given)?,
            ("artifact", "deleted") => self.deleted(given)?,
            ("artifact", "downloaded") => self.downloaded(given)?,
            ("pipelinerun" | "build", "queued") => self.run_started(true)?,
            ("pipelinerun" | "build", "started") => self.run_started(false)?,
            ("pipelinerun" | "build", "finished") => self.run_finished()?,
            ("taskrun", "started" | "finished") => self.step(predicate == "finished")?,
            ("testcaserun" | "testcase", "finished" | "skipped") => self.tests(predicate == "skipped")?,
            ("testsuiterun" | "testsuite", "finished") => self.tests(false)?,
            ("environment", "created" | "modified" | "deleted") => self.environment(predicate == "deleted")?,
            ("repository", "created" | "modified" | "deleted") => self.repository(predicate == "deleted")?,
            ("branch", "created" | "deleted") => self.branch(predicate == "deleted")?,
            ("change", "merged") => self.change_merged()?,
            _ => return Ok(opaque(kind)),
        };
        Ok(std::iter::once(Fact::now(fact)).chain(self.alias_facts()).collect())
    }

    /// The custom data may name the digest of another algorithm beside the one in the artifact's id.
    fn alias_facts(&self) -> impl Iterator<Item = Fact> + use<> {
        let mut aliases = Aliases::default();
        if let Some(beside) = self.extras().artifact_digest.get().and_then(|text| text.parse::<Digest>().ok()) {
            let id = self.content().artifact_id.or(&self.subject.0.id);
            let named = Named::parse(id.as_str()).digest.parse::<Digest>().ok();
            aliases.note([Some(beside), named].into_iter().flatten());
        }
        aliases.into_facts()
    }

    /// What numbers the run that is the subject: its source, else the event's (SPEC §2.3).
    fn own_source(&self, run: &str) -> String {
        numbering(run, &[&self.subject.0.source, &self.context.0.source])
    }

    /// What numbers a run that is referred to: the source beside its id, else the event's.
    fn source_of(&self, run: &Reference<'_>) -> String {
        numbering(run.id.as_str(), &[&run.source, &self.context.0.source])
    }

    /// What numbers the run in the custom data, which has no place for a source in the specification.
    fn extra_source(&self) -> String {
        let extras = self.extras();
        numbering(extras.run.as_str(), &[&extras.run_source, &self.subject.0.source, &self.context.0.source])
    }

    /// The cluster that a service runs in: an environment's source tells one `prod` from another.
    fn cluster(&self) -> String {
        self.extras().cluster.or(&self.content().environment.0.source).whole()
    }

    fn platform(&self) -> String {
        image::normal_platform(&self.extras().platform.whole())
    }

    fn subject_id(&self) -> Result<&str, Reject> {
        self.subject.0.id.get().ok_or_else(|| schema("subject.id is missing or no string"))
    }

    /// The digest of the artifact that is the subject: that of its id, else of the custom data, else the given one. What
    /// an image's tag leads to is not known for sure, so that a tag alone would stand in no answer. Purls of packages have
    /// no digest in the specification's own examples, and other names may be of anything.
    fn artifact_digest(&self, artifact: &Named, given: Option<&Digest>) -> Result<String, Reject> {
        let digest = digest_or(artifact.digest.clone(), self.extras());
        if !digest.is_empty() {
            return Ok(digest);
        }
        let in_registry = |named: &ArtifactRef| named.repository.contains('/') && !named.tag.is_empty();
        let names_image = || ArtifactRef::parse(&artifact.reference).is_some_and(|named| in_registry(&named));
        match given {
            Some(given) => Ok(given.to_string()),
            None if artifact.image || (artifact.purl.is_empty() && names_image()) => {
                let reason = "subject.id names an image without its digest: put its digest there, into \
                              customData.artifactDigest, or beside the event as its subject";
                Err(Reject::new(Code::SubjectMissing, reason))
            }
            None => Ok(digest),
        }
    }

    fn content(&self) -> &Content<'_> {
        &self.subject.0.content.0
    }

    /// Custom data is whatever its producer likes: what does not fit is not read.
    fn extras(&self) -> &Extras<'_> {
        &self.custom_data.0
    }

    fn deployed(&self, rollback: bool) -> Result<Event, Reject> {
        let (service, content, extras) = (self.subject_id()?, self.content(), self.extras());
        let artifact = content.artifact_id.get().map(Named::parse).unwrap_or_default();
        Ok(Event::from(ServiceDeployed {
            service: service.to_owned(),
            environment: self.environment_id()?,
            cluster: self.cluster(),
            region: extras.region.whole(),
            namespace: extras.namespace.whole(),
            artifact_digest: digest_or(artifact.digest, extras),
            artifact_ref: artifact.reference,
            config_digest: spelled_digest(extras.config_digest.as_str()),
            flags: extras.flags.0.iter().take(FLAGS_MAX).map(Text::whole).collect(),
            strategy: strategy::parse(extras.strategy.as_str()).unwrap_or(Strategy::Unspecified).into(),
            weight: extras.weight.get_u32().filter(|weight| *weight <= 100).unwrap_or(0),
            canary_group: extras.canary_group.whole(),
            actor: extras.actor.whole(),
            run: extras.run.whole(),
            reason: extras.reason.whole(),
            rollback,
            url: content.uri.or(&content.url).whole(),
            run_source: self.extra_source(),
        }))
    }

    /// Where a service runs: a deployment to nowhere cannot be understood.
    fn environment_id(&self) -> Result<String, Reject> {
        let environment = &self.content().environment.0.id;
        environment.get().map(|_| environment.whole()).ok_or_else(|| schema("content.environment.id is missing"))
    }

    fn removed(&self) -> Result<Event, Reject> {
        let extras = self.extras();
        Ok(Event::from(ServiceRemoved {
            service: self.subject_id()?.to_owned(),
            environment: self.environment_id()?,
            cluster: self.cluster(),
            namespace: extras.namespace.whole(),
            actor: extras.actor.whole(),
            reason: extras.reason.whole(),
        }))
    }

    fn packaged(&self, given: Option<&Digest>) -> Result<Event, Reject> {
        let (artifact, content, extras) = (Named::parse(self.subject_id()?), self.content(), self.extras());
        let change = &content.change.0;
        let change_commit = read::Text(change.id.0.clone().filter(|id| is_commit(id)));
        Ok(Event::from(ArtifactPackaged {
            kind: kind(&artifact, extras),
            artifact_digest: self.artifact_digest(&artifact, given)?,
            artifact_ref: artifact.reference,
            purl: artifact.purl,
            platform: self.platform(),
            commit: extras.commit.or(&change_commit).whole().to_ascii_lowercase(),
            repository: extras.repository.or(&change.source).whole(),
            change_id: change.id.whole(),
            run: extras.run.whole(),
            pipeline: extras.pipeline.whole(),
            builder: extras.builder.whole(),
            sbom_uri: content.sbom.0.uri.or(&content.sbom.0.url).whole(),
            parent_digests: digests(&extras.parent_digests),
            base_digest: canonical_digest(extras.base_digest.as_str()),
            base_ref: canonical_ref(extras.base_ref.as_str()),
            materials: vec![],
            run_source: self.extra_source(),
        }))
    }

    fn published(&self, given: Option<&Digest>) -> Result<Vec<Fact>, Reject> {
        let (artifact, content, extras) = (Named::parse(self.subject_id()?), self.content(), self.extras());
        let kind = kind(&artifact, extras);
        let digest = self.artifact_digest(&artifact, given)?;
        let tag = artifact.tag.filter(|_| !digest.is_empty());
        let published = ArtifactPublished {
            artifact_digest: digest.clone(),
            artifact_ref: artifact.reference,
            purl: artifact.purl,
            kind,
            platform: self.platform(),
            digest_kind: 0,
            run: extras.run.whole(),
            sbom_uri: content.sbom.0.uri.or(&content.sbom.0.url).whole(),
            actor: content.user.or(&extras.actor).whole(),
            run_source: self.extra_source(),
        };
        let tag = tag.map(|(repository, tag)| Fact::now(TagObserved { repository, tag, digest }));
        Ok(std::iter::once(Fact::now(published)).chain(tag).collect())
    }

    fn signed(&self, given: Option<&Digest>) -> Result<Event, Reject> {
        let (artifact, extras) = (Named::parse(self.subject_id()?), self.extras());
        Ok(Event::from(ArtifactSigned {
            artifact_digest: self.artifact_digest(&artifact, given)?,
            artifact_ref: artifact.reference,
            signature: self.content().signature.whole(),
            key_id: extras.key_id.whole(),
            signer: extras.signer.whole(),
        }))
    }

    fn deleted(&self, given: Option<&Digest>) -> Result<Event, Reject> {
        let (artifact, extras) = (Named::parse(self.subject_id()?), self.extras());
        Ok(Event::from(ArtifactDeleted {
            artifact_digest: self.artifact_digest(&artifact, given)?,
            artifact_ref: artifact.reference,
            actor: self.content().user.or(&extras.actor).whole(),
        }))
    }

    fn downloaded(&self, given: Option<&Digest>) -> Result<Event, Reject> {
        let (artifact, extras) = (Named::parse(self.subject_id()?), self.extras());
        Ok(Event::from(ArtifactDownloaded {
            artifact_digest: self.artifact_digest(&artifact, given)?,
            artifact_ref: artifact.reference,
            actor: self.content().user.or(&extras.actor).whole(),
        }))
    }

    fn run_started(&self, queued: bool) -> Result<Event, Reject> {
        let (content, extras) = (self.content(), self.extras());
        Ok(Event::from(RunStarted {
            run: self.subject_id()?.to_owned(),
            pipeline: content.pipeline_name.or(&extras.pipeline).whole(),
            url: content.uri.or(&content.url).whole(),
            parent_run: content.pipeline_run.0.id.whole(),
            commit: extras.commit.whole(),
            repository: extras.repository.whole(),
            builder: extras.builder.whole(),
            queued,
            run_source: self.own_source(self.subject_id()?),
            parent_run_source: self.source_of(&content.pipeline_run.0),
        }))
    }

    fn run_finished(&self) -> Result<Event, Reject> {
        let (content, extras) = (self.content(), self.extras());
        let product = content.artifact_id.get().map(Named::parse).unwrap_or_default();
        let by_digest = !product.digest.is_empty();
        let reference = Some(product.reference).filter(|reference| !by_digest && !reference.is_empty());
        Ok(Event::from(RunFinished {
            run: self.subject_id()?.to_owned(),
            pipeline: content.pipeline_name.or(&extras.pipeline).whole(),
            url: content.uri.or(&content.url).whole(),
            parent_run: content.pipeline_run.0.id.whole(),
            commit: extras.commit.whole(),
            repository: extras.repository.whole(),
            builder: extras.builder.whole(),
            outcome: outcome(content.outcome.as_str()).into(),
            errors: content.errors.whole(),
            artifact_digests: Some(product.digest).filter(|_| by_digest).into_iter().collect(),
            artifact_refs: reference.into_iter().collect(),
            run_source: self.own_source(self.subject_id()?),
            parent_run_source: self.source_of(&content.pipeline_run.0),
        }))
    }

    fn step(&self, finished: bool) -> Result<Event, Reject> {
        let content = self.content();
        let outcome = if finished { outcome(content.outcome.as_str()) } else { Outcome::Unspecified };
        Ok(Event::from(StepFinished {
            step: self.subject_id()?.to_owned(),
            run: content.pipeline_run.0.id.whole(),
            name: content.task_name.whole(),
            url: content.uri.or(&content.url).whole(),
            outcome: outcome.into(),
            errors: content.errors.whole(),
            run_source: self.source_of(&content.pipeline_run.0),
        }))
    }

    fn tests(&self, skipped: bool) -> Result<Event, Reject> {
        let (content, extras, id) = (self.content(), self.extras(), self.subject_id()?);
        let outcome = if skipped { Outcome::Skipped } else { outcome(content.outcome.as_str()) };
        let case = &content.test_case.0;
        let suite = &content.test_suite.0;
        let name = suite.name.or(&suite.id).or(case.name.or(&case.id)).or(&content.name);
        let suite_run = &content.test_suite_run.0;
        let (run, run_source) = match suite_run.id.get() {
            Some(run) => (run, self.source_of(suite_run)),
            None => (id, self.own_source(id)),
        };
        Ok(Event::from(TestsFinished {
            artifact_digest: canonical_digest(extras.artifact_digest.as_str()),
            artifact_ref: String::new(),
            run: run.to_owned(),
            suite: name.whole(),
            outcome: outcome.into(),
            passed: 0,
            failed: 0,
            skipped: 0,
            url: content.uri.or(&content.url).whole(),
            reason: content.reason.whole(),
            environment: content.environment.0.id.whole(),
            run_source,
        }))
    }

    fn environment(&self, deleted: bool) -> Result<Event, Reject> {
        let content = self.content();
        let (name, url) = (content.name.whole(), content.uri.or(&content.url).whole());
        Ok(Event::from(EnvironmentChanged { environment: self.subject_id()?.to_owned(), name, url, deleted }))
    }

    fn repository(&self, deleted: bool) -> Result<Event, Reject> {
        let content = self.content();
        let address = content.uri.or(&content.url);
        Ok(Event::from(RepositoryObserved {
            repository: address.get().map_or_else(|| self.subject_id(), Ok)?.to_owned(),
            name: content.name.whole(),
            owner: content.owner.whole(),
            url: content.view_url.or(address).whole(),
            deleted,
        }))
    }

    fn branch(&self, deleted: bool) -> Result<Event, Reject> {
        let extras = self.extras();
        Ok(Event::from(RefUpdated {
            repository: repository_name(&self.content().repository.0),
            r#ref: self.subject_id()?.to_owned(),
            commit: extras.commit.whole(),
            previous_commit: String::new(),
            deleted,
        }))
    }

    fn change_merged(&self) -> Result<Event, Reject> {
        let (content, extras, id) = (self.content(), self.extras(), self.subject_id()?);
        let commit = extras.commit.get().or(Some(id).filter(|id| is_commit(id))).unwrap_or_default();
        Ok(Event::from(ChangeMerged {
            change_id: id.to_owned(),
            repository: repository_name(&content.repository.0),
            commit: commit.to_ascii_lowercase(),
            title: content.description.whole(),
            url: content.uri.or(&content.url).whole(),
            target_branch: String::new(),
            author: content.user.or(&extras.actor).whole(),
        }))
    }
}

/// The first source that is named, for a run that is no more than a number there; an absolute URI is unique by itself.
fn numbering(run: &str, sources: &[&Text<'_>]) -> String {
    if run.is_empty() || is_absolute_uri(run) {
        return String::new();
    }
    sources.iter().find_map(|source| source.get()).map_or_else(String::new, str::to_owned)
}

fn schema(reason: &str) -> Reject {
    Reject::new(Code::SchemaViolation, reason)
}

/// `service` and `deployed` of `dev.cdevents.service.deployed.0.3.0`; `None` for custom events and other majors.
fn subject_and_predicate(kind: &str) -> Option<(&str, &str)> {
    let (subject, rest) = kind.strip_prefix("dev.cdevents.")?.split_once('.')?;
    let (predicate, version) = rest.split_once('.').unwrap_or((rest, "0"));
    (version == "0" || version.starts_with("0.")).then_some((subject, predicate))
}

fn opaque(kind: &str) -> Vec<Fact> {
    let event_type = kind.to_owned();
    vec![Fact::now(OpaqueReceived { event_type, media_type: "application/json".into() })]
}

/// An outcome; producers of task runs write what they like.
fn outcome(word: &str) -> Outcome {
    let word = word.to_ascii_lowercase();
    let known = [
        ("succ", Outcome::Success),
        ("pass", Outcome::Success),
        ("fail", Outcome::Failure),
        ("cancel", Outcome::Cancelled),
        ("err", Outcome::Error),
        ("skip", Outcome::Skipped),
    ];
    let found = known.into_iter().find(|(prefix, _)| word.starts_with(prefix));
    found.map_or(Outcome::Unspecified, |(_, outcome)| outcome)
}

/// The digest that the id names, else the one in the custom data.
fn digest_or(digest: String, extras: &Extras<'_>) -> String {
    if digest.is_empty() { canonical_digest(extras.artifact_digest.as_str()) } else { digest }
}

fn digests(list: &LaxList<Text<'_>>) -> Vec<String> {
    list.0.iter().take(ITEMS_MAX).filter_map(Text::get).map(canonical_digest).collect()
}

fn kind(artifact: &Named, extras: &Extras<'_>) -> i32 {
    let said = extras.kind.get().and_then(artifact_kind::parse);
    let found = match (said, artifact.image, artifact.purl.is_empty()) {
        (Some(said), _, _) => said,
        (None, true, _) => ArtifactKind::ContainerImage,
        (None, false, false) => ArtifactKind::Package,
        (None, false, true) => ArtifactKind::Unspecified,
    };
    found.into()
}

/// A repository's URL from a reference, whose source is the forge and whose id is the path there.
fn repository_name(reference: &Reference<'_>) -> String {
    let (source, id) = (reference.source.as_str().trim_end_matches('/'), reference.id.as_str());
    if source.contains("://") && !id.contains("://") && !id.is_empty() {
        return format!("{source}/{}", id.trim_start_matches('/'));
    }
    reference.id.or(&reference.source).whole()
}
