"""The well-behaved neighbour: 50 small events and 40 small questions a second, each at its moment, whatever became of the one before.

A process of its own (`python -m hostile.neighbour URL`), its token in `NEIGHBOUR_TOKEN`. Each line on its standard input, and its end, is
answered by one line of JSON: what was measured since the line before. Latency counts from the moment at which a request was due, so that a
server that stands still is seen by all who would have asked meanwhile, not by the one who waits.
"""

import json
import os
import sys
import threading
import time
from itertools import count

from hostile.wire import DIGEST, Client, event

EVENTS_PER_SECOND = 50
QUESTIONS_PER_SECOND = 10
# One event of so many is sent with wait=visible.
VISIBLE_EVERY = 10
# Enough that events stay on time when some of them wait.
SENDERS = 8
ENVIRONMENT = "neighbour-home"


def sent(number, run):
    """A small event: something is published, and from time to time deployed."""
    digest = DIGEST % (0xA << 240 | number)
    reference = f"registry.example/neighbour/app-{number % 10}:{run}-{number}"
    if number % 5 == 0:
        data = {"service": f"neighbour-{number % 3}", "environment": ENVIRONMENT, "artifactDigest": digest, "artifactRef": reference}
        return event("service-deployed", data, f"{run}-{number}", "neighbour")
    return event("artifact-published", {"artifactDigest": digest, "artifactRef": reference}, f"{run}-{number}", "neighbour")


QUESTIONS = {
    "artifact": f"/api/v1/artifacts/{DIGEST % (0xA << 240)}",
    "environment": f"/api/v1/environments/{ENVIRONMENT}",
    "resolve": "/api/v1/resolve?q=neighbour-0",
    "probe": "/readyz",
}


class Neighbour:
    def __init__(self, url, token):
        self.url, self.token, self.run = url, token, f"{time.time_ns():x}"
        self.lock = threading.Lock()
        self.begin = time.monotonic()
        self.numbers = count()
        self.ended = threading.Event()
        self.seen = self.nothing()
        # Its first event is there before it asks about it.
        self.send(Client(url, token), 0, "send", wait="visible")
        self.threads = [threading.Thread(target=self.sender) for _ in range(SENDERS)]
        self.threads += [threading.Thread(target=self.asker, args=(kind, path)) for kind, path in QUESTIONS.items()]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def nothing():
        return {"latencies": {}, "receipts": [], "failures": []}

    def report(self):
        """What was seen since the last report."""
        with self.lock:
            seen, self.seen = self.seen, self.nothing()
        return seen

    def due(self, number, per_second):
        """Waits for the moment of the n-th request; its time, or nothing at the end."""
        moment = self.begin + number / per_second
        return None if self.ended.wait(max(0, moment - time.monotonic())) else moment

    def sender(self):
        client = Client(self.url, self.token)
        while True:
            with self.lock:
                number = next(self.numbers) + 1
            moment = self.due(number, EVENTS_PER_SECOND)
            if moment is None:
                return
            if number % VISIBLE_EVERY == 0:
                self.timed("visible", moment, lambda: self.send(client, number, "visible", wait="visible"))
            else:
                self.timed("send", moment, lambda: self.send(client, number, "send"))

    def send(self, client, number, kind, **query):
        answer = client.post(sent(number, self.run), **query)
        fine = answer.status in (200, 201) and (kind != "visible" or answer.json().get("visible", True))
        if answer.status in (200, 201):
            receipt = answer.json()
            with self.lock:
                self.seen["receipts"].append((receipt["index"], receipt["leafHash"]))
        return fine, answer

    def asker(self, kind, path):
        client = Client(self.url, self.token)
        for number in count(1):
            moment = self.due(number, QUESTIONS_PER_SECOND)
            if moment is None:
                return
            self.timed("probe" if kind == "probe" else "read", moment, lambda: self.ask(client, path))

    def ask(self, client, path):
        answer = client.get(path)
        return answer.status == 200, answer

    def timed(self, kind, moment, request):
        try:
            fine, answer = request()
        except Exception as error:  # whatever it is, the neighbour was not served
            fine, answer = False, repr(error)
        took = time.monotonic() - moment
        with self.lock:
            self.seen["latencies"].setdefault(kind, []).append(took)
            if not fine:
                self.seen["failures"].append((kind, round(moment - self.begin, 2), repr(answer)))

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def main():
    neighbour = Neighbour(sys.argv[1], os.environ["NEIGHBOUR_TOKEN"])
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(neighbour.report()), flush=True)
    neighbour.end()
    print(json.dumps(neighbour.report()), flush=True)


if __name__ == "__main__":
    main()
