"""The room that is kept in reserve: below it nothing new is taken in, and nothing that was is lost."""

import json
import os
import shutil
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
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


def test_files_are_for_the_user_and_the_group(nodes):
    """Whatever the umask lets others do: journal, bodies, views, indexes and spools are nobody else's."""
    before = os.umask(0)
    try:
        node = nodes()
    finally:
        os.umask(before)
    node.accept(json.dumps(deployed("svc", "r.example/app:1", id_="first")).encode(), wait="visible")
    sbom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": f"n{n}" * 9} for n in range(9_000)]}
    assert node.post(sbom).status_code == 201
    assert node.stop() == 0
    found = {path.relative_to(node.data): path.lstat() for path in [node.data, *node.data.rglob("*")]}
    loose = {str(path): oct(stat.S_IMODE(of.st_mode)) for path, of in found.items() if of.st_mode & (stat.S_IRWXO | stat.S_IWGRP)}
    assert not loose, loose
    journal = [stat.S_IMODE(of.st_mode) for path, of in found.items() if path.suffix == ".seg"]
    assert journal and set(journal) == {0o640}
    assert stat.S_IMODE(found[Path("ledger/journal")].st_mode) == 0o750
    assert stat.S_IMODE(found[Path("ledger/key")].st_mode) == 0o600


def test_strange_directories_stop_nothing(nodes):
    """Each directory may be a disk of its own, which has a lost+found."""
    node = nodes()
    node.accept(json.dumps(deployed("svc", "r.example/app:1", id_="first")).encode(), wait="visible")
    assert node.stop() == 0
    # Not in a store's own directories, which are no disk's.
    directories = [path for path in [node.data, *node.data.glob("*"), *node.data.glob("ledger/**/*")] if path.is_dir()]
    assert {"packs", "spool", "copies", "known", "views", "journal"} <= {path.name for path in directories}
    for path in directories:
        (path / "lost+found").mkdir(mode=0o700)
    node.start()
    node.accept(json.dumps(deployed("svc", "r.example/app:2", id_="second")).encode(), wait="visible")
    assert "pedigraph_left_alone_names 1" in node.get("/metrics").text
    assert "lost+found" in node.log.read_text()
    assert (node.data / "packs" / "lost+found").is_dir()
    node.kill()
    node.start()
    assert node.size() == 2


def test_a_spooled_document_that_disappears(nodes):
    """Somebody cleans up behind the server's back while a document waits for its turn: only that one is lost, and said."""
    node = nodes()
    slow = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": f"n{n}" * 20} for n in range(150_000)]}
    bodies = [json.dumps({**slow, "version": n}).encode() for n in range(4)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        sent = [pool.submit(node.post, body, path="/api/v1/documents") for body in bodies]
        until(lambda: len(list((node.data / "spool").glob("upload-*"))) == len(bodies), "all are spooled", 30, node.alive)
        for path in (node.data / "spool").glob("upload-*"):
            path.unlink()
        answers = [answer.result().status_code for answer in sent]
    assert set(answers) <= {201, 503} and 503 in answers, answers
    lost = answers.count(503)
    assert f"pedigraph_lost_documents_total {lost}" in node.get("/metrics").text
    node.accept(json.dumps(deployed("svc", "r.example/app:1", id_="after")).encode())
    assert node.size() == 1 + len(bodies) - lost
