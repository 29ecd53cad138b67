//! What came in, as answers: counts, and entries by status and subject (SPEC §9, `GET /api/v1/intake`).

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use super::answers;
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::entries::rows::{
    BY_STATUS, CHANGES, COUNTERS_MAX, Counters, GROUP_COUNTERS, VIEW, counters_prefix, subject_key,
};
use crate::store::key::{Key, KeyReader};

impl Scope {
    /// Counts of intake.
    pub fn intake(&self) -> Result<answers::Intake, Error> {
        let mut intake = answers::Intake::default();
        for (counter, n) in self.counters()? {
            let Some((kind, name)) = counter.split_once(':') else { continue };
            let list = match kind {
                "status" => &mut intake.by_status,
                "code" => &mut intake.by_code,
                "format" => &mut intake.by_format,
                _ => &mut intake.by_source,
            };
            list.insert(name.to_owned(), n);
        }
        intake.total = intake.by_status.values().sum();
        Ok(intake)
    }

    /// Indexes of entries with this status (`conflict`, `rejected`) within some, ascending, or from the newest back.
    pub fn entries_by_status(
        &self,
        status: &str,
        within: Range<u64>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<u64>, Error> {
        self.indexes(&self.key(VIEW).byte(BY_STATUS).text(status), within, newest_first, limit)
    }

    /// The same of entries that are about a digest.
    pub fn entries_by_subject(
        &self,
        digest: &str,
        within: Range<u64>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<u64>, Error> {
        self.indexes(&subject_key(&self.tenant, digest), within, newest_first, limit)
    }

    fn indexes(&self, prefix: &Key, within: Range<u64>, newest_first: bool, limit: usize) -> Result<Vec<u64>, Error> {
        let (from, to) = (prefix.clone().number(within.start), prefix.clone().number(within.end));
        let mut indexes: Vec<u64> = Vec::new();
        self.each::<()>(&from, &to, newest_first, Clocks::Known, |_, row| {
            if indexes.last() != Some(&row.stamp.index) {
                if indexes.len() == limit {
                    return Ok(ControlFlow::Break(()));
                }
                indexes.push(row.stamp.index);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(indexes)
    }

    /// Every counter as of the bound: one seek for each group, and what came since.
    fn counters(&self) -> Result<BTreeMap<String, u64>, Error> {
        let mut counters = BTreeMap::new();
        // A group may begin above the bound, and then so do those after it.
        for number in 0..COUNTERS_MAX.div_ceil(GROUP_COUNTERS) {
            let Some(group) = self.newest_counters(number)? else { break };
            counters.extend(group);
        }
        for (source, n) in self.duplicates.as_ref() {
            *counters.entry("status:duplicate".to_owned()).or_default() += n;
            *counters.entry(format!("source:{source}")).or_default() += n;
        }
        Ok(counters)
    }

    /// The number of changes for subscribers as of the bound.
    pub(crate) fn change_count(&self) -> Result<u64, Error> {
        Ok(self.newest_counters(0)?.map_or(0, |group| changes_of(&group)))
    }

    /// As [`Scope::change_count`], after the first commit that holds `index`; `None` where none is seen.
    pub(crate) fn change_count_after(&self, index: u64) -> Result<Option<u64>, Error> {
        let prefix = counters_prefix(&self.tenant, 0);
        let from = prefix.clone().number(index.saturating_add(1));
        let row = self.keyed::<Counters>(&from, &prefix.prefix_end(), false, Clocks::Known, 1)?;
        Ok(row.first().map(|(_, row)| changes_of(&row.value)))
    }

    /// A group of counters as of the bound.
    fn newest_counters(&self, group: usize) -> Result<Option<Counters>, Error> {
        let prefix = counters_prefix(&self.tenant, group);
        let to = prefix.clone().number(self.bound.saturating_add(1));
        let mut newest = None;
        self.each::<Counters>(&prefix, &to, true, Clocks::Known, |key, row| {
            if counters_seq(key).is_none_or(|seq| seq >= self.seq_bound) {
                return Ok(ControlFlow::Continue(()));
            }
            newest = Some(row.value);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(newest)
    }
}

fn changes_of(group: &Counters) -> u64 {
    group.first().filter(|(name, _)| name == CHANGES).map_or(0, |(_, n)| *n)
}

fn counters_seq(key: &[u8]) -> Option<u64> {
    let mut reader = KeyReader::after_view(key)?;
    reader.byte()?;
    reader.number()?;
    reader.number()?;
    reader.number()
}
