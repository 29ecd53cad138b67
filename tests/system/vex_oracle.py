"""What the specification makes of statements, findings and deployments (SPEC §2.3, §3.2, §5), slow and plain.

It takes the events as they were sent, with what receipts and entries say of them, and reads all for each question.
"""

import hashlib
import json
import re
import uuid
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from functools import cmp_to_key
from urllib.parse import unquote

CAUTIOUS = ("affected", "under_investigation", "fixed", "not_affected")
WEIGHTS = {"producer": Fraction(1), "supplier": Fraction(9, 10), "other": Fraction(6, 10)}
FINDINGS, OF_COMPONENT, UNSIGNED = Fraction(1, 2), Fraction(8, 10), Fraction(7, 10)
# What CycloneDX calls them.
STATES = {
    "exploitable": "affected",
    "in_triage": "under_investigation",
    "resolved": "fixed",
    "not_affected": "not_affected",
    "false_positive": "not_affected",
}
LEVELS = 4
NAMESPACE = "pedigraph"


@dataclass
class Entry:
    """An event as it was sent, and where the ledger has it."""

    index: int
    recorded: str
    event_id: str
    event: dict

    @property
    def kind(self):
        return re.sub(r"^io\.pedigraph\.(.*)\.v1$", r"\1", self.event["type"])

    @property
    def data(self):
        return self.event["data"]

    @property
    def time(self):
        """The producer's time, else the payload's, else that of the record."""
        payload = self.data.get("metadata", {}).get("timestamp")
        return seconds(self.event.get("time") or payload or self.recorded)


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# Purls and versions

Purl = namedtuple("Purl", "type namespace name version subpath repository")


def purl_of(text):
    rest, _, subpath = text.removeprefix("pkg:").partition("#")
    rest, _, qualifiers = rest.partition("?")
    path, _, version = rest.partition("@")
    kind, *spaces, name = [unquote(part) for part in path.split("/")]
    told = dict(pair.split("=", 1) for pair in qualifiers.split("&") if pair)
    return Purl(kind, "/".join(spaces), name, unquote(version), subpath, unquote(told.get("repository_url", "")))


def names(said, installed):
    """Whether a purl that somebody writes names a thing with that purl: qualifiers are ignored."""
    said, installed = purl_of(said), purl_of(installed)
    if (said.type, said.namespace, said.name, said.subpath) != (
        installed.type,
        installed.namespace,
        installed.name,
        installed.subpath,
    ):
        return False
    if said.type == "oci" and said.repository and installed.repository and said.repository != installed.repository:
        return False
    return not said.version or said.version == installed.version


def plain(purl):
    """A component's purl without what is ignored."""
    return purl_of(purl)._replace(repository="")


def dotted(version):
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else None


def compare_versions(a, b):
    """Versions of a document: as dotted numbers, else as text."""
    if dotted(a) is not None and dotted(b) is not None:
        a, b = dotted(a), dotted(b)
    return (a > b) - (a < b)


by_version = cmp_to_key(compare_versions)


def semver(text):
    """A key by which semantic versions are ordered; `0` is before every one of them."""
    if text == "0":
        return ((), ())
    core, _, pre = text.partition("+")[0].partition("-")
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".") if part)
    return tuple(map(int, core.split("."))), ((0, parts) if pre else (1,))


def in_range(version, events):
    """OSV's evaluation of the events of one range."""
    version, limits = semver(version), [semver(event["limit"]) for event in events if "limit" in event]
    if limits and not any(version < limit for limit in limits):
        return False
    vulnerable = False
    for event in sorted((event for event in events if "limit" not in event), key=lambda event: semver(*event.values())):
        if "introduced" in event and version >= semver(event["introduced"]):
            vulnerable = True
        elif ("fixed" in event and version >= semver(event["fixed"])) or (
            "lastAffected" in event and version > semver(event["lastAffected"])
        ):
            vulnerable = False
    return vulnerable


def concerns(affected, purl):
    """Whether what an advisory says of a package is about that component."""
    if not names(affected["purl"], purl):
        return False
    version = purl_of(purl).version
    return version in affected.get("versions", ()) or any(
        in_range(version, each["events"]) for each in affected.get("ranges", ())
    )


# Ids


def uuid5(namespace, name):
    return uuid.UUID(bytes=hashlib.sha1(namespace.bytes + name, usedforsecurity=False).digest()[:16], version=5)


def named_parts(*parts):
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def of_hex(digest):
    return bytes.fromhex(digest.partition(":")[2])


def replay_hash(event_ids, subject):
    """RFC 8785 of an object with ASCII texts: sorted names, no spaces."""
    told = {"eventIds": sorted(set(event_ids)), "rules": "1", "subject": subject}
    return "sha256:" + hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def consensus_id(artifact, vulnerability, replay, tenant="default"):
    parts = named_parts(tenant.encode(), of_hex(artifact), vulnerability.encode(), of_hex(replay))
    return str(uuid5(uuid5(uuid.UUID(int=0), NAMESPACE.encode()), parts))


# Verdicts


@dataclass
class Document:
    """Statements of one version of a document, or of an SBOM."""

    entry: Entry
    issuer: str
    version: str
    time: float
    statements: list
    # Of an SBOM that another one replaced nothing counts.
    counts: bool = True


@dataclass
class Scan:
    """Findings of a report, or of an SBOM."""

    entry: Entry
    subject: str
    scanner: str
    target: str
    findings: list


@dataclass
class Item:
    """A statement or a finding, on one artifact."""

    entry: Entry
    issuer: str
    kind: str
    status: str
    rank: tuple = ()
    product: str = ""
    weight: Fraction = FINDINGS
    has_role: bool = False
    # Who is named: none where it is about the whole.
    components: set = field(default_factory=set)
    counts: bool = True
    applies: bool = False

    @property
    def told(self):
        return self.issuer, self.kind, self.status, self.entry.index


@dataclass
class Verdict:
    digest: str
    vulnerability: str
    status: str
    confidence: Fraction
    conflict: bool
    # Whether somebody who has a role says so of every component.
    by_role: bool
    items: list
    # Of an index: digest to status of each manifest.
    platforms: dict = field(default_factory=dict)

    @property
    def replay_hash(self):
        return replay_hash([item.entry.event_id for item in self.items], self.digest)

    @property
    def consensus_id(self):
        return consensus_id(self.digest, self.vulnerability, self.replay_hash)


def rounded(fraction):
    """Four decimals, half up."""
    return int(fraction * 10_000 + Fraction(1, 2)) / 10_000


def most_cautious(statuses):
    return min(statuses, key=CAUTIOUS.index)


def vote(items):
    """One vote: each issuer has a voice, and all findings together are one more. Tells too whether a role wins."""
    voices, spoken = [], []
    for issuer in sorted({item.issuer for item in items if item.kind == "vex"}):
        own = [item for item in items if item.kind == "vex" and item.issuer == issuer]
        best = [item for item in own if item.rank == min(other.rank for other in own)]
        status = most_cautious(item.status for item in best)
        said = [item for item in best if item.status == status]
        voices.append((status, max(item.weight for item in said), any(item.has_role for item in said)))
        spoken += said
    findings = [item for item in items if item.kind == "finding"]
    if findings:
        voices.append(("affected", FINDINGS, False))
        spoken += findings
    for item in spoken:
        item.applies = True
    sums = {status: sum(weight for said, weight, _ in voices if said == status) for status in CAUTIOUS}
    winner = max(CAUTIOUS, key=lambda status: (sums[status], -CAUTIOUS.index(status)))
    conflict = len({status for status, _, _ in voices}) > 1
    return winner, sums[winner] / sum(sums.values()), conflict, any(role for said, _, role in voices if said == winner)


def together(votes):
    """The most cautious of several, with the lowest confidence among those that say so."""
    status = most_cautious(each[0] for each in votes)
    lowest = min(each[1] for each in votes if each[0] == status)
    return status, lowest, any(each[2] for each in votes), all(each[3] for each in votes)


NOTHING_COUNTS = "unknown", Fraction(0), False, False


class World:
    """What the ledger held up to an index (inclusive), at a moment; without one the newest state.

    `roles` is what the configuration says of issuers: by name, their `role`, and where it is said `source` and `signs`.
    """

    def __init__(self, entries, as_of=None, at=None, roles=None):
        self.roles = roles or {}
        self.entries = sorted((e for e in entries if as_of is None or e.index <= as_of), key=lambda entry: entry.index)
        self.at = float("inf") if at is None else seconds(at)
        self._join_digests()
        self._join_vulnerabilities()
        self.sboms = self._current_sboms()
        self.documents = self._current_documents()

    def of(self, kind):
        return [entry for entry in self.entries if entry.kind == kind]

    # Identity: follows the ledger's clock only.

    def _join_digests(self):
        same, configs, self.manifests, self.attestations, self.canonical_first = [], {}, {}, set(), set()
        for entry in self.of("image-observed"):
            data = entry.data
            if "configDigest" in data:
                configs.setdefault(data["configDigest"], set()).add(data["digest"])
                self.canonical_first.add(data["digest"])
            for manifest in data.get("manifests", ()):
                if manifest.get("artifactType") == "attestation-manifest":
                    self.attestations.add(manifest["digest"])
                else:
                    self.manifests.setdefault(data["digest"], set()).add(manifest["digest"])
        for config, named_by in configs.items():
            if len(named_by) == 1:
                same.append({config, *named_by})
            else:
                self.manifests.setdefault(config, set()).update(named_by)
        same += [set(entry.data["digests"]) for entry in self.of("alias-observed")]
        self.classes = joined(same)

    def class_of(self, digest):
        return next((found for found in self.classes if digest in found), {digest})

    def canonical(self, digest):
        return min(
            self.class_of(digest), key=lambda one: (one not in self.canonical_first, not one.startswith("sha256:"), one)
        )

    def below(self, digest):
        """The manifests of an index, of those in it, and so on."""
        found, level = set(), self.class_of(digest)
        for _ in range(LEVELS):
            level = {self.canonical(one) for upper in level for one in self.manifests.get(upper, ())}
            found |= level
            level = {one for canonical in level for one in self.class_of(canonical)}
        return found

    def above(self, digest):
        own = self.canonical(digest)
        return {one for index in self.manifests if own in self.below(index) for one in self.class_of(index)}

    def own_purls(self, digest):
        told = [e.data for kind in ("artifact-packaged", "artifact-published") for e in self.of(kind)]
        return {data["purl"] for data in told if "purl" in data and data["artifactDigest"] in self.class_of(digest)}

    def _join_vulnerabilities(self):
        self.links = {}
        for entry in self.entries:
            data = entry.data
            told = {"vex-issued": data.get("statements", ()), "scan-completed": data.get("findings", ())}.get(
                entry.kind, ()
            )
            pairs = [(each["vulnerability"], alias) for each in told for alias in each.get("aliases", ())]
            self._link(pairs)
        for entry in self._newest_states(self.of("advisory-published")):
            self._link((entry.data["id"], alias) for alias in entry.data.get("aliases", ()))

    def _link(self, pairs):
        for one, other in pairs:
            self.links.setdefault(one, set()).add(other)
            self.links.setdefault(other, set()).add(one)

    def reached(self, id_):
        """All names that are reached without passing through a CVE."""
        found, ends = {id_}, [id_]
        while ends:
            one = ends.pop()
            if one != id_ and is_cve(one):
                continue
            new = self.links.get(one, set()) - found
            found |= new
            ends += new
        return found

    def vulnerability(self, id_):
        """Its name and all its names; None where it is the name of two."""
        cves = sorted(one for one in self.reached(id_) if is_cve(one))
        if is_cve(id_):
            cves = [id_]
        if len(cves) > 1:
            return None
        ids = {one for one in self.reached(cves[0] if cves else id_) if not is_cve(one)} | set(cves)
        return (cves[0] if cves else min(ids)), ids

    # Contents: follow the ledger's clock only.

    def _current_sboms(self):
        newest = {}
        for entry in self._sboms():
            metadata = entry.data["metadata"]
            root = metadata["component"]
            subject = self.canonical(entry.event["subject"])
            key = subject, tool_of(entry), plain(root["purl"]) if "purl" in root else root["name"]
            order = entry.time, entry.data.get("version", 1), entry.index
            if key not in newest or newest[key][0] < order:
                newest[key] = order, entry
        found = {}
        for (subject, _, _), (_, entry) in newest.items():
            found.setdefault(subject, []).append(entry)
        return found

    def contents(self, digest):
        """Purls of the components of an artifact, and of all manifests where it is an index."""
        holders = {self.canonical(digest), *self.below(digest)}
        return {
            component["purl"]
            for one in holders
            for sbom in self.sboms.get(one, ())
            for component in sbom.data["components"]
        }

    # What is said: follows both clocks.

    def _current_documents(self):
        """Of each document the version that holds: the greatest whose time has come. And what SBOMs say."""
        versions, self.replaced = {}, []
        for entry in self.of("vex-issued"):
            id_, version = entry.data.get("documentId"), entry.data.get("documentVersion", "")
            document = Document(entry, entry.data["issuer"], version, document_time(entry), entry.data["statements"])
            if document.time <= self.at:
                versions.setdefault((document.issuer, id_) if id_ else entry.index, []).append(document)
        held = []
        for issued in versions.values():
            *older, newest = sorted(issued, key=lambda one: (by_version(one.version), one.time, one.entry.index))
            held.append(newest)
            self.replaced += older
        return held + [document for document in map(self._of_sbom, self._sboms()) if document.time <= self.at]

    def _sboms(self):
        return [entry for entry in self.entries if entry.data.get("bomFormat") == "CycloneDX"]

    def _of_sbom(self, entry):
        """What is analysed in an SBOM: it counts while that is current, whichever version of which document it is."""
        told = [each for each in entry.data.get("vulnerabilities", ()) if "analysis" in each]
        current = any(entry is one for sboms in self.sboms.values() for one in sboms)
        statements = [
            {
                "vulnerability": each["id"],
                "product": entry.event["subject"],
                "subcomponents": [component_of(entry, each)],
                "status": STATES[each["analysis"]["state"]],
            }
            for each in told
            if says_something(entry, each)
        ]
        version, time = str(entry.data["version"]), seconds(entry.data["metadata"]["timestamp"])
        return Document(entry, tool_of(entry), version, time, statements, current)

    def _reports(self):
        for entry in self.of("scan-completed"):
            data = entry.data
            yield Scan(entry, data["artifactDigest"], data["scanner"], data.get("target", ""), data["findings"])
        for entry in self._sboms():
            listed = [each for each in entry.data.get("vulnerabilities", ()) if "analysis" not in each]
            found = [each for each in listed if says_something(entry, each)]
            findings = [{"vulnerability": each["id"], "purl": component_of(entry, each)} for each in found]
            # One that finds nothing any more is a scan too.
            if listed:
                yield Scan(entry, entry.event["subject"], tool_of(entry), "", findings)

    def _scans(self, digest):
        """The scans of each scanner and target, the newest last."""
        scans = {}
        for scan in sorted(self._reports(), key=lambda scan: (scan.entry.time, scan.entry.index)):
            if scan.entry.time <= self.at and scan.subject in self.class_of(digest):
                scans.setdefault((scan.scanner, scan.target), []).append(scan)
        return scans.values()

    def _advisories(self):
        states = self._newest_states(entry for entry in self.of("advisory-published") if entry.time <= self.at)
        return [entry for entry in states if "withdrawn" not in entry.data]

    @staticmethod
    def _newest_states(published):
        """Of each advisory the state with the greatest `modified`."""
        newest = {}
        for entry in published:
            order = seconds(entry.data["modified"]), entry.index
            if entry.data["id"] not in newest or newest[entry.data["id"]][0] < order:
                newest[entry.data["id"]] = order, entry
        return [entry for _, entry in newest.values()]

    def findings(self, digest, ids):
        for *_, scan in self._scans(digest):
            for finding in scan.findings:
                if finding["vulnerability"] in ids:
                    found = {plain(finding["purl"])}
                    yield Item(scan.entry, scan.scanner, "finding", "affected", components=found)
        for entry in self._advisories():
            if entry.data["id"] in ids:
                held = {
                    plain(purl)
                    for purl in self.contents(digest)
                    for each in entry.data["affected"]
                    if concerns(each, purl)
                }
                for component in sorted(held):
                    yield Item(entry, "", "finding", "affected", components={component})

    def rank(self, statement, digest):
        """How near a statement's product is to the artifact, None where it is not; and the components that it is."""
        product, contents = statement["product"], self.contents(digest)
        if not product.startswith("pkg:"):
            if product in self.class_of(digest):
                return (1, 0, 0), None
            return ((1, 1, 0), None) if product in self.above(digest) else (None, None)
        versionless = 0 if purl_of(product).version else 1
        if any(names(product, purl) for purl in self.own_purls(digest)):
            return (2, 0, versionless), None
        if any(names(product, purl) for upper in self.above(digest) for purl in self.own_purls(upper)):
            return (2, 1, versionless), None
        held = {plain(purl) for purl in contents if names(product, purl)}
        return ((3, 0, versionless), held) if held else (None, None)

    def weight(self, document, rank):
        """What the issuer of a document weighs, and whether it has a role."""
        role, source = self.roles.get(document.issuer, {}), document.entry.event["source"]
        if role.get("source", source) != source:
            role = {}
        factor = (OF_COMPONENT if rank[0] == 3 else 1) * (UNSIGNED if role.get("signs") else 1)
        return WEIGHTS[role.get("role", "other")] * factor, bool(role)

    def product(self, statement):
        """What a statement is about: a purl as it is written, or an artifact."""
        product = statement["product"]
        return product if product.startswith("pkg:") else self.canonical(product)

    def statements(self, digest, ids):
        """Those about an artifact whose time has come. Of one issuer on one thing the latest counts."""
        found, latest, contents = [], {}, self.contents(digest)
        for document in self.documents:
            for position, statement in enumerate(document.statements):
                rank, held = self.rank(statement, digest)
                if rank is None or statement["vulnerability"] not in ids or own_time(statement, document) > self.at:
                    continue
                item = Item(document.entry, document.issuer, "vex", statement["status"], rank, statement["product"])
                item.weight, item.has_role = self.weight(document, rank)
                keys = [
                    (item.issuer, self.product(statement), each) for each in statement.get("subcomponents") or [None]
                ]
                order = own_time(statement, document), by_version(document.version), document.entry.index, position
                for key in keys:
                    if document.counts and (key not in latest or latest[key][0] < order):
                        latest[key] = order, item
                found.append((item, keys, held))
        for item, keys, held in found:
            counting = [key[2] for key in keys if key in latest and latest[key][1] is item]
            matched = {plain(purl) for each in counting if each for purl in contents if names(each, purl)}
            item.components = matched or held or set()
            item.counts = bool(matched) or None in counting
            yield item

    def superseded(self, digest, ids):
        """Statements of versions of documents and scans that found it, which newer ones replace: they are counted."""
        parts = [digest, *self.below(digest)]
        statements = sum(
            statement["vulnerability"] in ids
            and own_time(statement, document) <= self.at
            and any(self.rank(statement, part)[0] for part in parts)
            for document in self.replaced
            for statement in document.statements
        )
        older = [scan for part in parts for *older, _ in self._scans(part) for scan in older]
        return statements + sum(any(each["vulnerability"] in ids for each in scan.findings) for scan in older)

    def single(self, digest, vulnerability, ids):
        """The verdict of one artifact by itself; None where nobody says anything."""
        items = [*self.findings(digest, ids), *self.statements(digest, ids)]
        named = {component for item in items if item.counts for component in item.components}
        return self.of_components(digest, vulnerability, items, named) if items else None

    def of_index(self, digest, vulnerability, ids):
        """What scans and SBOMs of an index itself say, and what is said of that: a further part of the index."""
        held = {
            plain(component["purl"]) for sbom in self.sboms.get(digest, ()) for component in sbom.data["components"]
        }
        found = [item for item in self.findings(digest, ids) if item.issuer or item.components & held]
        scanned = {component for item in found for component in item.components}
        said = list(self.statements(digest, ids))
        named = scanned | {each for item in said if item.counts for each in item.components & held}
        said = [item for item in said if not item.components or item.components & named]
        counting = any(item.counts for item in found + said)
        return self.of_components(digest, vulnerability, found + said, named) if (found or held) and counting else None

    def of_components(self, digest, vulnerability, items, named):
        """A vote on each component that is named, or one on the whole where none is."""
        counting = [item for item in items if item.counts]
        on = [[item for item in counting if not item.components or component in item.components] for component in named]
        votes = [vote(group) for group in on or [counting] if group]
        return Verdict(self.canonical(digest), vulnerability, *(together(votes) if votes else NOTHING_COUNTS), items)

    def verdict(self, digest, id_):
        """None where there is neither statement nor finding."""
        vulnerability, ids = self.vulnerability(id_)
        below = sorted(self.below(digest))
        if not below:
            return self.single(digest, vulnerability, ids)
        leaves = [one for one in below if not self.below(one)]
        each = {leaf: self.single(leaf, vulnerability, ids) for leaf in leaves}
        further = [self.of_index(one, vulnerability, ids) for one in (digest, *below) if one not in leaves]
        parts = [part for part in (*each.values(), *further) if part]
        if not parts:
            return None
        items = [item for part in parts for item in part.items]
        said = [
            (part.status, part.confidence, part.conflict, part.by_role) for part in parts if part.status in CAUTIOUS
        ]
        platforms = {manifest: part.status if part else "unknown" for manifest, part in each.items()}
        told = together(said) if said else NOTHING_COUNTS
        return Verdict(self.canonical(digest), vulnerability, *told, items, platforms)

    # Deployments

    def running(self):
        """Of each (environment, cluster, namespace, service) the newest word at that moment."""
        newest = {}
        for entry in self.of("service-deployed") + self.of("service-removed"):
            if entry.time <= self.at:
                data = entry.data
                key = data["environment"], data.get("cluster", ""), data.get("namespace", ""), data["service"]
                if key not in newest or (newest[key].time, newest[key].index) < (entry.time, entry.index):
                    newest[key] = entry
        deployed = [entry.data for entry in newest.values() if entry.kind == "service-deployed"]
        return {(data["environment"], data["service"], self.canonical(data["artifactDigest"])) for data in deployed}

    def digests(self):
        """Every artifact that an event names."""
        return {self.canonical(digest) for entry in self.entries for digest in named_in(entry)}

    def is_undescribed(self, digest):
        """Nobody listed the components of it, or of one of its manifests: an index under it may be listed as a whole."""
        below = self.below(digest)
        described = {one for one in (digest, *below) if one in self.sboms}
        described |= {lower for one in described for lower in self.below(one)}
        leaves = [one for one in below if not self.below(one)] or [digest]
        return digest not in described and any(leaf not in described for leaf in leaves)

    def has_unknown(self, verdict):
        """Of one of the manifests nothing is known: who clears the others does not clear that."""
        return any(status == "unknown" and one not in self.sboms for one, status in verdict.platforms.items())

    def is_about_itself(self, digest, verdict, ids):
        """Of an index that nobody says anything about its manifests stand in the lists."""
        own = self.class_of(digest)
        return (
            not self.below(digest)
            or any(own & {item.entry.data.get("artifactDigest"), item.product} for item in verdict.items)
            or self.of_index(digest, verdict.vulnerability, ids) is not None
        )

    def is_known(self, digest):
        """Whether an event whose time has come names it."""
        return any(entry.time <= self.at and self.class_of(digest) & named_in(entry) for entry in self.entries)

    def impact(self, id_):
        """The rows of each list, with their verdicts; what runs nowhere has no environment and no service.

        What runs, and of which nothing that counts is said, is unknown unless its components are known; an index is too
        where that is so of a manifest.
        Needless are rows of indexes that are as their manifests, which are listed.
        """
        found = {"deployed": {}, "cleared": {}, "unknown": {}, "notDeployed": {}, "needless": {}}
        running = self.running()
        covered = {one for _, _, digest in running for one in (digest, *self.below(digest))}
        idle = {(None, None, digest) for digest in self.digests() - covered - self.attestations}
        for row in running | idle:
            verdict = self.verdict(row[2], id_)
            if not row[0] and verdict and not self.is_about_itself(row[2], verdict, self.vulnerability(id_)[1]):
                found["needless"][row] = verdict
                continue
            status = verdict.status if verdict else None
            if status in CAUTIOUS[:2] or (self.roles and status in CAUTIOUS and not verdict.by_role):
                found["deployed" if row[0] else "notDeployed"][row] = verdict
            elif row[0] and (self.is_undescribed(row[2]) if status not in CAUTIOUS else self.has_unknown(verdict)):
                found["unknown"][row] = None
            elif status in CAUTIOUS:
                found["cleared"][row] = verdict
        return found


def named_in(entry):
    """The digests of artifacts in an event."""
    data = entry.data
    found = {data.get("artifactDigest"), data.get("digest"), data.get("configDigest"), entry.event.get("subject")}
    found |= {*data.get("digests", ()), *(manifest["digest"] for manifest in data.get("manifests", ()))}
    found |= {each["product"] for each in data.get("statements", ()) if not each["product"].startswith("pkg:")}
    return found - {None}


def own_time(statement, document):
    return seconds(statement["time"]) if "time" in statement else document.time


def tool_of(sbom):
    return sbom.data["metadata"]["tools"]["components"][0]["name"]


def says_something(sbom, vulnerability):
    """Whether a vulnerability of an SBOM is said of the version that is installed.

    Nobody is affected by one that was rejected. Of the versions that are named those count that are the installed one:
    one that contradicts itself is affected; where only others are affected nothing is said of this one, and where only
    others are not, nothing clears this one.
    """
    clears = STATES.get(vulnerability.get("analysis", {}).get("state")) in CAUTIOUS[2:]
    named = vulnerability["affects"][0].get("versions", ())
    installed = purl_of(component_of(sbom, vulnerability)).version
    said = {each.get("status", "affected") for each in named if each["version"] == installed}
    elsewhere = {each.get("status", "affected") for each in named} - {"unaffected"}
    if "rejected" in vulnerability and not clears:
        return False
    if not named or said - {"unaffected"}:
        return True
    return clears if said else not clears and not elsewhere


def component_of(sbom, vulnerability):
    """The purl of the component that a vulnerability of an SBOM affects."""
    ref = vulnerability["affects"][0]["ref"]
    return next(each["purl"] for each in sbom.data["components"] if each["bom-ref"] == ref)


def document_time(entry):
    told = entry.data.get("documentTime")
    return seconds(told) if told else entry.time


def is_cve(id_):
    return id_.startswith("CVE-")


def joined(sets):
    """Sets that have something in common are one."""
    found = []
    for one in sets:
        apart = [other for other in found if not other & one]
        found = [*apart, set(one).union(*(other for other in found if other & one))]
    return found
