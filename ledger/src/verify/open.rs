//! How a ledger is opened to be checked: one that nobody else can open too.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::derived::index;
use crate::fault::fault_text;
use crate::journal::meta::Meta;
use crate::journal::segment;
use crate::publish::checkpoint;
use crate::read::open_ledger::{Durable, DurableLog, OpenLedger};
use crate::{Checkpoint, Error, LogId, Reader, open_reader};

/// A ledger that is to be checked, whatever its newest segment is like.
pub(crate) struct Opened {
    pub(crate) reader: Reader,
    /// Why nobody else could open it.
    pub(crate) contradiction: Option<String>,
    /// The seq of the first commit that is not checked.
    pub(crate) end: u64,
    /// Entries to check, as far as known.
    pub(crate) entries: u64,
    /// Each log's checkpoint as it was before the journal was read: a writer at work may publish a larger one
    /// meanwhile. Or why it cannot be read.
    pub(crate) checkpoints: BTreeMap<LogId, Result<Option<Checkpoint>, String>>,
}

impl Opened {
    pub(crate) fn of(dir: &Path) -> Result<Opened, Error> {
        match open_reader(dir) {
            Err(Error::Corrupt(why)) => Opened::contradicting(dir, why),
            Err(error) => Err(error),
            Ok(reader) => {
                let state = reader.0.durable();
                let (end, entries) = (state.next_seq, state.logs.values().map(|head| head.size).sum());
                let checkpoints =
                    state.logs.iter().map(|(log, head)| (log.clone(), Ok(head.checkpoint.clone()))).collect();
                drop(state);
                Ok(Opened { reader, contradiction: None, end, entries, checkpoints })
            }
        }
    }

    /// Without the newest state, which cannot be had: all that is there is read up to the fault.
    fn contradicting(dir: &Path, why: String) -> Result<Opened, Error> {
        let Some(meta) = Meta::load(dir)? else { return Err(Error::Corrupt(why)) };
        let mut state = Durable::default();
        state.segments = segment::list(dir)?;
        let mut checkpoints = BTreeMap::new();
        for log in logs_with_files(dir)? {
            let checkpoint = checkpoint::load(dir, &log);
            let checkpoint = checkpoint.map(Ok).or_else(|error| fault_text(error).map(Err))?;
            let head = DurableLog { checkpoint: checkpoint.clone().ok().flatten(), ..DurableLog::empty() };
            state.logs.insert(log.clone(), head);
            checkpoints.insert(log, checkpoint);
        }
        let entries = state.logs.keys().map(|log| index::indexed_entries(dir, log)).sum();
        let reader = Reader(OpenLedger::new(dir, meta, state, None));
        Ok(Opened { reader, contradiction: Some(why), end: u64::MAX, entries, checkpoints })
    }
}

/// Logs that have a directory.
pub(crate) fn logs_with_files(dir: &Path) -> Result<Vec<LogId>, Error> {
    let names = match fs::read_dir(dir.join("logs")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names?,
    };
    let mut logs = Vec::new();
    for name in names {
        logs.extend(name?.file_name().to_str().and_then(LogId::new));
    }
    Ok(logs)
}
