"""Pedigraph's ledger beside Tessera's Go library: durable appends of distinct entries of 1 KiB, by turns, in one run.

    python3 benches/tessera/compare.py [ROUNDS]

Needs Cargo and Go; `PEDIGRAPH_BENCH_DIR` names another disk than that of the temporary directory. Both append 819,200 entries per batch
size and round; medians of the rounds are compared. An entry counts once it is durable: in Pedigraph after one write and one fdatasync of
its batch to the journal, before the next batch is given; in Tessera (POSIX driver, no deduplication, no witness) once its future
resolves, after bundles, tiles and tree state of its batch were each written with O_SYNC to a file of their own, renamed, and the directory
synced, while the next batches queue. CPU seconds, of all threads, go on until all tiles are written, and in Tessera the checkpoint.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".cache" / "tesseraappend"
BENCH = ["cargo", "bench", "--quiet", "-p", "pedigraph-ledger", "--bench", "append"]
ENTRIES, BATCHES = 819_200, (1_024, 4_096)
UNITS = ("entries/s", "entries per CPU second")


def pedigraph(directory):
    """{batch size: (entries/s, entries per CPU second)} of the ledger's own bench, whose ceilings are shown."""
    lines = subprocess.run(BENCH, cwd=ROOT, check=True, capture_output=True, text=True, env={**os.environ, "PEDIGRAPH_BENCH_DIR": directory}).stdout
    found = dict.fromkeys(BATCHES, ())
    for line in lines.splitlines():
        if "ceiling" in line and re.match(rf"ceiling|batch +({'|'.join(map(str, BATCHES))}) ", line):
            print(f"    {line}", flush=True)
        # The figure comes before the cost.
        if (figure := re.match(r"batch +(\d+) +(?:figure|cost) +(\d+) entries", line)) and int(figure[1]) in found:
            found[int(figure[1])] += (float(figure[2]),)
    assert all(len(figures) == len(UNITS) for figures in found.values()), lines
    return found


def tessera(directory):
    def run(batch):
        # Its thousands of files stay until all rounds are over: ext4 steps over every inode deleted in the last minutes when it makes a new file,
        # which would be counted as the CPU seconds of whoever runs next.
        command = [PROGRAM, tempfile.mkdtemp(dir=directory), str(batch), str(ENTRIES)]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        return tuple(float(number) for number in re.fullmatch(r"(\d+) entries/s (\d+) entries per CPU second\n", line).groups())

    return {batch: run(batch) for batch in BATCHES}


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    PROGRAM.parent.mkdir(exist_ok=True)
    subprocess.run(["go", "build", "-o", PROGRAM, "."], cwd=Path(__file__).parent, check=True)
    subprocess.run([*BENCH, "--no-run"], cwd=ROOT, check=True)
    runs = {pedigraph: [], tessera: []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("PEDIGRAPH_BENCH_DIR")) as directory:
        for number in range(rounds):
            print(f"round {number + 1}", flush=True)
            for run, results in runs.items():
                results.append(run(directory))
                for batch, figures in results[-1].items():
                    print(f"  {run.__name__:9} batch {batch}:", *(f"{figure:,.0f} {unit}" for figure, unit in zip(figures, UNITS)), flush=True)
    print("medians")
    for batch in BATCHES:
        for n, unit in enumerate(UNITS):
            ours, theirs = (statistics.median(result[batch][n] for result in results) for results in runs.values())
            print(f"  batch {batch}: pedigraph {ours:,.0f}, tessera {theirs:,.0f} {unit}: {ours / theirs:.2f} times tessera")


main()
