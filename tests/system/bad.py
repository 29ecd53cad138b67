"""Input that must be refused, each with the codes that fit. The same list goes over HTTP and over Kafka."""

import bz2
import gzip
import json
import lzma
import zlib

import zstandard

BOMB = b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "padding": "' + b"0" * (24 << 20) + b'"}'
CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}


def raw(value):
    return json.dumps(value).encode()


def deep(levels, open_, close):
    return b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "x": ' + open_ * levels + close * levels + b"}"


def documents():
    """(name, bytes, codes): bare documents that are refused."""
    yield "truncated", b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"na', ("MALFORMED_JSON",)
    yield "only a bracket", b"[", ("MALFORMED_JSON",)
    yield "trailing bytes", raw(CYCLONEDX) + b"}}", ("MALFORMED_JSON",)
    yield "deep arrays", deep(10_000, b"[", b"]"), ("TOO_DEEP",)
    yield "deep objects", deep(10_000, b'{"a":', b"}").replace(b":}", b":1}"), ("TOO_DEEP",)
    yield "deep and cut off", b"[" * 10_000, ("TOO_DEEP", "MALFORMED_JSON")
    yield "invalid UTF-8", b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "name": "\xff\xfe\x80"}', ("MALFORMED_JSON", "SCHEMA_VIOLATION")
    yield "lone surrogate bytes", b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "name": "\xed\xa0\x80"}', ("MALFORMED_JSON", "SCHEMA_VIOLATION")
    yield "binary rubbish", bytes(range(256)) * 8, ("MALFORMED_JSON", "UNSUPPORTED_FORMAT", "MALFORMED_ENVELOPE")
    yield "a number", b"42", ("UNSUPPORTED_FORMAT", "MALFORMED_JSON")
    yield "null", b"null", ("UNSUPPORTED_FORMAT", "MALFORMED_JSON", "MALFORMED_ENVELOPE")
    yield "unknown JSON", b'{"what": "is this"}', ("UNSUPPORTED_FORMAT",)
    yield "wrong bomFormat type", raw({**CYCLONEDX, "bomFormat": 7}), ("SCHEMA_VIOLATION", "UNSUPPORTED_FORMAT")
    yield "wrong version type", raw({**CYCLONEDX, "specVersion": {"a": 1}}), ("SCHEMA_VIOLATION", "UNSUPPORTED_VERSION")
    yield "components a string", raw({**CYCLONEDX, "components": "all of them"}), ("SCHEMA_VIOLATION",)
    yield "component a number", raw({**CYCLONEDX, "components": [1, 2, 3]}), ("SCHEMA_VIOLATION",)
    yield "purl a list", raw({**CYCLONEDX, "components": [{"type": "library", "name": "a", "purl": ["pkg:npm/a@1"]}]}), ("SCHEMA_VIOLATION",)
    yield "openvex without statements", raw({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "author": "a", "timestamp": "2026-01-01T00:00:00Z", "version": 1, "statements": 5}), ("SCHEMA_VIOLATION",)
    yield "dsse without base64", raw({"payloadType": "application/vnd.in-toto+json", "payload": "***", "signatures": []}), ("SCHEMA_VIOLATION", "MALFORMED_ENVELOPE")
    yield "in-toto without valid subject", raw({"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1", "subject": [{"name": "a", "digest": {"sha256": "short"}}], "predicate": {}}), ("DIGEST_INVALID", "SCHEMA_VIOLATION", "SUBJECT_MISSING")
    yield "trivy of a directory", raw({"SchemaVersion": 2, "ArtifactName": ".", "ArtifactType": "filesystem", "Results": []}), ("SUBJECT_MISSING",)
    yield "trivy with results an object", raw({"SchemaVersion": 2, "ArtifactName": "a", "ArtifactType": "container_image", "Metadata": {"ImageID": "sha256:" + "a" * 64}, "Results": {"a": 1}}), ("SCHEMA_VIOLATION",)
    yield "cdevent without type", raw({"context": {"specversion": "0.5.1", "id": "1", "source": "/a", "timestamp": "2026-01-01T00:00:00Z"}, "subject": {"id": "x", "content": {}}}), ("MALFORMED_ENVELOPE", "SCHEMA_VIOLATION", "UNSUPPORTED_FORMAT")
    yield "gzip bomb", gzip.compress(BOMB, 9), ("DECOMPRESSION_LIMIT",)
    yield "zstd bomb", zstandard.ZstdCompressor(level=3).compress(BOMB), ("DECOMPRESSION_LIMIT",)
    yield "bzip2 bomb", bz2.compress(BOMB), ("DECOMPRESSION_LIMIT",)
    yield "xz bomb", lzma.compress(BOMB, preset=1), ("DECOMPRESSION_LIMIT",)
    yield "gzip cut off", gzip.compress(raw(CYCLONEDX))[:-12], ("MALFORMED_ENVELOPE", "MALFORMED_JSON", "UNSUPPORTED_FORMAT")
    yield "zlib, which is none of ours", zlib.compress(raw(CYCLONEDX)), ("MALFORMED_JSON", "UNSUPPORTED_FORMAT", "MALFORMED_ENVELOPE")


def envelopes():
    """(name, bytes, codes): structured CloudEvents that are refused."""
    event = {"specversion": "1.0", "id": "bad", "source": "bad", "type": "io.pedigraph.service-deployed.v1"}
    good = {"service": "s", "environment": "e", "artifactRef": "r.example/app:1"}
    yield "no id", raw({"specversion": "1.0", "source": "bad", "type": "x"}), ("MALFORMED_ENVELOPE",)
    yield "id a number", raw({**event, "id": 7, "data": {}}), ("MALFORMED_ENVELOPE",)
    yield "id empty", raw({**event, "id": "", "data": {}}), ("MALFORMED_ENVELOPE",)
    yield "not an object", b'"event"', ("MALFORMED_ENVELOPE",)
    yield "truncated envelope", b'{"specversion": "1.0", "id": "a", ', ("MALFORMED_JSON", "MALFORMED_ENVELOPE")
    yield "future version", raw({**event, "specversion": "2.0", "data": {}}), ("UNSUPPORTED_VERSION",)
    yield "data_base64 that is none", raw({**event, "id": "b64", "data_base64": "!!!"}), ("MALFORMED_ENVELOPE", "SCHEMA_VIOLATION")
    yield "data of a wrong shape", raw({**event, "id": "shape", "data": {"service": ["a"], "environment": 5}}), ("SCHEMA_VIOLATION",)
    yield "data missing", raw({**event, "id": "none"}), ("SCHEMA_VIOLATION", "MALFORMED_ENVELOPE")
    yield "too many attributes", raw({**event, "id": "many", "data": good, **{f"ext{n}": "x" for n in range(300)}}), ("TOO_MANY_ITEMS", "TOO_LARGE", "MALFORMED_ENVELOPE")
    yield "attribute too large", raw({**event, "id": "large", "data": good, "ext": "x" * (65 << 10)}), ("TOO_LARGE", "MALFORMED_ENVELOPE")
