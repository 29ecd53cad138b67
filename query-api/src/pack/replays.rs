//! Replay hashes in the answers of a pack, computed again of the entries that they name (SPEC §3.2).

use std::collections::BTreeSet;

use pedigraph_proto::EventId;
use pedigraph_proto::canonical::replay_hash;
use serde_json::Value;

use super::{CHANGES, VERDICTS};

/// A replay hash that an answer gives.
struct Replay<'a> {
    subject: String,
    /// Each with the `proof` of an entry.
    inputs: &'a [Value],
    stated: &'a str,
}

/// What does not hold.
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) expected: Option<String>,
    pub(super) found: Option<String>,
}

/// Computes the replay hashes of an answer about an artifact again; returns how many there are. Answers of other kinds
/// than verdicts and changes have none that the pack has all events of.
///
/// # Errors
/// The first that does not hold.
pub(super) fn check(
    digest: &str,
    kind: &str,
    answer: &Value,
    event_of: impl Fn(u64) -> Option<EventId>,
) -> Result<usize, Wrong> {
    let malformed = || {
        let what = "has verdicts or changes of another shape, or of another artifact".to_owned();
        Wrong { what, expected: None, found: None }
    };
    let replays = match kind {
        VERDICTS => of_verdicts(digest, answer).ok_or_else(malformed)?,
        CHANGES => of_changes(digest, answer).ok_or_else(malformed)?,
        _ => return Ok(0),
    };
    for replay in &replays {
        let index = |input: &Value| input.pointer("/proof/index").and_then(Value::as_u64);
        let events: Option<BTreeSet<EventId>> =
            replay.inputs.iter().map(|input| index(input).and_then(&event_of)).collect();
        let events = events.ok_or_else(|| {
            let what = format!("the pack has not all events behind the replay hash of {}", replay.subject);
            Wrong { what, expected: None, found: None }
        })?;
        let computed = replay_hash(&replay.subject, &events).to_string();
        if computed != replay.stated {
            let what = format!("a replay hash of {} is not that of the entries it names", replay.subject);
            return Err(Wrong { what, expected: Some(computed), found: Some(replay.stated.to_owned()) });
        }
    }
    Ok(replays.len())
}

/// `None` where something is missing or about another artifact.
fn of_verdicts<'a>(digest: &str, answer: &'a Value) -> Option<Vec<Replay<'a>>> {
    let replay = |verdict: &'a Value| {
        (text(verdict, "digest")? == digest).then(|| replay(digest.to_owned(), verdict, "explanation")).flatten()
    };
    list(answer, "verdicts")?.iter().map(replay).collect()
}

fn of_changes<'a>(digest: &str, answer: &'a Value) -> Option<Vec<Replay<'a>>> {
    let mut replays = Vec::new();
    for parent in list(answer, "parents")? {
        let (from, diff) = (text(parent, "from")?, parent.get("diff")?);
        let subject = format!("{from}..{digest}");
        let is_of = |value: &Value, names: [&str; 2]| names.map(|name| text(value, name)) == [Some(from), Some(digest)];
        let deltas = list(parent, "deltas")?;
        let all = is_of(parent, ["from", "to"])
            && is_of(diff, ["from", "to"])
            && deltas.iter().all(|delta| is_of(delta, ["fromArtifactDigest", "toArtifactDigest"]));
        if !all {
            return None;
        }
        for changed in std::iter::once(diff).chain(deltas) {
            replays.push(replay(subject.clone(), changed, "inputs")?);
        }
    }
    Some(replays)
}

fn replay<'a>(subject: String, of: &'a Value, inputs: &str) -> Option<Replay<'a>> {
    Some(Replay { subject, inputs: list(of, inputs)?, stated: text(of, "replayHash")? })
}

fn list<'a>(of: &'a Value, name: &str) -> Option<&'a [Value]> {
    of.get(name)?.as_array().map(Vec::as_slice)
}

fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str()
}
