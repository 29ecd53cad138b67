//! OpenVEX 0.0.1 and 0.2.0.

use std::borrow::Cow;

use pedigraph_proto::event::{VexIssued, VexStatement, VexStatus};
use pedigraph_proto::json::vex_status;
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::{Digest, Nanos, Purl};
use serde::Deserialize;
use serde::de::Error as _;

use super::facts::{self, Budget, canonical_purl, canonical_time};
use super::read::{List, Obj, Pairs, Text, TextOr, Whole, clip, clip_to, json};
use super::{Found, Given};

/// Most subcomponents of one statement; a product that has more gets more statements.
const SUBCOMPONENTS_MAX: usize = 128;
/// Longest name of a subcomponent that is kept, bytes.
const SUBCOMPONENT_BYTES_MAX: usize = 4_096;
/// Most digests of one product.
const DIGESTS_MAX: usize = 64;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document<'a> {
    #[serde(borrow, rename = "@context")]
    context: Text<'a>,
    #[serde(borrow, rename = "@id")]
    id: Text<'a>,
    #[serde(borrow)]
    author: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow)]
    last_updated: Text<'a>,
    #[serde(borrow)]
    version: VersionText<'a>,
    #[serde(borrow)]
    statements: Option<List<Obj<Statement<'a>>>>,
}

/// A version is a number since 0.2.0 and was a string before.
#[derive(Default)]
struct VersionText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for VersionText<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        if let Ok(Whole::<false>(Some(number))) = serde_json::from_str(raw) {
            return Ok(VersionText(number.to_string().into()));
        }
        if raw.parse::<f64>().is_ok() {
            return Ok(VersionText::default());
        }
        let Text(text): Text<'_> = serde_json::from_str(raw).map_err(D::Error::custom)?;
        Ok(VersionText(text.unwrap_or_default()))
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
pub(super) fn decode(text: &str, given: &Given<'_>) -> Result<Found, Reject> {
    let document: Document<'_> = json(text, Code::SchemaViolation)?;
    check_version(document.context.as_str())?;
    let statements = document.statements.as_ref().map(|List(statements)| statements.as_slice());
    let statements = statements.ok_or_else(|| Reject::new(Code::SchemaViolation, "statements are missing"))?;
    let (mut out, mut budget) = (Vec::new(), Budget::default());
    for Obj(statement) in statements {
        statement.push_to(&mut out, given.subject.as_ref(), &mut budget)?;
        if out.len() > given.limits.statements_max {
            let reason = format!("more than {} statements", given.limits.statements_max);
            return Err(Reject::new(Code::TooManyItems, reason));
        }
    }
    if !out.is_empty() && out.iter().all(|statement| statement.product.is_empty()) {
        return Err(Reject::new(Code::SubjectMissing, "no statement names a product; send it with a subject"));
    }
    let time = document.last_updated.or(&document.timestamp);
    let head = VexIssued {
        issuer: document.author.owned(),
        document_id: document
            .id
            .get()
            .map_or_else(|| Digest::sha256(given.sha256).to_string(), |id| clip(id).to_owned()),
        document_version: document.version.0.to_string(),
        document_time: canonical_time(time.as_str()),
        format: "openvex".into(),
        verification: given.verification.into(),
        ..VexIssued::default()
    };
    Ok(Found { facts: facts::vex(&head, out).into(), time: Nanos::parse(time.as_str()) })
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
    fn push_to(
        &self,
        out: &mut Vec<VexStatement>,
        subject: Option<&Digest>,
        budget: &mut Budget,
    ) -> Result<(), Reject> {
        let about_all = self.without_product();
        if self.products.0.is_empty() {
            let product_digests: Vec<String> = subject.iter().map(|digest| digest.to_string()).collect();
            let product = product_digests.first().cloned().unwrap_or_default();
            let mut subcomponents = self.own_subcomponents();
            subcomponents.truncate(SUBCOMPONENTS_MAX);
            out.push(VexStatement { product, product_digests, subcomponents, ..about_all });
            return Ok(());
        }
        for product in &self.products.0 {
            let (product, product_digests, mut subcomponents) = named(product);
            // 0.0.1 gave one list of subcomponents for all products.
            if subcomponents.is_empty() {
                subcomponents = self.own_subcomponents();
            }
            let whole = [vec![]];
            let parts: Vec<_> = subcomponents.chunks(SUBCOMPONENTS_MAX).map(<[String]>::to_vec).collect();
            for subcomponents in if parts.is_empty() { &whole[..] } else { &parts[..] } {
                let statement = VexStatement {
                    product: product.clone(),
                    product_digests: product_digests.clone(),
                    subcomponents: subcomponents.clone(),
                    ..about_all.clone()
                };
                budget.take(&statement)?;
                out.push(statement);
            }
        }
        Ok(())
    }

    fn own_subcomponents(&self) -> Vec<String> {
        let names = self.subcomponents.0.iter().map(|part| named(part).0);
        names.filter(|name| !name.is_empty()).map(|name| clip_to(&name, SUBCOMPONENT_BYTES_MAX).to_owned()).collect()
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
            time: canonical_time(self.last_updated.or(&self.timestamp).as_str()),
            ..VexStatement::default()
        }
    }
}

/// A product's name, its digests and its subcomponents.
fn named(product: &TextOr<'_, Product<'_>>) -> (String, Vec<String>, Vec<String>) {
    let product = match product {
        TextOr::Text(id) => return (canonical_purl(id).0, id_digests(id), vec![]),
        TextOr::Object(product) => product,
    };
    let name = best_name(&product.id, &product.identifiers.0);
    let mut digests = id_digests(&name);
    let hashes = product.hashes.0.iter().filter_map(|(alg, hash)| Digest::from_parts(alg, hash.as_str()).ok());
    digests.extend(hashes.take(DIGESTS_MAX).map(|digest| digest.to_string()));
    digests.dedup();
    let parts = product.subcomponents.0.iter().map(|part| match part {
        TextOr::Text(id) => canonical_purl(id).0,
        TextOr::Object(part) => best_name(&part.id, &part.identifiers.0),
    });
    let parts = parts.filter(|part| !part.is_empty()).map(|part| clip_to(&part, SUBCOMPONENT_BYTES_MAX).to_owned());
    let parts = parts.collect();
    let name = if name.is_empty() { digests.first().cloned().unwrap_or_default() } else { name };
    (name, digests, parts)
}

/// A purl wherever there is one: an `@id` may be any IRI.
fn best_name(id: &Text<'_>, identifiers: &Identifiers<'_>) -> String {
    let by_id = Purl::parse(id.as_str()).is_some();
    let text = if by_id { id } else { identifiers.purl.or(id).or(&identifiers.cpe23) };
    canonical_purl(text.as_str()).0
}

/// The digest that a name is, or holds: `sha256:…`, or the version of a `pkg:oci`.
fn id_digests(name: &str) -> Vec<String> {
    let digest = Purl::parse(name).map_or_else(|| name.parse::<Digest>().ok(), |purl| purl.digest());
    digest.iter().map(Digest::to_string).collect()
}
