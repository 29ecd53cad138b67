//! How cautious the statuses of VEX are (SPEC §5, "Consensus").

use crate::event::VexStatus;

impl VexStatus {
    /// Those that say something, most cautious first.
    pub const CAUTIOUS_FIRST: [VexStatus; 4] =
        [VexStatus::Affected, VexStatus::UnderInvestigation, VexStatus::Fixed, VexStatus::NotAffected];

    /// Its place among these: 0 is the most cautious, and what says nothing comes last.
    pub fn caution(self) -> usize {
        VexStatus::CAUTIOUS_FIRST.iter().position(|known| *known == self).unwrap_or(VexStatus::CAUTIOUS_FIRST.len())
    }
}
