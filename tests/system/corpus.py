"""Real documents as Kafka messages, with what is expected of each."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from pedigraph import digest

CI, CD, SCANNER, RUNTIME = "pedigraph.ci", "pedigraph.cd", "pedigraph.scanner", "pedigraph.runtime"
TOPICS = (CI, CD, SCANNER, RUNTIME)


@dataclass
class Message:
    """`identity`: messages of one identity are the same event. `group`: of these, the first is accepted, the others conflict."""

    name: str
    topic: str
    value: bytes | None
    headers: list = field(default_factory=list)
    identity: str = ""
    group: str = ""
    codes: tuple = ()

    def __post_init__(self):
        self.identity = self.identity or self.name
        self.group = self.group or self.identity


def structured(name, topic, event, **more):
    headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    return Message(name, topic, json.dumps(event).encode(), headers, **more)


def binary(name, topic, attributes, data, **more):
    headers = [(f"ce_{key}", value.encode()) for key, value in attributes.items()] + [("content-type", b"application/json")]
    return Message(name, topic, data, headers, **more)


def cdevents(root):
    """Each bare, structured and binary."""
    for file in sorted((root / "cdevents/conformance").glob("*.json")):
        body = file.read_bytes()
        event = json.loads(body)
        context = event["context"]
        topic = CD if context["type"].split(".")[2] in ("service", "environment") else CI
        # The conformance events share one id: same id, other bytes.
        yield Message(f"{file.stem} bare", topic, body, group=f"{context['source']} {context['id']}")
        for form in ("structured", "binary"):
            id_ = f"{context['id']}-{file.stem}-{form}"
            inner = {**event, "context": {**context, "id": id_}}
            attributes = {"specversion": "1.0", "id": id_, "source": context["source"], "type": context["type"],
                          "time": context["timestamp"], "subject": event["subject"]["id"]}
            if form == "structured":
                yield structured(f"{file.stem} structured", topic, {**attributes, "datacontenttype": "application/json", "data": inner})
            else:
                yield binary(f"{file.stem} binary", topic, attributes, json.dumps(inner).encode())


def documents(root):
    """SBOMs, VEX, provenance, scans as they are."""
    for folder, pattern, topic in (
        ("cyclonedx", "**/*.json", SCANNER),
        ("openvex", "**/*.json", SCANNER),
        ("slsa", "**/*.jsonl", CI),
        ("trivy", "**/*.golden", SCANNER),
    ):
        for file in sorted((root / folder).glob(pattern)):
            body, name = file.read_bytes(), str(file.relative_to(root))
            yield Message(name, topic, body, identity=f"{folder} {hash_of(body)}", codes=codes_of(file, body))


def with_subject(root):
    """Documents about an artifact that they do not name themselves."""
    for number, file in enumerate(sorted((root / "trivy").glob("**/*.golden"))):
        body, subject = file.read_bytes(), digest(0x7000 + number % 3)
        yield Message(f"{file.relative_to(root)} with subject", SCANNER, body, [("pedigraph-subject", subject.encode())],
                      identity=f"subject {hash_of(body)}@{subject}")


def codes_of(file, body):
    """Documents that cannot be accepted as they are."""
    if "/vsa/" in str(file):
        return ("DIGEST_INVALID",)  # its only subject is named by the number of a cloud image, which is no digest
    if file.suffix == ".golden":
        report = json.loads(body)
        image = (report.get("Metadata") or {}).get("ImageID") or (report.get("Metadata") or {}).get("RepoDigests")
        if "bomFormat" not in report and not image:
            return ("SUBJECT_MISSING",)
    return ()


def runtime():
    """Types of our own, in both forms, and types that nobody knows."""
    for n in range(20):
        yield structured(f"deployed {n}", RUNTIME, {
            "specversion": "1.0", "id": f"deployed-{n}", "source": "corpus", "type": "io.pedigraph.service-deployed.v1",
            "time": f"2026-01-01T00:00:{n:02d}Z", "datacontenttype": "application/json",
            "data": {"service": f"svc-{n % 5}", "environment": "corpus", "artifactRef": f"r.example/app:{n}"}})
        yield binary(f"unknown {n}", RUNTIME, {"specversion": "1.0", "id": f"unknown-{n}", "source": "corpus", "type": "com.example.unknown"}, b'{"n": %d}' % n)


def hash_of(body):
    return hashlib.sha256(body).hexdigest()


def everything(root):
    root = Path(root)
    return [*cdevents(root), *documents(root), *with_subject(root), *runtime()]
