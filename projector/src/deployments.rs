//! What runs where, now and at any time (SPEC §6).

use crate::answers::{Change, Environment, EnvironmentSummary, Page};
use crate::views::{Error, Scope};

impl Scope {
    /// Every environment that was ever named, by name.
    pub fn environments(&self) -> Result<Vec<EnvironmentSummary>, Error> {
        unimplemented!()
    }
    /// One environment; `None` when nobody has named it yet.
    pub fn environment(&self, _name: &str, _include_removed: bool) -> Result<Option<Environment>, Error> {
        unimplemented!()
    }
    /// Its changes, newest first; `after` is a page's key.
    pub fn changes(&self, _name: &str, _after: Option<&[u8]>, _limit: usize) -> Result<Option<Page<Change>>, Error> {
        unimplemented!()
    }
}
