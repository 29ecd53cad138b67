//! Facts within their bounds: at most 512 repeated items and less than 1 MiB each.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use pedigraph_proto::event::{
    AdvisoryPublished, AffectedPackage, AliasObserved, AttestationAttached, Finding, Material, ScanCompleted,
    VexIssued, VexStatement,
};
use pedigraph_proto::fact::change::{Artifact, Evidence, Family, Source, Work};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::Message;
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Event, Nanos, Purl, ids, names_nothing};

use super::Given;
use super::budget::Budget;
use super::lengths::Fit;
use super::read::{Pairs, Text, clip, clip_to};

/// Most repeated items in one fact.
pub(super) const ITEMS_MAX: usize = 512;
/// What every fact is smaller than, bytes.
pub(super) const FACT_BYTES_MAX: usize = 1 << 20;
/// Most bytes that the repeated items of one fact take; a single item may take more.
pub(super) const ITEMS_BYTES_MAX: usize = 512 << 10;
/// Longest name or URI of a subject or material that is kept, bytes: 256 of each must fit into a fact.
pub(super) const NAME_BYTES_MAX: usize = 512;

/// Most subcomponents of one statement; a product that has more gets more statements.
pub(super) const SUBCOMPONENTS_MAX: usize = 128;
/// Longest name of a subcomponent that is kept, bytes.
const SUBCOMPONENT_BYTES_MAX: usize = 4_096;
/// Longest text that is kept where a digest should be, bytes.
const DIGEST_BYTES_MAX: usize = 512;
/// Longest text that is kept where a time should be, bytes.
const TIME_BYTES_MAX: usize = 128;
/// Longest vulnerability id or alias, bytes.
const ALIAS_BYTES_MAX: usize = pedigraph_proto::VULNERABILITY_BYTES_MAX;
/// Most aliases of one vulnerability, and most digests of one thing.
const ALIASES_MAX: usize = 64;
/// Most subjects of one attestation: each costs views about eight rows, which are to be folded within a second.
const SUBJECTS_MAX: usize = 8_192;
/// Most materials of one attestation: each costs views two rows, of images four.
const MATERIALS_MAX: usize = 16_384;

/// Says where to cut a list so that its slices fit into facts.
#[derive(Default)]
pub(super) struct Slices {
    items: usize,
    room: usize,
}

impl Slices {
    /// Whether the next item of the list, of that many bytes, begins a slice.
    pub(super) fn begins(&mut self, item_bytes: usize) -> bool {
        let begins = self.items == 0 || self.items == ITEMS_MAX || item_bytes > self.room;
        if begins {
            (self.items, self.room) = (0, ITEMS_BYTES_MAX);
        }
        self.items += 1;
        self.room = self.room.saturating_sub(item_bytes);
        begins
    }
}

/// Cuts a list into slices, each with the ordinal of its first item.
pub(super) fn pieces<T: Message>(items: Vec<T>) -> Vec<(u32, Vec<T>)> {
    let (mut all, mut slices): (Vec<(u32, Vec<T>)>, _) = (Vec::new(), Slices::default());
    for (ordinal, item) in (0_u32..).zip(items) {
        let begins = slices.begins(item.encoded_len());
        match all.last_mut() {
            Some((_, slice)) if !begins => slice.push(item),
            _ => all.push((ordinal, vec![item])),
        }
    }
    all
}

/// A count that a message can hold.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A scan and its findings, which were taken from the budget before.
pub(super) fn scan(head: ScanCompleted, findings: Vec<Finding>, budget: &Budget) -> Result<Vec<Fact>, Reject> {
    let head = ScanCompleted { finding_count: count(findings.len()), ..head };
    said_of_each(head, findings, budget, |head, first, findings| ScanCompleted { first, findings, ..head })
}

/// A product's subcomponents as its statements have them, one portion each; of none there is one empty portion.
pub(super) fn portions(parts: &[String]) -> impl Iterator<Item = &[String]> {
    parts.is_empty().then_some(parts).into_iter().chain(parts.chunks(SUBCOMPONENTS_MAX))
}

/// What is kept of a subcomponent's name.
pub(super) fn subcomponent(name: &str) -> String {
    clip_to(name, SUBCOMPONENT_BYTES_MAX).to_owned()
}

/// Memory that a list of texts takes, bytes.
pub(super) fn texts_bytes(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len()).sum()
}

/// A VEX document and its statements, which were taken from the budget before.
pub(super) fn vex(head: VexIssued, statements: Vec<VexStatement>, budget: &Budget) -> Result<Vec<Fact>, Reject> {
    said_of_each(head, statements, budget, |head, first, statements| VexIssued { first, statements, ..head })
}

/// Of what is said of one thing at one time, the last counts: let that be the most cautious. A CycloneDX
/// document may have one element for each finding, all of them on the product (Dependency-Track), and none of them takes
/// another back. In CSAF it is a contradiction that the format forbids (6.1.6), and no list goes before another.
pub(super) fn cautious_last(statements: &mut [VexStatement]) {
    let mut order: Vec<usize> = (0..statements.len()).collect();
    order.sort_by(|&a, &b| by_thing(&statements[a], &statements[b]));
    let same = order.chunk_by(|&a, &b| by_thing(&statements[a], &statements[b]).is_eq());
    let again: Vec<&[usize]> = same.filter(|same| same.len() > 1).collect();
    for places in again {
        let mut said: Vec<VexStatement> = places.iter().map(|&place| std::mem::take(&mut statements[place])).collect();
        said.sort_by_key(|statement| Reverse(statement.status().caution()));
        places.iter().zip(said).for_each(|(&place, statement)| statements[place] = statement);
    }
}

/// The order of what statements are of: the vulnerability as names of it are compared, the product, its part; since when.
fn by_thing(a: &VexStatement, b: &VexStatement) -> Ordering {
    let names = a.vulnerability.bytes().map(|byte| byte.to_ascii_uppercase());
    let names = names.cmp(b.vulnerability.bytes().map(|byte| byte.to_ascii_uppercase()));
    names.then_with(|| (&a.product, &a.subcomponents, &a.time).cmp(&(&b.product, &b.subcomponents, &b.time)))
}

/// An advisory and the packages that it names, which were taken from the budget before.
pub(super) fn advisory(
    head: AdvisoryPublished,
    affected: Vec<AffectedPackage>,
    budget: &Budget,
) -> Result<Vec<Fact>, Reject> {
    let head = AdvisoryPublished { affected_count: count(affected.len()), ..head };
    said_of_each(head, affected, budget, |head, first, affected| AdvisoryPublished { first, affected, ..head })
}

/// Says the head of a document of each slice of its items.
fn said_of_each<H, T>(
    mut head: H,
    items: Vec<T>,
    budget: &Budget,
    with: impl Fn(H, u32, Vec<T>) -> H,
) -> Result<Vec<Fact>, Reject>
where
    H: Message + Fit + Clone + Into<Event>,
    T: Message,
{
    head.fit()?;
    let slices = pieces(items);
    budget.take_times(&head, slices.len().max(1))?;
    if slices.is_empty() {
        return Ok(vec![Fact::now(head)]);
    }
    let facts = slices.into_iter();
    Ok(facts.map(|(first, items)| Fact::now(with(head.clone(), first, items))).collect())
}

/// An attestation: both lists are cut into slices, and the facts after the first go on with it, so that each list is
/// said once. Views join the two when asked. Refused when either list is longer than what views fold in a moment.
pub(super) fn attestation(
    head: &AttestationAttached,
    subjects: &[(String, String)],
    materials: &[Material],
) -> Result<Vec<Fact>, Reject> {
    if subjects.len() > SUBJECTS_MAX || materials.len() > MATERIALS_MAX {
        return Err(Reject::new(
            Code::TooManyItems,
            format!(
                "a statement of {} subjects and {} materials; send parts of at most {SUBJECTS_MAX} and \
                 {MATERIALS_MAX}, or name the index or archive that holds them",
                subjects.len(),
                materials.len()
            ),
        ));
    }
    // Names and URIs are cut short enough for a slice of each to fit. Without a subject that joins anything the
    // statement is recorded all the same.
    let mut subject_slices = subjects.chunks(ITEMS_MAX / 2);
    let mut material_slices = materials.chunks(ITEMS_MAX / 2);
    let needed = subject_slices.len().max(material_slices.len()).max(1);
    let material_count = if needed > 1 { count(materials.len()) } else { 0 };
    let slices = (0..needed).map(|n| {
        let head = if n == 0 { head.clone() } else { going_on(head) };
        let subjects = subject_slices.next().unwrap_or_default();
        Fact::now(AttestationAttached {
            artifact_digests: subjects.iter().map(|(digest, _)| digest.clone()).collect(),
            subject_names: subjects.iter().map(|(_, name)| name.clone()).collect(),
            materials: material_slices.next().unwrap_or_default().to_vec(),
            continues: count(n),
            material_count,
            ..head
        })
    });
    Ok(slices.collect())
}

/// What the facts after the first repeat: what their own subjects are joined by.
fn going_on(head: &AttestationAttached) -> AttestationAttached {
    AttestationAttached {
        statement_digest: head.statement_digest.clone(),
        builder: head.builder.clone(),
        invocation: head.invocation.clone(),
        commit: head.commit.clone(),
        ..AttestationAttached::default()
    }
}

/// The valid digests of a digest map.
pub(super) fn digests(map: &Pairs<'_>) -> impl Iterator<Item = Digest> {
    map.0.iter().filter_map(|(algorithm, hash)| Digest::from_parts(algorithm, hash.as_str()).ok())
}

/// The digest by which others most likely know a thing, of those that a document names for it: images go by SHA-256,
/// which OCI references use (SPEC §2.3). Digests of empty content name nothing.
pub(super) fn canonical_of(digests: impl IntoIterator<Item = Digest>) -> Option<Digest> {
    const PREFERRED: [&str; 8] = ["sha256", "sha512", "sha384", "blake3", "sha1", "gitCommit", "dirHash", "md5"];
    let rank = |digest: &Digest| {
        let known = PREFERRED.iter().position(|known| *known == digest.algorithm());
        // An algorithm that nobody here knows is still better than a broken one.
        known.map_or(PREFERRED.len() - 1, |rank| rank + usize::from(rank + 1 == PREFERRED.len()))
    };
    digests.into_iter().filter(|digest| !digest.is_of_empty_content()).min_by_key(rank)
}

/// The subject artifact that was given outside the document, if its digest can join anything.
pub(super) fn outside<'g>(given: &'g Given<'_>) -> Option<&'g Digest> {
    given.subject.as_ref().filter(|digest| !digest.is_of_empty_content())
}

/// Groups of digests, each of one thing, that a document names side by side.
#[derive(Default)]
pub(super) struct Aliases(BTreeSet<Vec<String>>);

impl Aliases {
    /// Notes the digests of one thing. Only strong algorithms say that two things are one: who can forge an MD5 or
    /// SHA-1 could merge what is not the same. Two digests of one algorithm contradict each other, and then nothing is
    /// said.
    pub(super) fn note(&mut self, digests: impl IntoIterator<Item = Digest>) {
        let strong = digests.into_iter().filter(|digest| digest.is_strong() && !digest.is_of_empty_content());
        let group: BTreeSet<Digest> = strong.take(ALIASES_MAX).collect();
        let algorithms: BTreeSet<&str> = group.iter().map(Digest::algorithm).collect();
        if group.len() > 1 && algorithms.len() == group.len() {
            self.0.insert(group.iter().map(Digest::to_string).collect());
        }
    }

    /// One fact for each group.
    pub(super) fn into_facts(self) -> impl Iterator<Item = Fact> {
        self.0.into_iter().map(|digests| Fact::now(AliasObserved { digests }))
    }
}

/// What a document calls an artifact, as far as it can be understood.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Named {
    /// The digest it names; empty when it names none.
    pub(super) digest: String,
    /// Normalized where it parses, else as sent; empty for what names nothing, such as `.`.
    pub(super) reference: String,
    /// Canonical; empty when it is no purl.
    pub(super) purl: String,
    /// Repository and tag, when both are named for a container image.
    pub(super) tag: Option<(String, String)>,
    /// It is a purl of an image, or a reference with a digest.
    pub(super) image: bool,
}

impl Named {
    /// Reads a purl, a reference or a digest.
    pub(super) fn parse(text: &str) -> Named {
        plain_oci(text).unwrap_or_else(|| Named::parse_any(text))
    }

    fn parse_any(text: &str) -> Named {
        let purl = Purl::parse(text);
        let Some(parsed) = ArtifactRef::parse(text) else {
            let reference = if names_nothing(text) { "" } else { text };
            return Named { reference: reference.to_owned(), ..Named::default() };
        };
        let image = match &purl {
            Some(purl) => purl.is_image(),
            None => parsed.digest.is_some() && !parsed.repository.is_empty(),
        };
        Named {
            digest: parsed.digest.as_ref().map(Digest::to_string).unwrap_or_default(),
            reference: parsed.to_string(),
            purl: purl.map(|purl| purl.to_string()).unwrap_or_default(),
            tag: (image && !parsed.tag.is_empty()).then_some((parsed.repository, parsed.tag)),
            image,
        }
    }
}

/// Reads the purl by which pipelines name most images, `pkg:oci/name@sha256%3A…?repository_url=…&tag=…`, several times
/// faster than the general way and with the same result; `None` leaves anything unusual to that way.
fn plain_oci(text: &str) -> Option<Named> {
    let (name, rest) = text.strip_prefix("pkg:oci/")?.split_once('@')?;
    let (version, qualifiers) = rest.split_once('?').unwrap_or((rest, ""));
    let hex = ["sha256%3A", "sha256:", "sha256%3a"].iter().find_map(|prefix| version.strip_prefix(prefix))?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    let name_ok = !name.is_empty() && name.len() <= 255 && name.bytes().all(plain) && name.trim_matches('.') == name;
    let hex_ok = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !name_ok || !hex_ok || ids::is_hex_of_empty_content(hex) {
        return None;
    }
    let (mut url, mut tag, mut canonical) = ("", "", format!("pkg:oci/{name}@sha256:{hex}"));
    let mut previous = "";
    for qualifier in qualifiers.split('&').filter(|_| !qualifiers.is_empty()) {
        let (key, value) = qualifier.split_once('=')?;
        let value_plain = |byte: u8| byte.is_ascii_uppercase() || plain(byte) || matches!(byte, b'/' | b':');
        if key <= previous || value.is_empty() || value.len() > 512 || !value.bytes().all(value_plain) {
            return None;
        }
        match key {
            "repository_url" if !value.contains("://") && !value.ends_with('/') => url = value,
            "tag" => tag = value,
            _ => return None,
        }
        canonical.push(if previous.is_empty() { '?' } else { '&' });
        canonical.push_str(key);
        canonical.push('=');
        canonical.push_str(&value.replace('/', "%2F"));
        previous = key;
    }
    let (repository, digest) = (ids::purl_repository(url, name), format!("sha256:{hex}"));
    let reference = if tag.is_empty() { format!("{repository}@{digest}") } else { format!("{repository}:{tag}") };
    let tag = (!tag.is_empty()).then(|| (repository, tag.to_owned()));
    Some(Named { digest, reference, purl: canonical, tag, image: true })
}

/// The canonical form of a purl, or the text as it is; false when it did not parse.
pub(super) fn canonical_purl(text: &str) -> (String, bool) {
    match Purl::canonical(text) {
        Some(purl) => (purl, true),
        None => (clip(text).to_owned(), text.is_empty()),
    }
}

/// [`canonical_purl`] with a version that a document has beside a purl without one: it would be each version otherwise.
pub(super) fn versioned_purl(text: &str, version: &str) -> (String, bool) {
    let (purl, is_purl) = canonical_purl(text);
    // In the canonical form an @ is before a version and nowhere else.
    let lacks = is_purl && !version.is_empty() && !purl.contains('@');
    let parsed = if lacks { Purl::parse(&purl).filter(|purl| !purl.is_image()) } else { None };
    let versioned = parsed.and_then(|parsed| parsed.with_version(clip(version)));
    (versioned.map_or(purl, |purl| purl.to_string()), is_purl)
}

/// A digest in canonical form, or the text as it is; nothing for that of empty content, which joins nothing.
pub(super) fn canonical_digest(text: &str) -> String {
    let empty = text.parse::<Digest>().is_ok_and(|digest| digest.is_of_empty_content());
    if empty { String::new() } else { spelled_digest(text) }
}

/// A digest in canonical form, or the text as it is: of a thing, such as a configuration, that may well be empty.
pub(super) fn spelled_digest(text: &str) -> String {
    text.parse::<Digest>().map_or_else(|_| clip_to(text, DIGEST_BYTES_MAX).to_owned(), |digest| digest.to_string())
}

/// A reference in canonical form, or the text as it is; nothing for what names nothing.
pub(super) fn canonical_ref(text: &str) -> String {
    if names_nothing(text) {
        return String::new();
    }
    ArtifactRef::parse(text).map_or_else(|| text.to_owned(), |named| named.to_string())
}

/// A time in RFC 3339 and UTC, or the text as it is; nothing for a constant or zero time, which counts as absent.
pub(super) fn canonical_time(text: &str) -> String {
    match Nanos::parse(text) {
        Some(time) => time.to_string(),
        None if Nanos::counts_as_absent(text) => String::new(),
        None => clip_to(text, TIME_BYTES_MAX).to_owned(),
    }
}

/// The first of some fields that says a time; where none does, the first text that stands there.
pub(super) fn first_time(fields: &[&Text<'_>]) -> String {
    let times = || fields.iter().map(|field| field.as_str()).filter(|text| !Nanos::counts_as_absent(text));
    let said = times().find(|text| Nanos::parse(text).is_some()).or_else(|| times().find(|text| !text.is_empty()));
    canonical_time(said.unwrap_or_default())
}

/// The names a vulnerability goes by.
pub(super) fn aliases<'t>(names: impl Iterator<Item = &'t str>) -> Vec<String> {
    names.take(ALIASES_MAX).map(|name| clip_to(name, ALIAS_BYTES_MAX).to_owned()).collect()
}

/// Whether an id is of a kind that names one vulnerability. Others, above all the advisories of distributions (RHSA,
/// ALAS, ELSA, USN), cover several: an advisory is no other name of one of them.
pub(super) fn names_one_vulnerability(id: &str) -> bool {
    const KINDS: [&str; 13] =
        ["CVE", "GHSA", "OSV", "GO", "PYSEC", "RUSTSEC", "BIT", "CGA", "MAL", "HSEC", "RSEC", "JLSEC", "EEF"];
    id.split_once('-').is_some_and(|(kind, _)| KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)))
}

/// The other names of a vulnerability, of those that a document gives beside its own: each once. Two CVEs are never one
/// vulnerability (SPEC §5).
pub(super) fn other_names<'t>(own: &str, names: impl Iterator<Item = &'t str>) -> Vec<String> {
    let is_cve = |id: &str| id.get(..4).is_some_and(|kind| kind.eq_ignore_ascii_case("CVE-"));
    let other = |name: &&str| names_one_vulnerability(name) && *name != own && !(is_cve(own) && is_cve(name));
    let mut others = if names_one_vulnerability(own) { aliases(names.filter(other)) } else { vec![] };
    let mut known = BTreeSet::new();
    others.retain(|name| known.insert(name.clone()));
    others
}

/// The digest that a name is, or holds: `sha256:…`, the version of a `pkg:oci`, or the checksum of a `pkg:generic`.
pub(super) fn named_digest(name: &str) -> Option<Digest> {
    let digest = Purl::parse(name).map_or_else(|| name.parse::<Digest>().ok(), |purl| purl.named_digest());
    digest.filter(|digest| !digest.is_of_empty_content())
}

/// Whether a text is a commit id: 40 or 64 hex digits.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Commit ids in lower case, wherever an event names one: in upper case it is the same commit. What is no whole id stays
/// as it is.
pub(super) fn spell_commits(event: &mut Event) {
    let spell = |text: &mut String| {
        if is_commit(text) {
            text.make_ascii_lowercase();
        }
    };
    match event.family_mut() {
        Family::Source(Source::ChangeMerged(e)) => [&mut e.commit, &mut e.change_id].into_iter().for_each(spell),
        Family::Source(Source::RefUpdated(e)) => [&mut e.commit, &mut e.previous_commit].into_iter().for_each(spell),
        Family::Work(Work::RunStarted(e)) => spell(&mut e.commit),
        Family::Work(Work::RunFinished(e)) => spell(&mut e.commit),
        Family::Artifact(Artifact::ArtifactPackaged(e)) => {
            [&mut e.commit, &mut e.change_id].into_iter().for_each(spell);
        }
        Family::Artifact(Artifact::ImageObserved(e)) => spell(&mut e.commit),
        Family::Evidence(Evidence::AttestationAttached(e)) => spell(&mut e.commit),
        Family::Source(_)
        | Family::Work(_)
        | Family::Artifact(_)
        | Family::Evidence(_)
        | Family::Deploy(_)
        | Family::Control(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fast_way_names_images_like_the_general_one(
            name in "[a-z0-9._-]{1,8}",
            hex in "[0-9a-f]{64}",
            separator in prop::sample::select(vec!["%3A", "%3a", ":"]),
            repository in prop::option::of("[a-zA-Z0-9._/:-]{1,12}"),
            tag in prop::option::of("[a-zA-Z0-9._/:-]{1,6}"),
        ) {
            let qualifiers = [repository.map(|url| format!("repository_url={url}")), tag.map(|tag| format!("tag={tag}"))];
            let qualifiers = qualifiers.into_iter().flatten().collect::<Vec<_>>().join("&");
            let mark = if qualifiers.is_empty() { "" } else { "?" };
            let text = format!("pkg:oci/{name}@sha256{separator}{hex}{mark}{qualifiers}");
            if let Some(fast) = plain_oci(&text) {
                prop_assert_eq!(fast, Named::parse_any(&text), "{}", text);
            }
        }
    }

    #[test]
    fn one_thing_has_one_canonical_digest_and_strong_aliases() {
        let of = |algorithm: &str, hex: &str, length: usize| {
            Digest::from_parts(algorithm, &hex.repeat(length / hex.len())).expect("a digest")
        };
        let (sha256, sha512) = (of("SHA-256", "1f", 64), of("SHA-512", "2f", 128));
        let (sha1, md5) = (of("SHA-1", "3f", 40), of("MD5", "4f", 32));
        let groups = |digests: &[&Digest]| {
            let mut aliases = Aliases::default();
            aliases.note(digests.iter().copied().cloned());
            aliases.0.into_iter().next().unwrap_or_default()
        };
        assert_eq!(canonical_of([sha1.clone(), sha512.clone(), sha256.clone()]), Some(sha256.clone()));
        assert_eq!(canonical_of([md5.clone(), sha1.clone()]), Some(sha1.clone()));
        assert_eq!(canonical_of([md5.clone(), of("newhash", "5f", 64)]).expect("one").algorithm(), "newhash");
        assert_eq!(groups(&[&md5, &sha512, &sha1, &sha256]), [sha256.to_string(), sha512.to_string()]);
        assert_eq!(groups(&[&sha1, &md5, &sha256]).len(), 0, "weak ones make no alias");
        assert_eq!(groups(&[&sha256, &of("sha256", "6f", 64), &sha512]).len(), 0, "they contradict each other");
        let empty = Digest::from_parts("sha256", &hex::encode(pedigraph_proto::canonical::sha256(b""))).expect("one");
        assert_eq!(canonical_of([empty.clone(), md5.clone()]), Some(md5), "nothing is named by empty content");
        assert_eq!(groups(&[&empty, &sha512]).len(), 0);
    }

    #[test]
    fn the_first_time_that_is_one_counts() {
        let first = |texts: &[&'static str]| {
            let texts: Vec<Text<'_>> = texts.iter().map(|text| Text(Some((*text).into()))).collect();
            first_time(&texts.iter().collect::<Vec<_>>())
        };
        assert_eq!(first(&["0001-01-01T00:00:00Z", "2026-05-01T10:00:00+02:00"]), "2026-05-01T08:00:00Z");
        assert_eq!(first(&["soon", "2026-05-01"]), "2026-05-01T00:00:00Z");
        assert_eq!(first(&["1980-01-01T00:00:00Z", "soon"]), "soon");
        assert_eq!(first(&["1980-01-01T00:00:00Z", ""]), "");
    }

    #[test]
    fn the_common_form_takes_the_fast_way() {
        let text = format!("pkg:oci/cart@sha256%3A{}?repository_url=ghcr.io/acme/cart&tag=1.4.2", "ab".repeat(32));
        assert_eq!(plain_oci(&text).expect("plain"), Named::parse_any(&text));
    }
}
