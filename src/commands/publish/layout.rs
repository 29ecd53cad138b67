//! An OCI image layout (image-spec 1.1, `image-layout.md`): which of its files say something, and in which order.
//!
//! What a blob is, only those say that lead to it from `index.json`. File systems are not opened, and no blob is sent
//! that is not what its name says.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pedigraph_processor::{Limits, decode};
use pedigraph_proto::{Digest, image};
use serde::Deserialize;

use crate::files::read_small;
use crate::output::{Exit, Failure};

/// Largest marker file that is read, bytes: one has some thirty.
const MARKER_BYTES_MAX: usize = 4 << 10;
/// How many indexes may lie in each other below `index.json`: lineage follows no more (SPEC §3.1).
const LEVELS_MAX: usize = 4;
/// Bytes that are hashed at once.
const PIECE_BYTES: usize = 64 << 10;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const INDEXES: [&str; 2] = [INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What is to be sent of a layout.
#[derive(Default)]
pub(super) struct Layout {
    /// `index.json` first, then what it leads to.
    pub(super) documents: Vec<Document>,
    /// Blobs that cannot be what their names say, each with what is wrong.
    pub(super) unfit: Vec<(PathBuf, String)>,
    /// What was left alone, for people; empty for nothing.
    pub(super) left: String,
}

/// A file that says something, and what those say of it that lead to it.
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) media_type: &'static str,
    /// What it is about, or its own digest where that is not a SHA-256.
    pub(super) subject: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

#[derive(Deserialize, Default)]
struct Index {
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    artifact_type: Option<String>,
    subject: Option<Descriptor>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Descriptor {
    media_type: String,
    digest: String,
    annotations: Option<Annotations>,
}

/// How BuildKit says which of the manifests beside it an attestation is about.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "vnd.docker.reference.digest")]
    about: Option<String>,
}

/// Whether a directory is a layout by its marker file.
pub(super) fn is_layout(dir: &Path) -> anyhow::Result<bool> {
    let marker = dir.join("oci-layout");
    if !marker.is_file() {
        return Ok(false);
    }
    let bytes = read_small(&marker, MARKER_BYTES_MAX).unwrap_or_default();
    match serde_json::from_slice::<Marker>(&bytes) {
        Ok(Marker { image_layout_version: version }) if version.split('.').next() == Some("1") => Ok(true),
        Ok(Marker { image_layout_version: version }) => {
            let text = format!("{} is an OCI image layout of version {version}: only 1 can be read", dir.display());
            Err(Failure::error(Exit::Usage, text))
        }
        Err(_) => Ok(false),
    }
}

/// Whether what lies in the directory of a layout is a part of it: its own files, what containerd left of a download,
/// and what `docker save` writes for those who know no layouts.
pub(super) fn is_part(path: &Path) -> bool {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("oci-layout" | "index.json" | "blobs") => true,
        Some("ingest") => path.is_dir(),
        Some("repositories") => path.is_file(),
        Some("manifest.json") => {
            let mut first = [0];
            File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"["
        }
        Some(_) | None => false,
    }
}

impl Layout {
    /// Reads the layout in a directory, as far as it must be read to know what to send.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Layout> {
        let path = dir.join("index.json");
        if !path.exists() {
            let text =
                format!("{} is an OCI image layout without index.json: nothing says what is in it", dir.display());
            return Err(Failure::error(Exit::NotFound, text));
        }
        let mut walk = Walk::new(dir);
        let bytes = read_small(&path, walk.parsed_bytes_max)?;
        let index: Index = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no index of an OCI image layout", path.display()))?;
        walk.layout.documents.push(Document { path, media_type: INDEX, subject: None });
        walk.queue(index, 0)?;
        while let Some((entry, level)) = walk.open.pop_front() {
            walk.follow(&entry, level)?;
        }
        walk.finish()
    }
}

/// On the way from `index.json` to everything that it leads to.
struct Walk<'d> {
    dir: &'d Path,
    /// What is read to follow it, bytes.
    parsed_bytes_max: usize,
    limits: Limits,
    open: VecDeque<(Descriptor, usize)>,
    seen: BTreeSet<Digest>,
    layout: Layout,
    layers: usize,
    others: usize,
    absent: usize,
    deep: usize,
}

impl<'d> Walk<'d> {
    fn new(dir: &'d Path) -> Walk<'d> {
        let limits = Limits::default();
        Walk {
            dir,
            parsed_bytes_max: usize::try_from(limits.event_bytes_max).unwrap_or(usize::MAX),
            limits,
            open: VecDeque::new(),
            seen: BTreeSet::new(),
            layout: Layout::default(),
            layers: 0,
            others: 0,
            absent: 0,
            deep: 0,
        }
    }

    /// What an index lists is looked at when its turn comes.
    fn queue(&mut self, index: Index, level: usize) -> anyhow::Result<()> {
        let entries = index.manifests.unwrap_or_default();
        if self.open.len() + entries.len() > self.limits.statements_max {
            return Err(self.too_many(self.limits.statements_max, "blobs"));
        }
        self.open.extend(entries.into_iter().map(|entry| (entry, level)));
        Ok(())
    }

    fn follow(&mut self, entry: &Descriptor, level: usize) -> anyhow::Result<()> {
        let index = one_of(&INDEXES, &entry.media_type);
        let Some(media_type) = index.or_else(|| one_of(&MANIFESTS, &entry.media_type)) else {
            self.others += usize::from(self.is_new(&entry.digest)?.is_some());
            return Ok(());
        };
        let Some(digest) = self.is_new(&entry.digest)? else { return Ok(()) };
        let path = self.path(&digest);
        if level == 0 && !path.exists() {
            // Of what an index lists, tools keep the platforms that they need. The image itself is there.
            self.layout.unfit.push((path, "index.json names it, and it is not there".to_owned()));
            return Ok(());
        }
        if index.is_some() && level >= LEVELS_MAX {
            self.deep += 1;
            return Ok(());
        }
        let Some(bytes) = self.take(&digest, media_type, None)? else { return Ok(()) };
        if index.is_some() {
            // One that cannot be read is sent all the same: the server says what is wrong with it, and keeps it.
            self.queue(serde_json::from_slice(&bytes).unwrap_or_default(), level + 1)?;
        } else if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            self.inside(entry, &manifest)?;
        }
        Ok(())
    }

    /// What a manifest leads to. That of an image has a configuration that says something and file systems; what is
    /// kept beside images has documents as its layers.
    fn inside(&mut self, entry: &Descriptor, manifest: &Manifest) -> anyhow::Result<()> {
        let about = entry.annotations.as_ref().and_then(|annotations| annotations.about.as_deref());
        let layers = manifest.layers.as_deref().unwrap_or_default();
        let all_evidence = !layers.is_empty() && layers.iter().all(|layer| image::is_evidence_type(&layer.media_type));
        let has_own_type = manifest.artifact_type.as_ref().is_some_and(|kind| !kind.is_empty());
        let subject = about.or_else(|| manifest.subject.as_ref().map(|subject| subject.digest.as_str()));
        let subject = subject.and_then(|subject| subject.parse::<Digest>().ok());
        if let Some(config) = &manifest.config
            && let Some(digest) = self.is_new(&config.digest)?
        {
            let media_type = one_of(&CONFIGS, &config.media_type);
            if let Some(kind) = media_type.filter(|_| about.is_none() && !has_own_type && !all_evidence) {
                self.take(&digest, kind, None)?;
            }
        }
        for layer in layers {
            let Some(digest) = self.is_new(&layer.digest)? else { continue };
            match document_type(&layer.media_type) {
                Some(kind) => drop(self.take(&digest, kind, subject.as_ref())?),
                None if digest.is_of_empty_content() => {}
                None if layer.media_type.contains("tar") => self.layers += 1,
                None => self.others += 1,
            }
        }
        Ok(())
    }

    /// The digest of a blob that nothing led to before.
    fn is_new(&mut self, digest: &str) -> anyhow::Result<Option<Digest>> {
        let digest = digest.parse::<Digest>().ok().filter(|digest| self.seen.insert(digest.clone()));
        if self.seen.len() > self.limits.statements_max {
            return Err(self.too_many(self.limits.statements_max, "blobs"));
        }
        Ok(digest)
    }

    /// Has a blob sent if it is what it is called; its bytes come back as far as they would be read to follow it.
    fn take(
        &mut self,
        digest: &Digest,
        media_type: &'static str,
        subject: Option<&Digest>,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path(digest);
        if !path.exists() {
            self.absent += 1;
            return Ok(None);
        }
        let is_followed = one_of(&INDEXES, media_type).or_else(|| one_of(&MANIFESTS, media_type)).is_some();
        let checked = match is_followed {
            true => read_small(&path, self.parsed_bytes_max).and_then(|bytes| {
                check(digest, bytes.as_slice(), self.limits.event_bytes_max)?;
                Ok(bytes)
            }),
            false => File::open(&path)
                .map_err(anyhow::Error::from)
                .and_then(|file| check(digest, file, self.limits.document_bytes_max))
                .map(|()| vec![]),
        };
        let bytes = match checked {
            Ok(bytes) => bytes,
            Err(error) => {
                self.layout.unfit.push((path, format!("{error:#}")));
                return Ok(None);
            }
        };
        if self.layout.documents.len() >= self.limits.batch_elements_max {
            return Err(self.too_many(self.limits.batch_elements_max, "documents"));
        }
        // Others know it by its SHA-256, which the server makes itself.
        let own = (digest.algorithm() != "sha256").then_some(digest);
        let subject = subject.or(own).cloned();
        self.layout.documents.push(Document { path, media_type, subject });
        Ok(Some(bytes))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    fn too_many(&self, most: usize, what: &str) -> anyhow::Error {
        let text = format!("{} has more than {most} {what}: publish parts of it", self.dir.display());
        Failure::error(Exit::Usage, text)
    }

    fn finish(mut self) -> anyhow::Result<Layout> {
        // What could not be read may well name them.
        let has_all = self.layout.unfit.is_empty() && self.absent + self.deep == 0;
        let unnamed = if has_all { self.unnamed()? } else { 0 };
        let parts = [
            (self.layers, "layer", "layers", ", since file systems are not read"),
            (self.others, "blob", "blobs", " of types that are not read"),
            (self.absent, "blob", "blobs", " that it names but does not have"),
            (self.deep, "index", "indexes", " below more than 4 others"),
            (unnamed, "blob", "blobs", " that nothing in it names"),
        ];
        let left = parts.into_iter().filter(|(count, ..)| *count > 0);
        let left: Vec<_> = left
            .map(|(count, one, many, why)| format!("{count} {}{why}", if count == 1 { one } else { many }))
            .collect();
        if !left.is_empty() {
            self.layout.left = format!("{}: not sent: {}", self.dir.display(), left.join("; "));
        }
        Ok(self.layout)
    }

    /// How many blobs lie there that nothing leads to.
    fn unnamed(&self) -> anyhow::Result<usize> {
        let blobs = self.dir.join("blobs");
        let mut unnamed = 0;
        for algorithm in list(&blobs)?.into_iter().filter(|path| path.is_dir()) {
            let name = file_name(&algorithm);
            let is_named = |path: &PathBuf| {
                Digest::from_parts(&name, &file_name(path)).is_ok_and(|digest| self.seen.contains(&digest))
            };
            unnamed += list(&algorithm)?.iter().filter(|path| !is_named(path)).count();
        }
        Ok(unnamed)
    }
}

/// What lies in a directory, if it is there.
fn list(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(vec![]);
    }
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The type of these that a media type is.
fn one_of(types: &[&'static str], media_type: &str) -> Option<&'static str> {
    types.iter().copied().find(|known| known.eq_ignore_ascii_case(media_type))
}

/// The type as which a layer is sent that is a document.
fn document_type(media_type: &str) -> Option<&'static str> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_bundle = essence.starts_with("application/vnd.dev.sigstore.bundle.") && essence.ends_with("+json");
    // Bundles are told by what is in them: their type has a version.
    decode::known_media_type(essence).or(is_bundle.then_some("application/json"))
}

/// Whether bytes have a digest.
fn check(digest: &Digest, bytes: impl Read, most: u64) -> anyhow::Result<()> {
    let found = match digest.algorithm() {
        "sha256" => hash::<sha2::Sha256>(bytes, most)?,
        "sha512" => hash::<sha2::Sha512>(bytes, most)?,
        other => anyhow::bail!("its digest cannot be checked: {other} is none of sha256 and sha512"),
    };
    let found = Digest::from_parts(digest.algorithm(), &found)?;
    match found == *digest {
        true => Ok(()),
        false => anyhow::bail!("it is damaged or cut off: its bytes are {found}"),
    }
}

fn hash<H: sha2::Digest>(bytes: impl Read, most: u64) -> anyhow::Result<String> {
    let (mut hash, mut rest, mut piece) = (H::new(), bytes.take(most.saturating_add(1)), vec![0; PIECE_BYTES]);
    let mut size = 0;
    loop {
        match rest.read(&mut piece) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => {
                let read = read?;
                size += read as u64;
                hash.update(&piece[..read]);
            }
        }
    }
    if size > most {
        anyhow::bail!("it has more than {most} bytes");
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A layout that is being written.
    struct Written(tempfile::TempDir);

    impl Written {
        fn new() -> Written {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
            std::fs::create_dir_all(dir.path().join("blobs/sha512")).unwrap();
            std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
            Written(dir)
        }

        fn blob<H: sha2::Digest>(&self, algorithm: &str, media_type: &str, content: &[u8]) -> Value {
            let hex = hash::<H>(content, u64::MAX).unwrap();
            std::fs::write(self.0.path().join("blobs").join(algorithm).join(&hex), content).unwrap();
            json!({ "mediaType": media_type, "digest": format!("{algorithm}:{hex}"), "size": content.len() })
        }

        fn put(&self, media_type: &str, content: &Value) -> Value {
            self.blob::<sha2::Sha256>("sha256", media_type, content.to_string().as_bytes())
        }

        fn image(&self, name: &str) -> Value {
            let config = self.put(CONFIGS[0], &json!({ "os": name, "rootfs": { "diff_ids": [] } }));
            let layer =
                json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": sha256_of(name) });
            self.put(MANIFESTS[0], &json!({ "schemaVersion": 2, "config": config, "layers": [layer] }))
        }

        /// What is sent of it: media types and subjects.
        fn read(&self, manifests: &[Value]) -> Layout {
            let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
            std::fs::write(self.0.path().join("index.json"), index).unwrap();
            assert!(is_layout(self.0.path()).unwrap());
            let layout = Layout::read(self.0.path()).unwrap();
            assert_eq!(layout.documents[0].path, self.0.path().join("index.json"), "names come first");
            layout
        }
    }

    fn sha256_of(name: &str) -> String {
        format!("sha256:{}", hash::<sha2::Sha256>(name.as_bytes(), u64::MAX).unwrap())
    }

    fn types(layout: &Layout) -> Vec<&str> {
        layout.documents[1..].iter().map(|document| document.media_type).collect()
    }

    #[test]
    fn documents_are_sent_and_file_systems_are_not() {
        let written = Written::new();
        let image = written.image("a");
        let layout = written.read(std::slice::from_ref(&image));
        assert_eq!(types(&layout), [MANIFESTS[0], CONFIGS[0]]);
        assert!(layout.left.ends_with("not sent: 1 layer, since file systems are not read"), "{}", layout.left);
        let index = written.put(INDEX, &json!({ "manifests": [image, written.image("b")] }));
        let layout = written.read(&[index.clone(), index]);
        assert_eq!(types(&layout), [INDEX, MANIFESTS[0], CONFIGS[0], MANIFESTS[0], CONFIGS[0]], "each once");
        let sha512 = written.blob::<sha2::Sha512>("sha512", MANIFESTS[0], br#"{"schemaVersion":2}"#);
        let layout = written.read(std::slice::from_ref(&sha512));
        assert_eq!(layout.documents[1].subject.as_ref().map(Digest::as_str), sha512["digest"].as_str());
    }

    #[test]
    fn an_attestation_is_sent_with_what_it_is_about_and_without_its_configuration() {
        let written = Written::new();
        let image = written.image("a");
        let statement = written.put("application/vnd.in-toto+json", &json!({ "predicateType": "p" }));
        let config = written.put(CONFIGS[0], &json!({ "os": "unknown", "rootfs": { "diff_ids": [] } }));
        let attestation = json!({ "schemaVersion": 2, "config": config, "layers": [statement] });
        let mut beside = written.put(MANIFESTS[0], &attestation);
        beside["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"] });
        let layout = written.read(&[image.clone(), beside]);
        assert_eq!(types(&layout), [MANIFESTS[0], CONFIGS[0], MANIFESTS[0], "application/vnd.in-toto+json"]);
        let about = layout.documents.last().unwrap().subject.clone().unwrap();
        assert_eq!(about.as_str(), image["digest"].as_str().unwrap());
        // As a referrer in the words of OCI 1.1, with the empty configuration.
        let empty = written.put("application/vnd.oci.empty.v1+json", &json!({}));
        let sbom = written.put("application/spdx+json", &json!({ "spdxVersion": "SPDX-2.3" }));
        let kept =
            json!({ "artifactType": "application/spdx+json", "config": empty, "layers": [sbom], "subject": image });
        let layout = written.read(&[written.put(MANIFESTS[0], &kept)]);
        assert_eq!(types(&layout), [MANIFESTS[0], "application/spdx+json"]);
        assert_eq!(layout.documents[2].subject.as_ref().map(Digest::as_str), image["digest"].as_str());
    }

    #[test]
    fn a_blob_that_is_not_what_its_name_says_is_not_sent() {
        let written = Written::new();
        let (good, bad) = (written.image("a"), written.image("b"));
        let path = |entry: &Value| {
            let digest: Digest = entry["digest"].as_str().unwrap().parse().unwrap();
            written.0.path().join("blobs/sha256").join(digest.hex())
        };
        std::fs::write(path(&bad), "{").unwrap();
        let layout = written.read(&[bad.clone(), good]);
        assert_eq!(types(&layout), [MANIFESTS[0], CONFIGS[0]]);
        let [(file, why)] = layout.unfit.as_slice() else { panic!("{:?}", layout.unfit) };
        assert_eq!(*file, path(&bad));
        assert!(why.contains(&sha256_of("{")), "{why}");
        assert!(!layout.left.contains("nothing in it names"), "the bad one may name it: {}", layout.left);
        std::fs::remove_file(path(&bad)).unwrap();
        let layout = written.read(std::slice::from_ref(&bad));
        assert_eq!(layout.unfit, [(path(&bad), "index.json names it, and it is not there".to_owned())]);
        let index = written.put(INDEX, &json!({ "manifests": [bad, written.image("c")] }));
        let layout = written.read(&[index]);
        assert_eq!((types(&layout), layout.unfit.len()), (vec![INDEX, MANIFESTS[0], CONFIGS[0]], 0));
        assert!(layout.left.contains("1 blob that it names but does not have"), "{}", layout.left);
    }

    #[test]
    fn indexes_in_indexes_end() {
        let written = Written::new();
        let mut inner = written.image("a");
        for _ in 0..LEVELS_MAX {
            inner = written.put(INDEX, &json!({ "manifests": [inner] }));
        }
        assert_eq!(types(&written.read(std::slice::from_ref(&inner))).len(), LEVELS_MAX + 2);
        let layout = written.read(&[written.put(INDEX, &json!({ "manifests": [inner] }))]);
        assert_eq!(types(&layout).len(), LEVELS_MAX);
        assert!(layout.left.contains("1 index below more than 4 others"), "{}", layout.left);
    }

    #[test]
    fn a_layout_is_told_by_its_marker() {
        let written = Written::new();
        let marked = |text: &str| {
            std::fs::write(written.0.path().join("oci-layout"), text).unwrap();
            is_layout(written.0.path())
        };
        assert!(!marked("{}").unwrap() && !marked("nothing").unwrap());
        assert!(marked(r#"{"imageLayoutVersion":"1.1.0"}"#).unwrap());
        assert!(marked(r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap_err().to_string().contains("version 2.0.0"));
        let error = Layout::read(written.0.path()).err().unwrap();
        assert!(error.to_string().ends_with("without index.json: nothing says what is in it"), "{error}");
        assert_eq!(Exit::of(&error), Exit::NotFound);
    }

    #[test]
    fn what_a_dishonest_digest_names_is_not_read() {
        let written = Written::new();
        let odd = json!({ "mediaType": MANIFESTS[0], "digest": format!("..:{}", "a".repeat(64)) });
        std::fs::write(written.0.path().join("a".repeat(64)), "{}").unwrap();
        let layout = written.read(&[odd]);
        assert_eq!(layout.documents.len(), 1);
        assert!(layout.unfit[0].1.contains("cannot be checked"), "{}", layout.unfit[0].1);
    }
}
