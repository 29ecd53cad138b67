//! Lines in memory, for tests: each change is an entry of its own, and what a question reads is counted.

use std::sync::Arc;

use pedigraph_proto::TenantId;

use super::Lines;
use super::rows::LineId;
use crate::error::Error;
use crate::rows::Rows;
use crate::rows::root::RootState;
use crate::rows::sink::RowSink;
use crate::rows::stamp::Stamp;
use crate::store::{Budget, MemStore, Meter, Metered};

/// The line that tests write.
pub(super) const LINE: LineId = [7; 16];

/// Rows of lines.
#[derive(Default)]
pub(super) struct World {
    store: Arc<MemStore>,
    tenant: TenantId,
    /// Of the next entry.
    pub(super) index: u64,
}

impl World {
    /// What the next entry writes.
    pub(super) fn write(&mut self, act: impl FnOnce(&Lines<'_>) -> Result<(), Error>) {
        let stamp = Stamp { index: self.index, ordinal: 1, time: 0 };
        let lines = Lines::written_at(self.store.as_ref(), &self.tenant, stamp);
        act(&lines).expect("in memory");
        let mut sink = RowSink::new(self.store.clone(), RootState::default());
        let mut rows = Rows { store: self.store.as_ref(), sink: &mut sink, stamp, buffer: &mut Vec::new() };
        lines.insert_into(&mut rows).expect("in memory");
        sink.settle().expect("in memory");
        self.index += 1;
    }

    /// What is known below an index, and how many rows were read for it.
    pub(super) fn read<T>(&self, bound: u64, ask: impl FnOnce(&Lines<'_>) -> Result<T, Error>) -> (T, u64) {
        let meter = Arc::new(Meter::new(Budget::NONE));
        let store = Metered { store: self.store.clone(), meter: meter.clone() };
        let answer = ask(&Lines::below(&store, &self.tenant, bound)).expect("in memory");
        (answer, meter.rows())
    }
}

/// A number that looks random, from a seed.
pub(super) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
