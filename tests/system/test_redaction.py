"""Secrets in whatever is sent, in every way in: none is in an answer, a page, the log or the ledger's files afterwards.
Only what somebody signed in base64 is kept as it came, and is no answer."""

import base64
import json

import pytest

from pedigraph import BATCH, deployed, digest, raw

SUBJECT = digest(77)
TENANT_PAGES = ("/", "/environments", "/components")


def token(seed):
    """Of npm; put together here, so that nothing in this file looks like one."""
    return "npm_" + (seed * 36)[:36]


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def binary(id_, source="/ci", **more):
    return {"ce-specversion": "1.0", "ce-id": id_, "ce-source": source, "ce-type": "com.example.built", **more}


def statement(secret):
    return json.dumps({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "r.example/app", "digest": {"sha256": SUBJECT.split(":")[1]}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://build.example/type",
                "resolvedDependencies": [{"uri": f"git+https://bot:{secret}@git.example/app", "digest": {"gitCommit": "cd" * 20}}],
            },
            "runDetails": {"builder": {"id": "https://build.example/"}, "metadata": {"invocationId": f"run NPM_TOKEN={secret}"}},
        },
    })


def structured(secret):
    event = deployed("redacted", f"r.example/app@{SUBJECT}", "redact-env", id_=f"deploy {secret}")
    event["data"]["actor"] = f"NPM_TOKEN={secret}"
    return {"body": json.dumps(event).encode(), "content_type": "application/cloudevents+json"}


def escaped(secret):
    event = deployed("redacted", f"r.example/app@{SUBJECT}", f"https://bot:{secret}@env.example", id_="escaped")
    body = json.dumps(event).replace("/", "\\/").replace("npm_", "npm\\u005f")
    return {"body": body.encode(), "content_type": "application/cloudevents+json"}


def in_headers(secret):
    headers = binary(f"job-7%20{secret}", f"https://ci:{secret}@ci.example", **{"ce-subject": secret, "ce-note": secret})
    return {"body": b'{"a":1}', "content_type": "application/json", "headers": headers}


def in_batch(secret):
    events = [deployed("redacted", f"r.example/app@{SUBJECT}", "redact-env", id_=f"batch {n} {secret}") for n in range(2)]
    return {"body": json.dumps(events).encode(), "content_type": BATCH}


def in_base64(secret):
    event = deployed("redacted", f"r.example/app@{SUBJECT}", "redact-env", id_="base64")
    data = event.pop("data")
    event["data_base64"] = encoded(json.dumps({**data, "actor": f"NPM_TOKEN={secret}"}))
    return {"body": json.dumps(event).encode(), "content_type": "application/cloudevents+json"}


def beside(secret):
    return {"body": b'{"bomFormat":"CycloneDX","specVersion":"1.6","components":[]}', "subject": f"sha256:{secret}"}


def signed(secret):
    envelope = {"payloadType": "application/vnd.in-toto+json", "payload": encoded(statement(secret)), "signatures": [{"sig": "bm8="}]}
    return {"body": raw(envelope)}


def signed_in_base64(secret):
    event = deployed("redacted", "r.example/app:1", id_="signed in base64")
    event.update(type="dev.example.attested", data_base64=encoded(signed(secret)["body"].decode()))
    del event["data"]
    return {"body": json.dumps(event).encode(), "content_type": "application/cloudevents+json"}


def rejected(secret):
    headers = binary(f"reject {secret}") | {"ce-specversion": f"9 {secret}"}
    return {"body": b"x", "content_type": "application/json", "headers": headers, "format": f"NPM_TOKEN={secret}"}


def of_no_version(secret):
    return {name: value for name, value in rejected(secret).items() if name != "format"}


def not_a_batch(secret):
    return {"body": json.dumps(f"NPM_TOKEN={secret}").encode(), "content_type": BATCH}


WAYS = [structured, escaped, in_headers, in_batch, in_base64, beside, signed, signed_in_base64, rejected, of_no_version, not_a_batch]


def whatever_is_answered(node):
    """Every answer and page in which something of what was sent could stand."""
    size = node.size()
    paths = [f"/api/v1/entries?limit={size}", "/api/v1/intake", "/metrics", "/api/v1/environments", *TENANT_PAGES]
    for index in range(size):
        paths += [f"/api/v1/entries/{index}", f"/api/v1/entries/{index}/body", f"/entries/{index}"]
    artifact = f"/api/v1/artifacts/{SUBJECT}"
    paths += [artifact, f"{artifact}/lineage", f"/artifacts/{SUBJECT}", f"/api/v1/resolve?ref={SUBJECT}", f"/api/v1/trace?ref={SUBJECT}"]
    paths += ["/api/v1/search?q=npm", "/search?q=npm", "/ledger/default/checkpoint"]
    return {path: node.get(path) for path in paths}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_secret_is_told_in_any_way(nodes, way):
    secret = token("a1B2c3D4e")
    hidden = secret.removeprefix("npm_")
    node = nodes(env={"RUST_LOG": "debug"})
    sent = node.post(**way(secret), wait="visible")
    assert sent.status_code in (201, 207, 422), sent.text
    answers = {"the receipt": sent, **whatever_is_answered(node)}
    assert sum(answer.status_code == 200 for answer in answers.values()) > 6, {p: a.status_code for p, a in answers.items()}
    for what, answer in answers.items():
        assert hidden not in answer.text, f"{what}: {answer.text}"
    rows = sent.json().get("results", [sent.json()])
    assert all(row["redaction"]["count"] >= 1 for row in rows), rows
    node.stop()
    assert hidden not in node.log.read_text(), "the log"
    files = [path for path in node.data.rglob("*") if path.is_file()]
    assert [path for path in files if hidden.encode() in path.read_bytes()] == []


def with_fields(value):
    """In an event, its headers, its data in base64, a batch, and something signed: what no rule would know."""
    event = deployed("redacted", f"r.example/app@{SUBJECT}", value, id_=f"{value} of fields")
    event["data"]["deploy"] = {"keys": [{"Pass\u00e9": value}, 7], "other": "kept"}
    data = {name: event[name] for name in event if name != "data"}
    data = {**data, "id": "base64", "data_base64": encoded(json.dumps({**event["data"], "environment": value}))}
    predicate = statement("x:y").replace("run NPM_TOKEN", f"run {value}")
    envelope = {"payloadType": "application/vnd.in-toto+json", "payload": encoded(predicate), "signatures": [{"sig": "bm8="}]}
    return [
        {"body": json.dumps(event).encode(), "content_type": "application/cloudevents+json"},
        {"body": b'{"a":1}', "content_type": "application/json", "headers": binary("headers", **{"ce-note": value, "x-note": value})},
        {"body": json.dumps(data).encode(), "content_type": "application/cloudevents+json"},
        {"body": json.dumps([{**event, "id": f"{value} {n}"} for n in range(2)]).encode(), "content_type": BATCH},
        {"body": raw(envelope)},
        {"body": json.dumps({"no": "format", "note": [{"of": value}]}).encode()},
    ]


FIELDS = "id,environment,deploy.keys,note,invocationId"


def test_configured_fields_are_overwritten_wherever_they_stand(nodes):
    value = "hunter-zwei"
    node = nodes(env={"RUST_LOG": "debug", "PEDIGRAPH_REDACT_FIELDS": FIELDS})
    for number, way in enumerate(with_fields(value)):
        sent = node.post(**way, wait="visible")
        assert sent.status_code == (422 if number == 5 else 201), sent.text
        assert all(row["redaction"]["count"] >= 1 for row in sent.json().get("results", [sent.json()])), sent.text
        assert value not in sent.text
    signed_index = 5
    for what, answer in whatever_is_answered(node).items():
        assert value not in answer.text or what == f"/api/v1/entries/{signed_index}/body", f"{what}: {answer.text}"
    body = node.get("/api/v1/entries/0/body").json()
    assert body["data"]["deploy"] == {"keys": [{"Pass\u00e9": "*" * len(value)}, 0], "other": "kept"}
    names = [row["id"] for row in node.entries() if row["id"].startswith("*")]
    assert len(names) == len(set(names)) == 5, names
    node.restart()
    again = node.post(**with_fields(value)[0])
    assert (again.status_code, again.json()["index"]) == (200, 0), "it is a duplicate, also after a restart"
    node.stop()
    assert value not in node.log.read_text(), "the log"


def test_a_field_that_cannot_be_is_refused(nodes):
    with pytest.raises(AssertionError, match="(?s)exited with 2 .*redact.fields"):
        nodes(options=["--redact-fields", "a..b"])


def test_the_data_of_an_event_is_overwritten_and_what_was_signed_is_kept(nodes):
    node = nodes()
    for number, way in enumerate((in_base64, signed)):
        sent = way(token("f5G6"))["body"]
        entry = node.post(**way(token("f5G6")), wait="visible").json()
        kept = node.get(f"/api/v1/entries/{number}/body").content
        row = node.json(f"/api/v1/entries/{number}")
        row = row.get("entry", row)
        assert (kept == sent) == (way is signed), way
        assert (row["redaction"]["receivedDigest"] == row["bodyDigest"]) == (way is signed), row
        assert entry["redaction"]["count"] == row["redaction"]["count"]


@pytest.mark.parametrize("way", [structured, in_headers, beside, of_no_version], ids=lambda way: way.__name__)
def test_messages_whose_names_differ_only_in_a_secret_are_two(nodes, way):
    node = nodes()
    sent = lambda secret: node.post(**way(token(secret))).json()
    one, other = sent("h7J8"), sent("k9L1")
    assert one["index"] != other["index"] and "conflictsWith" not in other, (one, other)
    node.restart()
    again = sent("h7J8")
    assert (again["index"], again["eventId"]) == (one["index"], one["eventId"])
    assert node.size() == 2, "it is a duplicate, also after a restart"
