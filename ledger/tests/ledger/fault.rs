//! A storage that fails or dies at its n-th call and forgets, as a disk may, what was not synced.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pedigraph_ledger::{Access, Storage, StoredFile};

/// What happens at the n-th call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The call returns EIO, having done half of a write; the calls after it work.
    Fails,
    /// The call and all after it do nothing.
    Dies,
}

/// What is left of what was not synced when the process is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// The process was killed: everything is left.
    Nothing,
    /// The power went: nothing is left.
    All,
    /// The power went: some 512-byte sectors are left, and the first few of the changed names.
    Torn(u64),
}

#[derive(Clone, Default)]
pub(crate) struct FaultyFiles(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    calls: u64,
    plan: Option<(u64, Fault)>,
    dead: bool,
    pending: Vec<Pending>,
}

/// Something that is not durable yet, and how to take it back.
enum Pending {
    Write { id: u64, file: File, offset: u64, old: Vec<u8>, old_len: u64 },
    Name { dir: PathBuf, undo: Undo },
}

enum Undo {
    Remove(PathBuf),
    /// A rename from, to, and what had the name before.
    Back(PathBuf, PathBuf, Option<PathBuf>),
}

impl FaultyFiles {
    /// Fails or dies at call `n`, counted from 1.
    pub(crate) fn at(n: u64, fault: Fault) -> FaultyFiles {
        FaultyFiles(Arc::new(Mutex::new(Inner { plan: Some((n, fault)), ..Inner::default() })))
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap().calls
    }

    /// The machine is gone: applies the loss and lets nothing through any more.
    pub(crate) fn crash(&self, loss: Loss) {
        let mut inner = self.0.lock().unwrap();
        inner.dead = true;
        let pending = std::mem::take(&mut inner.pending);
        drop(inner);
        let names = pending.iter().filter(|p| matches!(p, Pending::Name { .. })).count() as u64;
        let names_kept = match loss {
            Loss::Nothing => names,
            Loss::All => 0,
            Loss::Torn(seed) => random(seed) % (names + 1),
        };
        let mut names_left = names;
        for change in pending.into_iter().rev() {
            match change {
                Pending::Write { file, offset, old, old_len, .. } => lose(loss, &file, offset, &old, old_len),
                Pending::Name { undo, .. } => {
                    names_left -= 1;
                    if names_left >= names_kept {
                        take_back(undo);
                    } else {
                        forget_saved(&undo);
                    }
                }
            }
        }
    }
}

fn lose(loss: Loss, file: &File, offset: u64, old: &[u8], old_len: u64) {
    match loss {
        Loss::Nothing => {}
        Loss::All => {
            file.write_all_at(old, offset).unwrap();
            file.set_len(old_len).unwrap();
        }
        Loss::Torn(seed) => {
            let mut at = offset;
            while at < offset + old.len() as u64 {
                let end = ((at / 512 + 1) * 512).min(offset + old.len() as u64);
                if random(seed ^ (at / 512)).is_multiple_of(3) {
                    let range = usize::try_from(at - offset).unwrap()..usize::try_from(end - offset).unwrap();
                    file.write_all_at(&old[range], at).unwrap();
                }
                at = end;
            }
        }
    }
}

fn take_back(undo: Undo) {
    match undo {
        Undo::Remove(path) => drop(fs::remove_file(path)),
        Undo::Back(from, to, before) => {
            drop(fs::rename(&to, from));
            before.into_iter().for_each(|saved| drop(fs::rename(saved, &to)));
        }
    }
}

/// SplitMix64.
pub(crate) fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn broken() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Inner {
    /// Counts a call. `Err` when it must fail; then `half` says whether a write does a part of its work.
    fn call(&mut self) -> Result<(), bool> {
        self.calls += 1;
        if self.dead {
            return Err(false);
        }
        match self.plan {
            Some((n, Fault::Fails)) if n == self.calls => Err(true),
            Some((n, Fault::Dies)) if n == self.calls => {
                self.dead = true;
                Err(true)
            }
            _ => Ok(()),
        }
    }
}

impl Storage for FaultyFiles {
    fn create(&self, path: &Path, _: Access) -> io::Result<Box<dyn StoredFile>> {
        let mut inner = self.0.lock().unwrap();
        inner.call().map_err(|_| broken())?;
        let fresh = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        if fresh {
            inner.pending.push(Pending::Name { dir: path.parent().unwrap().into(), undo: Undo::Remove(path.into()) });
        }
        self.handle(file)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let mut inner = self.0.lock().unwrap();
        inner.call().map_err(|_| broken())?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        self.handle(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.call().map_err(|_| broken())?;
        let before = to.exists().then(|| {
            let saved = to.with_extension(format!("before{}.tmp", inner.calls));
            fs::hard_link(to, &saved).unwrap();
            saved
        });
        fs::rename(from, to)?;
        let undo = Undo::Back(from.into(), to.into(), before);
        inner.pending.push(Pending::Name { dir: to.parent().unwrap().into(), undo });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.call().map_err(|_| broken())?;
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.lock().unwrap().call().map_err(|_| broken())?;
        fs::create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.call().map_err(|_| broken())?;
        inner.pending.retain(|change| match change {
            Pending::Name { dir, undo } if dir == path => {
                forget_saved(undo);
                false
            }
            Pending::Name { .. } | Pending::Write { .. } => true,
        });
        Ok(())
    }
}

/// Forgets how to take back a rename that is durable.
fn forget_saved(undo: &Undo) {
    if let Undo::Back(_, _, Some(saved)) = undo {
        fs::remove_file(saved).unwrap();
    }
}

impl FaultyFiles {
    fn handle(&self, file: File) -> io::Result<Box<dyn StoredFile>> {
        // A sync is the file's, whichever handle wrote.
        let id = file.metadata()?.ino();
        Ok(Box::new(Handle { files: self.clone(), id, file }))
    }
}

struct Handle {
    files: FaultyFiles,
    id: u64,
    file: File,
}

impl StoredFile for Handle {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.files.0.lock().unwrap();
        let outcome = inner.call();
        let count = match outcome {
            Ok(()) => bytes.len(),
            Err(true) => bytes.len() / 2,
            Err(false) => 0,
        };
        let old_len = self.file.metadata()?.len();
        let mut old = vec![0; count];
        let there = usize::try_from(old_len.saturating_sub(offset)).unwrap().min(count);
        self.file.read_exact_at(&mut old[..there], offset)?;
        self.file.write_all_at(&bytes[..count], offset)?;
        inner.pending.push(Pending::Write { id: self.id, file: self.file.try_clone()?, offset, old, old_len });
        outcome.map_err(|_| broken())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.files.0.lock().unwrap();
        inner.call().map_err(|_| broken())?;
        inner.pending.retain(|change| !matches!(change, Pending::Write { id, .. } if *id == self.id));
        Ok(())
    }
}
