"""Apache Kafka itself and an independent client: every message is accounted for, and none twice, whatever dies."""

import gzip
import json
import threading
import time
from collections import Counter

import pytest
from confluent_kafka import Consumer, TopicPartition

import accounts
import bad
import corpus
import tlog
from pedigraph import deployed, free_port, padded, until

pytestmark = pytest.mark.kafka


@pytest.mark.corpora
def test_corpora_each_accounted_for_once(broker, corpora, nodes, figure):
    """All documents of the supported formats, the node killed in the middle, then much of it sent again."""
    broker.create(*corpus.TOPICS)
    messages = corpus.everything(corpora)
    assert len(messages) > 350
    producer = broker.producer()
    node = nodes(kafka=broker.address)
    half = len(messages) // 2
    for message in messages[:half]:
        producer.send(message.topic, message.value, message.name, message.headers)
    producer.flush()
    until(lambda: node.size() > half // 4, "part of the corpus is in", 60, node.alive)
    node.restart()
    for message in messages[half:] + messages[::3]:
        producer.send(message.topic, message.value, message.name, message.headers)
    delivered = producer.flush()
    intake = node.wait_total(len(delivered))
    counts, wrong = accounts.corpus(node, delivered, messages)
    figure(f"corpora over Kafka: {len(delivered)} messages, {dict(intake['byStatus'])}, rejects {intake['byCode']}")
    assert not wrong, "\n".join(map(str, wrong))
    assert intake["byStatus"]["duplicate"] == len(delivered) - sum(counts.values())
    assert intake["byStatus"]["duplicate"] >= len(messages[::3])
    node.wait_visible()
    services = node.json("/api/v1/environments/corpus")["services"]
    assert {s["service"]: s["running"][0]["artifactRef"] for s in services} == {f"svc-{n}": f"r.example/app:{15 + n}" for n in range(5)}
    sources = node.json("/api/v1/freshness")["sources"]
    kafka_sources = [source for source in sources if source.get("partition") is not None]
    metrics = node.get("/metrics").text
    assert "pedigraph_source_lag_messages{" in metrics and "pedigraph_source_lag_seconds" in metrics
    assert len(kafka_sources) >= 16 and all(source.get("lagMessages", 0) == 0 for source in kafka_sources), sources


class Feed:
    """Produces different events in the background."""

    def __init__(self, broker, topics, count, first=0, pace=None):
        self.producer, self.topics, self.count, self.first, self.pace = broker.producer(), topics, count, first, pace
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        for n in range(self.first, self.first + self.count):
            self.producer.send(self.topics[n % len(self.topics)], padded(n), n)
            if self.pace and n % self.pace == 0:
                time.sleep(0.005)

    def done(self):
        self.thread.join(120)
        assert not self.thread.is_alive()
        return self.producer.flush()


def test_none_twice_after_kill(broker, nodes, topic, figure):
    """kill -9 of the write node mid-stream, five times."""
    topics = broker.create(topic("a"), topic("b"))
    node = nodes(kafka=broker.address, topics=topics, group=topic("group"))
    count = 20_000
    feed = Feed(broker, topics, count, pace=20)
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        until(lambda part=part: node.size() > part * count, f"{part:.0%} in the ledger", 60, node.alive)
        node.restart()
    delivered = feed.done()
    node.wait_total(count)
    accounts.unique_messages(node, delivered)

    # From nothing running to the next event, with a message waiting.
    node.kill()
    more = broker.producer()
    more.send(topics[0], padded(count + 1), "next")
    more.flush()
    begin = time.monotonic()
    node.start()
    until(lambda: node.size() > count, "the next event", 60, node.alive)
    took = time.monotonic() - begin
    figure(f"kill -9 + start to the next Kafka event in the ledger, {count:,} entries: {took:.2f} s")
    assert took < 10


def test_none_twice_after_broker_restart(broker, nodes, topic):
    """kill -9 of the broker mid-stream; the node stays and goes on."""
    topics = broker.create(topic("a"))
    node = nodes(kafka=broker.address, topics=topics, group=topic("group"))
    count = 6_000
    feed = Feed(broker, topics, count, pace=10)
    until(lambda: node.size() > count // 4, "a quarter in the ledger", 60, node.alive)
    broker.kill()
    assert node.get("/api/v1/freshness").status_code == 200, "reading goes on without the broker"
    broker.start()
    delivered = feed.done()
    node.wait_total(count, 90)
    accounts.unique_messages(node, delivered)


def test_none_twice_after_another_member(broker, nodes, topic):
    """Another program joins the group, takes partitions, commits offsets of its own, and leaves."""
    topics = broker.create(topic("a"))
    group = topic("group")
    node = nodes(kafka=broker.address, topics=topics, group=group)
    feeds = [Feed(broker, topics, 2_000)]
    until(lambda: node.size() > 500, "some in the ledger", 60, node.alive)
    consumer = Consumer({
        "bootstrap.servers": broker.address, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "latest",
        "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10000, "log_level": 0,
    })
    consumer.subscribe(topics)

    def taken():
        consumer.poll(0.05)
        return consumer.assignment()

    assigned = until(taken, "the other member got partitions", 60, node.alive)
    feeds.append(Feed(broker, topics, 2_000, first=10_000))
    feeds[-1].done()
    # Wild commits: what the group has committed must not matter to the ledger.
    consumer.commit(offsets=[TopicPartition(p.topic, p.partition, consumer.get_watermark_offsets(p, timeout=10)[1]) for p in assigned], asynchronous=False)
    consumer.close()
    feeds.append(Feed(broker, topics, 2_000, first=20_000))
    delivered = {}
    for feed in feeds:
        delivered.update(feed.done())
    assert len(delivered) == 6_000
    node.wait_total(6_000, 120)
    accounts.unique_messages(node, delivered)


def test_two_write_nodes_of_one_group(broker, nodes, topic):
    """A second node with its own ledger takes partitions over and gives them back: the first one's ledger ends complete."""
    topics = broker.create(topic("a"))
    group = topic("group")
    first = nodes("first", kafka=broker.address, topics=topics, group=group)
    feeds = [Feed(broker, topics, 1_000)]
    first.wait_total(1_000)
    second = nodes("second", kafka=broker.address, topics=topics, group=group)
    until(lambda: second.size() > 0, "the second member got partitions", 60, second.alive)
    feeds.append(Feed(broker, topics, 1_000, first=10_000))
    delivered = {}
    for feed in feeds:
        delivered.update(feed.done())

    def everywhere():
        return {tlog.coordinate(leaf) for node in (first, second) for leaf in accounts.leaves(node)} >= set(delivered)

    until(everywhere, "both ledgers together hold all", 90)
    accounts.once(accounts.leaves(second))
    assert second.stop() == 0
    feed = Feed(broker, topics, 1_000, first=20_000)
    delivered.update(feed.done())
    first.wait_total(3_000, 120)
    accounts.unique_messages(first, delivered)


def test_bad_input(broker, nodes, topic):
    """A reject entry each, with the right code; the flow goes on."""
    (name,) = broker.create(topic("a"))
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    producer = broker.producer(**{"compression.type": "none"})
    cases = [corpus.Message(f"document: {title}", name, body, codes=codes) for title, body, codes in bad.documents()]
    envelope = [("content-type", b"application/cloudevents+json")]
    cases += [corpus.Message(f"envelope: {title}", name, body, envelope, codes=codes) for title, body, codes in bad.envelopes()]
    attributes = [("ce_specversion", b"1.0"), ("ce_id", b"binary"), ("ce_source", b"bad"), ("ce_type", b"com.example.x")]
    sbom = json.dumps(bad.CYCLONEDX).encode()
    cases += [
        corpus.Message("null value", name, None, identity="nothing", codes=("MALFORMED_ENVELOPE",)),
        corpus.Message("empty value", name, b"", identity="nothing", codes=("MALFORMED_ENVELOPE",)),
        corpus.Message("invalid UTF-8 in ce_id", name, b"{}", [*attributes[:1], ("ce_id", b"\xff\xfe\x80"), *attributes[2:]], codes=("MALFORMED_ENVELOPE",)),
        corpus.Message("null header", name, b"{}", [*attributes[:1], ("ce_id", None), *attributes[2:]], codes=("MALFORMED_ENVELOPE",)),
        corpus.Message("binary without source", name, b"{}", [a for a in attributes if a[0] != "ce_source"], codes=("MALFORMED_ENVELOPE",)),
        corpus.Message("subject malformed", name, sbom, [("pedigraph-subject", b"sha256:nope")], codes=("DIGEST_INVALID",)),
        corpus.Message("subject invalid UTF-8", name, sbom, [("pedigraph-subject", b"\xff\xff")], codes=("DIGEST_INVALID", "MALFORMED_ENVELOPE")),
        corpus.Message("too many headers", name, b"{}", [*attributes, *((f"ce_x{n}", b"v") for n in range(300))], codes=("TOO_MANY_ITEMS", "TOO_LARGE", "MALFORMED_ENVELOPE")),
        corpus.Message("huge attribute", name, b"{}", [*attributes, ("ce_ext", b"x" * (65 << 10))], codes=("TOO_LARGE", "MALFORMED_ENVELOPE")),
    ]
    for case in cases:
        producer.send(name, case.value, case.name, case.headers)
    good = corpus.structured("good", name, deployed("after", "r.example/app:1", "after-bad"))
    producer.send(name, good.value, good.name, good.headers)
    delivered = producer.flush()
    node.wait_total(len(delivered))
    node.alive()
    _, wrong = accounts.corpus(node, delivered, [*cases, good])
    assert not wrong, "\n".join(map(str, wrong))
    node.wait_visible()
    assert node.json("/api/v1/environments/after-bad")["services"]


def test_values_compressed_by_the_producer_and_by_kafka(broker, nodes, topic):
    """Every codec of the broker; the same bytes are the same event whichever way they travelled."""
    (name,) = broker.create(topic("a"))
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    delivered = {}
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        producer = broker.producer(**{"compression.type": codec})
        for n in range(50):
            producer.send(name, padded(n), (codec, n))
        delivered.update(producer.flush())
    producer = broker.producer()
    producer.send(name, gzip.compress(padded(0)), "gzip value")
    delivered.update(producer.flush())
    intake = node.wait_total(len(delivered))
    assert intake["byStatus"] == {"accepted": 50, "duplicate": 201, **{k: v for k, v in intake["byStatus"].items() if v == 0}}, intake
    found = accounts.leaves(node)
    assert Counter(leaf["status"] for leaf in found) == {"accepted": 50}


def test_bytes_of_the_entry_are_the_bytes_sent(broker, nodes, topic):
    (name,) = broker.create(topic("a"))
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    producer = broker.producer()
    sent = {n: padded(n, 200 + 700 * n) for n in range(100)}
    sent[100] = padded(100, 15_000_000)
    for n, value in sent.items():
        producer.send(name, value, n)
    delivered = producer.flush()
    node.wait_total(len(sent))
    for index, leaf in enumerate(accounts.leaves(node)):
        body = sent[delivered[tlog.coordinate(leaf)]]
        assert node.get(f"/api/v1/entries/{index}/body").content == body
        assert leaf["body_digest"].hex() == corpus.hash_of(body) and leaf["body_size"] == len(body)
    entries = node.entries(limit=40)
    origins = {(e["origin"]["topic"], e["origin"].get("partition", 0), e["origin"].get("offset", 0)) for e in entries}
    assert origins == set(delivered)


def test_topics_that_come_later(broker, nodes, topic):
    """A node may be started before its topics exist; it reads them from their beginning once they do."""
    name = topic("late")
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    node.accept(json.dumps(deployed("before", "r.example/app:1")).encode())
    broker.create(name)
    producer = broker.producer()
    for n in range(20):
        producer.send(name, padded(n), n)
    delivered = producer.flush()
    node.wait_total(21, 60)
    assert accounts.once(accounts.leaves(node)).keys() == set(delivered)


def test_no_broker_at_all(nodes):
    """Without its broker a node takes in over HTTP and answers, and says that the source is away."""
    node = nodes(kafka=f"127.0.0.1:{free_port()}", topics=["nowhere"], group="nowhere")
    node.accept(json.dumps(deployed("alone", "r.example/app:1", "alone")).encode(), wait="visible")
    assert node.json("/api/v1/environments/alone")["services"]
    assert node.get("/livez").status_code == 200
    assert node.stop() == 0, "and ends when it is asked to"
