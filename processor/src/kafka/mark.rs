//! A position, and by what the message before it is known again: the mark that stands in the ledger beside it.

use pedigraph_proto::canonical::sha256;

/// Bytes of a value that are looked at: beside its length and the broker's time enough to tell two topics apart, and
/// little work.
const BYTES_MAX: usize = 4 << 10;
/// The low bits hold how far the position is past the marked message, the others some of its digest.
const DISTANCE_BITS: u32 = 20;
const DISTANCE_MAX: u64 = (1 << DISTANCE_BITS) - 1;

/// The last message before a position that the source was given: 44 bits of a digest over its time and value, and how
/// many offsets lie between it and the position (compaction and transactions leave gaps). 0: none is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Of the message right before the position.
    pub(crate) fn of(time_ms: i64, value: Option<&[u8]>) -> Mark {
        let bytes = value.unwrap_or_default();
        let mut told = Vec::with_capacity(17 + bytes.len().min(BYTES_MAX));
        told.extend_from_slice(&time_ms.to_be_bytes());
        told.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        told.push(u8::from(value.is_some()));
        told.extend_from_slice(&bytes[..bytes.len().min(BYTES_MAX)]);
        let [a, b, c, d, e, f, ..] = sha256(&told);
        let digest = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) >> 4;
        Mark(digest.max(1) << DISTANCE_BITS)
    }

    /// As it stands in the ledger.
    pub(crate) fn stored(self) -> u64 {
        self.0
    }

    /// What stands in the ledger.
    pub(crate) fn read(stored: u64) -> Mark {
        Mark(stored)
    }

    /// The same message, for a position that is so much further. Too far off it is forgotten.
    pub(crate) fn further(self, by: u64) -> Mark {
        let distance = (self.0 & DISTANCE_MAX).saturating_add(by);
        if self.0 == 0 || distance > DISTANCE_MAX { Mark::default() } else { Mark(self.0 & !DISTANCE_MAX | distance) }
    }

    /// The offset of the message, for a position; `None` where none is known.
    pub(crate) fn offset(self, next: u64) -> Option<u64> {
        if self.0 == 0 { None } else { next.checked_sub(1 + (self.0 & DISTANCE_MAX)) }
    }

    /// Whether it is of the same message.
    pub(crate) fn is_like(self, other: Mark) -> bool {
        self.0 >> DISTANCE_BITS == other.0 >> DISTANCE_BITS
    }
}

/// How far a partition is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    /// The next offset.
    pub(crate) next: u64,
    /// Broker's time of the message before it, milliseconds since 1970 UTC.
    pub(super) time_ms: i64,
    /// By what that message is known again.
    pub(super) mark: Mark,
}

impl Position {
    pub(super) fn at(next: u64, mark: Mark) -> Position {
        Position { next, time_ms: 0, mark }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_again_by_time_length_and_value() {
        let mark = Mark::of(7, Some(b"value"));
        assert!(mark.is_like(Mark::of(7, Some(b"value")).further(9)));
        let long = |last: u8| [vec![b'x'; BYTES_MAX], vec![last]].concat();
        let others =
            [Mark::of(8, Some(b"value")), Mark::of(7, Some(b"valuf")), Mark::of(7, None), Mark::of(7, Some(b""))];
        assert!(others.iter().all(|other| !mark.is_like(*other)));
        assert!(!Mark::of(7, None).is_like(Mark::of(7, Some(b""))));
        assert!(Mark::of(7, Some(&long(b'a'))).is_like(Mark::of(7, Some(&long(b'b')))), "the end is not looked at");
        assert_eq!(Mark::read(mark.stored()), mark);
    }

    #[test]
    fn a_mark_knows_its_offset_until_it_is_too_far_off() {
        let mark = Mark::of(1, Some(b"x"));
        assert_eq!(mark.offset(100), Some(99));
        assert_eq!(mark.further(3).further(4).offset(107), Some(99));
        assert_eq!(mark.further(DISTANCE_MAX).offset(DISTANCE_MAX + 100), Some(99));
        assert_eq!(mark.further(DISTANCE_MAX).further(1), Mark::default());
        assert_eq!((Mark::default().offset(5), Mark::default().further(1)), (None, Mark::default()));
        assert_eq!(mark.further(5).offset(3), None);
    }
}
