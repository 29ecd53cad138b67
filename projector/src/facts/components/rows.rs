//! The rows of components: sets of numbers, what the numbers stand for, and which digest is bound to which set.

use pedigraph_proto::{Digest, Purl, TenantId};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rows::text;
use crate::store::key::{Key, KeyReader};

/// Bytes of a package's name that keys hold; a longer one shares its rows with others that begin so.
pub(crate) const PACKAGE_KEY_BYTES: usize = 512;

/// The view's byte in keys.
pub(crate) const VIEW: u8 = b'c';
/// component number → [`Known`].
pub(crate) const COMPONENTS: u8 = b'i';
/// (package, version, hash of [`Known`]) → component number.
pub(crate) const PACKAGES: u8 = b'p';
/// set → its number.
pub(crate) const SETS: u8 = b'n';
/// set number → nothing: slices were added to it after the entry that named it first.
pub(crate) const EXTENDED: u8 = b'e';
/// page number → [`PageRow`].
pub(crate) const PAGES: u8 = b'l';
/// (set number, first ordinal, hash of the slice, n-th page of it) → page number.
pub(crate) const SET_PAGES: u8 = b's';
/// (digest, stamp) → [`Bound`].
pub(crate) const BINDINGS: u8 = b'b';
/// (set number, digest, stamp) → nothing.
pub(crate) const SET_SUBJECTS: u8 = b'a';
/// (SBOM digest, artifact digest, stamp) → nothing: linked later.
pub(crate) const LINKS: u8 = b'k';

/// (key, package) → nothing: advisories on some component of the package stand under this key of a package too.
pub(crate) const KEYS: u8 = b'u';

/// (name in small letters, package) → nothing: what a package is called without its kind and namespace.
pub(crate) const PACKAGE_NAMES: u8 = b'q';

/// What a component is, wherever it is contained.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) purl: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) licenses: Vec<String>,
    pub(crate) digest: String,
}

/// A part of a slice of a set.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PageRow {
    pub(crate) set: u32,
    /// Ordinal of the first component here.
    pub(crate) first: u32,
    pub(crate) components: Vec<u32>,
    /// By component: ordinals that it depends on; empty where no component depends on any.
    pub(crate) depends_on: Vec<Vec<u32>>,
    /// Ordinals that the described thing depends on directly.
    pub(crate) roots: Vec<u32>,
}

/// An SBOM of a digest.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// Number of its set; `None` for a link to an SBOM that is bound elsewhere.
    pub(crate) set: Option<u32>,
    /// What a link is to.
    #[serde(with = "text")]
    pub(crate) sbom: String,
    pub(crate) tool: String,
    /// Of the document: of two of one moment the greater one is newer.
    pub(crate) version: u32,
    /// Of the thing described: its purl without version, else its name. A new version of it replaces the old one.
    pub(crate) root: String,
    /// What it says it describes, normalized; empty when not said.
    pub(crate) reference: String,
    /// Of an artifact: the digest of the document; of that: the artifact, empty where it describes none by digest.
    #[serde(with = "text")]
    pub(crate) other: String,
}

pub(crate) fn table(tenant: &TenantId, table: u8) -> Key {
    Key::new(tenant, VIEW).byte(table)
}

/// After tenant, view and table.
pub(crate) fn table_key(key: &[u8]) -> Result<KeyReader<'_>, Error> {
    let mut reader = KeyReader::after_view(key).ok_or_else(unreadable)?;
    reader.byte().ok_or_else(unreadable)?;
    Ok(reader)
}

pub(crate) fn unreadable() -> Error {
    Error::Store("components: a key cannot be read".to_owned())
}

/// Package and version in keys: as purls are compared, else the text itself behind a byte that no purl begins with, and
/// no version.
pub(crate) fn package_key(purl: &str, name: &str) -> (String, String) {
    match Purl::parse(purl) {
        Some(purl) => (clipped(purl.package_key()).to_owned(), clipped(purl.version_key()).to_owned()),
        None => (clipped(&format!("\u{1}{}", if purl.is_empty() { name } else { purl })).to_owned(), String::new()),
    }
}

/// What a package is called without its kind and namespace, in small letters, as keys have it.
pub(crate) fn bare_name(package: &str) -> String {
    let name = package.rsplit('/').next().unwrap_or_default();
    clipped(&name.to_lowercase()).to_owned()
}

pub(crate) fn clipped(package: &str) -> &str {
    &package[..package.floor_char_boundary(PACKAGE_KEY_BYTES)]
}

pub(crate) fn digest_text(text: &str) -> String {
    text.parse::<Digest>().map_or_else(|_| text.trim().to_owned(), |digest| digest.to_string())
}
