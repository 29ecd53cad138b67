//! A full disk: refused, not poisoned, and gone on with once there is room.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use pedigraph_ledger::*;

use crate::support::*;

/// No file can be made while it is full.
#[derive(Clone, Default)]
struct FullFiles(Arc<AtomicBool>);

impl Storage for FullFiles {
    fn create(&self, path: &Path, access: Access) -> io::Result<Box<dyn StoredFile>> {
        match self.0.load(SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => LocalFiles.create(path, access),
        }
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        LocalFiles.open(path)
    }
}

#[test]
fn a_full_disk_refuses_a_batch_a_blob_and_a_checkpoint_and_poisons_nothing() {
    let dir = memory_dir();
    let files = FullFiles::default();
    let small = Options { segment_bytes: 64 << 10, ..options() };
    let mut writer = open_with(dir.path(), &small, Arc::new(files.clone()), Work::Background).unwrap();
    let mut publisher = Publisher::new(&writer).unwrap();
    let log = LogId::default_log();
    files.0.store(true, SeqCst);
    let mut appended = 0;
    while let Ok(receipts) = writer.append(batch(vec![entry(&log, vec![1; 9_000])])) {
        appended += receipts.len() as u64;
        assert!(appended < 100, "there is room for two segments at most");
    }
    let back = writer.given_back().expect("the batch comes back");
    assert!(matches!(writer.append(back.clone()), Err(Error::Full(_))));
    assert!(matches!(writer.blobs().put(&[7; 70_000]), Err(Error::Full(_))));
    assert!(matches!(publisher.publish(1), Err(Error::Full(_))));

    files.0.store(false, SeqCst);
    assert_eq!(writer.append(back).unwrap()[0].index, appended);
    writer.blobs().put(&[7; 70_000]).unwrap();
    assert_eq!(publisher.publish(2).unwrap(), 1);
    drop(writer);
    assert_eq!(assert_sound(dir.path()).entries, appended + 1);
}
