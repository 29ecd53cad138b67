//! Facts within their bounds: at most 512 repeated items and less than 1 MiB each.

use pedigraph_proto::event::{AttestationAttached, Finding, Material, ScanCompleted, VexIssued, VexStatement};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::Message;
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Nanos, Purl};

use super::read::{clip, clip_to};

/// Most repeated items in one fact.
pub(super) const ITEMS_MAX: usize = 512;
/// What every fact is smaller than, bytes.
pub(super) const FACT_BYTES_MAX: usize = 1 << 20;
/// Most bytes that the repeated items of one fact take; a single item may take more.
pub(super) const ITEMS_BYTES_MAX: usize = 512 << 10;

/// Longest text that is kept where a digest should be, bytes.
const DIGEST_BYTES_MAX: usize = 512;
/// Longest vulnerability id or alias, bytes.
const ALIAS_BYTES_MAX: usize = pedigraph_proto::VULNERABILITY_BYTES_MAX;
/// Most aliases of one vulnerability.
const ALIASES_MAX: usize = 64;
/// Most facts of one attestation.
const ATTESTATION_FACTS_MAX: usize = 1_024;
/// Most bytes of statements or findings of one document.
const FACTS_BYTES_MAX: usize = 256 << 20;

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

/// A scan and its findings.
pub(super) fn scan(head: &ScanCompleted, findings: Vec<Finding>) -> Vec<Fact> {
    let head = ScanCompleted { finding_count: count(findings.len()), ..head.clone() };
    if findings.is_empty() {
        return vec![Fact::now(head)];
    }
    let facts = pieces(findings).into_iter();
    facts.map(|(first, findings)| Fact::now(ScanCompleted { first, findings, ..head.clone() })).collect()
}

/// A VEX document and its statements.
pub(super) fn vex(head: &VexIssued, statements: Vec<VexStatement>) -> Vec<Fact> {
    if statements.is_empty() {
        return vec![Fact::now(head.clone())];
    }
    let facts = pieces(statements).into_iter();
    facts.map(|(first, statements)| Fact::now(VexIssued { first, statements, ..head.clone() })).collect()
}

/// An attestation: every subject meets every material in some fact, since edges join the two. Refused when that takes
/// more than [`ATTESTATION_FACTS_MAX`] facts: a small document must not become a large one.
pub(super) fn attestation(
    head: &AttestationAttached,
    subjects: &[(String, String)],
    materials: &[Material],
) -> Result<Vec<Fact>, Reject> {
    // Names and URIs are cut short enough for 512 of each to fit.
    let no_materials: [&[Material]; 1] = [&[]];
    let material_pieces: Vec<&[Material]> =
        if materials.is_empty() { no_materials.to_vec() } else { materials.chunks(ITEMS_MAX / 2).collect() };
    let needed = subjects.len().div_ceil(ITEMS_MAX / 2).saturating_mul(material_pieces.len());
    if needed > ATTESTATION_FACTS_MAX {
        return Err(Reject::new(Code::TooManyItems, "more subjects and materials than can be joined"));
    }
    let mut facts = Vec::with_capacity(needed);
    for subjects in subjects.chunks(ITEMS_MAX / 2) {
        for materials in &material_pieces {
            facts.push(Fact::now(AttestationAttached {
                artifact_digests: subjects.iter().map(|(digest, _)| digest.clone()).collect(),
                subject_names: subjects.iter().map(|(_, name)| name.clone()).collect(),
                materials: materials.to_vec(),
                ..head.clone()
            }));
        }
    }
    Ok(facts)
}

/// Bytes that the facts of one document may still take: where a document's text is repeated for each thing it names, a
/// small document could otherwise become a very large one.
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Budget(FACTS_BYTES_MAX)
    }
}

impl Budget {
    /// Takes what an item needs.
    pub(super) fn take(&mut self, item: &impl Message) -> Result<(), Reject> {
        let left = self.0.checked_sub(item.encoded_len());
        self.0 = left.ok_or_else(|| {
            Reject::new(Code::TooLarge, format!("what it states comes to more than {FACTS_BYTES_MAX} bytes"))
        })?;
        Ok(())
    }
}

/// What a document calls an artifact, as far as it can be understood.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Named {
    /// The digest it names; empty when it names none.
    pub(super) digest: String,
    /// Normalized where it parses, else as sent.
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
            return Named { reference: clip(text).to_owned(), ..Named::default() };
        };
        let image = match &purl {
            Some(purl) => matches!(purl.kind(), "oci" | "docker"),
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
    if !name_ok || !hex_ok {
        return None;
    }
    let (mut repository, mut tag, mut canonical) = (name, "", format!("pkg:oci/{name}@sha256:{hex}"));
    let mut previous = "";
    for qualifier in qualifiers.split('&').filter(|_| !qualifiers.is_empty()) {
        let (key, value) = qualifier.split_once('=')?;
        let value_plain = |byte: u8| byte.is_ascii_uppercase() || plain(byte) || matches!(byte, b'/' | b':');
        if key <= previous || value.is_empty() || value.len() > 512 || !value.bytes().all(value_plain) {
            return None;
        }
        match key {
            "repository_url" if !value.contains("://") && !value.ends_with('/') => repository = value,
            "tag" => tag = value,
            _ => return None,
        }
        canonical.push(if previous.is_empty() { '?' } else { '&' });
        canonical.push_str(key);
        canonical.push('=');
        canonical.push_str(&value.replace('/', "%2F"));
        previous = key;
    }
    let digest = format!("sha256:{hex}");
    let reference = if tag.is_empty() { format!("{repository}@{digest}") } else { format!("{repository}:{tag}") };
    let tag = (!tag.is_empty()).then(|| (repository.to_owned(), tag.to_owned()));
    Some(Named { digest, reference, purl: canonical, tag, image: true })
}

/// The canonical form of a purl, or the text as it is; false when it did not parse.
pub(super) fn canonical_purl(text: &str) -> (String, bool) {
    match Purl::canonical(text) {
        Some(purl) => (purl, true),
        None => (clip(text).to_owned(), text.is_empty()),
    }
}

/// A digest in canonical form, or the text as it is.
pub(super) fn canonical_digest(text: &str) -> String {
    text.parse::<Digest>().map_or_else(|_| clip_to(text, DIGEST_BYTES_MAX).to_owned(), |digest| digest.to_string())
}

/// A reference in canonical form, or the text as it is.
pub(super) fn canonical_ref(text: &str) -> String {
    ArtifactRef::parse(text).map_or_else(|| clip(text).to_owned(), |named| named.to_string())
}

/// A time in RFC 3339 and UTC, or the text as it is.
pub(super) fn canonical_time(text: &str) -> String {
    Nanos::parse(text).map_or_else(|| clip(text).to_owned(), |time| time.to_string())
}

/// The names a vulnerability goes by.
pub(super) fn aliases<'t>(names: impl Iterator<Item = &'t str>) -> Vec<String> {
    names.take(ALIASES_MAX).map(|name| clip_to(name, ALIAS_BYTES_MAX).to_owned()).collect()
}

/// Whether a text is a commit id: 40 or 64 hex digits.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
    fn the_common_form_takes_the_fast_way() {
        let text = format!("pkg:oci/cart@sha256%3A{}?repository_url=ghcr.io/acme/cart&tag=1.4.2", "ab".repeat(32));
        assert_eq!(plain_oci(&text).expect("plain"), Named::parse_any(&text));
    }
}
