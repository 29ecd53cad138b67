//! Limits by name.

use std::time::Duration;

use crate::pack::{spool, write};

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
    /// A stored body that is given back, bytes.
    pub stored_body_bytes_max: u64,
    /// Time for one read.
    pub read_time_max: Duration,
    /// Blocking reads at once.
    pub reads_max: usize,
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
            connections_per_address_max: 1_024,
            header_bytes_max: 64 << 10,
            head_time_max: Duration::from_secs(10),
            write_time_max: Duration::from_secs(30),
            body_idle_max: Duration::from_secs(60),
            answer_bytes_max: 16 << 20,
            stored_body_bytes_max: 64 << 20,
            read_time_max: Duration::from_secs(30),
            reads_max: 64,
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
