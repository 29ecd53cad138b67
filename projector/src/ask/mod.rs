//! Questions and their answers: everything is computed from rows, as of a tenant, a bound and a moment.

pub mod answers;
mod artifact;
mod changes;
mod claims;
mod contents;
mod edges;
mod environment;
mod graph;
mod group;
mod identity;
mod impact;
mod intake;
mod line;
mod lineage;
mod materials;
mod named;
mod refs;
mod resolve;
pub(crate) mod scope;
mod statements;
pub(crate) mod subscribed;
mod tag_order;
mod tags;
mod timeline;
mod trace;
mod wording;

pub use self::answers::Found;
pub use self::artifact::ITEMS_MAX;
pub use self::changes::{BACK_MAX, LastKnown};
pub use self::environment::LANES_MAX;
pub use self::graph::{BREADTH_MAX, NODES_MAX};
pub use self::impact::{ImpactQuestion, MATCHES_MAX, PATHS_PER_ROW_MAX, SETS_MAX};
pub use self::refs::{CANDIDATES_MAX, SHORT_COMMIT_MIN, SHORT_DIGEST_MIN};
pub use self::scope::{AsOf, Moment, Scope};
pub use self::tags::TAGS_MAX;
pub use self::timeline::CANARIES_MAX;
