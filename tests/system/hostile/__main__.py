"""`python -m hostile NAME URL DATA` runs one attack, says in a line what came of it, and keeps its connections until its input ends."""

import os
import sys
from pathlib import Path

from hostile import ATTACKS
from hostile.attacker import Attacker

name, url, data = sys.argv[1:]
attacker = Attacker(url, os.environ["ATTACKER_TOKEN"], Path(data))
print(ATTACKS[name].run(attacker), flush=True)
sys.stdin.read()
os._exit(0)  # threads and sockets end with the process
