//! Identifiers that cannot be wrong: parsed once at the edge, private inside (SPEC §2.3).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use packageurl::PackageUrl;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::spelling::{self, package_url};
use crate::vers::Range;

/// Longest vulnerability id that is indexed, bytes.
pub const VULNERABILITY_BYTES_MAX: usize = 256;
/// Longest purl that is parsed, bytes; a longer one is kept as text.
pub const PURL_BYTES_MAX: usize = 4_096;

/// `alg:hex` in lower case. Known algorithms must have the right length; others are taken as they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest(Box<str>);

/// Why a digest is refused; says what to change.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a digest: write alg:hex, such as sha256: and 64 hex digits")]
pub struct DigestError(String);

impl Digest {
    /// A SHA-256 digest from its raw bytes.
    pub fn sha256(bytes: [u8; 32]) -> Digest {
        Digest(format!("sha256:{}", hex::encode(bytes)).into())
    }

    /// Normalizes `SHA-256`, `SHA256`, `sha-256` and upper-case hex; a pair as in an in-toto digest map.
    pub fn from_parts(alg: &str, hex: &str) -> Result<Digest, DigestError> {
        let refused = || DigestError(format!("{}:{}", clip(alg), clip(hex)));
        // One allocation: digests are read several times for each event.
        let mut text = String::with_capacity(alg.len().saturating_add(1).saturating_add(hex.len()));
        text.push_str(alg);
        text.make_ascii_lowercase();
        let usual = match text.as_str() {
            "sha-256" => Some("sha256"),
            "sha-512" => Some("sha512"),
            "sha-384" => Some("sha384"),
            "sha-1" => Some("sha1"),
            "gitcommit" => Some("gitCommit"),
            _ => None,
        };
        if let Some(usual) = usual {
            usual.clone_into(&mut text);
        }
        let length_known = match text.as_str() {
            "sha256" | "blake3" => Some(64),
            "sha512" => Some(128),
            "sha384" => Some(96),
            "sha1" => Some(40),
            "md5" => Some(32),
            _ => None,
        };
        let alg_ok = !text.is_empty()
            && text.len() <= 32
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b));
        let hex_ok = (32..=256).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !alg_ok || !hex_ok || length_known.is_some_and(|length| length != hex.len()) {
            return Err(refused());
        }
        text.push(':');
        let start = text.len();
        text.push_str(hex);
        text[start..].make_ascii_lowercase();
        Ok(Digest(text.into()))
    }

    /// `alg:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm, such as `sha256`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(alg, _)| alg)
    }

    /// The hex digits.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The raw bytes of the hex part.
    pub fn to_bytes(&self) -> Vec<u8> {
        hex::decode(self.hex()).unwrap_or_default()
    }

    /// Whether it is the digest of nothing: of no bytes, in any algorithm, of git's empty blob or tree, or of the `{}`
    /// that OCI artifacts have for want of a configuration. Things that share it have nothing in common (SPEC §2.3):
    /// such a digest is never a subject, alias, product or material that joins two things.
    pub fn is_of_empty_content(&self) -> bool {
        is_hex_of_empty_content(self.hex())
    }

    /// Whether it is strong enough to say that two things are the same: those of broken algorithms can be forged.
    pub fn is_strong(&self) -> bool {
        matches!(self.algorithm(), "sha256" | "sha384" | "sha512" | "blake3")
    }
}

/// [`Digest::is_of_empty_content`] by the hex digits alone.
pub fn is_hex_of_empty_content(hex: &str) -> bool {
    EMPTY_CONTENT.contains(&hex)
}

/// Hex digits of the digests of empty content, whatever the algorithm is called.
const EMPTY_CONTENT: [&str; 17] = [
    // No bytes: SHA-256, SHA-512, SHA-384, SHA-224, SHA-1, MD5, BLAKE3, SHA3-256, SHA3-512, BLAKE2b, BLAKE2s.
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    concat!(
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce",
        "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
    ),
    "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
    "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "d41d8cd98f00b204e9800998ecf8427e",
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
    concat!(
        "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a6",
        "15b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26"
    ),
    concat!(
        "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419",
        "d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce"
    ),
    "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9",
    // Git's empty blob and tree, named by SHA-1 and by SHA-256.
    "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
    "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
    // `{}`: SHA-256 and SHA-512.
    "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    concat!(
        "27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9",
        "a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd"
    ),
];

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (alg, hex) = text.trim().split_once(':').ok_or_else(|| DigestError(clip(text)))?;
        Digest::from_parts(alg, hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A tenant: `[a-z0-9-]{1,63}`. It comes from a credential or a source's configuration, never from a payload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantId(std::sync::Arc<str>);

impl TenantId {
    /// `None` unless `[a-z0-9-]{1,63}`.
    pub fn new(name: &str) -> Option<TenantId> {
        let length_ok = (1..=63).contains(&name.len());
        let chars_ok = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (length_ok && chars_ok).then(|| TenantId(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    /// `default`: the tenant where none is configured.
    fn default() -> Self {
        TenantId("default".into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// First 16 bytes of SHA-256 over (tenant, source, id, SHA-256 of received bytes), each preceded by its length as 8
/// bytes big-endian; shown as a UUID (SPEC §2.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventId([u8; 16]);

impl EventId {
    /// The id of an event whose received bytes hash to `bytes_sha256`.
    pub fn of(tenant: &TenantId, source: &str, id: &str, bytes_sha256: &[u8; 32]) -> EventId {
        let mut hasher = Sha256::new();
        for part in [tenant.as_str().as_bytes(), source.as_bytes(), id.as_bytes(), bytes_sha256] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let full: [u8; 32] = hasher.finalize().into();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        EventId(short)
    }

    /// From the 16 bytes of a leaf; `None` for another length.
    pub fn from_slice(bytes: &[u8]) -> Option<EventId> {
        Some(EventId(bytes.try_into().ok()?))
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0))
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A package URL in canonical form, taken apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Purl {
    canonical: Box<str>,
    package: Box<str>,
    /// What the package is compared by, where that is another text.
    package_key: Option<Box<str>>,
    version: Box<str>,
}

impl Purl {
    /// Parses and canonicalizes; `None` for what is not a purl or longer than [`PURL_BYTES_MAX`].
    pub fn parse(text: &str) -> Option<Purl> {
        Purl::parse_whole(text).map(|(purl, _)| purl)
    }

    /// The canonical form alone, of what [`Purl::parse`] accepts and in half its time.
    pub fn canonical(text: &str) -> Option<String> {
        Purl::read(text).map(|parsed| written(&parsed))
    }

    fn read(text: &str) -> Option<PackageUrl<'static>> {
        if text.len() > PURL_BYTES_MAX || !text.get(..4)?.eq_ignore_ascii_case("pkg:") {
            return None;
        }
        PackageUrl::from_str(text).ok().or_else(|| oci_with_namespace(text)).or_else(|| julia_without_uuid(text))
    }

    /// The purl, and what it was made of: qualifiers need no second parse.
    fn parse_whole(text: &str) -> Option<(Purl, PackageUrl<'_>)> {
        let parsed = Purl::read(text)?;
        let namespace = parsed.namespace().unwrap_or_default();
        let text = package_url(parsed.ty(), namespace, parsed.name(), parsed.subpath())?.to_string();
        let canonical = written(&parsed).into();
        let package_key = spelling::package(&parsed).filter(|key| *key != text).map(String::into_boxed_str);
        let version = parsed.version().unwrap_or_default().into();
        Some((Purl { canonical, package: text.into(), package_key, version }, parsed))
    }

    /// The canonical form, whole.
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The canonical form without version and qualifiers: type, namespace, name, subpath. It is what people see; packages
    /// are compared by [`Purl::package_key`].
    pub fn package(&self) -> &str {
        &self.package
    }

    /// What packages are compared and found by: [`Purl::package`] in the one spelling that stands for all of a name
    /// (docs/decisions/021).
    pub fn package_key(&self) -> &str {
        self.package_key.as_deref().unwrap_or(&self.package)
    }

    /// What versions of one package are compared and found by where one is named: the version in the one spelling that
    /// stands for all of it (docs/decisions/021).
    pub fn version_key(&self) -> &str {
        spelling::version(self.kind(), &self.version)
    }

    /// As [`Purl::version_key`] of a version of a package of this one's type.
    pub fn version_key_of<'v>(&self, version: &'v str) -> &'v str {
        spelling::version(self.kind(), version)
    }

    /// Whether there may be other spellings of its package.
    pub fn has_spellings(&self) -> bool {
        spelling::has_spellings(self.kind())
    }

    /// The version as the order of its type reads it: with the epoch that a qualifier of a deb or rpm has.
    pub fn ordered_version(&self) -> Cow<'_, str> {
        spelling::with_epoch(self.kind(), &self.version, || self.qualifier("epoch"))
    }

    /// The version, percent-decoded; empty when there is none.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The type, such as `npm`.
    pub fn kind(&self) -> &str {
        self.package.strip_prefix("pkg:").and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }

    /// A qualifier's value, percent-decoded.
    pub fn qualifier(&self, key: &str) -> Option<String> {
        // Most have none, and this is asked of each component of an SBOM.
        self.canonical.contains('?').then_some(())?;
        let parsed = PackageUrl::from_str(&self.canonical).ok()?;
        qualifier(&parsed, key)
    }

    /// Whether it names a version of its package, as [`Purl::ordered_version`] gives it: its own one, else one in the
    /// range that its qualifier `vers` has, which the purl specification has for that, else any. `None` where that
    /// cannot be told.
    pub fn names_version(&self, version: &str) -> Option<bool> {
        if !self.version.is_empty() {
            return Some(self.version_key() == self.version_key_of(version));
        }
        if !self.canonical.contains("vers=") {
            return Some(true);
        }
        let Some(range) = self.qualifier("vers") else { return Some(true) };
        Range::parse(&range, self.kind()).ok()?.tells(version)
    }

    /// The same package with a version; `None` where it has one, or a range, or would be too long.
    pub fn with_version(&self, version: &str) -> Option<Purl> {
        let mut purl = self.of_any_version()?;
        purl.with_version(version.to_owned()).ok()?;
        Purl::parse(&purl.to_string()).filter(|purl| *purl.version == *version)
    }

    /// The same package with a `vers:` range as its qualifier `vers`; `None` where it has a version or a range, where
    /// versions of its type cannot be compared by the range, and where it would be too long.
    pub fn with_range(&self, range: &str) -> Option<Purl> {
        Range::parse(range, self.kind()).ok()?;
        self.of_any_version()?;
        self.with_qualifier("vers", range).filter(|purl| purl.qualifier("vers").as_deref() == Some(range))
    }

    /// The same with a qualifier, unless it has it; `None` where it would be too long.
    pub fn with_qualifier(&self, key: &str, value: &str) -> Option<Purl> {
        if self.qualifier(key).is_some() {
            return Some(self.clone());
        }
        let mut purl = PackageUrl::from_str(&self.canonical).ok()?;
        purl.add_qualifier(key.to_owned(), value.to_owned()).ok()?;
        Purl::parse(&purl.to_string())
    }

    /// Taken apart, where it names neither a version nor a range.
    fn of_any_version(&self) -> Option<PackageUrl<'_>> {
        (self.version.is_empty() && self.qualifier("vers").is_none()).then_some(())?;
        PackageUrl::from_str(&self.canonical).ok()
    }

    /// The digest that a `pkg:oci` or `pkg:docker` purl names as its version, unless it is that of empty content.
    pub fn digest(&self) -> Option<Digest> {
        let digest: Digest = self.version.parse().ok().filter(|_| self.is_image())?;
        Some(digest).filter(|digest| !digest.is_of_empty_content())
    }

    /// The digest of the very thing that it names: [`Purl::digest`], or the `sha256` that a `pkg:generic` has in its
    /// qualifier `checksum`, which that type has to identify what it names. Other types do not say of what theirs is.
    pub fn named_digest(&self) -> Option<Digest> {
        if self.kind() != "generic" {
            return self.digest();
        }
        let checksums = self.qualifier("checksum")?;
        let digest: Digest = checksums.split(',').find(|sum| sum.starts_with("sha256:"))?.parse().ok()?;
        Some(digest).filter(|digest| !digest.is_of_empty_content())
    }

    /// Whether it names a container image.
    pub fn is_image(&self) -> bool {
        matches!(self.kind(), "oci" | "docker")
    }
}

/// The canonical form. What the version has of slashes is encoded, as the purl specification has it: with them it would
/// be read as a part of the name.
fn written(parsed: &PackageUrl<'_>) -> String {
    let text = parsed.to_string();
    let Some(version) = parsed.version().filter(|version| version.contains('/')) else { return text };
    let mut alone = PackageUrl::new("generic", "x");
    let alone = alone.as_mut().ok().and_then(|alone| Some(alone.with_version(version).ok()?.to_string()));
    let encoded = alone.as_deref().and_then(|alone| alone.split_once('@')).map_or("", |(_, version)| version);
    text.replacen(&format!("@{encoded}"), &format!("@{}", encoded.replace('/', "%2F")), 1)
}

/// A `pkg:julia` without the `uuid` that its type asks for, as the key of a package is.
fn julia_without_uuid(text: &str) -> Option<PackageUrl<'static>> {
    let named = read_as("generic", text, "julia").filter(|named| named.namespace().is_none())?;
    without_namespace("julia", &named)
}

/// A `pkg:oci` with a namespace, which its type forbids and tools write all the same: the namespace is a part of the
/// repository, and so `pkg:oci/acme/web?repository_url=ghcr.io` is `pkg:oci/web?repository_url=ghcr.io/acme/web`.
fn oci_with_namespace(text: &str) -> Option<PackageUrl<'static>> {
    // A type that is made up alike but for its namespace.
    let written = read_as("docker", text, "oci")?;
    let name = format!("{}/{}", written.namespace()?, written.name());
    let repository = purl_repository(&qualifier(&written, "repository_url").unwrap_or_default(), &name);
    let mut purl = without_namespace("oci", &written)?;
    purl.add_qualifier("repository_url", repository).ok()?;
    Some(purl)
}

/// A purl of a type, read by the rules of another one, which asks for less.
fn read_as(rules_of: &str, text: &str, kind: &str) -> Option<PackageUrl<'static>> {
    let (written, rest) = text.get(4..)?.trim_start_matches('/').split_once('/')?;
    written.eq_ignore_ascii_case(kind).then_some(())?;
    PackageUrl::from_str(&format!("pkg:{rules_of}/{rest}")).ok()
}

/// The same of a type, without its namespace.
fn without_namespace(kind: &str, written: &PackageUrl<'_>) -> Option<PackageUrl<'static>> {
    let mut purl = package_url(kind, "", written.name(), written.subpath())?;
    if let Some(version) = written.version() {
        purl.with_version(version.to_owned()).ok()?;
    }
    for (key, value) in written.qualifiers().iter().collect::<BTreeMap<_, _>>() {
        purl.add_qualifier(key.to_string(), value.to_string()).ok()?;
    }
    Some(purl)
}

fn qualifier(parsed: &PackageUrl<'_>, key: &str) -> Option<String> {
    parsed.qualifiers().iter().find(|(k, _)| *k == key).map(|(_, value)| value.to_string())
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

/// What an event calls an artifact: a repository with a tag, a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ArtifactRef {
    /// The repository as the event names it, such as `nginx`, `ghcr.io/a/b` or `pkg:golang/example.com/app`; compare by
    /// [`ArtifactRef::repository_key`].
    pub repository: String,
    /// Tag or version; empty when only a digest is named.
    pub tag: String,
    /// The digest, when it is named.
    pub digest: Option<Digest>,
}

impl ArtifactRef {
    /// Reads an image reference (`nginx`, `ghcr.io/a/b:1@sha256:…`, `docker-pullable://…`), a purl or a bare digest.
    /// Where no tag is written none is meant: that a client of a registry would take `latest` says nothing of what ran.
    ///
    /// `None` for what names nothing ([`names_nothing`]) and for text with spaces or control characters. A digest of
    /// empty content is left out: it names no artifact.
    pub fn parse(text: &str) -> Option<ArtifactRef> {
        let text = text.trim();
        if text.len() > PURL_BYTES_MAX || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        if let Some((purl, parsed)) = Purl::parse_whole(text) {
            return Some(ArtifactRef::of_purl(&purl, &parsed));
        }
        // Runtimes call an image that they did not pull `docker://sha256:…`.
        let text = without_scheme(text);
        if let Ok(digest) = text.parse::<Digest>() {
            let digest = Some(digest).filter(|digest| !digest.is_of_empty_content())?;
            return Some(ArtifactRef { repository: String::new(), tag: String::new(), digest: Some(digest) });
        }
        let (name, digest) = match text.rsplit_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>().ok()?)),
            None => (text, None),
        };
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (name, ""),
        };
        (!names_nothing(name) && !names_nothing(repository)).then(|| ArtifactRef {
            repository: shown_name(repository),
            tag: tag.to_owned(),
            digest: digest.filter(|digest| !digest.is_of_empty_content()),
        })
    }

    fn of_purl(purl: &Purl, parsed: &PackageUrl<'_>) -> ArtifactRef {
        let digest = purl.named_digest();
        if !purl.is_image() {
            return ArtifactRef { repository: purl.package().to_owned(), tag: purl.version().to_owned(), digest };
        }
        // A version with a colon is a digest, if only one that is cut short.
        let version = if purl.version().contains(':') { "" } else { purl.version() };
        let name = parsed.namespace().map_or_else(String::new, |namespace| format!("{namespace}/")) + parsed.name();
        let url = qualifier(parsed, "repository_url").unwrap_or_default();
        let tag = qualifier(parsed, "tag").unwrap_or_else(|| version.to_owned());
        ArtifactRef { repository: purl_repository(&url, &name), tag, digest }
    }

    /// The [`repository_key`] of its repository.
    pub fn repository_key(&self) -> String {
        repository_key(&self.repository)
    }

    /// The purl of the image repository that it names; `None` where it names none, or is a purl.
    pub fn image_purl(&self) -> Option<String> {
        let repository = self.repository_key();
        let name = repository.rsplit('/').next().filter(|name| !name.is_empty())?;
        if repository.starts_with("pkg:") {
            return None;
        }
        let mut purl = PackageUrl::new("oci", name.to_owned()).ok()?;
        purl.add_qualifier("repository_url", repository.as_str()).ok()?;
        Some(purl.to_string())
    }

    /// The same reference under its key, to compare whole references.
    pub fn keyed(&self) -> ArtifactRef {
        ArtifactRef { repository: self.repository_key(), ..self.clone() }
    }
}

/// Whether a name names nothing that anybody else could mean: none at all, `.`, `-`, a path in somebody's file system.
/// Scanners that were pointed at a folder or at their standard input call it so.
pub fn names_nothing(name: &str) -> bool {
    let name = name.trim();
    let drive = name.as_bytes().get(1..3).is_some_and(|rest| rest == b":\\" || rest == b":/");
    matches!(name, "" | "." | ".." | "-" | "~")
        || name.starts_with(['/', '\\'])
        || ["./", "../", "~/", ".\\", "..\\"].iter().any(|here| name.starts_with(here))
        || (drive && name.starts_with(|letter: char| letter.is_ascii_alphabetic()))
        || name.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
}

/// Whether an id is unique by itself, whoever says it: an absolute URI with an authority, or a URN (SPEC §2.3: other
/// ids of runs are numbers of the source that counts them).
pub fn is_absolute_uri(id: &str) -> bool {
    let scheme = |scheme: &str| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
    };
    match id.split_once(':') {
        Some((before, rest)) => (rest.starts_with("//") && rest.len() > 2 && scheme(before)) || before == "urn",
        None => false,
    }
}

/// The repository of an image from its purl's `repository_url` and its name with namespace.
///
/// purl-spec calls the URL of a `pkg:docker` the registry and that of a `pkg:oci` the whole repository, whose last part
/// is the name; real documents write either for both, with and without a slash at the end. So the URL is a prefix of
/// the name, and what its end and the name's beginning have in common is said once.
pub fn purl_repository(url: &str, name: &str) -> String {
    let mut place: Vec<&str> = without_scheme(url).split('/').filter(|part| !part.is_empty()).collect();
    if let [_, .., last] = place.as_mut_slice() {
        // A tag or digest is no part of the repository; a colon in the first part is a port.
        *last = last.split([':', '@']).next().unwrap_or_default();
    }
    let name: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let same = |a: &[&str], b: &[&str]| a.iter().zip(b).all(|(a, b)| a.eq_ignore_ascii_case(b));
    let lengths = (1..=place.len().min(name.len())).rev();
    let common = lengths.into_iter().find(|&length| same(&place[place.len() - length..], &name[..length])).unwrap_or(0);
    place.extend(&name[common..]);
    shown_name(&place.join("/"))
}

fn without_scheme(text: &str) -> &str {
    text.split_once("://").map_or(text, |(_, rest)| rest)
}

/// As written, but for the other names of Docker Hub.
fn shown_name(name: &str) -> String {
    const DOCKER_HUB: [&str; 4] =
        ["index.docker.io/", "registry-1.docker.io/", "registry.hub.docker.com/", "hub.docker.com/"];
    match DOCKER_HUB.iter().find_map(|host| name.strip_prefix(host)) {
        Some(rest) => format!("docker.io/{rest}"),
        None => name.to_owned(),
    }
}

/// What rows are keyed by and repositories compared by: names without a registry meet those of Docker Hub, so that
/// `nginx`, `library/nginx` and `docker.io/library/nginx` are one. Never shown: a bare name may well be of another
/// registry that the event did not name.
///
/// A first part with a dot, a port or `localhost` is a registry. A package is no image and stays as it is, and so does
/// no name at all.
pub fn repository_key(repository: &str) -> String {
    if repository.is_empty() || repository.starts_with("pkg:") {
        return repository.to_owned();
    }
    let name = shown_name(repository);
    let name = name.strip_prefix("docker.io/").unwrap_or(&name);
    match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            // Names of hosts are the same in any case.
            format!("{}/{path}", host.to_ascii_lowercase())
        }
        Some(_) => format!("docker.io/{name}"),
    }
}

impl fmt::Display for ArtifactRef {
    /// `repository:tag`, else `repository@digest`, else the digest (SPEC §9).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.digest, self.repository.as_str(), self.tag.as_str()) {
            (Some(digest), "", _) => write!(f, "{digest}"),
            (Some(digest), repository, "") => write!(f, "{repository}@{digest}"),
            (None, repository, "") => write!(f, "{repository}"),
            (_, repository, tag) if repository.starts_with("pkg:") => write!(f, "{repository}@{tag}"),
            (_, repository, tag) => write!(f, "{repository}:{tag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_generic_package_is_the_digest_of_the_very_thing() {
        let (digest, empty) = (format!("sha256:{}", "1a".repeat(32)), format!("sha256:{}", EMPTY_CONTENT[0]));
        let named = |purl: &str| Purl::parse(purl).expect("a purl").named_digest().map(|digest| digest.to_string());
        let md5 = "md5:0123456789abcdef0123456789abcdef";
        for checksums in [digest.clone(), format!("{md5},{digest}"), digest.replace(':', "%3A")] {
            let text = format!("pkg:generic/openssl@1.1.1?checksum={checksums}&download_url=https://a.example/o.tgz");
            assert_eq!(named(&text), Some(digest.clone()), "{text}");
            let reference = ArtifactRef::parse(&text).expect("a reference");
            assert_eq!(reference.digest.as_ref().map(ToString::to_string), Some(digest.clone()));
            assert_eq!(reference.to_string(), "pkg:generic/openssl@1.1.1");
        }
        for other in ["npm/left-pad@1.3.0", "docker/acme/web@v1", "oci/web", "deb/debian/curl@1"] {
            assert_eq!(named(&format!("pkg:{other}?checksum={digest}")), None, "its type does not say of what it is");
        }
        for checksums in ["sha256:de4d501267da", md5, &empty] {
            assert_eq!(named(&format!("pkg:generic/openssl@1.1.1?checksum={checksums}")), None, "{checksums}");
        }
        assert_eq!(named(&format!("pkg:oci/web@{digest}?tag=v1")), Some(digest));
    }

    #[test]
    fn digests_are_normalized_or_refused() {
        let hex = "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef";
        let check = |text: &str, want: Option<String>| {
            assert_eq!(text.parse::<Digest>().ok().map(|d| d.to_string()), want, "{text}");
        };
        let canonical = Some(format!("sha256:{}", hex.to_ascii_lowercase()));
        check(&format!("sha256:{hex}"), canonical.clone());
        check(&format!("SHA-256:{hex}"), canonical.clone());
        check(&format!(" SHA256:{hex} "), canonical);
        check(&format!("sha256:{}", &hex[1..]), None);
        check(&format!("sha256:{}g", &hex[1..]), None);
        check(hex, None);
        check("", None);
        check(":", None);
    }

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |text: &str, want: &str| {
            assert_eq!(ArtifactRef::parse(text).map(|r| r.to_string()).as_deref(), Some(want), "{text}");
        };
        check("nginx", "nginx");
        check("grafana/loki:2.9", "grafana/loki:2.9");
        check("index.docker.io/grafana/loki:2.9", "docker.io/grafana/loki:2.9");
        check("docker://cart:2.3.0", "cart:2.3.0");
        check("pkg:docker/cart@2.3.0", "cart:2.3.0");
        check("localhost:5000/app", "localhost:5000/app");
        check("pkg:oci/b", "b");
        check(
            "pkg:docker/customer/dockerimage@sha256:244fd47e07d10?repository_url=gcr.io",
            "gcr.io/customer/dockerimage",
        );
        check("ghcr.io/a/b:1", "ghcr.io/a/b:1");
        check(&format!("ghcr.io/a/b@{digest}"), &format!("ghcr.io/a/b@{digest}"));
        check(&format!("docker-pullable://ghcr.io/a/b@{digest}"), &format!("ghcr.io/a/b@{digest}"));
        check(&format!("ghcr.io/a/b:1@{digest}"), "ghcr.io/a/b:1");
        check(&format!("pkg:oci/b@sha256%3A{}?repository_url=ghcr.io/a/b&tag=1", "a".repeat(64)), "ghcr.io/a/b:1");
        check(&format!("pkg:oci/b@sha256%3A{}", "a".repeat(64)), &format!("b@{digest}"));
        check("pkg:golang/example.com/app@v1.2.3", "pkg:golang/example.com/app@v1.2.3");
        check("pkg:npm/left-pad@1.3.0", "pkg:npm/left-pad@1.3.0");
        check(&digest, &digest);
        assert_eq!(ArtifactRef::parse("a b"), None);
        assert_eq!(ArtifactRef::parse(""), None);
        assert_eq!(ArtifactRef::parse("app@sha256:12"), None);
        for nothing in
            [".", "..", "-", "/", "/srv/app", "./out", "file:///srv/app", ".:1.0", r"C:\src\app", r"\\host\app"]
        {
            assert_eq!(ArtifactRef::parse(nothing), None, "{nothing}");
        }
    }

    /// Forms of purl-spec's own test data, of Trivy, Syft, Red Hat, cdxgen and Artifactory.
    #[test]
    fn the_repository_of_an_image_is_read_from_its_purl() {
        let check = |purl: &str, want: &str| {
            assert_eq!(ArtifactRef::parse(purl).map(|r| r.repository).as_deref(), Some(want), "{purl}");
        };
        check("pkg:docker/team/ledger@2.1?repository_url=gcr.io", "gcr.io/team/ledger");
        check("pkg:docker/team/ledger@2.1?repository_url=https://gcr.io/", "gcr.io/team/ledger");
        check("pkg:docker/team/ledger@2.1?repository_url=gcr.io/team", "gcr.io/team/ledger");
        check("pkg:docker/team/ledger@2.1?repository_url=gcr.io/team/ledger", "gcr.io/team/ledger");
        check("pkg:docker/gcr.io/team/ledger@2.1?repository_url=gcr.io", "gcr.io/team/ledger");
        check(
            "pkg:docker/ledger@2.1?repository_url=art.example:8443/docker-local",
            "art.example:8443/docker-local/ledger",
        );
        check("pkg:docker/team/ledger@2.1?repository_url=https://hub.docker.com", "docker.io/team/ledger");
        check("pkg:docker/team/ledger@2.1", "team/ledger");
        check("pkg:docker/nginx@1.27", "nginx");
        check("pkg:oci/debian?repository_url=docker.io/library/debian", "docker.io/library/debian");
        check("pkg:oci/debian?repository_url=ghcr.io/debian", "ghcr.io/debian");
        check("pkg:oci/trivy?repository_url=index.docker.io%2Faquasec%2Ftrivy", "docker.io/aquasec/trivy");
        check("pkg:oci/trivy?repository_url=ghcr.io/aquasecurity", "ghcr.io/aquasecurity/trivy");
        check("pkg:oci/proxy?repository_url=registry.example/k8s/", "registry.example/k8s/proxy");
        check("pkg:oci/proxy?repository_url=registry.example/k8s/proxy/", "registry.example/k8s/proxy");
        check("pkg:oci/proxy?repository_url=https://registry.example/K8s/Proxy", "registry.example/K8s/Proxy");
        check("pkg:oci/proxy?repository_url=registry.example", "registry.example/proxy");
        check("pkg:oci/proxy?repository_url=registry.example/k8s/proxy:v1.29", "registry.example/k8s/proxy");
        check("pkg:oci/proxy", "proxy");
        let tagged =
            "pkg:docker/team/ledger@sha256:HEX?repository_url=gcr.io&tag=2.1.0".replace("HEX", &"c".repeat(64));
        assert_eq!(ArtifactRef::parse(&tagged).expect("a purl").to_string(), "gcr.io/team/ledger:2.1.0");
    }

    #[test]
    fn a_namespace_of_an_oci_purl_is_a_part_of_its_repository() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |text: &str, want: &str, repository: &str| {
            let text = text.replace("DIGEST", &digest.replace(':', "%3A"));
            let purl = Purl::parse(&text).expect("a purl");
            assert_eq!(purl.as_str(), want.replace("DIGEST", &digest), "{text}");
            assert_eq!(Purl::parse(purl.as_str()).as_ref(), Some(&purl), "{text}");
            assert_eq!(purl.digest().map(|digest| digest.to_string()), Some(digest.clone()), "{text}");
            let named = ArtifactRef::parse(&text).expect("a reference");
            assert_eq!((named.repository.as_str(), named.digest), (repository, purl.digest()), "{text}");
        };
        check(
            "pkg:oci/acme/web@DIGEST?repository_url=ghcr.io&tag=1",
            "pkg:oci/web@DIGEST?repository_url=ghcr.io%2Facme%2Fweb&tag=1",
            "ghcr.io/acme/web",
        );
        check(
            "pkg:OCI/acme/shop/web@DIGEST?repository_url=https://ghcr.io/acme",
            "pkg:oci/web@DIGEST?repository_url=ghcr.io%2Facme%2Fshop%2Fweb",
            "ghcr.io/acme/shop/web",
        );
        check(
            "pkg:oci/ghcr.io/acme/web@DIGEST",
            "pkg:oci/web@DIGEST?repository_url=ghcr.io%2Facme%2Fweb",
            "ghcr.io/acme/web",
        );
        check("pkg:oci/acme/web@DIGEST", "pkg:oci/web@DIGEST?repository_url=acme%2Fweb", "acme/web");
        for none in ["pkg:oci/", "pkg:oci//", "pkg:oci/a/", "pkg:cargo/a/b@1", "pkg:gem/oci/b@1"] {
            assert_eq!(Purl::parse(none), None, "{none}");
        }
    }

    #[test]
    fn digests_of_empty_content_name_no_artifact() {
        for (algorithm, hex) in [
            ("sha256", hex::encode(Sha256::digest(b""))),
            ("sha512", hex::encode(sha2::Sha512::digest(b""))),
            ("sha384", hex::encode(sha2::Sha384::digest(b""))),
            ("sha224", hex::encode(sha2::Sha224::digest(b""))),
            ("sha256", hex::encode(Sha256::digest(b"{}"))),
            ("sha512", hex::encode(sha2::Sha512::digest(b"{}"))),
            ("gitBlob", hex::encode(Sha256::digest(b"blob 0\0"))),
            ("gitTree", hex::encode(Sha256::digest(b"tree 0\0"))),
        ] {
            let digest = Digest::from_parts(algorithm, &hex).expect("a digest");
            assert!(digest.is_of_empty_content(), "{digest}");
            assert_eq!(ArtifactRef::parse(digest.as_str()), None);
            let named = ArtifactRef::parse(&format!("r.example/empty:1@{digest}")).expect("a reference");
            assert_eq!((named.digest, named.tag.as_str()), (None, "1"));
        }
        let empty = format!("pkg:oci/empty@sha256:{}", hex::encode(Sha256::digest(b"")));
        assert_eq!(ArtifactRef::parse(&empty).expect("a purl").digest, None);
        assert!(!Digest::sha256([1; 32]).is_of_empty_content());
    }

    #[test]
    fn some_ids_are_unique_by_themselves() {
        for id in
            ["https://ci.example/job/cart/42/", "tekton://ns/run-7", "urn:uuid:0b31b1c0", "gitlab+https://g.example/1"]
        {
            assert!(is_absolute_uri(id), "{id}");
        }
        for id in ["42", "cart/42", "build:42", "/job/42", "://x", "https:", "https://", "job 1://x", ""] {
            assert!(!is_absolute_uri(id), "{id}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_canonical_form_alone_is_that_of_the_whole(
            kind in "pypi|cpan|swift|golang|huggingface|mlflow|hex|oci|OCI|[a-z+]{1,5}",
            path in "([A-Za-z_.]{0,4}/){0,2}[A-Za-z_%-]{0,6}",
            rest in "(@[A-Z0-9_.]{1,4})?(\\?[a-z]{1,3}=[A-Z/%]{0,3})?(#[a-z./]{0,5})?",
        ) {
            let text = format!("pkg:{kind}/{path}{rest}");
            proptest::prop_assert_eq!(Purl::canonical(&text), Purl::parse(&text).map(|purl| purl.to_string()), "{}", text);
        }

        /// The qualifiers of the text as written are those of its canonical form.
        #[test]
        fn qualifiers_are_the_same_by_one_parse(
            kind in "oci|docker|npm|OCI",
            name in "[a-zA-Z][a-zA-Z0-9._-]{0,8}",
            tag in "[a-zA-Z0-9.%+&:/ é-]{0,8}",
            url in "(https://)?[a-z0-9.:/%-]{0,16}",
        ) {
            let text = format!("pkg:{kind}/{name}?tag={tag}&repository_url={url}&Arch=x");
            if let Some((purl, parsed)) = Purl::parse_whole(&text) {
                for key in ["tag", "repository_url", "arch"] {
                    proptest::prop_assert_eq!(qualifier(&parsed, key), purl.qualifier(key), "{} {}", text, key);
                }
            }
        }
    }

    #[test]
    fn packages_and_versions_are_compared_in_one_spelling() {
        let keys = |text: &str| {
            let purl = Purl::parse(text).expect("a purl");
            (purl.package_key().to_owned(), purl.version_key().to_owned(), purl.ordered_version().into_owned())
        };
        let check = |text: &str, package: &str, version: &str, ordered: &str| {
            assert_eq!(keys(text), (package.to_owned(), version.to_owned(), ordered.to_owned()), "{text}");
        };
        check("pkg:nuget/Newtonsoft.Json@13.0.1", "pkg:nuget/newtonsoft.json", "13.0.1", "13.0.1");
        check("pkg:pypi/Zope.Interface_x@5", "pkg:pypi/zope-interface-x", "5", "5");
        check("pkg:rpm/rhel/vim@2:9.0-1.el9#a/b", "pkg:rpm/redhat/vim#a/b", "9.0-1.el9", "2:9.0-1.el9");
        check("pkg:rpm/sles/vim@9.0?epoch=2", "pkg:rpm/suse/vim", "9.0", "2:9.0");
        check("pkg:deb/debian/vim@9.0?epoch=2", "pkg:deb/debian/vim", "9.0", "2:9.0");
        check("pkg:deb/debian/vim?epoch=2", "pkg:deb/debian/vim", "", "");
        check(
            "pkg:golang/example.com/a@v1.2.3%2Bincompatible",
            "pkg:golang/example.com/a",
            "1.2.3+incompatible",
            "v1.2.3+incompatible",
        );
        check(
            "pkg:golang/github.com/Masterminds/Sprig@v3.2#v3/x",
            "pkg:golang/github.com/masterminds/sprig/v3/x",
            "3.2",
            "v3.2",
        );
        check("pkg:golang/std@go1.22", "pkg:golang/stdlib", "go1.22", "go1.22");
        check("pkg:githubactions/A/b@v4", "pkg:github/a/b", "v4", "v4");
        check("pkg:swift/github.com/a/b.git/c@1.0", "pkg:swift/github.com/a/b", "1.0", "1.0");
        check("pkg:swift/github.com/a/b.git@1.0", "pkg:swift/github.com/a/b", "1.0", "1.0");
        check("pkg:julia/HTTP@1.0?uuid=cd3e", "pkg:julia/HTTP", "1.0", "1.0");
        check("pkg:composer/a/b@v5.4", "pkg:composer/a/b", "5.4", "v5.4");
        // A name, and not a version with a letter before it.
        check("pkg:golang/example.com/a@vendored", "pkg:golang/example.com/a", "vendored", "vendored");
        check("pkg:npm/Vim@v1", "pkg:npm/vim", "v1", "v1");
    }

    #[test]
    fn slashes_in_a_version_are_no_part_of_the_name() {
        for (text, version) in [
            ("pkg:github/a/b@release%2Fv1", "release/v1"),
            ("pkg:npm/%40a/b@git%2Bssh:%2F%2Fgit%40h.example%2Fa.git?x=@y/z#s/t", "git+ssh://git@h.example/a.git"),
            ("pkg:composer/a/b@dev-x%2Fy", "dev-x/y"),
        ] {
            let purl = Purl::parse(text).expect("a purl");
            assert_eq!(purl.version(), version);
            assert_eq!(Purl::parse(purl.as_str()), Some(purl.clone()), "the canonical form of itself: {purl}");
            assert_eq!(Purl::canonical(text).as_deref(), Some(purl.as_str()));
        }
    }

    #[test]
    fn repositories_meet_under_their_keys() {
        let check = |text: &str, want: &str| {
            assert_eq!(ArtifactRef::parse(text).map(|r| r.repository_key()).as_deref(), Some(want), "{text}");
        };
        let official =
            ["nginx", "library/nginx:1", "docker.io/nginx", "index.docker.io/library/nginx", "pkg:docker/nginx"];
        official.iter().for_each(|text| check(text, "docker.io/library/nginx"));
        check("shop/cart:1", "docker.io/shop/cart");
        check("docker.io/shop/cart:1", "docker.io/shop/cart");
        check("localhost/cart:1", "localhost/cart");
        check("localhost:5000/cart", "localhost:5000/cart");
        check("ghcr.io/shop/cart:1", "ghcr.io/shop/cart");
        check("GHCR.io/shop/cart:1", "ghcr.io/shop/cart");
        check("pkg:npm/left-pad@1.3.0", "pkg:npm/left-pad");
        check(&format!("sha256:{}", "a".repeat(64)), "");
    }

    #[test]
    fn an_event_id_is_as_specified() {
        let id = EventId::of(&TenantId::default(), "/ci", "1", &crate::canonical::sha256(b"{}"));
        let mut bytes = Vec::new();
        for part in [b"default".as_slice(), b"/ci", b"1", &crate::canonical::sha256(b"{}")] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        assert_eq!(id.as_bytes(), &crate::canonical::sha256(&bytes)[..16]);
    }
}
