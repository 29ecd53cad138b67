//! What the write half shows of itself: metrics, readiness, where each source stands.

use std::fmt::Write as _;
use std::time::Duration;

use pedigraph_processor::Processor;
use pedigraph_processor::counters::COMMIT_BUCKETS_US;
use pedigraph_processor::kafka::{KafkaHealth, PartitionState};
use pedigraph_proto::message::{Refused, Status};
use pedigraph_query_api::{About, Check, SourceLag, SourceState};

/// Lost partitions that one line of `/readyz` names.
const NAMED_MAX: usize = 5;

/// How far the clock may be behind recorded times before that is told: a leap, and not what clocks are set by all day.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(60);

/// Lines of `/readyz`. What keeps a source or the signing of checkpoints does not keep anybody from sending.
pub(crate) fn checks(processor: &Processor, reserve_bytes: u64, no_room: Option<String>) -> Vec<Check> {
    let failure = processor.failure();
    let detail = failure.as_deref().unwrap_or_default().to_owned();
    let check = |name: &str, about, ok, detail| Check { name: name.to_owned(), about, ok, detail };
    let mut checks = vec![check("ledger-writable", About::Intake, failure.is_none(), detail)];
    let free = processor.counters().disk_free_bytes();
    let detail = format!("{} MiB free, {} MiB are kept in reserve", free >> 20, reserve_bytes >> 20);
    let ok = processor.intake().refuses() != Some(Refused::NoRoom);
    checks.push(check("disk-space", About::Intake, ok, detail));
    checks.push(clock_check(processor.counters().clock_behind()));
    checks.push(check("checkpoints", About::Besides, no_room.is_none(), no_room.unwrap_or_default()));
    for (n, source) in processor.kafka_sources().into_iter().enumerate() {
        checks.push(positions_check(n, &source));
        let ok = source.cluster.is_some() && source.stopped.is_none();
        let detail = source.stopped.or(source.last_error).unwrap_or_default();
        checks.push(check(&format!("kafka-{n}"), About::Besides, ok, detail));
    }
    checks
}

/// That the clock is not behind what was recorded by it.
fn clock_check(behind: Duration) -> Check {
    let ok = behind <= CLOCK_BEHIND_MAX;
    let detail = match ok {
        true => String::new(),
        false => format!(
            "this machine's clock is {} s behind the newest recorded time, which stands still until then: set the clock \
             right; if it is, it was ahead: see \"The clock was ahead\" in deploy/runbook.md",
            behind.as_secs()
        ),
    };
    Check { name: "clock".to_owned(), about: About::Besides, ok, detail }
}

/// That what follows on the position of each partition still is there.
fn positions_check(n: usize, source: &KafkaHealth) -> Check {
    let lost: Vec<String> = source.partitions.iter().filter_map(advice).collect();
    let more = lost.len().saturating_sub(NAMED_MAX);
    let mut detail = lost[..lost.len() - more].join("; ");
    if more > 0 {
        detail += &format!("; and {more} more: `pedigraph topics` shows all");
    }
    Check { name: format!("kafka-{n}-positions"), about: About::Besides, ok: lost.is_empty(), detail }
}

/// What happened to a lost partition, and what to do.
fn advice(partition: &PartitionState) -> Option<String> {
    let lost = partition.lost?;
    let (topic, number) = (&partition.topic, partition.partition);
    Some(format!("{topic}/{number}: {}; {}", lost.what(), lost.advice(topic, number)))
}

/// Every assigned partition.
pub(crate) fn sources(processor: &Processor, now_ns: i64) -> Vec<SourceLag> {
    let partitions = processor.kafka_sources().into_iter().flat_map(|source| source.partitions);
    let lag = |partition: PartitionState| SourceLag {
        state: partition.lost.map(|_| SourceState::Lost),
        advice: advice(&partition),
        position: partition.position.unwrap_or_default(),
        // The end is what the broker last said, which may be before what came since, unless the position is gone.
        end: match partition.lost {
            None => partition.end.map(|end| end.max(partition.position.unwrap_or_default())),
            Some(lost) => Some(lost.end),
        },
        lag_messages: partition.lag_messages(),
        lag_ms: partition.lag_ms(now_ns / 1_000_000).and_then(|ms| u64::try_from(ms).ok()),
        partition: u32::try_from(partition.partition).ok(),
        name: partition.topic,
    };
    partitions.map(lag).collect()
}

/// Prometheus text of the processor's counters.
pub(crate) fn write(processor: &Processor, reserve_bytes: u64, unsigned: u64, text: &mut String) {
    let counters = processor.counters();
    header(text, "pedigraph_messages_total", "counter", "Messages that ended so, durably.");
    for status in [Status::Accepted, Status::Duplicate, Status::Conflict, Status::Rejected] {
        let _infallible =
            writeln!(text, "pedigraph_messages_total{{status=\"{}\"}} {}", status.as_str(), counters.messages(status));
    }
    let single = [
        (
            "pedigraph_checkpoints_unsigned_total",
            "counter",
            "Times that a checkpoint was due and its signer did not sign.",
            unsigned,
        ),
        ("pedigraph_received_bytes_total", "counter", "Received bytes that were committed.", counters.bytes()),
        (
            "pedigraph_secrets_redacted_total",
            "counter",
            "Secrets found in messages and overwritten, or kept out of what is told of them.",
            counters.secrets(),
        ),
        (
            "pedigraph_refused_total",
            "counter",
            "Submissions refused since the queue was full.",
            counters.refused_busy(),
        ),
        (
            "pedigraph_refused_no_room_total",
            "counter",
            "Submissions refused since the disk was full up to its reserve.",
            counters.refused_no_room(),
        ),
        ("pedigraph_disk_free_bytes", "gauge", "Free bytes of the data directory's disk.", counters.disk_free_bytes()),
        ("pedigraph_disk_reserve_bytes", "gauge", "Free bytes below which new events are refused.", reserve_bytes),
        (
            "pedigraph_stale_messages_total",
            "counter",
            "Kafka messages dropped after their partition was taken away.",
            counters.stale(),
        ),
        ("pedigraph_queue_messages", "gauge", "Messages between the sources and the disk.", counters.queue_messages()),
        ("pedigraph_queue_bytes", "gauge", "Bytes between the sources and the disk.", counters.queue_bytes()),
    ];
    singles(&single, text);
    singles(&held_apart(processor), text);
    commits(processor, text);
}

/// A metric without labels: name, kind, help, value.
type Single = (&'static str, &'static str, &'static str, u64);

fn singles(all: &[Single], text: &mut String) {
    for (name, kind, help, value) in all {
        header(text, name, kind, help);
        let _infallible = writeln!(text, "{name} {value}");
    }
}

/// What is kept from holding up the rest, and what that costs.
fn held_apart(processor: &Processor) -> [Single; 6] {
    let (counters, sources) = (processor.counters(), processor.kafka_sources());
    let held = sources.iter().flat_map(|source| &source.partitions).filter(|partition| partition.is_held).count();
    [
        (
            "pedigraph_kafka_held_partitions",
            "gauge",
            "Kafka partitions that have their share of the queue and are read on when they have less.",
            held as u64,
        ),
        (
            "pedigraph_known_ids_rows_read_total",
            "counter",
            "Rows of the index of known ids that were read to tell duplicates: at most three a message.",
            counters.id_rows_read(),
        ),
        (
            "pedigraph_slow_messages_total",
            "counter",
            "Messages decoded in the slow lane, since they are large or compressed.",
            counters.slow_messages(),
        ),
        (
            "pedigraph_set_aside_messages_total",
            "counter",
            "Messages that were not decoded, since the process died over them before.",
            counters.messages_set_aside(),
        ),
        (
            "pedigraph_set_aside_files_total",
            "counter",
            "Files of drop directories that could not be taken in.",
            counters.files_set_aside(),
        ),
        (
            "pedigraph_lost_documents_total",
            "counter",
            "Spooled documents that were gone before they were read.",
            counters.documents_lost(),
        ),
    ]
}

/// What was found in directories of ours and is not ours.
pub(crate) fn left_alone(names: usize, text: &mut String) {
    let name = "pedigraph_left_alone_names";
    header(
        text,
        name,
        "gauge",
        "Names in the spool and pack directories that are no files of ours, such as lost+found.",
    );
    let _infallible = writeln!(text, "{name} {names}");
}

fn commits(processor: &Processor, text: &mut String) {
    let counters = processor.counters();
    header(text, "pedigraph_commit_seconds", "histogram", "Time of one group commit, durable.");
    let mut total = 0;
    for (n, count) in counters.commit_buckets().into_iter().enumerate() {
        total += count;
        let bound = COMMIT_BUCKETS_US.get(n).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
        let _infallible = writeln!(text, "pedigraph_commit_seconds_bucket{{le=\"{bound}\"}} {total}");
    }
    let sum = counters.commit_time().as_secs_f64();
    let _infallible = writeln!(text, "pedigraph_commit_seconds_sum {sum}\npedigraph_commit_seconds_count {total}");
}

fn seconds(microseconds: u64) -> String {
    std::time::Duration::from_micros(microseconds).as_secs_f64().to_string()
}

/// The two lines before a metric's values.
pub(crate) fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_behind_is_told() {
        assert!(clock_check(Duration::from_secs(60)).ok);
        let check = clock_check(Duration::from_secs(40 * 86_400));
        assert!(!check.ok && check.detail.contains("3456000 s behind"), "{}", check.detail);
    }
}
