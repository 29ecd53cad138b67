//! `pedigraph verify`: what a stranger checks, with nothing but a key or a policy.

mod pack;
mod remote;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use pedigraph_ledger::{Error, Fault, Hash, PROOF_BYTES_MAX, TilesCheck, Trust, Verified, follow_keys, public_key};
use pedigraph_query_api::pack::read::Check;
use serde_json::{Value, json};

use crate::data_dir::ledger_dir;
use crate::files::read_small;
use crate::output::{Exit, Failure, Format, answer, progress_bar, put};
use crate::witnesses::read_policy;

/// `pedigraph verify`
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// A data directory, a ledger directory, a static copy made by `log mirror`, a log's URL
    /// (http://HOST/ledger/default), or an evidence pack made by `export`.
    #[arg(value_name = "DIR|URL|ZIP", required_unless_present_any = ["proof", "data"])]
    target: Option<String>,
    /// The data directory to check, as an option.
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    data: Option<PathBuf>,
    /// The log's verifier key (`log vkey`), or a file that holds it. Copies and proofs need it, or a policy that names
    /// the log.
    #[arg(long, visible_alias = "key", value_name = "KEY")]
    vkey: Option<String>,
    /// A C2SP tlog-policy file: the logs that are accepted, and the witnesses that must have cosigned.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The chain of keys (`log vkey --chain`): it leads from the key or the policy's log lines to the key that signs
    /// now. A directory and a URL have it themselves.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// An older checkpoint that was kept: the log must be a continuation of it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Note the progress in this file and go on from it, after an interruption or a fault that was mended. What the
    /// file says is believed: keep it where nobody else can write.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Check this proof (`log proof`) instead, offline.
    #[arg(long, value_name = "FILE", requires = "entry")]
    #[arg(conflicts_with_all = ["target", "data", "checkpoint", "resume"])]
    proof: Option<PathBuf>,
    /// The bytes of the entry that the proof is for (`log entry`).
    #[arg(long, value_name = "FILE", requires = "proof")]
    entry: Option<PathBuf>,
    /// Accept an evidence pack whose manifest is not signed: entries and documents are proved by the checkpoint,
    /// answers are not.
    #[arg(long)]
    unsigned: bool,
    /// Bearer token, for a server that asks for one.
    #[arg(long, env = "PEDIGRAPH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Verify {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let trust = self.trust()?;
        if let (Some(proof), Some(entry)) = (&self.proof, &self.entry) {
            return self.proof(proof, entry, &trust);
        }
        let older = self.checkpoint.as_deref().map(read_text).transpose()?;
        let target = self.target.as_deref().unwrap_or_default();
        if self.data.is_none() && pack::is_pack(target) {
            if self.resume.is_some() {
                return Err(Failure::error(Exit::Usage, "an evidence pack is checked in one go: leave out --resume"));
            }
            let check = Check { trust, older: older.as_deref(), unsigned: self.unsigned };
            return pack::verify(Path::new(target), &check, self.output);
        }
        let bar = progress_bar(0, "entries");
        let mut started = false;
        let mut progress = |done, total| {
            bar.set_length(total);
            bar.set_position(done);
            if !started {
                // What an earlier run did says nothing about the speed of this one.
                bar.reset_eta();
                started = true;
            }
        };
        let found = self.log(target, &trust, older.as_deref(), &mut progress);
        bar.finish_and_clear();
        let found = found.map_err(|error| self.failure(error))?;
        self.print(&found, &bar);
        match found.fault {
            None => Ok(()),
            Some(fault) => Err(Failure::error(Exit::VerificationFailed, format!("verification failed: {fault}"))),
        }
    }

    fn log(
        &self,
        target: &str,
        trust: &Trust,
        older: Option<&str>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> anyhow::Result<Verified> {
        if target.starts_with("http://") || target.starts_with("https://") {
            let agent = remote::agent();
            let fetch = |path: &str| remote::get(&agent, target, self.token.as_deref(), path);
            return self.copy(&fetch, trust, older, progress);
        }
        let dir = self.data.as_deref().unwrap_or(Path::new(target));
        self.directory(&ledger_dir(dir), trust, older, progress)
    }

    fn directory(
        &self,
        dir: &Path,
        trust: &Trust,
        older: Option<&str>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> anyhow::Result<Verified> {
        if !dir.is_dir() {
            return Err(Failure::error(Exit::NotFound, format!("{} is not a directory", dir.display())));
        }
        if !dir.join("journal").is_dir() {
            return self.copy(&|path| pedigraph_ledger::read_mirror(dir, path), trust, older, progress);
        }
        let mut found = pedigraph_ledger::verify_with(dir, self.resume.as_deref(), progress)?;
        let asked = older.is_some() || trust.vkey.is_some() || trust.policy.is_some();
        if asked && found.fault.is_none() {
            pedigraph_ledger::verify_against(&pedigraph_ledger::open_reader(dir)?, trust, older, &mut found)?;
        }
        Ok(found)
    }

    fn copy(
        &self,
        fetch: pedigraph_ledger::Fetch<'_>,
        trust: &Trust,
        older: Option<&str>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> anyhow::Result<Verified> {
        need_key(trust)?;
        let check = TilesCheck { trust, older, resume: self.resume.as_deref() };
        Ok(pedigraph_ledger::verify_tiles(fetch, &check, progress)?)
    }

    fn proof(&self, proof: &Path, entry: &Path, trust: &Trust) -> anyhow::Result<()> {
        need_key(trust)?;
        let text = read_text(proof)?;
        let entry = std::fs::read(entry).with_context(|| format!("cannot read {}", entry.display()))?;
        let proved =
            pedigraph_ledger::verify_proof(&text, &entry, trust).map_err(|error| self.failure(error.into()))?;
        let names: Vec<_> = proved.checkpoint.cosignatures.iter().map(|c| c.witness.as_str()).collect();
        let body = json!({
            "verified": true, "index": proved.index, "leafHash": proved.leaf_hash.to_string(),
            "origin": proved.checkpoint.origin,
            "size": proved.checkpoint.size, "root": proved.checkpoint.root.to_string(), "cosignedBy": names,
        });
        if self.output != Format::Table {
            answer(self.output, &body, std::slice::from_ref(&body), &[]);
            return Ok(());
        }
        put(&format!("ok  the checkpoint of {} is signed by the log's key", proved.checkpoint.origin));
        if trust.policy.is_some() {
            put(&format!("ok  the policy's quorum is reached; cosigned by: {}", listed(&names)));
        }
        put(&format!("verified: the entry is number {} of {} entries", proved.index, proved.checkpoint.size));
        Ok(())
    }

    fn trust(&self) -> anyhow::Result<Trust> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let vkey = self.vkey.as_deref().map(key_text).transpose()?;
        let chain = self.keys.as_deref().map(read_text).transpose()?;
        let trust = Trust { vkey, policy, chain };
        check_chain(&trust)?;
        Ok(trust)
    }

    fn print(&self, found: &Verified, bar: &ProgressBar) {
        let seconds = bar.elapsed().as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { (approximate(count) / seconds).round() } else { 0.0 };
        let mut body = json!({
            "verified": found.fault.is_none(), "commits": found.commits, "entries": found.entries, "bytes": found.bytes,
            "believed": found.believed, "blobs": found.blobs, "checks": found.checks,
            "fault": found.fault, "seconds": seconds,
            "entriesPerSecond": rate(found.entries.saturating_sub(found.believed)),
        });
        if let Some(fault) = &found.first_fault {
            body["faultLog"] = fault.log.as_ref().map_or(Value::Null, |log| log.as_str().into());
            body["faultIndex"] = fault.index.map_or(Value::Null, Value::from);
            body["expected"] = fault.expected.map_or(Value::Null, |hash| hash.to_string().into());
            body["found"] = fault.found.map_or(Value::Null, |hash| hash.to_string().into());
            body["affected"] = fault.affected.clone().into();
        }
        if self.output != Format::Table {
            return answer(self.output, &body, std::slice::from_ref(&body), &[]);
        }
        found.checks.iter().for_each(|check| put(&format!("ok  {check}")));
        let verdict = if found.fault.is_none() { "verified" } else { "NOT verified" };
        put(&format!(
            "{verdict}: {} entries, {} commits, {} blobs, {} bytes in {seconds:.1} s, {} entries/s",
            found.entries,
            found.commits,
            found.blobs,
            found.bytes,
            rate(found.entries.saturating_sub(found.believed))
        ));
        found.first_fault.iter().for_each(print_fault);
    }

    /// What was refused is a failed check; what could not be read is none.
    fn failure(&self, error: anyhow::Error) -> anyhow::Error {
        let url = self.target.as_deref().is_some_and(|target| target.starts_with("http"));
        match error.downcast_ref::<Error>() {
            Some(Error::Refused(_) | Error::Corrupt(_)) => {
                // A key is not followed back to one that it replaced.
                let hint = match self.proof {
                    Some(_) => {
                        "; where the log's key was rotated since, give the key of that time (`log vkey --chain`)"
                    }
                    None => "",
                };
                Failure::error(Exit::VerificationFailed, format!("verification failed: {error}{hint}"))
            }
            Some(Error::Io(why)) if url && why.kind() == ErrorKind::PermissionDenied => {
                let hint = "give a token with ledger:read of the log's tenant: --token or PEDIGRAPH_TOKEN";
                Failure::error(Exit::NotAllowed, format!("{why}; {hint}"))
            }
            Some(Error::Io(why)) if url => {
                let hint = "nothing is said about the log; try again, with --resume FILE to go on from where it ended";
                Failure::error(Exit::Unreachable, format!("{why}; {hint}"))
            }
            Some(_) => Failure::error(Exit::Error, error.to_string()),
            None => error,
        }
    }
}

fn print_fault(fault: &Fault) {
    let log = fault.log.as_ref().map(|log| format!(" of log {log}")).unwrap_or_default();
    let index = fault.index.map_or_else(|| "cannot be said".to_owned(), |index| index.to_string());
    put(&format!("first bad index: {index}{log}"));
    let hash = |name: &str, hash: Option<Hash>| {
        hash.into_iter().for_each(|hash| put(&format!("{name} {hash}")));
    };
    hash("expected:       ", fault.expected);
    hash("found:          ", fault.found);
    put(&format!("affected:        {}", fault.affected));
}

/// Good enough for a rate.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn approximate(count: u64) -> f64 {
    count as f64
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

/// A chain that does not begin with a key that is trusted was given by mistake.
fn check_chain(trust: &Trust) -> anyhow::Result<()> {
    let Some(chain) = &trust.chain else { return Ok(()) };
    let listed = trust.policy.iter().flat_map(|policy| policy.logs()).map(|log| log.vkey.as_str());
    let mut followed = trust.vkey.as_deref().into_iter().chain(listed).map(|vkey| follow_keys(chain, vkey)).peekable();
    if followed.peek().is_none() || followed.any(|newest| newest.is_ok()) {
        return Ok(());
    }
    let text = "verification failed: the chain of keys is damaged, or does not contain a key that is trusted";
    Err(Failure::error(Exit::VerificationFailed, text))
}

/// A copy says itself what its key is; that is worth nothing.
fn need_key(trust: &Trust) -> anyhow::Result<()> {
    let listed = trust.policy.as_ref().is_some_and(|policy| !policy.logs().is_empty());
    if trust.vkey.is_some() || listed {
        return Ok(());
    }
    let text = "name the log's verifier key with --vkey (`pedigraph log vkey`), or a --policy with a log line";
    Err(Failure::error(Exit::Usage, text))
}

fn key_text(given: &str) -> anyhow::Result<String> {
    let key = if Path::new(given).is_file() { read_text(Path::new(given))? } else { given.to_owned() };
    let key = key.trim();
    if public_key(key).is_none() {
        let hint = "give the whole line that `pedigraph log vkey` prints, or a file with it";
        return Err(Failure::error(Exit::Usage, format!("--vkey is no verifier key: {hint}")));
    }
    Ok(key.to_owned())
}

fn read_text(file: &Path) -> anyhow::Result<String> {
    let bytes = read_small(file, PROOF_BYTES_MAX)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::error(Exit::VerificationFailed, format!("{} is not UTF-8", file.display())))
}
