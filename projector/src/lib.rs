//! Ledger → fold → rows → answers. `store` and `rows` are the ground, `facts` folds, `ask` answers, `derived` makes rows
//! of what was asked as of an entry, `run` drives them all.
//!
//! The views are a pure function of the ledger (DESIGN §3.4): folds have no clock, no randomness and no I/O but reads
//! of their own rows. This crate knows nothing about HTTP, Kafka or foreign formats, and never reads bodies.

pub mod ask;
mod derived;
mod error;
mod facts;
mod rows;
mod run;
pub mod store;

pub use ask::{
    Affecting, AsOf, Because, CANDIDATES_MAX, COMPARED_MAX, Compared, ComparedCounts, ComparedService, Disagreements,
    EXPLANATION_MAX, EnvironmentDiff, EnvironmentDiffPage, EnvironmentPage, EnvironmentSide, Found, ImpactQuestion,
    LANES_PER_SERVICE_MAX, LaneGood, LanePast, LastKnownGood, Moment, PassedOver, RUNNING_MAX, Ran, RemovedNothing,
    SOUGHT_MAX, SPELLS_MAX, Scope, ServiceHere, Spell, Standing, WhyNot, answers,
};
pub use error::Error;
pub use run::{ChangesOf, CommitContext, Folded, Options, Views, fold_into, fold_into_memory, rebuild};
