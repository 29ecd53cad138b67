//! Names of messages whose secrets are overwritten: two that differed only there still differ.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use pedigraph_proto::TenantId;
use pedigraph_proto::canonical::LEAF_NAME_BYTES_MAX;

use super::text;

/// File of the key, in the data directory.
const FILE: &str = "redaction.key";
/// Bytes of the hash that a name shows: nobody finds two names with one.
const SHOWN_BYTES: usize = 16;

/// Between what is left of a name and the hash of what it was.
const MARK: &str = "#redacted-";

/// Marks what stands in place of a secret in a name with a hash of the whole name, by a key that never leaves the data
/// directory. So the same message sent again has the same name, also after a restart; and who reads the ledger, but has
/// no key, cannot try passwords against it.
#[derive(Clone)]
pub(crate) struct Namer {
    key: [u8; 32],
}

impl Namer {
    /// With the key of a data directory, made when it has none. A copy of the ledger in another place has another one.
    pub(crate) fn open(dir: &Path) -> io::Result<Namer> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Namer::read(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Namer::make(dir),
            Err(error) => Err(error),
        }
    }

    fn read(bytes: &[u8]) -> io::Result<Namer> {
        let mut key = [0; 32];
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} does not hold 64 hex digits"));
        hex::decode_to_slice(bytes.trim_ascii_end(), &mut key).map_err(|_| wrong())?;
        Ok(Namer { key })
    }

    /// A crash leaves no key or a whole one.
    fn make(dir: &Path) -> io::Result<Namer> {
        let (mut key, half_made) = ([0; 32], dir.join(format!("{FILE}.tmp")));
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half_made)?;
        writeln!(file, "{}", hex::encode(key))?;
        file.sync_all()?;
        fs::rename(&half_made, dir.join(FILE))?;
        File::open(dir)?.sync_all()?;
        Ok(Namer { key })
    }

    /// The name to keep: `seen` is what is left of it after redaction so far, `received` what it was.
    pub(crate) fn name(&self, tenant: &TenantId, seen: &str, received: &str) -> Option<String> {
        let stars = text(seen).map(|(stars, _)| stars);
        let stars = stars.as_deref().unwrap_or(seen);
        if stars == received {
            return None;
        }
        let named = [&(tenant.as_str().len() as u64).to_be_bytes(), tenant.as_str().as_bytes(), received.as_bytes()];
        let hash = hex::encode(&blake3::keyed_hash(&self.key, &named.concat()).as_bytes()[..SHOWN_BYTES]);
        let name = format!("{stars}{MARK}{hash}");
        Some(if name.len() <= LEAF_NAME_BYTES_MAX { name } else { format!("redacted-{hash}") })
    }

    /// Whether a name was made by [`Namer::name`], or looks like it.
    pub(crate) fn is_named(name: &str) -> bool {
        name.contains(MARK)
    }

    /// Whether a name may have been made of what is left of it.
    pub(crate) fn is_made_of(name: &str, seen: &str) -> bool {
        name.strip_prefix(seen).is_some_and(|rest| rest.starts_with(MARK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differed_only_in_a_secret_still_differ() {
        let dir = tempfile::tempdir().unwrap();
        let name = |tenant: &str, received: &str| {
            let namer = Namer::open(dir.path()).unwrap();
            namer.name(&TenantId::new(tenant).unwrap(), received, received)
        };
        let received = |password: &str| format!("https://bot:{password}@ci.example/job/7");
        let one = name("shop", &received("hunter2")).unwrap();
        assert_eq!(one.split_once("#redacted-").unwrap().0, received("*******"));
        assert_eq!(name("shop", &received("hunter2")), Some(one.clone()), "also when the directory is opened again");
        let others = [name("shop", &received("hunter3")), name("other", &received("hunter2"))];
        assert!(others.iter().all(|other| *other != Some(one.clone())), "{others:?}");
        assert_eq!(name("shop", "https://ci.example/job/7"), None);
        assert_eq!(name("shop", &one), None, "what is kept is kept as it is");
        let long = name("shop", &format!("{}{}", received("hunter2"), "/x".repeat(1_000))).unwrap();
        assert!(long.starts_with("redacted-") && long.len() < 64, "{long}");
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "abc").unwrap();
        assert!(Namer::open(dir.path()).is_err());
    }
}
