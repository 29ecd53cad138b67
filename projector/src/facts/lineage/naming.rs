//! What facts call a digest, summed up: everything that answers use of all namings but the list of tags, however often
//! it is named.
//!
//! Each summary is a join: what two sets of facts say together is the join of what each says, in any order. So the
//! summaries of several digests of one artifact join too.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use pedigraph_proto::event::ArtifactKind;
use pedigraph_proto::image::{is_evidence_tag, is_version_tag};
use serde::{Deserialize, Serialize};

use super::rows::Class;
use super::tag_order::{self, TagVersion};
use crate::rows::stamp::Order;

/// What one fact calls a digest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naming<'a> {
    pub(crate) class: Class,
    /// As the fact writes it; empty when not said.
    pub(crate) repository: &'a str,
    pub(crate) tags: &'a [&'a str],
    /// `ArtifactKind`; 0 when not said.
    pub(crate) kind: i32,
    pub(crate) platform: &'a str,
    pub(crate) order: Order,
}

/// What facts say of a digest, whatever repository it is in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    /// The earliest fact that names it.
    pub(crate) first: Order,
    /// The earliest one that builds, packages or publishes it.
    pub(crate) made: Option<Order>,
    /// Earliest time of a publication.
    pub(crate) published: Option<i64>,
    /// Earliest time at which it was seen in a registry.
    pub(crate) observed: Option<i64>,
    /// The repository of its line: how well that is known, since when, and the name; the least counts.
    pub(crate) repository: Option<(u8, i64, String)>,
    /// Somebody who makes it or saw it names a repository.
    pub(crate) in_repository: bool,
    /// By (whether who makes it says so, kind): since when. However often a word is said again it is the same word.
    pub(crate) kinds: BTreeMap<(bool, i32), Order>,
    /// The newest word on its platform.
    pub(crate) platform: Option<(Order, String)>,
    /// It is what a registry keeps beside images.
    pub(crate) evidence: bool,
    /// It has a tag that says that it is evidence of an image.
    pub(crate) evidence_tag: bool,
    /// It has another tag.
    pub(crate) other_tag: bool,
}

/// What facts call a digest in one repository.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Called {
    /// The tag that is its greatest version.
    pub(crate) version: Option<String>,
    /// The shortest variant that a tag names.
    pub(crate) variant: Option<String>,
    /// The newest tag by which it was published or seen.
    pub(crate) published: Option<(i64, String)>,
    /// The newest tag by which it was built.
    pub(crate) built: Option<(i64, String)>,
    /// The earliest tag by which somebody else calls it: what is said in passing again and again changes nothing.
    pub(crate) mentioned: Option<(i64, String)>,
}

/// How a digest came by a tag, as far as what is shown of it goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Source {
    Built,
    Published,
}

impl Source {
    /// `None` for what somebody says in passing.
    pub(crate) fn of(class: Class) -> Option<Source> {
        match class {
            Class::Published | Class::Observed => Some(Source::Published),
            Class::Built => Some(Source::Built),
            Class::Evidence | Class::Other => None,
        }
    }

    /// The byte in keys.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Source::Built => b'b',
            Source::Published => b'p',
        }
    }
}

impl Named {
    /// What one fact says.
    pub(crate) fn by(naming: &Naming<'_>) -> Named {
        let Naming { class, repository, tags, kind, platform, order } = *naming;
        let made_here = class != Class::Other;
        // A number that is no kind is no word.
        let kind = Some(kind).filter(|kind| *kind != 0 && ArtifactKind::try_from(*kind).is_ok());
        let rank = match class {
            Class::Published | Class::Observed => 0,
            Class::Built => 1,
            Class::Evidence | Class::Other => 2,
        };
        Named {
            first: order,
            made: matches!(class, Class::Built | Class::Published).then_some(order),
            published: (class == Class::Published).then_some(order.0),
            observed: (class == Class::Observed).then_some(order.0),
            repository: (!repository.is_empty()).then(|| (rank, order.0, repository.to_owned())),
            in_repository: made_here && !repository.is_empty(),
            kinds: kind.into_iter().map(|kind| ((made_here, kind), order)).collect(),
            platform: (!platform.is_empty()).then(|| (order, platform.to_owned())),
            evidence: class == Class::Evidence,
            evidence_tag: tags.iter().any(|tag| is_evidence_tag(tag)),
            other_tag: tags.iter().any(|tag| !is_evidence_tag(tag)),
        }
    }

    /// What both say together.
    pub(crate) fn join(&mut self, other: Named) {
        self.first = self.first.min(other.first);
        self.made = least(self.made.take(), other.made);
        self.published = least(self.published.take(), other.published);
        self.observed = least(self.observed.take(), other.observed);
        self.repository = least(self.repository.take(), other.repository);
        self.in_repository |= other.in_repository;
        for (word, order) in other.kinds {
            let known = self.kinds.entry(word).or_insert(order);
            *known = order.min(*known);
        }
        self.platform = self.platform.take().max(other.platform);
        self.evidence |= other.evidence;
        self.evidence_tag |= other.evidence_tag;
        self.other_tag |= other.other_tag;
    }

    /// What it is: of several words the one that came up last; what says more goes before `generic`, and who made or
    /// published it before who describes it. That somebody's SBOM calls an image an application makes it no other thing.
    pub(crate) fn kind(&self) -> Option<i32> {
        let generic: i32 = ArtifactKind::Generic.into();
        let best = self.kinds.iter().max_by_key(|((made, kind), order)| (*kind != generic, *made, **order));
        let ((made, kind), _) = best?;
        (*kind != generic || *made || !self.in_repository).then_some(*kind)
    }

    /// What of it decides which version of what line an artifact is, whatever is said of its other digests.
    pub(super) fn decides(&self) -> impl PartialEq + use<> {
        let generic: i32 = ArtifactKind::Generic.into();
        let weight = |(made, kind): &(bool, i32)| (*kind != generic, *made);
        let most = self.kinds.keys().map(weight).max();
        let kinds: Vec<_> = self.kinds.iter().filter(|(word, _)| Some(weight(word)) == most).collect();
        let kinds: Vec<((bool, i32), Order)> = kinds.into_iter().map(|(word, order)| (*word, *order)).collect();
        let created = self.made.ok_or(self.first);
        let published = self.published.ok_or(self.observed);
        let aside = (self.evidence, self.evidence_tag, self.other_tag);
        (created, published, aside, kinds, self.repository.clone(), self.in_repository, self.platform.clone())
    }

    /// It is evidence of images or a build cache: no version of a line, and no product.
    pub(crate) fn is_aside(&self) -> bool {
        self.evidence || (self.evidence_tag && !self.other_tag)
    }
}

impl Called {
    /// What one fact says.
    pub(crate) fn by(naming: &Naming<'_>) -> Called {
        let tags = || naming.tags.iter().copied();
        let shown = greatest(tags()).map(|tag| (naming.order.0, tag.to_owned()));
        let source = Source::of(naming.class);
        let of = |wanted: Option<Source>| shown.clone().filter(|_| source == wanted);
        Called {
            version: greatest(tags().filter(|tag| is_version(tag))).map(str::to_owned),
            variant: tags().filter_map(tag_order::variant).min_by_key(|variant| by_length(variant)),
            published: of(Some(Source::Published)),
            built: of(Some(Source::Built)),
            mentioned: of(None),
        }
    }

    /// What both say together.
    pub(crate) fn join(&mut self, other: Called) {
        let versions = [self.version.take(), other.version];
        self.version = greatest(versions.iter().flatten().map(String::as_str)).map(str::to_owned);
        let variants = [self.variant.take(), other.variant];
        self.variant = variants.into_iter().flatten().min_by_key(|variant| by_length(variant));
        let newest = |a: Option<(i64, String)>, b: Option<(i64, String)>| {
            a.into_iter().chain(b).max_by(|(a, of_a), (b, of_b)| a.cmp(b).then_with(|| rank(of_a).cmp(&rank(of_b))))
        };
        self.published = newest(self.published.take(), other.published);
        self.built = newest(self.built.take(), other.built);
        let mentions = self.mentioned.take().into_iter().chain(other.mentioned);
        self.mentioned = mentions.min_by(|(a, of_a), (b, of_b)| a.cmp(b).then_with(|| rank(of_b).cmp(&rank(of_a))));
    }

    /// As [`Named::decides`].
    pub(super) fn decides(&self) -> impl PartialEq + use<> {
        (self.version.clone(), self.variant.clone())
    }

    /// The newest tag of one source.
    pub(crate) fn newest(&self, source: Source) -> Option<&(i64, String)> {
        match source {
            Source::Built => self.built.as_ref(),
            Source::Published => self.published.as_ref(),
        }
    }

    /// The greatest tag of its line's repository that is a version.
    pub(crate) fn version(&self) -> Option<TagVersion> {
        TagVersion::parse(self.version.as_ref()?)
    }
}

/// Of several tags at one moment the greatest version, else the first by name.
pub(crate) fn greatest<'t>(tags: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    tags.max_by_key(|tag| rank(tag))
}

fn rank(tag: &str) -> (Option<TagVersion>, Reverse<&str>) {
    (TagVersion::parse(tag), Reverse(tag))
}

fn is_version(tag: &str) -> bool {
    is_version_tag(tag) && TagVersion::parse(tag).is_some()
}

fn by_length(variant: &str) -> (usize, String) {
    (variant.len(), variant.to_owned())
}

fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}
