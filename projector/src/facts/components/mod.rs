//! SBOM contents: component sets, stored once, and what contains a purl (SPEC §5; notes on layout L4p).
//!
//! A component is stored once under a number; a set's slices are page rows of such numbers, with the dependency edges
//! beside them; an SBOM binds a digest to a set. The same SBOM again reads one row per slice and adds its binding.
//! Which sets contain a component is in [`postings`], made from the page rows.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use pedigraph_proto::advisory::packages_of;
use pedigraph_proto::event::{ArtifactKind, Component, ComponentsListed, SbomAttached};
use pedigraph_proto::fact::{Evidence, Family};
use pedigraph_proto::{ArtifactRef, Purl, TenantId};
use serde::de::DeserializeOwned;

use self::postings::Postings;
use self::rows::{
    BINDINGS, Bound, COMPONENTS, EXTENDED, KEYS, Known, LINKS, PACKAGE_NAMES, PACKAGES, PAGES, PageRow, SET_PAGES,
    SET_SUBJECTS, SETS, bare_name, clipped, digest_text, package_key, table, table_key, unreadable,
};
use crate::error::Error;
use crate::facts::view::{FactAt, StandsAt, View};
use crate::rows::Rows;
use crate::rows::stamp::Stamped;
use crate::store::Store;
use crate::store::key::KeyReader;

pub(crate) mod postings;
pub(crate) mod rows;

/// Components of one page row.
const PAGE_COMPONENTS: usize = 512;
/// Component numbers kept in memory; when there are more, the memory is emptied and filled again from rows.
const NUMBERS_KEPT_MAX: usize = 2_000_000;

fn full() -> Error {
    Error::Store("components: more than 4,294,967,295 of one kind".to_owned())
}

/// First half of a BLAKE3 hash.
fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

/// What the fold keeps in memory of one tenant; all of it is made anew from rows.
#[derive(Default)]
pub(crate) struct Memory {
    next_component: u32,
    next_set: u32,
    next_page: u32,
    numbers: HashMap<[u8; 16], u32>,
    pub(crate) postings: Postings,
    /// Filled and emptied again by each component.
    bytes: Vec<u8>,
}

/// The view.
#[derive(Default)]
pub(crate) struct Components {
    pub(crate) tenants: Mutex<BTreeMap<TenantId, Memory>>,
}

impl View for Components {
    fn name(&self) -> &'static str {
        "components"
    }

    fn opened(&self, store: &dyn Store, next: &dyn Fn(&TenantId) -> u64) -> Result<(), Error> {
        let mut tenants = self.tenants.lock();
        tenants.clear();
        let mut from = vec![1];
        while let Some((key, _)) = store.scan(&from, &[0xff], false, 1)?.pop() {
            let name = KeyReader::after_view(&key).and_then(|_| read_tenant(&key)).ok_or_else(unreadable)?;
            from = [name.as_str().as_bytes(), &[0, 1]].concat();
            let memory = Memory::open(&name, store, next(&name))?;
            tenants.insert(name, memory);
        }
        Ok(())
    }

    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        match at.event.family() {
            Family::Evidence(event) => self.fold_evidence(at, event, rows),
            Family::Source(_) | Family::Work(_) | Family::Artifact(_) | Family::Deploy(_) | Family::Control(_) => {
                Ok(())
            }
        }
    }
}

impl Components {
    fn fold_evidence(&self, at: &FactAt<'_>, event: Evidence<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
        match event {
            Evidence::SbomAttached(event) => self.with_memory(at, |memory| memory.attached(at, event, rows)),
            Evidence::ComponentsListed(event) => self.with_memory(at, |memory| memory.listed(at, event, rows)),
            Evidence::AttestationAttached(_)
            | Evidence::ScanCompleted(_)
            | Evidence::VexIssued(_)
            | Evidence::TestsFinished(_)
            | Evidence::ReachabilityAnalyzed(_)
            | Evidence::RebuildChecked(_)
            | Evidence::ApprovalDecided(_)
            | Evidence::AdvisoryPublished(_) => Ok(()),
        }
    }

    fn with_memory(&self, at: &FactAt<'_>, fold: impl FnOnce(&mut Memory) -> Result<(), Error>) -> Result<(), Error> {
        fold(self.tenants.lock().entry(at.tenant.clone()).or_default())
    }
}

fn read_tenant(key: &[u8]) -> Option<TenantId> {
    let end = key.windows(2).position(|pair| pair == [0, 0])?;
    TenantId::new(std::str::from_utf8(&key[..end]).ok()?)
}

impl Memory {
    /// Goes on from rows of entries below `next`.
    fn open(tenant: &TenantId, store: &dyn Store, next: u64) -> Result<Memory, Error> {
        let next_page = next_number::<PageRow>(tenant, store, PAGES, next)?;
        let mut memory = Memory {
            next_component: next_number::<Known>(tenant, store, COMPONENTS, next)?,
            next_set: next_set(tenant, store, next)?,
            next_page,
            postings: Postings::open(tenant, store, next_page)?,
            ..Memory::default()
        };
        for page in memory.postings.sealed_page()..next_page {
            let key = table(tenant, PAGES).number(u64::from(page));
            let row = store.get(key.as_bytes())?.ok_or_else(unreadable)?;
            let row = Stamped::<PageRow>::decode(&row)?.value;
            memory.postings.add(tenant, store, page, row.set, &row.components)?;
        }
        Ok(memory)
    }

    fn attached(&mut self, at: &FactAt<'_>, event: &SbomAttached, rows: &mut Rows<'_>) -> Result<(), Error> {
        let (artifact, sbom) = (digest_text(&event.artifact_digest), digest_text(&event.sbom_digest));
        let set = match event.component_set.as_str() {
            "" => None,
            set => Some(self.set_number(at, set, rows)?.0),
        };
        let reference = ArtifactRef::parse(&event.artifact_ref).filter(|reference| !reference.repository.is_empty());
        let reference = reference.map(|reference| reference.to_string()).unwrap_or_default();
        let root = Purl::parse(&event.purl).map_or_else(|| root_name(event), |purl| root_key(&purl));
        let linked = if set.is_none() { sbom.clone() } else { String::new() };
        let (tool, version) = (event.tool.clone(), event.document_version);
        let bound = Bound { set, sbom: linked, tool, version, root, reference, other: sbom.clone() };
        let binding = |digest: &str| table(at.tenant, BINDINGS).text(digest).stamp(at);
        let subject = if artifact.is_empty() { &sbom } else { &artifact };
        if !artifact.is_empty() {
            rows.put(binding(&artifact), &bound)?;
            rows.sink.told.contents.insert(artifact.clone());
        }
        match set {
            None if artifact.is_empty() || sbom.is_empty() => Ok(()),
            None => rows.put(table(at.tenant, LINKS).text(&sbom).text(&artifact).stamp(at), &()),
            Some(set) => {
                rows.put(binding(&sbom), &Bound { other: artifact.clone(), ..bound })?;
                rows.sink.told.contents.insert(sbom.clone());
                rows.put(table(at.tenant, SET_SUBJECTS).number(u64::from(set)).text(subject).stamp(at), &())
            }
        }
    }

    /// The number of a set, and the index of the entry that named it first.
    fn set_number(&mut self, at: &FactAt<'_>, set: &str, rows: &mut Rows<'_>) -> Result<(u32, u64), Error> {
        let key = table(at.tenant, SETS).text(set);
        if let Some(known) = rows.stamped::<u32>(&key)? {
            return Ok((known.value, known.stamp.index));
        }
        let number = self.next_set;
        self.next_set = number.checked_add(1).ok_or_else(full)?;
        rows.put(key, &number)?;
        Ok((number, at.index))
    }

    /// Stores a slice unless it is known. The hash of its content is part of the key: who sends other components under
    /// the name of a set adds them, and can hide nothing.
    fn listed(&mut self, at: &FactAt<'_>, event: &ComponentsListed, rows: &mut Rows<'_>) -> Result<(), Error> {
        let (set, named_by) = self.set_number(at, &event.component_set, rows)?;
        let slice = table(at.tenant, SET_PAGES).number(u64::from(set)).number(u64::from(event.first));
        let slice = slice.bytes(&self.slice_hash(event)?);
        if event.components.is_empty() || rows.get::<u32>(&slice.clone().number(0))?.is_some() {
            return Ok(());
        }
        if named_by < at.index {
            rows.put_first(table(at.tenant, EXTENDED).number(u64::from(set)), &())?;
        }
        if self.numbers.len() > NUMBERS_KEPT_MAX {
            self.numbers.clear();
        }
        for (n, components) in (0_u64..).zip(event.components.chunks(PAGE_COMPONENTS)) {
            let before = u32::try_from(n).ok().and_then(|n| n.checked_mul(u32::try_from(PAGE_COMPONENTS).ok()?));
            let first = before.and_then(|before| event.first.checked_add(before)).ok_or_else(full)?;
            let row = self.page(at.tenant, set, first, components, rows)?;
            let page = self.next_page;
            self.next_page = page.checked_add(1).ok_or_else(full)?;
            rows.put(slice.clone().number(n), &page)?;
            rows.put(table(at.tenant, PAGES).number(u64::from(page)), &row)?;
            self.postings.add(at.tenant, rows.store, page, set, &row.components)?;
        }
        Ok(())
    }

    fn slice_hash(&mut self, event: &ComponentsListed) -> Result<[u8; 16], Error> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        for component in &event.components {
            let Component { purl, name, version, group, r#type, licenses, digest, depends_on, root_dependency } =
                component;
            let fields = (purl, name, version, group, r#type, licenses, digest, depends_on, root_dependency);
            bytes = postcard::to_extend(&fields, bytes).map_err(unwritable)?;
        }
        let hash = short_hash(&bytes);
        self.bytes = bytes;
        Ok(hash)
    }

    fn page(
        &mut self,
        tenant: &TenantId,
        set: u32,
        first: u32,
        components: &[Component],
        rows: &mut Rows<'_>,
    ) -> Result<PageRow, Error> {
        let mut row = PageRow { set, first, ..PageRow::default() };
        let any_edge = components.iter().any(|component| !component.depends_on.is_empty());
        for (ordinal, component) in (first..=u32::MAX).zip(components) {
            row.components.push(self.component_number(tenant, component, rows)?);
            if component.root_dependency {
                row.roots.push(ordinal);
            }
            if any_edge {
                row.depends_on.push(component.depends_on.clone());
            }
        }
        Ok(row)
    }

    fn component_number(
        &mut self,
        tenant: &TenantId,
        component: &Component,
        rows: &mut Rows<'_>,
    ) -> Result<u32, Error> {
        let Component { purl, name, version, group, r#type, licenses, digest, .. } = component;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // The order of the fields is that of `Known`: postcard writes a tuple as it writes a struct.
        let fields = (purl, name, version, group, r#type, licenses, digest);
        self.bytes = postcard::to_extend(&fields, bytes).map_err(unwritable)?;
        let hash = short_hash(&self.bytes);
        if let Some(number) = self.numbers.get(&hash) {
            return Ok(*number);
        }
        let (package, version) = package_key(purl, name);
        let key = table(tenant, PACKAGES).text(&package).text(&version).bytes(&hash);
        let number = match rows.get::<u32>(&key)? {
            Some(number) => number,
            None => {
                let number = self.next_component;
                self.next_component = number.checked_add(1).ok_or_else(full)?;
                rows.put(key, &number)?;
                rows.put(table(tenant, COMPONENTS).number(u64::from(number)), &fields)?;
                note_keys(tenant, purl, rows)?;
                number
            }
        };
        self.numbers.insert(hash, number);
        Ok(number)
    }
}

/// Notes what the package of a component is called, and under which keys advisories stand beside that of its own package:
/// a distribution's name the source package, and some packages have several spellings.
fn note_keys(tenant: &TenantId, purl: &str, rows: &mut Rows<'_>) -> Result<(), Error> {
    let Some(purl) = Purl::parse(purl) else { return Ok(()) };
    let name = table(tenant, PACKAGE_NAMES).text(&bare_name(purl.package()));
    rows.put_first(name.text(clipped(purl.package())), &())?;
    for key in packages_of(&purl).iter().filter(|key| key.as_str() != purl.package()) {
        rows.put_first(table(tenant, KEYS).text(clipped(key)).text(clipped(purl.package())), &())?;
    }
    Ok(())
}

fn unwritable(error: postcard::Error) -> Error {
    Error::Store(format!("row: {error}"))
}

/// One more than the greatest number in a table among rows of entries below `next`.
fn next_number<T: DeserializeOwned>(tenant: &TenantId, store: &dyn Store, of: u8, next: u64) -> Result<u32, Error> {
    let prefix = table(tenant, of);
    let mut end = prefix.prefix_end().as_bytes().to_vec();
    while let Some((key, row)) = store.scan(prefix.as_bytes(), &end, true, 1)?.pop() {
        if Stamped::<T>::decode(&row)?.stamp.index < next {
            let number = table_key(&key)?.number().ok_or_else(unreadable)?;
            return u32::try_from(number).ok().and_then(|number| number.checked_add(1)).ok_or_else(full);
        }
        end = key;
    }
    Ok(0)
}

/// As [`next_number`], for sets, whose table is by name.
fn next_set(tenant: &TenantId, store: &dyn Store, next: u64) -> Result<u32, Error> {
    let (mut from, end) = (table(tenant, SETS).as_bytes().to_vec(), table(tenant, SETS).prefix_end());
    let mut next_set = 0;
    loop {
        let rows = store.scan(&from, end.as_bytes(), false, 1_024)?;
        for (_, row) in &rows {
            let row = Stamped::<u32>::decode(row)?;
            if row.stamp.index < next {
                next_set = next_set.max(row.value.checked_add(1).ok_or_else(full)?);
            }
        }
        match rows.last() {
            Some((key, _)) => from = [key.as_slice(), &[0]].concat(),
            None => return Ok(next_set),
        }
    }
}

/// The root component by its purl; of an image with its platform: the digest may be that of an index.
fn root_key(purl: &Purl) -> String {
    match purl.qualifier("arch").filter(|_| purl.is_image()) {
        Some(arch) => format!("{}?arch={arch}", purl.package_key()),
        None => purl.package_key().to_owned(),
    }
}

/// What the root component is called; of an image without its tag: scanners call it by whatever they were pointed at.
fn root_name(event: &SbomAttached) -> String {
    let image = ArtifactRef::parse(&event.root_name).filter(|_| event.kind() == ArtifactKind::ContainerImage);
    image.map_or_else(|| event.root_name.clone(), |image| image.repository_key())
}
