"""Attackers, the well-behaved neighbour that they must not disturb, and the ground on which they meet."""

from hostile import asking, connections, disks, sending  # noqa: F401  (they fill the table)
from hostile.table import ATTACKS

__all__ = ["ATTACKS"]
