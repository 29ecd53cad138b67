"""Nothing that one sender, reader or disk does stops the others: each attack beside a neighbour who goes on as if nothing were.

What is attacked is the real server with its limits as they come. An attacker is a tenant of its own, at another address, and runs at the
lowest priority: what the neighbour feels is what the server does, not that both clients share the machine with it.
"""

import os
import re

import pytest

from hostile import ATTACKS, ground
from hostile.wire import Client

# The quietest of several: the machine may do other things, too.
IDLE_SECONDS, IDLE_TIMES = 2.5, 3
# An attack beside which the neighbour waited too long is made once more, on a new server: the machine may have had other things to do.
# Nothing else is tried twice.
TRIES = 2
KINDS = "send", "visible", "read", "probe"
COLUMNS = "{:>5}  {:<28} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7}  {}".format


@pytest.fixture(scope="module")
def idle(tmp_path_factory, figures):
    """What the neighbour waits while nobody attacks: p99 by kind of request, in seconds."""
    directory = tmp_path_factory.mktemp("idle")
    scene = ground.Ground.at(directory, "")
    try:
        seen = [scene.idle(IDLE_SECONDS) for _ in range(IDLE_TIMES)]
        assert not any(part["failures"] for part in seen), seen[0]["failures"]
        idle = {kind: min(ground.p99(part["latencies"][kind]) for part in seen) for kind in KINDS}
        figures.append(f"a hostile tenant beside a neighbour: its p99 in ms by kind of request, the server's peak RSS in MiB, seconds of the attack, "
                       f"from SIGTERM to the end, from the start until it takes in and until all is ready; load of the machine {os.getloadavg()[0]:.1f}")
        figures.append(COLUMNS("point", "attack", *KINDS, "RSS", "attack", "stop", "intake", "ready", ""))
        figures.append(COLUMNS("", "none", *(f"{idle[kind] * 1000:.0f}" for kind in KINDS), f"{scene.peak_mib():.0f}", "", "", "", "", ""))
        scene.leave()
    finally:
        scene.end()
    return idle


def waits(scene, seen, idle):
    """What the neighbour waited longer for than it should, by what it waited on an idle server or on this one before the attack; and
    whether that is a hang."""
    for kind, values in seen["latencies"].items():
        before = max(idle[kind], ground.p99(scene.before.get(kind, [0])))
        allowed = ground.VISIBLE_SECONDS if kind == "visible" else ground.TIMES_IDLE * before + ground.MORE_SECONDS
        if (waited := ground.p99(values)) > allowed:
            yield f"the neighbour's p99 of {kind} is {waited:.2f} s, and should be {allowed:.2f} s", waited > allowed + ground.HANG_SECONDS


@pytest.mark.parametrize("attack", [pytest.param(attack, id=name) for name, attack in ATTACKS.items()])
def test_the_neighbour_goes_on(attack, idle, tmp_path, figures):
    for number in range(TRIES):
        place = tmp_path / str(number)
        place.mkdir()
        slow, hung, broken = [], [], []
        row = dict.fromkeys((*KINDS, "rss", "took", "stopped", "intake", "ready"), "-")
        scene = ground.Ground.at(place, attack.config)
        try:
            fight(attack, scene, idle, row, (slow, hung, broken))
        except AssertionError as error:
            broken.append(str(error))
        finally:
            scene.end()
            outcome = "FAILED" if broken else "HUNG" if hung else "SLOW" if slow else row["said"]
            figures.append(COLUMNS(attack.point, attack.name, *list(row.values())[:9], outcome))
        if broken or not slow + hung:
            break
    # What is slower than it should be stands in the table: how fast a machine is, no test can know. A hang is a fault on any.
    wrong = broken + hung
    assert not wrong, f"{attack.sends}: right is {attack.right}\n" + "\n".join([*wrong, "the log of the server:", scene.node.tail(10)])


def fight(attack, scene, idle, row, outcome):
    """The attack, what it did to the neighbour, the end of the server and its next start; what is wrong goes to `outcome`."""
    slow, hung, broken = outcome
    with scene.attack(attack.name, attack.seconds) as (seen, said, wrong, took):
        broken += [wrong] if wrong else []
        row.update({kind: f"{ground.p99(values) * 1000:.0f}" for kind, values in seen["latencies"].items()}, took=f"{took:.1f}", said=said)
        peak = scene.peak_mib()
        row.update(rss=f"{peak:.0f}")
        for what, hangs in waits(scene, seen, idle):
            (hung if hangs else slow).append(what)
        broken += scene.unserved()
        if failures := seen["failures"] + scene.leave()["failures"]:
            broken.append(f"{len(failures)} requests of the neighbour failed, such as {failures[:3]}")
        stopped = scene.crash() if attack.crash else scene.stop()
    intake, ready = scene.start()
    row.update(stopped=f"{stopped:.1f}", intake=f"{intake:.1f}", ready=f"{ready:.1f}")
    if peak > ground.RSS_MIB:
        broken.append(f"the server took {peak:.0f} MiB, allowed are {ground.RSS_MIB}")
    if stopped > ground.STOP_SECONDS or intake > ground.START_SECONDS:
        broken.append(f"{stopped:.1f} s from SIGTERM to the end, {intake:.1f} s from the start to taking in")
    if lost := scene.lost():
        broken.append(f"{len(lost)} of {len(scene.receipts)} receipts of the neighbour are not in its log: {lost[:5]}")


def answer_to(node, *lines):
    """The status and the code of what comes back to a request with these lines."""
    status, came = Client(node.url).raw("\r\n".join(["GET /api/v1/freshness HTTP/1.1", *lines, "connection: close", "", ""]).encode())
    code = re.search(rb'"code":"([A-Z_]+)"', came)
    return status, code and code.group(1).decode()


@pytest.mark.parametrize("lines", [
    pytest.param(["host: localhost:x@evil.test"], id="a user in the host"),
    pytest.param(["host: [::1].evil.test"], id="more behind the bracket"),
    pytest.param(["host: localhost", "host: evil.test"], id="two hosts"),
    pytest.param([], id="no host"),
    pytest.param(["host: localhost", "x: " + "y" * 70_000], id="70 KB in a header"),
    pytest.param(["host: localhost", "bad header\x01: 1"], id="no header at all"),
])
def test_strange_heads_are_refused_with_a_code(shared, lines):
    assert answer_to(shared, "host: localhost")[0] == 200
    status, code = answer_to(shared, *lines)
    assert status in (400, 403, 421, 431) and code, (status, code)
