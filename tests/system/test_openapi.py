"""The OpenAPI document: valid for a validator that is not ours, and every operation fuzzed from it (SPEC §8).

The server holds what the demo tells. Half of the parameters are drawn from the document, half are what that server
knows, so that both a question's refusal and its answer are looked at. A seed repeats a run: PEDIGRAPH_SEED.
"""

import itertools
import json
import os
import random
import re
import time
from urllib.parse import quote

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pedigraph import ROOT, deployed, until

SEED = int(os.environ.get("PEDIGRAPH_SEED", "16"))
# Of each operation and kind of data, good and bad. All together take less than a minute.
EXAMPLES = int(os.environ.get("PEDIGRAPH_EXAMPLES", "60"))
# Boundary values that schemathesis makes of each operation, at most.
COVERED = 80
REQUEST_SECONDS = 20
DOCUMENT = json.loads((ROOT / "query-api" / "openapi.json").read_text())
LEFT_OUT = {
    "subscribe": "its stream never ends; test_stream_* of test_http.py read it",
    "eraseBody": "it destroys what the other questions are asked about; test_erase_and_keys.py",
}
# Each of its good requests makes an entry that says the same reject again: 422.
ALWAYS_REFUSED = {"replayReject"}
# `minIndex` above the head waits for two seconds: this operation alone is asked so, and no more often than this.
WAITS, WAITS_MAX = "getFreshness", 3
CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}
CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]


def operations():
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield operation["operationId"], path, method


def strict():
    """The document without `default` answers, so that each status must be named where it may be answered."""
    document = json.loads(json.dumps(DOCUMENT))
    for _, path, method in operations():
        del document["paths"][path][method]["responses"]["default"]
    return document


SETTINGS = settings(
    max_examples=EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink]
)
CONFIG = SchemathesisConfig.from_dict({"generation": {"database": "none"}, "cache": {"enabled": False}})
SCHEMA = schemathesis.openapi.from_dict(strict(), config=CONFIG)


@schemathesis.serializer("application/x-ndjson", "application/vnd.in-toto+json", "application/protobuf")
def as_lines(_, value):
    lines = value if isinstance(value, list) else [value]
    return b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)



def test_it_is_valid_and_the_server_s(story):
    assert not [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    assert requests.get(story.url + "/openapi.json", timeout=REQUEST_SECONDS).json() == DOCUMENT


class Story:
    """What the demo's server knows, by the names of parameters."""

    def __init__(self, url):
        self.url, self.session, self.waited, self.asked = url, requests.Session(), 0, 0
        entries = self.ask("/api/v1/entries?limit=1000")["entries"]
        self.size = len(entries)
        digests = sorted({entry["subject"] for entry in entries if entry.get("subject", "").startswith("sha256:")})
        details = [self.ask(f"/api/v1/artifacts/{digest}") for digest in digests]
        named = lambda member: [artifact[member]["id"] for artifact in details if member in artifact]
        environments = [row["environment"] for row in self.ask("/api/v1/environments")["environments"]]
        references = [*digests, *(artifact["artifactRef"] for artifact in details), "prod/cart", "prod", digests[0][:16]]
        purls = ["pkg:npm/lodash", "pkg:npm/lodash@4.17.21", "pkg:maven/org.apache.logging.log4j/log4j-core"]
        vulnerabilities = ["CVE-2021-44228", "GHSA-jfh8-c2jp-5v3q", "ghsa-jfh8-c2jp-5v3q", "CVE-1999-0001"]
        packed = {"artifactDigests": digests[:2], "includeAttestations": False}
        size = until(lambda: (signed := self.ask("/api/v1/freshness")["head"]["checkpointSize"]) >= self.size and signed, "a checkpoint")
        pack = self.session.post(url + "/api/v1/lineage/export", json=packed, timeout=REQUEST_SECONDS).json()
        indexes = list(range(self.size)) + [self.size + 1_000]
        tokens = [self.ask(path).get("nextPageToken", "") for path in (
            "/api/v1/environments?pageSize=1", "/api/v1/environments/prod?pageSize=1", "/api/v1/entries?limit=1",
            "/api/v1/environments/prod/changes?pageSize=1", "/api/v1/environments/prod/diff?with=staging&pageSize=1", f"/api/v1/components/impact?purl={purls[0]}&pageSize=1",
            "/api/v1/vulnerabilities/CVE-2021-44228/impact?pageSize=1",
        )]
        assets = re.search(r"/assets/([^/\"]+)", self.session.get(url, timeout=REQUEST_SECONDS).text)[1]
        moments = [entry["occurredAt"] for entry in entries[::5]]
        self.values = {
            "digest": references, "ref": references, "from": references, "to": references, "subject": digests,
            "env": environments, "environment": environments, "moment": [*moments, "2h"], "next": ["/entries"], "purl": purls, "id": vulnerabilities, "index": indexes,
            "q": [*references, *purls, *vulnerabilities, "cart"], "commit": named("commit"), "run": named("run"),
            "versions": ["vers:npm/>=4.0.0|<5.0.0", "vers:maven/<2.17.0", "*"],
            "pageToken": tokens, "at": [*moments, "2h", "1d"], "asOf": [*moments, *map(str, range(self.size)), "2h"],
            "a": references, "b": references, "with": environments, "service": ["cart", "invoices", "nothing"], "cve": vulnerabilities,
            "sbomVersionId": [sbom["id"] for artifact in details for sbom in artifact["sboms"]], "tenant": ["default"], "minIndex": [0, 1, self.size - 1],
            "version": [assets], "name": ["style.css", "page.js"], "type": ["SbomAttached"],
            "path": [f"0/000.p/{size}", f"000.p/{size}", "0/000"], "wait": ["durable", "visible"],
            "format": ["cyclonedx", "openvex"], "Pedigraph-Subject": digests,
        }
        self.by_operation = {
            ("getExport", "digest"): [pack["bundleDigest"]], ("evidencePackPage", "digest"): [pack["bundleDigest"]],
            ("componentImpactPage", "format"): ["csv"], ("vulnerabilityPage", "format"): ["csv"],
            ("getEnvironmentDiff", "from"): [*moments, "2h"], ("getEnvironmentDiff", "to"): [*moments, "30m"],
            ("listEntries", "from"): indexes, ("getConsistency", "from"): [1, size], ("getConsistency", "to"): [1, size],
        }
        self.bodies = {"exportLineage": [packed], "makeEvidencePack": [{"artifact": digests[:2]}], "postEvents": [deployed("fuzzed", "r.example/fuzzed:1")], "postDocument": [CYCLONEDX]}

    def ask(self, path):
        answer = self.session.get(self.url + path, timeout=REQUEST_SECONDS)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def tell(self, case, draw):
        """Half of what the server may know is something that it does."""
        name = case.operation.definition.raw["operationId"]
        for parameters in (case.path_parameters, case.query, case.headers):
            for parameter in sorted(parameters or ()):
                known = self.by_operation.get((name, parameter)) or self.values.get(parameter)
                if known and draw.random() < 0.5:
                    value = draw.choice(known)
                    parameters[parameter] = quote(value, safe="") if parameters is case.path_parameters and isinstance(value, str) else value
        if name in self.bodies and draw.random() < 0.5:
            case.body = draw.choice(self.bodies[name])
        self.spare(name, case)

    def spare(self, name, case):
        """An answer that waits for what will never be takes two seconds."""
        if case.query and "minIndex" in case.query:
            self.waited += name == WAITS
            if name != WAITS or self.waited > WAITS_MAX:
                case.query["minIndex"] = 0


@pytest.fixture(scope="module")
def story(demo, figures):
    print(f"PEDIGRAPH_SEED={SEED}")
    begun, told = time.monotonic(), Story(demo.url)
    yield told
    figures.append(f"OpenAPI: {told.asked} requests made from it in {time.monotonic() - begun:.0f} s, PEDIGRAPH_SEED={SEED}")


CODES = DOCUMENT["components"]["schemas"]["Code"]["enum"]
PROBLEM = "application/problem+json"


def problems_are_problems(_, response, case):
    """Errors are RFC 9457 problems with a code; 5xx only where a client may try again, and is told when (SPEC §2.2, §8)."""
    if response.status_code < 400:
        return
    kind = response.headers["content-type"][0].split(";")[0]
    declared = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    if kind != PROBLEM and kind in declared.get("content", {}):
        return
    assert kind == PROBLEM, f"{response.status_code} is {kind}"
    body = json.loads(response.content)
    assert body["status"] == response.status_code and body["code"] in CODES and body["instance"], body
    assert response.headers["x-request-id"] == [body["instance"]], body
    if response.status_code >= 500:
        assert response.status_code == 503 and response.headers["retry-after"], body


CHECKS.append(problems_are_problems)


def can_be_wrong(path, method):
    """Whether a request may have what the document does not allow: in a path whatever is sent is a text."""
    operation = DOCUMENT["paths"][path][method]
    parameters = [pointed(parameter) for parameter in operation.get("parameters", ())]
    return "requestBody" in operation or any(p["in"] != "path" or p["schema"].get("type") != "string" for p in parameters)


def pointed(parameter):
    return DOCUMENT["components"]["parameters"][parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter


@pytest.mark.parametrize(("name", "path", "method"), [known for known in operations() if known[0] not in LEFT_OUT])
def test_every_operation_answers_as_it_says(story, name, path, method):
    operation, statuses = SCHEMA[path][method], set()

    def ask(case, draw):
        story.tell(case, draw)
        response = case.call(base_url=story.url, session=story.session, timeout=REQUEST_SECONDS, allow_redirects=False)
        statuses.add(response.status_code)
        story.asked += 1
        case.validate_response(response, checks=CHECKS)

    draw = random.Random(SEED)
    generation = CONFIG.projects.default.generation
    covered = SCHEMA.iter_coverage_cases(operation, generation_modes=list(GenerationMode), generation_config=generation)
    for case in itertools.islice(covered, COVERED):
        ask(case, draw)

    modes = list(GenerationMode) if can_be_wrong(path, method) else [GenerationMode.POSITIVE]
    for mode in modes:
        @seed(SEED)
        @SETTINGS
        @given(case=operation.as_strategy(generation_mode=mode), draw=st.randoms(use_true_random=False))
        def fuzz(case, draw):
            ask(case, draw)

        fuzz()
    assert any(status < 400 for status in statuses) or name in ALWAYS_REFUSED, f"only refused: {statuses}"
