"""Attacks by what is asked: questions whose cost is not their answer."""

import time

from hostile.table import attack
from hostile.wire import DIGEST, event

# What one question may take on a machine that does other things, too.
QUESTION_SECONDS = 3.0
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
            advised = answer.code == "QUERY_TOO_EXPENSIVE" or b"costs more than one question may" in answer.body
            assert answer.status == 200 or (answer.status == 422 and advised), (path, answer)
            assert answer.took < QUESTION_SECONDS, f"{path}: {answer.status} after {answer.took:.1f} s"
            slowest = max(slowest, (answer.took, path.split("?")[0], str(answer.status)))
    return f"slowest {slowest[0] * 1000:.0f} ms ({slowest[1][:40]}, {slowest[2]})"


@attack("7", "a tag with 40,001 facts of two artifacts at one moment, and questions about it", "200 in time, or QUERY_TOO_EXPENSIVE", seconds=90)
def one_tag_at_one_moment(attacker):
    def moved(n):
        return event("tag-observed", {"repository": "r.example/app", "tag": "v1", "digest": DIGEST % (1 + n % 2)}, f"t{n}", time=MOMENT)

    attacker.prepare([moved(n) for n in range(40_001)])
    return asked(attacker, "/api/v1/resolve?q=r.example/app:v1", "/api/v1/trace?ref=r.example/app:v1", f"/api/v1/artifacts/{DIGEST % 1}",
                 f"/artifacts/{DIGEST % 1}", f"/api/v1/lineage/{DIGEST % 1}")


@attack("7", "an artifact deployed 20,000 times, and questions about it", "200 in time, or QUERY_TOO_EXPENSIVE", seconds=90)
def deployed_very_often(attacker):
    def deployed(n):
        data = {"service": f"s{n % 10_000}", "environment": f"e{n // 10_000}", "artifactDigest": DIGEST % 1, "artifactRef": "r.example/often:1"}
        return event("service-deployed", data, f"d{n}", time=MOMENT)

    attacker.prepare([deployed(n) for n in range(20_000)])
    return asked(attacker, f"/api/v1/artifacts/{DIGEST % 1}", f"/artifacts/{DIGEST % 1}", "/api/v1/environments/e0", "/environments/e0", "/api/v1/environments",
                 "/api/v1/resolve?q=s1", "/api/v1/environments/e0/changes?pageSize=1000", "/")


@attack("7", "a base from which 100 repositories derive 200 versions each, and questions about it", "200 in time, or QUERY_TOO_EXPENSIVE", seconds=90)
def base_of_many(attacker):
    events = [event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/base:1"}, "base", time=MOMENT)]
    for n in range(20_000):
        data = {"artifactDigest": DIGEST % (n + 2), "artifactRef": f"r.example/app{n % 100}:1.{n // 100}", "baseDigest": DIGEST % 1, "baseRef": "r.example/base:1"}
        events.append(event("artifact-packaged", data, f"b{n}", time=MOMENT))
    attacker.prepare(events)
    return asked(attacker, f"/api/v1/lineage/{DIGEST % 1}", f"/api/v1/lineage/{DIGEST % 1}?maxDepth=100&includeVerdicts=true", f"/artifacts/{DIGEST % 1}",
                 f"/api/v1/lineage/{DIGEST % 50}?maxDepth=100")


@attack("7", "16 home pages at once, over 3,000 environments", "200 in time, or QUERY_TOO_EXPENSIVE", seconds=90)
def many_home_pages(attacker):
    def deployed(n):
        data = {"service": f"s{n % 3}", "environment": f"e{n % 3_000}", "artifactDigest": DIGEST % n, "artifactRef": f"r.example/a{n % 50}:{n}"}
        return event("service-deployed", data, f"h{n}", time=MOMENT)

    attacker.prepare([deployed(n) for n in range(12_000)])
    return asked(attacker, "/", "/api/v1/environments", "/", at_once=16)


@attack("small", "numbers beyond any ledger, control characters, If-None-Match: * for what is unknown", "a problem with a code below 500, or 200")
def strange_questions(attacker):
    data = {"service": "w", "environment": "prod", "artifactDigest": DIGEST % 1, "artifactRef": "r.example/w:1", "run": "run\u00011"}
    attacker.send(event("service-deployed", data, "w", source="strange\u0002source"), wait="visible")
    attacker.send(event("run-started", {"run": "run\u00011", "pipeline": "p\u0007"}, "w2"), wait="visible")
    said = []
    for ref in ("prod~18446744073709551615/w", "prod~99999999999999999999/w", "prod%4018446744073709551615/w", "prod%2318446744073709551615/w", "prod~1/w"):
        answer = attacker.get(f"/api/v1/trace?ref={ref}")
        assert answer.status in (400, 404) and answer.code, (ref, answer)
    for path in ("/search?q=run%011", "/api/v1/resolve?q=run%011", "/search?q=run", "/api/v1/resolve?q=run", "/api/v1/entries?from=18446744073709551615",
                 "/api/v1/entries/18446744073709551615", "/api/v1/freshness?asOf=18446744073709551615"):
        answer = attacker.get(path)
        assert answer.status < 500, (path, answer)
        said.append(answer.status)
    for path in (f"/api/v1/artifacts/{DIGEST % 404}", "/api/v1/entries/404404", "/api/v1/environments/nowhere", f"/api/v1/lineage/{DIGEST % 404}"):
        answer = attacker.get(path, headers={"if-none-match": "*"})
        assert answer.status == 404 and answer.code, (path, answer)
    return " ".join(map(str, said))
