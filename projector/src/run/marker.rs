//! Whether the views were closed well, and by which store they are kept. What was closed well was synced and is trusted.
//! Else it hangs on the store: what fjall holds after a crash of any kind is what was written up to some moment, of which
//! progress is the last. sled's flush is not safe against a loss of power, so what it holds is trusted after a kill under
//! the same kernel only (the page cache outlives a process, and sled recovers a prefix of its writes). Otherwise the views
//! are folded anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::store::StoreKind;

const FILE: &str = "marker";

/// The store that keeps the views in a directory; `None` where none does.
pub(crate) fn kept_by(dir: &Path) -> Option<StoreKind> {
    let marker = fs::read_to_string(dir.join(FILE)).ok()?;
    // Without its name it is one of a version that knew sled only.
    Some(marker.split(' ').nth(1).and_then(|kind| kind.parse().ok()).unwrap_or_default())
}

/// Whether the store beside the marker can be trusted.
pub(crate) fn trusted(dir: &Path) -> bool {
    let marker = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    match marker.split(' ').collect::<Vec<_>>().as_slice() {
        ["clean", ..] | ["running", "fjall", ..] => true,
        ["running", .., boot] => boot_id().is_some_and(|id| *boot == id),
        _ => false,
    }
}

/// Before the first write.
pub(crate) fn set_running(dir: &Path, store: StoreKind) -> io::Result<()> {
    write(dir, FILE, &format!("running {store} {}", boot_id().unwrap_or_default()))
}

/// After the store was synced.
pub(crate) fn set_clean(dir: &Path, store: StoreKind) -> io::Result<()> {
    write(dir, FILE, &format!("clean {store}"))
}

/// After a fault: the next start begins anew.
pub(crate) fn set_broken(dir: &Path, store: StoreKind) -> io::Result<()> {
    write(dir, FILE, &format!("broken {store}"))
}

/// Changes with every start of the kernel; absent where the kernel does not tell.
fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// A small file, whole or as it was before.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, dir.join(name))?;
    File::open(dir)?.sync_all()
}
