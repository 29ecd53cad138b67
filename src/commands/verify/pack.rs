//! What `pedigraph verify` says of an evidence pack.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use pedigraph_query_api::pack::read::{self, Check, Error, Fault, Verified};

use crate::output::{Exit, Failure, Format, answer, put};

/// Whether `verify` is given a pack: a file, whatever its name.
pub(crate) fn is_pack(target: &str) -> bool {
    Path::new(target).is_file()
}

/// Checks a pack and says what was found.
pub(crate) fn verify(file: &Path, check: &Check<'_>, output: Format) -> anyhow::Result<()> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    match read::verify(opened, check) {
        Ok(verified) => {
            print(&verified, output);
            Ok(())
        }
        Err(Error::NotAPack(why)) => Err(Failure::error(Exit::Usage, format!("{}: {why}", file.display()))),
        Err(Error::Trust(why)) => Err(Failure::error(Exit::VerificationFailed, format!("verification failed: {why}"))),
        Err(Error::Fault(fault)) => {
            print_fault(&fault, output);
            Err(Failure::error(Exit::VerificationFailed, format!("verification failed: {fault}")))
        }
    }
}

fn print(verified: &Verified, output: Format) {
    if output != Format::Table {
        let mut body = serde_json::to_value(verified).unwrap_or_default();
        body["verified"] = true.into();
        return answer(output, &body, std::slice::from_ref(&body), &[]);
    }
    verified.checks.iter().for_each(|check| put(&format!("ok  {check}")));
    verified.unchecked.iter().for_each(|what| put(&format!("not checked: {what}")));
    put(&format!(
        "verified: {} of {}, as of entry {}: {} entries, {} documents",
        subjects(verified).join(", "),
        verified.origin,
        verified.as_of,
        verified.entries,
        verified.documents
    ));
}

/// What the pack is about.
fn subjects(verified: &Verified) -> Vec<String> {
    let environment = verified.environment.iter().map(|of| format!("what ran in {}", of.name));
    verified.artifacts.iter().cloned().chain(environment).collect()
}

fn print_fault(fault: &Fault, output: Format) {
    if output == Format::Table {
        return;
    }
    let mut body = serde_json::to_value(fault).unwrap_or_default();
    body["verified"] = false.into();
    answer(output, &body, std::slice::from_ref(&body), &[]);
}
