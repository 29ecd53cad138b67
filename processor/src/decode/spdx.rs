//! SPDX 2 as JSON, read in one pass: packages may come before or after what is said of them.
//!
//! What is described is told by `documentDescribes` or by relationships of the document, which may stand at its end. So
//! every package is taken as a component, and those that were described are left out when the set is made. Each of them
//! that has a digest is a subject of its own, never an alias of another (SPEC §5).
//!
//! Where it is said from outside what the document is of, what it describes is that, or packages in that: a document
//! with one package, sent for an image, says that the image has it ([`Root::may_be_in`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use pedigraph_proto::event::{self, SbomAttached};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, Nanos, Purl};
use serde::Deserialize;
use serde::de::MapAccess;

use super::components::{Component, Components, Hash, LicenseChoice, Property, Source};
use super::document::{Document, Failure};
use super::facts;
use super::lengths::Fit as _;
use super::read::{Each, Lax, LaxList, List, Members, Obj, Object, Text, skip};
use super::root::Root;
use super::table::{Decode, Decoder};
use super::{FactList, Found, Given};

pub(super) static DECODERS: [Decoder; 1] = [Decoder {
    media_types: &["application/spdx+json", "text/spdx+json"],
    predicate_type: |kind| kind.starts_with("https://spdx.dev/Document") && !kind.contains("/v3"),
    tells: &[OF_GITHUB],
    matches: |shape| shape.has("spdxVersion") || shape.all(&["SPDXID", "packages"]) || shape.has(OF_GITHUB),
    ..Decoder::new("spdx", 3, Decode::Stream(decode))
}];

/// Most digests of described things by which one SBOM is found.
const SUBJECTS_MAX: usize = 4_096;
/// Most packages of which it is remembered what is said of an image.
const IMAGES_MAX: usize = 64;
/// Most purls of one package that are kept: each makes it a component again.
const PURLS_MAX: usize = 16;
/// Most hashes of one package that are looked at.
const HASHES_MAX: usize = 64;
/// What GitHub's answer to `dependency-graph/sbom` has: the document is the value of its only member.
const OF_GITHUB: &str = "sbom.spdxVersion";
/// What a document calls itself.
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// What one pass over a document collects.
struct Reading<'a, 'g> {
    given: &'g Given<'g>,
    /// No member was read yet.
    is_new: bool,
    version: Text<'a>,
    namespace: Text<'a>,
    created: Text<'a>,
    tool: String,
    components: Components,
    /// Of packages with several strong hashes, all of them, by the component's place.
    hashes: BTreeMap<u32, Vec<Digest>>,
    /// Of packages that are images, what Trivy says of them, by the component's place.
    images: BTreeMap<u32, Vec<(String, String)>>,
}

/// What an SBOM is of.
struct Subject<'r> {
    digest: Option<Digest>,
    /// What the document calls it.
    reference: String,
    root: Option<&'r Root>,
}

impl<'de> Members<'de> for Reading<'de, '_> {
    fn member<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let is_first = std::mem::take(&mut self.is_new);
        match name {
            "sbom" if is_first => map.next_value_seed(Object(self))?,
            "spdxVersion" => self.version = map.next_value()?,
            "documentNamespace" => self.namespace = map.next_value()?,
            "creationInfo" => {
                let Obj(info): Obj<CreationInfo<'de>> = map.next_value()?;
                self.tool = info.tool();
                self.created = info.created;
            }
            "documentDescribes" => {
                map.next_value_seed(Each::new(|described: Text<'de>| {
                    self.components.add_root(described.as_str());
                    Ok(())
                }))?;
            }
            "packages" => {
                map.next_value_seed(Each::new(|Obj(package): Obj<Package<'de>>| self.take(package)))?;
            }
            "relationships" => {
                map.next_value_seed(Each::new(|Obj(relationship): Obj<Relationship<'de>>| {
                    relationship.note(&mut self.components);
                    Ok(())
                }))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CreationInfo<'a> {
    #[serde(borrow)]
    created: Text<'a>,
    #[serde(borrow)]
    creators: List<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Package<'a> {
    #[serde(borrow, rename = "SPDXID")]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    version_info: Text<'a>,
    #[serde(borrow)]
    primary_package_purpose: Text<'a>,
    #[serde(borrow)]
    license_concluded: Text<'a>,
    #[serde(borrow)]
    license_declared: Text<'a>,
    #[serde(borrow)]
    checksums: List<Obj<Checksum<'a>>>,
    #[serde(borrow)]
    external_refs: List<Obj<ExternalRef<'a>>>,
    #[serde(borrow)]
    source_info: Text<'a, false>,
    #[serde(borrow)]
    attribution_texts: LaxList<Text<'a, false>>,
    #[serde(borrow)]
    annotations: LaxList<Lax<Annotation<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Checksum<'a> {
    #[serde(borrow)]
    algorithm: Text<'a>,
    #[serde(borrow)]
    checksum_value: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ExternalRef<'a> {
    #[serde(borrow)]
    reference_type: Text<'a>,
    #[serde(borrow)]
    reference_locator: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Annotation<'a> {
    #[serde(borrow)]
    comment: Text<'a, false>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Relationship<'a> {
    #[serde(borrow)]
    spdx_element_id: Text<'a>,
    #[serde(borrow)]
    relationship_type: Text<'a>,
    #[serde(borrow)]
    related_spdx_element: Text<'a>,
}

/// Reads a document.
fn decode<'a>(document: Document<'a>, given: &Given<'_>) -> Result<Found, Failure> {
    let mut reading: Reading<'a, '_> = Reading::new(given);
    document.json_seed(Object(&mut reading))?;
    Ok(reading.found()?)
}

impl<'g> Reading<'_, 'g> {
    fn new(given: &'g Given<'g>) -> Self {
        Reading {
            given,
            is_new: true,
            version: Text::default(),
            namespace: Text::default(),
            created: Text::default(),
            tool: String::new(),
            components: Components::new(given.limits.components_max),
            hashes: BTreeMap::new(),
            images: BTreeMap::new(),
        }
    }

    /// Takes a package; one that has purls of several packages is each of them.
    fn take(&mut self, package: Package<'_>) -> Result<(), Reject> {
        let image = package.image_properties();
        let others = package.other_purls();
        let mut component = package.component();
        let place = self.components.count();
        self.push(&component)?;
        let strong = component.digests().filter(Digest::is_strong).take(HASHES_MAX).collect::<Vec<_>>();
        if strong.len() > 1 {
            self.given.budget.hold(strong.iter().map(|digest| size_of::<Digest>() + digest.as_str().len()).sum())?;
            self.hashes.insert(place, strong);
        }
        if !image.is_empty() && self.images.len() < IMAGES_MAX {
            self.given.budget.hold(image.iter().map(|(name, value)| name.len() + value.len()).sum())?;
            self.images.insert(place, image);
        }
        let said = [&component.name, &component.version].map(|text| text.as_str().len()).iter().sum::<usize>();
        for purl in others {
            self.given.budget.hold(said + purl.len())?;
            component.purl = Text(Some(Cow::Owned(purl)));
            self.push(&component)?;
        }
        Ok(())
    }

    fn push(&mut self, component: &Component<'_>) -> Result<(), Reject> {
        if self.components.push(component) {
            return Ok(());
        }
        Err(Reject::new(Code::TooManyItems, format!("more than {} components", self.components.limit())))
    }

    fn found(mut self) -> Result<Found, Reject> {
        let version = spec_version(&self.version)?;
        // The only package of a document is what it describes, also where that is not said.
        self.components.make_only_one_root();
        let roots = self.roots();
        let subjects = self.subjects(&roots)?;
        let mut aliases = FactList::default();
        roots.iter().for_each(|root| aliases.extend(root.identity_facts()));
        self.count_contents();
        let skipped_count = self.components.skipped();
        let set = self.components.into_set();
        let head = SbomAttached {
            sbom_digest: Digest::sha256(self.given.sha256).to_string(),
            format: "spdx".into(),
            spec_version: version,
            serial_number: self.namespace.whole(),
            tool: self.tool,
            component_set: set.name().to_owned(),
            component_count: set.count(),
            skipped_count,
            ..SbomAttached::default()
        };
        let mut set = Some(set);
        let mut facts = FactList::default();
        for subject in subjects {
            let mut sbom = head.clone();
            sbom.artifact_digest = subject.digest.map(|digest| digest.to_string()).unwrap_or_default();
            sbom.artifact_ref = subject.reference;
            if let Some(root) = subject.root {
                sbom.kind = root.artifact_kind().into();
                sbom.purl.clone_from(&root.purl);
                sbom.root_name.clone_from(&root.name);
                sbom.root_version.clone_from(&root.version);
            }
            sbom.fit()?;
            self.given.budget.take(&sbom)?;
            facts.extend([Fact::now(sbom)]);
            set.take().into_iter().for_each(|set| facts.push_set(set));
        }
        facts.append(aliases);
        Ok(Found { facts, time: Nanos::parse(self.created.as_str()) })
    }

    /// Makes what is described, and is not what the document was sent for, components of that. The only described one
    /// of several packages stands for what the document was sent for: the others are its contents.
    fn count_contents(&mut self) {
        let Some(artifact) = facts::outside(self.given) else { return };
        let is_only = self.components.roots().nth(1).is_none();
        if is_only && self.components.has_parts() {
            return;
        }
        let described = self.components.roots().map(|(place, said)| (place, self.root(place, said)));
        let contents = described.filter(|(_, root)| root.may_be_in(artifact)).map(|(place, _)| place);
        let contents: Vec<u32> = contents.collect();
        contents.into_iter().for_each(|place| self.components.make_part(place));
    }

    /// What is described.
    fn roots(&self) -> Vec<Root> {
        let places = self.components.roots().take(SUBJECTS_MAX + 1);
        places.map(|(place, component)| self.root(place, component)).collect()
    }

    fn root(&self, place: u32, said: event::Component) -> Root {
        let text = |text: String| Text(Some(Cow::Owned(text)));
        let own: Vec<Digest> = said.digest.parse().into_iter().collect();
        let hashes = self.hashes.get(&place).unwrap_or(&own).iter();
        let hashes =
            hashes.map(|digest| Obj(Hash::new(text(digest.algorithm().to_owned()), text(digest.hex().to_owned()))));
        let properties = self.images.get(&place).into_iter().flatten();
        let properties = properties.map(|(name, value)| Obj(Property::new(text(name.clone()), text(value.clone()))));
        Root::of(&Component {
            kind: text(said.r#type),
            name: text(said.name),
            version: text(said.version),
            purl: text(said.purl),
            hashes: List(hashes.collect()),
            properties: List(properties.collect()),
            ..Component::default()
        })
    }

    /// What the SBOM is of: the digest given outside, else those of all that is described; where nothing of that has one,
    /// something without digest.
    fn subjects<'r>(&self, roots: &'r [Root]) -> Result<Vec<Subject<'r>>, Reject> {
        let unnamed = |digest: Option<Digest>, root: Option<&'r Root>| {
            vec![Subject { digest, reference: root.map(Root::reference).unwrap_or_default(), root }]
        };
        if let Some(outside) = facts::outside(self.given) {
            let has = |root: &&Root| root.digests().any(|(digest, _)| digest == *outside);
            return Ok(unnamed(Some(outside.clone()), roots.iter().find(has).or(roots.first())));
        }
        let (mut subjects, mut known): (Vec<Subject<'r>>, BTreeSet<Digest>) = (Vec::new(), BTreeSet::new());
        for (root, (digest, reference)) in roots.iter().flat_map(|root| root.digests().map(move |found| (root, found)))
        {
            if known.insert(digest.clone()) {
                subjects.push(Subject { digest: Some(digest), reference, root: Some(root) });
            }
        }
        if subjects.len() > SUBJECTS_MAX || roots.len() > SUBJECTS_MAX {
            let reason = format!("more than {SUBJECTS_MAX} packages are described; send one document for each");
            return Err(Reject::new(Code::TooManyItems, reason));
        }
        Ok(if subjects.is_empty() { unnamed(None, roots.first()) } else { subjects })
    }
}

/// `2.3` of `SPDX-2.3`. A newer minor version is read as the newest known.
fn spec_version(text: &Text<'_>) -> Result<String, Reject> {
    let Some(version) = text.as_str().strip_prefix("SPDX-").filter(|version| !version.is_empty()) else {
        return Err(Reject::new(Code::SchemaViolation, "spdxVersion is missing or not SPDX-2.x"));
    };
    match version.split('.').next() {
        Some("2") => Ok(version.to_owned()),
        _ => Err(Reject::new(Code::UnsupportedVersion, format!("spdxVersion {:?} is not SPDX-2.x", text.owned()))),
    }
}

impl CreationInfo<'_> {
    /// The first tool, without the version that the specification puts behind its name, or that ko puts there as a word of
    /// its own: what a newer version of a tool writes replaces what the older one wrote.
    fn tool(&self) -> String {
        let tool = self.creators.0.iter().find_map(|creator| creator.as_str().strip_prefix("Tool:"));
        let tool = tool.unwrap_or_default().trim();
        let is_version = |text: &str| {
            let text = text.strip_prefix('v').unwrap_or(text);
            text.starts_with(|c: char| c.is_ascii_digit() || c == '[')
        };
        // `apko (v1.1.14)`.
        let in_brackets = tool.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
        let tool = in_brackets.map_or(tool, |(name, _)| name.trim_end());
        let named = tool.match_indices('-').find(|(at, _)| is_version(&tool[at + 1..]));
        let tool = named.map_or(tool, |(at, _)| &tool[..at]);
        let named = tool.rsplit_once(' ').filter(|(_, word)| is_version(word));
        named.map_or(tool, |(name, _)| name.trim_end()).to_owned()
    }
}

/// A text unless it says that nothing is said.
fn asserted<'a>(text: Text<'a>) -> Text<'a> {
    if matches!(text.as_str(), "NOASSERTION" | "NONE") { Text::default() } else { text }
}

impl<'a> Package<'a> {
    /// The package as a component.
    fn component(self) -> Component<'a> {
        let (concluded, declared) = (asserted(self.license_concluded), asserted(self.license_declared));
        let license = if concluded.get().is_some() { concluded } else { declared };
        let licenses = license.get().is_some().then(|| Obj(LicenseChoice::expression(license)));
        let hashes = self.checksums.0.into_iter().map(|Obj(sum)| Obj(Hash::new(sum.algorithm, sum.checksum_value)));
        let mut purls: Vec<Text<'a>> = self.external_refs.0.into_iter().filter_map(|Obj(found)| found.purl()).collect();
        let chosen = match purls.as_slice() {
            [] | [_] => 0,
            several => several.iter().position(|purl| Purl::canonical(purl.as_str()).is_some()).unwrap_or(0),
        };
        let purl = if purls.is_empty() { Text::default() } else { purls.swap_remove(chosen) };
        Component {
            bom_ref: self.id,
            kind: component_type(&self.primary_package_purpose),
            name: self.name,
            version: asserted(self.version_info),
            purl,
            hashes: List(hashes.collect()),
            licenses: List(licenses.into_iter().collect()),
            source: Source::of_info(self.source_info.as_str()),
            ..Component::default()
        }
    }

    /// Its purls beside the first that is one, as far as they are of another package or version: those that differ in
    /// qualifiers say where it comes from.
    fn other_purls(&self) -> Vec<String> {
        let purls = self.external_refs.0.iter().filter(|Obj(found)| found.is_purl());
        if purls.clone().nth(1).is_none() {
            return vec![];
        }
        let purls = purls.filter_map(|Obj(found)| Purl::parse(found.reference_locator.as_str())).take(PURLS_MAX);
        let mut others: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
        for purl in purls {
            let (key, order) = ((purl.package().to_owned(), purl.version().to_owned()), others.len());
            others.entry(key).or_insert_with(|| (order, purl.to_string()));
        }
        let mut others: Vec<(usize, String)> = others.into_values().filter(|(order, _)| *order > 0).collect();
        others.sort_unstable();
        others.into_iter().map(|(_, purl)| purl).collect()
    }

    /// What Trivy says of an image in texts such as `ImageID: sha256:…`, under the names that it has in CycloneDX.
    fn image_properties(&self) -> Vec<(String, String)> {
        const SAID: [&str; 4] = ["ImageID", "DiffID", "RepoDigest", "RepoTag"];
        let annotations = self.annotations.0.iter().map(|Lax(annotation)| annotation.comment.as_str());
        let texts = self.attribution_texts.0.iter().map(Text::as_str).chain(annotations);
        let said = texts.filter_map(|text| text.split_once(": ")).filter(|(name, _)| SAID.contains(name));
        let said = said.map(|(name, value)| (format!("aquasecurity:trivy:{name}"), value.to_owned()));
        said.take(facts::ITEMS_MAX).collect()
    }
}

impl<'a> ExternalRef<'a> {
    fn is_purl(&self) -> bool {
        let kind = self.reference_type.as_str();
        kind == "purl" || kind.ends_with("/purl")
    }

    fn purl(self) -> Option<Text<'a>> {
        self.is_purl().then_some(self.reference_locator).filter(|locator| locator.get().is_some())
    }
}

/// What CycloneDX calls a purpose; nothing where it has no word for it.
fn component_type(purpose: &Text<'_>) -> Text<'static> {
    Text(Some(Cow::Borrowed(match purpose.as_str() {
        "APPLICATION" => "application",
        "FRAMEWORK" => "framework",
        "LIBRARY" => "library",
        "CONTAINER" => "container",
        "OPERATING-SYSTEM" | "OPERATING_SYSTEM" => "operating-system",
        "DEVICE" => "device",
        "FIRMWARE" => "firmware",
        "FILE" => "file",
        _ => return Text::default(),
    })))
}

impl Relationship<'_> {
    /// Notes what it says of dependencies and of what is described; relationships run both ways.
    fn note(&self, components: &mut Components) {
        let (from, to) = (self.spdx_element_id.as_str(), self.related_spdx_element.as_str());
        match self.relationship_type.as_str() {
            "DESCRIBES" if from == DOCUMENT => components.add_root(to),
            "DESCRIBED_BY" if to == DOCUMENT => components.add_root(from),
            "DEPENDS_ON" | "CONTAINS" | "HAS_PREREQUISITE" | "DYNAMIC_LINK" | "STATIC_LINK" => {
                components.depends(from, std::iter::once(to));
            }
            "CONTAINED_BY" | "PREREQUISITE_FOR" | "OPTIONAL_COMPONENT_OF" => {
                components.depends(to, std::iter::once(from));
            }
            kind if kind.ends_with("DEPENDENCY_OF") => components.depends(to, std::iter::once(from)),
            _ => {}
        }
    }
}
