"""Verdicts and impact: one case for each rule of SPEC §5, then random histories against the plain recomputation."""

import itertools
import json
import os
import random

import pytest

import vex_oracle
from pedigraph import BATCH, CLOUDEVENT, Node, cloudevent, event_id, problem, raw

SEED = int(os.environ.get("PEDIGRAPH_SEED", "5"))
HISTORIES = int(os.environ.get("PEDIGRAPH_HISTORIES", "40"))
VERDICTS_EACH, IMPACTS_EACH = 10, 4
BATCH_EVENTS = 200
SOURCE = "histories"
CYCLONEDX = "application/vnd.cyclonedx+json"
AFFECTED, INVESTIGATED, FIXED, NOT_AFFECTED = vex_oracle.CAUTIOUS
TOOLS = ("syft", "trivy", "grype")
# Nobody says anything; or there was no such artifact at that moment.
NOTHING = ("VERDICT_NOT_FOUND", "ARTIFACT_NOT_FOUND")
# Of what one case or history talks about: digits that stand in every digest, purl, id and environment of it.
SPACES = map(str, itertools.count(100_001))


def minute(number):
    return f"2024-03-01T{number // 60:02d}:{number % 60:02d}:00Z"


def own_event(name, data, **more):
    return cloudevent(f"io.pedigraph.{name}.v1", data, source=SOURCE, **more)


def statement(vulnerability, product, status, **more):
    named = {} if product.startswith("pkg:") else {"productDigests": [product]}
    return {"vulnerability": vulnerability, "product": product, "status": status, **named, **more}


def finding(vulnerability, purl, **more):
    return {"vulnerability": vulnerability, "purl": purl, "installedVersion": purl.rpartition("@")[2], **more}


def cyclonedx(purls, root, tool="syft", version=1, time=None, **more):
    components = [
        {
            "type": "library",
            "bom-ref": f"component-{number}",
            "name": purl.rpartition("@")[0].removeprefix("pkg:npm/"),
            "version": purl.rpartition("@")[2],
            "purl": purl,
        }
        for number, purl in enumerate(purls)
    ]
    metadata = {
        "tools": {"components": [{"type": "application", "name": tool}]},
        "component": {"type": "container", "bom-ref": "root", **root},
    }
    metadata |= {"timestamp": time} if time else {}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": version,
        "metadata": metadata,
        "components": components,
        **more,
    }


# One rule each


class Case:
    """One small story with names of its own. What it sends is visible when `send` is back."""

    def __init__(self, node):
        self.node, self.space = node, next(SPACES)
        self.cve = f"CVE-2024-{self.space}1"
        self.image, self.other, self.index, self.config = map(self.digest, range(4))
        self.purl = f"pkg:generic/app{self.space}@1.0"

    def digest(self, number):
        return f"sha256:{self.space}{number:058x}"

    def package(self, name, version=None):
        return f"pkg:npm/{name}{self.space}" + (f"@{version}" if version else "")

    def send(self, event):
        return self.node.accept(raw(event), CLOUDEVENT, wait="visible")["index"]

    def say(self, name, data, at=1):
        return self.send(own_event(name, data, time_=minute(at)))

    def vex(self, *statements, issuer="vendor", document=None, version="1", at=1):
        document = f"doc-{self.space}-{issuer}" if document is None else document
        data = {
            "issuer": issuer,
            "documentId": document,
            "documentVersion": version,
            "documentTime": minute(at),
            "statements": list(statements),
        }
        return self.say("vex-issued", data, at)

    def on(self, product, status, vulnerability=None, **more):
        return statement(vulnerability or self.cve, product, status, **more)

    def scan(self, artifact, *findings, scanner="trivy", target="", at=1):
        return self.say(
            "scan-completed",
            {"artifactDigest": artifact, "scanner": scanner, "target": target, "findings": list(findings)},
            at,
        )

    def sbom(self, subject, *purls, at=1, tool="syft", name="app", **more):
        body = cyclonedx(purls, {"name": f"{name}{self.space}"}, tool, time=minute(at), **more)
        return self.node.accept(raw(body), CYCLONEDX, subject=subject, wait="visible")["index"]

    def platforms(self, *manifests):
        told = [
            {"digest": digest, "platform": platform}
            for digest, platform in zip(manifests, ("linux/amd64", "linux/arm64"), strict=False)
        ]
        return self.say("image-observed", {"digest": self.index, "digestKind": "index", "manifests": told})

    def verdict(self, artifact=None, vulnerability=None, **clocks):
        return self.node.json(
            f"/api/v1/artifacts/{artifact or self.image}/verdicts/{vulnerability or self.cve}", **clocks
        )

    def status(self, artifact=None, vulnerability=None, **clocks):
        return self.verdict(artifact, vulnerability, **clocks)["status"]

    def none(self, artifact=None, vulnerability=None, **clocks):
        answer = self.node.get(
            f"/api/v1/artifacts/{artifact or self.image}/verdicts/{vulnerability or self.cve}", **clocks
        )
        return problem(answer, 404, NOTHING)


@pytest.fixture
def case(shared):
    return Case(shared)


def told(verdict):
    """Who says what, and whether it counts."""
    return sorted((each["issuer"], each["status"], each["applies"]) for each in verdict["explanation"])


def numbers(verdict):
    return verdict["status"], verdict["confidence"], verdict["conflict"]


def test_a_new_version_of_a_document_replaces_the_old_one_whole(case):
    second = f"CVE-2024-{case.space}2"
    first = case.vex(case.on(case.image, AFFECTED), case.on(case.image, NOT_AFFECTED, second), at=1)
    case.vex(case.on(case.image, FIXED), version="2", at=10)
    verdict = case.verdict()
    assert numbers(verdict) == (FIXED, 1, False)
    assert told(verdict) == [("vendor", FIXED, True)], "the statement of the old version is not listed"
    case.none(vulnerability=second)
    assert case.status(at=minute(9)) == AFFECTED and case.status(vulnerability=second, at=minute(9)) == NOT_AFFECTED
    assert case.status(at=minute(10)) == FIXED, "at= includes that very moment"
    assert case.status(asOf=first) == AFFECTED


def test_versions_of_documents_are_dotted_numbers(case):
    case.vex(case.on(case.image, FIXED), version="1.10", at=1)
    case.vex(case.on(case.image, AFFECTED), version="1.9", at=5)
    assert case.status() == FIXED, "1.9 came later, but 1.10 is the newer version"
    case.vex(case.on(case.image, NOT_AFFECTED), version="1.10", at=3)
    assert case.status() == NOT_AFFECTED, "of equal versions the later one holds"


def test_a_document_without_an_id_replaces_nothing(case):
    case.vex(case.on(case.image, AFFECTED), document="", version="1", at=1)
    case.vex(case.on(case.other, AFFECTED), document="", version="2", at=2)
    assert (case.status(case.image), case.status(case.other)) == (AFFECTED, AFFECTED)


def test_scans_that_are_replaced_are_counted_and_not_listed(case):
    """Each that found it, once: not those that did not, nor those of another scanner or target."""
    lib = finding(case.cve, case.package("lib", "1.0.0")), finding(case.cve, case.package("other", "1.0.0"))
    case.scan(case.image, *lib, at=1)
    last = case.scan(case.image, lib[0], at=2)
    case.scan(case.image, at=3)
    case.scan(case.image, lib[0], at=4)
    case.scan(case.image, lib[0], scanner="grype", at=1)
    verdict = case.verdict()
    assert verdict["superseded"] == 2 and "supersededAtLeast" not in verdict
    assert len(verdict["explanation"]) == 2, "the newest of each scanner"
    assert case.verdict(at=minute(2))["superseded"] == case.verdict(asOf=last)["superseded"] == 1
    assert "superseded" not in case.verdict(at=minute(1))
    for minute_ in range(5, 112):
        case.scan(case.image, lib[0], at=minute_)
    verdict = case.verdict()
    # A verdict reads no more of them, however often it is scanned.
    assert (verdict["superseded"], verdict["supersededAtLeast"]) == (15, True)


def test_a_statement_is_in_force_from_the_later_of_its_time_and_its_document_s(case):
    case.vex(case.on(case.image, AFFECTED, time=minute(2)), at=10)
    case.none(at=minute(9))
    assert case.status(at=minute(10)) == AFFECTED
    case.vex(case.on(case.other, FIXED, time=minute(20)), document=f"late-{case.space}", at=10)
    case.none(case.other, at=minute(19))
    assert case.status(case.other, at=minute(20)) == FIXED


def test_the_latest_statement_of_an_issuer_on_the_same_counts(case):
    case.vex(case.on(case.image, AFFECTED), document=f"one-{case.space}", at=5)
    case.vex(case.on(case.image, NOT_AFFECTED), document=f"two-{case.space}", at=8)
    verdict = case.verdict()
    assert numbers(verdict) == (NOT_AFFECTED, 1, False)
    assert told(verdict) == [("vendor", AFFECTED, False), ("vendor", NOT_AFFECTED, True)]
    assert case.status(at=minute(7)) == AFFECTED


def test_the_latest_of_a_document_is_that_with_the_latest_time_of_its_own(case):
    early, late = case.on(case.image, AFFECTED, time=minute(5)), case.on(case.image, FIXED, time=minute(8))
    case.vex(late, early, document=f"one-{case.space}", at=22)
    assert case.status() == FIXED
    early, late = case.on(case.other, AFFECTED, time=minute(5)), case.on(case.other, FIXED, time=minute(8))
    case.vex(early, late, document=f"two-{case.space}", at=22)
    assert case.status(case.other) == FIXED


def test_a_product_may_be_a_digest_alone(case):
    case.vex({"vulnerability": case.cve, "product": case.image, "status": AFFECTED})
    case.vex({"vulnerability": case.cve, "productDigests": [case.other], "status": FIXED}, document=f"b-{case.space}")
    assert (case.status(case.image), case.status(case.other)) == (AFFECTED, FIXED)


def test_a_digest_goes_before_a_purl_and_that_before_a_component(case):
    case.say("artifact-packaged", {"artifactDigest": case.image, "purl": case.purl})
    case.sbom(case.image, case.package("lib", "1.0.0"))
    case.vex(case.on(case.package("lib", "1.0.0"), AFFECTED), document=f"c-{case.space}")
    assert case.status() == AFFECTED
    case.vex(case.on(case.purl, INVESTIGATED), document=f"b-{case.space}")
    assert case.status() == INVESTIGATED
    case.vex(case.on(case.image, NOT_AFFECTED), document=f"a-{case.space}")
    verdict = case.verdict()
    assert numbers(verdict) == (NOT_AFFECTED, 1, False)
    assert told(verdict) == [
        ("vendor", AFFECTED, False),
        ("vendor", NOT_AFFECTED, True),
        ("vendor", INVESTIGATED, False),
    ]
    case.vex(case.on(case.package("lib", "1.0.0"), AFFECTED), issuer="distro")
    verdict = case.verdict()
    assert numbers(verdict) == (NOT_AFFECTED, 0.5556, True), "0.6 against 0.6 × 0.8 for a component"


def test_a_purl_with_the_version_goes_before_one_without(case):
    case.sbom(case.image, case.package("lib", "1.0.0"))
    case.vex(case.on(case.package("lib"), AFFECTED), document=f"a-{case.space}")
    assert case.status() == AFFECTED
    case.vex(case.on(case.package("lib", "1.0.0"), NOT_AFFECTED), document=f"b-{case.space}")
    assert case.status() == NOT_AFFECTED
    case.vex(case.on(case.package("lib", "2.0.0"), AFFECTED), document=f"c-{case.space}")
    assert case.status() == NOT_AFFECTED, "another version is another thing"
    case.vex(case.on(case.package("lib"), FIXED), document=f"d-{case.space}", at=9)
    assert case.status() == NOT_AFFECTED, "a later one without a version is about another product"


def test_a_digest_goes_before_its_index(case):
    case.platforms(case.image, case.other)
    case.vex(case.on(case.index, AFFECTED), document=f"a-{case.space}")
    assert (case.status(case.image), case.status(case.other)) == (AFFECTED, AFFECTED), (
        "what is said of an index holds for its manifests"
    )
    case.vex(case.on(case.image, NOT_AFFECTED), document=f"b-{case.space}")
    assert (case.status(case.image), case.status(case.other)) == (NOT_AFFECTED, AFFECTED)


def test_a_config_and_its_manifest_are_one_artifact(case):
    case.vex(case.on(case.config, FIXED))
    case.none(case.image)
    before = (
        case.say("image-observed", {"digest": case.image, "digestKind": "manifest", "configDigest": case.config}, at=30)
        - 1
    )
    assert case.status(case.image) == FIXED and case.verdict(case.config)["digest"] == case.image
    assert case.status(case.image, at=minute(1)) == FIXED, "what is one does not change with time"
    case.none(case.image, asOf=before)


def test_a_subcomponent_must_be_in_the_sbom(case):
    case.sbom(case.image, case.package("lib", "1.0.0"), at=1)
    case.vex(case.on(case.image, AFFECTED, subcomponents=[case.package("absent", "1.0.0")]))
    verdict = case.verdict()
    assert verdict["status"] == "unknown" and verdict["confidence"] == 0
    assert told(verdict) == [("vendor", AFFECTED, False)]
    case.sbom(case.image, case.package("lib", "1.0.0"), case.package("absent", "1.0.0"), at=50)
    assert case.status() == AFFECTED
    assert case.status(at=minute(2)) == AFFECTED, "what a digest contains does not change with time"


def test_of_two_issuers_the_more_cautious_wins_a_tie(case):
    case.vex(case.on(case.image, NOT_AFFECTED), issuer="one")
    case.vex(case.on(case.image, INVESTIGATED), issuer="two")
    assert numbers(case.verdict()) == (INVESTIGATED, 0.5, True)
    case.vex(case.on(case.image, NOT_AFFECTED), issuer="three")
    assert numbers(case.verdict()) == (NOT_AFFECTED, 0.6667, True)


def test_all_findings_together_are_one_voice_of_a_half(case):
    lib = case.package("lib", "1.0.0")
    case.scan(case.image, finding(case.cve, lib))
    assert numbers(case.verdict()) == (AFFECTED, 1, False)
    case.scan(case.image, finding(case.cve, lib), scanner="grype")
    case.vex(case.on(case.image, NOT_AFFECTED))
    verdict = case.verdict()
    assert numbers(verdict) == (NOT_AFFECTED, 0.5455, True), "0.6 of 1.1, however many scanners find it"
    assert [
        (each["kind"], each["weight"]) for each in sorted(verdict["explanation"], key=lambda each: each["kind"])
    ] == [("finding", 0.5), ("finding", 0.5), ("vex", 0.6)]


def test_the_newest_scan_replaces_the_earlier_ones_whole(case):
    lib = case.package("lib", "1.0.0")
    first = case.scan(case.image, finding(case.cve, lib), at=1)
    case.scan(case.image, at=10)
    case.none()
    assert case.status(at=minute(9)) == AFFECTED and case.status(asOf=first) == AFFECTED
    case.scan(case.image, finding(case.cve, lib), at=5)
    case.none(at=minute(10))
    assert case.status(at=minute(5)) == AFFECTED, "one that came late is no newer one"
    case.scan(case.image, finding(case.cve, lib), at=5, target="usr/lib")
    assert case.status() == AFFECTED, "another part of the artifact is another scan"
    case.scan(case.image, at=20, scanner="grype")
    assert case.status() == AFFECTED, "another scanner replaces nothing"


def test_aliases_are_one_vulnerability_and_two_cves_are_not(case):
    second, ghsa, osv = f"CVE-2024-{case.space}2", f"GHSA-{case.space}-1", f"OSV-{case.space}-1"
    before = case.vex(case.on(case.image, AFFECTED, osv))
    case.none()
    lib = case.package("lib", "1.0.0")
    case.scan(case.image, finding(ghsa, lib, aliases=[case.cve]), finding(osv, lib, aliases=[ghsa]))
    for name in (case.cve, ghsa, osv):
        verdict = case.verdict(vulnerability=name)
        assert (verdict["vulnerability"], set(verdict["aliases"])) == (case.cve, {ghsa, osv})
        assert len(verdict["explanation"]) == 3
    case.none(asOf=before)
    assert case.status(vulnerability=osv, asOf=before) == AFFECTED
    case.scan(case.other, finding(ghsa, lib, aliases=[second]))
    case.vex(case.on(case.image, NOT_AFFECTED, second), issuer="other")
    assert numbers(case.verdict(vulnerability=second)) == (AFFECTED, 0.6471, True), "0.6 and 0.5 of 1.7"
    assert ("other", NOT_AFFECTED, True) not in told(case.verdict()), "what is said of one CVE is not said of the other"
    assert ("vendor", AFFECTED, True) in told(case.verdict(vulnerability=second)), (
        "an id that aliases two counts for both"
    )


def test_an_index_is_as_its_most_cautious_manifest(case):
    case.platforms(case.image, case.other)
    case.vex(case.on(case.image, NOT_AFFECTED))
    verdict = case.verdict(case.index)
    assert numbers(verdict) == (NOT_AFFECTED, 1, False)
    assert {each["digest"]: each["status"] for each in verdict["platforms"]} == {
        case.image: NOT_AFFECTED,
        case.other: "unknown",
    }
    case.vex(case.on(case.other, AFFECTED), issuer="a")
    case.vex(case.on(case.other, FIXED), issuer="b")
    verdict = case.verdict(case.index)
    assert (verdict["status"], verdict["confidence"]) == (AFFECTED, 0.5)
    assert {each["digest"]: each["status"] for each in verdict["platforms"]} == {
        case.image: NOT_AFFECTED,
        case.other: AFFECTED,
    }
    assert {each["platform"] for each in verdict["platforms"]} == {"linux/amd64", "linux/arm64"}


def test_what_is_said_of_the_purl_of_an_index_holds_for_its_manifests(case):
    case.platforms(case.image, case.other)
    case.say("artifact-packaged", {"artifactDigest": case.index, "purl": case.purl})
    case.vex(case.on(case.purl, FIXED))
    assert (case.status(case.index), case.status(case.image), case.status(case.other)) == (FIXED, FIXED, FIXED)


def test_what_is_no_image_counts_for_no_index(case):
    told = [
        {"digest": case.image, "platform": "linux/amd64"},
        {"digest": case.other, "platform": "unknown/unknown", "artifactType": "attestation-manifest"},
    ]
    case.say("image-observed", {"digest": case.index, "digestKind": "index", "manifests": told})
    case.vex(case.on(case.image, NOT_AFFECTED), case.on(case.other, AFFECTED))
    verdict = case.verdict(case.index)
    assert verdict["status"] == NOT_AFFECTED and [each["digest"] for each in verdict["platforms"]] == [case.image]


def test_a_scan_of_an_index_is_a_further_part_of_it(case):
    case.platforms(case.image, case.other)
    case.vex(case.on(case.image, NOT_AFFECTED))
    case.scan(case.index, finding(case.cve, case.package("lib", "1.0.0")))
    assert (case.status(case.index), case.status(case.image)) == (AFFECTED, NOT_AFFECTED)
    case.none(case.other)


def test_an_sbom_of_an_index_is_a_further_part_of_it(case):
    case.platforms(case.image, case.other)
    case.sbom(case.index, case.package("lib", "1.0.0"))
    case.vex(case.on(case.package("lib"), AFFECTED))
    assert case.status(case.index) == AFFECTED
    case.none(case.image)


def test_what_a_nested_index_is_counts_for_the_index_above_it(case):
    outer = case.digest(5)
    case.platforms(case.image, case.other)
    case.say("image-observed", {"digest": outer, "digestKind": "index", "manifests": [{"digest": case.index}]})
    case.scan(case.index, finding(case.cve, case.package("lib", "1.0.0")))
    assert case.status(outer) == AFFECTED


def test_what_is_said_of_an_index_of_indexes_holds_for_the_manifests(case):
    case.platforms(case.image, case.other)
    outer = case.digest(5)
    case.say("image-observed", {"digest": outer, "digestKind": "index", "manifests": [{"digest": case.index}]})
    case.vex(case.on(outer, FIXED))
    assert {case.status(digest) for digest in (outer, case.index, case.image, case.other)} == {FIXED}
    case.vex(case.on(case.other, AFFECTED), issuer="other", document=f"o-{case.space}")
    assert [case.status(digest) for digest in (outer, case.index, case.image, case.other)] == [
        AFFECTED,
        AFFECTED,
        FIXED,
        AFFECTED,
    ]


def test_a_config_of_two_manifests_makes_them_no_one_artifact(case):
    for number, manifest in enumerate((case.image, case.other)):
        case.say("image-observed", {"digest": manifest, "digestKind": "manifest", "configDigest": case.config}, number)
    case.vex(case.on(case.image, NOT_AFFECTED))
    case.none(case.other)
    case.vex(case.on(case.config, AFFECTED), document=f"c-{case.space}")
    assert (case.status(case.image), case.status(case.other)) == (NOT_AFFECTED, AFFECTED), (
        "joined to each like an index"
    )


def test_a_statement_on_one_component_clears_no_other(case):
    one, two = case.package("one", "1.0.0"), case.package("two", "1.0.0")
    case.sbom(case.image, one, two)
    case.scan(case.image, finding(case.cve, one), finding(case.cve, two))
    case.vex(case.on(case.image, NOT_AFFECTED, subcomponents=[one]))
    assert numbers(case.verdict()) == (AFFECTED, 1, True)
    case.vex(case.on(case.image, NOT_AFFECTED, subcomponents=[two]), document=f"two-{case.space}")
    assert numbers(case.verdict()) == (NOT_AFFECTED, 0.5455, True)


def advisory(case, modified, ranges, versions=(), name="lib", **more):
    affected = {"ecosystem": "npm", "name": name + case.space, "purl": case.package(name), "versions": list(versions)}
    affected["ranges"] = [{"type": "SEMVER", "events": [dict([event]) for event in events]} for events in ranges]
    return case.say(
        "advisory-published",
        {
            "id": f"GHSA-{case.space}-1",
            "aliases": [case.cve],
            "modified": minute(modified),
            "format": "osv",
            "affected": [affected],
            **more,
        },
        modified,
    )


def test_an_advisory_finds_versions_in_its_ranges(case):
    for number, version in enumerate(("1.0.0", "1.5.0-rc.1", "1.5.0", "2.0.0", "3.0.0", "4.0.0")):
        case.sbom(case.digest(number), case.package("lib", version))
    advisory(case, 1, [[("introduced", "0"), ("fixed", "1.5.0")], [("introduced", "2.0.0"), ("lastAffected", "3.0.0")]])
    for number, found in enumerate((True, True, False, True, True, False)):
        if found:
            verdict = case.verdict(case.digest(number))
            assert numbers(verdict) == (AFFECTED, 1, False) and [each["kind"] for each in verdict["explanation"]] == [
                "finding"
            ]
        else:
            case.none(case.digest(number))
    case.none(case.digest(0), at=minute(0))
    advisory(case, 10, [], ["4.0.0"])
    case.none(case.digest(0))
    assert case.status(case.digest(5)) == AFFECTED


def test_of_several_states_of_an_advisory_the_newest_holds(case):
    case.sbom(case.image, case.package("lib", "1.0.0"))
    advisory(case, 10, [[("introduced", "0"), ("fixed", "1.0.0")]])
    case.none()
    advisory(case, 5, [[("introduced", "0")]])
    case.none()
    assert case.status(at=minute(9)) == AFFECTED
    advisory(case, 20, [[("introduced", "0")]])
    assert case.status() == AFFECTED
    advisory(case, 30, [[("introduced", "0")]], withdrawn=minute(30))
    case.none()
    assert case.status(at=minute(29)) == AFFECTED


def test_neither_statement_nor_finding(case):
    case.none()
    case.sbom(case.image, case.package("lib", "1.0.0"))
    case.scan(case.image, finding(f"CVE-2024-{case.space}2", case.package("lib", "1.0.0")))
    assert case.none()["code"] == "VERDICT_NOT_FOUND"


def test_of_sboms_of_one_moment_the_newer_version_is_current(case):
    case.sbom(case.image, case.package("new", "1.0.0"), version=2)
    case.sbom(case.image, case.package("old", "1.0.0"), version=1)
    case.vex(case.on(case.package("new"), AFFECTED))
    assert case.status() == AFFECTED


def test_vex_inside_an_sbom_lives_with_it(case):
    lib = case.package("lib", "1.0.0")
    analysed = {"id": case.cve, "analysis": {"state": "not_affected"}, "affects": [{"ref": "component-0"}]}
    case.scan(case.image, finding(case.cve, lib))
    case.sbom(
        case.image,
        lib,
        at=5,
        vulnerabilities=[analysed],
        serialNumber=f"urn:uuid:00000000-0000-4000-8000-000000{case.space}",
    )
    verdict = case.verdict()
    assert {(each["kind"], each["status"], each["applies"]) for each in verdict["explanation"]} == {
        ("finding", AFFECTED, True),
        ("vex", NOT_AFFECTED, True),
    }
    other = case.sbom(case.image, lib, at=9, tool="cdxgen")
    assert len(case.verdict()["explanation"]) == 2, "the SBOM of another tool replaces nothing"
    case.sbom(case.image, lib, at=9)
    assert [each["kind"] for each in case.verdict()["explanation"] if each["applies"]] == ["finding"]
    assert len([each for each in case.verdict(asOf=other)["explanation"] if each["applies"]]) == 2


def test_the_same_sbom_may_be_that_of_two(case):
    lib = case.package("lib", "1.0.0")
    analysed = {"id": case.cve, "analysis": {"state": "exploitable"}, "affects": [{"ref": "component-0"}]}
    serial = f"urn:uuid:00000000-0000-4000-8000-000000{case.space}"
    for subject in (case.image, case.other):
        case.sbom(subject, lib, at=5, vulnerabilities=[analysed], serialNumber=serial)
    assert (case.status(case.image), case.status(case.other)) == (AFFECTED, AFFECTED)
    case.sbom(case.image, lib, at=3, version=2, serialNumber=serial)
    assert case.status() == AFFECTED, "a newer version of the document, but an older SBOM"


def test_an_openvex_document_has_the_time_of_its_last_update(case):
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"https://vex.example/{case.space}",
        "author": "Vendor",
        "version": 1,
        "timestamp": minute(1),
        "last_updated": minute(10),
        "statements": [
            {
                "vulnerability": {"name": case.cve},
                "products": [{"@id": case.package("lib", "1.0.0")}],
                "status": "not_affected",
                "justification": "component_not_present",
            }
        ],
    }
    case.node.accept(raw(document), "application/json", wait="visible")
    case.sbom(case.image, case.package("lib", "1.0.0"))
    case.none(at=minute(9))
    verdict = case.verdict(at=minute(10))
    assert numbers(verdict) == (NOT_AFFECTED, 1, False)
    assert (
        told(verdict) == [("Vendor", NOT_AFFECTED, True)]
        and verdict["explanation"][0]["justification"] == "component_not_present"
    )


def test_images_of_other_registries_are_others(case):
    purl = f"pkg:oci/app{case.space}"
    case.say("artifact-packaged", {"artifactDigest": case.image, "purl": f"{purl}?repository_url=r.example/app"})
    case.vex(case.on(f"{purl}?repository_url=other.example/app", AFFECTED), document=f"a-{case.space}")
    assert (case.status(), told(case.verdict())) == ("unknown", [("vendor", AFFECTED, False)])
    case.vex(case.on(f"{purl}?repository_url=r.example/app", FIXED), document=f"b-{case.space}")
    assert case.status() == FIXED


def test_impact_tells_what_runs_and_who_clears_it(case):
    lib, env = case.package("lib", "1.0.0"), f"env-{case.space}"
    bad, cleared, silent, idle, clean = map(case.digest, range(10, 15))
    for digest in (bad, cleared, idle):
        case.sbom(digest, lib)
    case.sbom(clean, case.package("other", "1.0.0"))
    case.vex(case.on(lib, AFFECTED))
    case.vex(case.on(cleared, NOT_AFFECTED), document=f"c-{case.space}")
    for service, digest in (("bad", bad), ("cleared", cleared), ("silent", silent), ("clean", clean)):
        last = case.say(
            "service-deployed",
            {"service": service, "environment": env, "artifactDigest": digest, "artifactRef": "r.example/app:1"},
            5,
        )
    answer = impact_rows(case.node, case.cve, case.space)
    assert answer == {
        "deployed": {(env, "bad", bad)},
        "cleared": {(env, "cleared", cleared)},
        "unknown": {(env, "silent", silent)},
        "notDeployed": {(None, None, idle)},
    }
    row = case.node.json(f"/api/v1/vulnerabilities/{case.cve}/impact", env=env)["deployed"][0]
    assert (row["components"][0]["purl"], row["since"], row["verdict"]["status"], row["verdict"]["confidence"]) == (
        lib,
        minute(5),
        AFFECTED,
        1,
    )
    assert row["verdict"]["consensusProjectionId"] == case.verdict(bad)["consensusProjectionId"]
    early = impact_rows(case.node, case.cve, case.space, at=minute(4))
    assert early == {
        "deployed": set(),
        "cleared": {(None, None, cleared)},
        "unknown": set(),
        "notDeployed": {(None, None, bad), (None, None, idle)},
    }
    case.say("service-removed", {"service": "bad", "environment": env}, 9)
    assert impact_rows(case.node, case.cve, case.space)["notDeployed"] == {(None, None, bad), (None, None, idle)}
    assert impact_rows(case.node, case.cve, case.space, asOf=last)["deployed"] == {(env, "bad", bad)}
    assert case.node.json(f"/api/v1/vulnerabilities/{case.cve}/impact", env=env)["deployed"] == []
    assert "notDeployed" not in case.node.json(f"/api/v1/vulnerabilities/{case.cve}/impact", env=env)


def test_what_runs_as_an_index_runs_as_its_manifests(case):
    env = f"env-{case.space}"
    case.platforms(case.image, case.other)
    case.scan(case.image, finding(case.cve, case.package("lib", "1.0.0")))
    case.say(
        "service-deployed",
        {"service": "web", "environment": env, "artifactDigest": case.index, "artifactRef": "r.example/app:1"},
    )
    assert impact_rows(case.node, case.cve, case.space) == {
        "deployed": {(env, "web", case.index)},
        "cleared": set(),
        "unknown": set(),
        "notDeployed": set(),
    }


def test_what_runs_and_is_not_known_is_unknown(case):
    env = f"env-{case.space}"
    case.platforms(case.image, case.other)
    case.sbom(case.other, case.package("lib", "1.0.0"))
    case.scan(case.image, finding(case.cve, case.package("lib", "1.0.0")), at=2)
    case.scan(case.image, at=5)
    alone = case.digest(9)
    case.say("artifact-packaged", {"artifactDigest": alone, "purl": case.purl})
    case.vex(case.on(case.purl, NOT_AFFECTED, subcomponents=[case.package("lib")]))
    for service, digest in (("web", case.index), ("api", alone)):
        place = {"service": service, "environment": env}
        case.say("service-deployed", {**place, "artifactDigest": digest, "artifactRef": "r.example/app:1"})
    wanted = {(env, "web", case.index), (env, "api", alone)}
    assert impact_rows(case.node, case.cve, case.space, env=env) == {
        "deployed": set(),
        "cleared": set(),
        "unknown": wanted,
    }


def test_who_clears_one_manifest_does_not_clear_another(case):
    env = f"env-{case.space}"
    case.platforms(case.image, case.other)
    case.vex(case.on(case.image, NOT_AFFECTED))
    case.say(
        "service-deployed", {"service": "web", "environment": env, "artifactDigest": case.index, "artifactRef": "r/a:1"}
    )
    row = {(env, "web", case.index)}
    assert impact_rows(case.node, case.cve, case.space, env=env) == {
        "deployed": set(),
        "cleared": set(),
        "unknown": row,
    }
    case.vex(case.on(case.other, FIXED), document=f"b-{case.space}")
    assert impact_rows(case.node, case.cve, case.space, env=env) == {
        "deployed": set(),
        "cleared": row,
        "unknown": set(),
    }


# Roles are in the configuration of a server of their own.


@pytest.fixture(scope="module")
def of_roles(tmp_path_factory):
    directory = tmp_path_factory.mktemp("roles")
    node = Node(directory / "data", options=with_roles(directory, ROLES)).start()
    yield node
    node.kill()


def test_roles_have_their_weights(of_roles):
    case = Case(of_roles)
    case.sbom(case.image, case.package("lib", "1.0.0"))
    for issuer in ("vendor", "distro", "team", "nobody"):
        case.vex(case.on(case.image, NOT_AFFECTED), issuer=issuer)
    case.vex(case.on(case.package("lib"), NOT_AFFECTED), issuer="distro", document=f"b-{case.space}")
    weights = {each["issuer"]: each["weight"] for each in case.verdict()["explanation"] if each["applies"]}
    assert weights == {"vendor": 1, "distro": 0.63, "team": 0.6, "nobody": 0.6}, (
        "unsigned × 0.7, a role of another source"
    )
    case = Case(of_roles)
    case.sbom(case.image, case.package("lib", "1.0.0"))
    case.vex(case.on(case.package("lib"), FIXED), issuer="vendor")
    case.vex(case.on(case.package("lib"), NOT_AFFECTED), issuer="distro")
    assert numbers(case.verdict()) == (FIXED, 0.6135, True), "0.8 of 0.8 and 0.9 × 0.8 × 0.7"


def test_only_who_has_a_role_clears(of_roles):
    case = Case(of_roles)
    one, two = case.package("one", "1.0.0"), case.package("two", "1.0.0")
    case.sbom(case.image, one, two)
    case.vex(case.on(one, FIXED), issuer="vendor")
    assert set(impact(case.node, case.cve, case.space)["cleared"]) == {(None, None, case.image)}
    case.vex(case.on(two, NOT_AFFECTED), issuer="nobody")
    answer = impact_rows(case.node, case.cve, case.space)
    assert (answer["cleared"], answer["notDeployed"]) == (set(), {(None, None, case.image)}), (
        "who cleared the other one?"
    )
    case.vex(case.on(two, NOT_AFFECTED), issuer="vendor", document=f"b-{case.space}")
    assert set(impact(case.node, case.cve, case.space)["cleared"]) == {(None, None, case.image)}


def test_roles_are_those_of_the_ledger(nodes, tmp_path):
    node = nodes(options=with_roles(tmp_path, {"vendor": {"role": "producer"}}))
    case = Case(node)
    before = case.vex(case.on(case.image, FIXED))
    assert [each["weight"] for each in case.verdict()["explanation"]] == [1]
    with_roles(tmp_path, {"vendor": {"role": "supplier"}})
    node.restart()
    node.wait_visible()
    assert [each["weight"] for each in case.verdict()["explanation"]] == [0.9]
    assert [each["weight"] for each in case.verdict(asOf=before)["explanation"]] == [1]
    assert [each["weight"] for each in case.verdict(at=minute(1))["explanation"]] == [0.9], (
        "the policy does not follow at="
    )
    refused = node.post(raw(own_event("policy-published", {"issuers": []})), CLOUDEVENT)
    problem(refused, 422, "CONTROL_EVENT_FORBIDDEN")


def test_anyone_can_compute_the_replay_hash(case):
    lib = case.package("lib", "1.0.0")
    case.sbom(case.image, lib)
    case.scan(case.image, finding(case.cve, lib), finding(case.cve, lib, aliases=[f"GHSA-{case.space}-1"]))
    case.vex(case.on(case.image, NOT_AFFECTED), case.on(case.image, FIXED, subcomponents=[lib]))
    case.vex(case.on(lib, AFFECTED), issuer="distro")
    verdict = case.verdict()
    assert recomputed(case.node, verdict) == (verdict["replayHash"], verdict["consensusProjectionId"])


def recomputed(node, verdict):
    """From the entries that the explanation proves itself by."""
    entries = {
        each["proof"]["index"]: node.json(f"/api/v1/entries/{each['proof']['index']}")
        for each in verdict["explanation"]
    }
    assert all(
        entries[each["proof"]["index"]]["leafHash"] == each["proof"]["leafHash"] for each in verdict["explanation"]
    )
    replay = vex_oracle.replay_hash([entry["eventId"] for entry in entries.values()], verdict["digest"])
    return replay, vex_oracle.consensus_id(verdict["digest"], verdict["vulnerability"], replay)


def test_views_go_on_when_an_artifact_leaves_its_line_under_an_alias(nodes):
    case = Case(nodes())
    sha512, new = f"sha512:{case.space}{22:0122x}", case.digest(2)
    root = {"name": "part", "purl": f"pkg:npm/part{case.space}@1.0.0"}
    for subject, at in ((case.image, 29), (sha512, 16)):
        body = cyclonedx([case.package("lib", f"{at}.0.0")], root, time=minute(at))
        case.node.accept(raw(body), CYCLONEDX, subject=subject)
    case.vex(case.on(case.image, FIXED), case.on(sha512, INVESTIGATED), at=5)
    case.send(own_event("alias-observed", {"digests": [new, sha512]}))
    for number, digest in ((2, new), (1, case.image)):
        packaged = {"artifactDigest": digest, "purl": f"pkg:generic/app{case.space}-{number}@1.{number}"}
        case.node.accept(raw(own_event("artifact-packaged", packaged)), CLOUDEVENT)
    case.node.wait_visible(10)
    assert (case.status(case.image), case.status(sha512)) == (FIXED, INVESTIGATED)


# Random histories


class History:
    """Some artifacts, what is said of them in any order, and where they run. Its names hold its digits only."""

    VERSIONS = ("1.0.0", "1.2.0", "2.0.0-rc.1", "2.0.0")
    MINUTES = 40

    def __init__(self, space, seed):
        self.space, self.chance = space, random.Random(seed)
        self.ids = [f"CVE-2024-{space}1", f"CVE-2024-{space}2", f"GHSA-{space}-1", f"OSV-{space}-1"]
        self.packages = [f"pkg:npm/{name}{space}" for name in "abc"] + [f"pkg:npm/%40s{space}/d"]
        self.environments = [f"env-{space}-a", f"env-{space}-b"]
        self.events = []
        self.images()
        for what, most in (
            (self.sbom, 7),
            (self.scan, 7),
            (self.advisory, 4),
            (self.deployment, 6),
            (self.document, 5),
        ):
            for _ in range(self.chance.randint(1, most)):
                what()
        self.chance.shuffle(self.events)

    def digest(self, number, algorithm="sha256"):
        return f"{algorithm}:{self.space}{number:0{58 if algorithm == 'sha256' else 122}x}"

    def likely(self, probability):
        return self.chance.random() < probability

    def moment(self):
        return minute(self.chance.randrange(self.MINUTES))

    def add(self, kind, data, time=None, **more):
        event = own_event(kind, data, time_=time or self.moment(), id_=f"{self.space}-{len(self.events)}", **more)
        self.events.append(event)
        return event

    def images(self):
        """Two or three manifests, under several names, and indexes of them."""
        self.manifests = [[self.digest(number)] for number in range(self.chance.randint(2, 3))]
        self.indexes = []
        for number, names in enumerate(self.manifests):
            self.image(number, names)
        if self.likely(0.6):
            self.observe_index(self.digest(40), [names[0] for names in self.manifests[:2]])
        if self.indexes and self.likely(0.2):
            self.observe_index(self.digest(41), [self.indexes[0], self.manifests[-1][0]])
        self.named = [*itertools.chain(*self.manifests), *self.indexes]
        if self.likely(0.1):
            self.named.append(self.digest(31))
            for names in self.manifests[:2]:
                self.observe_manifest(names[0], self.digest(31))

    def image(self, number, names):
        if self.likely(0.5):
            names.append(self.digest(10 + number))
            self.observe_manifest(*names)
        if self.likely(0.25):
            names.append(self.digest(20 + number, "sha512"))
            self.add("alias-observed", {"digests": [names[0], names[-1]]})
        if self.likely(0.6):
            purl = f"pkg:generic/app{self.space}-{number}@1.{number}"
            self.add("artifact-packaged", {"artifactDigest": names[0], "purl": purl})

    def observe_manifest(self, manifest, config):
        self.add("image-observed", {"digest": manifest, "digestKind": "manifest", "configDigest": config})

    def observe_index(self, index, lower):
        told = [
            {"digest": one, "platform": f"linux/{arch}"} for one, arch in zip(lower, ("amd64", "arm64"), strict=True)
        ]
        if self.likely(0.5):
            attestation = {
                "digest": self.digest(30),
                "platform": "unknown/unknown",
                "artifactType": "attestation-manifest",
            }
            told.append(attestation)
        self.add("image-observed", {"digest": index, "digestKind": "index", "manifests": told})
        self.indexes.append(index)

    def package(self, version=None):
        """A purl, by default of any version or none."""
        name = self.chance.choice(self.packages)
        return (
            name if version is None and self.likely(0.4) else f"{name}@{version or self.chance.choice(self.VERSIONS)}"
        )

    def installed(self):
        return [
            f"{name}@{self.chance.choice(self.VERSIONS)}"
            for name in self.chance.sample(self.packages, self.chance.randint(1, 4))
        ]

    def sbom(self):
        roots = [{"name": f"app{self.space}"}, {"name": "part", "purl": f"pkg:npm/part{self.space}@1.0.0"}]
        name, time, installed = self.chance.choice(roots), self.moment(), self.installed()
        more = {"vulnerabilities": [self.listed(installed)]} if self.likely(0.4) else {}
        if self.likely(0.4):
            more["serialNumber"] = f"urn:uuid:00000000-0000-4000-8000-000000{self.space}"
        tool, version = self.chance.choice(TOOLS[:2]), self.chance.randint(1, 2)
        document = cyclonedx(installed, name, tool, version, time, **more)
        # The same document may be that of several.
        for _ in range(2 if self.likely(0.25) else 1):
            subjects = self.indexes if self.indexes and self.likely(0.1) else self.chance.choice(self.manifests)
            event = cloudevent(
                "org.example.sbom",
                document,
                source=SOURCE,
                id_=f"{self.space}-{len(self.events)}",
                subject=self.chance.choice(subjects),
                time_=self.moment() if self.likely(0.5) else None,
            )
            self.events.append({**event, "datacontenttype": CYCLONEDX})

    def listed(self, installed):
        """A vulnerability in an SBOM: analysed, or only found; sometimes rejected, or of some versions."""
        affected = {"ref": f"component-{self.chance.randrange(len(installed))}"}
        if self.likely(0.3):
            affected["versions"] = [
                {"version": self.chance.choice(self.VERSIONS), "status": self.chance.choice(["affected", "unaffected"])}
                for _ in range(self.chance.randint(1, 3))
            ]
        more = {"analysis": {"state": self.chance.choice(list(vex_oracle.STATES))}} if self.likely(0.7) else {}
        if self.likely(0.1):
            more["rejected"] = self.moment()
        return {"id": self.chance.choice(self.ids), "affects": [affected], **more}

    def aliases(self, id_):
        """Other names, sometimes: never two CVEs beside each other."""
        if not self.likely(0.15):
            return {}
        others = [
            other for other in self.ids if other != id_ and not (vex_oracle.is_cve(id_) and vex_oracle.is_cve(other))
        ]
        return {"aliases": [self.chance.choice(others)]}

    def scan(self):
        found = []
        for _ in range(self.chance.randint(0, 3)):
            id_ = self.chance.choice(self.ids)
            found.append(finding(id_, self.package(self.chance.choice(self.VERSIONS)), **self.aliases(id_)))
        subject = self.chance.choice(self.named if self.likely(0.3) else self.chance.choice(self.manifests))
        self.add(
            "scan-completed",
            {
                "artifactDigest": subject,
                "scanner": self.chance.choice(TOOLS[1:]),
                "target": self.chance.choice(["", "", "usr/lib"]),
                "findings": found,
            },
        )

    def advisory(self):
        id_, modified = self.chance.choice(self.ids[2:]), self.moment()
        one, two, three = "1.0.0", "2.0.0", "3.0.0"
        ranges = self.chance.choice(
            [
                [[("introduced", "0")]],
                [[("introduced", "0"), ("fixed", two)]],
                [[("introduced", one), ("lastAffected", "1.2.0")]],
                [[("introduced", "0"), ("fixed", one)], [("introduced", two), ("fixed", three)]],
                [[("introduced", "0"), ("limit", "1.2.0")]],
                [],
            ]
        )
        affected = []
        for name in self.chance.sample(self.packages, self.chance.randint(1, 2)):
            ranges_told = [{"type": "SEMVER", "events": [dict([event]) for event in events]} for events in ranges]
            affected.append(
                {
                    "ecosystem": "npm",
                    "name": name.removeprefix("pkg:npm/").replace("%40", "@"),
                    "purl": name,
                    "ranges": ranges_told,
                    "versions": self.chance.choice([[], ["1.2.0"]]),
                }
            )
        more = {"withdrawn": modified} if self.likely(0.2) else {}
        self.add(
            "advisory-published",
            {"id": id_, "modified": modified, "format": "osv", "affected": affected, **self.aliases(id_), **more},
            modified,
        )

    def deployment(self):
        place = {
            "environment": self.chance.choice(self.environments),
            "service": self.chance.choice(["web", "api", "job"]),
        }
        if self.likely(0.2):
            self.add("service-removed", place)
        else:
            subject = (
                self.chance.choice(self.indexes or self.named) if self.likely(0.3) else self.chance.choice(self.named)
            )
            self.add(
                "service-deployed", {**place, "artifactDigest": subject, "artifactRef": f"r.example/app{self.space}:1"}
            )

    def statement(self):
        id_, more = self.chance.choice(self.ids), {}
        kind = self.chance.random()
        if kind < 0.45:
            product = self.chance.choice(self.named)
        elif kind < 0.6:
            number = self.chance.randrange(len(self.manifests))
            product = f"pkg:generic/app{self.space}-{number}" + self.chance.choice(["", f"@1.{number}", "@9"])
        else:
            product = self.package()
        if kind < 0.6 and self.likely(0.45):
            more["subcomponents"] = sorted({self.package() for _ in range(self.chance.randint(1, 2))})
        if self.likely(0.3):
            more["time"] = self.moment()
        return statement(id_, product, self.chance.choice(vex_oracle.CAUTIOUS), **self.aliases(id_), **more)

    def document(self):
        """One to three versions of a document, in any order of their times."""
        versions = self.chance.choice([["1", "2", "10"], ["1.2", "1.10"], ["2024-a", "2024-b"], ["1", "1", "2"]])
        head = {"issuer": self.chance.choice(["vendor", "distro", "team"]), "format": "openvex"}
        if self.likely(0.85):
            head["documentId"] = f"doc-{self.space}-{self.chance.choice('xyz')}"
        for version in versions[: self.chance.randint(1, len(versions))]:
            time = self.moment()
            told = [self.statement() for _ in range(self.chance.randint(1, 3))]
            data = {**head, "documentVersion": version, "documentTime": time, "statements": told}
            self.add("vex-issued", data, time if self.likely(0.85) else None)

    def questions(self, count, roles):
        """Of each list of events that are known: what is asked, at which moment, as of how many events."""
        for number in range(VERDICTS_EACH + IMPACTS_EACH):
            asked = {
                "id": self.chance.choice(self.ids),
                "at": self.moment() if self.likely(0.6) else None,
                "known": self.chance.randint(1, count) if self.likely(0.5) else None,
                "byTime": self.likely(0.4),
                "roles": roles,
            }
            if number < VERDICTS_EACH:
                yield {**asked, "digest": self.chance.choice(self.named)}
            else:
                yield {
                    **asked,
                    "env": self.chance.choice([None, *self.environments]),
                    "pageSize": self.chance.choice([None, 2, 7, 1000]),
                }


def impact(node, id_, space, page_size=None, **query):
    """The lists with all their pages, as far as they are about one history; what is not counted right fails."""
    found, counts, token = {}, {}, None
    path = f"/api/v1/vulnerabilities/{id_}/impact"
    unnamed = node.get(path, pageSize=page_size, **query)
    if unnamed.status_code == 404 and unnamed.json()["code"] == "ENVIRONMENT_NOT_FOUND":
        # By then nobody had named the environment: nothing ran there.
        return {name: {} for name in ("deployed", "cleared", "unknown")}
    while True:
        page = node.json(path, pageSize=page_size, pageToken=token, **query)
        lists = {name: rows for name, rows in page.items() if name in page["counts"]}
        for name, rows in lists.items():
            found.setdefault(name, []).extend(rows)
        counts, token = page["counts"], page.get("nextPageToken")
        if not token:
            break
    assert not page.get("atLeast"), "there are few"
    assert {name: len(rows) for name, rows in found.items()} == {name: counts[name] for name in found}, (counts, found)
    if page_size is None and len(found["deployed"]) < 100:
        order = [(row["environment"], row["service"], row["since"]) for row in found["deployed"]]
        assert order == sorted(order), "by environment, service, since"
    return {name: of_space(name, rows, space) for name, rows in found.items()}


def of_space(name, rows, space):
    """The rows about one history, each with the id of its verdict; no row twice."""
    told = {}
    for row in rows:
        key = row.get("environment"), row.get("service"), row.get("digest")
        assert key not in told, f"{key} twice in {name}: {rows}"
        told[key] = row.get("verdict", {}).get("consensusProjectionId")
    return {key: id_ for key, id_ in told.items() if space in (key[0] or key[2])}


def impact_rows(*told, **query):
    """Without the verdicts."""
    return {name: set(rows) for name, rows in impact(*told, **query).items()}


def batch(events):
    return b"[" + b",".join(map(raw, events)) + b"]"


class Sent:
    """What receipts and entries say of the events that were sent, by their ids."""

    def __init__(self, node):
        self.node, self.index = node, {}

    def send(self, events, **query):
        answer = self.node.post(batch(events), BATCH, **query)
        assert answer.status_code in (200, 201), answer.text[:1000]
        for event, result in zip(events, answer.json()["results"], strict=True):
            known = event["id"] in self.index
            assert result["status"] == ("duplicate" if known else "accepted"), (event, result)
            assert self.index.setdefault(event["id"], result["index"]) == result["index"], (event, result)

    def entries(self, events):
        """In the order of the ledger."""
        found = []
        for event in sorted(events, key=lambda event: self.index[event["id"]]):
            index = self.index[event["id"]]
            told = self.node.json(f"/api/v1/entries/{index}")
            assert told["eventId"] == event_id(SOURCE, event["id"], raw(event)), told
            found.append(vex_oracle.Entry(index, told["recordedAt"], told["eventId"], event))
        return found


def as_of(entries, question):
    """The last entry that is known: where a time is asked for, the last one that was recorded at that moment."""
    if not question["known"]:
        return None
    last = entries[min(question["known"], len(entries)) - 1]
    return (
        max(entry.index for entry in entries if entry.recorded == last.recorded) if question["byTime"] else last.index
    )


# Of three issuers one makes the artifacts, one a part of them, which it is to sign; the third has its role elsewhere.
ROLES = {
    "vendor": {"role": "producer"},
    "distro": {"role": "supplier", "signs": True},
    "team": {"role": "producer", "source": "elsewhere"},
}


def with_roles(directory, roles):
    """Options of a server whose configuration says who issuers are."""
    lines = []
    for name, role in roles.items():
        lines += ["[[issuers]]", f'name = "{name}"', *(f"{key} = {json.dumps(value)}" for key, value in role.items())]
    file = directory / "pedigraph.toml"
    file.write_text("\n".join(lines) + "\n")
    return ["--config", file]


def is_of_two(entries, question):
    return vex_oracle.World(entries, as_of(entries, question)).vulnerability(question["id"]) is None


def difference(node, space, entries, question):
    """What is answered and what the specification says, where these differ; else nothing."""
    index = as_of(entries, question)
    world = vex_oracle.World(entries, index, question["at"], question["roles"])
    recorded = next((entry.recorded for entry in entries if entry.index == index), None)
    clocks = {"at": question["at"], "asOf": recorded if question["byTime"] else index}
    wanted, got = (verdict_of if "digest" in question else impact_of)(node, space, world, question, clocks)
    return None if wanted == got else (wanted, got)


def impact_of(node, space, world, question, clocks):
    wanted = world.impact(question["id"])
    got = impact(node, question["id"], space, question["pageSize"], env=question["env"], **clocks)
    if question["env"]:
        del wanted["notDeployed"]
        wanted = {name: {row: rows[row] for row in rows if row[0] == question["env"]} for name, rows in wanted.items()}
    wanted = {name: {row: rows[row] and rows[row].consensus_id for row in rows} for name, rows in wanted.items()}
    # A row names the digest that was deployed: what counts is the artifact.
    told = {name: {(*row[:2], world.canonical(row[2])): rows[row] for row in rows} for name, rows in got.items()}
    assert {name: len(rows) for name, rows in told.items()} == {name: len(rows) for name, rows in got.items()}, got
    needless = wanted.pop("needless").items()
    return wanted, {
        name: {row: id_ for row, id_ in rows.items() if (row, id_) not in needless} for name, rows in told.items()
    }


def verdict_of(node, space, world, question, clocks):
    wanted = world.verdict(question["digest"], question["id"])
    answer = node.get(f"/api/v1/artifacts/{question['digest']}/verdicts/{question['id']}", **clocks)
    if answer.status_code == 404:
        assert answer.json()["code"] in NOTHING, answer.text
        unknown = answer.json()["code"] == "ARTIFACT_NOT_FOUND" and not world.is_known(question["digest"])
        return None if unknown or wanted is None else of_oracle(wanted, world), None
    assert answer.status_code == 200, answer.text
    return wanted and of_oracle(wanted, world), of_answer(answer.json(), world)


def of_oracle(verdict, world):
    _, ids = world.vulnerability(verdict.vulnerability)
    told = {}
    for item in verdict.items:
        issuer = item.issuer if item.entry.kind != "advisory-published" else ""
        key = issuer, item.kind, item.status, item.entry.index
        told[key] = told.get(key, False) or item.applies
    return {
        "digest": verdict.digest,
        "vulnerability": verdict.vulnerability,
        "aliases": sorted(ids - {verdict.vulnerability}),
        "status": verdict.status,
        "confidence": vex_oracle.rounded(verdict.confidence),
        "conflict": verdict.conflict,
        "platforms": verdict.platforms,
        "explanation": told,
        "superseded": world.superseded(verdict.digest, ids),
        "replayHash": verdict.replay_hash,
        "consensusProjectionId": verdict.consensus_id,
    }


def of_answer(verdict, world):
    told = {}
    for item in verdict["explanation"]:
        scanned = item["kind"] == "vex" or item["issuer"] in TOOLS
        key = item["issuer"] if scanned else "", item["kind"], item["status"], item["proof"]["index"]
        told[key] = told.get(key, False) or item["applies"]
    same = ("digest", "vulnerability", "status", "confidence", "conflict", "replayHash", "consensusProjectionId")
    return {
        **{name: verdict[name] for name in same},
        "aliases": sorted(verdict["aliases"]),
        "explanation": told,
        "superseded": verdict.get("superseded", 0),
        # Those of indexes are there too where something is said of an index itself.
        "platforms": {
            each["digest"]: each["status"] for each in verdict.get("platforms", ()) if not world.below(each["digest"])
        },
    }


# A difference is told with as few events as show it


def renamed(value, old, new):
    return json.loads(json.dumps(value).replace(old, new))


def again(node, space, events, question):
    """The same events under new names, in the order given: their difference, entries, and the new names."""
    other = next(SPACES)
    events, question = renamed(events, space, other), renamed(question, space, other)
    sent = Sent(node)
    sent.send(events, wait="visible")
    entries = sent.entries(events)
    if is_of_two(entries, question):
        return None
    found = difference(node, other, entries, question)
    return found and (found, entries, question)


def differing(found):
    """The names of what differs; where there is no verdict on one side, which one."""
    wanted, got = found
    if wanted is None or got is None:
        return "no verdict was wanted" if wanted is None else "a verdict was wanted"
    return sorted(name for name in wanted if wanted[name] != got.get(name))


def smallest(node, space, entries, question, found):
    """Leaves out events, and parts of them, for as long as the same differs."""
    last, kept = as_of(entries, question), (found, entries, question)
    candidates = [[entry.event for entry in entries if last is None or entry.index <= last]]
    question = {**question, "known": None}
    while True:
        tried = ((fewer, again(node, space, fewer, question)) for fewer in candidates if fewer)
        same = ((fewer, told) for fewer, told in tried if told and differing(told[0]) == differing(found))
        fewer, told = next(same, (None, None))
        if told is None:
            return kept
        kept, candidates = told, simpler(fewer)


def simpler(events):
    """With one event less, or with one part of an event less."""
    for place, event in enumerate(events):
        before, after = events[:place], events[place + 1 :]
        yield before + after
        # What is wrong with a component is said by its place.
        names = ("vulnerabilities",) if event["data"].get("vulnerabilities") else ("components",)
        for name in (*names, "statements", "findings", "affected"):
            rows = event["data"].get(name, ())
            for row in range(len(rows) if len(rows) > 1 or name in ("findings", "vulnerabilities") else 0):
                fewer = {**event["data"], name: rows[:row] + rows[row + 1 :]}
                yield [*before, {**event, "data": fewer}, *after]


def tell(entry):
    """An event in a line."""
    data = {
        name: value
        for name, value in entry.data.items()
        if name not in ("bomFormat", "specVersion", "format", "artifactRef", "metadata", "components")
    }
    if "components" in entry.data:
        metadata = entry.data["metadata"]
        data |= {
            "of": entry.event["subject"],
            "tool": metadata["tools"]["components"][0]["name"],
            "root": metadata["component"],
            "timestamp": metadata["timestamp"],
            "components": [each["purl"] for each in entry.data["components"]],
        }
    return f"  {entry.index:6} {entry.event.get('time', 'no time')[11:16]} {entry.kind} {json.dumps(data)}"


def story(found):
    """The texts of a difference: what was sent, asked, wanted and got."""
    (wanted, got), entries, question = found
    lines = [
        *map(tell, entries),
        f"  asked   {question}",
        f"  differ  {differing((wanted, got))}",
        f"  wanted  {wanted}",
        f"  got     {got}",
    ]
    return "\n".join(lines)


def shuffled_with_repeats(histories, chance):
    """All events of all histories between each other: each history keeps its own order, which is random anyway."""
    order = [history for history in histories for _ in history.events]
    chance.shuffle(order)
    left = {history.space: iter(history.events) for history in histories}
    events = [next(left[history.space]) for history in order]
    for _ in range(len(events) // 20):
        place = chance.randrange(len(events))
        events.insert(chance.randrange(place, len(events)) + 1, events[place])
    return events


@pytest.mark.parametrize("roles", [None, ROLES], ids=["no roles", "roles"])
def test_random_histories(nodes, tmp_path, figure, roles):
    print(f"PEDIGRAPH_SEED={SEED} PEDIGRAPH_HISTORIES={HISTORIES}")
    chance, node = random.Random(SEED), nodes(options=with_roles(tmp_path, roles) if roles else ())
    histories = [History(next(SPACES), f"{SEED}/{number}") for number in range(HISTORIES)]
    events, sent = shuffled_with_repeats(histories, chance), Sent(node)
    while events:
        size = chance.randint(1, BATCH_EVENTS)
        sent.send(events[:size])
        del events[:size]
    node.wait_visible(120)
    asked, verdicts, failed = 0, 0, []
    for history in histories:
        entries = sent.entries(history.events)
        for question in history.questions(len(entries), roles):
            if is_of_two(entries, question):
                continue
            asked += 1
            found = difference(node, history.space, entries, question)
            verdicts += "digest" in question and not found
            if found:
                failed.append((history.space, entries, question, found))
    shapes = {str(differing(each[3])): each for each in reversed(failed)}
    stories = [smallest(node, *each) for each in list(shapes.values())[:5]]
    assert not failed, f"{len(failed)} of {asked} answers differ, seed {SEED}; some of them:\n\n" + "\n\n".join(
        map(story, stories)
    )
    assert asked > HISTORIES * (VERDICTS_EACH + IMPACTS_EACH) // 2
    count = sum(len(history.events) for history in histories)
    figure(f"VEX: {asked} answers over {HISTORIES} histories of {count} events are as recomputed, seed {SEED}")
