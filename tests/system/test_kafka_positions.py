"""What follows on a position of the ledger is gone from the real broker: its partition stands still and says so, nothing
else does, and the printed advice loses nothing."""

import json
import re

import pytest

import accounts
from pedigraph import deployed, padded, run, until

pytestmark = pytest.mark.kafka


def send(broker, topic, ids, partition=0):
    producer = broker.producer()
    for n in ids:
        producer.send(topic, padded(n), n, partition=partition)
    return producer.flush()


def source(node, topic, partition=0):
    found = [row for row in node.json("/api/v1/freshness")["sources"] if (row["name"], row.get("partition")) == (topic, partition)]
    return found[0] if found else {}


def wait_lost(node, topic, partition=0):
    row = until(lambda: (row := source(node, topic, partition)).get("state") == "lost" and row, "the position is gone", 60, node.alive)
    status, ready = node.ready()
    line = next(line for line in ready.splitlines() if "-positions" in line)
    assert status == 503 and line.startswith("[-]"), ready
    assert f"{topic}/{partition}: the ledger goes on at offset {row['position']}" in line, line
    assert f"--accept-gap {topic}/{partition}" in line and "disk failed" not in ready, ready
    assert f'pedigraph_source_position_lost{{source="{topic}",partition="{partition}"}} 1' in node.get("/metrics").text
    return row


def advised(node):
    """The flag that `pedigraph topics` prints; exit code 6."""
    told = run("topics", "--url", node.url, "-o", "json")
    assert told.returncode == 6, (told.returncode, told.stdout, told.stderr)
    lost = [row for row in json.loads(told.stdout)["sources"] if row["state"] == "lost"]
    assert run("topics", "--url", node.url).stdout.decode().count("--accept-gap") == len(lost)
    return [re.search(r"--accept-gap \S+[^:\s]", row["advice"]).group().split() for row in lost]


def follow_advice(node, topic):
    """Starts once with what is printed; the gap is an entry."""
    (flags,) = advised(node)
    assert node.stop() == 0
    plain = node.arguments
    node.arguments = [*plain, *flags]
    node.start()
    gaps = until(lambda: [e for e in node.entries() if e["type"] == "GapAccepted"], "the gap is recorded", 60, node.alive)
    body = node.json(f"/api/v1/entries/{gaps[-1]['index']}/body")
    assert body["topic"] == topic, body
    partition = int(body.get("partition", 0))
    until(lambda: source(node, topic, partition).get("lagMessages") == 0, "it is read up to its end", 60, node.alive)
    until(lambda: node.ready()[0] == 200, "all positions are there", 60, node.alive)
    node.arguments = plain
    return body


def coordinates(node, topic):
    """What the ledger has of a topic: ids by offset, in the order of the ledger."""
    leaves = [leaf for leaf in accounts.leaves(node) if leaf["origin"].get("topic") == topic]
    return [leaf["origin"].get("offset", 0) for leaf in leaves]


@pytest.mark.parametrize("after", [4, 25], ids=["fewer", "more"])
def test_topic_made_anew(broker, nodes, topic, after):
    """With fewer and with more messages than were read: all of the new ones are recorded once the gap is accepted."""
    (name,) = broker.create(topic("a"), partitions=1)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    send(broker, name, range(10))
    node.wait_size(10)
    assert node.stop() == 0
    broker.delete(name)
    broker.create(name, partitions=1)
    send(broker, name, range(100, 100 + after))
    node.start()
    row = wait_lost(node, name)
    assert (row["position"], row["end"], row["lagMessages"]) == (10, after, after), row
    assert node.size() == 10, "nothing of the new topic is taken before"
    node.restart()
    assert wait_lost(node, name)["position"] == 10, "a restart changes nothing"
    body = follow_advice(node, name)
    assert (int(body["from"]), int(body.get("to", 0)), int(body["end"])) == (10, 0, after), body
    node.wait_size(11 + after)
    assert sorted(coordinates(node, name)) == sorted([*range(10), *range(after)])
    node.restart()
    send(broker, name, [500])
    node.wait_size(12 + after)
    assert node.ready()[0] == 200


def test_topic_made_anew_while_it_is_read(broker, nodes, topic):
    (name,) = broker.create(topic("a"), partitions=1)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    send(broker, name, range(10))
    node.wait_size(10)
    broker.delete(name)
    broker.create(name, partitions=1)
    send(broker, name, range(100, 103))
    node.accept(json.dumps(deployed("meanwhile", "r.example/app:1")).encode())
    row = wait_lost(node, name)
    assert (row["position"], row["end"]) == (10, 3)
    follow_advice(node, name)
    node.wait_size(10 + 1 + 1 + 3)
    assert coordinates(node, name) == [*range(10), *range(3)]


def test_two_partitions_of_which_one_is_cut(broker, nodes, topic):
    """Retention deletes what was not read: the other partition, HTTP and readers go on."""
    (name,) = broker.create(topic("a"), partitions=2)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    send(broker, name, range(6), 0)
    send(broker, name, range(10, 15), 1)
    node.wait_size(11)
    assert node.stop() == 0
    send(broker, name, range(20, 30), 1)
    broker.cut(name, 1, 9)
    node.start()
    row = wait_lost(node, name, 1)
    assert (row["position"], row["end"], row["lagMessages"]) == (5, 15, 6), row
    assert "messages 5 to 8 were deleted before they were read" in row["advice"]
    send(broker, name, range(40, 43), 0)
    node.wait_size(14)
    node.accept(json.dumps(deployed("beside", "r.example/app:1", "beside")).encode(), wait="visible")
    assert node.json("/api/v1/environments/beside")["services"]
    assert "state" not in source(node, name, 0) and source(node, name, 0)["position"] == 9
    body = follow_advice(node, name)
    assert (int(body["partition"]), int(body["from"]), int(body["to"])) == (1, 5, 9)
    node.wait_size(15 + 1 + 6)
    assert coordinates(node, name)[-6:] == list(range(9, 15))


def test_what_was_read_may_be_cut(broker, nodes, topic):
    """Retention deletes what the ledger has: nothing is gone."""
    (name,) = broker.create(topic("a"), partitions=1)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    send(broker, name, range(8))
    node.wait_size(8)
    assert node.stop() == 0
    broker.cut(name, 0, 8)
    node.start()
    send(broker, name, range(8, 10))
    node.wait_size(10)
    assert node.ready()[0] == 200 and coordinates(node, name) == list(range(10))
    assert run("topics", "--url", node.url).returncode == 0


def test_transactions_leave_no_lag(broker, nodes, topic):
    """Markers and aborted messages take offsets: the lag counts none of them, and nothing aborted is recorded."""
    (name,) = broker.create(topic("a"), partitions=1)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"))
    broker.transaction(name, [padded(n) for n in range(3)], True, topic("t"))
    node.wait_size(3)
    until(lambda: (source(node, name).get("end"), source(node, name).get("lagMessages")) == (4, 0), "past the marker", 60, node.alive)
    broker.transaction(name, [padded(n) for n in range(10, 15)], False, topic("t"))
    at_end = {"position": 3, "end": 10, "lagMessages": 0, "lagMs": 0}

    def is_at_end():
        return at_end.items() <= source(node, name).items()

    until(is_at_end, "past what was aborted", 60, node.alive)
    assert node.size() == 3
    # The position in the ledger is behind its last message; reading on from there finds again that there is no other.
    assert node.stop() == 0
    node.start()
    until(is_at_end, "also after a restart", 60, node.alive)
    broker.transaction(name, [padded(20)], True, topic("t"))
    node.wait_size(4)
    assert coordinates(node, name) == [0, 1, 2, 10]
    assert node.ready()[0] == 200


def test_the_old_way_is_refused_with_advice(nodes, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[kafka]\nbrokers = "127.0.0.1:1"\n[kafka.options]\n"auto.offset.reset" = "earliest"\n')
    node = nodes(start=False, options=["--config", str(config)])
    with pytest.raises(AssertionError, match="(?s)exited with [1-9].*--accept-gap TOPIC/PARTITION"):
        node.start()
