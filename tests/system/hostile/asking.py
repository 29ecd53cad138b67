"""Attacks by what is asked: questions whose cost is not their answer."""

import time

from hostile.table import attack
from hostile.wire import DIGEST, event

# What one question may take on a machine that does other things, too.
QUESTION_SECONDS = 5.0
MOMENT = "2026-03-01T12:00:00Z"


def asked(attacker, *paths, at_once=1):
    """Each question, so many times at once: an answer in time, or the advice to narrow it. The slowest."""
    slowest = 0, "", ""
    for path in paths:
        def once(client):
            begin = time.monotonic()
            answer = client.get(path, headers={"accept": "*/*" if path.startswith("/api/") else "text/html"})
            answer.took = time.monotonic() - begin
            return answer

        for answer, _ in attacker.crowd(at_once, lambda client, _: attacker.patient(lambda: once(client))):
            assert answer.status == 200 or (answer.status, answer.code) == (422, "QUERY_TOO_EXPENSIVE"), (path, answer)
            assert answer.took < QUESTION_SECONDS, f"{path}: {answer.status} after {answer.took:.1f} s"
            slowest = max(slowest, (answer.took, path.split("?")[0], str(answer.status)))
    return f"slowest {slowest[0] * 1000:.0f} ms ({slowest[1][:40]}, {slowest[2]})"


@attack("7", "a base from which 100 repositories derive 200 versions each, and questions about it", "200 in time, or QUERY_TOO_EXPENSIVE", seconds=90)
def base_of_many(attacker):
    events = [event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/base:1"}, "base", time=MOMENT)]
    for n in range(20_000):
        data = {"artifactDigest": DIGEST % (n + 2), "artifactRef": f"r.example/app{n % 100}:1.{n // 100}", "baseDigest": DIGEST % 1, "baseRef": "r.example/base:1"}
        events.append(event("artifact-packaged", data, f"b{n}", time=MOMENT))
    attacker.prepare(events)
    return asked(attacker, f"/api/v1/lineage/{DIGEST % 1}", f"/api/v1/lineage/{DIGEST % 1}?maxDepth=100&includeVerdicts=true", f"/artifacts/{DIGEST % 1}",
                 f"/api/v1/lineage/{DIGEST % 50}?maxDepth=100")
