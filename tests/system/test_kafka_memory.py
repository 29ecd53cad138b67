"""A message for which there is not enough memory, on the real broker: the process dies over it twice, then it is a reject,
and what stands around it is recorded once."""

import gzip
import hashlib
import json
import re
import signal

import pytest

import accounts
from pedigraph import padded, until

pytestmark = pytest.mark.kafka

# The allocator takes memory as it needs it instead of a gigabyte at the start, so that a limit is felt where it is exceeded.
PIECE_BY_PIECE = {"MIMALLOC_ARENA_RESERVE": "0"}


def large_to_decode():
    """12 MB that are a hundred and more while they are decoded."""
    statements = [{"vulnerability": {"name": f"CVE-{n}"}, "products": [f"pkg:npm/p{n}@1"], "status": "fixed"} for n in range(130_000)]
    return json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "author": "a", "statements": statements}).encode()


def large_to_unpack():
    """5 MB that unpack to nearly as much as is held in memory."""
    return gzip.compress(json.dumps({"lines": [f"{n * n:x} of {n}" for n in range(700_000)]}).encode()[: 16 << 20])


def data_bytes(node):
    """What a limit on data counts."""
    status = open(f"/proc/{node.process.pid}/status").read()
    return int(re.search(r"VmData:\s+(\d+) kB", status).group(1)) << 10


# Whoever asks for memory first when there is none left decides how the process ends: a reader is told, and the process ends
# in order; everybody else, the decoder and all other threads among them, can only abort it.
ENDS = {8: "recorded any more: memory: out of memory", -signal.SIGABRT: "memory allocation of "}


def dies(node):
    """Starts, and ends by itself, since there is no memory."""
    said_before = node.log.read_text()
    try:
        node.start()
    except AssertionError as error:
        code = int(re.search(r"exited with (-?\d+) before", str(error)).group(1))
    else:
        code = node.process.wait(60)
        node.process = None
    assert code in ENDS, node.tail()
    assert ENDS[code] in node.log.read_text()[len(said_before) :], node.tail()


@pytest.mark.parametrize(
    ("poison", "mib"), [pytest.param(large_to_decode, 56, id="decode"), pytest.param(large_to_unpack, 24, id="unpack")]
)
def test_a_message_for_which_there_is_no_memory(broker, nodes, topic, poison, mib):
    (name,) = broker.create(topic("a"), partitions=1)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"), env=PIECE_BY_PIECE)
    producer, bad = broker.producer(**{"compression.type": "none"}), poison()
    for n in range(10):
        producer.send(name, padded(n), n)
    producer.flush()
    node.wait_size(10)
    node.restart()
    limit = data_bytes(node) + (mib << 20)
    assert node.stop() == 0
    producer.send(name, bad, "bad")
    for n in range(10, 20):
        producer.send(name, padded(n), n)
    delivered = producer.flush()

    node.wrapper = ["prlimit", f"--data={limit}"]
    dies(node)
    dies(node)
    # With enough of it again, so that it would be accepted now: it is not tried.
    node.wrapper = []
    node.start()
    node.wait_size(21)

    leaves = accounts.leaves(node)
    assert set(accounts.once(leaves)) == set(delivered) and len(leaves) == 21
    assert [leaf["status"] for leaf in leaves].count("accepted") == 20
    (refused,) = node.entries(status="rejected")
    assert refused["code"] == "DECODER_DIED" and refused["origin"]["offset"] == 10, refused
    assert node.get(f"/api/v1/entries/{refused['index']}/body").content == bad, "its bytes are kept as they came"
    told = f"the process died while it decoded this message\",\"digest\":\"{hashlib.sha256(bad).hexdigest()}"
    assert node.log.read_text().count(told) == 2
    assert "pedigraph_set_aside_messages_total 1" in node.get("/metrics").text
    producer.send(name, padded(20), 20)
    producer.flush()
    node.wait_size(22)
    node.restart()
    until(lambda: node.ready()[0] == 200, "it is ready", 30, node.alive)
    assert node.size() == 22
