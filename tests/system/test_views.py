"""The views on disk, with each store: killed and started again, on a full disk, changed for the other store."""

import json
import os
import random
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from conftest import missing
from pedigraph import BATCH, deployed, run, until

STORES = ["sled", "fjall"]
EVENTS_EACH = 200
# Half of them are shown when the server is killed.
BATCHES = int(os.environ.get("PEDIGRAPH_TEST_VIEW_EVENTS", "8000")) // EVENTS_EACH // 2
ANEW = "folding anew"
POWER_CUTS = 10
BATCHES_BEFORE = 8
# What the views of some hundred batches do not fit in, and later do.
SMALL_MIB, ENOUGH_MIB = 10, 400


def send(node, first, batches, wait=None):
    for batch in range(first, first + batches):
        events = [event(batch * EVENTS_EACH + n) for n in range(EVENTS_EACH)]
        answer = node.post(events, BATCH, wait=wait)
        assert answer.status_code in (200, 201), answer.text[:500]


def event(n):
    return deployed(f"svc-{n % 97}", f"r.example/shop/app-{n % 97}:1.{n}", f"env-{n % 5}", id_=f"views-{n}")


def roots_of(node):
    """That of the facts, and one of each derived view."""
    return {view["root"] for view in node.json("/api/v1/freshness")["views"]}


def printed(done):
    return {line.split()[0] for line in done.stdout.decode().splitlines()}


def folded(node):
    return all(view["nextIndex"] >= node.size() for view in node.json("/api/v1/freshness")["views"])


def check(node):
    """The same root as folding the ledger into memory gives."""
    until(lambda: folded(node), "all of it folded", 60, node.alive)
    roots = roots_of(node)
    assert node.stop() == 0, node.tail()
    done = run("rebuild", node.data, "--check", timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    assert roots == printed(done)


def started(node):
    """Starts a server; gives the seconds until it is ready."""
    begun = time.monotonic()
    node.start()
    until(lambda: node.ready()[0] == 200, "readiness", 60, node.alive)
    return time.monotonic() - begun


def resident_mib(node):
    return int(Path(f"/proc/{node.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20


@pytest.mark.parametrize("store", STORES)
def test_killed_views_go_on(nodes, figure, store):
    """After kill -9 what was shown is folded no second time, and what was not is."""
    node = nodes(options=["--views-store", store])
    send(node, 0, BATCHES, wait="visible")
    send(node, BATCHES, BATCHES)
    node.kill()
    started(node)
    until(lambda: folded(node), "all of it folded", 600, node.alive)
    resident = resident_mib(node)
    node.kill()
    killed = started(node)
    assert node.stop() == 0
    clean = started(node)
    assert ANEW not in node.log.read_text(), node.tail()
    check(node)
    size = sum(path.stat().st_blocks * 512 for path in (node.data / "views").rglob("*"))
    events = 2 * BATCHES * EVENTS_EACH
    figure(
        f"views in {store}: {events} events, {size / events:.0f} B each, {resident} MiB resident, ready after {clean:.2f} s,"
        f" after kill -9 {killed:.2f} s"
    )


def test_the_store_is_changed(nodes):
    """Views that another store kept are folded anew, which is said; tools take what is there."""
    node = nodes(options=["--views-store", "fjall"])
    send(node, 0, 3)
    until(lambda: folded(node), "all of it folded", 60, node.alive)
    roots = roots_of(node)
    assert node.stop() == 0
    rebuilt = run("rebuild", node.data, timeout=300)
    assert rebuilt.returncode == 0 and printed(rebuilt) == roots
    assert (node.data / "views" / "rows" / "keyspaces").is_dir(), "the store that was there"
    node.start()
    assert ANEW not in node.log.read_text(), node.tail()
    assert node.stop() == 0
    node.arguments = node.arguments[:-2]
    node.start()
    until(lambda: folded(node), "all of it folded", 60, node.alive)
    assert roots_of(node) == roots
    assert "kept by another store" in node.log.read_text()
    check(node)


def lose_the_end(node, chance):
    """What a loss of power takes from fjall: the end of what was not synced, cut off, zeroed or garbled; another boot."""
    views = node.data / "views"
    journal = max((views / "rows").glob("*.jnl"), key=lambda path: int(path.stem))
    held = journal.read_bytes()
    written = len(held.rstrip(b"\0"))
    kept = written - chance.randrange(1, max(2, written // 4))
    lost = chance.choice([b"", bytes(written - kept), chance.randbytes(written - kept)])
    journal.write_bytes(held[:kept] + lost)
    kind, store, boot = (views / "marker").read_text().split()
    assert (kind, store) == ("running", "fjall") and boot
    (views / "marker").write_text(f"running fjall {uuid.UUID(int=chance.getrandbits(128))}")


def test_fjall_goes_on_after_a_loss_of_power(nodes, figure):
    """What was written up to some moment is there, and the rest is folded again: nothing is folded anew."""
    seed = int(os.environ.get("PEDIGRAPH_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
    chance = random.Random(seed)
    node = nodes(options=["--views-store", "fjall"])
    # So that something is left of it, whatever part is taken.
    send(node, 0, BATCHES_BEFORE, wait="visible")
    for cut in range(POWER_CUTS):
        send(node, BATCHES_BEFORE + 2 * cut, 2, wait=chance.choice([None, "visible"]))
        node.kill()
        lose_the_end(node, chance)
        started(node)
        assert ANEW not in node.log.read_text(), f"seed {seed}, cut {cut}: {node.tail()}"
    check(node)
    figure(f"views in fjall: {POWER_CUTS} losses of power, each with a part of the newest rows, seed {seed}")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own for the views, which is soon full."""
    views = tmp_path / "data" / "views"
    views.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m", "views", views], capture_output=True)
    if mounted.returncode != 0:
        missing(f"no file system can be mounted: {mounted.stderr.decode().strip()}")
    yield lambda: subprocess.run(["mount", "-o", f"remount,size={ENOUGH_MIB}m", views], check=True)
    subprocess.run(["umount", "-l", views], check=True)


@pytest.mark.parametrize("store", STORES)
def test_a_full_disk_under_the_views(nodes, small_disk, store):
    """The ledger goes on, it is told that the views do not, and they go on when there is room."""
    settings = nodes(start=False)
    (settings.data.parent / "settings.toml").write_text("view-cache-mib = 16\n[views]\nstore = \"" + store + "\"\n")
    node = nodes(options=["--config", settings.data.parent / "settings.toml"])
    sent = 0

    def full():
        nonlocal sent
        send(node, sent, 5)
        sent += 5
        assert sent < 1_000, "the disk is not filled"
        return node.json("/api/v1/freshness").get("fault")

    fault = until(full, "word of a full disk", 120, node.alive)
    assert "space" in fault.lower() or "os error 28" in fault or "oison" in fault, fault
    status, text = until(lambda: (now := node.ready())[0] == 503 and now, "word of it in /readyz", 60, node.alive)
    assert "[-]views" in text, text
    assert node.get("/readyz", for_="intake").text == "ready\n" and node.get("/readyz", for_="answers").status_code == 503
    faults = next(line for line in node.get("/metrics").text.splitlines() if line.startswith("pedigraph_view_faults_total"))
    assert int(faults.split()[-1]) >= 1
    size = node.size()
    send(node, sent, 1)
    assert node.size() == size + EVENTS_EACH, "the ledger goes on"
    small_disk()
    until(lambda: node.ready()[0] == 200 and folded(node), "views that went on", 120, node.alive)
    assert json.loads(node.get("/api/v1/freshness").text).get("fault") is None
    check(node)
