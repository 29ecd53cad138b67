//! A verified ledger against what a stranger knows: an older checkpoint, a verifier key, a policy.

use crate::notes::policy;
use crate::{Error, Fault, LogId, Reader, Trust, Trusted, Verified};

impl Trusted {
    /// Who cosigned, as a sentence; `None` where nobody was asked for.
    pub(crate) fn cosigned_by(&self, trust: &Trust) -> Option<String> {
        trust.policy.as_ref()?;
        let names: Vec<_> = self.cosignatures.iter().map(|cosignature| cosignature.witness.as_str()).collect();
        Some(match names.is_empty() {
            true => "the policy's quorum asks for no witness, and none cosigned".into(),
            false => format!("the policy's quorum is reached: it is cosigned by {}", names.join(", ")),
        })
    }
}

/// Demands of a ledger that [`verify`](fn@crate::verify) found good what it cannot say of itself: the newest checkpoint
/// of the log satisfies the trust, and the log is a continuation of an older checkpoint. Adds to the result.
///
/// Without an older checkpoint, the log is the one that the key or the policy names, or `default`.
///
/// # Errors
/// [`Error::Refused`] when a checkpoint is not what the trust demands or the ledger has no such log;
/// [`Error::Corrupt`], [`Error::Io`].
pub fn verify_against(
    reader: &Reader,
    trust: &Trust,
    older: Option<&str>,
    verified: &mut Verified,
) -> Result<(), Error> {
    let log = log_of(reader, trust, older)?;
    let own = Trust { vkey: Some(trust.vkey.clone().unwrap_or_else(|| reader.first_vkey(&log))), ..trust.clone() };
    let checkpoint = reader.checkpoint(&log).ok_or_else(|| Error::Refused(format!("log {log} has no checkpoint")))?;
    let note = String::from_utf8_lossy(&checkpoint.note);
    let chain = || Ok(Some(reader.key_chain().into_bytes()));
    let head = policy::following(&own, chain, |trust| trust.checkpoint(&note))?;
    verified
        .checks
        .push(format!("the checkpoint of {} for {} entries is signed by {}", head.origin, head.size, head.vkey));
    verified.checks.extend(head.cosigned_by(&own));
    let Some(older) = older else { return Ok(()) };
    let signed = policy::following(&own, chain, |trust| trust.signed(older));
    let old = signed.map_err(|error| Error::Refused(format!("the older checkpoint: {error}")))?;
    if let Some(size) = reader.size_when_replaced(&log, &old.vkey)?.filter(|size| *size < old.size) {
        return Err(Error::Refused(format!(
            "the older checkpoint is for {} entries, and by a key that was replaced when the log had {size}",
            old.size
        )));
    }
    let size = reader.head(&log).size;
    if old.size > size {
        let what =
            format!("the log has shrunk: the older checkpoint signs {} entries, the ledger has {size}", old.size);
        let affected = format!("entries {size} to {} are gone", old.size - 1);
        verified.fail(Fault::of_entry(&log, size, what, affected));
        return Ok(());
    }
    let found = reader.root_at(&log, old.size)?;
    if found != old.root {
        let what = format!(
            "the log is not a continuation of the older checkpoint: its first {} entries have another root",
            old.size
        );
        let affected =
            format!("one of the entries below {}: history was rewritten; keep the checkpoint, it proves it", old.size);
        let fault = Fault { what, log: Some(log), affected, ..Fault::default() };
        verified.fail(fault.hashes(old.root, found));
        return Ok(());
    }
    verified.checks.push(format!("the first {} entries have the root that the older checkpoint signs", old.size));
    Ok(())
}

impl Verified {
    /// Notes the first fault.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.fault = Some(fault.to_string());
        self.first_fault = Some(fault);
    }
}

/// The log that is meant.
fn log_of(reader: &Reader, trust: &Trust, older: Option<&str>) -> Result<LogId, Error> {
    let listed = trust.policy.iter().flat_map(|policy| policy.logs()).map(|log| log.vkey.as_str());
    let name = |vkey: &str| vkey.split_once('+').map(|(name, _)| name.to_owned());
    let mut origins: Vec<_> = older.and_then(|older| older.split('\n').next()).map(str::to_owned).into_iter().collect();
    if origins.is_empty() {
        origins = trust.vkey.as_deref().into_iter().chain(listed).filter_map(name).collect();
    }
    if origins.is_empty() {
        return Ok(LogId::default_log());
    }
    let found = reader.logs().into_iter().find(|log| origins.contains(&reader.origin(log)));
    found.ok_or_else(|| Error::Refused(format!("the ledger has no log {}", origins.join(", "))))
}
