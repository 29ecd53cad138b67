"""Running a ledger for years: copies while it is written, restoring, what it costs, a disk that fills up or fails."""

import json
import shutil
import threading

from pedigraph import NDJSON, Node, deployed, run, until


def ok(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def fails(code, *arguments):
    done = run(*arguments)
    assert done.returncode == code, (done.returncode, done.stderr.decode())
    return done.stderr.decode()


def lines(first, count):
    return b"\n".join(json.dumps(deployed(f"svc-{n}", f"r.example/app:{n}", id_=f"ops-{n}")).encode() for n in range(first, first + count))


def test_a_running_ledger_is_copied_and_restored(tmp_path):
    node = Node(tmp_path / "data").start()
    copy, stop, sent = tmp_path / "copy", threading.Event(), [0]

    def send():
        while not stop.is_set():
            answer = node.post(lines(sent[0], 50), NDJSON)
            assert answer.status_code == 201, answer.text[:300]
            sent[0] += 50

    sending = threading.Thread(target=send)
    sending.start()
    try:
        until(lambda: sent[0] >= 200, "the first events", 30, node.alive)
        for _ in range(5):
            before = sent[0]
            copied = json.loads(ok("backup", "--data", node.data, copy, "-o", "json"))
            verified = json.loads(ok("verify", copy, "-o", "json"))
            assert verified["entries"] == copied["logs"]["default"] >= before, "what was acknowledged before is in the copy"
            assert copied["hasKey"] is False and not (copy / "key").exists()
    finally:
        stop.set()
        sending.join()
    # The newest copy lacks what comes now, and somebody may have seen the checkpoint of that.
    node.accept(json.dumps(deployed("last", "r.example/app:last", id_="ops-last")).encode())
    size = node.size()
    until(lambda: node.head()["checkpointSize"] == size, "a checkpoint of all", 20, node.alive)
    checkpoint = node.get("/ledger/default/checkpoint").text
    published, key = tmp_path / "published", tmp_path / "key"
    published.write_text(checkpoint)
    shutil.copy(node.data / "ledger" / "key", key)
    to_new = ("--data", tmp_path / "new", "--checkpoint", published)
    assert "fork the log" in fails(1, "restore", copy, "--key", key, *to_new)
    ok("backup", "--data", node.data, copy)
    assert "without the key" in fails(1, "restore", copy, *to_new)
    assert node.stop() == 0
    ok("restore", copy, "--key", key, *to_new)

    restored = Node(tmp_path / "new").start()
    restored.wait_visible()
    assert restored.get("/ledger/default/checkpoint").text == checkpoint, "the restored ledger is the one that was published"
    size = restored.size()
    assert restored.post(lines(0, 2), NDJSON).ok and restored.size() == size, "known ids are made again: these are duplicates"
    restored.accept(json.dumps(deployed("next", "r.example/app:next", id_="ops-next")).encode())
    assert restored.stop() == 0
    ok("verify", tmp_path / "new")
