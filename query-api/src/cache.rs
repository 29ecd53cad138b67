//! Answers that are kept for a while in this process (SPEC §4: hover cards and comparisons).
//!
//! An answer hangs on more than the entries that name its artifacts: a version that comes late into the line moves its
//! sequence number, a tag that moves ends its stretch, a deployment of something else ends where it runs. So what is
//! kept is given again only while its tenant has got no entry since that any view folds. What never changes an answer
//! is what was rejected, and what the ledger says of itself but for policies: the view root of each minute, the key's
//! rotations. Whoever may not ask is refused before this is looked at, and the key names the tenant.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use pedigraph_ledger::{LogId, Reader};
use pedigraph_proto::canonical::decode_entry;
use pedigraph_proto::wire::{Entry, Status};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

/// Bytes beside question and answer that one of them takes.
const OVERHEAD_BYTES: u64 = 256;
/// An answer as it is expected to be, for the size of tables.
const TYPICAL_BYTES: u64 = 4_096;
/// Parts, so that two threads are seldom in each other's way; no answer is kept that is larger than one of them.
const PARTS: usize = 4;
/// Entries since an answer that are looked at to see whether it still holds.
const LOOKED_AT_MAX: u64 = 64;

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cached {
    /// Cards, 5 minutes.
    Hover,
    /// Comparisons, 10 minutes.
    Compare,
}

impl Cached {
    /// Each of them.
    pub const ALL: [Cached; 2] = [Cached::Hover, Cached::Compare];

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cached::Hover => "hover",
            Cached::Compare => "compare",
        }
    }

    /// How long.
    fn kept_for(self) -> Duration {
        match self {
            Cached::Hover => Duration::from_secs(5 * 60),
            Cached::Compare => Duration::from_secs(10 * 60),
        }
    }
}

/// An answer, the index that it is true as of, and when it was made.
#[derive(Clone)]
struct Kept {
    as_of: u64,
    made_at: i64,
    answer: Bytes,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<String, Kept> for Bytewise {
    fn weight(&self, question: &String, kept: &Kept) -> u64 {
        (question.len() + kept.answer.len()) as u64 + OVERHEAD_BYTES
    }
}

/// Kept answers, by tenant and question, both clocks included.
pub struct Answers(Cache<String, Kept, Bytewise>);

impl Answers {
    /// At most so many bytes of them.
    pub fn new(bytes_max: u64) -> Answers {
        let expected = usize::try_from(bytes_max / TYPICAL_BYTES).unwrap_or(usize::MAX).max(PARTS);
        let options = OptionsBuilder::new()
            .shards(PARTS)
            .weight_capacity(bytes_max)
            .estimated_items_capacity(expected)
            .build()
            .expect("both capacities are set");
        Answers(Cache::with_options(options, Bytewise, DefaultHashBuilder::default(), Default::default()))
    }

    /// The answer to a question as of an index, if it is known to be still the same.
    pub fn get(
        &self,
        of: Cached,
        question: &str,
        as_of: u64,
        now: i64,
        is_silent: impl FnOnce(RangeInclusive<u64>) -> bool,
    ) -> Option<Bytes> {
        let kept = self.0.get(question)?;
        let age = u64::try_from(now.saturating_sub(kept.made_at)).ok()?;
        if Duration::from_nanos(age) >= of.kept_for() || kept.as_of > as_of {
            return None;
        }
        if kept.as_of < as_of {
            if as_of - kept.as_of > LOOKED_AT_MAX || !is_silent(kept.as_of + 1..=as_of) {
                return None;
            }
            self.0.insert(question.to_owned(), Kept { as_of, ..kept.clone() });
        }
        Some(kept.answer)
    }

    /// Keeps an answer.
    pub fn put(&self, question: String, as_of: u64, now: i64, answer: Bytes) {
        self.0.insert(question, Kept { as_of, made_at: now, answer });
    }
}

/// Whether none of some entries changes any answer.
pub fn are_silent(ledger: &Reader, log: &LogId, mut indexes: RangeInclusive<u64>) -> bool {
    indexes.all(|index| {
        let leaf = ledger.entry(log, index).ok().flatten().and_then(|entry| decode_entry(&entry.leaf));
        leaf.is_some_and(|leaf| is_silent(&leaf))
    })
}

fn is_silent(leaf: &Entry) -> bool {
    // What no sender may say, so that its name says what it holds.
    let own = ["ViewRootRecorded", "KeyRotated", "BodyErased", "GapAccepted"];
    leaf.status() == Status::Rejected || own.contains(&leaf.r#type.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn answers() -> Answers {
        let answers = Answers::new(1 << 20);
        answers.put("q".into(), 7, 0, Bytes::from_static(b"seven"));
        answers
    }

    #[test]
    fn an_answer_is_kept_for_its_time_and_as_long_as_nothing_tells_anything() {
        let get = |of: Cached, as_of: u64, now: i64, silent: bool| answers().get(of, "q", as_of, now, |_| silent);
        assert_eq!(get(Cached::Hover, 7, 4 * MINUTE, false).as_deref(), Some(&b"seven"[..]));
        assert_eq!(get(Cached::Hover, 7, 5 * MINUTE, true), None);
        assert_eq!(get(Cached::Compare, 7, 9 * MINUTE, true).as_deref(), Some(&b"seven"[..]));
        assert_eq!(get(Cached::Compare, 7, 10 * MINUTE, true), None);
        assert_eq!(get(Cached::Hover, 8, 0, false), None);
        assert_eq!(get(Cached::Hover, 8, 0, true).as_deref(), Some(&b"seven"[..]));
        assert_eq!(get(Cached::Hover, 6, 0, true), None, "the views went back");
        assert_eq!(get(Cached::Hover, 7 + LOOKED_AT_MAX + 1, 0, true), None, "too many to look at");
        assert_eq!(get(Cached::Hover, 7, -1, true), None, "the clock went back");
    }

    #[test]
    fn what_was_looked_at_is_not_looked_at_again() {
        let answers = answers();
        let asked = std::cell::RefCell::new(Vec::new());
        for as_of in [9, 9, 10] {
            let answer = answers.get(Cached::Hover, "q", as_of, 1, |indexes| {
                asked.borrow_mut().push(indexes);
                true
            });
            assert!(answer.is_some());
        }
        assert_eq!(asked.into_inner(), [8..=9, 10..=10]);
    }

    #[test]
    fn the_bytes_that_are_kept_are_bounded() {
        let answers = Answers::new(1 << 20);
        for n in 0..1_000_u64 {
            answers.put(format!("q{n}"), n, 0, Bytes::from(vec![b'x'; 10_000]));
        }
        assert!(answers.0.weight() <= 1 << 20, "{}", answers.0.weight());
        answers.put("large".into(), 1, 0, Bytes::from(vec![b'x'; 2 << 20]));
        assert_eq!(answers.get(Cached::Hover, "large", 1, 0, |_| true), None, "larger than all");
    }

    #[test]
    fn what_the_ledger_says_of_itself_is_silent_but_for_policies() {
        let leaf =
            |name: &str, status: Status| Entry { r#type: name.into(), status: status.into(), ..Entry::default() };
        assert!(is_silent(&leaf("ViewRootRecorded", Status::Accepted)));
        assert!(is_silent(&leaf("MessageRejected", Status::Rejected)));
        assert!(!is_silent(&leaf("PolicyPublished", Status::Accepted)));
        assert!(!is_silent(&leaf("ServiceDeployed", Status::Accepted)));
        assert!(!is_silent(&leaf("ServiceDeployed", Status::Conflict)));
    }
}
