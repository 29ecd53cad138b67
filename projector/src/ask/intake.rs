//! What came in, as answers: counts, and entries by status and subject (SPEC §9, `GET /api/v1/intake`).

use std::ops::ControlFlow;

use super::answers;
use super::scope::{Clocks, Scope};
use crate::error::Error;
use crate::facts::entries::rows::{BY_STATUS, COUNTERS_MAX, VIEW, counter_prefix, subject_key};
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

    /// Indexes of entries with this status (`conflict`, `rejected`), ascending from `from`.
    pub fn entries_by_status(&self, status: &str, from: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let prefix = self.key(VIEW).byte(BY_STATUS).text(status);
        self.indexes(&prefix, from, limit)
    }

    /// Indexes of entries that are about a digest, ascending from `from`.
    pub fn entries_by_subject(&self, digest: &str, from: u64, limit: usize) -> Result<Vec<u64>, Error> {
        self.indexes(&subject_key(&self.tenant, digest), from, limit)
    }

    fn indexes(&self, prefix: &Key, from: u64, limit: usize) -> Result<Vec<u64>, Error> {
        let mut indexes: Vec<u64> = Vec::new();
        let start = prefix.clone().number(from);
        self.each::<()>(&start, &prefix.prefix_end(), false, Clocks::Known, |_, row| {
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

    /// Every counter as of the bound: one seek per counter.
    fn counters(&self) -> Result<Vec<(String, u64)>, Error> {
        let prefix = counter_prefix(&self.tenant);
        let mut from = prefix.clone();
        let mut counters = Vec::new();
        while counters.len() < COUNTERS_MAX {
            let next = self.shared.store.scan(from.as_bytes(), prefix.prefix_end().as_bytes(), false, 1)?;
            let Some((key, _)) = next.first() else { break };
            let Some(name) = counter_name(key) else { return Err(Error::Store("counter: no name".into())) };
            let of_counter = prefix.clone().text(&name);
            if let Some(n) = self.counter(&name)? {
                counters.push((name, n));
            }
            from = of_counter.prefix_end();
        }
        Ok(counters)
    }

    /// A counter's value as of the bound.
    pub(crate) fn counter(&self, name: &str) -> Result<Option<u64>, Error> {
        let prefix = counter_prefix(&self.tenant).text(name);
        let to = prefix.clone().number(self.bound.saturating_add(1));
        let mut value = None;
        self.each::<u64>(&prefix, &to, true, Clocks::Known, |key, row| {
            if counter_seq(key).is_none_or(|seq| seq >= self.seq_bound) {
                return Ok(ControlFlow::Continue(()));
            }
            value = Some(row.value);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(value)
    }

    /// A counter's value after the first commit that holds `index`.
    pub(crate) fn counter_after(&self, name: &str, index: u64) -> Result<Option<u64>, Error> {
        let prefix = counter_prefix(&self.tenant).text(name);
        let from = prefix.clone().number(index.saturating_add(1));
        let row = self.keyed::<u64>(&from, &prefix.prefix_end(), false, Clocks::Known, 1)?;
        Ok(row.first().map(|(_, row)| row.value))
    }
}

fn counter_name(key: &[u8]) -> Option<String> {
    let mut reader = KeyReader::after_view(key)?;
    reader.byte()?;
    reader.text()
}

fn counter_seq(key: &[u8]) -> Option<u64> {
    let mut reader = KeyReader::after_view(key)?;
    reader.byte()?;
    reader.text()?;
    reader.number()?;
    reader.number()
}
