//! What is known around an artifact, as lists with limits.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::Nanos;

use super::answers::{Artifact, Item, Neighbours, Shown};
use super::claims::{Claimed, platforms};
use super::edges::Relation;
use super::groups::Members;
use super::identity::{Graph, Profile, fields};
use super::scope::Clocks;
use super::shown::{cut_to_bytes, written_bytes};
use super::wording::{Worded, of_attestation, worded};
use crate::error::Error;
use crate::facts::lineage::rows::{CommitFact, Evidence, EvidenceKind, RunId, StatementId, Work, table};
use crate::rows::stamp::{Stamp, Stamped};

/// Items of one list of an artifact's answer.
pub const ITEMS_MAX: usize = 100;
/// Bytes of such a list as it is written: whoever makes each text as long as it may be takes no answer away.
const ITEMS_BYTES_MAX: usize = 1 << 20;
/// Runs that claims name which are looked at for one that tells of itself.
const RUNS_TRIED_MAX: usize = 16;
/// Facts about one run that are read: the newest.
const WORK_ROWS_MAX: usize = 100;
/// Facts about one commit among which one that says which change it was is sought.
const COMMIT_ROWS_MAX: usize = 1_000;
/// Artifacts of one commit that are looked at.
const BUILT_ROWS_MAX: usize = 1_000;

/// A row of evidence, and the platform that is said with it; empty for none.
type EvidenceRow = (Stamped<Evidence>, EvidenceKind, String);
/// A digest whose evidence counts, and the platform that is said with it; empty for none.
type Counting = (String, String);

/// A claim of a run, with what the run tells of itself.
type RunClaimed<'c> = (&'c Claimed, Rc<Vec<Stamped<Work>>>);

impl Graph<'_> {
    /// One artifact's answer.
    pub(super) fn artifact(&self, profile: &Rc<Profile>) -> Result<Artifact, Error> {
        let mut truncated = Vec::new();
        let mut cut = |name: &str, (items, cut): (Vec<Item>, bool)| {
            if cut {
                truncated.push(name.to_owned());
            }
            items
        };
        let signed = [EvidenceKind::Attestation, EvidenceKind::Signature];
        let sboms = cut("sboms", self.items(profile, &[EvidenceKind::Sbom])?);
        let attestations = cut("attestations", self.items(profile, &signed)?);
        let tests = cut("tests", self.items(profile, &[EvidenceKind::Tests])?);
        let scans = cut("scans", self.items(profile, &[EvidenceKind::Scan])?);
        let deployments = cut("deployments", self.deployments(profile)?);
        let statements = cut("statements", self.items(profile, &[EvidenceKind::Vex])?);
        let deletions = cut("deletions", self.items(profile, &[EvidenceKind::Deleted])?);
        let (verdicts, verdicts_as_of, verdicts_cut) = self.scope.verdicts_here(self, &profile.digest)?;
        if verdicts_cut {
            truncated.push("verdicts".to_owned());
        }
        let (tags, tags_cut) = self.tags(profile)?;
        if tags_cut {
            truncated.push("tags".to_owned());
        }
        if profile.group_cut {
            truncated.push("aliases".to_owned());
        }
        let claims = self.claims(profile)?;
        let (lineage, lineage_cut) = self.neighbours(profile)?;
        if lineage_cut {
            truncated.push("lineage".to_owned());
        }
        let glance = self.glance(profile, Shown::ALL)?;
        if glance.cut {
            truncated.push("inputs".to_owned());
        }
        Ok(Artifact {
            node: glance.node,
            tags,
            commit: self.commit_item(&claims)?,
            run: self.run_item(&claims)?,
            sboms,
            attestations,
            tests,
            scans,
            deployments,
            verdicts,
            verdicts_as_of,
            statements,
            deletions,
            lineage,
            truncated,
        })
    }

    fn neighbours(&self, profile: &Profile) -> Result<(Neighbours, bool), Error> {
        let (above, below) = (self.links_in(profile)?, self.links_to_children(profile)?);
        let ends = |relation: Relation, links: &[super::edges::Link], from: bool| {
            let of = links.iter().filter(|link| link.relation == relation);
            let ends: BTreeSet<&String> = of.map(|link| if from { &link.from } else { &link.to }).collect();
            ends.into_iter().cloned().collect::<Vec<String>>()
        };
        let mut neighbours = Neighbours {
            parents: ends(Relation::Parent, &above.links, true),
            children: ends(Relation::Parent, &below.links, false),
            bases: ends(Relation::Base, &above.links, true),
        };
        if neighbours.bases.is_empty() {
            let below = self.bases_below(profile)?;
            let ends: BTreeSet<String> = below.into_iter().map(|(link, _)| link.from).collect();
            neighbours.bases = ends.into_iter().collect();
        }
        let mut cut = above.cut || below.cut;
        for list in [&mut neighbours.parents, &mut neighbours.children, &mut neighbours.bases] {
            cut |= list.len() > ITEMS_MAX;
            list.truncate(ITEMS_MAX);
        }
        Ok((neighbours, cut))
    }

    /// The digests whose evidence of a kind counts for an artifact: what is said of an index holds for its manifests,
    /// what its manifests contain counts for the index (SPEC §2.3). What proves a manifest is listed for its index with
    /// the platform that it is for.
    fn counting(&self, profile: &Profile, kind: EvidenceKind) -> Result<(Vec<Counting>, bool), Error> {
        let (above, below, named) = match kind {
            EvidenceKind::Sbom | EvidenceKind::Scan | EvidenceKind::Tests | EvidenceKind::Reachability => {
                (false, true, false)
            }
            EvidenceKind::Attestation | EvidenceKind::Signature => (true, true, true),
            EvidenceKind::Deployment
            | EvidenceKind::Vex
            | EvidenceKind::Approval
            | EvidenceKind::Rebuild
            | EvidenceKind::Deleted
            | EvidenceKind::Downloaded => (true, false, false),
        };
        let mut counting: Vec<Counting> = profile.group.iter().map(|digest| (digest.clone(), String::new())).collect();
        let mut cut = false;
        if above {
            let above = self.above(&profile.digest)?;
            cut |= self.count_members(&above, false, &mut counting)?;
        }
        if below {
            let below = self.below(&profile.digest)?;
            cut |= self.count_members(&below, named, &mut counting)?;
        }
        Ok((counting, cut))
    }

    fn count_members(&self, members: &Members, named: bool, counting: &mut Vec<Counting>) -> Result<bool, Error> {
        for member in &members.members {
            let platform = if named { member.platform.clone() } else { String::new() };
            let digests = &self.group(&member.digest)?.digests;
            counting.extend(digests.iter().map(|digest| (digest.clone(), platform.clone())));
        }
        Ok(members.cut)
    }

    /// Evidence of some kinds, newest first, and whether the list was cut.
    pub(super) fn items(&self, profile: &Profile, kinds: &[EvidenceKind]) -> Result<(Vec<Item>, bool), Error> {
        let (mut found, mut cut) = (Vec::new(), false);
        for kind in kinds {
            let (counting, counting_cut) = self.counting(profile, *kind)?;
            cut |= counting_cut;
            for (digest, platform) in counting {
                let mut stated = BTreeSet::new();
                let prefix = self.key(table::EVIDENCE).text(&digest).byte(kind.byte());
                let end = prefix.prefix_end();
                let rows = self.scope.keyed::<Evidence>(&prefix, &end, true, Clocks::Both, ITEMS_MAX + 1)?;
                cut |= rows.len() > ITEMS_MAX;
                // The facts of one statement may name a digest several times.
                let once =
                    rows.into_iter().filter(|(_, row)| stated_by(row).is_none_or(|statement| stated.insert(statement)));
                found.extend(once.map(|(_, row)| (row, *kind, platform.clone())));
            }
        }
        self.listed(found, cut)
    }

    fn listed(&self, found: Vec<EvidenceRow>, cut: bool) -> Result<(Vec<Item>, bool), Error> {
        let mut found: Vec<(EvidenceRow, Worded)> =
            found.into_iter().map(|row| (row.clone(), worded(&row.0.value, row.1))).collect();
        found.sort_by(|((a, ..), of_a), ((b, ..), of_b)| {
            b.stamp.order().cmp(&a.stamp.order()).then_with(|| of_a.id.cmp(&of_b.id))
        });
        let cut = cut || found.len() > ITEMS_MAX;
        found.truncate(ITEMS_MAX);
        let items = found.into_iter().map(|((row, kind, platform), words)| {
            let statement = stated_by(&row).map(|statement| self.statement(statement)).transpose()?.flatten();
            let words = statement.map_or(words, |statement| of_attestation(&statement.value.evidence));
            self.item(&row.stamp, kind.word(), for_platform(words, &platform))
        });
        let mut items = items.collect::<Result<Vec<_>, Error>>()?;
        let mut left = ITEMS_BYTES_MAX;
        let cut = cut_to_bytes(&mut items, &mut left, written_bytes) > 0 || cut;
        Ok((items, cut))
    }

    fn item(&self, stamp: &Stamp, kind: &str, worded: Worded) -> Result<Item, Error> {
        Ok(Item {
            id: worded.id,
            kind: kind.to_owned(),
            summary: worded.summary,
            occurred_at: Nanos(stamp.time),
            details: worded.details,
            proof: self.proof(stamp.index)?,
        })
    }

    /// Evidence of one kind that names an artifact itself, newest first, each with where it comes from.
    pub(super) fn own_items(&self, profile: &Profile, kind: EvidenceKind) -> Result<(Vec<(Stamp, Item)>, bool), Error> {
        let mut found = Vec::new();
        for digest in &profile.group {
            let prefix = self.key(table::EVIDENCE).text(digest).byte(kind.byte());
            let end = prefix.prefix_end();
            let rows = self.scope.keyed::<Evidence>(&prefix, &end, true, Clocks::Both, ITEMS_MAX + 1)?;
            found.extend(rows.into_iter().map(|(_, row)| row));
        }
        found.sort_by_key(|row| std::cmp::Reverse(row.stamp.order()));
        let cut = found.len() > ITEMS_MAX;
        found.truncate(ITEMS_MAX);
        let items = found.iter().map(|row| {
            let item = self.item(&row.stamp, kind.word(), worded(&row.value, kind))?;
            Ok::<_, Error>((row.stamp, item))
        });
        Ok((items.collect::<Result<_, _>>()?, cut))
    }

    /// What an SBOM is called that a fact binds to an artifact.
    pub(super) fn sbom_named(&self, profile: &Profile, stamp: &Stamp) -> Result<Option<String>, Error> {
        for digest in &profile.group {
            let kind = EvidenceKind::Sbom;
            let of = self.key(table::EVIDENCE).text(digest).byte(kind.byte());
            let of = of.time(Nanos(stamp.time)).number(stamp.index);
            let rows = self.scope.keyed::<Evidence>(&of, &of.prefix_end(), false, Clocks::Known, ITEMS_MAX)?;
            if let Some((_, row)) = rows.into_iter().find(|(_, row)| row.stamp == *stamp) {
                return Ok(Some(worded(&row.value, kind).id));
            }
        }
        Ok(None)
    }

    /// Deployments by digest, and those by a tag that pointed here then.
    pub(super) fn deployments(&self, profile: &Profile) -> Result<(Vec<Item>, bool), Error> {
        let mut found: Vec<EvidenceRow> = Vec::new();
        let (counting, mut cut) = self.counting(profile, EvidenceKind::Deployment)?;
        for (digest, _) in &counting {
            let prefix = self.key(table::EVIDENCE).text(digest).byte(EvidenceKind::Deployment.byte());
            let end = prefix.prefix_end();
            let rows = self.scope.keyed::<Evidence>(&prefix, &end, true, Clocks::Both, ITEMS_MAX + 1)?;
            found.extend(rows.into_iter().map(|(_, row)| (row, EvidenceKind::Deployment, String::new())));
        }
        let (moves, moves_cut) =
            self.moves_to(&counting.into_iter().map(|(digest, _)| digest).collect(), self.scope.at)?;
        cut |= moves_cut;
        for to in moves {
            let prefix = self.key(table::DEPLOYED_TAGS).text(&to.repository).text(&to.tag);
            let from = prefix.clone().time(Nanos(to.from.time));
            let end = to.until.map_or_else(|| prefix.prefix_end(), |until| prefix.clone().time(Nanos(until.time)));
            let rows = self.scope.keyed::<Evidence>(&from, &end, true, Clocks::Both, ITEMS_MAX + 1)?;
            found.extend(rows.into_iter().map(|(_, row)| (row, EvidenceKind::Deployment, String::new())));
        }
        self.listed(found, cut)
    }

    /// The run that made it, as claims of builds have it, else of publications: the newest of which the run itself tells
    /// too, since a provenance and a pipeline may number one run apart; else the newest. With what the run tells.
    fn run_claimed<'c>(&self, claims: &'c [Claimed]) -> Result<Option<RunClaimed<'c>>, Error> {
        let with_run = || claims.iter().rev().filter(|claim| !claim.value.run.id.is_empty());
        let built: Vec<&Claimed> = with_run().filter(|claim| claim.value.said_by != "published").collect();
        let claimed = if built.is_empty() { with_run().collect() } else { built };
        let mut tried = BTreeSet::new();
        for claim in &claimed {
            if tried.len() == RUNS_TRIED_MAX || !tried.insert(&claim.value.run) {
                continue;
            }
            let work = self.work_of(&claim.value.run)?;
            if !work.is_empty() {
                return Ok(Some((claim, work)));
            }
        }
        Ok(claimed.first().map(|claim| (*claim, Rc::default())))
    }

    /// What a run tells of itself, in the order of its facts; each run is read once.
    fn work_of(&self, run: &RunId) -> Result<Rc<Vec<Stamped<Work>>>, Error> {
        if let Some(known) = self.work.borrow().get(run) {
            return Ok(known.clone());
        }
        let prefix = run.key(self.key(table::WORK));
        let rows = self.scope.keyed(&prefix, &prefix.prefix_end(), true, Clocks::Both, WORK_ROWS_MAX)?;
        let work = Rc::new(rows.into_iter().rev().map(|(_, row)| row).collect::<Vec<_>>());
        self.work.borrow_mut().insert(run.clone(), work.clone());
        Ok(work)
    }

    /// The run that made it.
    pub(super) fn run_item(&self, claims: &[Claimed]) -> Result<Option<Item>, Error> {
        let Some((claim, work)) = self.run_claimed(claims)? else { return Ok(None) };
        let run = &claim.value.run;
        let newest = work.iter().max_by_key(|work| (work.value.finished, work.stamp.order()));
        let known = newest.map(|work| &work.value);
        let pick = |of_work: fn(&Work) -> &String, of_claim: &str| {
            let said = work.iter().rev().map(|work| of_work(&work.value)).find(|text| !text.is_empty());
            said.cloned().unwrap_or_else(|| of_claim.to_owned())
        };
        let pipeline = pick(|work| &work.pipeline, &claim.value.pipeline);
        let outcome = known.map(|work| work.outcome.clone()).unwrap_or_default();
        let name = if pipeline.is_empty() { run.id.clone() } else { format!("{pipeline} {}", run.id) };
        let summary = if outcome.is_empty() { name } else { format!("{name}: {outcome}") };
        let summary = summary + &platforms(claims, claim, |claim| &claim.run.id);
        let details = [
            ("pipeline", pipeline),
            ("outcome", outcome),
            ("url", pick(|work| &work.url, "")),
            ("builder", pick(|work| &work.builder, &claim.value.builder)),
            ("commit", pick(|work| &work.commit, &claim.value.commit)),
            ("repository", pick(|work| &work.repository, &claim.value.repository)),
            ("saidBy", claim.value.said_by.clone()),
        ];
        let stamp = newest.map_or(claim.stamp, |work| work.stamp);
        self.origin("run", &run.id, summary, &details, &stamp).map(Some)
    }

    /// The commit it was built from: what its build says goes before what it is labelled with, and newer before older;
    /// else what its run says, else the commits among the materials.
    pub(super) fn commit_item(&self, claims: &[Claimed]) -> Result<Option<Item>, Error> {
        let with_commit = claims.iter().filter(|claim| !claim.value.commit.is_empty() && !claim.is_material());
        let Some(claim) = with_commit.max_by_key(|claim| (claim.value.said_by != "annotation", claim.stamp.order()))
        else {
            return match self.commit_of_runs(claims)? {
                Some(work) => self.commit_of_work(&work).map(Some),
                None => self.commit_among_materials(claims),
            };
        };
        let value = &claim.value;
        let (summary, mut details, fact) = self.commit_facts(&value.commit)?;
        details.push(("repository", value.repository.clone()));
        details.push(("changeId", value.change_id.clone()));
        details.push(("saidBy", value.said_by.clone()));
        let summary = summary + &platforms(claims, claim, |claim| &claim.commit);
        self.origin("commit", &value.commit, summary, &details, &fact.unwrap_or(claim.stamp)).map(Some)
    }

    /// Where nothing says which of several is the source, all are listed.
    fn commit_among_materials(&self, claims: &[Claimed]) -> Result<Option<Item>, Error> {
        let materials: Vec<&Claimed> = claims.iter().filter(|claim| claim.is_material()).collect();
        let commits: BTreeSet<&str> = materials.iter().map(|claim| claim.value.commit.as_str()).collect();
        let Some(newest) = materials.last() else { return Ok(None) };
        let value = &newest.value;
        let (summary, mut details, fact) = self.commit_facts(&value.commit)?;
        details.push(("repository", value.repository.clone()));
        details.push(("saidBy", value.said_by.clone()));
        if commits.len() < 2 {
            return self.origin("commit", &value.commit, summary, &details, &fact.unwrap_or(newest.stamp)).map(Some);
        }
        let list = commits.iter().copied().collect::<Vec<_>>().join(", ");
        let summary = format!("one of {} materials, and nothing says which is the source: {list}", commits.len());
        let details = [("saidBy", value.said_by.clone()), ("commits", list)];
        self.origin("commit", &value.commit, summary, &details, &newest.stamp).map(Some)
    }

    fn commit_of_work(&self, work: &Stamped<Work>) -> Result<Item, Error> {
        let (summary, mut details, fact) = self.commit_facts(&work.value.commit)?;
        details.push(("repository", work.value.repository.clone()));
        details.push(("saidBy", "run".to_owned()));
        self.origin("commit", &work.value.commit, summary, &details, &fact.unwrap_or(work.stamp))
    }

    pub(super) fn commit_of_runs(&self, claims: &[Claimed]) -> Result<Option<Stamped<Work>>, Error> {
        let mut looked_at = BTreeSet::new();
        for claim in claims.iter().rev().filter(|claim| !claim.value.run.id.is_empty()) {
            if looked_at.insert(&claim.value.run)
                && let Some(work) = self.work_of(&claim.value.run)?.iter().rfind(|work| !work.value.commit.is_empty())
            {
                return Ok(Some(work.clone()));
            }
        }
        Ok(None)
    }

    /// What changes say about a commit: summary, details, and what proves them.
    #[expect(clippy::type_complexity, reason = "read once, two lines below")]
    fn commit_facts(&self, commit: &str) -> Result<(String, Vec<(&'static str, String)>, Option<Stamp>), Error> {
        let Some(fact) = self.best_fact_of(commit)? else { return Ok((commit.to_owned(), vec![], None)) };
        let value = &fact.value;
        let shown = commit.get(..12).unwrap_or(commit);
        let summary = match (value.title.as_str(), value.reference.as_str()) {
            ("", "") => commit.to_owned(),
            ("", reference) => format!("{shown} on {reference}"),
            (title, _) => format!("{shown} {title}"),
        };
        let details = vec![
            ("repository", value.repository.clone()),
            ("changeId", value.change_id.clone()),
            ("title", value.title.clone()),
            ("url", value.url.clone()),
            ("author", value.author.clone()),
            ("ref", value.reference.clone()),
        ];
        Ok((summary, details, Some(fact.stamp)))
    }

    /// The newest that says which change it was, else the newest.
    fn best_fact_of(&self, commit: &str) -> Result<Option<Stamped<CommitFact>>, Error> {
        let prefix = self.key(table::CHANGES).text(commit);
        let (mut newest, mut looked_at) = (None, 0);
        self.scope.each::<CommitFact>(&prefix, &prefix.prefix_end(), true, Clocks::Both, |_, fact| {
            looked_at += 1;
            let is_best = !fact.value.change_id.is_empty();
            if is_best || newest.is_none() {
                newest = Some(fact);
            }
            Ok(if is_best || looked_at == COMMIT_ROWS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(newest)
    }

    /// An item for a run or commit; of details with one name the first that says something stays.
    fn origin(
        &self,
        kind: &str,
        id: &str,
        summary: String,
        details: &[(&str, String)],
        stamp: &Stamp,
    ) -> Result<Item, Error> {
        let mut said = serde_json::Map::new();
        for (name, text) in details.iter().filter(|(_, text)| !text.is_empty()) {
            said.entry((*name).to_owned()).or_insert_with(|| text.as_str().into());
        }
        Ok(Item {
            id: id.to_owned(),
            kind: kind.to_owned(),
            summary,
            occurred_at: Nanos(stamp.time),
            details: said,
            proof: self.proof(stamp.index)?,
        })
    }

    /// Artifacts that a commit was built into, canonical digests.
    pub(super) fn built_from(&self, commit: &str, limit: usize) -> Result<Vec<String>, Error> {
        let prefix = self.key(table::BUILT_FROM).text(commit);
        let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, BUILT_ROWS_MAX)?;
        let mut found = BTreeSet::new();
        for (key, _) in rows {
            let digest = fields(&key).and_then(|mut reader| {
                reader.text()?;
                reader.text()?;
                reader.text()
            });
            let Some(digest) = digest else { continue };
            let canonical = self.canonical(&digest)?;
            if found.len() < limit && !found.contains(&canonical) && self.is_built_from(&canonical, commit)? {
                found.insert(canonical);
            }
        }
        Ok(found.into_iter().collect())
    }
}

fn stated_by(row: &Stamped<Evidence>) -> Option<StatementId> {
    let Evidence::Stated { ordinal, .. } = row.value else { return None };
    Some(StatementId { index: row.stamp.index, ordinal })
}

/// What an index has through one of its manifests says for which platform.
fn for_platform(mut worded: Worded, platform: &str) -> Worded {
    if !platform.is_empty() {
        worded.summary = format!("{} ({platform})", worded.summary);
        worded.details.insert("platform".to_owned(), platform.into());
    }
    worded
}
