"""Power cuts under load: what was acknowledged is there, where the receipt says; nothing is there twice."""

import json
import os
import random
import threading
import time

import pytest
import requests

import accounts
import tlog
from pedigraph import CLOUDEVENT, deployed, padded, run, until

LONG = os.environ.get("PEDIGRAPH_TEST_LONG") == "1"
ROUNDS = int(os.environ.get("PEDIGRAPH_TEST_ROUNDS", "1000" if LONG else "100"))
SEED = int(os.environ.get("PEDIGRAPH_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
CLIENTS = 3
# The longest life of a server, from the start of its process: mostly it is shorter than the group join at Kafka.
LIFE_SECONDS_MAX = 2.2
ROUNDS_UNCHECKED = 10
MESSAGES_EACH = 60


class Load:
    """Clients that post as fast as they are answered, and remember every receipt and every open question."""

    def __init__(self, node, round_, clients=CLIENTS):
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
            body = json.dumps(deployed(f"svc-{name.split('-')[1]}", f"r.example/app:{n}", "power", id_=id_)).encode()
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


class Kafka:
    """What was sent to Kafka; nothing where there is no broker."""

    def __init__(self, request):
        self.sent, self.producer, self.options = 0, None, {}
        if os.environ.get("PEDIGRAPH_TEST_QUICK") == "1":
            return
        broker = request.getfixturevalue("broker")
        self.topics = broker.create("power.a", "power.b")
        self.options = {"kafka": broker.address, "topics": self.topics, "group": "power"}
        self.producer = broker.producer()

    def send(self):
        for _ in range(MESSAGES_EACH if self.producer else 0):
            self.producer.send(self.topics[self.sent % 2], padded(self.sent), self.sent)
            self.sent += 1

    def all_in(self, node, entries):
        """Every message is in the ledger, beside that many entries."""
        delivered = set(self.producer.flush()) if self.producer else set()
        until(lambda: node.size() >= entries + len(delivered), "all Kafka messages", 90, node.alive)

        def there():
            return {tlog.coordinate(leaf) for leaf in accounts.from_kafka(accounts.leaves(node))} == delivered

        until(there, "every coordinate of Kafka, and no other", 30, node.alive)


def one_life(node, round_, life):
    """A server that is killed so long after the start of its process, listening or not, and what it answered until then."""
    begin, load = time.monotonic(), None

    def cut():
        until(lambda: node.process is not None, "a process", 10)
        node.process.kill()

    timer = threading.Timer(life, cut)
    timer.start()
    try:
        node.start()
        load = Load(node, round_)
        node.process.wait(30)
    except AssertionError as error:
        assert "exited with -9 before it listened" in str(error), error
    timer.join()
    node.kill()
    if load:
        load.end()
    assert time.monotonic() - begin < 60
    return load


def check_some(node, receipts, chance):
    """The newest receipts and some older ones are still true."""
    assert node.size() > max(receipt["index"] for receipt in receipts.values())
    known = list(receipts)
    for id_ in known[-20:] + chance.sample(known, min(20, len(known))):
        entry = node.json(f"/api/v1/entries/{receipts[id_]['index']}")
        assert entry.get("entry", entry)["leafHash"] == receipts[id_]["leafHash"], f"{id_} (seed {SEED})"


def never_back(found):
    """In the ledger's order the offsets of each partition only grow."""
    last = {}
    for leaf in accounts.from_kafka(found):
        topic, partition, offset = tlog.coordinate(leaf)
        assert last.get((topic, partition), -1) < offset, f"{topic} {partition} went back to {offset} (seed {SEED})"
        last[(topic, partition)] = offset


@pytest.mark.timeout(3600 if LONG else 300)
def test_kill_under_load(request, nodes, figure):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    kafka = Kafka(request)
    node = nodes(start=False, **kafka.options)
    receipts, left_open, unheard = {}, {}, 0
    for round_ in range(ROUNDS):
        kafka.send()
        # More short lives than long ones: the start is where most happens.
        load = one_life(node, round_, 0.02 + LIFE_SECONDS_MAX * chance.random() ** 2)
        unheard += load is None
        if load:
            receipts.update(load.receipts)
            left_open.update(load.open)
        if round_ % ROUNDS_UNCHECKED == ROUNDS_UNCHECKED - 1 and receipts:
            check_some(node.start(), receipts, chance)
            node.kill()
    node.start()
    kafka.all_in(node, len(receipts))
    found = accounts.leaves(node)
    accounts.once(found)
    never_back(found)
    for id_, receipt in receipts.items():
        leaf = found[receipt["index"]]
        assert leaf["id"] == id_, f"entry {receipt['index']} is not the acknowledged {id_} (seed {SEED})"
        assert leaf["event_id"].hex() == receipt["eventId"].replace("-", "")
    known = {leaf["id"] for leaf in found}
    for id_, body in left_open.items():
        status = node.post(body, CLOUDEVENT).json()["status"]
        assert status == ("duplicate" if id_ in known else "accepted")
    figure(
        f"power cuts: {ROUNDS} rounds, {unheard} of them before the server listened, {len(receipts)} receipts kept, "
        f"{kafka.sent} Kafka messages, {len(left_open)} unanswered, seed {SEED}"
    )
    node.wait_visible(120)
    services = node.json("/api/v1/environments/power")["services"]
    assert {service["service"] for service in services} == {f"svc-{n}" for n in range(CLIENTS)}
    roots = {view["root"] for view in node.json("/api/v1/freshness")["views"] if view.get("root")}
    node.stop()
    folded = run("rebuild", "--check", "--data", node.data, timeout=600)
    assert folded.returncode == 0, folded.stderr.decode()
    anew = {line.split()[0] for line in folded.stdout.decode().splitlines()}
    assert roots == anew, "views that went through every cut equal views folded anew"
    done = run("verify", node.data, timeout=600)
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
