"""Content addresses. One algorithm, sha256: what every image in the field uses, and what the store is named after."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from services.kit import errors

ALGORITHM = "sha256"
PREFIX = ALGORITHM + ":"
_HEX = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARS_MAX = 100


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The sha256 of some content. `str()` gives the form of the OCI specification, "sha256:<64 hex digits>"."""

    hex: str

    def __str__(self) -> str:
        return PREFIX + self.hex

    @property
    def short(self) -> str:
        """The first twelve digits, for people."""
        return self.hex[:12]


def parse(text: str) -> Digest:
    """Return the digest that `text` writes out in full.

    Raises:
        errors.Invalid: With reason DIGEST_INVALID: not a digest, or of another algorithm.
    """
    algorithm, colon, encoded = text.partition(":")
    if not colon or algorithm != ALGORITHM or _HEX.fullmatch(encoded) is None:
        raise errors.Invalid(
            f"invalid digest {text[:_SHOWN_CHARS_MAX]!r}: expected sha256: and 64 hexadecimal digits",
            reason="DIGEST_INVALID",
        )
    return Digest(encoded)


def is_hex(text: str) -> bool:
    """Return whether `text` could be the hexadecimal part of a digest."""
    return _HEX.fullmatch(text) is not None


def of(data: bytes) -> Digest:
    """Return the digest of `data`."""
    return Digest(hashlib.sha256(data).hexdigest())
