//! OpenVEX 0.0.1 and 0.2.0.

use std::borrow::Cow;
use std::fmt;

use pedigraph_proto::event::{VexIssued, VexStatement, VexStatus};
use pedigraph_proto::json::vex_status;
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::Message as _;
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos, Purl};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::document::{Document, Failure};
use super::facts::{self, Aliases, canonical_purl, first_time, named_digest, outside, texts_bytes};
use super::read::{Each, List, Members, Obj, Object, Pairs, Text, TextOr, clip, skip};
use super::table::{Decode, Decoder};
use super::{Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    media_types: &["application/vnd.openvex+json", "application/openvex+json", "text/openvex"],
    predicate_type: |kind| kind.starts_with("https://openvex.dev/ns"),
    tells: &["@context"],
    matches: |shape| {
        let context = shape.value("@context");
        context.contains("openvex.dev") || (context.is_empty() && shape.all(&["statements", "author"]))
    },
    ..Decoder::new("openvex", 5, Decode::Stream(decode))
}];

/// Most digests of one product.
const DIGESTS_MAX: usize = 64;

/// A document while it is read; a statement becomes one for each of its products at once.
struct Reading<'a, 'g> {
    given: &'g Given<'g>,
    context: Text<'a>,
    id: Text<'a>,
    author: Text<'a>,
    timestamp: Text<'a>,
    last_updated: Text<'a>,
    version: Version,
    /// There is a list, be it empty.
    lists: bool,
    statements: Vec<VexStatement>,
    aliases: Aliases,
}

impl<'de> Members<'de> for Reading<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "@context" => self.context = map.next_value()?,
            "@id" => self.id = map.next_value()?,
            "author" => self.author = map.next_value()?,
            "timestamp" => self.timestamp = map.next_value()?,
            "last_updated" => self.last_updated = map.next_value()?,
            "version" => self.version = map.next_value()?,
            "statements" => {
                self.lists =
                    map.next_value_seed(Each::new(|Obj(statement): Obj<Statement<'de>>| self.take(&statement)))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// A version is a number since 0.2.0 and was a string before; a number that is not whole counts as absent.
#[derive(Default)]
struct Version(String);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VersionVisitor;
        impl Visitor<'_> for VersionVisitor {
            type Value = Version;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Version, E> {
                Ok(Version(number.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Version, E> {
                Ok(Version(text.parse::<u64>().map_or_else(|_| text.to_owned(), |number| number.to_string())))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Version, E> {
                Ok(Version::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Version, E> {
                Ok(Version::default())
            }
            fn visit_unit<E>(self) -> Result<Version, E> {
                Ok(Version::default())
            }
        }
        deserializer.deserialize_any(VersionVisitor)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Statement<'a> {
    #[serde(borrow)]
    vulnerability: TextOr<'a, Vulnerability<'a>>,
    #[serde(borrow)]
    products: List<TextOr<'a, Product<'a>>>,
    #[serde(borrow)]
    subcomponents: List<TextOr<'a, Product<'a>>>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    justification: Text<'a>,
    #[serde(borrow)]
    impact_statement: Text<'a>,
    #[serde(borrow)]
    action_statement: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow)]
    last_updated: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Vulnerability<'a> {
    #[serde(borrow, rename = "@id")]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    aliases: List<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Product<'a> {
    #[serde(borrow, rename = "@id")]
    id: Text<'a>,
    #[serde(borrow)]
    identifiers: Obj<Identifiers<'a>>,
    #[serde(borrow)]
    hashes: Pairs<'a>,
    #[serde(borrow)]
    subcomponents: List<TextOr<'a, Identified<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Identified<'a> {
    #[serde(borrow, rename = "@id")]
    id: Text<'a>,
    #[serde(borrow)]
    identifiers: Obj<Identifiers<'a>>,
    #[serde(borrow)]
    hashes: Pairs<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Identifiers<'a> {
    #[serde(borrow)]
    purl: Text<'a>,
    #[serde(borrow)]
    cpe23: Text<'a>,
}

/// Reads a document into one statement per product.
fn decode<'a>(document: Document<'a>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut reading: Reading<'a, '_> = Reading::new(given);
    document.json_seed(Object(&mut reading))?;
    Ok(reading.found()?)
}

impl<'g> Reading<'_, 'g> {
    fn new(given: &'g Given<'g>) -> Self {
        Reading {
            given,
            context: Text::default(),
            id: Text::default(),
            author: Text::default(),
            timestamp: Text::default(),
            last_updated: Text::default(),
            version: Version::default(),
            lists: false,
            statements: Vec::new(),
            aliases: Aliases::default(),
        }
    }

    fn take(&mut self, statement: &Statement<'_>) -> Result<(), Reject> {
        statement.push_to(&mut self.statements, self.given)?;
        statement.products.0.iter().for_each(|product| self.aliases.note(hashes(product)));
        let statements_max = self.given.limits.statements_max;
        if self.statements.len() > statements_max {
            return Err(Reject::new(Code::TooManyItems, format!("more than {statements_max} statements")));
        }
        Ok(())
    }

    fn found(self) -> Result<Found, Reject> {
        check_version(self.context.as_str())?;
        if !self.lists {
            return Err(Reject::new(Code::SchemaViolation, "statements are missing"));
        }
        if !self.statements.is_empty() && self.statements.iter().all(|statement| statement.product.is_empty()) {
            return Err(Reject::new(Code::SubjectMissing, "no statement names a product; send it with a subject"));
        }
        let time = first_time(&[&self.last_updated, &self.timestamp]);
        let own_digest = || Digest::sha256(self.given.sha256).to_string();
        let head = VexIssued {
            issuer: self.author.whole(),
            document_id: self.id.get().map_or_else(own_digest, str::to_owned),
            document_version: self.version.0,
            document_time: time.clone(),
            format: "openvex".into(),
            verification: self.given.verification.into(),
            ..VexIssued::default()
        };
        let statements = facts::vex(head, self.statements, self.given.budget)?.into_iter();
        let facts: Vec<Fact> = statements.chain(self.aliases.into_facts()).collect();
        Ok(Found { facts: facts.into(), time: Nanos::parse(&time) })
    }
}

/// `https://openvex.dev/ns[/v0.2.0]`; a context that names no version is read as the newest known.
fn check_version(context: &str) -> Result<(), Reject> {
    let version = context.rsplit_once("/v").map(|(_, version)| version);
    let major = version.and_then(|version| version.split('.').next());
    match major {
        Some(major) if major != "0" && major.bytes().all(|byte| byte.is_ascii_digit()) => Err(Reject::new(
            Code::UnsupportedVersion,
            format!("OpenVEX {} is not 0.x", clip(version.unwrap_or_default())),
        )),
        Some(_) | None => Ok(()),
    }
}

impl Statement<'_> {
    fn push_to(&self, out: &mut Vec<VexStatement>, given: &Given<'_>) -> Result<(), Reject> {
        let (about_all, budget) = (self.without_product(), given.budget);
        let own_parts = self.own_subcomponents();
        if self.products.0.is_empty() {
            return of_subjects(VexStatement { subcomponents: own_parts, ..about_all }, out, given);
        }
        for product in &self.products.0 {
            let is_unknown = is_placeholder(product);
            let (product, product_digests, parts) = named(product);
            // 0.0.1 gave one list of subcomponents for all products.
            let parts = if parts.is_empty() { &own_parts } else { &parts };
            if is_unknown {
                let about_parts =
                    |parts: &[String]| VexStatement { subcomponents: parts.to_vec(), ..about_all.clone() };
                facts::portions(parts).try_for_each(|parts| of_subjects(about_parts(parts), out, given))?;
                continue;
            }
            let said = about_all.encoded_len()
                + product.len()
                + texts_bytes(&product_digests)
                + texts_bytes(&about_all.aliases);
            for parts in facts::portions(parts) {
                budget.take_bytes::<VexStatement>(said + texts_bytes(parts), 1)?;
                out.push(VexStatement {
                    product: product.clone(),
                    product_digests: product_digests.clone(),
                    subcomponents: parts.to_vec(),
                    ..about_all.clone()
                });
            }
        }
        Ok(())
    }

    fn own_subcomponents(&self) -> Vec<String> {
        let names = self.subcomponents.0.iter().map(|part| named(part).0);
        names.filter(|name| !name.is_empty()).map(|name| facts::subcomponent(&name)).collect()
    }

    fn without_product(&self) -> VexStatement {
        let (vulnerability, aliases) = match &self.vulnerability {
            TextOr::Text(name) => (clip(name).to_owned(), vec![]),
            TextOr::Object(known) => {
                (known.name.or(&known.id).owned(), facts::aliases(known.aliases.0.iter().map(Text::as_str)))
            }
        };
        let status = vex_status::parse(self.status.as_str()).unwrap_or(VexStatus::Unspecified);
        let differs = status == VexStatus::Unspecified;
        VexStatement {
            vulnerability,
            aliases,
            status: status.into(),
            raw_status: if differs { self.status.owned() } else { String::new() },
            justification: self.justification.owned(),
            impact: self.impact_statement.owned(),
            action: self.action_statement.owned(),
            time: first_time(&[&self.last_updated, &self.timestamp]),
            ..VexStatement::default()
        }
    }
}

/// A statement without products is of what the document is of: of all subjects of the statement whose predicate that is.
fn of_subjects(mut said: VexStatement, out: &mut Vec<VexStatement>, given: &Given<'_>) -> Result<(), Reject> {
    said.subcomponents.truncate(facts::SUBCOMPONENTS_MAX);
    let first = outside(given).map(Digest::to_string).unwrap_or_default();
    let others = given.other_subjects.iter().map(|(digest, _)| digest.clone());
    for product in std::iter::once(first).chain(others) {
        let product_digests = Some(product.clone()).filter(|digest| !digest.is_empty()).into_iter().collect();
        let statement = VexStatement { product, product_digests, ..said.clone() };
        given.budget.take(&statement)?;
        out.push(statement);
    }
    Ok(())
}

/// Whether a product stands there because there must be one: govulncheck does not know what it is run for.
fn is_placeholder(product: &TextOr<'_, Product<'_>>) -> bool {
    const UNKNOWN: &str = "Unknown Product";
    match product {
        TextOr::Text(id) => *id == UNKNOWN,
        TextOr::Object(product) => {
            let Obj(Identifiers { purl, cpe23 }) = &product.identifiers;
            product.id.as_str() == UNKNOWN && purl.or(cpe23).get().is_none() && product.hashes.0.is_empty()
        }
    }
}

/// A product's name, its digests and its subcomponents.
fn named(product: &TextOr<'_, Product<'_>>) -> (String, Vec<String>, Vec<String>) {
    let product = match product {
        TextOr::Text(id) => {
            return (
                canonical_purl(id).0,
                named_digest(id).map(|digest| digest.to_string()).into_iter().collect(),
                vec![],
            );
        }
        TextOr::Object(product) => product,
    };
    let name = best_name(&product.id, &product.identifiers.0);
    let mut digests: Vec<String> = named_digest(&name).map(|digest| digest.to_string()).into_iter().collect();
    let hashes = facts::digests(&product.hashes).filter(|digest| !digest.is_of_empty_content());
    digests.extend(hashes.take(DIGESTS_MAX).map(|digest| digest.to_string()));
    digests.dedup();
    let parts = product.subcomponents.0.iter().map(|part| match part {
        TextOr::Text(id) => canonical_purl(id).0,
        TextOr::Object(part) => part.name(),
    });
    let parts = parts.filter(|part| !part.is_empty()).map(|part| facts::subcomponent(&part));
    let parts = parts.collect();
    let name = if name.is_empty() { digests.first().cloned().unwrap_or_default() } else { name };
    (name, digests, parts)
}

impl Identified<'_> {
    /// Its name, else its digest: without either, what is said of a part would be said of the whole.
    fn name(&self) -> String {
        let name = best_name(&self.id, &self.identifiers.0);
        let digest = || facts::canonical_of(facts::digests(&self.hashes)).map(|digest| digest.to_string());
        if name.is_empty() { digest().unwrap_or_default() } else { name }
    }
}

/// The hashes of a product: all of one content.
fn hashes(product: &TextOr<'_, Product<'_>>) -> Vec<Digest> {
    match product {
        TextOr::Text(_) => vec![],
        TextOr::Object(product) => facts::digests(&product.hashes).collect(),
    }
}

/// A purl wherever there is one: an `@id` may be any IRI.
fn best_name(id: &Text<'_>, identifiers: &Identifiers<'_>) -> String {
    let by_id = Purl::parse(id.as_str()).is_some();
    let text = if by_id { id } else { identifiers.purl.or(id).or(&identifiers.cpe23) };
    canonical_purl(&with_module_path(text.as_str())).0
}

/// A purl of Go whose module path is one name, as govulncheck writes it, with the namespace that others give it.
fn with_module_path(text: &str) -> Cow<'_, str> {
    const SLASHES: [&str; 2] = ["%2F", "%2f"];
    let is_escaped = text.starts_with("pkg:golang/") && SLASHES.iter().any(|slash| text.contains(slash));
    if !is_escaped {
        return Cow::Borrowed(text);
    }
    let (name, rest) = text.split_at(text.find(['@', '?', '#']).unwrap_or(text.len()));
    Cow::Owned(SLASHES.iter().fold(name.to_owned(), |name, slash| name.replace(slash, "/")) + rest)
}
