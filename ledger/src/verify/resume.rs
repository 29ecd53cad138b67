//! How far the check of a ledger directory came, noted where a segment begins: its header states all that the commits
//! before it lead to, so what is noted is what the header does not say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::journal::fold::Vectors;
use crate::journal::meta::Meta;
use crate::tree::merkle::digest;
use crate::verify::erased::Erased;
use crate::verify::state::{self, Fields, OldHead, Rows, hash, head_text, take_head};
use crate::{Error, Hash, LogId};

const MAGIC: &str = "pedigraph verify directory 1";

/// What is known to be good of the commits before a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Noted {
    /// The segment's first seq.
    pub(crate) seq: u64,
    /// Digest of what its header must state.
    pub(crate) vectors: Hash,
    pub(crate) counted: Counted,
    pub(crate) logs: BTreeMap<LogId, NotedLog>,
    pub(crate) erased: Erased,
}

/// What was read so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) commits: u64,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) blobs: u64,
}

/// The same of one log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NotedLog {
    pub(crate) rows: Rows,
    /// Tiles that were compared.
    pub(crate) tiles: u64,
    /// The checkpoint that was compared.
    pub(crate) checkpoint: Option<OldHead>,
}

/// Stands for a state, wherever in the journal a segment starts from it.
pub(crate) fn digest_of(vectors: &Vectors, meta: &Meta) -> Hash {
    let mut bytes = Vec::new();
    vectors.header(*meta.uuid.as_bytes(), 0, 0).put(&mut bytes);
    digest(&bytes)
}

/// Reads the state of an interrupted check of the same ledger; `None` when there is none.
///
/// # Errors
/// [`Error::Refused`] when the file is no such state, [`Error::Io`].
pub(crate) fn load(file: &Path, meta: &Meta) -> Result<Option<Noted>, Error> {
    let Some((uuid, noted)) = state::read(file, decode)? else { return Ok(None) };
    if uuid != meta.uuid {
        return Err(Error::Refused(format!("{} is of the ledger {uuid}; name another file", file.display())));
    }
    Ok(Some(noted))
}

/// Writes the state, durably; returns how many bytes it has.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn save(file: &Path, meta: &Meta, noted: &Noted) -> Result<u64, Error> {
    let text = encode(&meta.uuid, noted);
    state::write(file, &text)?;
    Ok(text.len() as u64)
}

fn encode(uuid: &uuid::Uuid, noted: &Noted) -> String {
    let Noted { seq, vectors, counted, logs, erased } = noted;
    let Counted { commits, entries, bytes, blobs } = counted;
    let mut text = format!("{MAGIC}\nledger {uuid}\nseq {seq}\nvectors {vectors}\n");
    text.push_str(&format!(
        "commits {commits}\nentries {entries}\nbytes {bytes}\nblobs {blobs}\nlogs {}\n",
        logs.len()
    ));
    for (log, NotedLog { rows, tiles, checkpoint }) in logs {
        let head = head_text(*checkpoint);
        let _infallible = writeln!(text, "log {log}\nsize {}\ntiles {tiles}\ncheckpoint {head}", rows.size());
        state::put_levels(&mut text, rows);
    }
    let _infallible = writeln!(text, "erased {}", erased.count);
    put_each(&mut text, "unlisted", &erased.unlisted, |(log, index)| format!("{log} {index}"));
    put_each(&mut text, "bodies", &erased.blobs, |(digest, (log, index))| format!("{digest} {log} {index}"));
    put_each(&mut text, "listed", &erased.listed_blobs, |(digest, (log, index, seq))| {
        format!("{digest} {log} {index} {seq}")
    });
    put_each(&mut text, "late", &erased.late, |(log, index, seq)| format!("{log} {index} {seq}"));
    state::sealed(text)
}

fn put_each<T>(text: &mut String, name: &str, all: impl IntoIterator<Item = T>, line: impl Fn(T) -> String) {
    let lines: Vec<_> = all.into_iter().map(line).collect();
    let _infallible = writeln!(text, "{name} {}", lines.len());
    lines.iter().for_each(|line| text.push_str(&format!("{name} {line}\n")));
}

fn decode(text: &str) -> Option<(uuid::Uuid, Noted)> {
    let mut fields = Fields::of(text, MAGIC)?;
    let uuid = fields.next("ledger")?.parse().ok()?;
    let (seq, vectors) = (fields.number("seq")?, hash(fields.next("vectors")?)?);
    let (commits, entries) = (fields.number("commits")?, fields.number("entries")?);
    let (bytes, blobs) = (fields.number("bytes")?, fields.number("blobs")?);
    let counted = Counted { commits, entries, bytes, blobs };
    let logs = (0..fields.number("logs")?).map(|_| take_log(&mut fields)).collect::<Option<_>>()?;
    let erased = Erased {
        count: fields.number("erased")?,
        unlisted: take_each(&mut fields, "unlisted", |[log, index]| Some((LogId::new(log)?, index.parse().ok()?)))?,
        blobs: take_each(&mut fields, "bodies", |[digest, log, index]| {
            Some((hash(digest)?, (LogId::new(log)?, index.parse().ok()?)))
        })?,
        listed_blobs: take_each(&mut fields, "listed", |[digest, log, index, seq]| {
            Some((hash(digest)?, (LogId::new(log)?, index.parse().ok()?, seq.parse().ok()?)))
        })?,
        late: take_each(&mut fields, "late", |[log, index, seq]| {
            Some((LogId::new(log)?, index.parse().ok()?, seq.parse().ok()?))
        })?,
    };
    let noted = Noted { seq, vectors, counted, logs, erased };
    // One spelling each, and the checksum of it.
    (encode(&uuid, &noted) == text).then_some((uuid, noted))
}

fn take_log(fields: &mut Fields<'_>) -> Option<(LogId, NotedLog)> {
    let log = LogId::new(fields.next("log")?)?;
    let (size, tiles) = (fields.number("size")?, fields.number("tiles")?);
    let checkpoint = take_head(fields.next("checkpoint")?)?;
    Some((log, NotedLog { rows: fields.levels(size)?, tiles, checkpoint }))
}

fn take_each<const N: usize, T, All: FromIterator<T>>(
    fields: &mut Fields<'_>,
    name: &str,
    take: impl Fn([&str; N]) -> Option<T>,
) -> Option<All> {
    let count = fields.number(name)?;
    (0..count).map(|_| take(fields.next(name)?.split(' ').collect::<Vec<_>>().try_into().ok()?)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::verify::state::tests::no_changed_one_is_read;
    use proptest::prelude::*;

    fn sample() -> Noted {
        let mut rows = Rows::default();
        (0..300_u64).for_each(|n| drop(rows.push(digest(&n.to_be_bytes()))));
        let (log, hash) = (LogId::default_log(), digest(b"x"));
        let checkpoint = Some(OldHead { size: 256, root: hash });
        let of_log = NotedLog { rows, tiles: 2, checkpoint };
        let other = NotedLog { rows: Rows::default(), tiles: 0, checkpoint: None };
        let erased = Erased {
            unlisted: [(log.clone(), 3)].into(),
            blobs: [(hash, (log.clone(), 4))].into(),
            listed_blobs: [(hash, (log.clone(), 4, 9))].into(),
            late: vec![(log.clone(), 5, 9)],
            count: 3,
        };
        let counted = Counted { commits: 1, entries: 300, bytes: 4, blobs: 5 };
        let logs = [(log, of_log), (LogId::new("b").unwrap(), other)].into();
        Noted { seq: 7, vectors: hash, counted, logs, erased }
    }

    /// A state as it is written.
    pub(crate) fn sample_text() -> String {
        encode(&uuid::Uuid::from_u128(7), &sample())
    }

    /// What is written for the state in a text.
    pub(crate) fn written_again(text: &str) -> Option<String> {
        decode(text).map(|(uuid, noted)| encode(&uuid, &noted))
    }

    #[test]
    fn a_state_round_trips_and_no_changed_one_is_read() {
        let uuid = uuid::Uuid::from_u128(7);
        let text = encode(&uuid, &sample());
        assert_eq!(decode(&text), Some((uuid, sample())));
        no_changed_one_is_read(&text, decode);
    }

    proptest! {
        #[test]
        fn hostile_states_never_panic(text in "(pedigraph verify directory 1\n)?(ledger 0{32}\n)?.{0,80}(\n(logs|late) [0-9]{0,20}){0,9}\n.{0,9}") {
            prop_assert_eq!(decode(&text), None);
        }
    }
}
