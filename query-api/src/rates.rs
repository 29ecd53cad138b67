//! How often a tenant may ask, by class of question (SPEC §8). What is asked without a token is counted by address.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use pedigraph_proto::TenantId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::problem::{Code, Problem};

/// Checks of a class between two clean-ups of those that have not asked for a while.
const CHECKS_PER_CLEANING: usize = 4_096;

/// What kind of work a route is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Probes and metrics: never refused.
    Probes,
    /// What anybody may have without a token: hashes of logs, the contract, assets.
    Open,
    /// Questions and pages.
    Graph,
    /// Events, and what else is written.
    Intake,
    /// Documents.
    Uploads,
    /// Making evidence packs.
    Export,
    /// Fetching packs and received bytes.
    Packs,
    /// Change streams.
    Streams,
    /// Requests of any class that ask to wait for something to be visible; counted besides.
    Waiters,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 9] = [
        Class::Probes,
        Class::Open,
        Class::Graph,
        Class::Intake,
        Class::Uploads,
        Class::Export,
        Class::Packs,
        Class::Streams,
        Class::Waiters,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Probes => "probes",
            Class::Open => "open",
            Class::Graph => "graph",
            Class::Intake => "intake",
            Class::Uploads => "uploads",
            Class::Export => "export",
            Class::Packs => "packs",
            Class::Streams => "streams",
            Class::Waiters => "waiters",
        }
    }

    /// The class of a word; not that of probes, which has no limit.
    pub fn limited(word: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == word).filter(|class| *class != Class::Probes)
    }

    /// Requests a second where there are tokens and nothing else is said: what a person with many tabs or a build farm
    /// behind one token does not reach, and a loop does.
    fn default_rate(self) -> u32 {
        match self {
            Class::Probes => 0,
            Class::Open | Class::Intake => 1_000,
            Class::Graph => 200,
            Class::Waiters => 100,
            Class::Packs => 50,
            Class::Uploads | Class::Streams => 20,
            Class::Export => 2,
        }
    }
}

/// Requests a second by class, as many of them at once; 0: no limit.
pub type Rates = BTreeMap<Class, u32>;

/// Who is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Whom {
    /// A tenant.
    Tenant(TenantId),
    /// An address without a token; `None`: no socket.
    Address(Option<IpAddr>),
}

/// Time since the start, which nobody sets back.
#[derive(Clone, Debug)]
pub(crate) struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Limiter<C: Clock> {
    rate: NonZeroU32,
    of: RateLimiter<Whom, HashMapStateStore<Whom>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    checks: AtomicUsize,
}

/// The limits of all classes.
pub(crate) struct Limiters<C: Clock = Since>(HashMap<Class, Limiter<C>>);

impl Limiters {
    /// As configured. Where there are no tokens only this machine asks, and only what is configured counts.
    pub(crate) fn new(configured: &Rates, tokens: bool) -> Limiters {
        Limiters::by(configured, tokens, &Since(Instant::now()))
    }
}

impl<C: Clock + Clone> Limiters<C> {
    fn by(configured: &Rates, tokens: bool, clock: &C) -> Limiters<C> {
        let rate = |class: Class| {
            let default = if tokens { class.default_rate() } else { 0 };
            NonZeroU32::new(configured.get(&class).copied().unwrap_or(default))
        };
        let limited = Class::ALL.into_iter().filter(|class| *class != Class::Probes);
        Limiters(limited.filter_map(|class| Some((class, Limiter::new(rate(class)?, clock)))).collect())
    }

    /// Counts a request; a problem if it is one too many.
    pub(crate) fn check(&self, class: Class, whom: &Whom) -> Result<(), Problem> {
        let Some(limiter) = self.0.get(&class) else { return Ok(()) };
        limiter.check(whom).map_err(|wait| {
            let (rate, class) = (limiter.rate, class.as_str());
            let detail = format!(
                "more than {rate} requests of the class {class} in a second; ask less often, or have the operator raise it \
                 (--rates {class}=N)"
            );
            let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
            Problem::new(Code::RateLimited, detail).retry_after(seconds).member("class", class)
        })
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn new(rate: NonZeroU32, clock: &C) -> Limiter<C> {
        let clock = clock.clone();
        let of = RateLimiter::new(Quota::per_second(rate), HashMapStateStore::default(), clock.clone());
        Limiter { rate, of, clock, checks: AtomicUsize::new(0) }
    }

    /// How long to wait if it is too many.
    fn check(&self, whom: &Whom) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_PER_CLEANING == CHECKS_PER_CLEANING - 1 {
            self.of.retain_recent();
        }
        self.of.check_key(whom).map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn tenant(name: &str) -> Whom {
        Whom::Tenant(TenantId::new(name).expect("a tenant"))
    }

    #[test]
    fn each_tenant_has_each_class_s_rate() {
        let clock = FakeRelativeClock::default();
        let limiters = Limiters::by(&Rates::from([(Class::Graph, 2)]), true, &clock);
        let check = |class, whom: &str| limiters.check(class, &tenant(whom)).is_ok();
        assert_eq!([(); 3].map(|()| check(Class::Graph, "a")), [true, true, false]);
        assert!(check(Class::Graph, "b") && check(Class::Export, "a"));
        clock.advance(Duration::from_millis(500));
        assert_eq!([(); 2].map(|()| check(Class::Graph, "a")), [true, false]);
    }

    #[test]
    fn without_tokens_only_what_is_configured_counts_and_0_is_no_limit() {
        let limited = |rates: Rates, tokens| {
            let limiters = Limiters::new(&rates, tokens);
            Class::ALL.into_iter().filter(|class| limiters.0.contains_key(class)).collect::<Vec<_>>()
        };
        assert_eq!(limited(Rates::new(), false), []);
        assert_eq!(limited(Rates::from([(Class::Packs, 1), (Class::Probes, 1)]), false), [Class::Packs]);
        assert_eq!(limited(Rates::new(), true), &Class::ALL[1..]);
        assert_eq!(limited(Rates::from([(Class::Open, 0)]), true), &Class::ALL[2..]);
    }

    #[test]
    fn who_has_not_asked_for_a_while_is_forgotten() {
        let clock = FakeRelativeClock::default();
        let limiters = Limiters::by(&Rates::from([(Class::Open, 1)]), false, &clock);
        for n in 0..CHECKS_PER_CLEANING * 3 {
            let address = IpAddr::from(u32::try_from(n).expect("small").to_be_bytes());
            assert!(limiters.check(Class::Open, &Whom::Address(Some(address))).is_ok());
            clock.advance(Duration::from_secs(1));
        }
        assert!(limiters.0[&Class::Open].of.len() <= CHECKS_PER_CLEANING);
    }
}
