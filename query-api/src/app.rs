//! What the server is made of, and its limits.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pedigraph_ledger::{Reader, Signer};
use pedigraph_projector::Views;
use pedigraph_proto::TenantId;
use tokio::sync::Semaphore;

use crate::access::sessions::Sessions;
use crate::access::tokens::Tokens;
use crate::behind::AtStart;
use crate::cache::Answers;
use crate::gate::Reads;
use crate::left::prepare_dir;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::pack::spool::Spool;
use crate::percentiles::EndToEnd;
use crate::problem::{Code, Problem};
use crate::rates::{Limiters, Rates};
use crate::report::{Check, SourceLag, WriterSign};
use crate::shares::{Share, Shares};
use crate::write_node::WriteNode;

/// Where every source partition stands.
pub type Sources = Arc<dyn Fn() -> Vec<SourceLag> + Send + Sync>;
/// What the writer, another process, said last, as of a time in nanoseconds since 1970 UTC.
pub type LastSign = Arc<dyn Fn(i64) -> WriterSign + Send + Sync>;
/// Further readiness checks of the process.
pub type Ready = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;
/// Appends metrics of other parts in the Prometheus text format.
pub type ExtraMetrics = Arc<dyn Fn(&mut String) + Send + Sync>;
/// The views, from the moment they are open: the server answers `/livez` while they are compared or rebuilt.
pub type LateViews = Arc<OnceLock<Views>>;

/// What the root hands over.
#[derive(Clone)]
pub struct Config {
    /// The ledger, for entries, proofs and tiles.
    pub ledger: Reader,
    /// The views, once they are open; never on a node that only writes.
    pub views: LateViews,
    /// Whether views will be opened, so that `/readyz` waits for them.
    pub expect_views: bool,
    /// The write half; `None` on a read node, where writing is answered 503.
    pub write: Option<Arc<dyn WriteNode>>,
    /// Source lags for `freshness` and metrics.
    pub sources: Sources,
    /// On a read node: what the writer of its ledger said last.
    pub writer: Option<LastSign>,
    /// Directory for documents on their way in; see [`prepare_spool`].
    pub spool_dir: PathBuf,
    /// Directory for evidence packs until they are fetched; see [`pack::spool::prepare`](crate::pack::spool::prepare).
    pub packs_dir: PathBuf,
    /// Who signs evidence packs: the ledger's key, where this process has it.
    pub signer: Option<Arc<dyn Signer>>,
    /// Limits.
    pub limits: Limits,
    /// Whether entry bundles of every tenant's log are served to anyone.
    pub public_ledger: bool,
    /// Who may ask what; `None`: everybody has all scopes of the tenant `default`, and only loopback may be served.
    pub tokens: Option<Arc<Tokens>>,
    /// Requests a second by class and tenant, where they differ from the defaults.
    pub rates: Rates,
    /// Names besides loopback that the `Host` header may have (a proxy's), where there are no tokens.
    pub hosts: Vec<String>,
    /// Further readiness checks.
    pub ready: Ready,
    /// Further metrics.
    pub extra_metrics: ExtraMetrics,
    /// Latencies from intake to visible.
    pub end_to_end: EndToEnd,
    /// Now, nanoseconds since 1970 UTC.
    pub clock: fn() -> i64,
}

impl Config {
    /// Reading only, default limits, the system clock.
    pub fn new(ledger: Reader, views: LateViews, spool_dir: PathBuf) -> Config {
        Config {
            ledger,
            views,
            expect_views: true,
            write: None,
            sources: Arc::new(Vec::new),
            writer: None,
            packs_dir: spool_dir.join("packs"),
            signer: None,
            spool_dir,
            limits: Limits::default(),
            public_ledger: false,
            tokens: None,
            rates: Rates::new(),
            hosts: Vec::new(),
            ready: Arc::new(Vec::new),
            extra_metrics: Arc::new(|_| ()),
            end_to_end: EndToEnd::default(),
            clock: system_clock,
        }
    }
}

/// Nanoseconds since 1970 UTC.
#[expect(clippy::disallowed_methods, reason = "the server is a shell: ages and latencies need the clock")]
pub fn system_clock() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Name prefix of a document on its way in.
pub const SPOOL_PREFIX: &str = "upload-";

/// Creates the spool directory and removes what an earlier process left in it: those documents were never acknowledged.
/// Returns how many names had to be left alone.
pub fn prepare_spool(dir: &Path) -> std::io::Result<usize> {
    prepare_dir(dir, |name| name.starts_with(SPOOL_PREFIX))
}

/// The shared state of all routes.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    /// What the root handed over.
    pub config: Config,
    /// What the ledger held at the start.
    pub at_start: AtStart,
    /// Counters of this server.
    pub metrics: Arc<Metrics>,
    /// Requests at once.
    pub requests: Arc<Semaphore>,
    /// Bytes of event bodies in memory.
    pub intake_bytes: Arc<Shares>,
    /// Documents at once.
    pub documents: Arc<Shares>,
    /// Erasures at once.
    pub erasures: Arc<Semaphore>,
    /// Streams at once.
    pub subscribers: Arc<Shares>,
    /// Evidence packs that are made at once.
    pub exports: Arc<Shares>,
    /// Requests that wait for something to be visible.
    pub waiters: Arc<Shares>,
    /// Requests with a token.
    pub(crate) asking: Arc<Shares>,
    pub(crate) limiters: Limiters,
    /// Browsers that are signed in.
    pub(crate) sessions: Sessions,
    /// Evidence packs that wait to be fetched.
    pub packs: Spool,
    /// Streamed bodies at once.
    pub bodies: Arc<Shares>,
    /// Bytes of answers that their clients have not taken.
    pub(crate) unread: Arc<Shares>,
    /// Parts of them that are read at once.
    pub(crate) parts: Arc<Semaphore>,
    /// What probes read, beside all other reads.
    probing: Arc<Semaphore>,
    /// Blocking reads at once.
    pub reads: Reads,
    /// Answers that are kept for a while.
    pub(crate) kept: Answers,
}

impl std::ops::Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// The state for a configuration.
    pub fn new(config: Config) -> App {
        let limits = &config.limits;
        App(Arc::new(Inner {
            at_start: AtStart::of(&config.ledger),
            metrics: Arc::new(Metrics::new()),
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            intake_bytes: Shares::new(limits.intake_bytes_max),
            documents: Shares::new(limits.documents_max),
            erasures: Arc::new(Semaphore::new(limits.erasures_max)),
            subscribers: Shares::new(limits.subscribers_max),
            exports: Shares::new(limits.exports_max),
            waiters: Shares::new(limits.waiters_max),
            asking: Shares::new(limits.requests_max),
            sessions: Sessions::default(),
            limiters: Limiters::new(&config.rates, config.tokens.is_some()),
            packs: Spool::new(config.packs_dir.clone(), limits.packs),
            bodies: Shares::new(limits.bodies_max),
            unread: Shares::new(limits.unread_bytes_max),
            parts: Arc::new(Semaphore::new(limits.parts_max)),
            probing: Arc::new(Semaphore::new(1)),
            reads: Reads::new(limits.of_reads()),
            kept: Answers::new(limits.kept_bytes_max),
            config,
        }))
    }

    /// Now, nanoseconds since 1970 UTC.
    pub fn now(&self) -> i64 {
        (self.config.clock)()
    }

    /// How long ago a reading of [`App::now`] was; nothing where the clock has been set back.
    pub(crate) fn since(&self, begun: i64) -> Duration {
        Duration::from_nanos(u64::try_from(self.now().saturating_sub(begun)).unwrap_or(0))
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// A place for a tenant, of which no other tenant's is taken.
    pub fn share(&self, of: &Arc<Shares>, tenant: &TenantId) -> Option<Share> {
        of.take(tenant, self.has_several_tenants())
    }

    /// Whether one tenant can be in another's way.
    pub(crate) fn has_several_tenants(&self) -> bool {
        self.config.tokens.as_ref().is_some_and(|tokens| tokens.has_several_tenants())
    }

    /// The ledger.
    pub fn ledger(&self) -> &Reader {
        &self.config.ledger
    }

    /// The views; a problem while they are not open yet.
    pub fn views(&self) -> Result<&Views, Problem> {
        let missing = || match self.config.expect_views {
            true => Problem::new(Code::NotReady, "the views are being opened; try again in a moment").retry_after(2),
            false => Problem::new(
                Code::NotReady,
                "this node only writes; ask a node that runs `pedigraph serve` or `pedigraph up`",
            ),
        };
        self.config.views.get().ok_or_else(missing)
    }

    /// Runs the one blocking read that probes need, whatever else is being read; one after the other.
    pub(crate) async fn probing<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let slow = || Problem::new(Code::ReadTimeout, "metrics took too long; the disk may be slow").retry_after(10);
        let work = async {
            let permit = self.probing.clone().acquire_owned().await.map_err(|_| slow())?;
            let task = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                read()
            });
            task.await.map_err(|error| Problem::internal("a probe's read panicked", &error))?
        };
        tokio::time::timeout(self.limits().read_time_max, work).await.map_err(|_| slow())?
    }
}
