"""Tenants that name the same things and say other things of them: no byte of one is in anything that the other gets.

Both use the same digests, purls, vulnerabilities, environments, documents, runs and event ids, and each has words of its
own in whatever it says. On one server they come between each other, and each has a server that only ever got its events:
what a tenant is answered on both is the same, but for times of recording and what is hashed over them (SPEC §8).
"""

import io
import json
import os
import random
import re
import shutil
import zipfile
from urllib.parse import quote, unquote

import pytest
import requests

from pedigraph import BATCH, ROOT, Node, deployed, raw, until
from test_access import Tokens, bearer
from test_http import Stream
from test_vex import History, minute, own_event

SEED = int(os.environ.get("PEDIGRAPH_SEED", "8"))
# Histories of each tenant, and questions of each operation and tenant.
HISTORIES, QUESTIONS = 3, int(os.environ.get("PEDIGRAPH_EXAMPLES", "20"))
# Digits that stand in every digest, purl, id and environment of the first one.
FIRST_SPACE = 700_001
BATCH_EVENTS = 60
TIMEOUT_SECONDS = 30
# What each says that the other does not: neither is in any word of ours.
MARKS = {"default": "kestrel", "shop": "osprey"}
# Members of events in which they stand.
WORDS = "issuer service actor reason impact action pipeline suite builder artifactRef severity".split()
DOCUMENT = json.loads((ROOT / "query-api" / "openapi.json").read_text())
RATES = "graph=0,open=0,packs=0,export=0,streams=0,waiters=0"
VIEWS = "lineage,components,vex,deployments,runtime,evidence,incidents,signals,intake"
# What is the same whoever asks, or never the same twice: only looked through for the other's words.
MOVES = {
    "getFreshness": "lags and sources of the whole server",
    "freshnessPage": "the same as a page",
    "homePage": "the same, in its head",
    "metrics": "of the whole server",
    "readyz": "of the whole server",
    "getCheckpoint": "signed with another key",
    "getVerifierKey": "another key",
    "getKeyChain": "another key",
    "getTile": "hashes over times of recording",
    "getBundle": "leaves with times of recording",
    "getProof": "hashes over times of recording",
    "getConsistency": "hashes over times of recording",
}
LEFT_OUT = {"subscribe": "read to the end below", "getExport": "packs are opened below", "evidencePackPage": "the same"}
INDEXED = re.compile(r'W/"\d+-[0-9a-f]{16}"')
HEADERS = ("etag", "pedigraph-as-of", "content-type", "cache-control", "location")


def marked(value, mark, key=""):
    """An event in which free texts have a tenant's word."""
    match value:
        case dict():
            return {name: marked(each, mark, name) for name, each in value.items()}
        case list():
            return [marked(each, mark, key) for each in value]
        case str() if key in WORDS:
            return f"{value}-{mark}"
    return value


class Tenant:
    """What one tenant sends, and whom it asks: the server of both, and one that only got this."""

    def __init__(self, name, token, both, alone, chance):
        self.name, self.mark = name, MARKS[name]
        self.histories = [History(str(FIRST_SPACE + number), f"{SEED}/{name}/{number}") for number in range(HISTORIES)]
        events = [event for history in self.histories for event in (*history.events, *self.more(history, chance))]
        chance.shuffle(events)
        self.events = [self.licensed(marked(event, self.mark)) for event in events]
        self.events.append(deployed(f"last-{self.mark}", f"r.example/last:1-{self.mark}", "last", id_="last", time_=minute(39)))
        self.both, self.alone = Asked(both, token), Asked(alone, token)

    def described(self):
        """Ids of SBOMs."""
        named = [digest for history in self.histories for digest in history.named]
        artifacts = [self.both.get(f"/api/v1/artifacts/{digest}").json() for digest in named]
        return {sbom["id"] for artifact in artifacts for sbom in artifact.get("sboms", ())}

    def licensed(self, event):
        for component in event["data"].get("components", ()) if isinstance(event["data"], dict) else ():
            component["licenses"] = [{"license": {"name": f"licence of {self.mark}"}}]
        return event

    def more(self, history, chance):
        """What the histories of verdicts do not tell."""
        space, name = history.space, f"r.example/app{history.space}"
        run = {"run": f"build-{space}", "runSource": "https://ci.example"}
        event = lambda kind, number, **data: own_event(kind, data, id_=f"{space}-{kind}-{number}", time_=minute(chance.randrange(40)))
        for number, names in enumerate(history.manifests):
            digest, ref = names[0], f"{name}:1.{number}"
            built = {"commit": f"{number:040x}", "repository": f"https://git.example/{space}", "pipeline": "release", "builder": "ci"}
            yield event("artifact-packaged", number, artifactDigest=digest, artifactRef=ref, **built, **run)
            yield event("artifact-published", number, artifactDigest=digest, artifactRef=ref, actor="pusher")
            yield event("tests-finished", number, artifactDigest=digest, suite="unit", passed=number, reason="nightly", **run)
            approved = {"environment": history.environments[0], "decision": "approved", "actor": "boss"}
            yield event("approval-decided", number, artifactDigest=digest, **approved)
            reached = {"vulnerability": history.ids[0], "status": "reachable", "paths": 2, "gates": [self.mark]}
            yield event("reachability-analyzed", number, artifactDigest=digest, **reached)
        yield event("tag-observed", 0, repository=name, tag="latest", digest=chance.choice(history.manifests)[0])
        products = [names[0] for names in history.manifests]
        yield event("run-finished", 0, **run, pipeline="release", errors=f"none of {self.mark}", artifactDigests=products)
        yield event("freeze-changed", 0, environment=history.environments[0], frozen=True, reason="holidays")
        yield event("service-deployed", 0, service="cannot be", environment=7, artifactRef=self.mark)

    def sends(self, asked, events, chance):
        while events:
            size = chance.randint(1, BATCH_EVENTS)
            answer = asked.post("/api/v1/events", data=raw(events[:size]), headers={"content-type": BATCH})
            assert answer.status_code in (201, 207), answer.text[:500]
            del events[:size]
            yield


class Asked:
    """A server as one tenant sees it."""

    def __init__(self, node, token):
        self.node, self.session = node, requests.Session()
        self.session.headers.update(bearer(token))

    @property
    def url(self):
        return self.node.url

    def get(self, path, headers=None):
        return self.session.get(self.url + path, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)

    def post(self, path, **more):
        return self.session.post(self.url + path, timeout=TIMEOUT_SECONDS, **more)

    def settle(self, size):
        """Until all is visible and signed; then what differs between servers is known by heart."""
        head = lambda: self.get("/api/v1/freshness").json()
        seen = lambda now: now["head"]["checkpointSize"] == size and all(view["nextIndex"] >= size for view in now["views"])
        until(lambda: seen(head()), "all is visible and signed")
        self.entries = self.get("/api/v1/entries?limit=1000").json()["entries"]
        assert len(self.entries) == size
        self.words = {entry["leafHash"]: f"leaf {entry['index']}" for entry in self.entries}
        self.words |= {entry["recordedAt"]: "recorded" for entry in self.entries}
        self.words |= {entry["recordedAt"][:19].replace("T", " ") + " UTC": "recorded" for entry in self.entries}
        self.pattern = re.compile("|".join(map(re.escape, sorted(self.words, key=len, reverse=True))))

    def plain(self, answer):
        """An answer without what two servers cannot have in common."""
        text = answer.text.replace(answer.headers["x-request-id"], "request").replace(self.url, "")
        text = self.pattern.sub(lambda found: self.words[found[0]], text)
        text = re.sub(r'"elapsedMs":[0-9.e-]+', '"elapsedMs":0', text)
        # The link to the answer of a page that goes by the clock names its moment.
        text = re.sub(r'(href="/on-call\?(?:[^"]*?&amp;)?at=)[^&"]+(?=[^"]*" rel="bookmark")', r"\1now", text)
        # A proof is of hashes, and a leaf says when it was recorded.
        text = re.sub(r'(?s)<h2 id="proof">.*?<h2>Body', "the proof", text)
        headers = {name: answer.headers.get(name) for name in HEADERS}
        # Of what moves without the log growing it is a hash of the bytes.
        headers["etag"] = headers["etag"] if INDEXED.fullmatch(headers["etag"] or "") else "of the bytes"
        return answer.status_code, headers, text


@pytest.fixture(scope="module")
def tenants(tmp_path_factory):
    directory, chance = tmp_path_factory.mktemp("tenants"), random.Random(SEED)
    print(f"PEDIGRAPH_SEED={SEED}")
    tokens = Tokens(directory)
    words = {name: tokens.new(name, tenant=name) for name in MARKS}
    nodes = [Node(directory / name, options=("--tokens", tokens.file, "--rates", RATES)).start() for name in ("both", *MARKS)]
    found = [Tenant(name, words[name], nodes[0], node, chance) for name, node in zip(MARKS, nodes[1:], strict=True)]
    sending = [tenant.sends(tenant.both, [*tenant.events], chance) for tenant in found]
    while sending:
        one = chance.choice(sending)
        if next(one, "all sent") == "all sent":
            sending.remove(one)
    for tenant in found:
        list(tenant.sends(tenant.alone, [*tenant.events], chance))
        for asked in (tenant.both, tenant.alone):
            asked.settle(len(tenant.events))
        ids = [[entry["eventId"] for entry in asked.entries] for asked in (tenant.both, tenant.alone)]
        assert ids[0] == ids[1], "in the same order"
        tenant.sboms = tenant.described()
    yield found
    for node in nodes:
        assert node.process.poll() is None, node.tail()
        node.kill()


def operations():
    for path, item in DOCUMENT["paths"].items():
        if "get" in item and item["get"]["operationId"] not in LEFT_OUT:
            yield item["get"]["operationId"], path


def pools(tenants, tenant):
    """Values of parameters, by name: of both tenants, so that each asks for what only the other has too."""
    histories = [history for each in tenants for history in each.histories]
    every = lambda of: sorted({value for history in histories for value in of(history)})
    digests = every(lambda history: history.named)
    references = every(lambda history: [f"r.example/app{history.space}:1.{number}-{mark}" for number in range(2) for mark in MARKS.values()])
    running = every(lambda history: [f"{environment}/web-{mark}" for environment in history.environments for mark in MARKS.values()])
    vulnerabilities = every(lambda history: history.ids)
    packages = every(lambda history: history.packages)
    things = [*digests, *digests, *references, *running, *(digest[7:19] for digest in digests[:3])]
    size = len(tenant.events)
    services = [f"web-{mark}" for mark in MARKS.values()]
    environments = every(lambda history: history.environments)
    sboms = sorted(set().union(*(each.sboms for each in tenants)))
    indexes = list(range(size + 2))
    return {
        "digest": things, "ref": things, "a": digests, "b": digests, "env": environments, "purl": packages,
        "id": vulnerabilities, "cve": vulnerabilities, "index": indexes, "sbomVersionId": sboms,
        "q": [*things, *vulnerabilities, *packages, *environments, *services, *MARKS.values(), *MARKS, "web"],
        "commit": [f"{number:040x}" for number in range(3)], "run": [f"build-{history.space}" for history in histories],
        "versions": ["vers:npm/>=1.0.0|<2.0.0", "vers:npm/<1.2.0"], "service": services, "environment": environments,
        "moment": [minute(number) for number in range(0, 45, 9)], "next": ["/entries"],
        "at": [minute(number) for number in range(0, 45, 3)], "asOf": indexes, "pageSize": [1, 2, 7], "limit": [1, 3, 1000],
        "status": ["accepted", "rejected", "conflict"], "subject": digests, "type": ["VexIssued", "SbomAttached"],
        "tenant": [tenant.name], "path": [f"0/000.p/{size}", f"000.p/{size}"],
        "version": [re.search(r"/assets/([^/\"]+)", tenant.both.get("/").text)[1]], "name": ["style.css", "page.js"],
        "maxDepth": [0, 1, 10], "direction": ["up", "down", "both"], "for": ["intake", "answers"], "verbose": [""],
        "includeVerdicts": ["true", "false"], "includeBadges": ["true", "false"], "includeRemoved": ["true", "false"], "progress": ["true", "false"],
        "disagreements": ["true", "false"], "minIndex": [0, 1], "only": ["true", "false"], "format": ["html", "csv"],
        "tab": ["components", "verdicts", "inputs", "tests", "deployments"], ("pageLanes", "direction"): ["up", "both"],
        # Counted by commit, which is cut elsewhere on each server.
        ("getIntake", "asOf"): [size - 1, size],
        ("getConsistency", "from"): [1, 2, size], ("getConsistency", "to"): [size], ("listEntries", "from"): indexes,
        ("getEnvironmentDiff", "from"): [minute(number) for number in range(0, 45, 9)], ("getEnvironmentDiff", "to"): [minute(44)],
        "with": environments, "onlyChanges": ["true", "false"], "from": digests, "to": digests, "window": ["30d"],
    }


def question(name, path, values, chance):
    """A request as the document describes it, of values that somebody knows, mostly all of one history."""
    query, space = [], str(FIRST_SPACE + chance.randrange(HISTORIES))
    for parameter in DOCUMENT["paths"][path]["get"].get("parameters", ()):
        parameter = DOCUMENT["components"]["parameters"][parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
        known = values.get((name, parameter["name"]), values.get(parameter["name"]))
        if parameter["name"] == "pageToken" or parameter["in"] == "header":
            continue
        assert known, f"say in pools() what {name} may be asked for as {parameter['name']}"
        told = [value for value in known if space in str(value)] if chance.random() < 0.8 else []
        value = quote(str(chance.choice(told or known)), safe="/" if parameter["name"] == "path" else "")
        if parameter["in"] == "path":
            path = path.replace("{%s}" % parameter["name"], value)
        elif parameter.get("required") or chance.random() < 0.4:
            query.append(f"{parameter['name']}={value}")
    return path + ("?" + "&".join(query) if query else "")


def says_nothing_of(other, asked, answer):
    """No byte of what the other says, unless it was asked for by that name."""
    if other.mark in unquote(asked):
        return
    everything = answer.content + json.dumps(dict(answer.headers)).encode()
    assert other.mark.encode() not in everything.lower(), f"{asked}: {answer.text[:2000]}"


@pytest.mark.parametrize(("name", "path"), list(operations()))
def test_every_answer_is_as_if_the_tenant_were_alone(tenants, name, path):
    check(tenants, name, path, random.Random(f"{SEED}/{name}"), QUESTIONS)


def test_it_is_the_same_when_the_views_are_folded_anew(tenants):
    node = tenants[0].both.node
    node.stop()
    shutil.rmtree(node.data / "views")
    node.start()
    for tenant in tenants:
        tenant.both.settle(len(tenant.events))
    for name, path in operations():
        check(tenants, name, path, random.Random(f"{SEED}/{name}/anew"), QUESTIONS // 2)


def check(tenants, name, path, chance, count):
    """So many questions of each tenant, answered alike by both servers."""
    answered = []
    for tenant, other in (tenants, tenants[::-1]):
        values = pools(tenants, tenant)
        for _ in range(count):
            asked = question(name, path, values, chance)
            for page in pages(tenant, asked, name):
                answer = tenant.both.get(page)
                says_nothing_of(other, page, answer)
                answered.append(answer.ok)
            if name in MOVES:
                continue
            theirs = other.both.get(asked)
            mine = tenant.both.get(asked, {"if-none-match": theirs.headers.get("etag", "")})
            same = theirs.content == tenant.both.get(asked).content and not INDEXED.fullmatch(theirs.headers.get("etag", ""))
            assert mine.status_code != 304 or same, f"{asked}: the ETag of another tenant"
    assert any(answered), "something is answered"


def pages(tenant, asked, name):
    """A question and its next pages, each compared with the server that got nothing else."""
    for _ in range(4):
        yield asked
        mine = tenant.both.get(asked)
        if name in MOVES:
            return
        found, wanted = tenant.both.plain(mine), tenant.alone.plain(tenant.alone.get(asked))
        assert found == wanted, f"GET {asked} as {tenant.name}, seed {SEED}"
        token = mine.json().get("nextPageToken") if mine.headers.get("content-type") == "application/json" else None
        if not token:
            return
        asked = re.sub(r"[?&]pageToken=[^&]*", "", asked)
        asked += ("&" if "?" in asked else "?") + f"pageToken={token}"


def test_a_page_token_of_another_tenant_is_none(tenants):
    one, other = tenants
    for asked in ("/api/v1/entries?limit=1", "/api/v1/environments?pageSize=1"):
        token = other.both.get(asked).json()["nextPageToken"]
        answer = one.both.get(f"{asked}&pageToken={token}")
        assert answer.status_code == 400 and answer.json()["code"] == "INVALID_PAGE_TOKEN", answer.text


def test_a_stream_is_as_if_the_tenant_were_alone(tenants):
    for tenant, other in (tenants, tenants[::-1]):
        last, told = len(tenant.events) - 1, []
        for asked in (tenant.both, tenant.alone):
            taken = Stream(asked, views=VIEWS, **{"from": "0"}).take_until(last)
            text = json.dumps(taken)
            assert other.mark not in text.lower()
            told.append(asked.pattern.sub(lambda found, words=asked.words: words[found[0]], text))
        assert told[0] == told[1]
        assert tenant.mark in told[0], "it tells of this tenant"


def test_a_pack_is_as_if_the_tenant_were_alone(tenants):
    for tenant, other in (tenants, tenants[::-1]):
        digests = [names[0] for history in tenant.histories for names in history.manifests]
        packs = []
        for asked in (tenant.both, tenant.alone):
            made = asked.post("/api/v1/lineage/export", json={"artifactDigests": digests})
            assert made.status_code == 200, made.text
            pack = zipfile.ZipFile(io.BytesIO(asked.get(made.json()["downloadUrl"]).content))
            plain = lambda name, pack=pack, asked=asked: asked.pattern.sub(lambda found: asked.words[found[0]], pack.read(name).decode())
            packs.append({name: plain(name) if name.startswith(("answers/", "documents/")) else "" for name in pack.namelist()})
            everything = [pack.read(name) for name in pack.namelist()]
            assert not [part for part in everything if other.mark.encode() in part.lower()]
            assert [part for part in everything if tenant.mark.encode() in part], "it tells of this tenant"
        assert packs[0] == packs[1]
        refused = other.both.get(made.json()["downloadUrl"])
        assert refused.status_code == 404, refused.text


def test_metrics_name_no_thing_of_a_tenant(tenants):
    for tenant in tenants:
        text = tenant.both.get("/metrics").text.lower()
        assert not [word for word in (*MARKS.values(), "sha256:", "cve-2024", "pkg:") if word in text]
