"""What other people's data looks like: each kind of it that was once read wrongly, with the right answer."""

import pytest

from pedigraph import digest, raw

DAY = "2026-07-%02dT08:00:00Z"


def trivy(name, kind="filesystem", day=1, **metadata):
    return {
        "SchemaVersion": 2,
        "CreatedAt": DAY % day,
        "ArtifactName": name,
        "ArtifactType": kind,
        "Metadata": metadata,
        "Results": [],
    }


def large(kind):
    filler = "m" * 2_000
    if kind == "trivy":
        found = [
            {"VulnerabilityID": f"CVE-2026-{n:05d}", "PkgName": f"p{n}", "InstalledVersion": "1", "Description": filler}
            for n in range(10_500)
        ]
        return {
            **trivy(
                "registry.example/large:1", "container_image", RepoDigests=[f"registry.example/large@{digest(0xE001)}"]
            ),
            "Results": [{"Vulnerabilities": found}],
        }
    told = [
        {
            "vulnerability": {"name": f"CVE-2026-{n:05d}"},
            "products": [{"@id": f"pkg:oci/large@{digest(0xE002)}"}],
            "status": "not_affected",
            "justification": "component_not_present",
            "impact_statement": filler,
        }
        for n in range(9_500)
    ]
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://vex.example/large",
        "author": "a",
        "timestamp": DAY % 1,
        "version": 1,
        "statements": told,
    }


@pytest.mark.parametrize("kind", ["trivy", "openvex"])
def test_large_documents_of_every_format(shared, kind):
    body = raw(large(kind))
    assert len(body) > 20_000_000
    answer = shared.post(body, "application/json", path="/api/v1/documents")
    assert answer.status_code == 201, answer.text[:300]
