"""Power cuts under load: what was acknowledged is there, where the receipt says; nothing is there twice."""

import json
import os
import random
import threading

import pytest
import requests

import accounts
import tlog
from pedigraph import CLOUDEVENT, deployed, padded, run, until

ROUNDS = int(os.environ.get("PEDIGRAPH_TEST_ROUNDS", "10"))
SEED = int(os.environ.get("PEDIGRAPH_TEST_SEED", str(random.SystemRandom().randrange(10**6))))


class Load:
    """Clients that post as fast as they are answered, and remember every receipt and every open question."""

    def __init__(self, node, round_, clients=3):
        self.receipts, self.open, self.url = {}, {}, node.url
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._post, args=(f"{round_}-{n}",), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _post(self, name):
        session, n = requests.Session(), 0
        while not self.stop.is_set():
            n += 1
            id_ = f"power-{name}-{n}"
            body = json.dumps(deployed(f"svc-{name}", f"r.example/app:{n}", "power", id_=id_)).encode()
            self.open[id_] = body
            try:
                answer = session.post(self.url + "/api/v1/events", data=body, headers={"content-type": CLOUDEVENT}, timeout=10)
            except requests.RequestException:
                return
            assert answer.status_code == 201, answer.text
            self.receipts[id_] = answer.json()
            del self.open[id_]

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(30)


def test_kill_under_load(request, nodes, figure):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    quick = os.environ.get("PEDIGRAPH_TEST_QUICK") == "1"
    more, producer = {}, None
    if not quick:
        broker = request.getfixturevalue("broker")
        topics = broker.create("power.a", "power.b")
        more = {"kafka": broker.address, "topics": topics, "group": "power"}
        producer = broker.producer()
    node = nodes(**more)
    receipts, left_open, sent = {}, {}, 0
    for round_ in range(ROUNDS):
        load = Load(node, round_)
        goal = chance.randint(30, 300)
        if producer:
            for _ in range(400):
                producer.send(topics[sent % 2], padded(sent), sent)
                sent += 1
        until(lambda load=load, goal=goal: len(load.receipts) >= goal, f"{goal} receipts", 30, node.alive)
        node.kill()
        load.end()
        receipts.update(load.receipts)
        left_open.update(load.open)
        node.start()
    if producer:
        delivered = producer.flush()

        def all_in():
            return node.intake()["bySource"] is not None and node.size() >= len(receipts) + len(delivered)

        until(all_in, "all Kafka messages", 60, node.alive)
        until(lambda: len({tlog.coordinate(leaf) for leaf in accounts.from_kafka(accounts.leaves(node))}) == len(delivered), "every coordinate", 30)
    found = accounts.leaves(node)
    accounts.once(found)
    for id_, receipt in receipts.items():
        leaf = found[receipt["index"]]
        assert leaf["id"] == id_, f"entry {receipt['index']} is not the acknowledged {id_} (seed {SEED})"
        assert leaf["event_id"].hex() == receipt["eventId"].replace("-", "")
    known = {leaf["id"] for leaf in found}
    for id_, body in left_open.items():
        status = node.post(body, CLOUDEVENT).json()["status"]
        assert status == ("duplicate" if id_ in known else "accepted")
    if producer:
        lost = set(delivered) - {tlog.coordinate(leaf) for leaf in accounts.from_kafka(found)}
        assert not lost, sorted(lost)[:5]
    figure(f"power cuts: {ROUNDS} rounds, {len(receipts)} receipts kept, {sent} Kafka messages, {len(left_open)} unanswered, seed {SEED}")
    node.wait_visible()
    services = node.json("/api/v1/environments/power")["services"]
    assert len(services) == 3 * ROUNDS
    roots = {view["root"] for view in node.json("/api/v1/freshness")["views"] if view.get("root")}
    node.stop()
    folded = run("rebuild", "--check", "--data", node.data)
    assert folded.returncode == 0, folded.stderr.decode()
    assert roots == {folded.stdout.decode().split()[0]}, "views that went through every cut equal views folded anew"
    done = run("verify", node.data)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("when", ["at once", "after the first receipt"])
def test_kill_early(nodes, when):
    """The very first moments of a ledger."""
    for n in range(5):
        node = nodes(f"early-{n}")
        receipt = None
        if when != "at once":
            receipt = node.accept(json.dumps(deployed("early", "r.example/app:1")).encode())
        node.restart()
        if receipt:
            entry = node.json("/api/v1/entries/0")
            assert entry.get("entry", entry)["leafHash"] == receipt["leafHash"]
        node.accept(json.dumps(deployed("early", "r.example/app:2")).encode(), wait="visible")
        assert node.size() == (2 if receipt else 1)
        node.stop()
