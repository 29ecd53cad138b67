//! From a purl to the artifacts that contain it, from the small side: the versions of a package, the component sets that
//! hold one of them, the artifacts whose current SBOM is such a set, and where these run.
//!
//! Nothing here reads what does not hold it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;

use pedigraph_proto::Purl;
use pedigraph_proto::vers::Range;

use super::contents::{Described, is_asked_for};
use super::identity::Graph;
use super::kept::{Kept, once};
use super::running::{Place, RunsIn, Visit};
use super::scope::{Clocks, FEW_ROWS, Scope};
use super::vex::candidates::Candidates;
use super::vex::said::Case;
use super::vex::verdict::Whole;
use crate::error::Error;
use crate::facts::components::rows::{
    EXTENDED, LINKS, PACKAGE_KEY_BYTES, PACKAGES, SET_SUBJECTS, clipped, table, table_key, unreadable,
};
use crate::facts::deltas::rows::Standing;
use crate::rows::stamp::split_stamp;
use crate::store;
use crate::store::key::Key;

/// Components of one package (versions, and the same version described otherwise) that one question reads. Of more the
/// first by version are looked at, and the answer's counts are lower bounds.
pub const MATCHES_MAX: usize = 100_000;
/// Component sets that one question reaches, four bytes each; of more the counts are lower bounds too.
pub const SETS_MAX: usize = 1_000_000;
/// Sets that were added to after the entry that listed them first, which are kept in memory; when there are more, each
/// set is looked through.
const EXTENDED_KEPT_MAX: usize = 1_000;

/// Rows of links of SBOMs to artifacts that are kept.
const LINKS_KEPT_MAX: usize = 10_000;
/// Rows of what sets are bound to that are read at once, where all of them are used.
const BINDINGS_AT_ONCE: usize = 128;
/// What runs anywhere is read at once for so many sets at least, and for each of them so many lanes at most: to ask of one
/// artifact where it runs costs more than as many rows.
const FLEET_SETS_MIN: usize = 256;
const FLEET_LANES_PER_SET: usize = 4;
/// Lanes whose running artifacts are kept at most, half a kilobyte each.
const FLEET_LANES_MAX: usize = 20_000;
/// Whether that is little is told by a few rows of each environment, for so many sets one.
const FLEET_SETS_PER_ENVIRONMENT: usize = 16;

/// What runs, by the digest that it was deployed by.
type Fleet = BTreeMap<String, Vec<Rc<RunsIn>>>;

/// What a question about a purl reaches, each thing read once.
pub(super) struct Reach<'a> {
    pub(super) scope: &'a Scope,
    pub(super) graph: Graph<'a>,
    /// Numbers of the components that are asked for, ascending.
    pub(super) matches: Vec<u32>,
    /// Numbers of the sets that hold one of them, ascending.
    pub(super) sets: Vec<u32>,
    /// There are more components or sets than are looked at.
    pub(super) cut: bool,
    /// Sets that were added to later; `None` for too many.
    extended: Option<Vec<u32>>,
    held: Kept<String, Rc<Held>>,
    contained: Kept<String, Rc<Contained>>,
    /// Of artifacts as they run.
    runs: Kept<String, Rc<Vec<Rc<RunsIn>>>>,
    /// All that runs, where it was read.
    fleet: OnceCell<Fleet>,
    linked: OnceCell<Option<BTreeSet<String>>>,
    described: Kept<String, Described>,
    pub(super) free: Kept<String, bool>,
    /// Of a vulnerability: what is said of it.
    case: Option<Case<'a>>,
    /// Of a vulnerability: whether of anything that holds it it cannot be told.
    pub(super) may_be_unclear: bool,
    /// Of a vulnerability: canonical digests of artifacts that are named with it.
    named: BTreeSet<String>,
    verdicts: Kept<String, Rc<Whole>>,
    classes: Kept<String, Class>,
}

/// What an artifact that may hold what is asked for is to an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// It holds it; of a vulnerability: it is affected, or this is looked into.
    Open,
    /// Who may clear it says that it is fixed or not affected.
    Cleared,
    /// It cannot be told.
    Unclear,
    /// It does not hold it.
    Free,
}

/// What of an artifact holds what is asked for.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Its current sets that do, ascending.
    pub(super) sets: Vec<u32>,
    /// SBOMs that were linked to it.
    links: Vec<String>,
}

/// What is known of the contents of something that runs.
#[derive(Debug)]
pub(super) struct Contained {
    /// Canonical digest of the first part of it that holds what is asked for.
    pub(super) part: Option<String>,
    /// All its parts.
    parts: BTreeSet<String>,
}

impl<'a> Reach<'a> {
    pub(super) fn of(scope: &'a Scope, purl: &Purl, range: Option<&Range>) -> Result<Reach<'a>, Error> {
        let (matches, matches_cut) = scope.matching(purl, range)?;
        let (named, named_cut) = called_so(scope, purl, range)?;
        Reach::from(scope, (matches, matches_cut || named_cut), None, named)
    }

    /// Of a vulnerability: from everything that is named with it.
    pub(super) fn of_case(scope: &'a Scope, case: Case<'a>) -> Result<Reach<'a>, Error> {
        let Candidates { components, cut, named, may_be_unclear } = case.candidates()?;
        let reach = Reach::from(scope, (components.into_iter().collect(), cut), Some(case), named)?;
        Ok(Reach { may_be_unclear, ..reach })
    }

    /// Of what may be concerned, whatever is said of it.
    pub(super) fn of_candidates(scope: &'a Scope, concerned: Candidates) -> Result<Reach<'a>, Error> {
        let Candidates { components, cut, named, .. } = concerned;
        Reach::from(scope, (components.into_iter().collect(), cut), None, named)
    }

    fn from(
        scope: &'a Scope,
        (matches, matches_cut): (Vec<u32>, bool),
        case: Option<Case<'a>>,
        named: BTreeSet<String>,
    ) -> Result<Reach<'a>, Error> {
        let (sets, sets_cut) = scope.sets_with(&matches)?;
        let extended = if sets.is_empty() { Some(vec![]) } else { scope.extended_sets()? };
        Ok(Reach {
            scope,
            graph: Graph::new(scope),
            matches,
            sets,
            cut: matches_cut || sets_cut,
            extended,
            held: Kept::default(),
            contained: Kept::default(),
            runs: Kept::default(),
            fleet: OnceCell::new(),
            linked: OnceCell::new(),
            described: Kept::default(),
            free: Kept::default(),
            case,
            may_be_unclear: false,
            named,
            verdicts: Kept::default(),
            classes: Kept::default(),
        })
    }

    /// Of a vulnerability: what is said of it.
    pub(super) fn case(&self) -> Option<&Case<'a>> {
        self.case.as_ref()
    }

    /// What something that runs is: where a part of it is unknown, it is not called safe for what is said of others.
    pub(super) fn class_running(&self, digest: &str) -> Result<Class, Error> {
        let class = self.class(digest)?;
        let unknown = class == Class::Cleared && self.unknown_part(digest)?.is_some();
        Ok(if unknown { Class::Unclear } else { class })
    }

    /// A part of which nobody says anything, and of which nobody knows what it contains.
    pub(super) fn unknown_part(&self, digest: &str) -> Result<Option<String>, Error> {
        let Some(whole) = self.verdict(digest)? else { return Ok(None) };
        for (part, called) in whole.silent_parts() {
            if self.described(part)? == Described::Nothing {
                return Ok(Some(called.clone()));
            }
        }
        Ok(None)
    }

    /// Whether artifacts are named themselves, beside what they hold.
    pub(super) fn names_artifacts(&self) -> bool {
        !self.named.is_empty()
    }

    /// Of a vulnerability: what is said of an artifact about it.
    pub(super) fn verdict(&self, digest: &str) -> Result<Option<Rc<Whole>>, Error> {
        let Some(case) = &self.case else { return Ok(None) };
        once(&self.verdicts, digest, || case.whole(digest).map(Rc::new)).map(Some)
    }

    /// What an artifact that holds it, or is named with it, is to the answer: as the view of verdicts keeps it, a seek
    /// where a verdict reads dozens of rows, and else from the verdict.
    pub(super) fn class(&self, digest: &str) -> Result<Class, Error> {
        let Some(case) = &self.case else { return Ok(Class::Open) };
        once(&self.classes, digest, || self.find_class(case, digest))
    }

    fn find_class(&self, case: &Case<'a>, digest: &str) -> Result<Class, Error> {
        if let Some(kept) = self.kept_class(case, digest)? {
            return Ok(kept);
        }
        let Some(whole) = self.verdict(digest)? else { return Ok(Class::Open) };
        Ok(match whole.consensus {
            Some(found) if found.is_open() => Class::Open,
            Some(found) if found.by_role || !case.has_roles()? => Class::Cleared,
            Some(_) => Class::Open,
            None if whole.unclear().is_some() => Class::Unclear,
            None => Class::Free,
        })
    }

    /// The same by the status that is kept, where it says all: nothing is kept of why it cannot be told, nor of who won.
    fn kept_class(&self, case: &Case<'_>, digest: &str) -> Result<Option<Class>, Error> {
        let Some(kept) = self.scope.kept_standing(digest, &case.vulnerability().name)? else { return Ok(None) };
        Ok(match kept {
            Standing::Affected | Standing::UnderInvestigation => Some(Class::Open),
            Standing::Fixed | Standing::NotAffected if !case.has_roles()? => Some(Class::Cleared),
            Standing::None if !self.may_be_unclear => Some(Class::Free),
            Standing::Fixed | Standing::NotAffected | Standing::None => None,
        })
    }

    /// The current sets of an artifact, by its canonical digest, that hold it.
    pub(super) fn held(&self, digest: &str) -> Result<Rc<Held>, Error> {
        once(&self.held, digest, || self.read_held(digest).map(Rc::new))
    }

    fn read_held(&self, digest: &str) -> Result<Held, Error> {
        let mut held = Held::default();
        if !self.sets.is_empty() {
            let bound = self.scope.sboms_of(digest)?;
            held.links = bound.iter().filter(|row| row.value.set.is_none()).map(|row| row.value.sbom.clone()).collect();
            for current in self.scope.current_among(&bound)? {
                if self.holds(current.set)? {
                    held.sets.push(current.set);
                }
            }
            held.sets.sort_unstable();
            held.sets.dedup();
        }
        Ok(held)
    }

    /// Does a set hold it? Postings know no `asOf`: one that was added to later may hold it only since then.
    pub(super) fn holds(&self, set: u32) -> Result<bool, Error> {
        if self.sets.binary_search(&set).is_err() {
            return Ok(false);
        }
        let added_to = self.extended.as_ref().is_none_or(|extended| extended.binary_search(&set).is_ok());
        if !added_to || self.scope.sees_whole_set(set)? {
            return Ok(true);
        }
        let contents = self.scope.contents(set)?;
        Ok(self.matches.iter().any(|component| contents.place(*component).is_some()))
    }

    /// What something that runs contains of it.
    pub(super) fn contained(&self, digest: &str) -> Result<Rc<Contained>, Error> {
        once(&self.contained, digest, || self.read_contained(digest).map(Rc::new))
    }

    fn read_contained(&self, digest: &str) -> Result<Contained, Error> {
        let parts = self.scope.parts_of(digest)?;
        let mut part = None;
        for candidate in &parts {
            if !self.held(candidate)?.sets.is_empty() || self.named.contains(candidate) {
                part = Some(candidate.clone());
                break;
            }
        }
        Ok(Contained { part, parts: parts.into_iter().collect() })
    }

    /// How much of an artifact is described, by any of its digests.
    pub(super) fn described(&self, digest: &str) -> Result<Described, Error> {
        once(&self.described, digest, || self.scope.described(digest))
    }

    /// Is an artifact known to contain none of what is asked for? What nobody described is not said to be free of
    /// anything, and of an index neither is one of whose manifests nobody described.
    pub(super) fn is_free(&self, digest: &str) -> Result<bool, Error> {
        once(&self.free, digest, || {
            let described = || Ok(self.described(digest)? == Described::Whole);
            if self.contained(digest)?.part.is_none() {
                return described();
            }
            match self.case.is_some() {
                true => Ok(match self.class(digest)? {
                    Class::Cleared => true,
                    Class::Free => described()?,
                    Class::Open | Class::Unclear => false,
                }),
                false => Ok(false),
            }
        })
    }

    /// What sets that hold it are bound to, by (set, digest), with the artifacts that each leads to and none before it
    /// did, from a place on. It goes from one subject to the next, however often each is bound to the set.
    pub(super) fn each_subject(&self, from: &Place, visit: Visit<'_, Vec<String>>) -> Result<(), Error> {
        let (first, subject) = match from {
            Place::Subject { set, subject, .. } => (*set, Some(subject)),
            Place::Start => (0, None),
            Place::Artifact { digest, .. } => return self.each_named(digest, visit),
            Place::Lane { .. } | Place::End => return Ok(()),
        };
        if self.each_bound(first, subject, visit)?.is_continue() {
            self.each_named("", visit)?;
        }
        Ok(())
    }

    /// Artifacts that are named and hold no set that does, from one on.
    fn each_named(&self, from: &str, visit: Visit<'_, Vec<String>>) -> Result<(), Error> {
        for digest in self.named.range(from.to_owned()..) {
            if self.held(digest)?.sets.is_empty() {
                let here = Place::Artifact { digest: digest.clone(), rows: 0 };
                if visit(here, vec![digest.clone()])?.is_break() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn each_bound(
        &self,
        first: u32,
        subject: Option<&String>,
        visit: Visit<'_, Vec<String>>,
    ) -> Result<ControlFlow<()>, Error> {
        let wanted = |from: u32| self.sets.get(self.sets.partition_point(|set| *set < from)).copied();
        let Some(begin) = wanted(first) else { return Ok(ControlFlow::Continue(())) };
        let mut next = self.subjects(begin);
        if let Some(subject) = subject.filter(|_| begin == first) {
            next = next.text(subject);
        }
        let mut bound = Bindings::of(self.scope);
        while let Some((set, subject)) = bound.first_from(&next)? {
            match wanted(set) {
                None => break,
                Some(later) if later != set => next = self.subjects(later),
                Some(_) => {
                    next = self.subjects(set).text(&subject).prefix_end();
                    let first = self.led_to_first(set, &subject)?;
                    if visit(Place::Subject { set, subject, rows: 0 }, first)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Artifacts that something leads to that a set is bound to, and nothing before it did.
    fn led_to_first(&self, set: u32, subject: &str) -> Result<Vec<String>, Error> {
        let mut first = Vec::new();
        for digest in self.led_to(subject)? {
            if self.leads_first(set, subject, &digest)? {
                first.push(digest);
            }
        }
        Ok(first)
    }

    fn subjects(&self, set: u32) -> Key {
        table(&self.scope.tenant, SET_SUBJECTS).number(u64::from(set))
    }

    /// Canonical digests of the artifacts that an SBOM was linked to, else of the one that a set was bound to.
    fn led_to(&self, subject: &str) -> Result<Vec<String>, Error> {
        let may_be_linked = self.linked()?.is_none_or(|linked| linked.contains(subject));
        let linked = match may_be_linked {
            true => self.scope.digests_under(&table(&self.scope.tenant, LINKS).text(subject), 1, usize::MAX)?,
            false => vec![],
        };
        let digests = if linked.is_empty() { vec![subject.to_owned()] } else { linked };
        let canonical = digests.iter().map(|digest| self.scope.canonical_digest(digest));
        let canonical: BTreeSet<String> = canonical.collect::<Result<_, Error>>()?;
        Ok(canonical.into_iter().collect())
    }

    /// SBOMs that are linked to artifacts; `None` for more rows than there are sets, so that it costs no more than to ask
    /// for each.
    fn linked(&self) -> Result<Option<&BTreeSet<String>>, Error> {
        if let Some(known) = self.linked.get() {
            return Ok(known.as_ref());
        }
        let (prefix, rows_max) = (table(&self.scope.tenant, LINKS), self.sets.len().min(LINKS_KEPT_MAX));
        // Also those that were linked above this scope's bound.
        let rows = self.scope.shared.store.scan(prefix.as_bytes(), prefix.prefix_end().as_bytes(), false, rows_max)?;
        let sboms = rows.iter().map(|(key, _)| table_key(key)?.text().ok_or_else(unreadable));
        let linked = if rows.len() < rows_max { Some(sboms.collect::<Result<_, Error>>()?) } else { None };
        Ok(self.linked.get_or_init(|| linked).as_ref())
    }

    /// Does the artifact hold it by this set before any other, and is this the first of what the set is bound to that
    /// leads to it? So each artifact is met once, wherever a page begins.
    fn leads_first(&self, set: u32, subject: &str, digest: &str) -> Result<bool, Error> {
        let held = self.held(digest)?;
        if held.sets.first() != Some(&set) {
            return Ok(false);
        }
        let aliases = self.scope.aliases_of(digest)?;
        let before = aliases.iter().chain(&held.links).filter(|other| other.as_str() < subject);
        for other in before {
            let row = self.subjects(set).text(other);
            let bound = self.scope.keyed::<()>(&row, &row.prefix_end(), false, Clocks::Known, 1)?;
            if !bound.is_empty() && self.led_to(other)?.iter().any(|led| led == digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where something runs now, or at the question's moment, that is told to hold it by this part of it: each index is
    /// shown once, by the first of its manifests that does.
    pub(super) fn shown_by(&self, part: &str) -> Result<Vec<Rc<RunsIn>>, Error> {
        let mut shown = Vec::new();
        for whole in self.wholes(part)? {
            let runs = self.runs(&whole)?;
            if !runs.is_empty() && self.contained(&whole)?.part.as_deref() == Some(part) {
                shown.extend(runs.iter().cloned());
            }
        }
        shown.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(shown)
    }

    /// Where something runs that has this artifact among its parts, whether it holds what is asked for or not.
    pub(super) fn runs_with(&self, part: &str) -> Result<Vec<Rc<RunsIn>>, Error> {
        let mut found = Vec::new();
        for whole in self.wholes(part)? {
            let runs = self.runs(&whole)?;
            if !runs.is_empty() && self.contained(&whole)?.parts.contains(part) {
                found.extend(runs.iter().cloned());
            }
        }
        Ok(found)
    }

    /// Whether something runs that has this artifact among its parts.
    pub(super) fn is_running(&self, digest: &str) -> Result<bool, Error> {
        for whole in self.wholes(digest)? {
            if !self.runs(&whole)?.is_empty() && self.contained(&whole)?.parts.contains(digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An artifact, and the indexes above it.
    fn wholes(&self, digest: &str) -> Result<Vec<String>, Error> {
        let above = self.graph.above(digest)?;
        Ok([digest.to_owned()].into_iter().chain(above.digests().cloned()).collect())
    }

    /// Where an artifact itself runs, by any of its digests; read once, however many of its manifests are asked for.
    fn runs(&self, whole: &str) -> Result<Rc<Vec<Rc<RunsIn>>>, Error> {
        once(&self.runs, whole, || {
            let runs: Vec<_> = match self.fleet.get() {
                Some(fleet) => {
                    let aliases = self.scope.aliases_of(whole)?;
                    aliases.iter().filter_map(|digest| fleet.get(digest)).flatten().cloned().collect()
                }
                None => self.scope.runs_of(whole)?.into_iter().map(Rc::new).collect(),
            };
            Ok(Rc::new(runs))
        })
    }

    /// Reads what runs anywhere now, where that costs less than to ask of each artifact where it runs.
    pub(super) fn read_fleet(&self) -> Result<(), Error> {
        let lanes_max = (FLEET_LANES_PER_SET * self.sets.len()).min(FLEET_LANES_MAX);
        if self.sets.len() < FLEET_SETS_MIN || self.scope.at.is_some() {
            return Ok(());
        }
        if !self.scope.runs_at_most(lanes_max as u64, self.sets.len() / FLEET_SETS_PER_ENVIRONMENT)? {
            return Ok(());
        }
        let (mut fleet, mut lanes) = (Fleet::new(), 0);
        let mut fits = true;
        self.scope.each_lane(None, &Place::Start, &mut |_, runs| {
            for run in runs {
                if let Some(digest) = run.artifact.digest.clone() {
                    fleet.entry(digest).or_default().push(Rc::new(run));
                }
            }
            lanes += 1;
            fits = lanes <= lanes_max && !self.scope.meter.is_half_spent();
            Ok(if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        if fits {
            self.fleet.get_or_init(|| fleet);
        }
        Ok(())
    }
}

/// Canonical digests of artifacts that are such a package themselves, by their own purls, and of what is under them; with
/// whether there are more. Images are asked for by reference.
fn called_so(scope: &Scope, purl: &Purl, range: Option<&Range>) -> Result<(BTreeSet<String>, bool), Error> {
    let (mut named, graph) = (BTreeSet::new(), Graph::new(scope));
    if purl.is_image() {
        return Ok((named, false));
    }
    for (version, digest) in scope.artifacts_called(purl.package_key())? {
        let exact = purl.version().is_empty() || purl.version_key() == version;
        if !exact || !range.is_none_or(|range| range.contains(&version)) {
            continue;
        }
        if scope.meter.is_quarter_spent() {
            return Ok((named, true));
        }
        graph.add_whole(&digest, &mut named)?;
    }
    Ok((named, false))
}

/// Rows that bind sets to artifacts or SBOMs, in order: so many are read at once as were used of those before.
struct Bindings<'a> {
    scope: &'a Scope,
    page: VecDeque<store::Row>,
    page_rows: usize,
    /// Rows of the page at which a look ended.
    used: usize,
    /// Where the next page may begin; `None` where none follows.
    after: Option<Vec<u8>>,
}

impl<'a> Bindings<'a> {
    fn of(scope: &'a Scope) -> Bindings<'a> {
        Bindings { scope, page: VecDeque::new(), page_rows: FEW_ROWS, used: 0, after: Some(vec![]) }
    }

    /// Set and subject of the first row from a key on that is seen.
    fn first_from(&mut self, from: &Key) -> Result<Option<(u32, String)>, Error> {
        loop {
            while let Some((key, row)) = self.page.pop_front() {
                if key.as_slice() >= from.as_bytes() && self.scope.sees(&split_stamp(&row)?.0, Clocks::Known) {
                    self.used += 1;
                    let mut reader = table_key(&key)?;
                    let set = reader.number().and_then(|set| u32::try_from(set).ok());
                    return set.zip(reader.text()).ok_or_else(unreadable).map(Some);
                }
            }
            let Some(after) = self.after.take() else { return Ok(None) };
            self.read(from.as_bytes().max(&after))?;
        }
    }

    fn read(&mut self, from: &[u8]) -> Result<(), Error> {
        let most_are_used = 4 * self.used >= 3 * self.page_rows;
        self.page_rows = if most_are_used { 2 * self.page_rows } else { self.page_rows / 2 };
        self.page_rows = self.page_rows.clamp(FEW_ROWS, BINDINGS_AT_ONCE);
        self.used = 0;
        let end = table(&self.scope.tenant, SET_SUBJECTS).prefix_end();
        self.page = self.scope.shared.store.scan(from, end.as_bytes(), false, self.page_rows)?.into();
        let last = self.page.back().filter(|_| self.page.len() == self.page_rows);
        self.after = last.map(|(key, _)| [key.as_slice(), &[0]].concat());
        Ok(())
    }
}

impl Scope {
    /// Numbers of the components that are asked for, ascending, with whether more were left out. Package and version
    /// stand in the keys: a component itself is read only where a key does not say all.
    pub(super) fn matching(&self, purl: &Purl, range: Option<&Range>) -> Result<(Vec<u32>, bool), Error> {
        let mut prefix = table(&self.tenant, PACKAGES).text(clipped(purl.package_key()));
        if !purl.version().is_empty() {
            prefix = prefix.text(clipped(purl.version_key()));
        }
        // What is cut in a key ends within four bytes of the limit, at the end of a letter.
        let is_whole = |text: &str| text.len() + 4 <= PACKAGE_KEY_BYTES;
        // Of images the repository counts too, and the order of deb and rpm reads an epoch that keys do not have.
        let has_epochs = range.is_some() && matches!(purl.kind(), "deb" | "rpm");
        let by_key = purl.kind() != "oci" && !has_epochs && is_whole(purl.package_key());
        let (mut matching, mut rows, mut cut) = (Vec::new(), 0, false);
        let mut last: Option<(String, bool)> = None;
        self.each::<u32>(&prefix, &prefix.prefix_end(), false, Clocks::Known, |key, row| {
            cut = rows == MATCHES_MAX;
            if cut {
                return Ok(ControlFlow::Break(()));
            }
            rows += 1;
            let mut reader = table_key(key)?;
            let version = reader.text().and_then(|_| reader.text()).ok_or_else(unreadable)?;
            let asked = match &last {
                _ if !by_key || !is_whole(&version) => self.is_asked_for(purl, range, row.value)?,
                Some((of, asked)) if *of == version => *asked,
                Some(_) | None => range.is_none_or(|range| range.contains(&version)),
            };
            if asked {
                matching.push(row.value);
            }
            last = Some((version, asked));
            Ok(ControlFlow::Continue(()))
        })?;
        matching.sort_unstable();
        Ok((matching, cut))
    }

    fn is_asked_for(&self, purl: &Purl, range: Option<&Range>, component: u32) -> Result<bool, Error> {
        Ok(self.known(component)?.parsed().is_some_and(|component| is_asked_for(purl, range, component)))
    }

    /// Sets that hold one of the components, ascending, with whether more were left out.
    fn sets_with(&self, matches: &[u32]) -> Result<(Vec<u32>, bool), Error> {
        if matches.is_empty() {
            return Ok((vec![], false));
        }
        let components = &self.shared.views.components;
        loop {
            let snapshot = match components.tenants.lock().get(&self.tenant) {
                Some(memory) => memory.postings.snapshot(matches),
                None => return Ok((vec![], false)),
            };
            let sets = snapshot.sets(&self.tenant, self.shared.store.as_ref(), matches, SETS_MAX);
            // A reader so slow that two merges passed may have missed rows that the second one removed.
            let complete = components.tenants.lock().get(&self.tenant).is_some_and(|m| m.postings.still_has(&snapshot));
            if complete {
                let sets: Vec<u32> = sets?.into_iter().collect();
                let cut = sets.len() > SETS_MAX;
                return Ok((sets, cut));
            }
        }
    }

    /// Sets that were added to after the entry that listed them first, ascending; `None` for too many.
    fn extended_sets(&self) -> Result<Option<Vec<u32>>, Error> {
        let prefix = table(&self.tenant, EXTENDED);
        let (from, end) = (prefix.as_bytes(), prefix.prefix_end());
        // Also those that were added to above this scope's bound.
        let rows = self.shared.store.scan(from, end.as_bytes(), false, EXTENDED_KEPT_MAX + 1)?;
        if rows.len() > EXTENDED_KEPT_MAX {
            return Ok(None);
        }
        let number =
            |key: &[u8]| table_key(key)?.number().and_then(|set| u32::try_from(set).ok()).ok_or_else(unreadable);
        rows.iter().map(|(key, _)| number(key)).collect::<Result<Vec<u32>, Error>>().map(Some)
    }
}
