//! How far the fix of something is rolled out in a line of versions (SPEC §5, `components/impact`).

use std::collections::{BTreeMap, BTreeSet};

use super::answers::FixProgress;
use super::reach::Reach;
use crate::error::Error;
use crate::facts::lines::rows::LineId;

/// Newest versions of one line that are looked at for where they run.
const VERSIONS_PER_LINE_MAX: usize = 200;
/// Versions that one page looks at, over all of its lines.
const VERSIONS_MAX: usize = 1_000;
/// Lanes of one line that are counted.
const LANES_PER_LINE_MAX: usize = 1_000;

/// What one page counted, each line once.
#[derive(Default)]
pub(super) struct Rollouts {
    counted: BTreeMap<LineId, FixProgress>,
    versions: usize,
}

impl Rollouts {
    /// Of the lanes in which a version of an artifact's line runs, how many run one that is free of what is asked for.
    /// `None` where the line is not known, or the page looked at too many versions before.
    pub(super) fn of(&mut self, reach: &Reach<'_>, digest: &str) -> Result<Option<FixProgress>, Error> {
        let Some(line) = reach.graph.line_of(digest)? else { return Ok(None) };
        if let Some(known) = self.counted.get(&line) {
            return Ok(Some(*known));
        }
        let most = VERSIONS_PER_LINE_MAX.min(VERSIONS_MAX - self.versions);
        if most == 0 {
            return Ok(None);
        }
        let (versions, mut cut) = reach.graph.newest_of_line(&line, most)?;
        self.versions += versions.len();
        let (mut lanes, mut fixed) = (BTreeSet::new(), BTreeSet::new());
        for version in versions {
            for run in reach.runs_with(&version)? {
                if lanes.len() == LANES_PER_LINE_MAX && !lanes.contains(&run.lane) {
                    cut = true;
                    continue;
                }
                // What runs is an index where the line is one of its manifests: another of them may not be free.
                if reach.is_free(run.artifact.digest.as_deref().unwrap_or(&version))? {
                    fixed.insert(run.lane.clone());
                }
                lanes.insert(run.lane.clone());
            }
        }
        let progress = FixProgress { lanes: lanes.len() as u64, fixed: fixed.len() as u64, at_least: cut };
        self.counted.insert(line, progress);
        Ok(Some(progress))
    }
}
