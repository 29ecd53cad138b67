"""A verifier of RFC 6962 trees, C2SP checkpoints, tiles, entry bundles and proofs, written from the specifications.

It reads a log by a function `fetch(path) -> bytes | None`, so that it works on HTTP and on a directory alike.
"""

import base64
import hashlib
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Broken(AssertionError):
    """What the log says does not hold."""


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


class Tree:
    """The frontier of a growing tree: roots of full subtrees, largest first."""

    def __init__(self):
        self.size, self.stack = 0, []

    def add(self, leaf):
        node, size = leaf, self.size
        while size & 1:
            node, size = node_hash(self.stack.pop(), node), size >> 1
        self.stack.append(node)
        self.size += 1

    def root(self):
        if not self.stack:
            return hashlib.sha256(b"").digest()
        node = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            node = node_hash(left, node)
        return node


def inclusion(leaf, index, size, proof, root):
    """RFC 9162 §2.1.3.2."""
    if index >= size:
        raise Broken("index beyond the tree")
    fn, sn, node = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            raise Broken("inclusion proof too long")
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn or node != root:
        raise Broken("inclusion proof does not lead to the root")


def consistency(old_size, old_root, size, root, proof):
    """RFC 9162 §2.1.4.2."""
    if old_size == size:
        if proof or old_root != root:
            raise Broken("same size, other root")
        return
    if old_size == 0:
        return
    proof = list(proof)
    if old_size & (old_size - 1) == 0:
        proof.insert(0, old_root)
    if not proof:
        raise Broken("consistency proof empty")
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for node in proof[1:]:
        if sn == 0:
            raise Broken("consistency proof too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(node, fr), node_hash(node, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, node)
        fn, sn = fn >> 1, sn >> 1
    if sn or fr != old_root or sr != root:
        raise Broken("consistency proof does not hold")


def checkpoint(note, vkey):
    """Verifies a signed note against `name+id+key`; returns (origin, size, root)."""
    name, key_id, key = vkey.strip().split("+", 2)
    raw = base64.b64decode(key, validate=True)
    if raw[0] != 1 or hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() != key_id:
        raise Broken("verifier key names itself wrongly")
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        if dash == "\u2014" and signer == name and blob[:4].hex() == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(raw[1:]).verify(blob[4:], text.encode())
            except InvalidSignature:
                raise Broken("checkpoint signature is wrong") from None
            break
    else:
        raise Broken("checkpoint is not signed by the log")
    origin, size, root, *rest = text.splitlines()
    if rest:
        raise Broken(f"extension lines {rest}")
    if str(int(size)) != size:
        raise Broken("size is not canonical")
    return origin, int(size), base64.b64decode(root, validate=True)


def tlog_proof(text, vkey, entry):
    """Verifies a C2SP tlog-proof for the bytes of an entry; returns (index, size of the checkpoint)."""
    head, note = text.split("\n\n", 1)
    magic, *lines = head.split("\n")
    if magic != "c2sp.org/tlog-proof@v1":
        raise Broken(f"magic {magic!r}")
    if lines[0].startswith("extra "):
        lines.pop(0)
    word, index = lines.pop(0).split(" ")
    if word != "index":
        raise Broken(word)
    _, size, root = checkpoint(note, vkey)
    inclusion(leaf_hash(entry), int(index), size, [base64.b64decode(line, validate=True) for line in lines], root)
    return int(index), size


def path(level, number, width):
    """tlog-tiles path of a tile (`level` a number) or a bundle (`entries`)."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    partial = f".p/{width}" if width < 256 else ""
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def bundle(data):
    """The entries of a bundle."""
    entries, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">H", data, at)
        at += 2
        if at + length > len(data):
            raise Broken("bundle ends within an entry")
        entries.append(data[at : at + length])
        at += length
    return entries


def read(fetch, vkey):
    """Reads the whole log, verifies every entry against the signed root; returns (entries, (size, root))."""
    note = fetch("checkpoint")
    if note is None:
        raise Broken("no checkpoint")
    _, size, root = checkpoint(note.decode(), vkey)
    tree, entries = Tree(), []
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        data = fetch(path("entries", number, width))
        if data is None:
            raise Broken(f"no bundle {number} of width {width}")
        found = bundle(data)
        if len(found) != width:
            raise Broken(f"bundle {number} has {len(found)} entries, not {width}")
        entries += found
    for entry in entries:
        tree.add(leaf_hash(entry))
    if tree.root() != root:
        raise Broken("entries do not lead to the signed root")
    return entries, (size, root)


# The leaf (pedigraph.ledger.v1.Entry), enough of protobuf to read it.

LEAF = {1: "version", 2: "event_id", 3: "status", 4: "type", 5: "tenant", 6: "source", 7: "id", 10: "occurred_at", 11: "recorded_at",
        14: "body_digest", 15: "body_size", 18: "format", 21: "conflicts_with", 22: "replay_of"}
TEXT = {"type", "tenant", "source", "id", "format"}
ORIGIN = {1: "kind", 2: "cluster", 3: "topic", 4: "partition", 5: "offset"}
STATUS = {1: "accepted", 2: "conflict", 3: "rejected"}


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _fields(data):
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
        elif key & 7 == 2:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise Broken(f"wire type {key & 7} in a leaf")
        yield key >> 3, value


def leaf(entry):
    """The fields of a leaf that tests look at."""
    found = {"subjects": [], "origin": {}}
    for number, value in _fields(entry):
        if number == 8:
            found["subjects"].append(value.decode())
        elif number == 13:
            found["origin"] = {ORIGIN[n]: v if isinstance(v, int) else v.decode() for n, v in _fields(value)}
        elif number in LEAF:
            name = LEAF[number]
            found[name] = value.decode() if name in TEXT else value
    found["status"] = STATUS[found["status"]]
    return found


def coordinate(found):
    """(topic, partition, offset) of a leaf that came from Kafka."""
    origin = found["origin"]
    return origin.get("topic"), origin.get("partition", 0), origin.get("offset", 0)
