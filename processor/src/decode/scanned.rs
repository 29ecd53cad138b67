//! What a scanner's report says of the thing that was scanned: the same for every scanner.

use pedigraph_proto::event::{DigestKind, Finding, ImageObserved, ScanCompleted};
use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, image};

use super::Given;
use super::budget::Budget;
use super::facts;
use super::read::{List, Text};

/// Most digests of registries by which one scan, or one SBOM, is found.
pub(super) const REPO_DIGESTS_MAX: usize = 16;
/// Most tags that are looked at, once for each of those digests.
pub(super) const REPO_TAGS_MAX: usize = 1_024;
/// Most tags of one image.
const TAGS_MAX: usize = 64;

/// The findings of a report, while it is read.
pub(super) struct Findings<'g> {
    all: Vec<Finding>,
    most: usize,
    budget: &'g Budget,
}

impl<'g> Findings<'g> {
    /// None yet.
    pub(super) fn new(given: &Given<'g>) -> Findings<'g> {
        Findings { all: Vec::new(), most: given.limits.statements_max, budget: given.budget }
    }

    /// Takes one, as far as the report may have more.
    pub(super) fn take(&mut self, finding: Finding) -> Result<(), Reject> {
        if self.all.len() == self.most {
            return Err(Reject::new(Code::TooManyItems, format!("more than {} findings", self.most)));
        }
        self.budget.take(&finding)?;
        self.all.push(finding);
        Ok(())
    }

    /// All of them.
    pub(super) fn all(self) -> Vec<Finding> {
        self.all
    }
}

/// A thing that was scanned.
pub(super) struct Scanned {
    pub(super) digest: Digest,
    pub(super) reference: String,
    /// Of an image: the digest of the configuration, if it is known.
    pub(super) part: String,
}

/// Which part of a digest an image is: the one with this configuration, of what may be an index of several platforms. It
/// is called the same by every digest of the image, so that a newer scan by another one replaces it.
pub(super) fn part_of(config: Option<&Digest>) -> String {
    config.map(Digest::to_string).unwrap_or_default()
}

/// A container image as a report names it.
#[derive(Default)]
pub(super) struct Image {
    /// Digests by which registries know it, each with its reference. Whether one is that of a manifest or of an index
    /// a report does not say, so two different ones are no aliases: the scan is said of each of them, and each is tied
    /// to the configuration (SPEC §2.3).
    pulled: Vec<(ArtifactRef, Digest)>,
    /// References with a tag.
    tags: Vec<ArtifactRef>,
    /// Of its manifest, where the report says which one it is.
    manifest: Option<Digest>,
    /// Of its configuration.
    pub(super) config: Option<Digest>,
}

impl Image {
    /// An image by what registries call it, and by the digests of its manifest and its configuration.
    pub(super) fn of(repo_digests: &List<Text<'_>>, repo_tags: &List<Text<'_>>, own: [&str; 2]) -> Image {
        let named = repo_digests.0.iter().filter_map(|name| ArtifactRef::parse(name.as_str()));
        let named = named.filter_map(|name| name.digest.clone().map(|digest| (name, digest)));
        let tags = repo_tags.0.iter().take(REPO_TAGS_MAX).filter_map(|tag| ArtifactRef::parse(tag.as_str()));
        let joining = |text: &str| text.parse::<Digest>().ok().filter(|digest| !digest.is_of_empty_content());
        let [manifest, config] = own.map(joining);
        Image { pulled: named.take(REPO_DIGESTS_MAX).collect(), tags: tags.collect(), manifest, config }
    }

    /// What the scanner calls it: its first tag, else what it was pointed at unless that is a file.
    pub(super) fn reference(&self, pointed_at: &str) -> String {
        const ARCHIVES: [&str; 5] = [".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst"];
        let is_file = ARCHIVES.iter().any(|ending| pointed_at.ends_with(ending));
        let named = || ArtifactRef::parse(pointed_at).filter(|_| !is_file);
        self.tags.first().cloned().or_else(named).map(|named| named.to_string()).unwrap_or_default()
    }

    /// What a scan is of: the digest given outside; the manifest's, where the report says which one was scanned; every one
    /// that a registry knows the image by; where no manifest is named its configuration's, since what was pulled may be an
    /// index. `reference` is the image's without a registry's digest.
    pub(super) fn subjects(&self, given: &Given<'_>, reference: String) -> Vec<Scanned> {
        let pulled_as = |digest: &Digest| self.pulled.iter().find(|(_, pulled)| pulled == digest);
        let named = |digest: &Digest| match (pulled_as(digest), self.pulled.first()) {
            (Some((name, _)), _) => name.to_string(),
            // A tag may be that of the index which was pulled.
            (None, Some((name, _))) if self.manifest.as_ref() == Some(digest) => {
                ArtifactRef { tag: String::new(), digest: Some(digest.clone()), ..name.clone() }.to_string()
            }
            (None, Some((name, _))) => name.to_string(),
            (None, None) => reference.clone(),
        };
        let mut subjects: Vec<Scanned> = Vec::new();
        let mut add = |digest: &Digest, reference: String| {
            if !subjects.iter().any(|known| known.digest == *digest) {
                subjects.push(Scanned { digest: digest.clone(), reference, part: part_of(self.config.as_ref()) });
            }
        };
        if let Some(outside) = facts::outside(given) {
            let known =
                pulled_as(outside).is_some() || [&self.manifest, &self.config].contains(&&Some(outside.clone()));
            add(outside, named(outside));
            if !known {
                // Who sends the report knows better what was scanned.
                return subjects;
            }
        }
        self.manifest.iter().for_each(|digest| add(digest, named(digest)));
        self.pulled.iter().for_each(|(name, digest)| add(digest, name.to_string()));
        if let Some(config) = self.config.as_ref().filter(|_| self.manifest.is_none()) {
            add(config, named(config));
        }
        subjects
    }

    /// What its manifest and every pulled digest (index or manifest: the report does not say) have as their
    /// configuration, which `config` describes.
    pub(super) fn tied_to(&self, config: &ImageObserved) -> Vec<Fact> {
        // An index is of no platform, and a manifest of that of its configuration, which says it itself.
        let beside = |digest: &Digest| {
            let (digest_kind, platform) = match self.manifest.as_ref() == Some(digest) {
                true => (DigestKind::Manifest, config.platform.clone()),
                false => (DigestKind::Unspecified, String::new()),
            };
            ImageObserved {
                digest: digest.to_string(),
                digest_kind: digest_kind.into(),
                platform,
                config_digest: config.digest.clone(),
                ..ImageObserved::default()
            }
        };
        let pulled = self.pulled.iter().map(|(name, digest)| ImageObserved {
            artifact_ref: name.to_string(),
            tags: tags_of(name, &self.tags),
            ..beside(digest)
        });
        let is_pulled = |manifest: &&Digest| self.pulled.iter().any(|(_, digest)| digest == *manifest);
        let manifest = self.manifest.as_ref().filter(|manifest| !is_pulled(manifest)).map(&beside);
        pulled.chain(manifest).map(Fact::now).collect()
    }
}

/// The tags of an image in one repository.
pub(super) fn tags_of(name: &ArtifactRef, tags: &[ArtifactRef]) -> Vec<String> {
    let key = name.repository_key();
    let tags = tags.iter().filter(|tag| tag.repository_key() == key).map(|tag| &tag.tag);
    tags.filter(|tag| image::is_version_tag(tag)).take(TAGS_MAX).cloned().collect()
}

/// Says a scan of each of its subjects; the findings were taken from the budget once.
pub(super) fn scans(
    head: &ScanCompleted,
    findings: Vec<Finding>,
    subjects: Vec<Scanned>,
    given: &Given<'_>,
) -> Result<Vec<Fact>, Reject> {
    if subjects.is_empty() {
        let reason = "the report names no digest; send it with a subject";
        return Err(Reject::new(Code::SubjectMissing, reason));
    }
    if findings.len().saturating_mul(subjects.len()) > given.limits.statements_max {
        let reason = format!("more than {} findings for {} digests", given.limits.statements_max, subjects.len());
        return Err(Reject::new(Code::TooManyItems, reason));
    }
    for _ in 1..subjects.len() {
        findings.iter().try_for_each(|finding| given.budget.take(finding))?;
    }
    let mut facts = Vec::new();
    let copies = std::iter::repeat_n(findings, subjects.len());
    for (Scanned { digest, reference, part }, findings) in subjects.into_iter().zip(copies) {
        let (artifact_digest, artifact_ref) = (digest.to_string(), reference);
        let target = if part.is_empty() { head.target.clone() } else { part };
        let head = ScanCompleted { artifact_digest, artifact_ref, target, ..head.clone() };
        facts.extend(facts::scan(head, findings, given.budget)?);
    }
    Ok(facts)
}

/// What part of an artifact was scanned, of a path that a scanner was pointed at; empty for all of it.
///
/// A newer scan of the same scanner, artifact and target replaces the older one. Two parts of one artifact must
/// therefore not have one name, or the findings of one would end those of the other: a path is kept as it is, not its
/// last folder alone. Where one part has two names, only findings remain that a newer scan no longer has. What names a
/// checkout of this one run is left out: the folder in which the pipeline stands (`.`), and a folder with a random name
/// in a temporary one, where something follows it.
pub(super) fn target(path: &str) -> String {
    let path = path.trim();
    if path.contains("://") {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | ".")).collect();
    if !names_a_root(path) {
        return parts.join("/");
    }
    // What macOS calls its temporary folder: `/var/folders/zz/…/T`.
    let of_macos = parts.windows(2).any(|pair| pair == ["var", "folders"]);
    let temporary = |part: &str| {
        ["tmp", "temp", "_temp"].iter().any(|name| part.eq_ignore_ascii_case(name)) || (of_macos && part == "T")
    };
    let checkout = parts.windows(3).rposition(|three| temporary(three[0]) && looks_random(three[1]));
    match checkout {
        Some(checkout) => parts.split_off(checkout + 2).join("/"),
        None => path.trim_end_matches(['/', '\\']).to_owned(),
    }
}

/// Whether a folder's name looks like one that a machine made up.
fn looks_random(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_digit()) || name.starts_with("tmp")
}

/// Whether a path begins at the root of a file system.
fn names_a_root(path: &str) -> bool {
    let drive = path.as_bytes().get(1..3).is_some_and(|rest| matches!(rest, b":\\" | b":/"));
    path.starts_with(['/', '\\']) || drive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_same_in_each_run_and_another_for_each_part() {
        let check = |path: &str, want: &str| assert_eq!(target(path), want, "{path}");
        check("", "");
        check(".", "");
        check("./", "");
        check("./services/ledger/", "services/ledger");
        check("services\\ledger", "services/ledger");
        check("../ledger", "../ledger");
        check("/srv/ledger/", "/srv/ledger");
        check("/tmp/build-8fa1/services/ledger", "services/ledger");
        check("/tmp/build-77ce/services/ledger", "services/ledger");
        check("/tmp/build-77ce", "/tmp/build-77ce");
        check("/tmp/services/ledger", "/tmp/services/ledger");
        check("/tmp/ledger.jar", "/tmp/ledger.jar");
        check("/private/var/folders/zz/a1b2/T/tmp.X1/app", "app");
        check("/var/folders/zz/a1b2/T/tmp.X1", "/var/folders/zz/a1b2/T/tmp.X1");
        check("C:\\Users\\ci\\AppData\\Local\\Temp\\x81\\app\\web", "app/web");
        check("D:/a/_temp/2f/app", "app");
        check("/", "");
        check("https://git.example/bank/ledger", "https://git.example/bank/ledger");
        check("pkg:npm/ledger@4.2", "pkg:npm/ledger@4.2");
    }
}
