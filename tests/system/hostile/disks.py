"""Attacks by whoever may write beside the server: links, pipes and directories where files are expected, files that vanish."""

import os
import stat
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


@attack("14", "lost+found among the packs, a spooled document that vanishes while it comes", "refused or accepted; the node goes on, packs are made")
def vanishing_files(attacker):
    (attacker.data / "packs" / "lost+found").mkdir(parents=True)
    attacker.send(event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/v:1"}, "v"), wait="visible")
    body = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]' + b" " * 3_000_000
    said = []
    for n in range(3):
        sock = attacker.connect()
        sock.sendall(attacker.head("POST", f"/api/v1/documents?subject={DIGEST % n}", "content-type: application/json", f"content-length: {len(body) + 1}") + body)
        until(lambda: spooled(attacker.data), "a spooled document", 5)
        for file in spooled(attacker.data):
            file.unlink()
        sock.sendall(b"}")
        said.append(sock.recv(4096).split(b" ", 2)[1].decode())
    pack = attacker.send(b'{"artifactDigests":["%s"]}' % (DIGEST % 1).encode(), "application/json", path="/api/v1/lineage/export")
    assert pack.status in (200, 201), pack
    answer = attacker.send(event("artifact-published", {"artifactDigest": DIGEST % 2, "artifactRef": "r.example/v:2"}, "v2"), wait="visible")
    assert answer.status == 201, answer
    return "documents: " + " ".join(said)


def spooled(data):
    return [file for file in data.rglob("*") if file.is_file() and "spool" in str(file.relative_to(data))]


@attack("14", "nothing: modes of what the server makes", "files 0640 or less, directories 0750 or less")
def modes(attacker):
    attacker.send(event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/m:1"}, "m"), wait="visible")
    loose = [str(path.relative_to(attacker.data)) for path in attacker.data.rglob("*") if stat.S_IMODE(path.lstat().st_mode) & (0o027 if path.is_dir() else 0o137)]
    assert not loose, f"others may read or write: {loose[:10]}"
    return "no file or directory is open to others"


@attack("15", "links in the spool of the drop directory to a file of somebody else, then a document of 17 MiB under their name", "the file stays as it is", config=DROP)
def links_in_the_spool(attacker):
    drop, victim = attacker.data.parent / "drop", attacker.data.parent / "victim"
    victim.write_text("of somebody else")
    (drop / ".spool").mkdir(exist_ok=True)
    (drop / ".spool" / "large.json").symlink_to(victim)
    body = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"serialNumber":"urn:uuid:11111111-2222-3333-4444-555555555555","components":[]'
    put(drop, "large.json", body + b" " * (17 << 20) + b"}")
    until(lambda: any((drop / where / "large.json").exists() for where in ("done", "rejected")), "the document is taken in")
    assert victim.read_text() == "of somebody else", "a file was overwritten through a link"
    return "the file is as it was"
