//! Statements and what they join: a statement's subjects and its materials are stored once each, so which artifact was
//! made of what is found here.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::edges::EDGE_ROWS_MAX;
use super::identity::{BaseRow, Graph, fields};
use super::scope::Clocks;
use crate::error::Error;
use crate::facts::lineage::rows::{BaseClaim, BaseMethod, Claim, Statement, StatementId, table};
use crate::rows::stamp::{Stamp, Stamped};
use crate::store::key::KeyReader;

/// Statements about one digest that are asked where it comes from, or what went into it: the newest.
const STATEMENTS_MAX: usize = 100;
/// Commits among the materials of one statement that are listed.
const SOURCES_MAX: usize = 32;

/// The materials of one statement.
#[derive(Debug)]
pub(super) struct Materials {
    pub(super) rows: Vec<BaseRow>,
    /// There are more.
    pub(super) cut: bool,
}

impl Graph<'_> {
    /// Statements that say in one of two tables something of some digests, the newest first. What says nothing of that,
    /// such as a scan that is attested every night, is not among them.
    pub(super) fn statements_of(
        &self,
        stated: u8,
        digests: &[String],
        cut: &mut bool,
    ) -> Result<Vec<StatementId>, Error> {
        let mut found = BTreeSet::new();
        for digest in digests {
            let prefix = self.key(stated).text(digest);
            let end = prefix.prefix_end();
            let rows = self.scope.keyed::<u32>(&prefix, &end, true, Clocks::Both, STATEMENTS_MAX)?;
            *cut |= rows.len() == STATEMENTS_MAX;
            let statements = rows.into_iter().map(|(_, row)| {
                let Stamp { time, index, .. } = row.stamp;
                (time, StatementId { index, ordinal: row.value })
            });
            found.extend(statements);
        }
        Ok(found.into_iter().rev().map(|(_, statement)| statement).collect())
    }

    /// What a statement says; each is read once.
    pub(super) fn statement(&self, id: StatementId) -> Result<Option<Rc<Stamped<Statement>>>, Error> {
        if let Some(known) = self.statements.borrow().get(&id) {
            return Ok(known.clone());
        }
        let read = self.scope.get(&id.key(self.key(table::STATEMENTS)), Clocks::Both)?.map(Rc::new);
        self.statements.borrow_mut().insert(id, read.clone());
        Ok(read)
    }

    /// What statements say of where their subjects come from: the claim itself, then commits among their materials.
    pub(super) fn stated_claims(&self, digests: &[String]) -> Result<Vec<Stamped<Claim>>, Error> {
        let mut claims = Vec::new();
        for id in self.statements_of(table::STATED_ORIGINS, digests, &mut false)? {
            let Some(statement) = self.statement(id)? else { continue };
            let (stamp, claim) = (statement.stamp, &statement.value.claim);
            if !claim.says_nothing() {
                claims.push(Stamped { stamp, value: claim.clone() });
            }
            if !claim.commit.is_empty() {
                continue;
            }
            let sources = id.key(self.key(table::SOURCES));
            let rows = self.scope.keyed::<()>(&sources, &sources.prefix_end(), false, Clocks::Both, SOURCES_MAX)?;
            claims.extend(rows.iter().filter_map(|(key, _)| {
                let mut reader = after_statement(key)?;
                let (commit, repository) = (reader.text()?, reader.text()?);
                let said_by = "material".to_owned();
                Some(Stamped { stamp, value: Claim { commit, repository, said_by, ..claim.clone() } })
            }));
        }
        Ok(claims)
    }

    /// A statement's materials: what is said to be images first, so that of a list that is cut the others are missing.
    pub(super) fn materials_of(&self, id: StatementId) -> Result<Materials, Error> {
        let prefix = id.key(self.key(table::MATERIALS));
        let end = prefix.prefix_end();
        let rows = self.scope.keyed::<BaseClaim>(&prefix, &end, false, Clocks::Both, EDGE_ROWS_MAX)?;
        let cut = rows.len() == EDGE_ROWS_MAX;
        let mut seen = BTreeSet::new();
        let rows = rows.into_iter().filter_map(|(key, row)| {
            let mut reader = after_statement(&key)?;
            reader.byte()?;
            let material = reader.text()?;
            seen.insert((material.clone(), row.value.method)).then_some((material, row))
        });
        Ok(Materials { rows: rows.collect(), cut })
    }

    /// Statements that name a digest as a material, as what, and what proves it; the newest first.
    pub(super) fn uses_of(
        &self,
        material: &str,
        cut: &mut bool,
    ) -> Result<Vec<(StatementId, BaseMethod, Stamp)>, Error> {
        let prefix = self.key(table::USES).text(material);
        let rows = self.scope.keyed::<u32>(&prefix, &prefix.prefix_end(), true, Clocks::Both, EDGE_ROWS_MAX)?;
        *cut |= rows.len() == EDGE_ROWS_MAX;
        let mut seen = BTreeSet::new();
        let uses = rows.into_iter().filter_map(|(key, row)| {
            let method = method_of_key(&key)?;
            let statement = StatementId { index: row.stamp.index, ordinal: row.value };
            seen.insert((statement, method)).then_some((statement, method, row.stamp))
        });
        Ok(uses.collect())
    }

    /// The subjects of a statement, at most so many.
    pub(super) fn subjects_of(&self, id: StatementId, limit: usize, cut: &mut bool) -> Result<Vec<String>, Error> {
        let prefix = id.key(self.key(table::SUBJECTS));
        let rows = self.scope.keyed::<()>(&prefix, &prefix.prefix_end(), false, Clocks::Both, limit)?;
        *cut |= rows.len() == limit;
        let mut subjects: Vec<String> = rows.iter().filter_map(|(key, _)| after_statement(key)?.text()).collect();
        subjects.dedup();
        Ok(subjects)
    }
}

/// The fields of a key after its statement.
fn after_statement(key: &[u8]) -> Option<KeyReader<'_>> {
    let mut reader = fields(key)?;
    reader.number()?;
    (0..4).try_for_each(|_| reader.byte().map(drop))?;
    Some(reader)
}

fn method_of_key(key: &[u8]) -> Option<BaseMethod> {
    let methods = [BaseMethod::Image, BaseMethod::Material, BaseMethod::Tool];
    methods.into_iter().find(|method| key.last() == Some(&(*method as u8)))
}
