"""The ledger as a stranger sees it: verifiers that nobody here wrote, a static copy, tampering, repair."""

import json
import os
import shutil
import subprocess
import time

import pytest

import tlog
import verifiers
from conftest import missing
from pedigraph import CLOUDEVENT, NDJSON, copy_data, deployed, flip, run, tear, until

GO = os.environ.get("PEDIGRAPH_TEST_TLOGCHECK")
MARKER = "marker-for-the-tamperer"
# The index of the entry that holds it.
MARKED = 300


def lines(first, count):
    return b"\n".join(json.dumps(deployed(f"svc-{n}", f"r.example/app:{n}", id_=f"ledger-{n}")).encode() for n in range(first, first + count))


def publish(node, first, count):
    answer = node.post(lines(first, count), NDJSON)
    assert answer.status_code == 201, answer.text[:300]


def checkpointed(node):
    """Waits until the newest checkpoint covers the ledger; returns it."""

    def covered():
        head = node.head()
        return head["checkpointSize"] == head["size"]

    until(covered, "a checkpoint of all entries", 20, node.alive)
    return node.get("/ledger/default/checkpoint").text


def flip_marker(data):
    """Changes a letter of what was received; returns the segment that holds it."""
    segment, *_ = [path for path in data.rglob("journal/*") if path.is_file() and MARKER.encode() in path.read_bytes()]
    journal = bytearray(segment.read_bytes())
    journal[journal.index(MARKER.encode()) + 3] ^= 0x20
    segment.write_bytes(bytes(journal))
    return segment


def key_of(node):
    return node.get("/ledger/default/vkey").text.strip()


def tlogcheck(*arguments):
    if not GO:
        missing("no Go toolchain: the verifier on golang.org/x/mod cannot be built")
    return subprocess.run([GO, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log of several tiles with an older checkpoint, its server, and its static copy."""
    from pedigraph import Node

    directory = tmp_path_factory.mktemp("log")
    node = Node(directory / "data").start()
    publish(node, 0, MARKED)
    node.accept(json.dumps(deployed(MARKER, "r.example/app:1")).encode(), CLOUDEVENT)
    old = directory / "old-checkpoint"
    old.write_text(checkpointed(node))
    publish(node, 1000, 1700)
    for n in range(5):
        publish(node, 5000 + n, 1)
        checkpointed(node)
    key = directory / "vkey"
    key.write_text(key_of(node) + "\n")
    mirror = directory / "mirror"
    made = run("log", "mirror", mirror, "--data", node.data)
    assert made.returncode == 0, made.stderr.decode()
    yield {"node": node, "old": old, "key": key, "mirror": mirror, "directory": directory}
    node.kill()


def over(log, where):
    return log["node"].url + "/ledger/default" if where == "http" else log["mirror"]


@pytest.mark.parametrize("where", ["http", "mirror"])
def test_go_verifies(log, where):
    done = tlogcheck("-vkey", log["key"], "-old", log["old"], "-proofs", "200", "-seed", "7", over(log, where))
    assert done.returncode == 0, done.stderr
    assert "verified 2006 entries" in done.stdout


@pytest.mark.parametrize("where", ["http", "mirror"])
def test_python_verifies(log, where):
    def fetch(path):
        if where == "http":
            answer = log["node"].get(f"/ledger/default/{path}")
            return answer.content if answer.status_code == 200 else None
        file = log["mirror"] / path
        return file.read_bytes() if file.exists() else None

    entries, (size, _) = tlog.read(fetch, log["key"].read_text())
    assert size == 2006 == len(entries)
    leaves = [tlog.leaf(entry) for entry in entries]
    assert len({leaf["event_id"] for leaf in leaves}) == size
    times = [leaf["recorded_at"] for leaf in leaves]
    assert times == sorted(times), "the time of recording never decreases"


@pytest.mark.parametrize("where", ["http", "mirror"])
def test_aics_tlog_verifies(log, where):
    if verifiers.aics not in verifiers.available():
        pytest.skip("no Python of version 3.12 or newer: aics-tlog needs it")
    base, key = over(log, where), log["key"]
    outcomes = {
        "checkpoint": verifiers.aics(base, key),
        "consistency": verifiers.aics(base, key, log["old"]),
        **{index: verifiers.aics_entry(base, key, index) for index in (0, 255, 256, 1999, 2005)},
    }
    refused = {what: said for what, (accepted, said) in outcomes.items() if not accepted}
    assert not refused, refused


@pytest.mark.parametrize("what", ["bundle", "tile", "missing partial", "checkpoint"])
def test_tampering_is_found(log, tmp_path, what):
    copy = copy_data(log["mirror"], tmp_path / "mirror")
    if what == "bundle":
        target = copy / "tile/entries/001"
    elif what == "tile":
        target = copy / "tile/0/002"
    elif what == "checkpoint":
        target = copy / "checkpoint"
    else:
        target = next(copy.glob("tile/entries/*.p/214"))
    if what == "missing partial":
        target.unlink()
    else:
        flip(target)
    done = tlogcheck("-vkey", log["key"], copy)
    assert done.returncode == 1, done.stdout
    ours = run("verify", copy, "--vkey", log["key"])
    assert ours.returncode == 5, ours.stdout + ours.stderr


def test_paths_that_must_not_exist(log):
    """tlog-tiles: a partial is exactly as wide as a tree of a published size implies, and never empty."""
    node = log["node"]
    for path in ("tile/0/000.p/256", "tile/0/000.p/0", "tile/0/0", "tile/entries/000.p/0", "tile/0/007.p/255", "tile/1/000.p/200", "tile/3/000.p/1", "tile/08/000"):
        assert node.get(f"/ledger/default/{path}").status_code == 404, path
    for path in ("tile/1/000.p/7", "tile/0/007.p/214", "tile/entries/007.p/214", "tile/0/000", "tile/entries/006"):
        assert node.get(f"/ledger/default/{path}").status_code == 200, path


def test_verify_and_a_flipped_byte(log, nodes, tmp_path):
    """Verification names what was tampered with, and a server refuses to start on it."""
    running = run("verify", log["node"].data)
    assert running.returncode == 0, running.stderr.decode()
    copy = copy_data(log["node"].data, tmp_path / "copy")
    assert run("verify", copy).returncode == 0
    flip_marker(copy)
    table = run("verify", copy)
    assert table.returncode == 5, table.stdout + table.stderr
    lines = table.stdout.decode().splitlines()
    assert lines[0].startswith("NOT verified: ")
    told = dict(line.split(":", 1) for line in lines[1:])
    fault = json.loads(run("verify", copy, "-o", "json").stdout)
    assert told == {
        "first bad index": f" {MARKED} of log default",
        "expected": f"        {fault['expected']}",
        "found": f"           {fault['found']}",
        "affected": f"        {fault['affected']}",
    }
    assert (fault["verified"], fault["faultLog"], fault["faultIndex"]) == (False, "default", MARKED)
    assert all(len(fault[name]) == 64 for name in ("expected", "found")) and fault["expected"] != fault["found"]
    assert f"entry {MARKED} of log default" in fault["affected"]
    with pytest.raises(AssertionError, match="before it listened"):
        nodes("copy")
    log_text = (tmp_path / "copy-up.log").read_text()
    assert "listening" not in log_text and log_text.strip(), "it says why it refuses"


def test_verify_of_a_directory_goes_on_where_it_ended(log, tmp_path):
    """What an earlier run read is believed and said to be; a run of its own reads all."""
    copy, state = copy_data(log["node"].data, tmp_path / "copy"), tmp_path / "state"
    first, *_, last = sorted(copy.rglob("journal/*.seg"))
    assert first != last
    whole = last.read_bytes()
    at = len(whole.rstrip(b"\0")) - 10
    last.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    ended = run("verify", copy, "--resume", state)
    assert ended.returncode == 5 and state.exists(), ended.stdout + ended.stderr
    last.write_bytes(whole)
    assert flip_marker(copy) == first

    noted = state.read_text()
    state.write_text(noted.replace("entries ", "entries 1", 1))
    assert b"is not the state of an interrupted check" in run("verify", copy, "--resume", state).stderr
    state.write_text(noted)
    resumed = run("verify", copy, "--resume", state, "-o", "json")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    said = json.loads(resumed.stdout)
    assert said["entries"] == 2006 > said["believed"] > MARKED
    assert "were read in an earlier run" in said["checks"][0]
    assert not state.exists()
    anew = run("verify", copy, "--resume", state, "-o", "json")
    assert (anew.returncode, json.loads(anew.stdout)["faultIndex"]) == (5, MARKED)


def test_a_torn_tail_is_cut(nodes, tmp_path):
    """What a crash leaves after the last commit is not an error and not an entry."""
    node = nodes()
    publish(node, 0, 50)
    checkpointed(node)
    before = tlog.checkpoint(node.get("/ledger/default/checkpoint").text, key_of(node))
    node.kill()
    segment = min((path for path in node.data.rglob("journal/*.seg")), key=lambda path: path.name)
    tear(segment)
    node.start()
    assert node.size() == 50
    publish(node, 100, 10)
    checkpointed(node)
    origin, size, _ = tlog.checkpoint(node.get("/ledger/default/checkpoint").text, key_of(node))
    assert (origin, size) == (before[0], 60)
    node.stop()
    assert run("verify", node.data).returncode == 0


def test_rolled_back_ledger_is_refused(nodes, tmp_path):
    """An older copy of the journal beside newer checkpoints: two histories must never be signed."""
    node = nodes()
    publish(node, 0, 20)
    checkpointed(node)
    node.stop()
    old = copy_data(node.data, tmp_path / "old")
    node.start()
    publish(node, 100, 20)
    checkpointed(node)
    node.stop()
    for segment in node.data.rglob("journal/*"):
        segment.unlink()
    for segment in old.rglob("journal/*"):
        shutil.copy(segment, node.data / segment.relative_to(old))
    with pytest.raises(AssertionError, match="before it listened"):
        node.start()


def test_views_are_a_function_of_the_ledger(log, tmp_path):
    """Folded again, elsewhere, the views have the same root."""

    def root(*arguments):
        done = run("rebuild", *arguments)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split()[0]

    log["node"].wait_visible()
    checked = root("--check", "--data", log["node"].data)
    copy = copy_data(log["node"].data, tmp_path / "copy")
    assert root("--data", copy) == checked
    assert root("--data", copy) == checked
    shutil.rmtree(copy / "views")
    assert root("--data", copy) == checked


def test_recorded_view_roots_are_what_others_come_to(nodes, tmp_path):
    """`up` says in the ledger what its views came to; a read node and a check on copies come to the same."""
    node = nodes(env={"PEDIGRAPH_VIEW_ROOT_INTERVAL_MS": "100"})

    def recorded():
        return [entry for entry in node.entries() if entry["type"] == "ViewRootRecorded"]

    publish(node, 0, 50)
    until(lambda: len(recorded()) >= 1, "a recorded root", 30, node.alive)
    publish(node, 100, 50)
    until(lambda: len(recorded()) >= 2, "a root of what came since", 30, node.alive)
    until(lambda: node.entries()[-1]["type"] == "ViewRootRecorded", "a root as the last word", 30, node.alive)
    node.wait_visible()
    roots = node.json("/api/v1/freshness")["viewRoots"]
    assert roots["compared"] >= 2 and roots["mismatched"] == 0 and roots["last"]["equal"], roots
    assert node.intake()["byStatus"]["accepted"] == 100, "what the ledger says of itself did not come in"
    forged = node.post(json.dumps({"specversion": "1.0", "id": "1", "source": "x", "type": "io.pedigraph.view-root-recorded.v1", "data": {}}).encode(), CLOUDEVENT)
    assert forged.status_code == 422 and forged.json()["code"] == "CONTROL_EVENT_FORBIDDEN", forged.text
    assert node.stop() == 0

    checked = run("rebuild", "--check", "--data", node.data)
    assert checked.returncode == 0, checked.stderr.decode()
    assert b"recorded view roots compared, 0 differ" in checked.stderr
    copy = copy_data(node.data, tmp_path / "elsewhere")
    shutil.rmtree(copy / "views")
    reader = nodes("elsewhere", role="serve")
    reader.wait_visible()
    theirs = reader.json("/api/v1/freshness")["viewRoots"]
    assert theirs["compared"] == len([e for e in reader.entries() if e["type"] == "ViewRootRecorded"]), theirs
    assert theirs["mismatched"] == theirs["outOfReach"] == theirs["otherVersion"] == 0 and theirs["last"]["equal"], theirs
    assert reader.get("/readyz").status_code == 200


def test_views_lost_are_built_again(nodes):
    node = nodes()
    publish(node, 0, 200)
    node.wait_visible()
    before = node.json("/api/v1/environments/staging")
    node.stop()
    shutil.rmtree(node.data / "views")
    node.start()
    node.wait_visible()
    after = node.json("/api/v1/environments/staging")
    assert after["services"] == before["services"] and len(after["services"]) == 200


def test_restart_is_quick(log, figure):
    node = log["node"]
    node.kill()
    begin = time.monotonic()
    node.start()
    node.accept(json.dumps(deployed("again", "r.example/app:1")).encode(), CLOUDEVENT)
    took = time.monotonic() - begin
    figure(f"kill -9 + start to the next receipt over HTTP, 2,006 entries: {took:.2f} s")
    assert took < 10
