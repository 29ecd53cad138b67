//! Whether the views were closed well. sled's flush is not safe against a loss of power, so what it holds is trusted
//! after a clean close (everything was synced) and after a kill under the same kernel (the page cache outlives a
//! process, and sled recovers a prefix of its writes, of which progress is the last). Otherwise the views are folded
//! anew.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

const FILE: &str = "marker";
const CLEAN: &str = "clean";

/// Whether the store beside the marker can be trusted.
pub(crate) fn trusted(dir: &Path) -> bool {
    let marker = fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    marker == CLEAN || boot_id().is_some_and(|boot| marker == running(&boot))
}

/// Before the first write: from here on only a clean close or the same kernel makes the store trusted.
pub(crate) fn set_running(dir: &Path) -> io::Result<()> {
    write(dir, &boot_id().map_or_else(|| "running".to_owned(), |boot| running(&boot)))
}

/// After the store was synced.
pub(crate) fn set_clean(dir: &Path) -> io::Result<()> {
    write(dir, CLEAN)
}

/// After a fault: the next start begins anew.
pub(crate) fn set_broken(dir: &Path) -> io::Result<()> {
    write(dir, "broken")
}

fn running(boot: &str) -> String {
    format!("running {boot}")
}

/// Changes with every start of the kernel; absent where the kernel does not tell.
fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

fn write(dir: &Path, text: &str) -> io::Result<()> {
    let new = dir.join("marker.new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}
