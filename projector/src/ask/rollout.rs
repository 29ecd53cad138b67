//! How far the fix of something is rolled out in a line of versions (SPEC §5, `components/impact`).

use std::collections::BTreeMap;

use super::answers::{FixCount, FixProgress};
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
    counted: BTreeMap<LineId, Rollout>,
    versions: usize,
}

/// What was counted of one line.
struct Rollout {
    by_environment: BTreeMap<String, FixCount>,
    cut: bool,
}

impl Rollouts {
    /// Of the lanes in which a version of an artifact's line runs, how many run one that is free of what is asked for:
    /// of all, and of one environment. `None` where the line is not known, or the page looked at too many versions
    /// before.
    pub(super) fn of(
        &mut self,
        reach: &Reach<'_>,
        digest: &str,
        environment: &str,
    ) -> Result<Option<FixProgress>, Error> {
        let Some(line) = reach.graph.line_of(digest)? else { return Ok(None) };
        if let Some(known) = self.counted.get(&line) {
            return Ok(Some(known.progress(environment)));
        }
        let most = VERSIONS_PER_LINE_MAX.min(VERSIONS_MAX - self.versions);
        if most == 0 {
            return Ok(None);
        }
        let (versions, cut) = reach.graph.newest_of_line(&line, most)?;
        self.versions += versions.len();
        let rollout = Rollout::of(reach, &versions, cut)?;
        let progress = rollout.progress(environment);
        self.counted.insert(line, rollout);
        Ok(Some(progress))
    }
}

impl Rollout {
    fn of(reach: &Reach<'_>, versions: &[String], mut cut: bool) -> Result<Rollout, Error> {
        let mut lanes = BTreeMap::new();
        for version in versions {
            for run in reach.runs_with(version)? {
                if lanes.len() == LANES_PER_LINE_MAX && !lanes.contains_key(&run.lane) {
                    cut = true;
                    continue;
                }
                // What runs is an index where the line is one of its manifests: another of them may not be free.
                let is_free = reach.is_free(run.artifact.digest.as_deref().unwrap_or(version))?;
                *lanes.entry(run.lane.clone()).or_insert(false) |= is_free;
            }
        }
        let mut by_environment: BTreeMap<String, FixCount> = BTreeMap::new();
        for (lane, is_fixed) in lanes {
            let count = by_environment.entry(lane.environment).or_default();
            count.lanes += 1;
            count.fixed += u64::from(is_fixed);
        }
        Ok(Rollout { by_environment, cut })
    }

    fn progress(&self, environment: &str) -> FixProgress {
        FixProgress {
            lanes: self.by_environment.values().map(|count| count.lanes).sum(),
            fixed: self.by_environment.values().map(|count| count.fixed).sum(),
            in_environment: self.by_environment.get(environment).copied().unwrap_or_default(),
            at_least: self.cut,
        }
    }
}
