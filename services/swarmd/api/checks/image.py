"""References of images, as far as a manager must understand them: their syntax, and whether they name a digest."""

from __future__ import annotations

import re

from services.swarmd.api.checks.refusal import invalid, shown

REPOSITORY_CHARS_MAX = 255
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<repository>(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?"
)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_TEXT_CHARS_MAX = 600


def check_reference(field: str, reference: str) -> None:
    """Refuse what cannot name an image."""
    if not reference:
        raise invalid(field, "an image must be given")
    if _ID.fullmatch(reference):
        return
    match = _REFERENCE.fullmatch(reference) if len(reference) <= _TEXT_CHARS_MAX else None
    if match is None or len(match["repository"]) > REPOSITORY_CHARS_MAX:
        hint = ": the repository must be lower case" if reference != reference.lower() else ""
        raise invalid(field, f"{shown(reference)} is not a valid repository/tag{hint}")


def is_exact(reference: str) -> bool:
    """Say whether a valid reference names one image for ever: by digest, or by the image's id."""
    return "@" in reference or _ID.fullmatch(reference) is not None


def pinned(reference: str, digest: str) -> str:
    """Return the reference with the digest that it stands for now."""
    return f"{reference}@{digest}"
