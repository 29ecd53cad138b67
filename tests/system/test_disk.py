"""The room that is kept in reserve: below it nothing new is taken in, and nothing that was is lost."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

import accounts
from conftest import missing
from pedigraph import CLOUDEVENT, deployed, padded, problem, until

MIB = 1 << 20
# A file system in memory, so that nobody else fills or empties it meanwhile.
MEMORY = Path("/dev/shm")
SPARE_MIB, FILLED_MIB = 300, 400


def free_mib():
    found = os.statvfs(MEMORY)
    return found.f_bavail * found.f_frsize // MIB


@pytest.fixture
def memory():
    if not MEMORY.is_dir() or free_mib() < 2 * FILLED_MIB:
        missing(f"no {2 * FILLED_MIB} MiB in {MEMORY}, to fill a disk")
    directory = Path(tempfile.mkdtemp(dir=MEMORY))
    yield directory
    shutil.rmtree(directory)


def test_below_the_reserve(request, nodes, memory, topic, figure):
    """HTTP is told 507, Kafka waits, reading goes on; with room again everything goes on where it was."""
    kafka, topics, producer = {}, [], None
    if os.environ.get("PEDIGRAPH_TEST_QUICK") != "1":
        broker = request.getfixturevalue("broker")
        topics = broker.create(topic("a"))
        kafka = {"kafka": broker.address, "topics": topics, "group": topic("group")}
        producer = broker.producer()
    settings = memory / "settings.toml"
    settings.write_text(f"reserve-mib = {free_mib() - SPARE_MIB}\nsegment-bytes = 1048576\n")
    node = nodes(memory / "data", options=["--config", settings], **kafka)
    first = node.accept(json.dumps(deployed("svc", "r.example/app:1", id_="first")).encode())

    def send(numbers):
        for n in numbers if producer else ():
            producer.send(topics[0], padded(n), n)
        return producer.flush() if producer else {}

    node.wait_size(1 + len(send(range(50))))
    size = node.size()
    assert node.ready()[0] == 200
    with (memory / "filled").open("wb") as filled:
        os.posix_fallocate(filled.fileno(), 0, FILLED_MIB * MIB)
    status, text = until(lambda: (now := node.ready())[0] == 503 and now, "word of a full disk", 10, node.alive)
    assert "[-]disk-space" in text and "MiB are kept in reserve" in text, text
    late = json.dumps(deployed("svc", "r.example/app:2", id_="late")).encode()
    problem(node.post(late, CLOUDEVENT), 507, "INSUFFICIENT_STORAGE")
    delivered = send(range(50, 3_000))

    def waiting():
        sources = node.json("/api/v1/freshness")["sources"]
        return not producer or sum(source.get("lagMessages") or 0 for source in sources) == len(delivered) - 50

    until(waiting, "messages that wait at the broker", 30, node.alive)
    assert node.size() == size, "nothing new is taken in"
    assert node.json(f"/api/v1/entries/{first['index']}")
    (memory / "filled").unlink()
    until(lambda: node.ready()[0] == 200, "readiness", 10, node.alive)
    node.accept(late)
    node.wait_size(2 + len(delivered))
    if producer:
        accounts.unique_messages(node, delivered)
    assert node.size() == 2 + len(delivered)
    assert node.stop() == 0
    figure(f"disk reserve: refused with 507, {len(delivered) - 50 if producer else 0} Kafka messages waited, none lost")
