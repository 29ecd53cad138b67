//! Running the folds: the one runner, the folder, rebuilds, recorded roots, and the handle that readers get.

mod aside;
mod behind;
mod commit;
mod decoded;
mod deriver;
mod directory;
mod entry;
mod folder;
mod marker;
mod piece;
mod progress;
mod rebuild;
mod recorded;
mod recovery;
mod runner;
#[cfg(test)]
mod test_log;
mod trace;
mod views;
mod visible;

pub use self::directory::Options;
pub use self::rebuild::{Folded, fold_into, fold_into_memory, rebuild};
pub use self::trace::CommitContext;
pub use self::views::{ChangesOf, Views};
