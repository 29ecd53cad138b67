//! Advisories in the OSV format, schema 1.x.
//!
//! Only `aliases` are other names of the vulnerability: `related` and `upstream` name others (SPEC §5). Of ranges of
//! commits it is kept that they are there: nobody here knows the order of commits.

use pedigraph_proto::advisory::package_purl;
use pedigraph_proto::event::{AdvisoryPublished, AffectedPackage, AffectedRange, RangeEvent};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::{Nanos, Purl};
use serde::Deserialize;
use serde::de::MapAccess;

use super::budget::Budget;
use super::document::{Document, Failure};
use super::facts::{self, ITEMS_BYTES_MAX};
use super::read::{Each, Lax, LaxList, List, Members, Obj, Object, Text, clip_to, skip};
use super::severity::Severity;
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    media_types: &["application/osv+json", "application/vnd.osv+json"],
    matches: |shape| {
        let says = ["affected", "summary", "details", "schema_version"].iter().any(|name| shape.has(name));
        shape.has("id") && (shape.has("schema_version") || (shape.has("modified") && says))
    },
    ..Decoder::new("osv", 3, Decode::Stream(decode))
}];

/// Longest version that is kept, bytes: far beyond those that can be compared, so that what is cut equals nothing.
const VERSION_BYTES_MAX: usize = 1_024;
/// Most bytes of one range, or of a part of a list of versions: several of them fit into a fact.
const PART_BYTES_MAX: usize = ITEMS_BYTES_MAX / 2;

/// An advisory while it is read.
struct Advisory<'a, 'g> {
    schema_version: Text<'a>,
    id: Text<'a>,
    modified: Text<'a>,
    published: Text<'a>,
    withdrawn: Text<'a>,
    aliases: List<Text<'a>>,
    summary: Text<'a>,
    severity: Judged,
    packages: Packages<'g>,
}

impl<'de> Members<'de> for Advisory<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "schema_version" => self.schema_version = map.next_value()?,
            "id" => self.id = map.next_value()?,
            "modified" => self.modified = map.next_value()?,
            "published" => self.published = map.next_value()?,
            "withdrawn" => self.withdrawn = map.next_value()?,
            "aliases" => self.aliases = map.next_value()?,
            "summary" => self.summary = map.next_value()?,
            "severity" => self.severity.rated(&map.next_value()?),
            "database_specific" => self.severity.said(&map.next_value()?),
            "affected" => {
                let packages = &mut self.packages;
                map.next_value_seed(Each::new(|Obj(affected): Obj<Affected<'de>>| packages.take(&affected)))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Affected<'a> {
    #[serde(borrow)]
    package: Obj<Package<'a>>,
    #[serde(borrow)]
    ranges: List<Obj<Range<'a>>>,
    #[serde(borrow)]
    versions: List<Text<'a>>,
    #[serde(borrow)]
    severity: LaxList<Lax<Rating<'a>>>,
    #[serde(borrow)]
    ecosystem_specific: Lax<Specific<'a>>,
    #[serde(borrow)]
    database_specific: Lax<Specific<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Package<'a> {
    #[serde(borrow)]
    ecosystem: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    purl: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Range<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    events: List<Obj<Event<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Event<'a> {
    #[serde(borrow)]
    introduced: Text<'a>,
    #[serde(borrow)]
    fixed: Text<'a>,
    #[serde(borrow)]
    last_affected: Text<'a>,
    #[serde(borrow)]
    limit: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rating<'a> {
    #[serde(borrow)]
    score: Text<'a, false>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Specific<'a> {
    #[serde(borrow)]
    severity: Text<'a, false>,
}

/// Reads an advisory.
fn decode<'a>(document: Document<'a>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut advisory: Advisory<'a, '_> = Advisory::new(given);
    document.json_seed(Object(&mut advisory))?;
    Ok(advisory.found(given)?)
}

impl<'g> Advisory<'_, 'g> {
    fn new(given: &Given<'g>) -> Self {
        let packages_max = given.limits.statements_max;
        Advisory {
            schema_version: Text::default(),
            id: Text::default(),
            modified: Text::default(),
            published: Text::default(),
            withdrawn: Text::default(),
            aliases: List::default(),
            summary: Text::default(),
            severity: Judged::default(),
            packages: Packages { packages: Vec::new(), packages_max, worst: Judged::default(), budget: given.budget },
        }
    }

    fn found(self, given: &Given<'_>) -> Result<Found, Reject> {
        check_version(self.schema_version.as_str())?;
        if self.id.get().is_none() {
            return Err(Reject::new(Code::SchemaViolation, "id is missing"));
        }
        let head = AdvisoryPublished {
            id: self.id.whole(),
            aliases: facts::aliases(self.aliases.0.iter().map(Text::as_str)),
            modified: facts::canonical_time(self.modified.as_str()),
            published: facts::canonical_time(self.published.as_str()),
            withdrawn: facts::canonical_time(self.withdrawn.as_str()),
            severity: self.severity.or(self.packages.worst).word().to_owned(),
            summary: self.summary.owned(),
            format: "osv".into(),
            ..AdvisoryPublished::default()
        };
        let time = Nanos::parse(&facts::first_time(&[&self.modified, &self.published]));
        Ok(Found { facts: facts::advisory(head, self.packages.packages, given.budget)?.into(), time })
    }
}

/// A newer minor version is read as the newest known; before 1.0 there was no such member.
fn check_version(version: &str) -> Result<(), Reject> {
    match version.split('.').next().map(str::parse::<u64>) {
        Some(Ok(major)) if major > 1 => {
            Err(Reject::new(Code::UnsupportedVersion, format!("schema_version {:?} is not 1.x", clip_to(version, 64))))
        }
        Some(_) | None => Ok(()),
    }
}

/// The packages that are affected.
struct Packages<'g> {
    packages: Vec<AffectedPackage>,
    packages_max: usize,
    worst: Judged,
    budget: &'g Budget,
}

impl Packages<'_> {
    fn take(&mut self, affected: &Affected<'_>) -> Result<(), Reject> {
        self.worst.said(&affected.database_specific);
        self.worst.said(&affected.ecosystem_specific);
        self.worst.rated(&affected.severity);
        let Obj(named) = &affected.package;
        let (ecosystem, name) = (named.ecosystem.owned(), named.name.owned());
        let purl = package_key(named.purl.as_str(), &ecosystem, &name);
        let alone = AffectedPackage { ecosystem, name, purl, ..AffectedPackage::default() };
        // What is too much for one fact is said of the package again: it has what lies in any part.
        let (mut part, mut room) = (alone.clone(), PART_BYTES_MAX);
        for Obj(range) in &affected.ranges.0 {
            let range = of_range(range);
            let bytes = range.encoded_len();
            if bytes > PART_BYTES_MAX {
                let reason = format!("a range has {bytes} bytes of events, at most {PART_BYTES_MAX} are taken");
                return Err(Reject::new(Code::TooManyItems, reason));
            }
            self.make_room(&mut part, &alone, &mut room, bytes)?;
            part.ranges.push(range);
        }
        for version in affected.versions.0.iter().filter_map(Text::get).filter(|v| v.len() <= VERSION_BYTES_MAX) {
            self.make_room(&mut part, &alone, &mut room, version.len() + size_of::<String>())?;
            part.versions.push(version.to_owned());
        }
        self.push(part)
    }

    /// Begins another part where the next piece has no room in this one.
    fn make_room(
        &mut self,
        part: &mut AffectedPackage,
        alone: &AffectedPackage,
        room: &mut usize,
        bytes: usize,
    ) -> Result<(), Reject> {
        if bytes > *room {
            self.push(std::mem::replace(part, alone.clone()))?;
            *room = PART_BYTES_MAX;
        }
        *room = room.saturating_sub(bytes);
        Ok(())
    }

    fn push(&mut self, package: AffectedPackage) -> Result<(), Reject> {
        if self.packages.len() == self.packages_max {
            return Err(Reject::new(Code::TooManyItems, format!("more than {} packages", self.packages_max)));
        }
        self.budget.take(&package)?;
        // Messages and texts of a list are held as what they are, not as they are encoded.
        let events: usize = package.ranges.iter().map(|range| range.events.len()).sum();
        let held = events * size_of::<RangeEvent>() + package.ranges.len() * size_of::<AffectedRange>();
        self.budget.hold(held + package.versions.len() * size_of::<String>())?;
        self.packages.push(package);
        Ok(())
    }
}

/// The package that is named by its purl, else by ecosystem and name. Those two are required, the purl is not: one of
/// another name is a mistake (openEuler writes `pkg:rpm/openEuler/booth&distro=…`), and it would be found by nobody.
fn package_key(purl: &str, ecosystem: &str, name: &str) -> String {
    let last = |key: &str| key.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let required = package_purl(ecosystem, name);
    let own = Purl::parse(purl).map(|purl| purl.package_key().to_owned());
    let is_same = |own: &String| required.as_ref().is_none_or(|required| last(required) == last(own));
    own.filter(is_same).or(required).unwrap_or_default()
}

fn of_range(range: &Range<'_>) -> AffectedRange {
    let version = |text: &Text<'_>| clip_to(text.as_str(), VERSION_BYTES_MAX).to_owned();
    let event = |Obj(event): &Obj<Event<'_>>| RangeEvent {
        introduced: version(&event.introduced),
        fixed: version(&event.fixed),
        last_affected: version(&event.last_affected),
        limit: version(&event.limit),
    };
    let kind = clip_to(range.kind.as_str(), 64).to_ascii_uppercase();
    let is_said = |event: &RangeEvent| *event != RangeEvent::default();
    let events = if kind == "GIT" { vec![] } else { range.events.0.iter().map(event).filter(is_said).collect() };
    AffectedRange { r#type: kind, events }
}

/// How severe it is: as words and scores say, and as vectors come to.
#[derive(Clone, Copy, Default)]
struct Judged {
    said: Severity,
    by_vector: Severity,
}

impl Judged {
    /// What is said of the whole goes before what is said of a package, and both before what vectors come to.
    fn or(self, of_packages: Judged) -> Severity {
        self.said.or(of_packages.said).or(self.by_vector).or(of_packages.by_vector)
    }

    fn said(&mut self, Lax(specific): &Lax<Specific<'_>>) {
        self.said = self.said.max(Severity::of_word(specific.severity.as_str()));
    }

    fn rated(&mut self, ratings: &LaxList<Lax<Rating<'_>>>) {
        for Lax(rating) in &ratings.0 {
            let said = Severity::of_word(rating.score.as_str());
            self.said = self.said.max(said);
            if said == Severity::Unsaid {
                self.by_vector = self.by_vector.max(Severity::of_vector(rating.score.as_str()));
            }
        }
    }
}
