"""Evidence packs: exported of real documents, checked with the server stopped, and refused whatever is changed in them."""

import base64
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import uuid
import zipfile

import pytest
import tlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pedigraph import BINARY, Node, deployed, digest, problem, published, run, until
from test_images import packaged
from test_witness import Scripted, peer, policy_of, started  # noqa: F401

REFUSED = 5
USAGE = 2
KINDS = ("README.md", "answers/", "checkpoint", "documents/", "entries/", "key.pem", "keys", "manifest.dsse.json", "manifest.json", "proofs/", "vkey")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class World:
    """A stopped server's ledger about a real image and a real binary, and a pack of both."""

    def __init__(self, directory, corpora):
        self.directory = directory
        self.node = node = Node(directory / "data").start()
        builds = [
            build for build in json.loads((corpora / "docker-official-images/builds.json").read_text()).values()
            if (build["build"].get("resolved") or {}).get("manifest") and build["build"].get("resolvedParents")
        ]
        build = min(builds, key=lambda build: build["buildId"])
        self.image = build["build"]["resolved"]["manifest"]["desc"]["digest"]
        node.accept(json.dumps(packaged(build)).encode())
        about = {"pedigraph-subject": self.image}
        self.sbom = largest(corpora / "cyclonedx", 2 << 20)
        assert node.post(self.sbom, headers=about).status_code == 201
        self.scan = next(file.read_bytes() for file in sorted((corpora / "trivy").glob("**/*.golden")) if b'"SchemaVersion"' in file.read_bytes())
        assert node.post(self.scan, headers=about).status_code == 201
        node.accept(json.dumps(deployed("cart", "r.example/cart:1", "prod", artifactDigest=self.image)).encode())
        self.provenance = (corpora / "slsa/gha_go/v1.1.1/binary-linux-amd64-push-v14.intoto.jsonl").read_bytes()
        assert node.post(self.provenance, "application/vnd.in-toto+json").status_code == 201
        statement = json.loads(base64.b64decode(json.loads(self.provenance)["payload"]))
        self.binary = "sha256:" + statement["subject"][0]["digest"]["sha256"]
        for other in range(40):
            node.accept(json.dumps(deployed(f"other-{other}", f"r.example/other:{other}", "staging")).encode())
        node.wait_visible()
        until(lambda: node.head()["checkpointSize"] == node.size(), "a checkpoint of everything", 20, node.alive)
        self.vkey = node.get("/ledger/default/vkey").text.strip()
        self.checkpoint = directory / "old-checkpoint"
        self.checkpoint.write_text(node.get("/ledger/default/checkpoint").text)
        self.pack = directory / "pack.zip"
        self.exported = ok("export", self.image, self.binary, "-o", self.pack, url=node.url).strip()
        self.answers = {
            (reference, kind): node.get(path).content
            for reference in (self.image, self.binary)
            for kind, path in (("lineage", f"/api/v1/lineage/{reference}"), ("artifact", f"/api/v1/artifacts/{reference}"))
        }
        self.metrics = node.get("/metrics").text
        assert node.stop() == 0

    def files(self):
        return unzip(self.pack)


def largest(directory, most):
    files = [file for file in directory.glob("**/*.json") if file.stat().st_size < most and b'"bomFormat"' in file.read_bytes()[:4096]]
    return max(files, key=lambda file: (file.stat().st_size, file.name)).read_bytes()


def ok(*arguments, **more):
    done = run(*arguments, **more)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode()


def unzip(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return path


def recomputed(files):
    """The manifest with the digests and sizes of the files as they are."""
    manifest = json.loads(files["manifest.json"])
    for row in manifest["files"]:
        row["sha256"], row["size"] = sha256(files[row["name"]]), len(files[row["name"]])
    return {**files, "manifest.json": json.dumps(manifest, indent=2).encode()}


def unsigned(files):
    """As one who has no key would change a pack."""
    manifest = {**json.loads(files["manifest.json"]), "signed": False}
    kept = {name: data for name, data in files.items() if name != "manifest.dsse.json"}
    return {**kept, "manifest.json": json.dumps(manifest).encode()}


def signed_by(files, key):
    """The statement of the manifest as it is, signed by another key."""
    manifest = json.loads(files["manifest.json"])
    envelope = json.loads(files["manifest.dsse.json"])
    statement = json.loads(base64.b64decode(envelope["payload"]))
    digests = {"manifest.json": sha256(files["manifest.json"]), **{row["name"]: row["sha256"] for row in manifest["files"]}}
    for subject in statement["subject"]:
        subject["digest"]["sha256"] = digests[subject["name"]]
    payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(key.sign(pae(envelope["payloadType"], payload))).decode()
    return {**files, "manifest.dsse.json": json.dumps(envelope).encode()}


def pae(type_, payload):
    return f"DSSEv1 {len(type_)} {type_} {len(payload)} ".encode() + payload


def refused(path, *arguments, code=REFUSED):
    """What is said to a pack that must not pass."""
    done = run("verify", path, *arguments)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, f"{done.returncode}: {said}"
    assert "panicked" not in said
    return said


@pytest.fixture(scope="module")
def world(tmp_path_factory, corpora):
    return World(tmp_path_factory.mktemp("pack"), corpora)


# What is in it


def test_a_pack_is_verified_without_server_and_network(world):
    said = ok("verify", world.pack, "--vkey", world.vkey, cwd="/")
    for check in ("the zip is plain", "signed by", "inclusion proof", "documents are the bodies", "answers about 2 artifacts", "verified:"):
        assert check in said, said
    assert "trust on first use" not in said
    first_use = ok("verify", world.pack)
    assert "it was taken from the pack itself (trust on first use)" in first_use
    body = json.loads(ok("verify", world.pack, "--key", world.vkey, "-o", "json"))
    assert body["verified"] and body["artifacts"] == sorted([world.image, world.binary]), body
    assert body["entries"] >= 5 and body["documents"] == body["entries"]


def test_a_pack_has_the_documents_as_they_were_received(world):
    files = world.files()
    documents = {data for name, data in files.items() if name.startswith("documents/")}
    assert {world.sbom, world.scan, world.provenance} <= documents
    assert not any(b"other-7" in document for document in documents), "only what is asked for"
    manifest = json.loads(files["manifest.json"])
    assert set(files) == {row["name"] for row in manifest["files"]} | {"manifest.json", "manifest.dsse.json"}
    for row in manifest["files"]:
        assert (row["sha256"], row["size"]) == (sha256(files[row["name"]]), len(files[row["name"]])), row
    assert {next(kind for kind in KINDS if name.startswith(kind)) for name in files} == set(KINDS)
    for (reference, kind), answer in world.answers.items():
        assert files[f"answers/{reference.replace(':', '-')}.{kind}.json"] == answer
    assert world.exported == "sha256:" + sha256(world.pack.read_bytes())
    assert "sbom_lineage_export_size_bytes_count 1" in world.metrics


def test_the_same_question_has_the_same_bytes(world, tmp_path):
    """From the data directory or from a server, in any order of the artifacts."""
    again = tmp_path / "again.zip"
    said = ok("export", world.binary, world.image, "--data", world.node.data, "-o", again)
    assert again.read_bytes() == world.pack.read_bytes()
    assert said.strip() == world.exported
    assert [file.name for file in tmp_path.iterdir()] == ["again.zip"]


def test_strangers_verify_entries_and_signature(world, tmp_path):
    files = world.files()
    manifest = json.loads(files["manifest.json"])
    for row in manifest["files"]:
        if row["name"].startswith("proofs/"):
            index, size = tlog.tlog_proof(files[row["name"]].decode(), world.vkey, files[f"entries/{row['entry']}"])
            assert (index, size) == (row["entry"], manifest["checkpoint"]["size"])
    envelope = json.loads(files["manifest.dsse.json"])
    payload = base64.b64decode(envelope["payload"])
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    key = load_pem_public_key(files["key.pem"])
    key.verify(signature, pae(envelope["payloadType"], payload))
    with pytest.raises(InvalidSignature):
        key.verify(signature, payload)
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert subjects == {name: sha256(data) for name, data in files.items() if name != "manifest.dsse.json"}
    program = os.environ.get("PEDIGRAPH_TEST_AICS_TLOG", "none")
    if program == "none":
        return
    vkey = tmp_path / "vkey"
    vkey.write_text(world.vkey + "\n")
    for change, accepted in ((b"", True), (b"\0", False)):
        bundle = tmp_path / "bundle.json"
        index = max(row["entry"] for row in manifest["files"] if row["name"].startswith("entries/"))
        bundle.write_text(json.dumps(aics_bundle(files, index, change)))
        done = subprocess.run([program, "verify-bundle", "--bundle", bundle, "--offline", "--vkey-file", vkey], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) is accepted, done.stdout + done.stderr


def aics_bundle(files, index, change):
    """An entry, its proof and the checkpoint as aics-tlog reads them."""
    head, note = files[f"proofs/{index}.tlog-proof"].decode().split("\n\n", 1)
    u64 = lambda data: base64.urlsafe_b64encode(data).decode().rstrip("=")
    return {
        "entry_bytes": u64(files[f"entries/{index}"] + change), "index": index, "inclusion_proof": head.split("\n")[2:],
        "checkpoint_note": u64(note.encode()), "envelope": None, "body_or_ct": None,
    }


def test_the_commands_in_a_pack_s_readme_work(world, tmp_path):
    with zipfile.ZipFile(world.pack) as archive:
        archive.extractall(tmp_path)
    commands = (tmp_path / "README.md").read_text().split("```sh\n")[1].split("```")[0].replace("/tmp/", f"{tmp_path}/.")
    check = lambda: subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    done = check()
    assert done.returncode == 0 and "Signature Verified Successfully" in done.stdout, done.stdout + done.stderr
    document = next(path for path in (tmp_path / "documents").iterdir())
    document.write_bytes(document.read_bytes() + b" ")
    done = check()
    assert done.returncode != 0 and f"documents/{document.name}: FAILED" in done.stdout, done.stdout + done.stderr


def test_a_policy_demands_its_witnesses_of_a_pack(tmp_path, peer):
    policy, pack, subject = policy_of(tmp_path, peer.vkey, peer.url), tmp_path / "pack.zip", digest(9)
    with started(tmp_path, policy, "hold") as node:
        node.accept(json.dumps(deployed("cart", "r.example/cart:1", "prod", artifactDigest=subject)).encode(), wait="visible")
        until(lambda: node.signed_size() == 1, "a checkpoint", 20, node.alive)
        ok("export", subject, "-o", pack, url=node.url)
        key = ok("log", "vkey", url=node.url).strip()
    assert "quorum is reached; cosigned by: W" in ok("verify", pack, "--vkey", key, "--policy", policy)
    policy.write_text(f"log {key}\n" + policy.read_text())
    said = ok("verify", pack, "--policy", policy)
    assert "cosigned by: W" in said and "trust on first use" not in said
    stranger = Scripted(seed=2)
    stranger.close()
    policy.write_text(f"log {key}\nwitness V {stranger.vkey}\nquorum V\n")
    assert "quorum is not reached" in refused(pack, "--policy", policy)
    # A cosignature that was put there does not verify.
    files = unzip(pack)
    lines = files["checkpoint"].decode().splitlines(keepends=True)
    name, blob = lines[-1].split(" ")[1:]
    forged = bytearray(base64.b64decode(blob))
    forged[-1] ^= 1
    note = "".join([*lines[:-1], f"\u2014 {name} {base64.b64encode(bytes(forged)).decode()}\n"])
    changed = {name: note.join(data.decode().rsplit(files["checkpoint"].decode(), 1)).encode() if name.startswith("proofs/") else data for name, data in files.items()}
    changed = unsigned(recomputed({**changed, "checkpoint": note.encode()}))
    policy.write_text(f"witness W {peer.vkey} {peer.url}\nquorum W\n")
    assert "does not verify" in refused(rezip(pack, changed), "--vkey", key, "--policy", policy, "--unsigned")


def replay_hash(files, subject, inputs):
    """SPEC §3.2, of the leaves in a pack: version and id are the first fields of a leaf."""
    ids = set()
    for given in inputs:
        leaf = files[f"entries/{given['proof']['index']}"]
        assert tlog.leaf_hash(leaf).hex() == given["proof"]["leafHash"] and leaf[:4] == b"\x08\x01\x12\x10"
        ids.add(str(uuid.UUID(bytes=leaf[4:20])))
    text = json.dumps({"eventIds": sorted(ids), "rules": "1", "subject": subject}, separators=(",", ":"))
    return "sha256:" + sha256(text.encode())


def test_verdicts_and_changes_since_the_parent_are_proved_by_what_is_in_a_pack(world, nodes, tmp_path):
    """A real SBOM and scan of one version, and a vendor who clears the next one of one finding."""
    node, old, new, pack = nodes("versions"), digest(1), digest(2), tmp_path / "pack.zip"
    for version, subject in (("1.0.0", old), ("1.1.0", new)):
        node.accept(json.dumps(published(f"r.example/cart:{version}", subject)).encode())
    for document in (world.sbom, world.scan):
        assert node.post(document, headers={"pedigraph-subject": old}).status_code == 201
    results = json.loads(world.scan)["Results"]
    cve = next(found["VulnerabilityID"] for result in results for found in result.get("Vulnerabilities") or [])
    product = {"@id": f"pkg:oci/cart@{new}", "hashes": {"sha-256": new.removeprefix("sha256:")}}
    said = {"vulnerability": {"name": cve}, "products": [product], "status": "not_affected", "justification": "component_not_present"}
    openvex = {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://vendor.example/vex/1", "author": "vendor",
        "timestamp": "2026-01-01T00:00:00Z", "version": 1, "statements": [said],
    }
    assert node.post(json.dumps(openvex).encode()).status_code == 201
    node.wait_visible()
    until(lambda: node.head()["checkpointSize"] == node.size(), "a checkpoint of everything", 20, node.alive)
    ok("export", old, new, "-o", pack, url=node.url)
    assert node.stop() == 0
    files = unzip(pack)
    answer = lambda subject, kind: json.loads(files[f"answers/{subject.replace(':', '-')}.{kind}.json"])
    hashes = 0
    for subject in (old, new):
        verdicts = answer(subject, "verdicts")
        assert verdicts["count"] == len(verdicts["verdicts"]) > 0 and not verdicts["atLeast"]
        for verdict in verdicts["verdicts"]:
            assert verdict["replayHash"] == replay_hash(files, subject, verdict["explanation"])
            hashes += 1
    assert [(verdict["vulnerability"], verdict["status"]) for verdict in answer(new, "verdicts")["verdicts"]] == [(cve, "not_affected")]
    assert answer(old, "changes")["parents"] == []
    (parent,) = answer(new, "changes")["parents"]
    assert (parent["from"], parent["to"]) == (old, new)
    cleared = next(delta for delta in parent["deltas"] if delta["cve"] == cve)
    assert cleared["toStatus"] == "not_affected" and cleared["rationale"]["evidenceLink"].removeprefix("/api/v1/") in files
    sboms = parent["diff"]["sbomDiff"]
    assert (sboms["undescribed"], sboms["removed"]) == (["to"], []), "the next version has no SBOM"
    for changed in (parent["diff"], *parent["deltas"]):
        assert changed["replayHash"] == replay_hash(files, f"{old}..{new}", changed["inputs"])
        hashes += 1
    assert f"ok  {hashes} replay hashes of verdicts, deltas and diffs" in ok("verify", pack)
    # One who has no key cannot leave out what was said: the entries it names give another hash.
    name = f"answers/{new.replace(':', '-')}.verdicts.json"
    verdicts = json.loads(files[name])
    verdicts["verdicts"][0]["explanation"] = []
    forged = unsigned(recomputed({**files, name: json.dumps(verdicts).encode()}))
    assert "is not that of the entries it names" in refused(rezip(tmp_path / "forged.zip", forged), "--unsigned")


# What must not pass


def test_one_changed_byte_is_found_in_every_kind_of_file(world, tmp_path):
    files = world.files()
    for kind in KINDS:
        name = next(name for name in files if name.startswith(kind))
        data = bytearray(files[name] or b"x")
        data[len(data) // 2] ^= 1
        changed = rezip(tmp_path / "changed.zip", {**files, name: bytes(data)})
        for key in ((), ("--vkey", world.vkey)):
            said = refused(changed, *key)
            assert kind.split("/")[0] in said, said
    name = next(name for name in files if name.startswith("documents/"))
    changed = rezip(tmp_path / "changed.zip", {**files, name: files[name] + b" "})
    said = refused(changed)
    assert f"expected {sha256(files[name])}; found " in said and name in said


def test_a_missing_and_an_added_file_are_named(world, tmp_path):
    files = world.files()
    for kind in KINDS:
        name = next(name for name in files if name.startswith(kind))
        rest = {other: data for other, data in files.items() if other != name}
        assert f"{name}: is missing" in refused(rezip(tmp_path / "less.zip", rest))
    assert "notes.txt: is in the zip and not in the manifest" in refused(rezip(tmp_path / "more.zip", {**files, "notes.txt": b"x"}))
    listed = json.loads(files["manifest.json"])
    listed["files"].append({"name": "notes.txt", "sha256": sha256(b"x"), "size": 1, "mediaType": "text/plain"})
    more = unsigned({**files, "notes.txt": b"x", "manifest.json": json.dumps(listed).encode()})
    assert "notes.txt" in refused(rezip(tmp_path / "more.zip", more), "--unsigned")


def test_swapped_documents_and_entries_are_refused(world, tmp_path):
    files = world.files()
    for kind in ("documents/", "entries/", "proofs/"):
        one, two = [name for name in files if name.startswith(kind)][:2]
        swapped = {**files, one: files[two], two: files[one]}
        assert "has other bytes than the manifest says" in refused(rezip(tmp_path / "swapped.zip", swapped))
        said = refused(rezip(tmp_path / "swapped.zip", unsigned(recomputed(swapped))), "--unsigned")
        assert "entry" in said, said
    one, two = [name for name in files if name.startswith("documents/")][:2]
    said = refused(rezip(tmp_path / "swapped.zip", unsigned(recomputed({**files, one: files[two], two: files[one]}))), "--unsigned")
    assert f"expected {sha256(files[one])}; found {sha256(files[two])}" in said


def test_a_manifest_that_was_written_anew_is_refused(world, tmp_path):
    """Every digest fits, but the ledger's key has not signed it."""
    files = world.files()
    name = next(name for name in files if name.endswith(".trace.json"))
    forged = recomputed({**files, name: files[name].replace(b"found", b"FOUND")})
    assert forged[name] != files[name]
    said = refused(rezip(tmp_path / "forged.zip", forged))
    assert "is not the manifest that was signed" in said and sha256(files["manifest.json"]) in said
    stranger = Ed25519PrivateKey.generate()
    assert "not by the log's key" in refused(rezip(tmp_path / "forged.zip", signed_by(forged, stranger)))
    # Taking the signature off is no way round: such a pack is refused unless that is wanted, and then says what it proves.
    stripped = rezip(tmp_path / "stripped.zip", unsigned(forged))
    assert "is not signed" in refused(stripped)
    assert "not checked: the manifest is not signed" in ok("verify", stripped, "--unsigned")


def test_an_answer_cannot_name_what_is_not_proved(world, tmp_path):
    files = world.files()
    name = next(name for name in files if name.endswith(".lineage.json"))
    answer = json.loads(files[name])
    answer["artifact"]["proof"]["leafHash"] = "0" * 64
    said = refused(rezip(tmp_path / "forged.zip", unsigned(recomputed({**files, name: json.dumps(answer).encode()}))), "--unsigned")
    assert "another hash" in said or "names a proof" in said
    documents = [name for name in files if name.startswith("documents/")]
    manifest = json.loads(files["manifest.json"])
    manifest["files"] = [row for row in manifest["files"] if row["name"] != documents[0]]
    less = {name: data for name, data in files.items() if name != documents[0]}
    said = refused(rezip(tmp_path / "less.zip", unsigned({**less, "manifest.json": json.dumps(manifest).encode()})), "--unsigned")
    assert "neither in the pack nor rightly withheld" in said


def test_another_log_is_refused(world, nodes, tmp_path):
    node = nodes("other")
    node.accept(json.dumps(deployed("cart", "r.example/cart:1", "prod", artifactDigest=digest(7))).encode(), wait="visible")
    until(lambda: node.head()["checkpointSize"] == node.size(), "a checkpoint", 20, node.alive)
    other = tmp_path / "other.zip"
    ok("export", digest(7), "-o", other, url=node.url)
    ok("verify", other)
    assert "checkpoint" in refused(other, "--vkey", world.vkey)
    files, foreign = world.files(), unzip(other)
    mixed = {**files, "checkpoint": foreign["checkpoint"]}
    refused(rezip(tmp_path / "mixed.zip", mixed))
    refused(rezip(tmp_path / "mixed.zip", unsigned(recomputed(mixed))), "--unsigned")
    mixed.update({name: foreign[name] for name in ("vkey", "keys", "key.pem")})
    refused(rezip(tmp_path / "mixed.zip", unsigned(recomputed(mixed))), "--unsigned")


def test_hostile_zips_are_refused(world, tmp_path, figure):
    files = world.files()
    hostile = tmp_path / "hostile.zip"
    for name in ("../outside", "/etc/outside", "a/../../outside", "C:\\outside", "entries/../../x"):
        assert "may lead out" in refused(rezip(hostile, {**files, name: b"x"})), name
    with pytest.warns(UserWarning, match="Duplicate name"):
        rezip(hostile, [*files.items(), ("manifest.json", b"{}")])
    assert "duplicate" in refused(hostile)
    # A gigabyte of zeros in a megabyte, in the place of a document: no more is unpacked than the manifest says.
    name = next(name for name in files if name.startswith("documents/"))
    rezip(hostile, {**files, name: bytes(1 << 30)})
    assert hostile.stat().st_size < 4 << 20
    in_little_memory = ["bash", "-c", 'ulimit -v 2000000; exec "$@"', "-", BINARY, "verify", hostile]
    done = subprocess.run(in_little_memory, capture_output=True, timeout=60, check=False)
    assert done.returncode == REFUSED and b"other bytes" in done.stderr, done.stderr
    whole = world.pack.read_bytes()
    for change in (b"x" + whole, whole + b"x", whole[:-1], whole[: len(whole) // 2], end_of(whole, count=65_535), end_of(whole, size=1 << 31)):
        hostile.write_bytes(change)
        refused(hostile, code=REFUSED if change.startswith(b"PK") else USAGE)
    # A file that the directory does not show, and one that is shown twice.
    hidden = io.BytesIO()
    with zipfile.ZipFile(hidden, "w") as archive:
        archive.writestr("hidden", b"x" * 100)
        start = archive.start_dir
    local = hidden.getvalue()[:start]
    at = struct.unpack_from("<I", whole, len(whole) - 6)[0]
    hostile.write_bytes(end_of(whole[:at] + local + whole[at:], start=at + len(local)))
    refused(hostile)
    empty = rezip(hostile, {})
    assert "manifest.json" in refused(empty)
    hostile.write_bytes(b"no zip at all, whatever its name")
    refused(hostile, code=USAGE)


def end_of(data, **fields):
    """A zip whose end record says something else."""
    data = bytearray(data)
    at = len(data) - 22
    if "count" in fields:
        struct.pack_into("<HH", data, at + 8, fields["count"], fields["count"])
    if "size" in fields:
        struct.pack_into("<I", data, at + 12, fields["size"])
    if "start" in fields:
        struct.pack_into("<I", data, at + 16, fields["start"])
    return bytes(data)


# What is asked


def test_attestations_can_be_left_out_and_erased_bodies_are_named(world, tmp_path):
    data = tmp_path / "data"
    subprocess.run(["cp", "-r", world.node.data, data], check=True)
    pack = tmp_path / "pack.zip"
    ok("export", world.binary, "--no-attestations", "--data", data, "-o", pack)
    assert world.provenance not in unzip(pack).values()
    assert "attestations that were not asked for" in ok("verify", pack, "--vkey", world.vkey)
    sbom = next(name for name, body in world.files().items() if name.startswith("documents/") and body == world.sbom)
    index = int(sbom.split("/")[1])
    ok("log", "erase", index, "--reason", "asked for", "--data", data)
    ok("export", world.image, "--data", data, "-o", pack)
    files = unzip(pack)
    assert sbom not in files and {"entry": index, "why": "erased"} in json.loads(files["manifest.json"])["withheld"]
    assert "1 bodies that were erased" in ok("verify", pack, "--vkey", world.vkey)


def test_an_older_checkpoint_and_a_rotated_key_are_followed(world, tmp_path):
    data, pack = tmp_path / "data", tmp_path / "pack.zip"
    subprocess.run(["cp", "-r", world.node.data, data], check=True)
    same = ok("verify", world.pack, "--vkey", world.vkey, "--checkpoint", world.checkpoint)
    assert "continuation of the older checkpoint" in same
    ok("key", "rotate", "--data", data)
    ok("export", world.image, "--data", data, "-o", pack)
    said = ok("verify", pack, "--vkey", world.vkey, "--checkpoint", world.checkpoint)
    assert "not checked: whether the log" in said
    ok("export", world.image, "--data", data, "--checkpoint", world.checkpoint, "-o", pack)
    said = ok("verify", pack, "--vkey", world.vkey, "--checkpoint", world.checkpoint)
    assert "ok  the log is a continuation of the older checkpoint" in said and "whether the log" not in said
    newest = ok("log", "vkey", "--data", data).strip()
    assert newest != world.vkey
    ok("verify", pack, "--vkey", newest)
    # A key is not followed back to one that it replaced, and the message says which one to give.
    chain = tmp_path / "keys"
    chain.write_text(ok("log", "vkey", "--chain", "--data", data))
    assert f"--vkey {world.vkey}" in refused(world.pack, "--vkey", newest, "--keys", chain)
    assert f"it is signed by {world.vkey}: where the log's key was rotated since" in refused(world.pack, "--vkey", newest)
    files = unzip(pack)
    files["consistency.json"] = files["consistency.json"].replace(b'"from"', b'"from" ')
    refused(rezip(tmp_path / "changed.zip", files))
    # The pack before the rotation knows nothing of what came after.
    said = ok("log", "checkpoint", "--data", data)
    (tmp_path / "newer").write_text(said)
    refused(world.pack, "--vkey", world.vkey, "--checkpoint", tmp_path / "newer")


def test_what_is_refused_before_work_is_done(world, nodes, tmp_path):
    copy = tmp_path / "data"
    subprocess.run(["cp", "-r", world.node.data, copy], check=True)
    node = nodes("data")
    ask = lambda **body: node.post(body, path="/api/v1/lineage/export")
    problem(ask(artifactDigests=[]), 400, "INVALID_PARAMETER")
    problem(ask(), 400, "INVALID_PARAMETER")
    problem(node.post(b"[", path="/api/v1/lineage/export"), 400, "BAD_REQUEST")
    problem(node.post(b" " * 70_000, path="/api/v1/lineage/export"), 413, "TOO_LARGE")
    problem(ask(artifactDigests=[digest(1)]), 404, "LINEAGE_NOT_FOUND")
    body = problem(ask(artifactDigests=[digest(n) for n in range(101)]), 413, "LINEAGE_EXPORT_TOO_LARGE")
    assert (body["limit"], body["of"]) == (100, "artifacts")
    first, again = (ask(artifactDigests=[world.image]).json() for _ in range(2))
    assert first["bundleDigest"] == again["bundleDigest"] and first["expiresAt"] <= again["expiresAt"]
    pack = node.get(first["downloadUrl"])
    assert pack.status_code == 200 and "sha256:" + sha256(pack.content) == first["bundleDigest"]
    assert (pack.headers["content-type"], pack.headers["content-length"]) == ("application/zip", str(first["bytes"]))
    problem(node.get("/api/v1/exports/sha256:" + "0" * 64), 404, "NOT_FOUND")
    node.restart()
    problem(node.get(first["downloadUrl"]), 404, "NOT_FOUND")
    assert list((node.data / "packs").iterdir()) == []


SIGNER = """\
import base64, pathlib, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
message = sys.stdin.buffer.read() if len(sys.argv) == 2 else None
if message and message.startswith(b"DSSEv1 ") and pathlib.Path(sys.argv[1]).exists():
    sys.exit("not now")
print(base64.b64encode(key.public_key().public_bytes_raw() if message is None else key.sign(message)).decode())
"""


def test_an_external_signer_signs_packs_too(tmp_path, nodes):
    program, refuses, config = tmp_path / "signer.py", tmp_path / "refuses", tmp_path / "c.toml"
    program.write_text(SIGNER)
    config.write_text(f"signer-command = {json.dumps([sys.executable, str(program), str(refuses)])}\n")
    node = nodes(options=("--config", str(config)))
    node.accept(json.dumps(deployed("cart", "r.example/cart:1", "prod", artifactDigest=digest(3))).encode(), wait="visible")
    until(lambda: node.head()["checkpointSize"] == node.size(), "a checkpoint", 20, node.alive)
    pack = tmp_path / "pack.zip"
    ok("export", digest(3), "-o", pack, url=node.url)
    key = ok("log", "vkey", url=node.url).strip()
    assert base64.b64decode(key.split("+", 2)[2])[1:] == Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32).public_key().public_bytes_raw()
    ok("verify", pack, "--vkey", key)
    refuses.touch()
    problem(node.post({"artifactDigests": [digest(3)]}, path="/api/v1/lineage/export"), 503, "SIGNING_UNAVAILABLE")
    assert run("export", digest(3), "-o", tmp_path / "none.zip", url=node.url).returncode == 1
    assert not [file for file in tmp_path.iterdir() if "none" in file.name], "a failed export leaves nothing"
    refuses.unlink()
    assert node.stop() == 0
    again = tmp_path / "again.zip"
    ok("export", digest(3), "--data", node.data, "--config", config, "-o", again)
    assert again.read_bytes() == pack.read_bytes()


def test_a_read_node_has_no_key(world, nodes, tmp_path):
    subprocess.run(["cp", "-r", world.node.data, tmp_path / "data"], check=True)
    node = nodes("data", role="serve")
    node.wait_visible()
    problem(node.post({"artifactDigests": [world.image]}, path="/api/v1/lineage/export"), 503, "SIGNING_UNAVAILABLE")
    pack = tmp_path / "pack.zip"
    ok("export", world.image, "--no-sign", "-o", pack, url=node.url)
    assert "is not signed" in refused(pack, "--vkey", world.vkey)
    said = ok("verify", pack, "--vkey", world.vkey, "--unsigned")
    assert "not checked: the manifest is not signed" in said and "verified" in said
