//! What a digest is: aliases, names, line, time. Computed from rows when asked, so that a late fact changes the answer.

use std::cell::{OnceCell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::event::ArtifactKind;
use pedigraph_proto::image::{is_evidence_tag, is_version_tag, normal_platform};
use pedigraph_proto::{Digest, Nanos, canonical, json, repository_key};

use super::answers::Node;
use super::scope::{Clocks, Group, Scope};
use super::tag_order::{self, TagVersion};
use crate::error::Error;
use crate::facts::lineage::rows::{self, BaseClaim, Class, Naming, Statement, StatementId, table};
use crate::rows::stamp::{Stamp, Stamped};
use crate::store::key::{Key, KeyReader};

/// Naming facts of one artifact that are read; a digest named more often is described by its earliest facts.
pub(super) const NAMINGS_MAX: usize = 2_000;
/// Manifests of an index, configs of a manifest, indexes that list a manifest.
pub(super) const ALIASES_MAX: usize = 512;
/// Artifacts of one repository that a line is made of.
pub(super) const LINE_MEMBERS_MAX: usize = 20_000;

/// The order of facts: [`Stamp::order`].
pub(super) type Order = (i64, u64, u32);

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

/// A tag that an artifact was given in a repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tagged {
    /// The repository's key.
    pub(super) repository: String,
    /// The repository as the fact writes it.
    pub(super) shown: String,
    pub(super) tag: String,
    pub(super) class: Class,
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
    /// Earliest time at which it was published or seen, else `created`.
    pub(super) published: i64,
    /// In the order of their facts; a tag may come several times.
    pub(super) tags: Vec<Tagged>,
    /// Greatest tag of its line's repository that parses.
    pub(super) version: Option<TagVersion>,
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
    profiles: RefCell<BTreeMap<String, Option<Rc<Profile>>>>,
    pub(super) lines: RefCell<BTreeMap<LineKey, Rc<super::line::Line>>>,
    pub(super) statements: RefCell<BTreeMap<StatementId, Option<Rc<Stamped<Statement>>>>>,
    /// By the beginning of their keys; whether more than are listed.
    pub(super) products: RefCell<BTreeMap<Key, (Rc<Products>, bool)>>,
    pub(super) builds: RefCell<BTreeMap<StatementId, Rc<Build>>>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(scope: &'a Scope) -> Graph<'a> {
        Graph {
            scope,
            profiles: RefCell::default(),
            lines: RefCell::default(),
            statements: RefCell::default(),
            products: RefCell::default(),
            builds: RefCell::default(),
        }
    }

    pub(super) fn key(&self, table: u8) -> Key {
        rows::key(&self.scope.tenant, table)
    }

    /// Digests in a role, sorted, with the platform where one is said. Identity does not change with `at`.
    pub(super) fn related(&self, digest: &str, role: u8) -> Result<Vec<(String, String)>, Error> {
        let prefix = self.key(table::ALIAS).text(digest).byte(role);
        let end = prefix.prefix_end();
        let rows = self.scope.keyed::<()>(&prefix, &end, false, Clocks::Known, ALIASES_MAX)?;
        let read = |key: &[u8]| {
            let mut reader = fields(key)?;
            reader.text()?;
            reader.byte()?;
            Some((reader.text()?, reader.text()?))
        };
        let mut related: Vec<(String, String)> = rows.iter().filter_map(|(key, _)| read(key)).collect();
        related.iter_mut().for_each(|(_, platform)| *platform = normal_platform(platform));
        related.sort_by(|a, b| (&a.0, Reverse(&a.1)).cmp(&(&b.0, Reverse(&b.1))));
        related.dedup_by(|later, earlier| later.0 == earlier.0 && (later.1.is_empty() || later.1 == earlier.1));
        Ok(related)
    }

    /// The artifact that a digest or alias names; `None` when nothing is known of it.
    pub(super) fn profile(&self, digest: &str) -> Result<Option<Rc<Profile>>, Error> {
        let canonical = self.canonical(digest)?;
        if let Some(known) = self.profiles.borrow().get(&canonical) {
            return Ok(known.clone());
        }
        let profile = self.read_profile(&canonical)?.map(Rc::new);
        self.profiles.borrow_mut().insert(canonical, profile.clone());
        Ok(profile)
    }

    fn read_profile(&self, canonical: &str) -> Result<Option<Profile>, Error> {
        let group = self.group(canonical)?;
        let mut namings: Vec<Stamped<Naming>> = Vec::new();
        for digest in &group.digests {
            namings.extend(self.scope.rows(&self.key(table::NAMES).text(digest), Clocks::Both, NAMINGS_MAX)?);
        }
        namings.sort_by_key(|naming| naming.stamp.order());
        Ok(profile_of(&group, &namings))
    }

    /// The node of an artifact in answers.
    pub(super) fn node(&self, profile: &Profile) -> Result<Node, Error> {
        let created = &profile.created;
        Ok(Node {
            id: self.id(&profile.digest),
            digest: profile.digest.clone(),
            artifact_ref: profile.reference.clone(),
            sequence_number: self.sequence_number(profile)?,
            created_at: Nanos(created.time),
            source: self.scope.entry_row(created.index)?.map(|row| row.source).unwrap_or_default(),
            kind: kind_word(profile.line.kind),
            platform: Some(profile.line.platform.clone()).filter(|platform| !platform.is_empty()),
            aliases: profile.group.iter().skip(1).cloned().collect(),
            proof: self.scope.proof(created.index)?,
        })
    }

    fn id(&self, digest: &str) -> String {
        let raw = digest.parse::<Digest>().map(|digest| digest.to_bytes()).unwrap_or_default();
        canonical::derived_id(&[self.scope.tenant.as_str().as_bytes(), &raw]).to_string()
    }

    /// Visits every digest that a fact names, by one seek each, from `from` on.
    pub(super) fn each_digest(
        &self,
        prefix: &Key,
        mut visit: impl FnMut(&str) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut from = prefix.clone();
        loop {
            let next = self.scope.keyed::<Naming>(&from, &prefix.prefix_end(), false, Clocks::Both, 1)?;
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

/// The word for a kind of artifact.
pub(super) fn kind_word(kind: i32) -> String {
    match json::artifact_kind::word(ArtifactKind::try_from(kind).unwrap_or_default()) {
        word if word.is_empty() => "generic".to_owned(),
        word => word,
    }
}

fn profile_of(group: &Group, namings: &[Stamped<Naming>]) -> Option<Profile> {
    let canonical = group.digests.first()?.as_str();
    let made = |naming: &&Stamped<Naming>| matches!(naming.value.class, Class::Built | Class::Published);
    let created = namings.iter().find(made).or(namings.first())?.stamp;
    let first_of = |class: Class| namings.iter().find(|naming| naming.value.class == class);
    let published = first_of(Class::Published).or_else(|| first_of(Class::Observed));
    let published = published.map_or(created.time, |naming| naming.stamp.time);
    let shown = line_repository(namings);
    let repository = repository_key(&shown);
    let last = |said: fn(&Naming) -> bool| namings.iter().rev().find(|naming| said(&naming.value));
    let kind = said_kind(namings).unwrap_or_else(|| implied_kind(&repository));
    let platform = last(|naming| !naming.platform.is_empty()).map(|naming| normal_platform(&naming.value.platform));
    let tagged = |naming: &Stamped<Naming>| Tagged {
        repository: repository_key(&naming.value.repository),
        shown: naming.value.repository.clone(),
        tag: naming.value.tag.clone(),
        class: naming.value.class,
        stamp: naming.stamp,
    };
    let tags: Vec<Tagged> = namings.iter().filter(|naming| !naming.value.tag.is_empty()).map(tagged).collect();
    let of_line: Vec<&Tagged> = tags.iter().filter(|tagged| tagged.repository == repository).collect();
    let reference = reference_of(canonical, &shown, shown_tag(&of_line));
    let versions = of_line.iter().filter(|tagged| is_version_tag(&tagged.tag));
    let version = versions.filter_map(|tagged| TagVersion::parse(&tagged.tag)).max();
    let variant = variant_of(version.as_ref(), &of_line);
    let by_tag = !tags.is_empty() && tags.iter().all(|tagged| is_evidence_tag(&tagged.tag));
    let aside = by_tag || first_of(Class::Evidence).is_some();
    let (repository, kind) = if aside { (String::new(), ArtifactKind::Generic.into()) } else { (repository, kind) };
    let line = LineKey { repository, kind, platform: platform.unwrap_or_default(), variant };
    Some(Profile {
        digest: canonical.to_owned(),
        group: group.digests.clone(),
        group_cut: group.cut,
        line,
        created,
        published,
        tags,
        version,
        reference,
        aside,
    })
}

/// That of the newest publish or tag fact, of several at one moment the greatest version (SPEC §3.2); what its build or
/// somebody else calls it, where it was not published.
fn shown_tag<'a>(tags: &[&'a Tagged]) -> Option<&'a str> {
    let rank = |class: Class| match class {
        Class::Published | Class::Observed => 2,
        Class::Built => 1,
        Class::Evidence | Class::Other => 0,
    };
    let newest = tags.iter().max_by_key(|tagged| {
        (rank(tagged.class), tagged.stamp.time, TagVersion::parse(&tagged.tag), Reverse(&tagged.tag))
    });
    newest.map(|tagged| tagged.tag.as_str())
}

/// That of the greatest version, else the shortest that a tag names: `1.27` beside `1.27-bookworm` is no variant.
fn variant_of(version: Option<&TagVersion>, tags: &[&Tagged]) -> String {
    let named = || tags.iter().filter_map(|tagged| tag_order::variant(&tagged.tag));
    let shortest = || named().min_by_key(|variant| (variant.len(), variant.clone()));
    version.map(TagVersion::variant).or_else(shortest).unwrap_or_default()
}

/// That of the earliest publication, ties by name; before any publication, what its build calls it; else any name.
fn line_repository(namings: &[Stamped<Naming>]) -> String {
    let rank = |class: Class| match class {
        Class::Published | Class::Observed => 0,
        Class::Built => 1,
        Class::Evidence | Class::Other => 2,
    };
    let named = namings.iter().filter(|naming| !naming.value.repository.is_empty());
    let earliest =
        named.min_by_key(|naming| (rank(naming.value.class), naming.stamp.time, naming.value.repository.clone()));
    earliest.map(|naming| naming.value.repository.clone()).unwrap_or_default()
}

/// The newest word on it; what says more goes before `generic`, and who made or published it before who describes it.
/// That somebody's SBOM calls an image an application makes it no other thing.
fn said_kind(namings: &[Stamped<Naming>]) -> Option<i32> {
    let generic: i32 = ArtifactKind::Generic.into();
    let made = |naming: &Stamped<Naming>| naming.value.class != Class::Other;
    let said = namings.iter().filter(|naming| naming.value.kind != 0);
    let best = said.max_by_key(|naming| (naming.value.kind != generic, made(naming), naming.stamp.order()))?;
    let published = namings.iter().any(|naming| made(naming) && !naming.value.repository.is_empty());
    (best.value.kind != generic || made(best) || !published).then_some(best.value.kind)
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
