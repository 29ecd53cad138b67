//! Asking witnesses for their cosignatures: all at once, each on a thread of its own, so that a slow one holds up
//! nobody but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::derived::index;
use crate::files::storage;
use crate::notes::cosign;
use crate::notes::policy::Witness;
use crate::publish::witness::{self, Cosigned, Failure, Heard, Reply};
use crate::{Error, LogId, Policy, Reader};

/// Most witnesses that are asked: their lines and the log's fit into a note that every client reads.
pub const WITNESSES_MAX: usize = 64;
/// Questions to one witness about one checkpoint: from what is remembered, from what it says, and once more.
const QUESTIONS_MAX: usize = 3;
/// Most rounds that a witness which fails is left out of.
const ROUNDS_LEFT_OUT_MAX: u32 = 31;

/// Carries a question to a witness and its answer back. Called by several threads at the same time.
pub trait Transport: Send + Sync {
    /// `POST` of a body. It waits no longer than is configured, follows no redirect and reads at most
    /// [`WITNESS_ANSWER_BYTES_MAX`](crate::WITNESS_ANSWER_BYTES_MAX) bytes.
    ///
    /// # Errors
    /// Why there is no answer.
    fn post(&self, url: &str, body: &str) -> Result<Reply, String>;
}

/// What becomes of a checkpoint that the quorum has not cosigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is published; what is missing is asked for again and added.
    Publish,
    /// It waits.
    Hold,
}

/// The witnesses of a ledger's logs.
pub struct Witnesses {
    policy: Policy,
    mode: Mode,
    transport: Box<dyn Transport>,
    status: Mutex<Status>,
}

/// How it stands with the witnesses.
#[derive(Clone, Default, Debug)]
pub struct Status {
    /// In the policy's order, those that have a URL.
    pub witnesses: Vec<WitnessStatus>,
    /// Logs whose newest checkpoint is published without a quorum.
    pub below_quorum: BTreeSet<LogId>,
    /// Logs that have a signed checkpoint which waits for the quorum.
    pub held: BTreeSet<LogId>,
}

/// How it stands with one witness.
#[derive(Clone, Debug)]
pub struct WitnessStatus {
    /// Its name in the policy.
    pub name: String,
    /// What it last cosigned of each log: size, and the time that it stated in seconds since 1970 UTC.
    pub cosigned: BTreeMap<LogId, (u64, u64)>,
    /// How often it failed, by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Why it failed, if it did the last time.
    pub failure: Option<String>,
    number: usize,
    failed_in_a_row: u32,
    left_out: u32,
}

/// How a log's newest checkpoint stands with the quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Reached,
    /// Published without it.
    BelowQuorum,
    /// Waits for it. That says nothing about the one before it, which is still the published one.
    Held,
}

/// A signed checkpoint on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PendingCheckpoint {
    pub(crate) log: LogId,
    pub(crate) size: u64,
    pub(crate) note: String,
}

impl Witnesses {
    /// # Errors
    /// [`Error::Refused`] when the witnesses that have a URL are too many, or can never be a quorum.
    pub fn new(policy: Policy, mode: Mode, transport: Box<dyn Transport>) -> Result<Witnesses, Error> {
        let with_url = || policy.witnesses().iter().enumerate().filter(|(_, witness)| witness.url.is_some());
        if with_url().count() > WITNESSES_MAX {
            return Err(Error::Refused(format!("the policy has more than {WITNESSES_MAX} witnesses with a URL")));
        }
        if !policy.is_quorum(&with_url().map(|(number, _)| number).collect()) {
            return Err(Error::Refused(
                "the policy's quorum cannot be reached: only witnesses with a URL can be asked; add the URLs".into(),
            ));
        }
        let witnesses = with_url().map(|(number, witness)| WitnessStatus::new(number, witness)).collect();
        let status = Mutex::new(Status { witnesses, ..Status::default() });
        Ok(Witnesses { policy, mode, transport, status })
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.locked().clone()
    }

    /// Logs whose newest checkpoint is published without a quorum.
    pub(crate) fn below_quorum(&self) -> BTreeSet<LogId> {
        self.locked().below_quorum.clone()
    }

    /// What happens without a quorum.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn locked(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what the file of a log says.
    pub(crate) fn remember(&self, ledger: &Path, log: &LogId) -> Result<(), Error> {
        let Some(bytes) = storage::read_if_there(&path(ledger, log))? else { return Ok(()) };
        let cosigned = witness::parse_cosigned(&bytes);
        for status in &mut self.locked().witnesses {
            let key = self.policy.witnesses()[status.number].cosigner.public_key();
            if let Some(found) = cosigned.get(key) {
                status.cosigned.insert(log.clone(), *found);
            }
        }
        Ok(())
    }

    /// What the file of a log is to say.
    pub(crate) fn remembered(&self, log: &LogId) -> String {
        let key = |status: &WitnessStatus| *self.policy.witnesses()[status.number].cosigner.public_key();
        let status = self.locked();
        let known = status.witnesses.iter().filter_map(|status| Some((key(status), *status.cosigned.get(log)?)));
        witness::encode_cosigned(&known.collect::<Cosigned>())
    }

    /// Whether the quorum has cosigned a note.
    pub(crate) fn is_quorum(&self, note: &str) -> bool {
        self.policy.cosignatures(note).is_ok()
    }

    /// Notes how it stands with a log.
    pub(crate) fn mark(&self, log: &LogId, standing: Standing) {
        let status = &mut *self.locked();
        match standing {
            Standing::Reached => status.below_quorum.remove(log),
            Standing::BelowQuorum => status.below_quorum.insert(log.clone()),
            Standing::Held => status.held.insert(log.clone()),
        };
        if standing != Standing::Held {
            status.held.remove(log);
        }
    }

    /// Asks every witness for what it has not cosigned yet of some checkpoints and adds its lines to their notes.
    ///
    /// # Errors
    /// [`Error::Fork`] when one of them contradicts this ledger.
    pub(crate) fn ask(&self, reader: &Reader, drafts: &mut [PendingCheckpoint]) -> Result<(), Error> {
        let asked = self.in_this_round();
        let heard: Vec<Vec<(usize, Heard)>> = std::thread::scope(|scope| {
            let drafts = &*drafts;
            let ask = |n: usize| {
                let asking = std::thread::Builder::new().name("witness".into());
                asking.spawn_scoped(scope, move || self.ask_one(n, reader, drafts))
            };
            let running: Vec<_> = asked.iter().map(|n| ask(*n)).collect();
            let heard = running.into_iter().map(|thread| thread.ok().and_then(|thread| thread.join().ok()));
            heard.map(Option::unwrap_or_default).collect()
        });
        // In the policy's order, so that the same answers make the same note.
        for (n, heard) in asked.into_iter().zip(heard) {
            for (draft, heard) in heard {
                self.take(n, &mut drafts[draft], heard)?;
            }
        }
        Ok(())
    }

    /// The witnesses that are asked now. One that fails again and again is asked more and more rarely.
    fn in_this_round(&self) -> Vec<usize> {
        let mut status = self.locked();
        let mut asked = Vec::new();
        for (n, witness) in status.witnesses.iter_mut().enumerate() {
            match witness.left_out.checked_sub(1) {
                None => asked.push(n),
                Some(left) => witness.left_out = left,
            }
        }
        asked
    }

    /// What one witness says to each checkpoint that has no line by it.
    fn ask_one(&self, n: usize, reader: &Reader, drafts: &[PendingCheckpoint]) -> Vec<(usize, Heard)> {
        let witness = &self.policy.witnesses()[self.locked().witnesses[n].number];
        let mut all = Vec::new();
        for (number, draft) in drafts.iter().enumerate() {
            if cosign::time_of(&draft.note, &witness.cosigner).is_ok_and(|time| time.is_some()) {
                continue;
            }
            let from = self.locked().witnesses[n].cosigned.get(&draft.log).map_or(0, |(size, _)| *size);
            let heard = self.talk(witness, reader, draft, from);
            // It would keep the next one waiting just as long.
            let is_over = matches!(heard, Heard::Not(Failure::Unreachable, _) | Heard::Fork(_));
            all.push((number, heard));
            if is_over {
                break;
            }
        }
        all
    }

    fn talk(&self, witness: &Witness, reader: &Reader, draft: &PendingCheckpoint, from: u64) -> Heard {
        let url = format!("{}/add-checkpoint", witness.url.as_deref().unwrap_or_default().trim_end_matches('/'));
        // What is remembered can be too large only when the ledger is an older copy: then the witness says so.
        let mut from = if from > draft.size { 0 } else { from };
        for _ in 0..QUESTIONS_MAX {
            let proof = match from {
                0 => Ok(Vec::new()),
                from => reader.consistency(&draft.log, from, draft.size),
            };
            let proof = match proof {
                Ok(proof) => proof,
                Err(why) => return Heard::Not(Failure::Unreachable, format!("it was not asked: {why}")),
            };
            let reply = match self.transport.post(&url, &witness::request(from, &proof, &draft.note)) {
                Ok(reply) => reply,
                Err(why) => return Heard::Not(Failure::Unreachable, why),
            };
            match witness::read(witness, &draft.note, (from, draft.size), &reply) {
                Heard::At(size) => from = size,
                heard @ (Heard::Cosigned { .. } | Heard::Fork(_) | Heard::Not(..)) => return heard,
            }
        }
        Heard::Not(Failure::Garbage, "it says another size each time".into())
    }

    fn take(&self, n: usize, draft: &mut PendingCheckpoint, heard: Heard) -> Result<(), Error> {
        let mut status = self.locked();
        let witness = &mut status.witnesses[n];
        let (kind, why) = match heard {
            Heard::Cosigned { line, time_s } => {
                draft.note.push_str(&line);
                witness.cosigned.insert(draft.log.clone(), (draft.size, time_s));
                witness.failure = None;
                witness.failed_in_a_row = 0;
                return Ok(());
            }
            Heard::Fork(why) => return Err(fork(&witness.name, &draft.log, &why)),
            Heard::Not(kind, why) => (kind, why),
            Heard::At(_) => return Ok(()),
        };
        tracing::warn!(witness = witness.name, log = %draft.log, size = draft.size, why, "a witness did not cosign");
        *witness.failures.entry(kind).or_default() += 1;
        witness.failure = Some(why);
        witness.failed_in_a_row = witness.failed_in_a_row.saturating_add(1);
        let rounds = 1u32.checked_shl(witness.failed_in_a_row - 1).unwrap_or(u32::MAX) - 1;
        witness.left_out = rounds.min(ROUNDS_LEFT_OUT_MAX);
        Ok(())
    }
}

impl WitnessStatus {
    fn new(number: usize, witness: &Witness) -> WitnessStatus {
        WitnessStatus {
            name: witness.name.clone(),
            cosigned: BTreeMap::new(),
            failures: Failure::ALL.into_iter().map(|kind| (kind, 0)).collect(),
            failure: None,
            number,
            failed_in_a_row: 0,
            left_out: 0,
        }
    }
}

fn fork(witness: &str, log: &LogId, why: &str) -> Error {
    Error::Fork(format!(
        "witness {witness} says of log {log}: {why}. There are two histories of this log: the directory is an older copy, was written in two places, or \
         somebody else has its key. Nothing more may be signed. Keep the directory as it is, find the newest copy of this ledger and restore it \
         with the checkpoint that the witness holds (`pedigraph restore --checkpoint FILE`); deploy/runbook.md says how"
    ))
}

/// The file of what witnesses last cosigned of a log.
pub(crate) fn path(ledger: &Path, log: &LogId) -> PathBuf {
    index::log_dir(ledger, log).join("witnesses")
}
