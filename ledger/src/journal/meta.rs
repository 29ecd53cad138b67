//! The file `ledger`: what is fixed at creation. It is written before the journal, so that its absence beside a journal
//! is a fault and not a new ledger.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::files::storage::{self, Access, Storage};
use crate::journal::keys::Keys;
use crate::{Error, LogId, Signer};

/// Its name.
pub(crate) const FILE: &str = "ledger";
const VERSION_LINE: &str = "pedigraph ledger 1";

/// How to open a ledger for writing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Prefix of every log's origin; `None`: `pedigraph.local/<ledger uuid>`. Fixed at creation.
    pub name: Option<String>,
    /// Bytes of one pre-written journal segment. Fixed at creation.
    pub segment_bytes: u64,
    /// Who signs checkpoints; `None`: the key in the file `key`, which is made with the ledger.
    pub signer: Option<Arc<dyn Signer>>,
}

impl Default for Options {
    fn default() -> Self {
        Options { name: None, segment_bytes: 64 << 20, signer: None }
    }
}

/// What is fixed when a ledger is created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub(crate) uuid: uuid::Uuid,
    /// Prefix of every origin.
    pub(crate) name: String,
    pub(crate) segment_bytes: u64,
    /// Where frames' checksums start. Known only to who can read the directory.
    pub(crate) salt: u32,
    pub(crate) public_key: [u8; 32],
    /// That key and those that followed it, from the file `keys`.
    pub(crate) keys: Keys,
}

impl Meta {
    /// A new ledger's.
    pub(crate) fn new(options: &Options, public_key: [u8; 32]) -> Result<Meta, Error> {
        let uuid = uuid::Uuid::new_v4();
        let name = options.name.clone().unwrap_or_else(|| format!("pedigraph.local/{uuid}"));
        if !name_fits(&name) {
            return Err(Error::Refused(format!(
                "ledger name {name:?}: 1 to 190 bytes, no space, control character or `+`, no `/` at the end"
            )));
        }
        let mut salt = [0; 4];
        getrandom::fill(&mut salt).map_err(std::io::Error::other)?;
        let (segment_bytes, salt, keys) = (options.segment_bytes, u32::from_le_bytes(salt), Keys::new(public_key));
        Ok(Meta { uuid, name, segment_bytes, salt, public_key, keys })
    }

    /// The origin and key name of a log.
    pub(crate) fn origin(&self, log: &LogId) -> String {
        format!("{}/{log}", self.name)
    }

    /// Reads the file; `None` when there is none.
    pub(crate) fn load(dir: &Path) -> Result<Option<Meta>, Error> {
        let Some(bytes) = storage::read_if_there(&dir.join(FILE))? else { return Ok(None) };
        let meta = std::str::from_utf8(&bytes).ok().and_then(parse);
        match meta {
            Some(meta) => {
                let keys = meta.read_keys(dir)?;
                Ok(Some(Meta { keys, ..meta }))
            }
            None => Err(Error::Corrupt(format!(
                "{} is not a ledger description of version 1; restore it from a copy",
                dir.join(FILE).display()
            ))),
        }
    }

    /// The keys as the file `keys` has them now.
    pub(crate) fn read_keys(&self, dir: &Path) -> Result<Keys, Error> {
        Keys::load(dir, &self.uuid.to_string(), &self.name, self.public_key)
    }

    /// Writes the file; durable when this returns.
    pub(crate) fn store(&self, storage: &dyn Storage, dir: &Path) -> Result<(), Error> {
        Ok(storage::replace(storage, &dir.join(FILE), self.text().as_bytes(), Access::Private)?)
    }

    /// The content of the file.
    pub(crate) fn text(&self) -> String {
        let Meta { uuid, name, segment_bytes, salt, public_key, keys: _ } = self;
        let key = BASE64_STANDARD.encode(public_key);
        let lines = format!(
            "{VERSION_LINE}\nuuid {uuid}\nname {name}\nsegment_bytes {segment_bytes}\nsalt {salt}\npublic_key {key}\n"
        );
        let checksum = crc32fast::hash(lines.as_bytes());
        format!("{lines}crc32 {checksum:08x}\n")
    }
}

pub(crate) fn parse(text: &str) -> Option<Meta> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    (lines.next()? == VERSION_LINE).then_some(())?;
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let uuid = value("uuid")?.parse().ok()?;
    let name = value("name").filter(|name| name_fits(name))?.to_owned();
    let (segment_bytes, salt) = (value("segment_bytes")?.parse().ok()?, value("salt")?.parse().ok()?);
    let public_key = BASE64_STANDARD.decode(value("public_key")?).ok()?.try_into().ok()?;
    let meta = Meta { uuid, name, segment_bytes, salt, public_key, keys: Keys::new(public_key) };
    // Exactly what is written: a flipped bit that still parses must not pass.
    (meta.text() == text).then_some(meta)
}

/// With `/` and a log's name (63 bytes) an origin stays within the 255 bytes that every known client takes.
fn name_fits(name: &str) -> bool {
    let plain = !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
    (1..=190).contains(&name.len()) && plain && !name.ends_with('/')
}
