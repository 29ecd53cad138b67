//! The full check of what was signed and shown to witnesses, perhaps never published: `logs/<name>/pending`.

use crate::fault::Stop;
use crate::files::storage;
use crate::publish::checkpoint;
use crate::verify::open::logs_with_files;
use crate::{Error, Fault, LogId, Reader};

/// Checks each log's pending checkpoint against entries that were found good: signature, key of its time, size and
/// root. Returns how many there are. One of the past is checked too: a witness may hold it.
pub(crate) fn check_pending(reader: &Reader) -> Result<u64, Stop> {
    let mut count = 0;
    for log in logs_with_files(reader.dir())? {
        if let Some(note) =
            storage::read_if_there(&checkpoint::pending_path(reader.dir(), &log)).map_err(Error::from)?
        {
            check(reader, &log, &String::from_utf8_lossy(&note))?;
            count += 1;
        }
    }
    Ok(count)
}

fn check(reader: &Reader, log: &LogId, note: &str) -> Result<(), Stop> {
    let path = checkpoint::pending_path(reader.dir(), log);
    let fault = |what: String, affected: &str| Fault {
        what: format!("{}: {what}", path.display()),
        log: Some(log.clone()),
        affected: affected.into(),
        ..Fault::default()
    };
    let origin = reader.origin(log);
    let (size, root, key) = match reader.0.meta.keys.verify_checkpoint(note, &origin) {
        Ok(signed) => signed,
        Err(Error::Refused(why)) => return Err(fault(why, FILE_ALONE).into()),
        Err(error) => return Err(error.into()),
    };
    // After the note: a writer at work signs what is durable.
    let here = reader.head(log).size;
    if size > here {
        let what = format!("{size} entries were signed, and perhaps shown to witnesses; {here} are there");
        let affected = format!("entries {here} to {} of log {log} are gone: {RESTORE}", size - 1);
        return Err(Fault { index: Some(here), ..fault(what, &affected) }.into());
    }
    let found = reader.root_at(log, size)?;
    if found != root {
        let what = format!("the log has another root at size {size} than was signed");
        let affected = format!("one of the entries below {size} of log {log}: history was rewritten; {RESTORE}");
        return Err(fault(what, &affected).hashes(root, found).into());
    }
    match reader.size_when_replaced(log, &crate::notes::note::vkey(&origin, &key))? {
        Some(last) if size > last => {
            let what = format!("size {size} is signed by a key that was replaced when the log had {last} entries");
            Err(fault(what, FILE_ALONE).into())
        }
        Some(_) | None => Ok(()),
    }
}

const RESTORE: &str = "restore the ledger from its newest copy";
const FILE_ALONE: &str = "this file alone: restore it from a copy";
