"""What attackers have: a token of their own tenant, an address of their own (127.0.0.2), threads, and connections without number."""

import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hostile.wire import CLOUDEVENT, NDJSON, Client

# Limits per address must not meet the neighbour, who comes from 127.0.0.1.
ADDRESS = "127.0.0.2"
# An answer that asks for patience is waited for so long in all.
PATIENCE_SECONDS = 60
# The line that says: what was needed beforehand is there, now look.
BEGINS = "begins"


class Attacker(Client):
    """A client that can be many."""

    def __init__(self, url, token, data):
        super().__init__(url, token, timeout=60, source=ADDRESS)
        self.url, self.token, self.data = url, token, data
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.connections_max = hard - 200
        self.kept = []

    def other(self, **more):
        """Another connection, for another thread."""
        return Client(self.url, self.token, source=ADDRESS, **{"timeout": 60, **more})

    def crowd(self, many, what):
        """`what(client, number)` in so many threads at once, each with its connection; the results in order."""
        with ThreadPoolExecutor(max_workers=many) as pool:
            return list(pool.map(lambda number: what(self.other(), number), range(many)))

    def patient(self, ask):
        """Asks again when told to come back later: the last answer, and how often that was."""
        refused, end = 0, time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = ask()
            if answer.status not in (429, 503) or time.monotonic() > end:
                return answer, refused
            refused += 1
            time.sleep(max(0.05, min(2.0, float(answer.headers["retry-after"]))))

    def send(self, body, content_type=CLOUDEVENT, **more):
        """Hands in one event or document, patiently."""
        return self.patient(lambda: self.post(body, content_type, **more))[0]

    def prepare(self, events):
        """Hands in what questions will be about, as slowly as one who means no harm; from then on the neighbour is measured."""
        self.send_many(events, at_once=500, pause=0.01)
        self.wait_visible()
        print(BEGINS, flush=True)

    def send_many(self, events, at_once, pause):
        """Hands in events in batches, with a pause after each; the seconds that each batch took."""
        seconds = []
        for first in range(0, len(events), at_once):
            begin = time.monotonic()
            answer = self.send(b"\n".join(events[first:first + at_once]), NDJSON)
            seconds.append(time.monotonic() - begin)
            assert answer.status in (200, 201, 207), answer
            time.sleep(pause)
        return seconds

    def wait_visible(self, deadline=60):
        """Until the views have folded what this tenant has in its ledger."""
        end = time.monotonic() + deadline
        while True:
            answer, _ = self.patient(lambda: self.get("/api/v1/freshness"))
            assert answer.status == 200, answer
            if all(view["lagEntries"] == 0 for view in answer.json()["views"]):
                return
            assert time.monotonic() < end, f"views are behind after {deadline} s: {answer.json()['views']}"
            time.sleep(0.05)

    def keep(self, connection):
        """Connections that stay open until the server has been told to end."""
        self.kept.append(connection)
        return connection

    def background(self, work):
        """Something that goes on until this process ends."""
        threading.Thread(target=work, daemon=True).start()
