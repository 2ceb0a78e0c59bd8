"""How much a test does: as much as fits beside all others, or the full measure with `BEEYARD_STRESS=full`."""

from __future__ import annotations

import os

FULL = os.environ.get("BEEYARD_STRESS", "") == "full"


def scaled(full: int, usual: int) -> int:
    """Return how often, or how much."""
    return full if FULL else usual
