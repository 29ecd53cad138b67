//! Limits by name.

use std::time::Duration;

use pedigraph_projector::store::Budget;

use crate::pack::{spool, write};

/// How many reads there are at once, and how many wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfReads {
    /// At once.
    pub running_max: usize,
    /// Of these, those of one tenant: half, so that another tenant's question finds a thread at once.
    pub running_per_tenant_max: usize,
    /// Of one tenant that wait.
    pub waiting_per_tenant_max: usize,
    /// How long.
    pub wait_max: Duration,
}

/// How far one read may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfRead {
    /// Rows and bytes of the views.
    pub budget: Budget,
    /// Time on its thread.
    pub time_max: Duration,
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
    /// Connections at once. When there are more, those go first whose clients let the server wait; a few beyond are
    /// answered probes alone.
    pub connections_max: usize,
    /// Of them, those from one address, or one /64 of IPv6; loopback, where a proxy may stand, has all.
    pub connections_per_address_max: usize,
    /// Header block, bytes.
    pub header_bytes_max: usize,
    /// Time for a request's head to arrive.
    pub head_time_max: Duration,
    /// Time in which a client must take something of what is sent to it (128 KiB, or all of it).
    pub write_time_max: Duration,
    /// Time between two parts of a body.
    pub body_idle_max: Duration,
    /// One answer, bytes.
    pub answer_bytes_max: usize,
    /// All answers that wait to be taken by their clients, bytes; half of them of one tenant where there are several.
    pub unread_bytes_max: usize,
    /// Hover cards and comparisons that are kept, bytes.
    pub kept_bytes_max: u64,
    /// A stored body that is given back, bytes.
    pub stored_body_bytes_max: u64,
    /// Time for one read, on its thread.
    pub read_time_max: Duration,
    /// Rows of the views that one read may look at.
    pub read_rows_max: u64,
    /// Bytes of these rows, which bounds the memory of a read.
    pub read_bytes_max: u64,
    /// Blocking reads at once, half of them of one tenant. They are work for processors: more of them at once make each
    /// slower, and a small one as much as a large one.
    pub reads_max: usize,
    /// Reads of one tenant that wait for their turn; more are refused, since they would wait longer than clients do.
    pub reads_waiting_max: usize,
    /// How long a read waits for its turn.
    pub read_wait_max: Duration,
    /// Time for planning an evidence pack.
    pub export_time_max: Duration,
    /// Rows of the views that a plan may look at.
    pub export_rows_max: u64,
    /// Bytes of these rows.
    pub export_bytes_max: u64,
    /// Streamed bodies at once: packs, received bytes.
    pub bodies_max: usize,
    /// Parts of streamed bodies that are read from the disk at once.
    pub parts_max: usize,
    /// How long `minIndex=` waits.
    pub min_index_wait: Duration,
    /// How long `wait=visible` waits.
    pub visible_wait: Duration,
    /// Requests with `minIndex=` or `wait=visible` at once.
    pub waiters_max: usize,
    /// Time that open requests have to end in when the server stops.
    pub drain_max: Duration,
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

impl Limits {
    /// For a read that makes an answer.
    pub fn of_answer(&self) -> OfRead {
        let budget = Budget { rows_max: self.read_rows_max, bytes_max: self.read_bytes_max };
        OfRead { budget, time_max: self.read_time_max }
    }

    /// For a read that plans an evidence pack.
    pub fn of_export(&self) -> OfRead {
        let budget = Budget { rows_max: self.export_rows_max, bytes_max: self.export_bytes_max };
        OfRead { budget, time_max: self.export_time_max }
    }

    /// For all reads together.
    pub fn of_reads(&self) -> OfReads {
        OfReads {
            running_max: self.reads_max,
            running_per_tenant_max: self.reads_max.div_ceil(2),
            waiting_per_tenant_max: self.reads_waiting_max,
            wait_max: self.read_wait_max,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Limits {
            event_bytes_max: 16 << 20,
            document_bytes_max: 1 << 30,
            intake_bytes_max: 256 << 20,
            documents_max: 8,
            erasures_max: 8,
            requests_max: 1_024,
            connections_max: 4_096,
            connections_per_address_max: 1_024,
            header_bytes_max: 64 << 10,
            head_time_max: Duration::from_secs(10),
            write_time_max: Duration::from_secs(30),
            body_idle_max: Duration::from_secs(60),
            answer_bytes_max: 16 << 20,
            unread_bytes_max: 256 << 20,
            kept_bytes_max: 16 << 20,
            stored_body_bytes_max: 64 << 20,
            // The rows end a read; the time is for slow disks and busy processors.
            read_time_max: Duration::from_secs(10),
            // Half a second to a second of reading: twice the rows of a line of 20,000 versions.
            read_rows_max: 500_000,
            read_bytes_max: 128 << 20,
            reads_max: cores.saturating_mul(4).max(8),
            reads_waiting_max: 256,
            read_wait_max: Duration::from_secs(5),
            // A hundred artifacts with all that is known of each.
            export_time_max: Duration::from_secs(30),
            export_rows_max: 5_000_000,
            export_bytes_max: 512 << 20,
            bodies_max: 256,
            parts_max: 8,
            min_index_wait: Duration::from_secs(2),
            visible_wait: Duration::from_secs(5),
            waiters_max: 512,
            drain_max: Duration::from_secs(10),
            subscribers_max: 256,
            heartbeat: Duration::from_secs(15),
            export: write::Limits::default(),
            exports_max: 4,
            packs: spool::Limits::default(),
            depth_max: 100,
            ready_lag_ms_max: 60_000,
        }
    }
}
