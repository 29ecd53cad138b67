//! Packs that wait to be fetched: a bounded number and size, for a bounded time, in a directory that is emptied at
//! start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pedigraph_proto::TenantId;
use uuid::Uuid;

use super::write::Written;
use crate::left::prepare_dir;

/// What may be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Packs at once; the oldest goes first.
    pub packs_max: usize,
    /// Bytes of all packs; the oldest goes first.
    pub bytes_max: u64,
    /// How long one is kept.
    pub time_max: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { packs_max: 32, bytes_max: 4 << 30, time_max: Duration::from_secs(3_600) }
    }
}

/// Creates the directory and removes what an earlier process left in it: nobody knows those packs any more. Returns how
/// many names had to be left alone.
pub fn prepare(dir: &Path) -> io::Result<usize> {
    prepare_dir(dir, |_| true)
}

/// The packs that can be fetched, oldest first.
pub struct Spool {
    dir: PathBuf,
    limits: Limits,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    tenant: TenantId,
    digest: String,
    bytes: u64,
    expires_ns: i64,
}

/// A file that is being written, and goes with this unless it is kept.
pub struct Draft {
    path: PathBuf,
    /// Empty at first.
    pub file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when it was kept.
        let _kept = fs::remove_file(&self.path);
    }
}

impl Spool {
    /// Over a directory that was prepared.
    pub fn new(dir: PathBuf, limits: Limits) -> Spool {
        Spool { dir, limits, kept: Mutex::default() }
    }

    /// A file to write a pack to.
    pub fn draft(&self) -> io::Result<Draft> {
        let path = self.dir.join(format!("draft-{}", Uuid::new_v4()));
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        Ok(Draft { path, file })
    }

    /// Keeps a pack from `now_ns` on; returns until when. The same pack again is kept longer.
    pub fn keep(&self, draft: &Draft, written: &Written, tenant: &TenantId, now_ns: i64) -> io::Result<i64> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room(&mut kept, written, now_ns);
        fs::rename(&draft.path, self.path(&written.digest))?;
        let time_ns = i64::try_from(self.limits.time_max.as_nanos()).unwrap_or(i64::MAX);
        let expires_ns = now_ns.saturating_add(time_ns);
        let (digest, bytes) = (written.digest.clone(), written.bytes);
        kept.push(Kept { tenant: tenant.clone(), digest, bytes, expires_ns });
        Ok(expires_ns)
    }

    /// Bytes of a tenant's pack, and until when it is kept; `None` when there is none of this digest, or no longer.
    pub fn find(&self, tenant: &TenantId, digest: &str, now_ns: i64) -> Option<(u64, i64)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|pack| pack.tenant == *tenant && pack.digest == digest);
        found.filter(|pack| pack.expires_ns > now_ns).map(|pack| (pack.bytes, pack.expires_ns))
    }

    /// Opens a tenant's pack; `None` when there is none of this digest, or no longer.
    pub fn open(&self, tenant: &TenantId, digest: &str, now_ns: i64) -> io::Result<Option<(File, u64)>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.drop_while(&mut kept, |_, first| first.expires_ns <= now_ns);
        let found = kept.iter().find(|pack| pack.tenant == *tenant && pack.digest == digest);
        found.map(|pack| Ok((File::open(self.path(&pack.digest))?, pack.bytes))).transpose()
    }

    fn make_room(&self, kept: &mut Vec<Kept>, written: &Written, now_ns: i64) {
        kept.retain(|pack| pack.digest != written.digest);
        self.drop_while(kept, |kept, first| {
            let bytes: u64 = kept.iter().map(|pack| pack.bytes).sum();
            let full = kept.len() >= self.limits.packs_max || bytes + written.bytes > self.limits.bytes_max;
            full || first.expires_ns <= now_ns
        });
    }

    /// Removes the oldest while there is a reason. Who reads one goes on reading.
    fn drop_while(&self, kept: &mut Vec<Kept>, reason: impl Fn(&[Kept], &Kept) -> bool) {
        while kept.first().is_some_and(|first| reason(kept, first)) {
            let gone = kept.remove(0);
            if let Err(error) = fs::remove_file(self.path(&gone.digest)) {
                tracing::warn!(%error, "a pack cannot be removed");
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{}.zip", digest.replace(':', "-")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn spool(dir: &Path) -> Spool {
        prepare(dir).expect("a directory");
        Spool::new(dir.to_owned(), Limits { packs_max: 2, bytes_max: 10, time_max: Duration::from_nanos(100) })
    }

    fn keep(spool: &Spool, name: &str, bytes: u64, now_ns: i64) -> i64 {
        let draft = spool.draft().expect("a file");
        (&draft.file).write_all(name.as_bytes()).expect("written");
        let written = Written { digest: format!("sha256:{name}"), bytes };
        spool.keep(&draft, &written, &TenantId::default(), now_ns).expect("kept")
    }

    fn there(spool: &Spool, name: &str, now_ns: i64) -> bool {
        spool.open(&TenantId::default(), &format!("sha256:{name}"), now_ns).expect("readable").is_some()
    }

    #[test]
    fn packs_go_with_time_number_and_bytes_and_only_to_their_tenant() {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = spool(dir.path());
        assert_eq!(keep(&spool, "a", 1, 0), 100);
        assert!(there(&spool, "a", 99) && !there(&spool, "a", 100));
        for name in ["b", "c", "d"] {
            keep(&spool, name, 1, 200);
        }
        assert_eq!(["b", "c", "d"].map(|name| there(&spool, name, 201)), [false, true, true]);
        keep(&spool, "e", 10, 202);
        assert_eq!(["c", "d", "e"].map(|name| there(&spool, name, 203)), [false, false, true]);
        assert_eq!(keep(&spool, "e", 10, 250), 350);
        assert!(there(&spool, "e", 349));
        let other = TenantId::new("other").expect("a tenant");
        assert!(spool.open(&other, "sha256:e", 260).expect("readable").is_none());
        drop(spool.draft().expect("a file"));
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
        prepare(dir.path()).expect("emptied");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    }
}
