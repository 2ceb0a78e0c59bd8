"""Names for what was given none: two words that are easy to say, such as "nimble_clover". Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.kit.seams import Rng

_ADJECTIVES = (
    "amber", "ample", "astute", "balmy", "blithe", "bold", "brave", "breezy", "bright", "brisk", "busy", "calm",
    "candid", "cheery", "clever", "cosy", "crisp", "curious", "dapper", "daring", "deft", "eager", "early", "fair",
    "fleet", "fond", "frank", "gentle", "gilded", "glad", "golden", "hardy", "hearty", "humble", "jolly", "keen",
    "kind", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild", "neat", "nimble", "noble", "patient",
    "placid", "plucky", "polite", "quick", "quiet", "radiant", "ready", "rosy", "serene", "sleek", "snug", "sound",
    "spry", "steady", "stout", "sunny", "sweet", "tidy", "true", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
_NOUNS = (
    "acacia", "alder", "apiary", "aster", "basil", "bee", "birch", "blossom", "borage", "bumble", "catmint", "clover",
    "comb", "cornel", "crocus", "dahlia", "daisy", "drone", "fennel", "forager", "foxglove", "garden", "gorse",
    "harvest", "hawthorn", "hazel", "heath", "heather", "hive", "honey", "hyssop", "iris", "ivy", "jasmine", "larch",
    "lavender", "lilac", "linden", "lupin", "maple", "meadow", "mallow", "melissa", "mint", "mustard", "nectar",
    "orchard", "oregano", "phacelia", "pollen", "poppy", "primrose", "propolis", "queen", "rosemary", "sage", "scout",
    "sedum", "sunflower", "swarm", "teasel", "thistle", "thyme", "verbena", "vetch", "violet", "waggle", "wax",
    "willow", "wing", "worker", "yarrow",
)  # fmt: skip


def invent(rng: Rng, *, attempt: int) -> str:
    """Return a name such as "nimble_clover"; after some attempts with a number, so that one is always found."""
    name = f"{rng.choice(_ADJECTIVES)}_{rng.choice(_NOUNS)}"
    return f"{name}{rng.randrange(10 ** min(attempt, 9))}" if attempt > 2 else name


def derive(seed: str, *, attempt: int) -> str:
    """Return such a name for a seed: the same for the same seed and attempt, so that a retry finds its own."""
    digest = hashlib.sha256(f"{attempt} {seed}".encode()).digest()
    adjective, noun = (int.from_bytes(part) for part in (digest[:8], digest[8:16]))
    return f"{_ADJECTIVES[adjective % len(_ADJECTIVES)]}_{_NOUNS[noun % len(_NOUNS)]}"
