//! CycloneDX JSON 1.2 to 1.7, read in one pass: from memory, or from a reader so that a document never has to be whole.
//!
//! Components become a set ([`super::components`]); vulnerabilities become VEX statements where they are analysed, and
//! findings where they are not.

use std::borrow::Cow;
use std::fmt;

use pedigraph_proto::event::{ArtifactKind, SbomAttached, ScanCompleted, VexIssued};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::budget::Budget;
use super::components::{Component, Components};
use super::cyclonedx_vex::{Subject, Vulnerability};
use super::detect::Shape;
use super::document::{Document, Failure};
use super::facts;
use super::lengths::Fit as _;
use super::read::{List, Obj, Text, Whole, clip, refused};
use super::root::Root;
use super::scanned::{self, Scanned};
use super::table::{Decode, Decoder};
use super::{FactList, Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    media_types: &["application/vnd.cyclonedx+json"],
    predicate_type: |kind| kind.starts_with("https://cyclonedx.org/bom"),
    tells: &["$schema"],
    matches: |shape| shape.has("bomFormat") || shape.value("$schema").contains("cyclonedx.org") || is_unmarked(shape),
    ..Decoder::new("cyclonedx", 5, Decode::Stream(decode))
}];

/// A document that lacks its mark: the decoder says so better than detection could.
fn is_unmarked(shape: &Shape<'_>) -> bool {
    shape.has("specVersion") && (shape.has("components") || shape.has("metadata") || shape.has("vulnerabilities"))
}

/// What one pass over a document collects.
struct Bom<'g> {
    format: Option<String>,
    spec_version: Option<String>,
    serial_number: String,
    version: u32,
    timestamp: String,
    tool: String,
    author: String,
    root: Option<Root>,
    components: Components,
    vulnerabilities: Vec<Vulnerability>,
    vulnerabilities_max: usize,
    budget: &'g Budget,
}

/// Most tools of which one is looked for that has a name.
const TOOLS_MAX: usize = 64;

/// Reads a document in one pass.
pub(super) fn decode(document: Document<'_>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut bom = Bom::new(given);
    document.json_seed(&mut bom)?;
    Ok(bom.found(given)?)
}

impl<'g> Bom<'g> {
    fn new(given: &Given<'g>) -> Bom<'g> {
        Bom {
            format: None,
            spec_version: None,
            serial_number: String::new(),
            version: 0,
            timestamp: String::new(),
            tool: String::new(),
            author: String::new(),
            root: None,
            components: Components::new(given.limits.components_max),
            vulnerabilities: Vec::new(),
            vulnerabilities_max: given.limits.statements_max,
            budget: given.budget,
        }
    }

    fn found(self, given: &Given<'_>) -> Result<Found, Reject> {
        self.check_version()?;
        let sbom_digest = Digest::sha256(given.sha256);
        let root_digest = self.root.as_ref().and_then(|root| root.digest.clone());
        let artifact = facts::outside(given).cloned().or(root_digest);
        let time = Nanos::parse(&self.timestamp);
        // The same image under other digests: what is said of it is said of each of them.
        let others = self.root.as_ref().map(|root| root.image.others(artifact.as_ref())).unwrap_or_default();

        let subject = Subject {
            artifact: artifact.as_ref().map(Digest::to_string),
            others: others.iter().map(|(digest, _)| digest.to_string()).collect(),
            purl: self.root.as_ref().map(|root| root.purl.clone()).filter(|purl| !purl.is_empty()),
            package: self.root.as_ref().and_then(Root::package),
            is_described: self.root.is_some(),
            version: self.root.as_ref().map(|root| root.version.clone()).unwrap_or_default(),
            serial_number: self.serial_number.clone(),
        };
        let (statements, findings) =
            super::cyclonedx_vex::split(&self.vulnerabilities, &self.components, &subject, given.budget)?;
        // Also when none is left: what was found before is found no longer.
        let scanned = self.vulnerabilities.iter().any(Vulnerability::is_listed_only);
        let mut facts = FactList::default();
        // A VEX document is no SBOM: an empty one would hide the artifact's real one.
        let evidence_only = self.components.is_empty() && !self.vulnerabilities.is_empty();
        let vex = self.vex_head(&sbom_digest, given);
        let scan = self.scan_head(&sbom_digest, &subject);
        let scanned_as = self.scanned_as(artifact.as_ref().unwrap_or(&sbom_digest), &others);
        let beside = self.root.as_ref().map(|root| root.identity_facts()).unwrap_or_default();
        if !evidence_only {
            self.sbom_facts(&mut facts, artifact.as_ref(), &sbom_digest, &others)?;
        }
        if !statements.is_empty() {
            facts.extend(facts::vex(vex, statements, given.budget)?);
        }
        if scanned || facts.heads().is_empty() {
            facts.extend(scanned::scans(&scan, findings, scanned_as, given)?);
        }
        facts.extend(beside);
        Ok(Found { facts, time })
    }

    fn check_version(&self) -> Result<(), Reject> {
        let schema = |reason: &str| Err(Reject::new(Code::SchemaViolation, reason));
        match self.format.as_deref() {
            Some("CycloneDX") => {}
            Some(_) => return schema("bomFormat is not CycloneDX"),
            None => return schema("bomFormat is missing or no string"),
        }
        let Some(version) = self.spec_version.as_deref().filter(|version| !version.is_empty()) else {
            return schema("specVersion is missing or no string");
        };
        // A newer minor version is read as the newest known.
        match version.split('.').next() {
            Some("1") => Ok(()),
            _ => Err(Reject::new(Code::UnsupportedVersion, format!("specVersion {version:?} is not 1.x"))),
        }
    }

    fn vex_head(&self, sbom_digest: &Digest, given: &Given<'_>) -> VexIssued {
        let id = if self.serial_number.is_empty() { sbom_digest.to_string() } else { self.serial_number.clone() };
        VexIssued {
            issuer: if self.author.is_empty() { self.tool.clone() } else { self.author.clone() },
            document_id: id,
            document_version: if self.version == 0 { String::new() } else { self.version.to_string() },
            document_time: facts::canonical_time(&self.timestamp),
            format: "cyclonedx".into(),
            verification: given.verification.into(),
            ..VexIssued::default()
        }
    }

    fn reference(&self) -> String {
        self.root.as_ref().map(Root::reference).unwrap_or_default()
    }

    /// What findings are of: the artifact, and the other digests of the same image.
    fn scanned_as(&self, own: &Digest, others: &[(Digest, String)]) -> Vec<Scanned> {
        let part = scanned::part_of(self.root.as_ref().and_then(|root| root.image.id.as_ref()));
        let of = |digest: &Digest, reference: String| Scanned { digest: digest.clone(), reference, part: part.clone() };
        let others = others.iter().map(|(digest, reference)| of(digest, reference.clone()));
        std::iter::once(of(own, self.reference())).chain(others).collect()
    }

    fn scan_head(&self, sbom_digest: &Digest, subject: &Subject) -> ScanCompleted {
        ScanCompleted {
            scanner: if self.tool.is_empty() { "cyclonedx".into() } else { self.tool.clone() },
            scan_id: sbom_digest.to_string(),
            kind: self.root.as_ref().map_or(ArtifactKind::Unspecified, Root::artifact_kind).into(),
            target: self.root.as_ref().map(|root| root.part(subject.artifact.as_deref())).unwrap_or_default(),
            ..ScanCompleted::default()
        }
    }

    fn sbom_facts(
        self,
        facts: &mut FactList,
        artifact: Option<&Digest>,
        sbom_digest: &Digest,
        others: &[(Digest, String)],
    ) -> Result<(), Reject> {
        let (root, spec_version) = (self.root, self.spec_version.unwrap_or_default());
        let skipped_count = self.components.skipped();
        let set = self.components.into_set();
        let mut sbom = SbomAttached {
            artifact_digest: artifact.map(Digest::to_string).unwrap_or_default(),
            sbom_digest: sbom_digest.to_string(),
            format: "cyclonedx".into(),
            spec_version,
            serial_number: self.serial_number,
            document_version: self.version,
            tool: self.tool,
            component_set: set.name().to_owned(),
            component_count: set.count(),
            skipped_count,
            ..SbomAttached::default()
        };
        if let Some(root) = &root {
            sbom.artifact_ref = root.reference();
            sbom.kind = root.artifact_kind().into();
            sbom.purl = root.purl.clone();
            (sbom.root_name, sbom.root_version) = (root.name.clone(), root.version.clone());
        }
        sbom.fit()?;
        facts.extend([Fact::now(sbom.clone())]);
        facts.push_set(set);
        self.budget.take_times(&sbom, others.len() + 1)?;
        facts.extend(others.iter().map(|(digest, name)| {
            let (artifact_digest, artifact_ref) = (digest.to_string(), name.clone());
            Fact::now(SbomAttached { artifact_digest, artifact_ref, ..sbom.clone() })
        }));
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum BomKey {
    BomFormat,
    SpecVersion,
    SerialNumber,
    Version,
    Metadata,
    Components,
    Dependencies,
    Vulnerabilities,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for &mut Bom<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Bom<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CycloneDX document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<BomKey>()? {
            match key {
                BomKey::BomFormat => self.format = map.next_value::<Text<'de>>()?.0.map(|text| clip(&text).to_owned()),
                BomKey::SpecVersion => {
                    self.spec_version = map.next_value::<Text<'de>>()?.0.map(Cow::into_owned);
                }
                BomKey::SerialNumber => self.serial_number = map.next_value::<Text<'de>>()?.whole(),
                BomKey::Version => self.version = map.next_value::<Whole>()?.get_u32().unwrap_or(0),
                BomKey::Metadata => map.next_value_seed(MetadataSeed(self))?,
                BomKey::Components => map.next_value_seed(ComponentsSeed(self))?,
                BomKey::Dependencies => map.next_value_seed(DependenciesSeed(self))?,
                BomKey::Vulnerabilities => map.next_value_seed(VulnerabilitiesSeed(self))?,
                BomKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

fn too_many<E: Error>(count: usize, what: &str) -> E {
    refused(&Reject::new(Code::TooManyItems, format!("more than {count} {what}")))
}

/// Declares a seed that reads a list element by element; `null` is an empty list.
macro_rules! list_seed {
    ($seed:ident, $what:literal, |$bom:ident, $seq:ident| $body:block) => {
        struct $seed<'b, 'g>(&'b mut Bom<'g>);
        impl<'de> DeserializeSeed<'de> for $seed<'_, '_> {
            type Value = ();
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }
        impl<'de> Visitor<'de> for $seed<'_, '_> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut $seq: A) -> Result<(), A::Error> {
                let $bom = self.0;
                $body
                Ok(())
            }
            fn visit_unit<E: Error>(self) -> Result<(), E> {
                Ok(())
            }
        }
    };
}

list_seed!(ComponentsSeed, "a list of components", |bom, seq| {
    while seq.next_element_seed(ComponentSeed { bom: &mut *bom, root: false })?.is_some() {}
});

list_seed!(DependenciesSeed, "a list of dependencies", |bom, seq| {
    while let Some(Obj(dependency)) = seq.next_element::<Obj<Dependency<'de>>>()? {
        let to = dependency.depends_on.0.iter().map(Text::as_str);
        bom.components.depends(dependency.from.as_str(), to);
    }
});

list_seed!(VulnerabilitiesSeed, "a list of vulnerabilities", |bom, seq| {
    while let Some(Obj(read)) = seq.next_element::<Obj<super::cyclonedx_vex::Read<'de>>>()? {
        let vulnerability = Vulnerability::of(&read);
        if bom.vulnerabilities.len() >= bom.vulnerabilities_max {
            return Err(too_many(bom.vulnerabilities_max, "vulnerabilities"));
        }
        bom.budget.hold(vulnerability.bytes()).map_err(|reject| refused(&reject))?;
        bom.vulnerabilities.push(vulnerability);
    }
});

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Dependency<'a> {
    #[serde(borrow, rename = "ref")]
    from: Text<'a>,
    #[serde(borrow)]
    depends_on: List<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum MetadataKey {
    Timestamp,
    Tools,
    Component,
    Authors,
    Supplier,
    Manufacture,
    Manufacturer,
    #[serde(other)]
    Other,
}

struct MetadataSeed<'b, 'g>(&'b mut Bom<'g>);

impl<'de> DeserializeSeed<'de> for MetadataSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let bom = self.0;
        while let Some(key) = map.next_key::<MetadataKey>()? {
            match key {
                MetadataKey::Timestamp => bom.timestamp = map.next_value::<Text<'de>>()?.owned(),
                MetadataKey::Tools => bom.tool = map.next_value::<Tools<'de>>()?.name(),
                MetadataKey::Component => {
                    map.next_value_seed(ComponentSeed { bom: &mut *bom, root: true })?;
                }
                MetadataKey::Authors => {
                    let List(authors) = map.next_value::<List<Obj<Party<'de>>>>()?;
                    bom.set_author(authors.first().map(|Obj(author)| author));
                }
                MetadataKey::Supplier | MetadataKey::Manufacture | MetadataKey::Manufacturer => {
                    let Obj(party) = map.next_value::<Obj<Party<'de>>>()?;
                    bom.set_author(Some(&party));
                }
                MetadataKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

impl Bom<'_> {
    /// Who issues the document: the first of authors, supplier and manufacturer that has a name.
    fn set_author(&mut self, party: Option<&Party<'_>>) {
        if let Some(party) = party.filter(|_| self.author.is_empty()) {
            self.author = party.name.or(&party.email).whole();
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Party<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    email: Text<'a>,
}

/// A list of tools up to 1.4, an object with components and services since 1.5.
struct Tools<'a>(Vec<Obj<Party<'a>>>);

impl Tools<'_> {
    fn name(&self) -> String {
        self.0.iter().find_map(|Obj(tool)| tool.name.get()).map_or_else(String::new, str::to_owned)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Tools<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ToolsVisitor;
        impl<'de> Visitor<'de> for ToolsVisitor {
            type Value = Tools<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tools")
            }
            fn visit_unit<E: Error>(self) -> Result<Tools<'de>, E> {
                Ok(Tools(vec![]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tools<'de>, A::Error> {
                let mut tools = Vec::new();
                while let Some(tool) = seq.next_element()? {
                    if tools.len() < TOOLS_MAX {
                        tools.push(tool);
                    }
                }
                Ok(Tools(tools))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tools<'de>, A::Error> {
                let mut tools = Vec::new();
                while let Some(kind) = map.next_key::<Text<'de>>()? {
                    match kind.as_str() {
                        "components" | "services" => tools.append(&mut map.next_value::<List<Obj<Party<'de>>>>()?.0),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Tools(tools))
            }
        }
        deserializer.deserialize_any(ToolsVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum ComponentKey {
    #[serde(rename = "bom-ref")]
    BomRef,
    #[serde(rename = "type")]
    Kind,
    #[serde(rename = "group")]
    Group,
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "version")]
    Version,
    #[serde(rename = "purl")]
    Purl,
    #[serde(rename = "hashes")]
    Hashes,
    #[serde(rename = "licenses")]
    Licenses,
    #[serde(rename = "properties")]
    Properties,
    #[serde(rename = "components")]
    Components,
    #[serde(other)]
    Other,
}

/// Reads one component; those inside it go straight to the set, so that a tree is never held whole.
struct ComponentSeed<'b, 'g> {
    bom: &'b mut Bom<'g>,
    root: bool,
}

impl<'de> DeserializeSeed<'de> for ComponentSeed<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ComponentSeed<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a component")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut component = Component::default();
        while let Some(key) = map.next_key::<ComponentKey>()? {
            match key {
                ComponentKey::BomRef => component.bom_ref = map.next_value()?,
                ComponentKey::Kind => component.kind = map.next_value()?,
                ComponentKey::Group => component.group = map.next_value()?,
                ComponentKey::Name => component.name = map.next_value()?,
                ComponentKey::Version => component.version = map.next_value()?,
                ComponentKey::Purl => component.purl = map.next_value()?,
                ComponentKey::Hashes => component.hashes = map.next_value()?,
                ComponentKey::Licenses => component.licenses = map.next_value()?,
                // Of all others it is only asked which source package they are of.
                ComponentKey::Properties if self.root => component.properties = map.next_value()?,
                ComponentKey::Properties => component.source = map.next_value()?,
                ComponentKey::Components => map.next_value_seed(ComponentsSeed(&mut *self.bom))?,
                ComponentKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if self.root {
            self.bom.components.add_root(component.bom_ref.as_str());
            self.bom.root = Some(Root::of(&component));
        } else if !self.bom.components.push(&component) {
            return Err(too_many(self.bom.components.limit(), "components"));
        }
        Ok(())
    }
}
