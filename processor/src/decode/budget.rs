//! What the facts of one message may take together, so that a small message never becomes a large one: a document's
//! texts are said again for each thing that it names.
//!
//! Components and aliases are not taken from it: each is said once, in no more than some times what the document has
//! of it.

use std::cell::Cell;

use pedigraph_proto::message::{Code, Reject};
use pedigraph_proto::protobuf::Message;

/// Memory that the facts of any message may take, bytes: an SBOM or a VEX document may be said of some thousand things.
const BYTES_BESIDES: u64 = 8 << 20;
/// And for each byte of it: documents of real products take 5 at most (`cargo test -p pedigraph-processor --test decode
/// real_documents` measures).
const BYTES_PER_BYTE: u64 = 32;
/// Most bytes of facts as the ledger keeps them, of a message of any size.
const ENCODED_BYTES_MAX: u64 = 256 << 20;

/// What is left for the facts of one message. Everything that is said several times is taken from it before it is
/// copied.
pub(super) struct Budget {
    input: u64,
    memory: Cell<u64>,
    encoded: Cell<u64>,
}

impl Budget {
    /// The budget of a message of so many bytes.
    pub(super) fn of(input: u64) -> Budget {
        Budget { input, memory: Cell::new(memory_max(input)), encoded: Cell::new(ENCODED_BYTES_MAX) }
    }

    /// Takes what an item needs.
    pub(super) fn take<M: Message>(&self, item: &M) -> Result<(), Reject> {
        self.take_times(item, 1)
    }

    /// Takes what some copies of an item need.
    pub(super) fn take_times<M: Message>(&self, item: &M, times: usize) -> Result<(), Reject> {
        self.take_bytes::<M>(item.encoded_len(), times)
    }

    /// Takes what some items of that many encoded bytes each need.
    pub(super) fn take_bytes<M>(&self, encoded: usize, times: usize) -> Result<(), Reject> {
        let (encoded, times) = (encoded as u64, times as u64);
        self.less(&self.encoded, encoded.saturating_mul(times))?;
        self.less(&self.memory, (size_of::<M>() as u64 + encoded).saturating_mul(times))
    }

    /// Takes memory that is held until the facts are made.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Reject> {
        self.less(&self.memory, bytes as u64)
    }

    fn less(&self, left: &Cell<u64>, bytes: u64) -> Result<(), Reject> {
        left.set(left.get().checked_sub(bytes).ok_or_else(|| self.exceeded())?);
        Ok(())
    }

    fn exceeded(&self) -> Reject {
        let reason = format!(
            "what it states comes to more than {} bytes, for {} bytes that were sent: its texts are said again for each \
             thing that it names; send one document for each, or fewer things in one",
            memory_max(self.input).min(ENCODED_BYTES_MAX),
            self.input
        );
        Reject::new(Code::TooLarge, reason)
    }
}

/// Bytes of memory that the facts of an input may take.
fn memory_max(input: u64) -> u64 {
    BYTES_BESIDES.saturating_add(input.saturating_mul(BYTES_PER_BYTE))
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::event::Finding;

    use super::*;

    #[test]
    fn a_budget_ends_with_a_reject_that_says_the_number() {
        let budget = Budget::of(10);
        let finding = Finding { package_name: "p".repeat(1 << 20), ..Finding::default() };
        assert!(budget.take_times(&finding, 7).is_ok());
        let refused = budget.take_times(&finding, 1).expect_err("eight are more than 8 MiB");
        assert_eq!(refused.code, Code::TooLarge);
        assert!(refused.reason.contains("more than 8388928 bytes, for 10 bytes"), "{}", refused.reason);
        assert!(budget.hold(1 << 19).is_ok(), "what does not fit takes nothing");
        assert!(Budget::of(u64::MAX).hold(usize::MAX).is_ok());
        assert!(Budget::of(u64::MAX).take_bytes::<u8>(1 << 20, 257).is_err(), "nothing is larger than 256 MiB");
    }
}
