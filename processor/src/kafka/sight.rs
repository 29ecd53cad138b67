//! Whether what the broker has under a partition's name still is what the ledger has read: pure, so that each case is
//! a line of a test.
//!
//! The last message before the position is read again when a partition is assigned and when the broker's end moves
//! back, and compared with its mark. Where the broker legally has none any more (compaction, retention of what was
//! read), nothing is concluded.

use super::mark::{Mark, Position};

/// Times that the broker must say that it ends before the position: after a change of leaders it may, for a moment.
const SHORT_TIMES_MAX: u8 = 2;

/// What is thought of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Standing {
    /// What comes follows on what the ledger has.
    #[default]
    Sure,
    /// The message at this offset is read again.
    Rereading { offset: u64, mark: Mark },
    /// Nothing is taken before the broker has said what it has.
    Doubted(Doubt),
    /// What follows the position is gone.
    Lost(Lost),
}

/// What makes a position doubtful.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Doubt {
    /// Another message stands where the ledger's last one stood.
    is_other: bool,
    /// Times that the broker ended before the position.
    short_times: u8,
    /// An earlier position: what came after it may be of the new topic already.
    anchor: Option<(u64, Mark)>,
}

/// Why a position is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Messages were deleted before they were read.
    Deleted,
    /// The partition ends before the position: it was made anew or cut back.
    Short,
    /// Another message stands where the last one that was read stood: the topic was made anew.
    Other,
}

/// A partition whose position is gone: nothing of it is read until somebody accepts the gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Why.
    pub cause: Cause,
    /// Next offset that the ledger does not have.
    pub position: u64,
    /// The oldest offset that the broker has: reading goes on here.
    pub oldest: u64,
    /// The next offset that the broker will give.
    pub end: u64,
}

impl Lost {
    /// What happened, with both positions.
    pub fn what(&self) -> String {
        let Lost { position, oldest, end, .. } = *self;
        let has = if oldest == end {
            format!("Kafka has none, and ends at {end}")
        } else {
            format!("Kafka has {oldest} to {}", end - 1)
        };
        match self.cause {
            Cause::Deleted => format!(
                "the ledger goes on at offset {position}, {has}: messages {position} to {} were deleted before they were read",
                oldest.saturating_sub(1)
            ),
            Cause::Short => format!(
                "the ledger goes on at offset {position}, {has}: the topic was made anew, or the broker lost its end"
            ),
            Cause::Other => format!(
                "the ledger goes on at offset {position}, {has}, but not the message that the ledger has before it: the \
                 topic was made anew"
            ),
        }
    }

    /// What to do.
    pub fn advice(&self, topic: &str, partition: i32) -> String {
        format!(
            "nothing of it is read. Start once with --accept-gap {topic}/{partition}: the gap is recorded as an entry, and \
             all messages from offset {} on are read (those that the ledger has are duplicates)",
            self.oldest
        )
    }
}

/// What the broker was asked for comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Read from here, and think so of it.
    Read {
        from: u64,
        standing: Standing,
    },
    /// Ask again.
    Doubted(Doubt),
    Lost(Lost),
}

/// What the source keeps of one partition between two looks.
#[derive(Default)]
pub(super) struct Sight {
    pub(super) standing: Standing,
    /// Where the last accepted gap led to.
    pub(super) accepted_to: Option<u64>,
    end: Option<u64>,
    /// The end that the client had fetched up to, and the count of messages given out at which all below it were.
    waiting: Option<(u64, u64)>,
    /// The positions at the last two ticks, the older one first.
    positions: [Option<Position>; 2],
}

/// What the client's statistics say of a partition.
#[derive(Clone, Copy, Default)]
pub(super) struct Tick {
    /// What the broker has up to.
    pub(super) end: Option<u64>,
    /// What the client fetches next, where that is known; all below it was put into the queue before.
    pub(super) next: Option<u64>,
    /// Messages of all partitions that wait in the client's queue.
    pub(super) queued: u64,
    /// Messages that were given out since the source began.
    pub(super) given: u64,
}

impl Sight {
    /// Begins to read, or begins again; tells from which offset, `None`: from the beginning.
    pub(super) fn begin(&mut self, position: Option<Position>) -> Option<u64> {
        self.begin_at(Standing::Sure);
        let position = position?;
        let Some(offset) = position.mark.offset(position.next) else { return Some(position.next) };
        self.standing = Standing::Rereading { offset, mark: position.mark };
        Some(offset)
    }

    /// Begins again, with what was found.
    pub(super) fn begin_at(&mut self, standing: Standing) {
        let accepted_to = self.accepted_to;
        *self = Sight { standing, accepted_to, ..Sight::default() };
    }

    /// Whether a message is one to take; what is read again to be compared is not.
    pub(super) fn takes(&mut self, offset: u64, is_like: impl FnOnce(Mark) -> bool) -> bool {
        match self.standing {
            Standing::Sure => true,
            Standing::Doubted(_) | Standing::Lost(_) => false,
            Standing::Rereading { offset: again, .. } if offset < again => false,
            Standing::Rereading { offset: again, mark } if offset == again => {
                self.standing = match is_like(mark) {
                    true => Standing::Sure,
                    false => Standing::Doubted(Doubt { is_other: true, ..Doubt::default() }),
                };
                false
            }
            // It is not there any more, which proves nothing.
            Standing::Rereading { .. } => {
                self.standing = Standing::Sure;
                true
            }
        }
    }

    /// Nothing is taken before the broker was asked; false when that is so already.
    pub(super) fn doubt(&mut self) -> bool {
        let anchor = self.positions[0].map(|position| (position.next, position.mark));
        match self.standing {
            Standing::Sure | Standing::Rereading { .. } => {
                self.standing = Standing::Doubted(Doubt { anchor, ..Doubt::default() });
                true
            }
            Standing::Doubted(_) | Standing::Lost(_) => false,
        }
    }

    /// Takes in what the client's statistics say. The first tells whether the end moved back, the second below which
    /// offset everything was given out, as far as they tell.
    pub(super) fn tick(&mut self, tick: Tick, position: Option<Position>) -> (bool, Option<u64>) {
        let is_below = |end: Option<u64>, other: Option<u64>| end.zip(other).is_some_and(|(end, other)| end < other);
        let next = position.map(|position| position.next);
        let is_rereading = matches!(self.standing, Standing::Rereading { .. });
        // While one message is read again none is taken, so the position stands still and can be compared.
        let moved_back = is_below(tick.end, self.end) || is_rereading && is_below(tick.end, next);
        if !moved_back {
            self.positions = [self.positions[1], position];
        }
        self.end = tick.end.or(self.end);
        (moved_back, self.passed(tick))
    }

    /// What the client has fetched up to the end is given out once its queue is empty, or as many messages were as
    /// waited in it.
    fn passed(&mut self, tick: Tick) -> Option<u64> {
        let is_out = |given: u64| tick.queued == 0 || tick.given >= given;
        let waited = self.waiting.take_if(|(_, given)| is_out(*given)).map(|(offset, _)| offset);
        let at_end = tick.next.filter(|_| tick.next == tick.end);
        self.waiting = self.waiting.or(at_end.map(|offset| (offset, tick.given + tick.queued)));
        waited
    }

    /// Nothing is known any more of what waits in the client's queue.
    pub(super) fn wait_anew(&mut self) {
        self.waiting = None;
    }
}

/// What to think of a doubted position, when the broker has the offsets from `oldest` to before `end`.
pub(super) fn judge(position: Option<Position>, doubt: Doubt, oldest: u64, end: u64) -> Verdict {
    let read = |from| Verdict::Read { from, standing: Standing::Sure };
    let Some(position) = position else { return read(oldest) };
    let lost = |cause| Verdict::Lost(Lost { cause, position: position.next, oldest, end });
    if position.next < oldest {
        return lost(Cause::Deleted);
    }
    if position.next > end {
        let doubt = Doubt { short_times: doubt.short_times + 1, ..doubt };
        return if doubt.short_times < SHORT_TIMES_MAX { Verdict::Doubted(doubt) } else { lost(Cause::Short) };
    }
    if doubt.is_other {
        return lost(Cause::Other);
    }
    let (next, mark) = doubt.anchor.unwrap_or((position.next, position.mark));
    match mark.offset(next).filter(|offset| *offset >= oldest) {
        Some(offset) => Verdict::Read { from: offset, standing: Standing::Rereading { offset, mark } },
        None => read(position.next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark::of(3, Some(b"last"))
    }

    #[test]
    fn a_broker_that_has_something_else_is_found_out() {
        let at = |next| Some(Position::at(next, mark()));
        let other = Doubt { is_other: true, ..Doubt::default() };
        let short = Doubt { short_times: 1, ..Doubt::default() };
        let again = |offset| Verdict::Read { from: offset, standing: Standing::Rereading { offset, mark: mark() } };
        let sure = |from| Verdict::Read { from, standing: Standing::Sure };
        let lost = |cause, position, oldest, end| Verdict::Lost(Lost { cause, position, oldest, end });
        let cases = [
            (None, Doubt::default(), 4, 9, sure(4)),
            (at(7), Doubt::default(), 8, 9, lost(Cause::Deleted, 7, 8, 9)),
            // All that was read was deleted, and nothing else.
            (at(7), Doubt::default(), 7, 7, sure(7)),
            (at(7), Doubt::default(), 7, 9, sure(7)),
            (at(7), Doubt::default(), 6, 7, again(6)),
            (at(7), Doubt::default(), 0, 6, Verdict::Doubted(short)),
            (at(7), short, 0, 6, lost(Cause::Short, 7, 0, 6)),
            (at(7), other, 0, 9, lost(Cause::Other, 7, 0, 9)),
            (Some(Position::at(7, Mark::default())), Doubt::default(), 0, 9, sure(7)),
            (at(70), Doubt { anchor: Some((7, mark())), ..Doubt::default() }, 0, 80, again(6)),
        ];
        for (position, doubt, oldest, end, want) in cases {
            assert_eq!(judge(position, doubt, oldest, end), want, "{position:?} {doubt:?} {oldest} {end}");
        }
    }

    #[test]
    fn what_is_read_again_is_compared_and_not_taken() {
        let begun = || {
            let mut sight = Sight::default();
            assert_eq!(sight.begin(Some(Position::at(7, mark().further(2)))), Some(4));
            sight
        };
        let mut sight = begun();
        assert!(!sight.takes(4, |mark| mark.is_like(Mark::of(3, Some(b"last")))));
        assert_eq!(sight.standing, Standing::Sure);
        assert!(sight.takes(7, |_| unreachable!()));
        let mut sight = begun();
        assert!(!sight.takes(4, |_| false));
        assert!(matches!(sight.standing, Standing::Doubted(Doubt { is_other: true, .. })));
        assert!(!sight.takes(7, |_| unreachable!()) && !sight.doubt());
        // The message is not there any more.
        let mut sight = begun();
        assert!(sight.takes(8, |_| unreachable!()));
        assert_eq!(sight.standing, Standing::Sure);
        assert_eq!(Sight::default().begin(None), None);
        assert_eq!(Sight::default().begin(Some(Position::at(7, Mark::default()))), Some(7));
    }

    #[test]
    fn an_end_that_moves_back_is_doubted_by_what_stood_before() {
        let mut sight = Sight::default();
        let tick = |end| Tick { end: Some(end), ..Tick::default() };
        assert!(!sight.tick(tick(9), Some(Position::at(5, mark()))).0);
        assert!(!sight.tick(tick(9), Some(Position::at(9, Mark::default()))).0);
        assert!(sight.tick(tick(8), Some(Position::at(8, Mark::default()))).0);
        assert!(sight.doubt());
        let anchor = Some((5, mark()));
        assert_eq!(sight.standing, Standing::Doubted(Doubt { anchor, ..Doubt::default() }));
        // A short partition is seen while its last message is waited for.
        let mut sight = Sight::default();
        sight.begin(Some(Position::at(5, mark())));
        assert!(!sight.tick(tick(5), Some(Position::at(5, mark()))).0);
        let mut sight = Sight::default();
        sight.begin(Some(Position::at(5, mark())));
        assert!(sight.tick(tick(4), Some(Position::at(5, mark()))).0);
    }

    #[test]
    fn what_was_fetched_is_passed_only_when_it_was_given_out() {
        let mut sight = Sight::default();
        sight.begin(None);
        let mut passed =
            |end, next, queued, given| sight.tick(Tick { end: Some(end), next: Some(next), queued, given }, None).1;
        assert_eq!([passed(5, 4, 0, 0), passed(5, 5, 0, 0), passed(5, 5, 0, 0)], [None, None, Some(5)]);
        // 30 wait in the queue, and others come behind them: the end is passed when the 30 were given out.
        assert_eq!([passed(9, 9, 30, 10), passed(20, 15, 30, 39), passed(20, 15, 30, 40)], [Some(5), None, Some(9)]);
        assert_eq!([passed(20, 15, 0, 70), passed(20, 20, 9, 70)], [None; 2], "there is more to fetch");
        assert_eq!(passed(20, 20, 0, 75), Some(20), "4 were thrown away with another partition");
    }

    #[test]
    fn a_next_offset_says_nothing_of_what_was_thrown_away() {
        let mut sight = Sight::default();
        sight.begin(None);
        let at_end = Tick { end: Some(7), next: Some(7), ..Tick::default() };
        assert_eq!(sight.tick(at_end, None).1, None);
        sight.wait_anew();
        assert_eq!(sight.tick(Tick { next: None, ..at_end }, None).1, None);
        assert_eq!(sight.tick(Tick { next: Some(500), ..at_end }, None).1, None, "of another assignment");
        assert_eq!(sight.tick(Tick { next: None, ..at_end }, None).1, None);
    }

    #[test]
    fn a_lost_position_says_what_is_gone_and_what_to_do() {
        let lost = |cause| Lost { cause, position: 40, oldest: 100, end: 140 };
        assert!(
            lost(Cause::Deleted).what().contains("offset 40, Kafka has 100 to 139: messages 40 to 99 were deleted")
        );
        let empty = Lost { oldest: 0, end: 0, ..lost(Cause::Short) };
        assert!(empty.what().contains("Kafka has none, and ends at 0: the topic was made anew"));
        assert!(lost(Cause::Other).what().contains("but not the message that the ledger has before it"));
        assert!(lost(Cause::Deleted).advice("a.b", 3).contains("--accept-gap a.b/3"));
    }
}
