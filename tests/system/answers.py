"""What a build answers about all corpora, as hashes by question: recorded once, and compared with every later build.

    python answers.py record BINARY          writes answers.tsv
    python answers.py differ OLD NEW [N]     the first N answers that two builds give differently, as lines of a diff
"""

import difflib
import gzip
import hashlib
import json
import random
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import corpus
import pedigraph
from pedigraph import NDJSON, Node, deployed
from test_govuk import stamp
from test_images import packaged

RECORDED = Path(__file__).parent / "answers.tsv"
SEED = 15
# Folders that corpus.py leaves out, as bare documents.
MORE = ("csaf", "grype", "osv-scanner", "osv", "trustify", "openvex")
# Another build may say more about a thing: names of fields that the recorded build knows nothing of are left out.
VARYING = {"leafHash", "elapsedMs", "recordedAt", "nextPageToken", "href", "endToEndMs", "pageToken"}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
# The corpora say nothing of later days, but for a few that are set to the time of recording.
RECORDING = "2026-11-01"
PAGES_MAX = 8
# Deployed artifacts that are asked about; each other one is in their answers, or the neighbour of one.
DEPLOYED_MAX = 250
ASKED_AT_ONCE = 4
HASH_HEX = 10
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


# Everything that is folded, in one order.


def sent(root):
    """(body, content type, headers) of each request."""
    for message in corpus.everything(root):
        headers = {name.replace("ce_", "ce-"): value.decode() for name, value in message.headers}
        yield message.value, headers.pop("content-type", "application/json"), headers
    for folder in MORE:
        for file in sorted((root / folder).rglob("*.json")):
            yield file.read_bytes(), "application/json", {}
    builds = json.loads((root / "docker-official-images/builds.json").read_text()).values()
    images = [packaged(build) for build in builds if (build["build"].get("resolved") or {}).get("manifest")]
    yield from batches(images)
    with gzip.open(root / "govuk/staging-deployments.jsonl.gz") as lines:
        rows = [json.loads(line) for line in lines]
    yield from batches([deployment(number, row) for number, row in enumerate(rows)])


def deployment(number, row):
    """A real deployment; what it deployed has a digest made of its tag, so that lines and artifacts are known too."""
    ref = f"r.example/govuk/{row['service']}:{row['to']}"
    digest = "sha256:" + hashlib.sha256(ref.encode()).hexdigest()
    more = {"artifactDigest": digest} if number % 3 else {}
    return deployed(row["service"], ref, row["environment"], id_=f"govuk-{number}", source="govuk", time_=stamp(row["time"]), **more)


def batches(events):
    for first in range(0, len(events), 1_000):
        yield "\n".join(map(json.dumps, events[first : first + 1_000])).encode(), NDJSON, {}


def load(node, root):
    for body, kind, headers in sent(Path(root)):
        answer = node.post(body or b"", kind, headers=headers)
        assert answer.status_code < 500, answer.text[:300]
    node.wait_visible(240)


# What is asked. Each question is (kind, key, path): the key is what the recording keeps of it.


def artifacts(node, chance):
    """Digests that entries are about: all of documents, some of the many that were deployed."""
    documents, deployments = set(), set()
    for entry in node.entries(pageSize=1_000):
        if DIGEST.fullmatch(entry.get("subject", "")):
            (deployments if entry["type"] == "ServiceDeployed" else documents).add(entry["subject"])
    return sorted(documents) + chance.sample(sorted(deployments - documents), DEPLOYED_MAX)


def questions(node, root):
    chance, size = random.Random(SEED), node.size()
    digests, moments = artifacts(node, chance), [stamp(1_640_000_000 + n * 22_000_000) for n in range(7)]
    for digest in digests:
        yield "artifact", digest[7:19], f"/api/v1/artifacts/{digest}"
        yield "trace", digest[7:19], f"/api/v1/trace?ref={digest}"
        yield "lineage", digest[7:19], f"/api/v1/lineage/{digest}?maxDepth=3"
    for digest in chance.sample(digests, 150):
        index, moment = chance.randrange(size), chance.choice(moments)
        yield "artifact as of", f"{digest[7:19]} {index}", f"/api/v1/artifacts/{digest}?asOf={index}"
        yield "lineage as of", f"{digest[7:19]} {index}", f"/api/v1/lineage/{digest}?maxDepth=3&asOf={index}"
        yield "artifact at", f"{digest[7:19]} {moment}", f"/api/v1/artifacts/{digest}?at={moment}"
        yield "trace at", f"{digest[7:19]} {moment}", f"/api/v1/trace?ref={digest}&at={moment}"
    yield from of_environments(node, moments, size)
    yield from of_components(root)
    yield from of_texts(node, digests)


def of_environments(node, moments, size):
    yield "environments", "", "/api/v1/environments?pageSize=1000"
    for row in node.json("/api/v1/environments", pageSize=1_000)["environments"]:
        name = row["environment"]
        path = f"/api/v1/environments/{quote(name, safe='')}"
        yield "environment", name, path
        yield "removed", name, path + "?includeRemoved=true"
        yield "changes", name, path + "/changes?pageSize=1000"
        for number, moment in enumerate(moments):
            index = size * (number + 1) // (len(moments) + 1)
            yield "environment at", f"{name} {moment}", f"{path}?at={moment}"
            yield "environment as of", f"{name} {index}", f"{path}?asOf={index}"
            yield "environment at, as of", f"{name} {moment} {index}", f"{path}?at={moment}&asOf={index}"
            yield "changes at, as of", f"{name} {moment} {index}", f"{path}/changes?at={moment}&asOf={index}&pageSize=50"
        for state in node.json(path)["services"]:
            for ref in (f"{name}/{state['service']}", f"{name}~2/{state['service']}"):
                yield "trace of a service", ref, f"/api/v1/trace?ref={quote(ref, safe='')}"


def of_components(root):
    found = set()
    for file in sorted((root / "cyclonedx").rglob("*.json")):
        found |= set(re.findall(r'"purl"\s*:\s*"(pkg:[^"]+)"', file.read_text(errors="replace")))
    plain = sorted(purl for purl in found if "\\" not in purl)
    for purl in plain[::25]:
        yield "impact", purl, f"/api/v1/components/impact?purl={quote(purl, safe='')}&pageSize=1000"
        without = purl.partition("?")[0].rpartition("@")[0] or purl
        yield "impact of any version", without, f"/api/v1/components/impact?purl={quote(without, safe='')}&pageSize=1000"
        if without.startswith("pkg:npm/"):
            query = f"purl={quote(without, safe='')}&versions={quote('vers:npm/<2', safe='')}&pageSize=1000"
            yield "impact of a range", without, f"/api/v1/components/impact?{query}"
    yield "impact", "nobody has it", "/api/v1/components/impact?purl=pkg:npm/nobody-has-this"


def of_texts(node, digests):
    texts = {"prod", "staging", "nothing of this name", "r.example/govuk", "CVE-2021-44228", "0000"}
    for digest in digests[::5]:
        texts |= {digest, digest[7:17]}
        known = node.json(f"/api/v1/artifacts/{digest}")
        texts |= {known["artifactRef"], known["artifactRef"].rpartition("/")[2]}
        texts |= {str(item.get("id", ""))[:40] for item in (known.get("commit"), known.get("run")) if item}
    states = node.json("/api/v1/environments/staging")["services"]
    texts |= {state["service"] for state in states}
    for text in sorted(texts - {""}):
        yield "resolve", text, f"/api/v1/resolve?q={quote(text, safe='')}"


# What is answered, without what differs from one recording to the next.


def ask(node, path):
    """The answer with all its pages, as far as they go; the code of a problem."""
    answer = node.get(path)
    if answer.status_code != 200:
        return {"status": answer.status_code, "code": answer.json().get("code")}
    whole = answer.json()
    # When it was recorded, statements stood where verdicts are now.
    if "statements" in whole:
        whole["verdicts"] = whole.pop("statements")
    token, pages = whole.get("nextPageToken"), 1
    while token and pages < PAGES_MAX:
        more = node.json(path.partition("?")[0] + "?" + path.partition("?")[2] + f"&pageToken={token}")
        for name, rows in more.items():
            if isinstance(rows, list):
                whole[name] = whole.get(name, []) + rows
        token, pages = more.get("nextPageToken"), pages + 1
    return whole


def normal(value):
    if isinstance(value, dict):
        return {name: normal(of) for name, of in sorted(value.items()) if name not in VARYING}
    if isinstance(value, list):
        return [normal(of) for of in value]
    return "recorded" if isinstance(value, str) and TIME.match(value) and value > RECORDING else value


def known(value, names):
    """Without fields that nobody knew."""
    if isinstance(value, dict):
        return {name: known(of, names) for name, of in value.items() if name in names}
    return [known(of, names) for of in value] if isinstance(value, list) else value


def names_of(value):
    if isinstance(value, dict):
        return set(value).union(*map(names_of, value.values()))
    return set().union(*map(names_of, value)) if isinstance(value, list) else set()


def hash_of(value):
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:HASH_HEX]


def answers(node, root):
    """{(kind, key): answer} of every question."""
    asked = list(questions(node, Path(root)))
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        found = list(pool.map(lambda question: normal(ask(node, question[2])), asked))
    return {(kind, key): answer for (kind, key, _), answer in zip(asked, found, strict=True)}


def is_refused(answer):
    """Whether the build could not afford the answer: another may."""
    return answer.get("code") in ("QUERY_TOO_EXPENSIVE", "ANSWER_TOO_LARGE")


def write(found, path=RECORDED):
    names, lines = {}, []
    for (kind, key), answer in found.items():
        names.setdefault(kind, set()).update(names_of(answer))
        lines.append(f"{kind}\t{key}\t{'-' if is_refused(answer) else hash_of(answer)}")
    heads = [f"{kind}\t\tnames {' '.join(sorted(of))}" for kind, of in sorted(names.items())]
    path.write_text("\n".join([*heads, *sorted(lines)]) + "\n")


def read(path=RECORDED):
    """The names of fields by kind, and {(kind, key): hash}."""
    names, hashes = {}, {}
    for line in path.read_text().splitlines():
        kind, key, value = line.split("\t")
        if value.startswith("names"):
            names[kind] = set(value.split(" ")[1:])
        else:
            hashes[kind, key] = value
    return names, hashes


# By hand.


def of_build(binary, root=pedigraph.CORPORA):
    pedigraph.BINARY = Path(binary).resolve()
    with tempfile.TemporaryDirectory() as directory:
        node = Node(Path(directory) / "data").start()
        try:
            load(node, root)
            return answers(node, root)
        finally:
            node.kill()


def differ(old, new, most=20):
    lines = lambda value: json.dumps(value, indent=1, sort_keys=True).split("\n")
    before, after = of_build(old), of_build(new)
    different = [question for question in before if known(after.get(question), names_of(before[question])) != before[question]]
    for question in different[: int(most)]:
        print(*question)
        print(*difflib.unified_diff(lines(before[question]), lines(after.get(question)), "old", "new", lineterm="", n=2), sep="\n")
    print(f"{len(different)} of {len(before)} differ")


if __name__ == "__main__":
    {"record": lambda binary: write(of_build(binary)), "differ": differ}[sys.argv[1]](*sys.argv[2:])
