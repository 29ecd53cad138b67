"""The ground on which an attack meets the neighbour: one server, two tenants, what is measured, and what must hold whatever was sent."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import tlog
from hostile.attacker import BEGINS
from hostile.wire import DIGEST, Answer, Client
from pedigraph import Node, run, until

# The bound on the neighbour: so many times what it waits on an idle server, and so much more.
TIMES_IDLE, MORE_SECONDS = 10, 0.1
# "No entry within the limits delays another tenant's visibility by more than 2 s."
VISIBLE_SECONDS = 2.0
# So much above these two is a hang, which fails on any machine; less is shown as SLOW.
HANG_SECONDS = 3.0
# Half of the memory that the chart allows (deploy/helm/pedigraph/values.yaml).
RSS_MIB = 1024
# The server lets open requests end for 10 s, then it ends.
STOP_SECONDS = 15.0
# What the neighbour waits at most for one request of another class.
PLACE_SECONDS = 5.0
# From the process's start until it takes in again, with whatever the attack left in the ledger. All is ready when the
# views have folded what was there, which may be all of the attack: that is shown, and ends within a minute or hangs.
START_SECONDS = 15.0
READY_SECONDS = 60
# What the neighbour does before it is measured: connections, caches.
WARM_SECONDS = 0.5
# How long it is measured on this very server before the attack, which tells how busy the machine is at the moment.
BEFORE_SECONDS = 1.0
# An attack is looked at for at least so long, so that a p99 is one.
WATCH_SECONDS = 3.0
ATTACKER_NICENESS = 19
HERE = Path(__file__).parent


def p99(values):
    """The smallest that 99 of 100 do not exceed."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


class Child:
    """A program of this package in a process of its own, on the path of the system tests."""

    def __init__(self, module, *arguments, nice=0, **env):
        self.process = subprocess.Popen(
            ["nice", "-n", str(nice), sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE.parent, env={**os.environ, **env},
        )

    def line(self):
        line = self.process.stdout.readline()
        assert line, f"{self.process.args} ended: {self.process.stderr.read()[-3000:]}"
        return line

    def ask(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.line())

    def kill(self):
        self.process.kill()
        self.process.communicate()


class Ground:
    """A server with the tenants `neighbour` and `attacker`, and the neighbour at work."""

    def __init__(self, node, tokens):
        self.node, self.tokens = node, tokens
        self.receipts = []
        self.client = Client(node.url, tokens["neighbour"])
        self.neighbour = Child("hostile.neighbour", node.url, NEIGHBOUR_TOKEN=tokens["neighbour"])
        try:
            self.neighbour.line()
            self.idle(WARM_SECONDS)
            self.before = self.idle(BEFORE_SECONDS)["latencies"]
        except BaseException:
            self.neighbour.kill()
            raise

    @classmethod
    def at(cls, directory, config):
        """In a directory of its own, with what a configuration file says besides; `{drop}` in it is a directory for files."""
        file, tokens = two_tenants(directory)
        settings = directory / "pedigraph.toml"
        settings.write_text(config.format(drop=directory / "drop"))
        node = Node(directory / "data", options=("--tokens", file, "--config", settings)).start()
        try:
            return cls(node, tokens)
        except BaseException:
            node.kill()
            raise

    def end(self):
        """Whatever still runs."""
        self.neighbour.kill()
        self.node.kill()

    def watched(self, report):
        self.receipts += report["receipts"]
        return report

    @contextmanager
    def attack(self, name, seconds):
        """Runs the attack beside the neighbour: what the neighbour saw, what the attacker says, what is wrong, how long it took. What the
        attacker needs beforehand is not looked at. Its connections stay open until the block ends."""
        env = {"ATTACKER_TOKEN": self.tokens["attacker"]}
        attacker = Child("hostile", name, self.node.url, self.node.data, nice=ATTACKER_NICENESS, **env)
        timer = threading.Timer(seconds, attacker.process.kill)
        timer.start()
        try:
            begin, said = time.monotonic(), attacker.process.stdout.readline().strip()
            if said == BEGINS:
                self.watched(self.neighbour.ask())
                begin, said = time.monotonic(), attacker.process.stdout.readline().strip()
            timer.cancel()
            took = time.monotonic() - begin
            time.sleep(max(0, WATCH_SECONDS - took))
            wrong = "" if said else self.why(attacker, f"the attack had no end within {seconds} s")
            yield self.watched(self.neighbour.ask()), said, wrong, took
        finally:
            timer.cancel()
            attacker.kill()

    @staticmethod
    def why(attacker, otherwise):
        """What an attacker that failed says about it."""
        return attacker.process.communicate()[1].strip()[-3000:] or otherwise

    def idle(self, seconds):
        time.sleep(seconds)
        return self.watched(self.neighbour.ask())

    def unserved(self):
        """One request of every other class by the neighbour, whose place no attacker may have taken: those that are not answered well."""
        artifact, document = DIGEST % (0xA << 240), b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}'
        client = Client(self.node.url, self.tokens["neighbour"], timeout=PLACE_SECONDS)
        index = self.receipts[-1][0]
        asked = {
            "document": lambda: client.post(document, "application/json", path="/api/v1/documents", subject=artifact),
            "pack": lambda: client.post(b'{"artifactDigests":["%s"]}' % artifact.encode(), "application/json", path="/api/v1/lineage/export"),
            "body": lambda: client.get(f"/api/v1/entries/{index}/body"),
            "page": lambda: client.get("/", headers={"accept": "text/html"}),
            "metrics": lambda: client.get("/metrics"),
        }
        answers = {name: attempt(ask) for name, ask in asked.items()}
        answers["stream"] = attempt(lambda: first_of(client, "/api/v1/subscribe"))
        return [f"the neighbour's {name} beside the attack: {answer}" for name, answer in answers.items() if getattr(answer, "status", 0) not in (200, 201)]

    def peak_mib(self):
        """The most memory that the server ever had."""
        self.node.alive()
        status = Path(f"/proc/{self.node.process.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.M).group(1)) / 1024

    def leave(self):
        """The neighbour ends its work, all of it is noted."""
        said, wrong = self.neighbour.process.communicate(timeout=60)
        assert self.neighbour.process.returncode == 0, wrong[-3000:]
        return self.watched(json.loads(said.strip().splitlines()[-1]))

    def stop(self):
        """SIGTERM; the seconds until the end."""
        begin = time.monotonic()
        code = self.node.stop()
        assert code == 0, f"exit code {code}\n{self.node.tail()}"
        return time.monotonic() - begin

    def crash(self):
        """SIGKILL, which nothing can be late for."""
        self.node.kill()
        return 0.0

    def start(self):
        """On again; the seconds until it takes in, and until all is ready."""
        begin, seconds = time.monotonic(), []
        self.node.start(READY_SECONDS)
        for what in ("intake", None):
            until(lambda: self.node.get("/readyz", for_=what).status_code == 200, "ready again", READY_SECONDS, self.node.alive)
            seconds.append(time.monotonic() - begin)
        self.client = Client(self.node.url, self.tokens["neighbour"])
        return seconds

    def lost(self):
        """Receipts of the neighbour whose entry is not in its signed log, which is verified as a stranger would."""

        def fetch(path):
            answer = self.client.get(f"/ledger/neighbour/{path}")
            return answer.body if answer.status == 200 else None

        size = max(index for index, _ in self.receipts) + 1
        signed = lambda: int((fetch("checkpoint") or b"\n0").split(b"\n")[1])
        until(lambda: signed() >= size, "a checkpoint of all receipts", 30, self.node.alive)
        entries, _ = tlog.read(fetch, self.client.get("/ledger/neighbour/vkey").body.decode())
        return [(index, leaf) for index, leaf in self.receipts if tlog.leaf_hash(entries[index]).hex() != leaf]


def attempt(ask):
    """The answer, or what came in its way."""
    try:
        return ask()
    except OSError as error:
        return error


def first_of(client, path):
    """The head of an answer that has no end."""
    with client.connect(timeout=PLACE_SECONDS) as sock:
        sock.sendall(client.head("GET", path))
        came = sock.recv(4096)
    return Answer(int((came.split(b" ", 2) + [b"0", b"0"])[1]), {}, came)


def two_tenants(directory):
    """A file of tokens, and the tokens by tenant."""
    file = directory / "tokens.toml"
    made = {}
    for tenant in ("neighbour", "attacker"):
        scopes = [word for scope in ("lineage:read", "lineage:export", "events:write", "ledger:read") for word in ("--scope", scope)]
        done = run("token", "new", "--tokens", file, "--name", tenant, "--tenant", tenant, *scopes)
        assert done.returncode == 0, done.stderr.decode()
        made[tenant] = done.stdout.decode().strip()
    return file, made
