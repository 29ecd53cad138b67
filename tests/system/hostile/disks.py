"""Attacks by whoever may write beside the server: links, pipes and directories where files are expected, files that vanish."""

import os
import time

from hostile.table import attack
from hostile.wire import DIGEST, event

DROP = 'drop-directory = "{drop}"\n'


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.05)


def put(drop, name, body):
    """As the documentation says: under a name that begins with a dot, then renamed."""
    (drop / f".{name}").write_bytes(body)
    (drop / f".{name}").rename(drop / name)


@attack("14", "a pipe, a dangling link, a link to a directory and a device where files are dropped", "set aside or left; the next file is taken in", config=DROP)
def unreadable_in_the_drop(attacker):
    drop = attacker.data.parent / "drop"
    os.mkfifo(drop / "a-pipe.json")
    (drop / "b-dangling.json").symlink_to("/nowhere/at/all")
    (drop / "c-directory.json").symlink_to("/etc")
    (drop / "d-device.json").symlink_to("/dev/zero")
    (drop / "e-error.json").symlink_to("/proc/self/mem")
    (drop / "lost+found").mkdir(mode=0o700)
    put(drop, "z-good.json", event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/drop:1"}, "good"))
    until((drop / "done" / "z-good.json").exists, "the good file is taken in")
    return "the good file behind them is taken in"
