//! The views over a real ledger.

#[path = "projector/badges.rs"]
mod badges;
#[path = "projector/book.rs"]
mod book;
#[path = "projector/budget.rs"]
mod budget;
#[path = "projector/compare.rs"]
mod compare;
#[path = "projector/corpus.rs"]
mod corpus;
#[path = "projector/deltas.rs"]
mod deltas;
#[path = "projector/faults.rs"]
mod faults;
#[path = "projector/findings.rs"]
mod findings;
#[path = "projector/flat.rs"]
mod flat;
#[path = "projector/invariants.rs"]
mod invariants;
#[path = "projector/late.rs"]
mod late;
#[path = "projector/limits.rs"]
mod limits;
#[path = "projector/lineage.rs"]
mod lineage;
#[path = "projector/lines.rs"]
mod lines;
#[path = "projector/names.rs"]
mod names;
#[path = "projector/origins.rs"]
mod origins;
#[path = "projector/recorded.rs"]
mod recorded;
#[path = "projector/references.rs"]
mod references;
#[path = "projector/sizes.rs"]
mod sizes;
#[path = "projector/statements.rs"]
mod statements;
#[path = "projector/watched.rs"]
mod watched;
#[expect(dead_code, reason = "of the shared world, what random histories need")]
mod world;
