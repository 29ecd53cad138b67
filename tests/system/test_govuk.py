"""34,307 real deployments: what runs now and ran at any moment equals the plain record."""

import bisect
import gzip
import json
import random
import time
from datetime import UTC, datetime

import pytest

from pedigraph import NDJSON, deployed

SEED = 20260814
MOMENTS = 200


def stamp(seconds):
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Record:
    """The oracle: per service the references in the order of (time, place in the ledger)."""

    def __init__(self):
        self.services = {}

    def add(self, service, seconds, ref, line):
        self.services.setdefault(service, []).append((seconds, line, ref))

    def done(self, lines):
        """Of equal times the later arrival wins; `lines` are in the order in which they are sent."""
        place = {line: place for place, line in enumerate(lines)}
        for rows in self.services.values():
            rows.sort(key=lambda row: (row[0], place[row[1]]))
        return self

    def at(self, seconds):
        found = {}
        for service, rows in self.services.items():
            place = bisect.bisect_right([row[0] for row in rows], seconds)
            if place:
                found[service] = rows[place - 1][2]
        return found


def running(node, **query):
    answer = node.get("/api/v1/environments/staging", **query)
    if answer.status_code == 404:
        return {}  # nobody had named it yet
    assert answer.status_code == 200, answer.text
    services = answer.json()["services"]
    return {s["service"]: s["running"][0]["artifactRef"] for s in services if s["running"]}


def build(rows, ties):
    lines, record = [], Record()
    for number, row in enumerate(rows):
        id_, ref = f"govuk-{number}", f"r.example/govuk/{row['service']}:{row['to']}"
        line = json.dumps(deployed(row["service"], ref, row["environment"], id_=id_, source="govuk", time_=stamp(row["time"]))).encode()
        lines.append(line)
        record.add(row["service"], row["time"], ref, line)
        if number in ties:
            id_, ref = f"govuk-tie-{number}", f"r.example/govuk/{row['service']}:tie"
            line = json.dumps(deployed(row["service"], ref, row["environment"], id_=id_, source="govuk", time_=stamp(row["time"]))).encode()
            lines.append(line)
            record.add(row["service"], row["time"], ref, line)
    return lines, record


def send(node, lines):
    last = None
    for first in range(0, len(lines), 5000):
        chunk = lines[first : first + 5000]
        answer = node.post(b"\n".join(chunk), NDJSON)
        assert answer.status_code == 201, answer.text[:500]
        last = answer.json()["results"][-1]["index"]
    return last


@pytest.mark.corpora
def test_staging_at_any_moment(corpora, nodes, figure):
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    with gzip.open(corpora / "govuk/staging-deployments.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 34_307
    ties = set(chance.sample(range(len(rows)), 100))
    lines, record = build(rows, ties)
    late = set(chance.sample(range(len(lines)), len(lines) // 20))
    on_time = [line for number, line in enumerate(lines) if number not in late]
    come_late = [line for number, line in enumerate(lines) if number in late]
    chance.shuffle(come_late)
    record.done(on_time + come_late)

    node = nodes()
    begin = time.monotonic()
    before = send(node, on_time)
    index = send(node, come_late)
    recorded = time.monotonic() - begin
    node.wait_size(index + 1)
    node.wait_visible(120)
    figure(f"GOV.UK: {len(lines)} deployments as ndjson: durable after {recorded:.1f} s, visible after {time.monotonic() - begin:.1f} s")

    assert node.intake()["byStatus"].get("accepted") == len(lines)
    assert running(node) == record.at(2**40)
    untied = {row["service"]: f"r.example/govuk/{row['service']}:{row['to']}" for row in rows}
    assert sum(untied[service] == ref for service, ref in running(node).items()) >= len(untied) - len(ties)
    first, last = rows[0]["time"], rows[-1]["time"]
    moments = [chance.randint(first - 1000, last + 1000) for _ in range(MOMENTS - 20)] + [chance.choice(rows)["time"] for _ in range(20)]
    begin = time.monotonic()
    for moment in moments:
        assert running(node, at=stamp(moment)) == record.at(moment), f"at {stamp(moment)}"
    figure(f"GOV.UK: staging at a moment of the past: {(time.monotonic() - begin) / MOMENTS * 1000:.1f} ms each, seen by the client")

    # Before the late ones came, another answer was right.
    known = Record()
    for line in on_time:
        event = json.loads(line)
        seconds = int(datetime.fromisoformat(event["time"]).timestamp())
        known.add(event["data"]["service"], seconds, event["data"]["artifactRef"], line)
    known.done(on_time)
    assert running(node, asOf=before) == known.at(2**40)
    differ = 0
    for moment in moments[:40]:
        expected = known.at(moment)
        assert running(node, at=stamp(moment), asOf=before) == expected, f"at {stamp(moment)} as of {before}"
        differ += expected != record.at(moment)
    assert differ > 0, "the late events changed what is known of the past"
