"""Is every message accounted for, and none twice? Answered from the ledger's own entry bundles, which anybody can read."""

from collections import Counter

import tlog
from pedigraph import until


def leaves(node, deadline=30):
    """All leaves, verified against the signed root, index = place in the list."""

    def covered():
        head = node.head()
        return head["checkpointSize"] == head["size"]

    until(covered, "a checkpoint of all entries", deadline, node.alive)

    def fetch(path):
        answer = node.get(f"/ledger/default/{path}")
        return answer.content if answer.status_code == 200 else None

    entries, _ = tlog.read(fetch, node.get("/ledger/default/vkey").text)
    return [tlog.leaf(entry) for entry in entries]


def from_kafka(found):
    return [leaf for leaf in found if leaf["origin"].get("kind") == "kafka"]


def once(found):
    """No source coordinate and no event id was stored twice."""
    coordinates = Counter(tlog.coordinate(leaf) for leaf in from_kafka(found))
    twice = [where for where, count in coordinates.items() if count > 1]
    assert not twice, f"stored twice: {twice[:5]}"
    events = Counter(leaf["event_id"] for leaf in found if leaf["status"] != "rejected")
    twice = [id_.hex() for id_, count in events.items() if count > 1]
    assert not twice, f"events stored twice: {twice[:5]}"
    return coordinates


def unique_messages(node, delivered):
    """Every delivered message, all different events, has exactly one accepted entry."""
    found = leaves(node)
    coordinates = once(found)
    lost = set(delivered) - set(coordinates)
    assert not lost, f"{len(lost)} of {len(delivered)} not in the ledger, such as {sorted(lost)[:5]}"
    strange = set(coordinates) - set(delivered)
    assert not strange, f"{len(strange)} entries of messages that nobody sent, such as {sorted(strange)[:5]}"
    assert Counter(leaf["status"] for leaf in from_kafka(found)) == {"accepted": len(delivered)}
    return found


def corpus(node, delivered, messages):
    """Each message by its expectation; returns (status counts, unexpected) so that the caller can show all at once."""
    by_name = {message.name: message for message in messages}
    found = leaves(node)
    coordinates = once(found)
    strange = set(coordinates) - set(delivered)
    assert not strange, f"{len(strange)} entries of messages that nobody sent"
    codes = {entry["index"]: entry["code"] for entry in node.entries(status="rejected")}
    stored, groups, wrong = Counter(), {}, []
    for index, leaf in enumerate(found):
        if leaf["origin"].get("kind") != "kafka":
            continue
        message = by_name[delivered[tlog.coordinate(leaf)]]
        stored[message.identity] += 1
        if message.codes:
            if leaf["status"] != "rejected" or codes[index] not in message.codes:
                wrong.append((message.name, leaf["status"], codes.get(index), "expected", message.codes))
        elif leaf["status"] == "rejected":
            wrong.append((message.name, "rejected", codes[index]))
        else:
            groups.setdefault(message.group, []).append(leaf["status"])
    for message in messages:
        if stored[message.identity] != 1:
            wrong.append((message.name, f"{stored[message.identity]} entries"))
    for group, statuses in groups.items():
        if sorted(statuses) != ["accepted"] + ["conflict"] * (len(statuses) - 1):
            wrong.append((group, Counter(statuses)))
    return Counter(leaf["status"] for leaf in from_kafka(found)), wrong
