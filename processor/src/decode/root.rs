//! The thing that an SBOM describes: what it is called, and which of its digests are one.

use pedigraph_proto::event::{ArtifactKind, DigestKind, ImageObserved};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{ArtifactRef, Digest, Purl, names_nothing};

use super::components::Component;
use super::facts::{self, Aliases, ITEMS_MAX};
use super::scanned::{REPO_DIGESTS_MAX, REPO_TAGS_MAX, tags_of};

/// The thing that the document describes.
pub(super) struct Root {
    kind: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) purl: String,
    pub(super) digest: Option<Digest>,
    /// Its hashes in several algorithms, with the digest where it is one of the same content.
    hashes: Vec<Digest>,
    pub(super) image: TrivyImage,
}

/// What Trivy says of an image beside its name: its configuration's digest, the layers of that, its tags, and every
/// digest by which a registry knows it, whether of a manifest or of an index (SPEC §2.3).
#[derive(Default)]
pub(super) struct TrivyImage {
    pub(super) id: Option<Digest>,
    diff_ids: Vec<String>,
    /// References with a tag.
    tags: Vec<ArtifactRef>,
    repo_digests: Vec<(ArtifactRef, Digest)>,
}

impl Root {
    /// From what a document says of it as a component.
    pub(super) fn of(component: &Component<'_>) -> Root {
        let purl = Purl::parse(component.purl.as_str());
        let version = component.version.as_str().parse::<Digest>().ok();
        let image = TrivyImage::of(component);
        let named = purl.as_ref().and_then(Purl::digest).or_else(|| facts::canonical_of(version.clone()));
        let hashes = component.digests().take(ITEMS_MAX);
        let mut hashes: Vec<Digest> = hashes.filter(|digest| !digest.is_of_empty_content()).collect();
        if let Some(named) = named.as_ref().filter(|_| !hashes.is_empty()) {
            // Of another content than the hashes (a manifest's beside a file's) is what contradicts one of them.
            let contradicts = hashes.iter().any(|hash| hash.algorithm() == named.algorithm() && hash != named);
            hashes.extend(Some(named.clone()).filter(|_| !contradicts));
        }
        let digest = named.or_else(|| facts::canonical_of(hashes.iter().cloned()));
        let digest = digest.or_else(|| image.repo_digests.first().map(|(_, digest)| digest.clone()));
        let name = component.full_name();
        let version = if version.is_some() { String::new() } else { component.version.whole() };
        Root {
            kind: component.kind.owned(),
            // A scanner that was pointed at a folder calls it `.` or by its path: that is no name.
            name: if names_nothing(&name) { String::new() } else { name },
            purl: facts::versioned_purl(component.purl.as_str(), &version).0,
            version,
            digest: digest.or_else(|| image.id.clone()),
            hashes,
            image,
        }
    }

    /// The key of the package that it is, where it is called by a purl.
    pub(super) fn package(&self) -> Option<String> {
        Purl::parse(&self.purl).map(|purl| purl.package_key().to_owned())
    }

    /// Every digest by which it is found, with what the document calls it there.
    pub(super) fn digests(&self) -> impl Iterator<Item = (Digest, String)> {
        let own = self.digest.clone().map(|digest| (digest, self.reference()));
        own.into_iter().chain(self.image.others(self.digest.as_ref()))
    }

    /// What the document calls the thing. For an image that is its purl where that names a registry, else its name as a
    /// repository and its version as a tag or digest; empty where that is no usable reference.
    pub(super) fn reference(&self) -> String {
        let by_purl = Purl::parse(&self.purl).and_then(|purl| ArtifactRef::parse(purl.as_str()));
        if self.artifact_kind() != ArtifactKind::ContainerImage {
            // A bare name would make one line of all things that anybody calls so.
            let by_name = || self.named().filter(|named| !named.tag.is_empty()).map(|named| named.to_string());
            return if by_purl.is_some() { self.purl.clone() } else { by_name().unwrap_or_default() };
        }
        let (placed, unplaced): (Option<_>, Option<_>) = match by_purl {
            Some(named) if named.repository.contains('/') => (Some(named), None),
            other => (None, other),
        };
        let digest = self.digest.clone().filter(|_| self.version.is_empty());
        // A purl without registry may still know the tag.
        let tag = unplaced.as_ref().map(|named| named.tag.clone()).unwrap_or_default();
        let by_name = self.named().map(|named| ArtifactRef {
            tag: if named.tag.is_empty() { tag } else { named.tag },
            digest: named.digest.or(digest),
            repository: named.repository,
        });
        placed.or(by_name).or(unplaced).map(|named| named.to_string()).unwrap_or_default()
    }

    /// The name with the version as its tag, where both can stand in a reference; the name alone where it has a tag or
    /// digest already, or where the version cannot be a tag.
    fn named(&self) -> Option<ArtifactRef> {
        let name = ArtifactRef::parse(&self.name).filter(|_| !self.name.contains("://"))?;
        if !name.tag.is_empty() || name.digest.is_some() {
            return Some(name);
        }
        let tag = self.version.as_str();
        let usable = !tag.is_empty() && !tag.contains(['/', ':', '@']) && !tag.chars().any(char::is_whitespace);
        Some(ArtifactRef { tag: if usable { tag.to_owned() } else { String::new() }, ..name })
    }

    /// Which of its digests are one: hashes of the same content, and an image's configuration beside what registries
    /// call it.
    pub(super) fn identity_facts(&self) -> Vec<Fact> {
        let mut aliases = Aliases::default();
        aliases.note(self.hashes.iter().cloned());
        let mut facts: Vec<Fact> = aliases.into_facts().collect();
        facts.extend(self.image.facts(self.digest.as_ref()));
        facts
    }

    /// What part of an artifact it is, as SBOMs of one tool replace only those of the same root (SPEC §5); empty for an
    /// image and for what the artifact's digest names.
    pub(super) fn part(&self, artifact: Option<&str>) -> String {
        let is_whole = artifact.is_none_or(|artifact| self.own_digests().any(|digest| digest.as_str() == artifact));
        match (is_whole || self.artifact_kind() == ArtifactKind::ContainerImage, self.purl.is_empty()) {
            (true, _) => String::new(),
            (false, true) => self.name.clone(),
            (false, false) => self.purl.clone(),
        }
    }

    /// Whether it is a package that may be in an artifact, and not that artifact itself: a purl names it, none of its
    /// digests is the artifact's, and it is of no kind that is deployed as a whole.
    pub(super) fn may_be_in(&self, artifact: &Digest) -> bool {
        const WHOLE: [&str; 5] = ["container", "device", "file", "firmware", "operating-system"];
        let is_whole = WHOLE.contains(&self.kind.as_str()) || self.artifact_kind() == ArtifactKind::ContainerImage;
        let is_package = Purl::parse(&self.purl).is_some() && !is_whole;
        is_package && !self.digests().any(|(digest, _)| digest == *artifact) && !self.hashes.contains(artifact)
    }

    fn own_digests(&self) -> impl Iterator<Item = &Digest> {
        self.digest.iter().chain(&self.hashes)
    }

    /// What it is, as far as its type, its image's id or its purl tells.
    pub(super) fn artifact_kind(&self) -> ArtifactKind {
        match self.kind.as_str() {
            "container" => ArtifactKind::ContainerImage,
            "firmware" => ArtifactKind::Firmware,
            "data" => ArtifactKind::Dataset,
            "machine-learning-model" => ArtifactKind::Model,
            "library" | "framework" => ArtifactKind::Package,
            _ if self.image.id.is_some() => ArtifactKind::ContainerImage,
            _ if Purl::parse(&self.purl).is_some_and(|purl| purl.is_image()) => ArtifactKind::ContainerImage,
            _ => ArtifactKind::Generic,
        }
    }
}

impl TrivyImage {
    fn of(component: &Component<'_>) -> TrivyImage {
        let named = component.properties("aquasecurity:trivy:RepoDigest").filter_map(ArtifactRef::parse);
        let named = named.filter_map(|name| name.digest.clone().map(|digest| (name, digest)));
        let ids = component.properties("aquasecurity:trivy:ImageID").filter_map(|id| id.parse::<Digest>().ok());
        let tags = component.properties("aquasecurity:trivy:RepoTag").take(REPO_TAGS_MAX);
        let layers = component.properties("aquasecurity:trivy:DiffID").filter_map(|id| id.parse::<Digest>().ok());
        TrivyImage {
            id: facts::canonical_of(ids),
            diff_ids: layers.take(ITEMS_MAX).map(|digest| digest.to_string()).collect(),
            tags: tags.filter_map(ArtifactRef::parse).collect(),
            repo_digests: named.take(REPO_DIGESTS_MAX).collect(),
        }
    }

    /// The digests of registries beside the one that is the subject, each with its reference, and that of the
    /// configuration: what was pulled may be an index. None where the subject is none of them.
    pub(super) fn others(&self, subject: Option<&Digest>) -> Vec<(Digest, String)> {
        let of_image =
            subject == self.id.as_ref() || self.repo_digests.iter().any(|(_, digest)| Some(digest) == subject);
        let mut others: Vec<(Digest, String)> = Vec::new();
        for (name, digest) in self.repo_digests.iter().filter(|(_, digest)| of_image && Some(digest) != subject) {
            if !others.iter().any(|(known, _)| known == digest) {
                others.push((digest.clone(), name.to_string()));
            }
        }
        others
            .extend(self.id.iter().filter(|id| of_image && Some(*id) != subject).map(|id| (id.clone(), String::new())));
        others
    }

    /// The configuration with its layers, and beside it what registries call the image.
    fn facts(&self, named: Option<&Digest>) -> Vec<Fact> {
        let Some(id) = &self.id else { return vec![] };
        let config = ImageObserved {
            digest: id.to_string(),
            digest_kind: DigestKind::Config.into(),
            diff_ids: self.diff_ids.clone(),
            ..ImageObserved::default()
        };
        let pulled = self.repo_digests.iter();
        let pulled = pulled.map(|(name, digest)| (name.to_string(), tags_of(name, &self.tags), digest));
        let known = |digest: &Digest| digest == id || self.repo_digests.iter().any(|(_, pulled)| pulled == digest);
        let named = named.filter(|digest| !known(digest)).map(|digest| (String::new(), vec![], digest));
        let beside = pulled.chain(named).map(|(artifact_ref, tags, digest)| ImageObserved {
            digest: digest.to_string(),
            artifact_ref,
            tags,
            config_digest: id.to_string(),
            ..ImageObserved::default()
        });
        std::iter::once(config).chain(beside).map(Fact::now).collect()
    }
}
