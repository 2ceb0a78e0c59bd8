"""Which machines an image runs on, in the names of the OCI specification (those of Go)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "powerpc64le": ("ppc64le", ""),
}
# What is left unsaid: an architecture without a variant means this one.
_IMPLIED_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_ARM_VARIANTS_BEST_FIRST = ("v8", "v7", "v6", "v5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """An operating system and a processor. `str()` gives "linux/arm64/v8"."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse(text: str) -> Platform:
    """Return the platform that "os/architecture[/variant]" means, other spellings (x86_64, aarch64) normalised.

    Raises:
        errors.Invalid: With reason PLATFORM_INVALID.
    """
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or any(_PART.fullmatch(part) is None for part in parts):
        raise errors.Invalid(
            f"invalid platform {text[:200]!r}: expected os/architecture[/variant], such as linux/amd64",
            reason="PLATFORM_INVALID",
        )
    return normalise(parts[0], parts[1], parts[2] if len(parts) == 3 else "")


def normalise(os: str, architecture: str, variant: str = "") -> Platform:
    """Return the platform in canonical spelling."""
    architecture = architecture.lower()
    architecture, default_variant = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant.lower() or default_variant
    if variant.isdigit():
        variant = "v" + variant
    if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
        variant = ""
    return Platform(os=os.lower(), architecture=architecture, variant=variant)


def rank(offered: Platform, wanted: Platform) -> int | None:
    """Return how well an image for `offered` serves a machine of `wanted`: 0 is best, None is not at all."""
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    implied = _IMPLIED_VARIANT.get(wanted.architecture, "")
    have, want = offered.variant or implied, wanted.variant or implied
    if have == want:
        return 0
    if wanted.architecture == "arm":
        order = _ARM_VARIANTS_BEST_FIRST
        if have in order and want in order and order.index(have) > order.index(want):
            return order.index(have) - order.index(want)
        return None
    if wanted.architecture == "amd64" and have.startswith("v") and have < want:
        return ord(want[-1]) - ord(have[-1])
    return None


def choose(offers: Sequence[T], platform_of: Callable[[T], Platform | None], wanted: Platform) -> T | None:
    """Return the offer that serves `wanted` best, the first of equals; one without a platform is the last resort."""
    best: T | None = None
    best_rank: int | None = None
    for offer in offers:
        offered = platform_of(offer)
        its_rank = 1000 if offered is None else rank(offered, wanted)
        if its_rank is not None and (best_rank is None or its_rank < best_rank):
            best, best_rank = offer, its_rank
    return best
