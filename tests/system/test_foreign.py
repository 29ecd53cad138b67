"""A log at every size where tiles begin, fill and climb, and what a forger can do to it: judged by verifiers that nobody here wrote."""

import json
import shutil

import pytest

import verifiers
from pedigraph import CLOUDEVENT, NDJSON, Node, copy_data, deployed, flip, run, until

# Nothing, one, around a full tile of each level, and one with partial tiles on all of them.
SIZES = (0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 200_123)
FORKED_AT, TAMPERED = 255, 65_537
BATCH = 5_000
BLOB = 100_000


class Log:
    """A growing log with its checkpoints and static copies by size."""

    def __init__(self, directory, data=None, word="first"):
        self.directory, self.word = directory, word
        self.node = Node(data or directory / "data", role="process").start()
        self.key = directory / "vkey"
        self.key.write_text(self.node.get("/ledger/default/vkey").text)
        self.size = self.node.signed_size()

    @property
    def url(self):
        return self.node.url + "/ledger/default"

    def event(self, n):
        made = deployed(f"svc-{n % 100}", f"r.example/app:{n}", id_=f"{self.word}-{n}")
        made["data"]["note"] = "b" * BLOB if n == 0 else ""
        return json.dumps(made).encode()

    def grow(self, size):
        """One more size; its checkpoint and its static copy are kept."""
        while self.size < size:
            end = min(size, self.size + BATCH) if self.size else 1
            body = b"\n".join(self.event(n) for n in range(self.size, end))
            answer = self.node.post(body, NDJSON if end - self.size > 1 else CLOUDEVENT)
            assert answer.status_code == 201, answer.text[:300]
            self.size = end
        until(lambda: self.node.signed_size() == size, f"a checkpoint of {size} entries", 30, self.node.alive)
        self.checkpoint(size).write_bytes(self.node.get("/ledger/default/checkpoint").content)
        made = run("log", "mirror", self.mirror(size), "--data", self.node.data)
        assert made.returncode == 0, made.stderr.decode()

    def mirrored(self, size):
        """The static copy of that size; grows to it where it is not there yet."""
        for step in SIZES:
            if step > size or self.mirror(step).exists():
                continue
            self.grow(step)
            if step == FORKED_AT:
                self.node.stop()
                copy_data(self.node.data, self.directory / "fork")
                self.node.start()
        return self.mirror(size)

    def checkpoint(self, size):
        return self.directory / f"{self.word}-checkpoint-{size}"

    def mirror(self, size):
        return self.directory / f"{self.word}-mirror-{size}"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    verifiers.available()
    made = Log(tmp_path_factory.mktemp("foreign"))
    yield made
    made.node.kill()


def accepts_entry(base, key, index):
    accepted, said = verifiers.aics_entry(base, key, index)
    return accepted, f"entry {index} at {base}: {said}"


def has_aics():
    return verifiers.aics in verifiers.available()


@pytest.mark.timeout(400)
def test_every_size_is_accepted(log, figure):
    """Over HTTP and as a static copy, and consistent with the size before."""
    old, judgements = None, 0
    for size in SIZES:
        bases = (log.mirrored(size), log.url)
        outcomes = verifiers.judged(bases, log.key, old)
        judgements += len(outcomes)
        refused = {by: said for by, (accepted, said) in outcomes.items() if not accepted}
        assert not refused, f"{size} entries: {refused}"
        for index in {0, size - 1} if size and has_aics() else ():
            for base in bases:
                accepted, said = accepts_entry(base, log.key, index)
                assert accepted, said
        old = log.checkpoint(size)
    figure(f"verifiers of others and ours: {judgements} judgements of sizes {', '.join(map(str, SIZES))}, over HTTP and static: all accepted")


def swap_entries(path):
    """The first two entries of a bundle change places."""
    data = path.read_bytes()
    first = 2 + int.from_bytes(data[:2])
    second = first + 2 + int.from_bytes(data[first : first + 2])
    assert data[:first] != data[first:second]
    path.write_bytes(data[first:second] + data[:first] + data[second:])


# Who reads entries and all tiles. aics-tlog reads only what leads to the root or to one entry: it cannot see a change elsewhere, but an
# entry whose proof needs the changed file is refused; that index is the last word of each line.
ALL_BUT_AICS = {"ours", "go", "fsck", "scales"}
ALL = {*ALL_BUT_AICS, "aics"}
CHANGES = {
    "bit in a bundle": (flip, "tile/entries/100", ALL_BUT_AICS, 100 * 256 + 1),
    "bit in a partial bundle": (flip, "tile/entries/256.p/1", ALL_BUT_AICS, 65_536),
    "swapped entries": (swap_entries, "tile/entries/100", ALL_BUT_AICS, 100 * 256),
    "bit in a tile of level 0": (flip, "tile/0/100", ALL_BUT_AICS, 100 * 256 + 1),
    "bit in a tile of level 1": (flip, "tile/1/000", ALL_BUT_AICS, 5),
    "bit in a tile of level 2": (flip, "tile/2/000.p/1", ALL, None),
    "bit in the checkpoint": (flip, "checkpoint", ALL, 0),
    "dropped tail": (lambda path: path.unlink(), "tile/0/256.p/1", ALL, 65_536),
    "dropped tail of the entries": (lambda path: path.unlink(), "tile/entries/256.p/1", ALL_BUT_AICS, 65_536),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_copy_is_refused(log, tmp_path, what):
    change, name, by, index = CHANGES[what]
    copy = copy_data(log.mirrored(TAMPERED), tmp_path / "copy")
    change(copy / name)
    able = {check.__name__ for check in verifiers.available()}
    assert verifiers.refusing(copy, log.key) == by & able
    if index is not None and has_aics():
        accepted, said = accepts_entry(copy, log.key, index)
        assert not accepted, said
    shutil.rmtree(copy)


def knows_old():
    """All but Tessera's fsck, which looks at one state of a log and has no notion of an older checkpoint."""
    return {check.__name__ for check in verifiers.available()} - {"fsck"}


def test_a_log_that_shrank_is_refused(log):
    """A copy that is sound by itself, but older than what is known."""
    log.mirrored(257)
    assert not verifiers.refusing(log.mirror(256), log.key)
    assert verifiers.refusing(log.mirror(256), log.key, log.checkpoint(257)) == knows_old()


def test_another_history_under_the_same_key_is_refused(log):
    """Whoever has the key can write another history, tiles and all; each is sound by itself, and nobody can be shown both."""
    log.mirrored(257)
    fork = Log(log.directory, data=log.directory / "fork", word="second")
    try:
        for size in (257, 300):
            fork.grow(size)
            assert not verifiers.refusing(fork.mirror(size), log.key, log.checkpoint(FORKED_AT))
    finally:
        fork.node.kill()
    # The middle is rewritten: entries 255 and 256 are others, and the log went on.
    assert verifiers.refusing(fork.mirror(300), log.key, log.checkpoint(257)) == knows_old()
    # Two histories of one size.
    assert verifiers.refusing(fork.mirror(257), log.key, log.checkpoint(257)) == knows_old()


def zero_tail(path):
    """The last written bytes of a segment become zeros: commits that somebody was told about are gone."""
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    with path.open("r+b") as file:
        file.seek(end - 300)
        file.write(bytes(300))


def swap_stretches(path):
    """Two stretches of a segment change places."""
    bytes_ = bytearray(path.read_bytes())
    bytes_[100_000:101_000], bytes_[200_000:201_000] = bytes_[200_000:201_000], bytes_[100_000:101_000]
    path.write_bytes(bytes_)


def test_a_changed_ledger_is_found(log, figure):
    """The ledger itself, one file after another: `verify` ends with 5, and is content when the file is as it was. Blobs are no part of
    tlog-tiles, which knows their digests in the entries only: so the others cannot see them."""
    log.mirrored(TAMPERED)
    log.node.stop()
    ledger = log.node.data / "ledger"
    table = {
        "journal": (flip, min(ledger.glob("journal/*.seg"))),
        "tile of level 0": (flip, ledger / "logs/default/hashes-0"),
        "tile of level 1": (flip, ledger / "logs/default/hashes-1"),
        "checkpoint": (flip, ledger / "logs/default/checkpoint"),
        "blob": (flip, next(path for path in ledger.glob("bodies/*/*") if len(path.name) == 64)),
        "swapped stretches": (swap_stretches, min(ledger.glob("journal/*.seg"))),
        "dropped tail": (zero_tail, max(ledger.glob("journal/*.seg"))),
        "index of commits": (flip, ledger / "commits"),
    }
    for what, (change, path) in table.items():
        before = path.read_bytes()
        change(path)
        done = run("verify", log.node.data)
        assert done.returncode == 5, f"{what}: {done.stdout + done.stderr}"
        path.write_bytes(before)
    done = run("verify", log.node.data)
    assert done.returncode == 0, done.stderr.decode()
    figure(f"{len(CHANGES)} changed copies, {len(table)} changed ledgers, a log that shrank and two forks: all refused")
