//! What readers get: the shapes of SPEC §3.2, §4, §6 and §9, ready to be written as JSON.

use pedigraph_proto::Nanos;
use serde::{Deserialize, Serialize};

/// The ledger entry that proves a fact: `{"index","leafHash"}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Index in the tenant's log.
    pub index: u64,
    /// Leaf hash, lower-case hex.
    pub leaf_hash: String,
}

/// An artifact version in answers (SPEC §3.2).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// UUIDv5 of tenant and digest.
    pub id: String,
    /// Canonical digest (the manifest's where a config is known too).
    pub digest: String,
    /// `repository:tag` or `repository@digest`; the digest where nothing else is known.
    pub artifact_ref: String,
    /// 1 = first of its line.
    pub sequence_number: u64,
    /// Earliest event time of a build, package or publish fact, else of any.
    pub created_at: Nanos,
    /// Source of the event that proves it.
    pub source: String,
    /// Such as `container_image`.
    pub kind: String,
    /// `os/architecture[/variant]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What it is known by beside the canonical digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What it is like at a glance; absent where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub badges: Option<Badges>,
    /// How many verdicts on it say what; absent where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_counts: Option<VerdictCounts>,
    /// SHA-256 over the current events that name it (SPEC §3.2), `sha256:` and hex: `/artifacts/{digest}/inputs` lists
    /// them. Absent in a trace, and where there are more of them than a node is read for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay_hash: Option<String>,
    /// Entry behind `createdAt`.
    pub proof: Proof,
}

/// What an artifact is like at a glance (SPEC §3.2).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Badges {
    /// Vulnerabilities with a verdict of affected or under_investigation here and in no parent; by `asOf` only.
    pub new_vulns: u64,
    /// Those with one in some parent and not here; by `asOf` only.
    pub resolved_vulns: u64,
    /// The ledger index that these two go up to, where it is lower than the answer's: their view does wide work in steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vulns_as_of: Option<u64>,
    /// `valid` if any signature of it, or of an index that lists it, is; else `invalid`, `unverified`, `none`. Absent
    /// where there are more of them than a badge is read for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_status: Option<String>,
    /// All of it is described by SBOMs: it, or each manifest that it lists.
    pub sbom: bool,
    /// Environments in which it runs, by name.
    pub deployed_in: Vec<String>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub deployed_in_cut: u64,
    /// Not every place to which it was ever deployed was looked at: it may run in more.
    #[serde(skip_serializing_if = "is_false")]
    pub deployed_in_at_least: bool,
    /// How much of the least that is asked of an artifact is known (SPEC §7): digest, commit, run, SBOM, a quarter each.
    pub completeness: f64,
}

/// How many verdicts on an artifact say what, by `asOf` only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictCounts {
    /// Vulnerabilities by which it is affected.
    pub affected: u64,
    /// Those that are being looked into.
    pub under_investigation: u64,
    /// Those that were and are fixed.
    pub fixed: u64,
    /// Those that are there but do no harm.
    pub not_affected: u64,
    /// It, or each manifest that it lists, has an SBOM or was scanned. Where it was not, that nothing is counted does not
    /// mean that nothing is there.
    pub looked_into: bool,
    /// The ledger index that the counts go up to, where it is lower than the answer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u64>,
}

/// What the nodes of an answer have besides what names them. Without it they are cheaper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Badges.
    pub badges: bool,
    /// Counts of verdicts.
    pub verdicts: bool,
}

impl Shown {
    /// Everything.
    pub const ALL: Shown = Shown { badges: true, verdicts: true };
    /// Nothing.
    pub const NONE: Shown = Shown { badges: false, verdicts: false };
}

/// `GET /api/v1/artifacts/{digest}/hover`: what a card shows.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hover {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// The newest stretch in which a tag points or pointed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// Where it runs, by environment, service, since.
    pub running: Vec<RunsHere>,
    /// How many more of these there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub running_cut: u64,
    /// Not every place to which it was ever deployed was looked at: it may run in more.
    #[serde(skip_serializing_if = "is_false")]
    pub running_at_least: bool,
    /// Of its own evidence that is current.
    pub counts: EvidenceCounts,
}

/// A place where an artifact runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunsHere {
    /// Its environment.
    pub environment: String,
    /// As which service.
    pub service: String,
    /// `repository:tag` or `repository@digest`, as it is known there.
    pub artifact_ref: String,
    /// Since when.
    pub since: Nanos,
    /// Entry that changed it last.
    pub proof: Proof,
}

/// How much of an artifact's own evidence is current.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceCounts {
    /// The newest SBOM of each tool and root component.
    pub sboms: u64,
    /// The newest scan of each scanner and target.
    pub scans: u64,
    /// Entries with attestations or signatures.
    pub attestations: u64,
    /// There are more than these numbers say.
    #[serde(skip_serializing_if = "is_false")]
    pub at_least: bool,
}

/// `GET /api/v1/artifacts/{digest}/inputs`: the events that a replay hash covers.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Canonical digest.
    pub digest: String,
    /// What it is known by beside the canonical digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Version of the rules by which the hash is made.
    pub rules: String,
    /// What stands in the hash as its subject.
    pub subject: String,
    /// By index: each event once.
    pub inputs: Vec<Input>,
    /// SHA-256 of the canonical JSON (RFC 8785) of `{"eventIds","rules","subject"}`, ids sorted.
    pub replay_hash: String,
}

/// An event that a replay hash covers.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// UUID.
    pub event_id: String,
    /// `build`, `publication`, `sbom`, `scan`, `attestation`, `signature`, `vex`: the first of these that it is.
    pub kind: String,
    /// Its entry.
    pub proof: Proof,
}

/// An edge between artifacts (SPEC §3.1).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Digest.
    pub from: String,
    /// Digest.
    pub to: String,
    /// `parent`, `build` or `base`.
    pub relationship: String,
    /// Such as `declared`, `semver`, `tag`, `order`, `index`, `run`, `provenance`, `annotation`, `layers`, `history`.
    pub method: String,
    /// 0..1.
    pub confidence: f64,
    /// Entry that proves it.
    pub proof: Proof,
}

/// What was cut from a graph, and how much.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Truncated {
    /// Nodes that were reached and left out.
    pub nodes: u64,
    /// Edges that were reached and left out.
    pub edges: u64,
    /// There is more than these numbers say: not everything was counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
    /// Nodes that are listed without all of their edges.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_followed: u64,
    /// Nodes that are listed without their badges or their replay hash.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_described: u64,
    /// Which limit cut it: `maxDepth`, `nodes`, `breadth`, `cost`; `events` where very many name a node.
    pub by: String,
}

/// `GET /api/v1/lineage/{digest}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lineage {
    /// The artifact asked for.
    pub artifact: Node,
    /// By sequenceNumber descending, createdAt descending, digest.
    pub nodes: Vec<Node>,
    /// By (from, to, relationship).
    pub edges: Vec<Edge>,
    /// Bases that are named by a tag whose digest at build time is not known, by (derived, reference).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unresolved: Vec<UnresolvedBase>,
    /// Present when the graph was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
}

/// A base that is named by a tag whose digest at build time is not known: observe the tag to see the edge.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnresolvedBase {
    /// Digest of the derived artifact.
    pub derived: String,
    /// `repository:tag` of the base.
    pub reference: String,
    /// Entry that names it.
    pub proof: Proof,
}

/// Which way lineage is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To what it comes from.
    Up,
    /// To what comes from it.
    Down,
    /// Both.
    Both,
}

/// A tag over time.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// `repository:tag`.
    pub name: String,
    /// Since when it points here.
    pub from: Nanos,
    /// Until when; absent while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Nanos>,
    /// Entry that proves it.
    pub proof: Proof,
}

/// A piece of evidence or work around an artifact, listed in its answer.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What it is: for an SBOM its digest, for a scan its id, for an attestation the predicate type ...
    pub id: String,
    /// Such as `sbom`, `attestation`, `scan`, `tests`, `signature`, `commit`, `run`, `deployment`.
    pub kind: String,
    /// One line for a person.
    pub summary: String,
    /// When it happened.
    pub occurred_at: Nanos,
    /// Kind-specific fields, camelCase.
    pub details: serde_json::Map<String, serde_json::Value>,
    /// Entry that proves it.
    pub proof: Proof,
}

/// Digests of the neighbours in lineage.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbours {
    /// `parent` edges in.
    pub parents: Vec<String>,
    /// `parent` edges out.
    pub children: Vec<String>,
    /// `base` edges in.
    pub bases: Vec<String>,
}

/// `GET /api/v1/artifacts/{digest}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// Tags over time, newest first.
    pub tags: Vec<Tag>,
    /// Newest known source commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Item>,
    /// Newest known run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Item>,
    /// SBOMs, newest first.
    pub sboms: Vec<Item>,
    /// Attestations and signatures, newest first.
    pub attestations: Vec<Item>,
    /// Tests, newest first.
    pub tests: Vec<Item>,
    /// Scans, newest first.
    pub scans: Vec<Item>,
    /// Where it was deployed, newest first.
    pub deployments: Vec<Item>,
    /// What all that is said of it comes to, by vulnerability: the first of them.
    pub verdicts: Vec<VerdictHere>,
    /// The index up to which `verdicts` are true, where their view is behind the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts_as_of: Option<u64>,
    /// VEX statements that name it, newest first.
    pub statements: Vec<Item>,
    /// Where it is said to be deleted, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deletions: Vec<Item>,
    /// Neighbours.
    pub lineage: Neighbours,
    /// Lists that were cut at their limit, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<String>,
}

/// Something that runs, as declared.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Known once the reference resolves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Percent of traffic.
    pub weight: u32,
    /// Since when this artifact runs here.
    pub since: Nanos,
    /// `rolling`, `canary`, `blue_green`, `recreate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Digest of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_digest: Option<String>,
    /// Who deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The run that deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Cluster, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Namespace, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Entry that proves it.
    pub proof: Proof,
}

/// A service in an environment.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// Its name.
    pub service: String,
    /// What was declared to run: at most [`RUNNING_MAX`](super::shown::RUNNING_MAX).
    pub running: Vec<Running>,
    /// How many more run.
    #[serde(skip_serializing_if = "is_zero")]
    pub running_cut: u64,
    /// Not every place to which it was ever deployed was looked at: more may run.
    #[serde(skip_serializing_if = "is_false")]
    pub running_at_least: bool,
    /// What was observed (comes with the runtime family).
    pub observed: Vec<serde_json::Value>,
    /// `none`, `drifted`, `undeclared`, `not_observed`.
    pub drift: String,
    /// Deployments are frozen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Deployments of canaries that were left out since more ran than one answer tells apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub canaries_cut: u64,
}

impl ServiceState {
    /// Whether anything runs, or may.
    pub(super) fn runs(&self) -> bool {
        !self.running.is_empty() || self.running_at_least
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(super) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A service in one environment, as `GET /api/v1/services/{service}` lists it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceIn {
    /// The environment's name.
    pub environment: String,
    /// What runs there.
    #[serde(flatten)]
    pub state: ServiceState,
}

/// `GET /api/v1/environments/{env}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// Its name.
    pub environment: String,
    /// The moment asked for; absent: the newest known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Nanos>,
    /// When it was deleted, if nothing named it later. What ran there is still shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Nanos>,
    /// Who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// By service.
    pub services: Vec<ServiceState>,
}

/// That an environment was deleted.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// When.
    pub at: Nanos,
    /// Who sent it: events of this kind name nobody else.
    pub source: String,
    /// Entry that proves it.
    pub proof: Proof,
}

/// One line of `GET /api/v1/environments`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSummary {
    /// Its name.
    pub environment: String,
    /// Services that run.
    pub services: u64,
    /// Newest change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Nanos>,
    /// When it was deleted, if nothing named it later. What ran there is still shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Nanos>,
    /// Who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// One change of an environment.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When it happened.
    pub at: Nanos,
    /// The service; empty for a change of the whole environment.
    pub service: String,
    /// What ran before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its digest, once that is known: a tag may name another one today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_digest: Option<String>,
    /// What runs from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its digest, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_digest: Option<String>,
    /// `deploy`, `promote`, `rollback`, `rollforward`, `remove`, `freeze`, `unfreeze`, `canary`, `drift`.
    pub kind: String,
    /// Why, when said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Entry that proves it.
    pub proof: Proof,
}

/// A page of rows with the key to go on from.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Opaque key of the next page; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// A hop of a trace.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// `deployment`, `artifact`, `attestations`, `sbom`, `scans`, `tests`, `run`, `commit`, `base`.
    pub kind: String,
    /// `found`, `missing`, `conflict`.
    pub status: String,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// One line for a person.
    pub summary: String,
    /// When it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Nanos>,
    /// Why it is missing or in conflict, and what to send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Entry that proves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// `GET /api/v1/trace?ref=`; the server adds `elapsedMs`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// As asked.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The artifact it led to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Node>,
    /// From the running thing back to the source.
    pub hops: Vec<Hop>,
    /// No hop is missing or in conflict.
    pub complete: bool,
}

/// A component of an artifact with the way to it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentPath {
    /// The component.
    pub purl: String,
    /// From the artifact's root to it, itself last; empty when the SBOM has no dependency graph.
    pub path: Vec<String>,
}

/// An artifact that contains what was asked for.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImpactRow {
    /// Where it runs; absent in `notDeployed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What it runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Digest.
    pub digest: String,
    /// Since when it runs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Nanos>,
    /// The matching components, with paths.
    pub components: Vec<ComponentPath>,
    /// How many more of them there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub components_cut: u64,
    /// Of a vulnerability: what all statements and findings about it come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictSummary>,
    /// When this was first known (recorded).
    pub first_known_at: Nanos,
    /// The next version of its line that is known to be free of it, as `artifactRef`; versions that no SBOM describes
    /// are passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    /// No later version that was looked at is free of it, and more follow.
    #[serde(skip_serializing_if = "is_false")]
    pub fix_search_cut: bool,
    /// Of what runs and has a `fixedIn`: how far versions that are free of it are rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix_progress: Option<FixProgress>,
    /// Entry that proves the contents.
    pub proof: Proof,
}

/// How far versions of a line that are free of something are rolled out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FixProgress {
    /// Places (environment, service, cluster, namespace) in which a version of the line runs.
    pub lanes: u64,
    /// Those of them in which one that is free of it runs, beside others or alone.
    pub fixed: u64,
    /// The same of the row's environment alone.
    pub in_environment: FixCount,
    /// There are more versions or places than were counted.
    #[serde(skip_serializing_if = "is_false")]
    pub at_least: bool,
}

/// How far versions of a line that are free of something are rolled out in one environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FixCount {
    /// Places in which a version of the line runs.
    pub lanes: u64,
    /// Those of them in which one that is free of it runs, beside others or alone.
    pub fixed: u64,
}

/// Something that runs and says nothing about its contents.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownRow {
    /// Where it runs.
    pub environment: String,
    /// What it runs as.
    pub service: String,
    /// Digest, when known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `repository:tag` or `repository@digest`.
    pub artifact_ref: String,
    /// Why its contents are unknown.
    pub why: String,
}

/// How many rows each list has in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImpactCounts {
    /// Running and containing it.
    pub deployed: u64,
    /// Containing it and running nowhere.
    pub not_deployed: u64,
    /// Cleared by a verdict (never for a purl).
    pub cleared: u64,
    /// Running with unknown contents.
    pub unknown: u64,
}

/// `GET /api/v1/components/impact`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// As asked, canonical; absent where a vulnerability was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// The CVE, else the smallest id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vulnerability: Option<String>,
    /// Its other names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aliases: Option<Vec<String>>,
    /// The `vers:` range asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<String>,
    /// Whether anybody named the vulnerability, or lists the package in any version. Where not, empty lists say nothing.
    pub known: bool,
    /// By environment, service, since where it fits a page; else, as the other lists, in the order of the store.
    pub deployed: Vec<ImpactRow>,
    /// Left out when one environment was asked for. By artifactRef, digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_deployed: Option<Vec<ImpactRow>>,
    /// Fixed or not affected, as somebody says who may: who has a role, where roles are configured. Empty for a purl.
    pub cleared: Vec<ImpactRow>,
    /// By environment, service.
    pub unknown: Vec<UnknownRow>,
    /// Totals, exact up to 10,000.
    pub counts: ImpactCounts,
    /// The counts that are lower bounds, such as `notDeployed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_least: Vec<String>,
    /// The server puts the page token here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// What all statements and findings about an artifact and a vulnerability come to.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictSummary {
    /// `affected`, `under_investigation`, `fixed`, `not_affected`.
    pub status: String,
    /// Winning sum of weights over all, 0..1 with four decimals.
    pub confidence: f64,
    /// UUIDv5 of tenant, artifact, vulnerability and replay hash.
    pub consensus_projection_id: String,
    /// The voices differ.
    pub conflict: bool,
}

/// `GET /api/v1/artifacts/{digest}/verdicts/{cve}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Canonical digest.
    pub digest: String,
    /// The CVE, else the smallest id.
    pub vulnerability: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// What they come to.
    #[serde(flatten)]
    pub summary: VerdictSummary,
    /// Of an index: its manifests, by platform.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformVerdict>,
    /// Every statement and finding, those that count first; then newest first. An answer has at most
    /// [`EXPLANATION_MAX`](super::shown::EXPLANATION_MAX) of them.
    pub explanation: Vec<Explained>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub explanation_cut: u64,
    /// The page that lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
    /// Statements of versions of documents that newer versions replace, and scans that found it and that newer ones of
    /// their scanner and target replace: they are counted and not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub superseded: u64,
    /// There are more scans than were counted.
    #[serde(skip_serializing_if = "is_false")]
    pub superseded_at_least: bool,
    /// SHA-256 over the events of the explanation (SPEC §3.2).
    pub replay_hash: String,
}

/// The verdict on one manifest of an index.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformVerdict {
    /// `os/architecture[/variant]`, where the index says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Digest of the manifest.
    pub digest: String,
    /// As of the whole; `unknown` where nobody says anything about it.
    pub status: String,
    /// As of the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// A statement or finding behind a verdict.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Who issued the statement; of a finding the scanner or the advisory.
    pub issuer: String,
    /// `vex` or `finding`.
    pub kind: String,
    /// As of a verdict; empty where it says none that counts.
    pub status: String,
    /// The document's own word, where it differs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub raw_status: String,
    /// Of the voice that it is part of, 0..1; 0 where it does not count.
    pub weight: f64,
    /// Why not affected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub justification: String,
    /// What the issuer says of the impact.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub impact: String,
    /// What the issuer says to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// When it was said.
    pub time: Nanos,
    /// It counts.
    pub applies: bool,
    /// Why it does or does not.
    pub reason: String,
    /// The components that it is about; none: the whole artifact.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub components_cut: u64,
    /// Of a finding: a version that is free of it. It does not say that this artifact is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fixed_version: String,
    /// Of a finding, as its source says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub severity: String,
    /// Of an index: the manifest that it is heard of, by platform or digest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Entry that proves it.
    pub proof: Proof,
}

/// `GET /api/v1/lineage/diff`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Canonical digest.
    pub from: String,
    /// Canonical digest.
    pub to: String,
    /// Components.
    pub sbom_diff: SbomDiff,
    /// Vulnerabilities whose verdict is another one, by CVE.
    pub vex_diff: Vec<VerdictChange>,
    /// Vulnerabilities that are reached otherwise, by CVE.
    pub reachability_diff: Vec<ReachabilityChange>,
    /// Over the events behind it (SPEC §3.2), with `from..to` as its subject.
    pub replay_hash: String,
}

/// What is the same of two artifacts.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Sides<T> {
    /// Of the first.
    pub a: T,
    /// Of the second.
    pub b: T,
}

/// `GET /api/v1/lineage/compare`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compare {
    /// The first.
    pub a: Node,
    /// The second.
    pub b: Node,
    /// The nearest artifacts that both come from, nearest first; one of the two where the other comes from it.
    pub common_ancestors: Vec<Ancestor>,
    /// How many more of them were found.
    #[serde(skip_serializing_if = "is_zero")]
    pub common_ancestors_cut: u64,
    /// Edges from `a` up to the nearest common ancestor, then down to `b`; empty where none is known.
    pub path: Vec<Edge>,
    /// Which limits ended the search for ancestors: `nodes`, `breadth`, `cost`. There may be nearer ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<String>,
    /// What changed from `a` to `b`.
    pub diff: Diff,
    /// Where each was deployed, newest first.
    pub deployments: Sides<Vec<Item>>,
    /// Attestations and signatures, newest first.
    pub attestations: Sides<Vec<Item>>,
    /// Tests, newest first.
    pub tests: Sides<Vec<Item>>,
    /// Decisions of gates (they come with gates).
    pub gates: Sides<Vec<serde_json::Value>>,
    /// What each was made of.
    pub build_inputs: Sides<BuildInputs>,
    /// Lists that were cut at their limit, such as `a.tests`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

/// An artifact that two others come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    /// Canonical digest.
    pub digest: String,
    /// What it is called.
    pub artifact_ref: String,
    /// Edges between it and the first; 0 where it is that.
    pub steps_from_a: u64,
    /// The same of the second.
    pub steps_from_b: u64,
}

/// What an artifact was made of.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildInputs {
    /// Newest known source commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Item>,
    /// Newest known run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Item>,
    /// Materials and bases that builds name by digest, by uri and digest.
    pub materials: Vec<BuildMaterial>,
    /// How many more of them were found.
    #[serde(skip_serializing_if = "is_zero")]
    pub materials_cut: u64,
    /// There are more than were looked at.
    #[serde(skip_serializing_if = "is_false")]
    pub materials_at_least: bool,
}

/// What a build names as a material or base.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct BuildMaterial {
    /// As the build writes it; empty where it does not.
    pub uri: String,
    /// Its digest.
    pub digest: String,
}

/// `GET /api/v1/artifacts/{digest}/sboms`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sboms {
    /// Canonical digest.
    pub digest: String,
    /// Newest first.
    pub sboms: Vec<SbomOf>,
    /// There are more.
    #[serde(skip_serializing_if = "is_false")]
    pub sboms_cut: bool,
    /// Components that some of those that count list and others do not, by purl; where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreements: Option<Vec<Disagreement>>,
    /// How many there are in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreements_total: Option<u64>,
    /// How many of the SBOMs that count were compared for that: the newest ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<u64>,
    /// How many count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_total: Option<u64>,
}

/// An SBOM of an artifact.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SbomOf {
    /// What it is.
    #[serde(flatten)]
    pub item: Item,
    /// It is the newest of its tool and root component: it counts.
    pub current: bool,
}

/// A component of which SBOMs of one digest disagree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disagreement {
    /// Its purl; name and version where it has none.
    pub purl: String,
    /// Ids of SBOMs that list it.
    #[serde(rename = "in")]
    pub listed_in: Vec<String>,
    /// Ids of those that do not.
    pub not_in: Vec<String>,
}

/// What changed of components, each list by purl.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SbomDiff {
    /// Those that came.
    pub added: Vec<Added>,
    /// Those that went.
    pub removed: Vec<Added>,
    /// Those of another version.
    pub version_changed: Vec<VersionChanged>,
    /// Those of other licences, compared as SPDX expressions.
    pub license_changed: Vec<LicenseChanged>,
    /// Those of the same version whose digests by one algorithm differ.
    pub content_changed: Vec<ContentChanged>,
    /// How many of each.
    pub summary: DiffSummary,
    /// Components that differ and are counted, and not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut: u64,
    /// `from`, `to`: sides that no SBOM, or not one of each manifest, describes. Of one that nobody described the lists are
    /// empty, since it is not known what differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undescribed: Vec<String>,
}

/// How many components of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffSummary {
    /// Those that came.
    pub added: u64,
    /// Those that went.
    pub removed: u64,
    /// Those of another version.
    pub version_changed: u64,
    /// Those of other licences.
    pub license_changed: u64,
    /// Those of another content.
    pub content_changed: u64,
    /// Those that are the same on both sides.
    pub unchanged: u64,
}

/// A component that came or went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Added {
    /// Its purl, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licences; empty for none.
    pub license: String,
}

/// A component of another version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionChanged {
    /// Its purl without version; empty where it has none.
    pub purl: String,
    /// Its name, where it has no purl.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Before.
    pub from_version: String,
    /// After.
    pub to_version: String,
}

/// A component of other licences.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LicenseChanged {
    /// Its purl; empty where it has none.
    pub purl: String,
    /// Its name, where it has no purl.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version, after.
    pub version: String,
    /// Before.
    pub from_license: String,
    /// After.
    pub to_license: String,
}

/// A component of another content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentChanged {
    /// Its purl; empty where it has none.
    pub purl: String,
    /// Its name, where it has no purl.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its version.
    pub version: String,
    /// Before.
    pub from_digest: String,
    /// After, by the same algorithm.
    pub to_digest: String,
}

/// A vulnerability whose verdict is another one.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictChange {
    /// The CVE, else the smallest id.
    pub cve: String,
    /// Before; `none` where nothing was said.
    pub from_status: String,
    /// After.
    pub to_status: String,
    /// The cause, for a person.
    pub reason: String,
    /// Such as `component_added`, `statement_changed`, `finding_appeared`.
    pub reason_code: String,
    /// The entry that proves the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_link: Option<String>,
}

/// Why a verdict differs along an edge.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rationale {
    /// The cause, for a person.
    pub reason: String,
    /// Such as `component_added`, `statement_changed`, `finding_appeared`.
    pub reason_code: String,
    /// The entry that proves the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_link: Option<String>,
    /// `fromConfidence` and `toConfidence`, 0..1, of the verdicts that there are.
    pub metadata: std::collections::BTreeMap<String, f64>,
}

/// Where the verdict on a vulnerability differs along a `parent` edge (SPEC §5, "VEX deltas").
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VexDelta {
    /// UUIDv5 of tenant, from, to and cve.
    pub id: String,
    /// The older version.
    pub from_artifact_digest: String,
    /// The next one.
    pub to_artifact_digest: String,
    /// The CVE, else the smallest id.
    pub cve: String,
    /// Of the older one; `none` where it has no verdict.
    pub from_status: String,
    /// Of the next one.
    pub to_status: String,
    /// Why.
    pub rationale: Rationale,
    /// Over the events behind both verdicts; its subject is `<from>..<to>`.
    pub replay_hash: String,
    /// When the first entry since which these two differ so was recorded.
    pub created_at: Nanos,
}

/// A page of deltas.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VexDeltas {
    /// By (from, to, cve); lists that are longer than a page come in the order of the store.
    pub deltas: Vec<VexDelta>,
    /// Where the list goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// A verdict in the answer about its artifact, as the view of verdicts keeps it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictHere {
    /// The CVE, else the smallest id.
    pub cve: String,
    /// `affected`, `under_investigation`, `fixed`, `not_affected`.
    pub verdict_status: String,
    /// When the entry since which it holds was recorded.
    pub first_known_at: Nanos,
    /// That entry.
    pub proof: Proof,
}

/// A verdict on an artifact, with an SBOM of it (SPEC §5, "SBOM–verdict links").
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictLink {
    /// What it is on.
    pub artifact_digest: String,
    /// Digest of the document that is a current SBOM of the artifact; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sbom_version_id: Option<String>,
    /// The CVE, else the smallest id.
    pub cve: String,
    /// Id of the verdict.
    pub consensus_projection_id: String,
    /// `affected`, `under_investigation`, `fixed`, `not_affected`.
    pub verdict_status: String,
    /// 0..1.
    pub confidence_score: f64,
    /// When the newest event behind it was recorded.
    pub linked_at: Nanos,
}

/// A page of verdicts.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictLinks {
    /// By vulnerability on one artifact, by artifact of one vulnerability.
    pub verdicts: Vec<VerdictLink>,
    /// Where the list goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// How an artifact compares with its parents (SPEC §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VulnBadges {
    /// Vulnerabilities that are open here and in no parent.
    pub new_vulns: u64,
    /// Those that are open in some parent and not here.
    pub resolved_vulns: u64,
    /// The index that these counts go up to, where the view of deltas is behind the answer.
    pub as_of: Option<u64>,
}

/// A vulnerability that is reached otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachabilityChange {
    /// The CVE, else the smallest id.
    pub cve: String,
    /// Before; `none` where nobody analysed it.
    pub from_status: String,
    /// After.
    pub to_status: String,
    /// How many paths fewer.
    pub paths_removed: u32,
    /// How many paths more.
    pub paths_added: u32,
    /// Gates that came.
    pub gates_added: Vec<String>,
    /// Gates that went.
    pub gates_removed: Vec<String>,
}

/// A typed guess at what a text names.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// `artifact`, `commit`, `purl`, `vulnerability`, `service`, `environment`, `run`, `entry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id.
    pub id: String,
    /// One line for a person.
    pub label: String,
    /// The artifact it leads to, when it leads to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where it runs, for a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// What a text may name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Candidates {
    /// Best first, at most 20.
    pub candidates: Vec<Candidate>,
    /// There are more: more of the name tells them apart.
    pub truncated: bool,
}

/// What a reference led to.
#[derive(Clone, PartialEq, Debug)]
pub enum Found<T> {
    /// This.
    One(T),
    /// Several, more than 20 where there are more than that: say which.
    Ambiguous(Vec<Candidate>),
    /// Nothing.
    Nothing,
}

/// `GET /api/v1/intake`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Intake {
    /// Messages since the ledger began, duplicates counted.
    pub total: u64,
    /// `accepted`, `duplicate`, `conflict`, `rejected`.
    pub by_status: std::collections::BTreeMap<String, u64>,
    /// Rejects by code.
    pub by_code: std::collections::BTreeMap<String, u64>,
    /// Entries by decoder.
    pub by_format: std::collections::BTreeMap<String, u64>,
    /// Messages by source.
    pub by_source: std::collections::BTreeMap<String, u64>,
}

/// A change for subscribers (SPEC §8).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewChange {
    /// Ledger index.
    pub index: u64,
    /// n-th change of that entry, from 0.
    #[serde(skip)]
    pub n: u32,
    /// `lineage`, `components`, `vex`, `deployments`, `runtime`, `evidence`, `incidents`, `signals`, `intake`.
    pub view: String,
    /// What it is about: a digest, `service@environment`, a CVE ...
    pub subject: String,
    /// What happened, such as `artifact-packaged`, `deploy`; `bulk` for an entry with more than 1,000 changes.
    pub change: String,
    /// When it happened.
    pub occurred_at: Nanos,
    /// Of a change that the view of deltas shows.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictMoved>,
}

/// What became of a verdict or a delta; its subject is the artifact, of a delta the next version.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerdictMoved {
    /// The CVE, else the smallest id.
    pub vulnerability: String,
    /// Of a delta: the older version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of a verdict: before; of a delta: of the older version.
    pub from_status: String,
    /// Of a verdict: since then; of a delta: of the next version.
    pub to_status: String,
}

/// How far a view is.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewProgress {
    /// Its name.
    pub name: String,
    /// The index that it will fold next, in the tenant's log.
    pub next_index: u64,
    /// Entries behind the ledger's durable head.
    pub lag_entries: u64,
    /// Age of the oldest entry not yet folded, milliseconds; 0 when none.
    pub lag_ms: u64,
    /// View root, `sha256:` and hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

/// View roots that the ledger recorded and that were compared with those which these views came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewRoots {
    /// Records that were compared.
    pub compared: u64,
    /// Those that named another root.
    pub mismatched: u64,
    /// Records of another version of the views, which are not compared: their roots differ rightly.
    pub other_version: u64,
    /// Records of a commit that was too far back, or not folded yet, and so was not compared.
    pub out_of_reach: u64,
    /// The newest comparison. A root covers all rows, so when it is equal the views agree, whatever was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<ComparedRoot>,
    /// The first comparison that was not equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_mismatch: Option<ComparedRoot>,
}

/// One comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComparedRoot {
    /// Index of the entry that recorded the root.
    pub index: u64,
    /// The commit after which it was the root.
    pub seq: u64,
    /// The recorded root, `sha256:` and hex.
    pub root: String,
    /// The root that these views had then.
    pub own: String,
    /// Whether both are the same.
    pub equal: bool,
}

impl ViewRoots {
    /// Whether these views are those that the ledger recorded, as far as was compared.
    pub fn agree(&self) -> bool {
        self.last.as_ref().is_none_or(|last| last.equal)
    }
}

impl std::fmt::Display for ComparedRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ComparedRoot { index, seq, root, own, equal } = self;
        let verdict = if *equal { "the same" } else { "another one" };
        write!(f, "entry {index} recorded {root} after commit {seq}; folding gives {verdict}: {own}")
    }
}
