"""A process that writes and one that reads: the reader sees the writer's sources, and says when the writer is silent."""

import json
import re

from pedigraph import deployed, until


def metric(node, name):
    """The values of a metric by its labels."""
    found = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)$", node.get("/metrics").text, re.M)
    return {labels: float(value) for labels, value in found}


def pair(nodes, **writing):
    writer = nodes("split", role="process", **writing)
    receipt = writer.accept(json.dumps(deployed("cart", "r.example/cart:1", id_="split-1")).encode())
    reader = nodes("split", role="serve")
    assert reader.get("/api/v1/environments", minIndex=receipt["index"]).status_code == 200
    return writer, reader


def test_a_silent_writer_is_noticed_and_answers_go_on(nodes):
    writer, reader = pair(nodes)
    fresh = reader.json("/api/v1/freshness")
    assert "stale" not in fresh["writer"] and fresh["writer"]["heartbeatAt"], fresh
    assert reader.get("/readyz").text == "ready\n"
    ready = [[node.get("/readyz", for_=work).status_code for work in ("intake", "answers")] for node in (writer, reader)]
    assert ready == [[200, 503], [503, 200]], ready
    assert "[+]writer ok\n" in reader.ready()[1]
    assert metric(reader, "pedigraph_writer_stale") == {"": 0}
    writer.kill()
    stale = until(lambda: reader.json("/api/v1/freshness")["writer"].get("stale"), "a word that the writer is silent", 30, reader.alive)
    assert re.match(r"silent since \d{4}-\d\d-\d\dT\S+Z, 1\d s ago", stale), stale
    status, text = reader.ready()
    assert status == 200 and "[!]writer stale: silent since " in text, "a node that can answer is not taken out of service"
    assert reader.get("/readyz").text == "ready, but stale: the writer is silent\n"
    assert metric(reader, "pedigraph_writer_stale") == {"": 1}
    (age,) = metric(reader, "pedigraph_writer_heartbeat_age_seconds").values()
    assert age > 10
    assert reader.json("/api/v1/environments")["environments"], "what was recorded is still answered"
    writer.start()
    until(lambda: reader.get("/readyz").text == "ready\n", "the writer to be heard again", 30, reader.alive)


def test_what_the_writer_left_is_not_believed_when_it_is_garbled(nodes):
    writer, reader = pair(nodes)
    writer.kill()
    left = writer.data / "writer.json"
    whole = left.read_bytes()
    for spoilt, why in ((whole[:-2], "garbled"), (b"", "garbled"), (whole.replace(b'"ledger":"', b'"ledger":"other.'), "another ledger")):
        left.write_bytes(spoilt)
        fresh = reader.json("/api/v1/freshness")
        assert why in fresh["writer"]["stale"] and "heartbeatAt" not in fresh["writer"] and fresh["sources"] == [], fresh
    left.unlink()
    assert "is not there" in reader.json("/api/v1/freshness")["writer"]["stale"]
    assert metric(reader, "pedigraph_writer_stale") == {"": 1} and metric(reader, "pedigraph_writer_heartbeat_age_seconds") == {}


def test_a_write_node_knows_its_own_freshness(nodes):
    writer, _ = pair(nodes)
    fresh = writer.json("/api/v1/freshness")
    assert fresh["head"]["size"] == 1 and fresh["views"] == [] and fresh["sources"] == [] and "writer" not in fresh, fresh
    assert metric(writer, "pedigraph_ledger_entries") == {"": 1}


def test_sources_are_seen_in_both_processes(nodes, broker, topic):
    (name,) = broker.create(topic("events"), partitions=2)
    producer = broker.producer()
    for n in range(6):
        producer.send(name, json.dumps(deployed(f"svc-{n}", f"r.example/app:{n}", id_=f"split-kafka-{n}")).encode(), partition=n % 2)
    producer.flush()
    writer, reader = pair(nodes, kafka=broker.address, topics=[name], group=topic("group"))

    def caught_up(node):
        rows = node.json("/api/v1/freshness")["sources"]
        done = len(rows) == 2 and sum(row["position"] for row in rows) == 6 and all(row.get("lagMessages") == 0 for row in rows)
        return rows if done else None

    for node in (writer, reader):
        rows = until(lambda node=node: caught_up(node), "both partitions with their positions", 60, node.alive)
        assert [(row["name"], row["partition"]) for row in rows] == [(name, 0), (name, 1)]
        assert set(metric(node, "pedigraph_source_lag_messages").values()) == {0}
    writer.kill()
    until(lambda: "stale" in reader.json("/api/v1/freshness")["writer"], "a word that the writer is silent", 30, reader.alive)
    rows = reader.json("/api/v1/freshness")["sources"]
    assert sum(row["position"] for row in rows) == 6 and not any("lagMessages" in row or "end" in row for row in rows), rows
    assert metric(reader, "pedigraph_source_lag_messages") == {}, "how much waits nobody knows: not 0"
