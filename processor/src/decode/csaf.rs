//! CSAF 2.0 and 2.1: what a document of any profile says of the status of products is VEX.
//!
//! A document that says nothing of any product is accepted (SPEC §2.4): an informational advisory, or a newer version
//! that takes back what an older one said, as `csaf_withdrawn` and `csaf_superseded` do. A subject given outside
//! changes nothing, since each status names its products.

use pedigraph_proto::event::{VexIssued, VexStatement, VexStatus};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos, VULNERABILITY_BYTES_MAX};
use serde::Deserialize;
use serde::de::MapAccess;

use super::budget::Budget;
use super::csaf_tree::{Named, Number, Products, Tree};
use super::document::{Document, Failure};
use super::facts::{self, first_time, names_one_vulnerability, texts_bytes};
use super::read::{Each, List, Members, Obj, Object, Text, clip, clip_to, skip};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    media_types: &["application/csaf+json"],
    tells: &["document.csaf_version"],
    matches: |shape| shape.has("document.csaf_version") || shape.all(&["document", "product_tree"]),
    ..Decoder::new("csaf", 4, Decode::Stream(decode))
}];

/// Most remediations that are said of one product.
const ACTIONS_MAX: usize = 8;
/// Most products that all groups named in flags, threats and remediations come to, one after another: a group that is
/// named again is gone through again.
const GROUPED_MAX: usize = 16 << 20;

/// A document while it is read. Its vulnerabilities wait for the product tree, which may come after them.
struct Reading<'a, 'g> {
    given: &'g Given<'g>,
    document: Option<Head<'a>>,
    tree: Tree<'g>,
    vulnerabilities: Vec<Vulnerability>,
    statuses: usize,
}

impl<'de> Members<'de> for Reading<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "document" => self.document = Some(map.next_value::<Obj<Head<'de>>>()?.0),
            "product_tree" => map.next_value_seed(Object(&mut self.tree))?,
            "vulnerabilities" => {
                map.next_value_seed(Each::new(|Obj(read): Obj<Read<'de>>| self.take(&read)))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Head<'a> {
    #[serde(borrow)]
    csaf_version: Text<'a>,
    #[serde(borrow)]
    publisher: Obj<Publisher<'a>>,
    #[serde(borrow)]
    tracking: Obj<Tracking<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Publisher<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    namespace: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tracking<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    current_release_date: Text<'a>,
    #[serde(borrow)]
    initial_release_date: Text<'a>,
}

/// A vulnerability as a document writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Read<'a> {
    #[serde(borrow)]
    cve: Text<'a>,
    #[serde(borrow)]
    ids: List<Obj<Id<'a>>>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    product_status: Obj<Lists<'a>>,
    #[serde(borrow)]
    flags: List<Obj<Remark<'a>>>,
    #[serde(borrow)]
    threats: List<Obj<Remark<'a>>>,
    #[serde(borrow)]
    remediations: List<Obj<Remark<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Id<'a> {
    #[serde(borrow)]
    text: Text<'a>,
}

/// The products of each status; `recommended` and `unknown` are no statements (SPEC §5).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Lists<'a> {
    #[serde(borrow)]
    known_affected: List<Text<'a>>,
    #[serde(borrow)]
    first_affected: List<Text<'a>>,
    #[serde(borrow)]
    last_affected: List<Text<'a>>,
    #[serde(borrow)]
    known_not_affected: List<Text<'a>>,
    #[serde(borrow)]
    fixed: List<Text<'a>>,
    #[serde(borrow)]
    first_fixed: List<Text<'a>>,
    #[serde(borrow)]
    under_investigation: List<Text<'a>>,
}

/// A flag, a threat or a remediation.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Remark<'a> {
    /// Of a flag.
    #[serde(borrow)]
    label: Text<'a>,
    /// Of the others.
    #[serde(borrow)]
    category: Text<'a>,
    #[serde(borrow)]
    details: Text<'a>,
    #[serde(borrow)]
    product_ids: List<Text<'a>>,
    #[serde(borrow)]
    group_ids: List<Text<'a>>,
}

/// A vulnerability until all products are known.
struct Vulnerability {
    name: String,
    aliases: Vec<String>,
    /// Each product once for each status, by the status' place in [`STATUSES`].
    statuses: Vec<(Number, u8)>,
    notes: Vec<Note>,
}

/// What is noted of some products.
struct Note {
    kind: Kind,
    text: String,
    products: Vec<Number>,
    groups: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Justification,
    Impact,
    Action,
}

/// The document's word for a status, and ours.
const STATUSES: [(&str, VexStatus); 7] = [
    ("known_affected", VexStatus::Affected),
    ("first_affected", VexStatus::Affected),
    ("last_affected", VexStatus::Affected),
    ("known_not_affected", VexStatus::NotAffected),
    ("fixed", VexStatus::Fixed),
    ("first_fixed", VexStatus::Fixed),
    ("under_investigation", VexStatus::UnderInvestigation),
];

/// Reads a document into one statement for each status of each product.
fn decode<'a>(document: Document<'a>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut reading: Reading<'a, '_> =
        Reading { given, document: None, tree: Tree::new(given.budget), vulnerabilities: Vec::new(), statuses: 0 };
    document.json_seed(Object(&mut reading))?;
    Ok(reading.found()?)
}

impl Reading<'_, '_> {
    fn take(&mut self, read: &Read<'_>) -> Result<(), Reject> {
        let vulnerability = Vulnerability::of(read, &mut self.tree)?;
        self.given.budget.hold(vulnerability.bytes())?;
        self.statuses = self.statuses.saturating_add(vulnerability.statuses.len());
        check_count(self.statuses, self.given)?;
        self.vulnerabilities.push(vulnerability);
        Ok(())
    }

    fn found(self) -> Result<Found, Reject> {
        let Some(head) = self.document else { return Err(Reject::new(Code::SchemaViolation, "document is missing")) };
        match head.csaf_version.as_str() {
            "2.0" | "2.1" => {}
            "" => return Err(Reject::new(Code::SchemaViolation, "document.csaf_version is missing")),
            other => {
                let reason = format!("CSAF {} is not 2.0 or 2.1", clip_to(other, 64));
                return Err(Reject::new(Code::UnsupportedVersion, reason));
            }
        }
        let (Obj(tracking), Obj(publisher)) = (&head.tracking, &head.publisher);
        let time = first_time(&[&tracking.current_release_date, &tracking.initial_release_date]);
        let own_digest = || Digest::sha256(self.given.sha256).to_string();
        let issued = VexIssued {
            issuer: publisher.name.or(&publisher.namespace).whole(),
            document_id: tracking.id.get().map_or_else(own_digest, str::to_owned),
            document_version: tracking.version.whole(),
            document_time: time.clone(),
            format: "csaf".into(),
            verification: self.given.verification.into(),
            ..VexIssued::default()
        };
        let (products, aliases) = self.tree.finish();
        let mut said = Said::of(&products, self.given);
        self.vulnerabilities.iter().try_for_each(|vulnerability| said.say(vulnerability))?;
        facts::cautious_last(&mut said.statements);
        let statements = facts::vex(issued, said.statements, self.given.budget)?.into_iter();
        let facts: Vec<Fact> = statements.chain(aliases.into_facts()).collect();
        Ok(Found { facts: facts.into(), time: Nanos::parse(&time) })
    }
}

fn check_count(statements: usize, given: &Given<'_>) -> Result<(), Reject> {
    let statements_max = given.limits.statements_max;
    if statements > statements_max {
        return Err(Reject::new(Code::TooManyItems, format!("more than {statements_max} statements")));
    }
    Ok(())
}

impl Vulnerability {
    /// Copies what is needed out of the reader's buffer.
    fn of(read: &Read<'_>, tree: &mut Tree<'_>) -> Result<Vulnerability, Reject> {
        let ids = || read.ids.0.iter().map(|Obj(id)| id.text.as_str());
        // What a vendor counts its reports by names the vulnerability only where nothing else does; what is too long
        // for a name is none, since a name is not cut.
        let usual = ids().filter(|id| names_one_vulnerability(id));
        let names = std::iter::once(read.cve.as_str()).chain(usual).chain(ids()).chain([read.title.as_str()]);
        let mut names = names.filter(|name| !name.is_empty() && name.len() <= VULNERABILITY_BYTES_MAX);
        let name = names.next().unwrap_or_default().to_owned();
        let mut statuses = Vec::new();
        for (status, list) in (0_u8..).zip(read.product_status.0.in_order()) {
            for id in list.0.iter().filter_map(Text::get) {
                statuses.push((tree.number(id)?, status));
            }
        }
        let mut notes = Vec::new();
        for Obj(flag) in &read.flags.0 {
            notes.extend(flag.note(Kind::Justification, &flag.label, tree)?);
        }
        for Obj(threat) in read.threats.0.iter().filter(|Obj(threat)| threat.category.as_str() == "impact") {
            notes.extend(threat.note(Kind::Impact, &threat.details, tree)?);
        }
        for Obj(remediation) in &read.remediations.0 {
            notes.extend(remediation.note(Kind::Action, &remediation.details, tree)?);
        }
        let aliases = facts::other_names(&name, ids());
        Ok(Vulnerability { name, aliases, statuses, notes })
    }

    /// Memory that it takes, about.
    fn bytes(&self) -> usize {
        let notes = self.notes.iter().map(|note| {
            size_of::<Note>() + note.text.len() + note.products.len() * size_of::<Number>() + texts_bytes(&note.groups)
        });
        let statuses = self.statuses.len() * size_of::<(Number, u8)>();
        size_of::<Vulnerability>() + self.name.len() + texts_bytes(&self.aliases) + statuses + notes.sum::<usize>()
    }
}

impl Lists<'_> {
    /// As in [`STATUSES`].
    fn in_order(&self) -> [&List<Text<'_>>; 7] {
        [
            &self.known_affected,
            &self.first_affected,
            &self.last_affected,
            &self.known_not_affected,
            &self.fixed,
            &self.first_fixed,
            &self.under_investigation,
        ]
    }
}

impl Remark<'_> {
    /// The note that it comes to; none without a text.
    fn note(&self, kind: Kind, text: &Text<'_>, tree: &mut Tree<'_>) -> Result<Option<Note>, Reject> {
        if text.get().is_none() {
            return Ok(None);
        }
        let products = self.product_ids.0.iter().filter_map(Text::get);
        let products = products.map(|id| tree.number(id)).collect::<Result<Vec<_>, _>>()?;
        let groups = self.group_ids.0.iter().filter_map(Text::get).map(|id| clip(id).to_owned());
        Ok(Some(Note { kind, text: text.owned(), products, groups: groups.collect() }))
    }
}

/// The notes of one product of a vulnerability, by their places.
#[derive(Clone, Default)]
struct Noted {
    justification: Option<usize>,
    impact: Option<usize>,
    actions: Vec<usize>,
}

impl Noted {
    fn add(&mut self, kind: Kind, note: usize) {
        match kind {
            Kind::Justification => self.justification = self.justification.or(Some(note)),
            Kind::Impact => self.impact = self.impact.or(Some(note)),
            Kind::Action if self.actions.len() < ACTIONS_MAX && self.actions.last() != Some(&note) => {
                self.actions.push(note);
            }
            Kind::Action => {}
        }
    }
}

/// What a document says, while it is collected.
struct Said<'p> {
    products: &'p Products,
    budget: &'p Budget,
    given: &'p Given<'p>,
    statements: Vec<VexStatement>,
    /// Of each product its place among those of the vulnerability at hand, from one on.
    places: Vec<usize>,
    /// How many products of groups may still be gone through.
    grouped: usize,
}

impl<'p> Said<'p> {
    fn of(products: &'p Products, given: &'p Given<'p>) -> Said<'p> {
        let places = vec![0; products.count()];
        Said { products, budget: given.budget, given, statements: Vec::new(), places, grouped: GROUPED_MAX }
    }

    /// Says all statuses of a vulnerability.
    fn say(&mut self, vulnerability: &Vulnerability) -> Result<(), Reject> {
        let mut count = 0;
        for (product, _) in &vulnerability.statuses {
            let place = &mut self.places[*product as usize];
            if *place == 0 {
                count += 1;
                *place = count;
            }
        }
        let noted = self.noted(vulnerability, count)?;
        // A product may stand in several lists, as in `fixed` and `first_fixed`, or twice in one.
        let mut said: Vec<[bool; 4]> = vec![[false; 4]; count];
        for (product, status) in &vulnerability.statuses {
            let (word, status) = STATUSES[usize::from(*status)];
            let place = self.places[*product as usize] - 1;
            if !std::mem::replace(&mut said[place][kind_of(status)], true) {
                let statement = vulnerability.statement(word, status, &noted[place]);
                self.say_of(*product, status, &statement)?;
            }
        }
        vulnerability.statuses.iter().for_each(|(product, _)| self.places[*product as usize] = 0);
        Ok(())
    }

    /// The notes of each product of a vulnerability. A remediation that names no product is for all; a flag or a threat
    /// is of those that it names alone: without any, `impact` is how severe the vulnerability is.
    fn noted(&mut self, vulnerability: &Vulnerability, count: usize) -> Result<Vec<Noted>, Reject> {
        let mut noted = vec![Noted::default(); count];
        let (mut for_all, places) = (Noted::default(), &self.places);
        for (n, note) in vulnerability.notes.iter().enumerate() {
            if note.kind == Kind::Action && note.products.is_empty() && note.groups.is_empty() {
                for_all.add(note.kind, n);
            }
            let groups = note.groups.iter().map(|group| self.products.group(group));
            let left = groups.clone().try_fold(self.grouped, |left, group| left.checked_sub(group.len()));
            self.grouped = left.ok_or_else(|| {
                Reject::new(Code::TooManyItems, format!("groups come to more than {GROUPED_MAX} products"))
            })?;
            for product in groups.flatten().chain(&note.products) {
                if let Some(place) = places[*product as usize].checked_sub(1) {
                    noted[place].add(note.kind, n);
                }
            }
        }
        noted.iter_mut().for_each(|of_one| for_all.actions.iter().for_each(|note| of_one.add(Kind::Action, *note)));
        Ok(noted)
    }

    /// Says a statement of a product: once for each of its names.
    fn say_of(&mut self, product: Number, status: VexStatus, statement: &VexStatement) -> Result<(), Reject> {
        let clears = matches!(status, VexStatus::NotAffected | VexStatus::Fixed);
        let Named { products, digests, components } = self.products.named(product, clears);
        for name in products.iter() {
            for parts in facts::portions(components) {
                let texts = texts_bytes(digests) + texts_bytes(parts) + texts_bytes(&statement.aliases) + name.len();
                self.budget.take_bytes::<VexStatement>(statement.encoded_len() + texts, 1)?;
                check_count(self.statements.len() + 1, self.given)?;
                let parts = parts.iter().map(|part| facts::subcomponent(part));
                self.statements.push(VexStatement {
                    product: name.clone(),
                    product_digests: digests.to_vec(),
                    subcomponents: parts.collect(),
                    ..statement.clone()
                });
            }
        }
        Ok(())
    }
}

/// A status' place among those of ours.
fn kind_of(status: VexStatus) -> usize {
    match status {
        VexStatus::Affected | VexStatus::Unspecified => 0,
        VexStatus::NotAffected => 1,
        VexStatus::Fixed => 2,
        VexStatus::UnderInvestigation => 3,
    }
}

impl Vulnerability {
    /// What is said of a product, but for which product it is.
    fn statement(&self, word: &str, status: VexStatus, noted: &Noted) -> VexStatement {
        let text = |note: &Option<usize>| note.map(|note| self.notes[note].text.clone()).unwrap_or_default();
        let is_clear = status == VexStatus::NotAffected;
        let differs = !matches!(word, "fixed" | "under_investigation");
        VexStatement {
            vulnerability: self.name.clone(),
            aliases: self.aliases.clone(),
            status: status.into(),
            raw_status: if differs { word.to_owned() } else { String::new() },
            justification: if is_clear { text(&noted.justification) } else { String::new() },
            impact: if is_clear { text(&noted.impact) } else { String::new() },
            action: if is_clear { String::new() } else { self.action(&noted.actions) },
            ..VexStatement::default()
        }
    }

    /// All remediations, each with a line of its own.
    fn action(&self, notes: &[usize]) -> String {
        let all: Vec<&str> = notes.iter().map(|note| self.notes[*note].text.as_str()).collect();
        clip(&all.join("\n")).to_owned()
    }
}
