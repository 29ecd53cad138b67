"""Verifiers of tlog-tiles logs: those that nobody here wrote, and ours. Each is a function of a log (URL or directory), the file of its
key, and the file of an older checkpoint or None; it answers whether it accepts the log, and what it said.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import missing
from pedigraph import run

CHECK_SCALES = Path(__file__).parents[1] / "scales" / "check.py"
TIMEOUT_SECONDS = 120


def _run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    return done.returncode == 0, (done.stdout + done.stderr)[-2000:]


def ours(base, key, old=None):
    """`pedigraph verify`: signature, every tile, every entry, the older checkpoint."""
    done = run("verify", base, "--vkey", key, *(("--checkpoint", old) if old else ()), timeout=TIMEOUT_SECONDS)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode in (0, 5), f"neither verified nor refused: {said}"
    return done.returncode == 0, said


def go(base, key, old=None):
    """golang.org/x/mod/sumdb: signature, root, every entry, random proofs, the older checkpoint."""
    return _run(os.environ["PEDIGRAPH_TEST_TLOGCHECK"], "-vkey", key, *(("-old", old) if old else ()), base)


def fsck(base, key, old=None, token=None):
    """Tessera's fsck: signature; derives every tile and the root from the entries. It knows no older checkpoint, and exits with 0 always."""
    del old
    url = base if str(base).startswith("http") else f"file://{Path(base).resolve()}"
    _, said = _run(os.environ["PEDIGRAPH_TEST_FSCK"], f"--storage_url={url}", f"--public_key={key}", "--ui=false", "--N=4", *((f"--bearer_token={token}",) if token else ()))
    return "Successfully fsck'd log" in said, said


def scales(base, key, old=None):
    """tlog-scales: signature, root, every entry, proofs, the older checkpoint."""
    return _run(os.environ["PEDIGRAPH_TEST_SCALES"], CHECK_SCALES, key, base, *((old,) if old else ()))


def aics(base, key, old=None):
    """aics-tlog: the signature, and either the older checkpoint or the root; it reads only the tiles on the right edge, and no entries."""
    words = ("verify-consistency", "--old-checkpoint", old) if old else ("verify-checkpoint",)
    return _run(os.environ["PEDIGRAPH_TEST_AICS_TLOG"], *words, "--vkey-file", key, "--tiles", base)


def aics_entry(base, key, index):
    """aics-tlog's inclusion proof of one entry."""
    return _run(os.environ["PEDIGRAPH_TEST_AICS_TLOG"], "verify-inclusion", "--vkey-file", key, "--tiles", base, "--index", index)


PROGRAMS = {go: "PEDIGRAPH_TEST_TLOGCHECK", fsck: "PEDIGRAPH_TEST_FSCK", scales: "PEDIGRAPH_TEST_SCALES", aics: "PEDIGRAPH_TEST_AICS_TLOG"}


def available():
    """Ours and those that can be had here: `none` in their variables says that there is no Python new enough."""
    unset = [name for name in PROGRAMS.values() if not os.environ.get(name)]
    if unset:
        missing(f"verifiers that nobody here wrote ({', '.join(unset)}): use ./tests/run")
    return [ours, *(check for check, name in PROGRAMS.items() if os.environ[name] != "none")]


def judged(bases, key, old=None):
    """What each verifier says of each log, all at the same time: {(verifier, base): (accepted, said)}."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        said = {(check.__name__, base): pool.submit(check, base, key, old) for base in bases for check in available()}
        return {judgement: future.result() for judgement, future in said.items()}


def refusing(base, key, old=None):
    """Names of the verifiers that refuse a log."""
    return {name for (name, _), (accepted, _) in judged([base], key, old).items() if not accepted}
