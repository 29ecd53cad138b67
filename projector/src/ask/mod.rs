//! Questions and their answers: everything is computed from rows, as of a tenant, a bound and a moment.

pub mod answers;
mod artifact;
mod badges;
mod calls;
mod changes;
pub(crate) mod children;
mod claims;
mod compare;
mod contents;
pub(crate) mod deltas;
mod diff;
mod edges;
mod environment;
mod environment_diff;
mod good;
mod graph;
mod group;
mod groups;
mod hover;
mod identity;
mod impact;
mod inputs;
mod intake;
mod joined;
mod kept;
mod lanes;
mod licenses;
pub(crate) mod line;
mod lineage;
mod materials;
mod named;
mod past;
mod reach;
mod refs;
mod resolve;
mod rollout;
mod running;
mod same;
mod sboms;
pub(crate) mod scope;
mod service;
mod services;
mod sets;
mod shown;
pub(crate) mod standings;
mod statements;
pub(crate) mod subscribed;
mod tags;
mod timeline;
mod trace;
pub(crate) mod undescribed;
pub(crate) mod vex;
mod wording;

pub use self::answers::Found;
pub use self::artifact::ITEMS_MAX;
pub use self::changes::{BACK_MAX, LastKnown};
pub use self::edges::BREADTH_MAX;
pub use self::environment::LANES_MAX;
pub use self::environment_diff::{
    COMPARED_MAX, Compared, ComparedCounts, ComparedService, EnvironmentDiff, EnvironmentDiffPage, EnvironmentSide,
};
pub use self::good::{
    Because, LaneGood, LastKnownGood, PASSED_OVER_MAX, PassedOver, Ran, SOUGHT_MAX, Standing, WhyNot,
};
pub use self::graph::NODES_MAX;
pub use self::impact::{Affecting, COUNTED_MAX, ImpactQuestion, PATHS_PER_ROW_MAX};
pub use self::reach::{MATCHES_MAX, SETS_MAX};
pub use self::refs::{CANDIDATES_MAX, SHORT_COMMIT_MIN, SHORT_DIGEST_MIN};
pub use self::sboms::{DISAGREEMENTS_MAX, Disagreements, SBOMS_COMPARED_MAX};
pub use self::scope::{AsOf, Moment, Scope};
pub use self::service::{LANES_TOLD_MAX, LanePast, RemovedNothing, SPELLS_MAX, ServiceHere, Spell};
pub use self::services::EnvironmentPage;
pub use self::shown::{EXPLANATION_MAX, LANES_PER_SERVICE_MAX, RUNNING_MAX};
pub use self::tags::TAGS_MAX;
pub use self::timeline::CANARIES_MAX;
