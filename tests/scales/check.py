"""Verifies a tlog-tiles log with the package tlog-scales: signature, root, every entry, some proofs, an older checkpoint.

    python check.py VKEY_FILE URL|DIR [OLD_CHECKPOINT]
"""

import sys
from pathlib import Path

from tlog_scales import backend, signing, tiles, tlog
from tlog_scales.reader import TilesReader

PROOFS = 50


def main(key, base, old=None):
    vkey = signing.Vkey.from_string(Path(key).read_text().strip())
    reader = TilesReader(backend.make_backend(base))
    signed = reader.get_checkpoint()
    signed.verify(vkey)
    size = signed.size
    if reader.calculate_root_hash() != signed.root_hash:
        raise ValueError("tiles do not lead to the signed root")
    for index in range(size):
        if tiles.leaf_hash(reader.get_entry(index)) != reader.mth(index, index + 1):
            raise ValueError(f"entry {index} is not the one in the tree")
    for index in {n * (size - 1) // PROOFS for n in range(PROOFS + 1)} if size else ():
        proof = reader.get_inclusion_proof(index, size)
        proof.check(tiles.leaf_hash(reader.get_entry(index)), signed.root_hash)
    if old:
        before = tlog.Checkpoint.from_text(Path(old).read_text())
        before.verify(vkey)
        if before.size > size:
            raise ValueError(f"the log shrank from {before.size} to {size}")
        if before.size:
            reader.get_consistency_proof(before.size, size).check(before.root_hash, signed.root_hash)
    print(f"verified {size} entries")


if __name__ == "__main__":
    main(*sys.argv[1:])
