//! What the server is made of, its limits, and the one gate that blocking reads pass.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pedigraph_ledger::{LogId, Reader, Signer};
use pedigraph_projector::Views;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Message, Receipt, Refused, Submitted};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::access::tokens::Tokens;
use crate::metrics::Metrics;
use crate::pack::spool::{self, Spool};
use crate::pack::write;
use crate::percentiles::EndToEnd;
use crate::problem::{Code, Problem};

/// Takes a message in and answers when it is durable.
pub type Intake =
    Arc<dyn Fn(Message) -> Pin<Box<dyn Future<Output = Result<Submitted, Refused>> + Send>> + Send + Sync>;
/// Makes the received bytes of an entry go, and answers when they are gone from the disk: with the receipts of the entries that say
/// so, none if they were gone already.
pub type Erase =
    Arc<dyn Fn(Erasure) -> Pin<Box<dyn Future<Output = Result<Vec<Receipt>, Problem>> + Send>> + Send + Sync>;
/// Why intake refuses everything now, if it does.
pub type Refuses = Arc<dyn Fn() -> Option<Refused> + Send + Sync>;
/// Where every source partition stands.
pub type Sources = Arc<dyn Fn() -> Vec<SourceLag> + Send + Sync>;
/// Further readiness checks of the process.
pub type Ready = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;
/// Appends metrics of other parts in the Prometheus text format.
pub type ExtraMetrics = Arc<dyn Fn(&mut String) + Send + Sync>;
/// The views, from the moment they are open: the server answers `/livez` while they are compared or rebuilt.
pub type LateViews = Arc<OnceLock<Views>>;

/// Where a source partition stands (SPEC §9, `freshness`).
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceLag {
    /// Topic, `http`, directory.
    pub name: String,
    /// Kafka partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The next offset.
    pub position: u64,
    /// The source's end, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// `end - position`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_messages: Option<u64>,
    /// Age of the oldest message not yet durable, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
}

/// What is to be erased, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erasure {
    /// Whose log it is.
    pub tenant: TenantId,
    /// Index of the entry.
    pub index: u64,
    /// Why; it is recorded.
    pub reason: String,
    /// Who; it is recorded, and may be empty.
    pub actor: String,
}

/// One line of `/readyz?verbose`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Short name.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// A few words for a person; may be empty.
    pub detail: String,
}

/// Limits by name (SPEC §2.4), with their units.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Body of `POST /api/v1/events`, bytes.
    pub event_bytes_max: usize,
    /// Body of `POST /api/v1/documents`, bytes.
    pub document_bytes_max: u64,
    /// Event bodies held in memory at once, bytes.
    pub intake_bytes_max: usize,
    /// Documents that are spooled at once.
    pub documents_max: usize,
    /// Erasures at once; more are answered 503.
    pub erasures_max: usize,
    /// Requests at once; more are answered 503.
    pub requests_max: usize,
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// Header block, bytes.
    pub header_bytes_max: usize,
    /// Time for a request's head to arrive.
    pub head_time_max: Duration,
    /// Time between two parts of a body.
    pub body_idle_max: Duration,
    /// One answer, bytes.
    pub answer_bytes_max: usize,
    /// A stored body that is given back, bytes.
    pub stored_body_bytes_max: u64,
    /// Time for one read.
    pub read_time_max: Duration,
    /// Blocking reads at once.
    pub reads_max: usize,
    /// How long `minIndex=` waits.
    pub min_index_wait: Duration,
    /// How long `wait=visible` waits.
    pub visible_wait: Duration,
    /// Streams at once.
    pub subscribers_max: usize,
    /// Time between heartbeats of a stream.
    pub heartbeat: Duration,
    /// What one evidence pack may hold.
    pub export: write::Limits,
    /// Evidence packs that are made at once.
    pub exports_max: usize,
    /// Evidence packs that wait to be fetched.
    pub packs: spool::Limits,
    /// How far lineage is followed at most.
    pub depth_max: usize,
    /// Lag above which `/readyz` says no, milliseconds.
    pub ready_lag_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            event_bytes_max: 16 << 20,
            document_bytes_max: 1 << 30,
            intake_bytes_max: 256 << 20,
            documents_max: 8,
            erasures_max: 8,
            requests_max: 1_024,
            connections_max: 4_096,
            header_bytes_max: 64 << 10,
            head_time_max: Duration::from_secs(10),
            body_idle_max: Duration::from_secs(60),
            answer_bytes_max: 16 << 20,
            stored_body_bytes_max: 64 << 20,
            read_time_max: Duration::from_secs(30),
            reads_max: 64,
            min_index_wait: Duration::from_secs(2),
            visible_wait: Duration::from_secs(5),
            subscribers_max: 256,
            heartbeat: Duration::from_secs(15),
            export: write::Limits::default(),
            exports_max: 2,
            packs: spool::Limits::default(),
            depth_max: 100,
            ready_lag_ms_max: 60_000,
        }
    }
}

/// What the root hands over.
#[derive(Clone)]
pub struct Config {
    /// The ledger, for entries, proofs and tiles.
    pub ledger: Reader,
    /// The views, once they are open; never on a node that only writes.
    pub views: LateViews,
    /// Whether views will be opened, so that `/readyz` waits for them.
    pub expect_views: bool,
    /// Intake; `None` on a read node, where writing is answered 503.
    pub intake: Option<Intake>,
    /// Erases; `None` on a read node, where it is answered 503.
    pub erase: Option<Erase>,
    /// Why intake refuses everything now, if it does.
    pub refuses: Refuses,
    /// Source lags for `freshness` and metrics.
    pub sources: Sources,
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
            intake: None,
            erase: None,
            refuses: Arc::new(|| None),
            sources: Arc::new(Vec::new),
            packs_dir: spool_dir.join("packs"),
            signer: None,
            spool_dir,
            limits: Limits::default(),
            public_ledger: false,
            tokens: None,
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
pub fn prepare_spool(dir: &Path) -> std::io::Result<()> {
    prepare_dir(dir, |name| name.starts_with(SPOOL_PREFIX))
}

/// Creates a directory and removes the files in it that have such names.
pub(crate) fn prepare_dir(dir: &Path, is_left: impl Fn(&str) -> bool) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if is_left(&file.file_name().to_string_lossy()) {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// The shared state of all routes.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// See [`App`].
pub struct Inner {
    /// What the root handed over.
    pub config: Config,
    /// Counters of this server.
    pub metrics: Metrics,
    /// Requests at once.
    pub requests: Arc<Semaphore>,
    /// Kibibytes of event bodies in memory.
    pub intake_kib: Arc<Semaphore>,
    /// Documents at once.
    pub documents: Arc<Semaphore>,
    /// Erasures at once.
    pub erasures: Arc<Semaphore>,
    /// Streams at once.
    pub subscribers: Arc<Semaphore>,
    /// Evidence packs that are made at once.
    pub exports: Arc<Semaphore>,
    /// Evidence packs that wait to be fetched.
    pub packs: Spool,
    reads: Arc<Semaphore>,
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
            metrics: Metrics::new(),
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            intake_kib: Arc::new(Semaphore::new(limits.intake_bytes_max / 1_024)),
            documents: Arc::new(Semaphore::new(limits.documents_max)),
            erasures: Arc::new(Semaphore::new(limits.erasures_max)),
            subscribers: Arc::new(Semaphore::new(limits.subscribers_max)),
            exports: Arc::new(Semaphore::new(limits.exports_max)),
            packs: Spool::new(config.packs_dir.clone(), limits.packs),
            reads: Arc::new(Semaphore::new(limits.reads_max)),
            config,
        }))
    }

    /// Now, nanoseconds since 1970 UTC.
    pub fn now(&self) -> i64 {
        (self.config.clock)()
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
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

    /// Runs a blocking read on a thread for it, at most `reads_max` at once and for `read_time_max`.
    pub async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || Problem::new(Code::Overloaded, "too many reads at once; try again").retry_after(1);
        let work = async {
            let permit = self.reads.clone().acquire_owned().await.map_err(|_| busy())?;
            let span = tracing::Span::current();
            let task = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                span.in_scope(read)
            });
            task.await.map_err(|error| Problem::internal("a read panicked", &error))?
        };
        tokio::time::timeout(self.limits().read_time_max, work).await.map_err(|_| {
            let seconds = self.limits().read_time_max.as_secs();
            Problem::new(Code::ReadTimeout, format!("the answer took more than {seconds} s; ask for less"))
        })?
    }
}

/// A tenant's log.
pub fn log_of(tenant: &TenantId) -> Result<LogId, Problem> {
    LogId::new(tenant.as_str()).ok_or_else(|| Problem::new(Code::NotFound, "there is no such log"))
}
