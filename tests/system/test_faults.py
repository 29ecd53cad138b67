"""A hostile disk: the real server, with one system call at a time that fails or is its last one.

A scripted run is recorded first. Then, for each call that touched a file of the data directory, the run is made again and that call
answers EIO or ENOSPC, or the process is killed as it enters it. Started again without faults, the server repairs what is left:
nothing acknowledged is lost, nothing is there twice, and the ledger verifies. ./tests/run takes an even sample of the faults under the
journal, the checkpoints, blobs and bodies and a random one of the others, --long all of them. Files of random names are left out of both.
"""

import collections
import concurrent.futures
import json
import os
import random
import re
import shutil

import pytest
import requests

import strace
from pedigraph import BATCH, CLOUDEVENT, Node, copy_data, deployed, run, tear, until

LONG = os.environ.get("PEDIGRAPH_TEST_LONG") == "1"
# Faults of one run of the test under each kind of file.
OWN, OTHERS = 120, 40
OWN_FILES = re.compile(r"ledger/(journal|blobs|bodies)(/|$)|ledger/logs/[^/]+/checkpoint")
TOGETHER = 4
SEED = int(os.environ.get("PEDIGRAPH_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
CALLS = ("write", "pwrite64", "fdatasync", "fsync", "rename", "renameat", "openat", "link", "linkat", "unlink", "unlinkat", "close", "mkdir", "syncfs",
         "ftruncate")
FAULTS = ("error=EIO", "error=ENOSPC", "signal=KILL")
POISONED, KILLED = 8, -9
# Small segments, so that the script goes on in a second and a third one; few waits for checkpoints.
SETTINGS = "segment-bytes = 65536\ncheckpoint-interval-ms = 100\n"


def event(n):
    """The script's event `n`: the fourth has a body that becomes a blob, later ones fill segments."""
    size = {0: 10, 1: 10, 2: 10, 3: 200_000}.get(n, 20_000)
    made = deployed(f"svc-{n}", f"r.example/app:{n}", id_=f"fault-{n}")
    made["data"]["note"] = random.Random(n).randbytes(size // 2).hex()
    return json.dumps(made).encode()


EVENTS = [event(n) for n in range(10)]


class Run:
    """One run of the script on a data directory: what was acknowledged, and how it ended."""

    def __init__(self, directory, wrapper=()):
        (directory / "settings.toml").write_text(SETTINGS)
        self.node = Node(directory / "data", role="process", options=["--config", directory / "settings.toml"], wrapper=wrapper)
        self.receipts, self.listened, self.refused, self.code = {}, False, 0, None

    def play(self):
        try:
            self.node.start()
        except AssertionError as error:
            self.code = int(re.search(r"exited with (-?\d+)", str(error))[1])
            return self
        self.listened = True
        try:
            self.post(range(3)).wait_checkpoint(3).post(range(3, len(EVENTS))).wait_checkpoint(len(EVENTS))
        except (requests.RequestException, Gone):
            # Who stopped itself is not signalled: its exit code is its own.
            process = self.node.process
            until(lambda: process.poll() is not None, "the end of a server that refused an event", 20)
        self.code = self.node.stop()
        return self

    def post(self, numbers):
        """Sends events until each is taken. Who has no room (507) is asked again; whoever refuses otherwise stops."""
        for n in numbers:

            def taken(n=n):
                answer = self.node.post(EVENTS[n], CLOUDEVENT, timeout=20)
                if answer.status_code == 507:
                    self.refused += 1
                    assert answer.json()["code"] == "INSUFFICIENT_STORAGE", answer.text
                    return None
                if answer.status_code not in (200, 201):
                    raise Gone
                return answer.json()

            self.receipts[n] = until(taken, f"room for event {n}", 20)
        return self

    def wait_checkpoint(self, size):
        """Until the log has one of that size."""

        def there():
            if self.node.process.poll() is not None:
                raise Gone
            return (self.node.signed_size() or 0) >= size

        until(there, f"a checkpoint of {size} entries", 20)
        return self


class Gone(Exception):
    """The server refuses what it took before: it stops."""


def after(directory, first):
    """Starts again without faults and sends everything again: each event is there once, where its receipt said."""
    again = Run(directory)
    node = again.node.start()
    try:
        again.post(range(len(EVENTS)))
        assert node.stop() == 0
    finally:
        node.kill()
    indexes = [receipt["index"] for receipt in again.receipts.values()]
    assert sorted(indexes) == list(range(len(EVENTS))), indexes
    for n, receipt in first.receipts.items():
        assert again.receipts[n] == {**receipt, "status": "duplicate"}, f"event {n} was acknowledged"
    verified = run("verify", node.data)
    assert verified.returncode == 0, (verified.stdout + verified.stderr).decode()
    assert f"verified: {len(EVENTS)} entries" in (verified.stdout + verified.stderr).decode()


def points(trace, data):
    """(call, file below the data directory, n-th of one thread) of every call that touched one.

    Files whose names are random are left out, and counted.
    """
    found, random_names = collections.Counter(), 0
    for call in strace.read(trace):
        paths = re.findall(re.escape(str(data)) + r'/([^">]+)', call.arguments)
        if call.name not in CALLS or not paths:
            continue
        if re.search(r"/incoming/|/\.tmp", paths[-1]):
            random_names += 1
        else:
            found[(call.name, paths[-1], call.thread)] += 1
    most = collections.Counter()
    for (name, path, _), count in found.items():
        most[(name, path)] = max(most[(name, path)], count)
    return [(name, path, n + 1) for (name, path), count in most.items() for n in range(count)], random_names


def strike(directory, base, point, fault):
    """One run with one fault, and what follows; returns whether it struck, the exit code, and what is wrong."""
    name, path, n = point
    directory.mkdir(parents=True)
    data = copy_data(base, directory / "data") if base else directory / "data"
    trace = directory / "trace"
    options = ("-P", data / path, "-e", f"trace={name}", "-e", f"inject={name}:{fault}:when={n}")
    first = Run(directory, strace.around(trace, *options))
    try:
        first.play()
        struck = first.code == KILLED or any(call.injected for call in strace.read(trace))
        judge(first, point, fault, struck)
        after(directory, first)
    except (AssertionError, requests.RequestException, Gone) as error:
        return True, first.code, f"{fault} at {name} {n} of {path} ({directory}): {error!r}\n{first.node.tail(15)}"
    finally:
        first.node.kill()
    shutil.rmtree(directory)
    return struck, first.code, None


def judge(first, point, fault, struck):
    """How the run may have ended."""
    name, path, _ = point
    # The standard library panics when a directory's listing cannot be closed, which no disk does; twice, and it aborts.
    refused = (1, 101, -6) if name == "close" else (1,)
    if not struck or fault == "signal=KILL":
        assert first.code in (0, KILLED), f"exit code {first.code}"
    elif first.listened and name in ("pwrite64", "fdatasync") and path.endswith(".seg"):
        assert first.code == POISONED, f"exit code {first.code}: the writer cannot know whether its batch is on disk"
    elif first.code == 0:
        assert len(first.receipts) == len(EVENTS), "a server that goes on takes everything"
    else:
        assert first.code in ((POISONED,) if first.listened else refused), f"exit code {first.code}"


def crashed(directory):
    """A data directory as a crash leaves it: half-made files, rubbish behind the last commit, derived files gone."""
    directory.mkdir()
    made = Run(directory)
    made.node.start()
    made.post(range(2))
    made.node.kill()
    ledger = directory / "data" / "ledger"
    (ledger / "journal" / "entered.tmp").write_bytes(b"half")
    # Whether it has been written yet depends on who is faster.
    (ledger / "commits").unlink(missing_ok=True)
    tear(ledger / "journal" / f"{0:020}.seg")
    return directory / "data"


def sampled(sweep):
    """Every n-th fault under the ledger's own files, so that each call has one, and some of the others."""
    own, others = [], []
    for job in sweep:
        (own if OWN_FILES.search(job[0][1]) else others).append(job)
    # No multiple of the number of faults, so that the sample has each of them.
    stride = next(n for n in range(max(1, len(own) // OWN), len(own) + 2) if n % len(FAULTS))
    return own[::stride] + random.Random(SEED).sample(others, min(OTHERS, len(others)))


@pytest.mark.timeout(3600 if LONG else 300)
@pytest.mark.parametrize("begin", ["a new ledger", "after a crash"])
def test_every_call_fails_once(tmp_path, figure, begin):
    strace.needed()
    base = crashed(tmp_path / "base") if begin == "after a crash" else None
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    if base:
        copy_data(base, recorded / "data")
    whole = Run(recorded, strace.around(recorded / "trace", "-e", f"trace={','.join(CALLS)}")).play()
    assert (whole.code, len(whole.receipts)) == (0, len(EVENTS)), whole.node.tail()
    after(recorded, whole)
    found, random_names = points(recorded / "trace", recorded / "data")
    sweep = [(point, fault) for point in found for fault in FAULTS]
    sample = sweep if LONG else sampled(sweep)
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        struck = list(pool.map(lambda job: strike(tmp_path / str(job[0]), base, *job[1]), enumerate(sample)))
    wrong = [text for _, _, text in struck if text]
    assert not wrong, f"{len(wrong)} of {len(sample)}, seed {SEED}:\n" + "\n\n".join(wrong[:20])
    codes = collections.Counter(code for hit, code, _ in struck if hit)
    hits = sum(codes.values())
    # How often the index is written depends on who is faster, and so does whether there is an n-th time.
    assert hits >= 0.7 * len(sample), f"only {hits} of {len(sample)} faults struck: the script is not the recorded one"
    figure(f"faults under {begin}: {len(sample)} of {len(sweep)} ({len(found)} calls, {random_names} on files of random names left out), "
           f"{hits} struck, seed {SEED}; exit codes {dict(sorted(codes.items()))}")


CHECKPOINT = "ledger/logs/default/checkpoint.tmp"
TILES = "ledger/logs/default/hashes-0"


def struck_node(nodes, tmp_path, path, call, fault):
    """A server on which a call on one file fails, with enough entries for a checkpoint and a tile."""
    strace.needed()
    data = tmp_path / "data"
    wrapper = strace.around(tmp_path / "trace", "-P", data / path, "-e", f"trace={call}", "-e", f"inject={call}:{fault}")
    (tmp_path / "settings.toml").write_text("checkpoint-interval-ms = 100\n")
    node = nodes(role="process", options=["--config", tmp_path / "settings.toml"])
    # A new ledger has its first checkpoint from another thread, and strace counts the calls of each.
    node.stop()
    node.wrapper = wrapper
    node.start()
    # In one request: after a first one the checkpoint could fail before the second is answered.
    lines = [json.dumps(deployed(f"svc-{n % 2}", f"r.example/app:{n}", id_=str(n))) for n in range(256)]
    answer = node.post(f"[{','.join(lines)}]".encode(), BATCH)
    assert answer.status_code == 201, answer.text
    return node


# Tiles are appended to one file, which is synced with the segment.
STOPPING = [(CHECKPOINT, "pwrite64"), (CHECKPOINT, "fdatasync"), (CHECKPOINT, "rename"), (TILES, "pwrite64"), (TILES, "openat")]


@pytest.mark.parametrize(("path", "call"), STOPPING)
def test_a_failing_disk_stops_an_idle_server(nodes, tmp_path, path, call):
    """Checkpoints and tiles are written off the writer's thread: no event need come for the process to stop."""
    # Tiles are looked for by readers first, who do without.
    times = "1+" if call == "openat" else "1"
    node = struck_node(nodes, tmp_path, path, call, f"error=EIO:when={times}")
    until(lambda: node.process.poll() is not None, "the end of a server whose disk failed", 20)
    assert node.stop() == POISONED, node.tail()
    node.wrapper = []
    node.start()
    until(lambda: node.signed_size() == 256, "what could not be published before", 20)
    assert node.stop() == 0
    assert (node.data / TILES).stat().st_size == 8192
    assert run("verify", node.data).returncode == 0


@pytest.mark.parametrize("path", [CHECKPOINT, TILES])
def test_a_full_disk_is_waited_for(nodes, tmp_path, path):
    """No room for a checkpoint or a tile: the server says so, goes on, and makes up for it."""
    # Long enough to be seen on a busy machine.
    times = "1..100" if path == CHECKPOINT else "1..5"
    node = struck_node(nodes, tmp_path, path, "pwrite64", f"error=ENOSPC:when={times}")
    ready = until(lambda: "[-]checkpoints" in (text := node.ready()[1]) and text, "word of a full disk", 20, node.alive)
    assert "No space left" in ready, ready
    until(lambda: node.ready()[0] == 200, "readiness", 120, node.alive)
    until(lambda: node.signed_size() == 256, "a checkpoint", 20, node.alive)
    assert node.stop() == 0
    assert (node.data / TILES).stat().st_size == 8192
    assert run("verify", node.data).returncode == 0
