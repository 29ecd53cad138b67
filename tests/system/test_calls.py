"""What a batch costs: one write and one `fdatasync` on the thread that writes the journal, counted by strace."""

import json

import strace
from pedigraph import deployed

WARM_UP, BATCHES = 20, 100
# Waiting, and reading the clock where the kernel offers no faster way.
FREE = {"futex", "clock_gettime"}


def is_free(call):
    """Whoever waits for a receipt may sleep in epoll: telling the runtime's threads is a write to their eventfd."""
    return call.name in FREE or (call.name == "write" and "<anon_inode:[eventfd]>" in call.arguments)


def test_a_batch_is_one_write_and_one_sync(nodes, tmp_path, figure):
    """An event that comes alone is a batch. Whatever else the writer's thread, or the one that writes for it, does in between is a fault."""
    strace.needed()
    trace = tmp_path / "trace"
    node = nodes(wrapper=strace.around(trace))
    sent = WARM_UP + BATCHES + 1
    for n in range(sent):
        node.accept(json.dumps(deployed(f"svc-{n % 7}", f"r.example/app:{n}")).encode())
    assert node.stop() == 0
    batches, now = [], []
    for call in strace.read(trace):
        if call.thread not in ("writer", "ledger-journal") or is_free(call):
            continue
        now.append(call)
        if call.name == "fdatasync" and ".seg>" in call.arguments:
            batches.append(now)
            now = []
    assert len(batches) == sent, "one event at a time is one batch at a time"
    for batch in batches[WARM_UP:-1]:
        assert [call.name for call in batch] == ["pwrite64", "fdatasync"], batch
        assert all("/ledger/journal/" in call.arguments for call in batch), batch
    figure(f"system calls of the two threads that decide on and write {BATCHES} batches: {BATCHES} pwrite64, {BATCHES} fdatasync")
