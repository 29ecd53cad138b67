"""Names of answers (`ETag`, `If-None-Match`): a name is that of one answer, and of nobody else's (SPEC §8).

Every question that can be asked is asked twice, while the ledger stands still, and again after events that change it.
Two tenants say the very same things, so that nothing but who asks tells their answers apart.
"""

import os
import random
import re
from collections import namedtuple

import pytest

from pedigraph import BATCH, NDJSON, Node, cloudevent, digest, published, raw
from test_access import Tokens
from test_tenants import DOCUMENT, FIRST_SPACE, HISTORIES, INDEXED, MARKS, RATES, Asked, Tenant, operations, pools, question
from test_vex import CYCLONEDX, History, cyclonedx, minute, own_event, statement

SEED = int(os.environ.get("PEDIGRAPH_SEED", "16"))
# Of each operation.
QUESTIONS = int(os.environ.get("PEDIGRAPH_EXAMPLES", "24"))
# What proves itself, what is the same for everybody, what is kept by nobody: it has other ways, or none.
UNTAGGED = set("""
    getCheckpoint getVerifierKey getKeyChain getTile getBundle livez readyz metrics openapi signInPage accountPage asset favicon
""".split())
# They say how far the server is, or how long ago things were, and so another thing each time: a name of each answer is
# all that can be asked for.
MOVES = {"getFreshness", "freshnessPage", "homePage", "onCallPage"}
# What no later event changes.
FIXED = {"getEntry", "getBody"}
# What a card says of what covers its proof.
CHECKPOINT = re.compile(r',"checkpoint":\{[^}]*\}')
# Artifacts that one statement is about: more than the view of deltas does at once.
WIDE, LINE = 1_500, 50
# Numbers of digests that no history has.
LINE_SPACE = 0xE7A6 << 32
Answers = namedtuple("Answers", "asked first again known anyone twins after after_known")


def versions(space, count):
    """Lines of versions that all contain one package, as events."""
    for number in range(count):
        of, ref, at = digest(space + number), f"r.example/line-{space}-{number // LINE}:1.{number % LINE}.0", minute(number % LINE)
        yield published(ref, of, time_=at, id_=f"published-{space}-{number}")
        sbom = cyclonedx(["pkg:npm/everywhere@1.0.0", f"pkg:npm/own@{number}.0.0"], {"name": ref}, time=at)
        described = cloudevent("org.example.sbom", sbom, id_=f"listed-{space}-{number}", subject=of, time_=at)
        yield {**described, "datacontenttype": CYCLONEDX}


def said(id_, vulnerability, product):
    """An event with a statement that something is affected."""
    statements = [statement(vulnerability, product, "affected")]
    data = {"issuer": id_, "documentId": id_, "documentVersion": "1", "documentTime": minute(1), "statements": statements}
    return own_event("vex-issued", data, id_=id_)


class Twin(Tenant):
    """A tenant that says what the other one says."""

    def __init__(self, name, token, node):
        self.name, self.mark, chance = name, MARKS["default"], random.Random(SEED)
        self.histories = [History(str(FIRST_SPACE + number), f"{SEED}/{number}") for number in range(HISTORIES)]
        self.events = self.told(self.histories, chance) + list(versions(LINE_SPACE, 2))
        self.both = Asked(node, token)

    def told(self, histories, chance):
        events = [event for history in histories for event in (*history.events, *self.more(history, chance))]
        chance.shuffle(events)
        return events

    def later(self):
        """More about the same things."""
        chance = random.Random(SEED + 1)
        histories = [History(history.space, f"{SEED}/{history.space}/later") for history in self.histories]
        events = [*self.told(histories, chance), said("later", self.histories[0].ids[0], digest(LINE_SPACE + 1))]
        return [{**event, "id": f"later-{event['id']}"} for event in events]


def plain(answer):
    """What is asked for, without how long it took and which request it was."""
    text = answer.text.replace(answer.headers["x-request-id"], "request")
    return re.sub(r'"elapsedMs":[0-9.e-]+', '"elapsedMs":0', text)


def asked_here():
    """What there is an answer to without having made something first."""
    return [(name, path) for name, path in operations() if name != "evidencePackPage"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """By operation: what is answered at rest, with each name, and after later events."""
    print(f"PEDIGRAPH_SEED={SEED}")
    directory = tmp_path_factory.mktemp("etags")
    tokens = Tokens(directory)
    words = {name: tokens.new(name, tenant=name) for name in MARKS}
    node = Node(directory / "data", options=("--tokens", tokens.file, "--rates", RATES)).start()
    twins = [Twin(name, words[name], node) for name in MARKS]
    for twin in twins:
        list(twin.sends(twin.both, [*twin.events], random.Random(SEED)))
    for twin in twins:
        twin.both.settle(len(twin.events))
        twin.sboms = twin.described()
    found = {name: at_rest(name, path, twins) for name, path in asked_here()}
    for twin in twins:
        answer = twin.both.post("/api/v1/events", data=raw(later := twin.later()), headers={"content-type": BATCH})
        assert answer.status_code in (201, 207), answer.text[:500]
        twin.both.settle(len(twin.events) + len(later))
    yield {name: [anew(twins[0], answers) for answers in each] for name, each in found.items()}
    node.kill()


def at_rest(name, path, twins):
    one, other = twins
    values, chance, found = pools(twins, one) | known_to(one), random.Random(f"{SEED}/{name}"), []
    for asked in dict.fromkeys(question(name, path, values, chance) for _ in range(QUESTIONS)):
        first, theirs = one.both.get(asked), other.both.get(asked)
        named = lambda answer, asked=asked: one.both.get(asked, {"if-none-match": answer.headers.get("etag", "none")})
        if first.status_code == 200:
            again, known, twins_ = one.both.get(asked), named(first), (theirs, named(theirs))
            anyone = one.both.get(asked, {"if-none-match": "*"})
            found.append(Answers(asked, first, again, known, anyone, twins_, None, None))
    return found


def known_to(twin):
    """What else is asked for: services by their names here, and deltas where there will be one."""
    line, vulnerability = [digest(LINE_SPACE), digest(LINE_SPACE + 1)], twin.histories[0].ids[:1]
    of = {("getVexDeltas", "from"): line[:1], ("getVexDeltas", "to"): line[1:]}
    of["service"] = ["web", "api", "job"]
    return of | {(name, "id"): vulnerability for name in ("getVulnerabilityDeltas", "pageDeltas")}


def anew(twin, answers):
    named = {"if-none-match": answers.first.headers.get("etag", "none")}
    return answers._replace(after=twin.both.get(answers.asked), after_known=twin.both.get(answers.asked, named))


def named(answer):
    return answer.headers.get("etag")


@pytest.mark.parametrize(("name", "path"), asked_here())
def test_a_name_is_that_of_one_answer(answers, name, path):
    told = answers[name]
    assert told, "something is answered"
    declared = DOCUMENT["paths"][path]["get"]["responses"]
    assert ("304" in declared) == (name not in UNTAGGED), "the document says where an answer may be known"
    if name in UNTAGGED:
        assert not [each.asked for each in told if named(each.first)], "say in UNTAGGED which have none"
        return
    for each in told:
        at_rest_the_same(each, name in MOVES)
        nobody_else_s(each)
        another_one_when_it_changes(each)
    changed = [each.asked for each in told if each.after.status_code != 200 or plain(each.after) != plain(each.first)]
    assert bool(changed) == (name not in FIXED), f"{len(changed)} of {len(told)} answers changed"


def at_rest_the_same(each, moves):
    assert named(each.first) and named(each.again), each.asked
    same = plain(each.first) == plain(each.again)
    assert moves or (same and named(each.first) == named(each.again)), f"{each.asked}: nothing happened"
    assert same or named(each.first) != named(each.again), f"{each.asked}: two answers of one name"
    for known in (each.known, each.anyone) if not moves else (each.anyone,):
        assert (known.status_code, known.content) == (304, b""), f"{each.asked}: {known.status_code}"
        assert moves or named(known) == named(each.first), each.asked
        assert known.headers.get("pedigraph-as-of") == each.first.headers.get("pedigraph-as-of"), each.asked


def nobody_else_s(each):
    """What a twin's answer is called is no name of mine, but where it is that of the very bytes."""
    theirs, mine = each.twins
    if INDEXED.fullmatch(named(theirs) or ""):
        assert mine.status_code == 200 and named(mine) != named(theirs), f"{each.asked}: the ETag of another tenant"
    elif theirs.status_code == 200 and mine.status_code == 304:
        assert theirs.content == each.again.content, f"{each.asked}: the ETag of another tenant"


def another_one_when_it_changes(each):
    if each.after.status_code == 200 and plain(each.after) != plain(each.first):
        assert named(each.after) != named(each.first), f"{each.asked}: two answers of one name"
        assert each.after_known.status_code == 200 and each.after_known.content, each.asked


def test_what_the_view_of_deltas_adds_has_another_name(nodes):
    node, space, cve = nodes(), LINE_SPACE, "CVE-2026-0001"
    lines = [raw(event) for event in versions(space, WIDE)]
    for start in range(0, len(lines), 500):
        node.accept(b"\n".join(lines[start : start + 500]), NDJSON)
    node.wait_visible(120)
    last, before = digest(space + WIDE - 1), digest(space + WIDE - 2)
    paths = (
        f"/api/v1/lineage/{last}?maxDepth=3", f"/api/v1/artifacts/{last}", f"/api/v1/artifacts/{last}/hover", f"/artifacts/{last}/lanes",
        f"/api/v1/artifacts/{last}/verdicts", f"/api/v1/vulnerabilities/{cve}/verdicts", f"/api/v1/vulnerabilities/{cve}/deltas",
        f"/api/v1/vex-deltas?from={before}&to={last}", f"/api/v1/lineage/compare?a={before}&b={last}", "/overview",
    )
    index = node.accept(raw(said("wide", cve, "pkg:npm/everywhere")), wait="visible")["index"]
    names, at_once, behind = {}, {}, True
    while behind:
        # The answers after all is there are looked at too.
        behind = any(view["lagEntries"] for view in node.json("/api/v1/freshness")["views"])
        for path in paths:
            answer = node.get(path)
            assert answer.status_code == 200 and named(answer), f"{path}: {answer.text[:300]}"
            assert names.setdefault((path, named(answer)), plain(answer)) == plain(answer), f"{path}: two answers of one name"
            if answer.headers["pedigraph-as-of"] == str(index):
                at_once.setdefault(path, set()).add(named(answer))
    # A newer checkpoint is said at once, also while nothing else changes.
    index_in = lambda name: name.split("-")[0] if INDEXED.fullmatch(name) else None
    told = {(path, index_in(name), CHECKPOINT.sub("", answer)) for (path, name), answer in names.items()}
    for path in paths:
        assert sum(of == path for of, *_ in told) == 2 or path == "/overview", f"{path}: once behind, and then not"
    assert len(at_once[paths[0]]) == 2, "that view came on, and nothing else"
