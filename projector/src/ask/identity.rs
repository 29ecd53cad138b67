//! What a digest is: aliases, names, line, time. Computed from rows when asked, so that a late fact changes the answer.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::event::ArtifactKind;
use pedigraph_proto::image::normal_platform;
use pedigraph_proto::{Digest, Nanos, canonical, json, repository_key};

use serde::de::DeserializeOwned;

use super::answers::{Node, Proof};
use super::groups::Group;
use super::kept::Kept;
use super::scope::{Clocks, KeptEntry, Scope};
use crate::error::Error;
use crate::facts::entries::rows::EntryRows;
use crate::facts::lineage::naming::{Called, Named, Source};
use crate::facts::lineage::rows::{self, BaseClaim, Claim, FirstCalled, RunId, Statement, StatementId, Work, table};
use crate::facts::lineage::tag_order::TagVersion;
use crate::rows::stamp::{Stamp, Stamped};
use crate::store::Remembered;
use crate::store::key::{Key, KeyReader};

/// Rows of entries that one question keeps, a kilobyte each.
const ENTRIES_KEPT_MAX: usize = 1_024;
/// Tags of one digest by which lines know that a tag moved: the first by repository and name. Answers say long before
/// that its list of tags was cut.
pub(super) const CALLS_MAX: usize = 1_000;

/// The line of an artifact: versions of one thing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LineKey {
    /// The repository's key.
    pub(super) repository: String,
    pub(super) kind: i32,
    pub(super) platform: String,
    /// Such as `alpine`; empty for none.
    pub(super) variant: String,
}

/// A tag by which some fact calls an artifact in a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tagged {
    /// The repository's key.
    pub(super) repository: String,
    /// The repository as the fact writes it.
    pub(super) shown: String,
    pub(super) tag: String,
    /// Of the first fact that does.
    pub(super) stamp: Stamp,
}

/// What is known of an artifact itself.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// The canonical digest.
    pub(super) digest: String,
    /// Every digest of it, the canonical one first.
    pub(super) group: Vec<String>,
    /// More digests are called the same than an artifact may have.
    pub(super) group_cut: bool,
    pub(super) line: LineKey,
    /// Earliest event time of a build, package or publish fact, else of any.
    pub(super) created: Stamp,
    /// Earliest event time of any fact that names it: before it, `at` hides the artifact.
    pub(super) first: i64,
    /// Earliest time at which it was published or seen, else `created`.
    pub(super) published: i64,
    /// Greatest tag of its line's repository that parses.
    pub(super) version: Option<TagVersion>,
    /// By the tag that it went by at `at`; everything else here follows `asOf` only (SPEC §3.1).
    pub(super) reference: String,
    /// It is evidence of images or a build cache: no version of a line, and no product.
    pub(super) aside: bool,
}

/// Artifacts of one build, by (createdAt, digest), and what joins each to it.
pub(super) type Products = Vec<(Rc<Profile>, Stamp)>;
/// What a fact names by digest as a base or material.
pub(super) type BaseRow = (String, Stamped<BaseClaim>);

/// The images among the materials of one build.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) images: Vec<Image>,
    /// Rows that were read for it.
    pub(super) rows: usize,
    /// There are more materials, or more images.
    pub(super) cut: bool,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) row: BaseRow,
    pub(super) profile: Rc<Profile>,
    /// It, the indexes above it and the manifests below it: any of them may be what others call the base.
    pub(super) kin: BTreeSet<String>,
    /// All layers of each of its kin, and for which platform; read when they are first asked for.
    pub(super) layers: OnceCell<Vec<([u8; 32], String)>>,
}

/// One question's reads, each done once.
pub(crate) struct Graph<'a> {
    pub(super) scope: &'a Scope,
    profiles: RefCell<HashMap<String, Option<Rc<Profile>>>>,
    pub(super) statements: RefCell<BTreeMap<StatementId, Option<Rc<Stamped<Statement>>>>>,
    /// By the beginning of their keys; whether more than are listed.
    pub(super) products: RefCell<BTreeMap<Key, (Rc<Products>, bool)>>,
    pub(super) builds: RefCell<BTreeMap<StatementId, Rc<Build>>>,
    pub(super) work: RefCell<BTreeMap<RunId, Rc<Vec<Stamped<Work>>>>>,
    /// Rows of lines: how long a line is is asked of each of its versions.
    pub(super) lines: Remembered,
    /// By canonical digest.
    pub(super) own_claims: Kept<String, Rc<Vec<Stamped<Claim>>>>,
    /// What is kept of entries, by the first of a row.
    entries: RefCell<BTreeMap<u64, Rc<EntryRows>>>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(scope: &'a Scope) -> Graph<'a> {
        Graph {
            scope,
            profiles: RefCell::default(),
            statements: RefCell::default(),
            products: RefCell::default(),
            builds: RefCell::default(),
            work: RefCell::default(),
            lines: Remembered::new(scope.shared.store.clone()),
            own_claims: Kept::default(),
            entries: RefCell::default(),
        }
    }

    pub(super) fn key(&self, table: u8) -> Key {
        rows::key(&self.scope.tenant, table)
    }

    /// The artifact that a digest or alias names; `None` when nothing is known of it, or nothing of it had happened by
    /// `at`.
    pub(super) fn profile(&self, digest: &str) -> Result<Option<Rc<Profile>>, Error> {
        let known = self.known_profile(digest)?;
        Ok(known.filter(|profile| self.scope.at.is_none_or(|at| profile.first <= at.0)))
    }

    /// As [`Graph::profile`], whatever `at` is: what lines are made of.
    pub(super) fn known_profile(&self, digest: &str) -> Result<Option<Rc<Profile>>, Error> {
        let canonical = self.canonical(digest)?;
        if let Some(known) = self.profiles.borrow().get(&canonical) {
            return Ok(known.clone());
        }
        let profile = self.read_profile(&canonical)?.map(Rc::new);
        self.profiles.borrow_mut().insert(canonical, profile.clone());
        Ok(profile)
    }

    /// Whether an artifact is there: whether [`Graph::profile`] finds it, by a seek for each digest of it.
    pub(super) fn is_there(&self, digest: &str) -> Result<bool, Error> {
        let named = |digest: &str| self.scope.newest_summary::<Named>(&self.key(table::NAMES).text(digest));
        for digest in &self.group(digest)?.digests {
            if named(digest)?.is_some_and(|named| self.scope.at.is_none_or(|at| named.first.0 <= at.0)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What an artifact is called, where that is known; never its bare digest.
    pub(super) fn name_of(&self, digest: &str) -> Result<Option<String>, Error> {
        let profile = self.profile(digest)?;
        Ok(profile.map(|profile| profile.reference.clone()).filter(|name| !name.is_empty() && name != digest))
    }

    /// It costs a seek for each digest of it and each summary, however often it was named.
    fn read_profile(&self, canonical: &str) -> Result<Option<Profile>, Error> {
        let group = self.group(canonical)?;
        let Some(named) = self.joined_summary(&group, |digest| self.key(table::NAMES).text(digest), Named::join)?
        else {
            return Ok(None);
        };
        let shown = named.repository.as_ref().map(|(_, _, name)| name.clone()).unwrap_or_default();
        let repository = repository_key(&shown);
        let called = if repository.is_empty() {
            None
        } else {
            let key = |digest: &str| self.key(table::CALLED).text(digest).text(&repository);
            self.joined_summary(&group, key, Called::join)?
        };
        let called = called.unwrap_or_default();
        let tag = self.shown_tag(&group, &repository, &called)?;
        let reference = reference_of(canonical, &shown, tag.as_deref());
        Ok(Some(profile_of(&group, &named, &called, repository, reference)))
    }

    /// What is known of all digests of an artifact together, each by the newest row below the bound.
    fn joined_summary<T: DeserializeOwned>(
        &self,
        group: &Group,
        key: impl Fn(&str) -> Key,
        join: impl Fn(&mut T, T),
    ) -> Result<Option<T>, Error> {
        let mut joined: Option<T> = None;
        for digest in &group.digests {
            let Some(one) = self.scope.newest_summary::<T>(&key(digest))? else { continue };
            match &mut joined {
                None => joined = Some(one),
                Some(joined) => join(joined, one),
            }
        }
        Ok(joined)
    }

    /// That of the newest publish or tag fact, of several at one moment the greatest version (SPEC §3.2); what its build
    /// or somebody else calls it, where it was not published.
    fn shown_tag(&self, group: &Group, repository: &str, called: &Called) -> Result<Option<String>, Error> {
        let happened = |shown: &&(i64, String)| self.scope.at.is_none_or(|at| shown.0 <= at.0);
        for source in [Source::Published, Source::Built] {
            let Some(newest) = called.newest(source) else { continue };
            if happened(&newest) {
                return Ok(Some(newest.1.clone()));
            }
            if let Some(tag) = self.tag_shown_then(group, repository, source)? {
                return Ok(Some(tag));
            }
        }
        Ok(called.mentioned.as_ref().filter(happened).map(|(_, tag)| tag.clone()))
    }

    fn tag_shown_then(&self, group: &Group, repository: &str, source: Source) -> Result<Option<String>, Error> {
        let Some(at) = self.scope.at else { return Ok(None) };
        let mut newest: Called = Called::default();
        for digest in &group.digests {
            let prefix = self.key(table::SHOWN).text(digest).text(repository).byte(source.byte());
            let to = prefix.clone().until(Some(at));
            let Some((key, row)) = self.scope.keyed::<String>(&prefix, &to, true, Clocks::Known, 1)?.pop() else {
                continue;
            };
            let time = stamp_at_end(&key).map_or(0, |stamp| stamp.time);
            newest.join(Called { published: Some((time, row.value)), ..Called::default() });
        }
        Ok(newest.published.map(|(_, tag)| tag))
    }

    /// Every tag by which a fact calls an artifact, once, with the first of these facts and in their order, whatever `at`
    /// is. `true` when there are more than [`CALLS_MAX`].
    pub(super) fn tags_of(&self, profile: &Profile) -> Result<(Vec<Tagged>, bool), Error> {
        let mut first: BTreeMap<(String, String), FirstCalled> = BTreeMap::new();
        let mut cut = false;
        for digest in &profile.group {
            let prefix = self.key(table::CALLS).text(digest);
            let end = prefix.prefix_end();
            let rows = self.scope.keyed::<FirstCalled>(&prefix, &end, false, Clocks::Known, CALLS_MAX)?;
            cut |= rows.len() == CALLS_MAX;
            for (key, row) in rows {
                let Some(name) = second_and_third(&key) else { continue };
                let known = first.entry(name).or_insert_with(|| row.value.clone());
                *known = row.value.min(known.clone());
            }
        }
        let tagged = |((repository, tag), call): (_, FirstCalled)| {
            let (time, index, ordinal) = call.order;
            Tagged { repository, shown: call.repository, tag, stamp: Stamp { index, ordinal, time } }
        };
        let mut tags: Vec<Tagged> = first.into_iter().map(tagged).collect();
        tags.sort_by_key(|tagged| tagged.stamp.order());
        Ok((tags, cut))
    }

    /// The node of an artifact in answers.
    pub(super) fn node(&self, profile: &Profile) -> Result<Node, Error> {
        let created = &profile.created;
        let entry = self.kept_entry(created.index)?;
        Ok(Node {
            id: self.id(&profile.digest),
            digest: profile.digest.clone(),
            artifact_ref: profile.reference.clone(),
            sequence_number: self.sequence_number(profile)?,
            created_at: Nanos(created.time),
            source: entry.as_ref().map(|row| row.source.clone()).unwrap_or_default(),
            kind: kind_word(profile.line.kind),
            platform: Some(profile.line.platform.clone()).filter(|platform| !platform.is_empty()),
            aliases: profile.group.iter().skip(1).cloned().collect(),
            badges: None,
            verdict_counts: None,
            replay_hash: None,
            proof: Proof::of(created.index, entry.as_ref()),
        })
    }

    /// The proof of an entry.
    pub(super) fn proof(&self, index: u64) -> Result<Proof, Error> {
        Ok(Proof::of(index, self.kept_entry(index)?.as_ref()))
    }

    /// What is kept of an entry: what an answer names together often came in together.
    pub(super) fn kept_entry(&self, index: u64) -> Result<Option<KeptEntry>, Error> {
        if index >= self.scope.bound {
            return Ok(None);
        }
        let before = self.entries.borrow().range(..=index).next_back().map(|(first, row)| (*first, row.clone()));
        if let Some(known) = before.and_then(|(first, row)| KeptEntry::of(index, first, &row)) {
            return Ok(Some(known));
        }
        let Some((first, row)) = self.scope.entries_with(index)? else { return Ok(None) };
        let entry = KeptEntry::of(index, first, &row);
        let mut entries = self.entries.borrow_mut();
        if entries.len() == ENTRIES_KEPT_MAX {
            entries.clear();
        }
        entries.insert(first, Rc::new(row));
        Ok(entry)
    }

    fn id(&self, digest: &str) -> String {
        let raw = digest.parse::<Digest>().map(|digest| digest.to_bytes()).unwrap_or_default();
        canonical::derived_id(&[self.scope.tenant.as_str().as_bytes(), &raw]).to_string()
    }

    /// Visits every digest that a known fact names, whatever `at` is, by one seek each, with keys in `from <= key < end`.
    pub(super) fn each_digest(
        &self,
        mut from: Key,
        end: &Key,
        mut visit: impl FnMut(&str) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        loop {
            let next = self.scope.keyed::<Named>(&from, end, false, Clocks::Known, 1)?;
            let Some(digest) = next.first().and_then(|(key, _)| fields(key)?.text()) else { return Ok(()) };
            if visit(&digest)?.is_break() {
                return Ok(());
            }
            from = self.key(table::NAMES).text(&digest).prefix_end();
        }
    }
}

/// The fields of a key of this view, after its table.
pub(super) fn fields(key: &[u8]) -> Option<KeyReader<'_>> {
    let mut reader = KeyReader::after_view(key)?;
    reader.byte()?;
    Some(reader)
}

/// The second and the third text of a key, after its table.
pub(super) fn second_and_third(key: &[u8]) -> Option<(String, String)> {
    let mut reader = fields(key)?;
    reader.text()?;
    Some((reader.text()?, reader.text()?))
}

/// The stamp at the end of a key.
pub(super) fn stamp_at_end(key: &[u8]) -> Option<Stamp> {
    let (_, end) = key.split_last_chunk::<20>()?;
    read_stamp(&mut KeyReader::new(end))
}

/// A stamp within a key.
pub(super) fn read_stamp(reader: &mut KeyReader<'_>) -> Option<Stamp> {
    let (time, index) = (reader.time()?.0, reader.number()?);
    Some(Stamp { index, ordinal: reader.ordinal()?, time })
}

/// The word for a kind of artifact.
pub(super) fn kind_word(kind: i32) -> String {
    match json::artifact_kind::word(ArtifactKind::try_from(kind).unwrap_or_default()) {
        word if word.is_empty() => "generic".to_owned(),
        word => word,
    }
}

fn profile_of(group: &Group, named: &Named, called: &Called, repository: String, reference: String) -> Profile {
    let (time, index, ordinal) = named.made.unwrap_or(named.first);
    let created = Stamp { index, ordinal, time };
    let kind = named.kind().unwrap_or_else(|| implied_kind(&repository));
    let platform = named.platform.as_ref().map(|(_, platform)| normal_platform(platform));
    let version = called.version();
    // `1.27` beside `1.27-bookworm` is no variant.
    let variant = version.as_ref().map(TagVersion::variant).or_else(|| called.variant.clone());
    let aside = named.is_aside();
    let (repository, kind) = if aside { (String::new(), ArtifactKind::Generic.into()) } else { (repository, kind) };
    let (platform, variant) = (platform.unwrap_or_default(), variant.unwrap_or_default());
    Profile {
        digest: group.digests.first().cloned().unwrap_or_default(),
        group: group.digests.clone(),
        group_cut: group.cut,
        line: LineKey { repository, kind, platform, variant },
        created,
        first: named.first.0,
        published: named.published.or(named.observed).unwrap_or(time),
        version,
        reference,
        aside,
    }
}

fn implied_kind(repository: &str) -> i32 {
    match repository {
        "" => ArtifactKind::Unspecified.into(),
        purl if purl.starts_with("pkg:") => ArtifactKind::Package.into(),
        _ => ArtifactKind::ContainerImage.into(),
    }
}

fn reference_of(digest: &str, repository: &str, tag: Option<&str>) -> String {
    match (repository, tag) {
        ("", _) => digest.to_owned(),
        (purl, Some(version)) if purl.starts_with("pkg:") => format!("{purl}@{version}"),
        (repository, Some(tag)) => format!("{repository}:{tag}"),
        (repository, None) => format!("{repository}@{digest}"),
    }
}
