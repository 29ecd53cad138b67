//! `pedigraph rebuild`: the views, folded anew.

use clap::Args;
use pedigraph_projector::answers::ViewRoots;
use pedigraph_projector::store::StoreKind;

use crate::arguments::DataDirectory;
use crate::data_dir::open_ledger;
use crate::output::{Exit, Failure, progress_bar, put, say};

/// Bytes of the views' cache while they are rebuilt.
const CACHE_BYTES: u64 = 256 << 20;
/// Bytes of journal that are folded at once.
const STEP_BYTES: usize = 4 << 20;

/// `pedigraph rebuild`
#[derive(Args, Debug)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    data: DataDirectory,
    /// What is to keep them: sled or fjall. It must be the store that the server is configured with, else that folds
    /// anew [default: what is there, else sled].
    #[arg(long, env = "PEDIGRAPH_VIEWS_STORE", value_name = "STORE")]
    views_store: Option<StoreKind>,
    /// Only fold in memory and print the view root, changing nothing.
    #[arg(long)]
    check: bool,
}

impl Rebuild {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let data = self.data.path();
        let ledger = open_ledger(&data)?;
        let bar = progress_bar(ledger.next_seq(), "commits");
        let mut progress = |done, _| bar.set_position(done);
        let options = pedigraph_projector::Options { cache_bytes: CACHE_BYTES, store: self.views_store };
        let folded = if self.check {
            pedigraph_projector::fold_into_memory(&ledger, STEP_BYTES)?
        } else {
            pedigraph_projector::rebuild(&data.join("views"), &ledger, &options, &mut progress)?
        };
        bar.finish_and_clear();
        put(&format!("{}  after {} commits", folded.root, folded.commits));
        folded.derived.iter().for_each(|(name, root)| put(&format!("{root}  {name}")));
        told_of_recorded(&folded.recorded)
    }
}

/// Says what the roots in the ledger came to; a difference is a fault.
fn told_of_recorded(roots: &ViewRoots) -> anyhow::Result<()> {
    let ViewRoots { compared, mismatched, other_version, out_of_reach, .. } = roots;
    say(&format!("{compared} recorded view roots compared, {mismatched} differ"));
    if *other_version > 0 {
        say(&format!("{other_version} more are of another version of the views and cannot be compared"));
    }
    if *out_of_reach > 0 {
        say(&format!("{out_of_reach} more were recorded too long after their commit and cannot be compared"));
    }
    match &roots.first_mismatch {
        None => Ok(()),
        Some(first) => Err(Failure::error(Exit::VerificationFailed, format!("first difference: {first}"))),
    }
}
