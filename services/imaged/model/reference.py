"""Image references as Docker writes them, and their one canonical form.

A person writes the familiar form ("web", "team/web:1", "localhost:5000/web@sha256:…"); the store keeps the canonical
one ("docker.io/library/web:latest"). The rules are those of the distribution project's reference grammar:

- The part before the first slash is a registry if it has a dot, a colon or an upper-case letter, or is "localhost".
- Without a registry it is docker.io, whose one-component names live under "library/".
- Without a tag and a digest the tag is "latest" (`with_default_tag`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from services.imaged.model import digest as digests
from services.kit import errors

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
NAME_CHARS_MAX = 255
_LEGACY_DEFAULT_DOMAIN = "index.docker.io"
_OFFICIAL_PREFIX = "library/"
_SHOWN_CHARS_MAX = 300

_DOMAIN_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name of an image, normalised. Made by `parse`; `str()` gives the canonical form."""

    domain: str
    path: str
    tag: str = ""
    digest: digests.Digest | None = None

    @property
    def name(self) -> str:
        """The repository, canonical: "docker.io/library/web"."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as people write it: "web"."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(_OFFICIAL_PREFIX)
        return self.path if "/" in rest else rest

    @property
    def familiar(self) -> str:
        """The whole reference as people write it: "web:1"."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix

    def with_default_tag(self) -> Reference:
        """Return the reference with tag "latest" if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)

    def with_digest(self, digest: digests.Digest) -> Reference:
        """Return the reference to the same repository by digest alone."""
        return Reference(domain=self.domain, path=self.path, digest=digest)


def parse(text: str) -> Reference:
    """Return the reference that `text` means; no tag is added.

    Raises:
        errors.Invalid: With reason REFERENCE_INVALID, or DIGEST_INVALID for the part after "@".
    """
    if digests.is_hex(text):
        raise _invalid(text, "64 hexadecimal digits are an image id, not a name")
    remainder, at, digest_text = text.partition("@")
    domain, rest = _split_domain(remainder)
    path, colon, tag = rest.partition(":")
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = _OFFICIAL_PREFIX + path
    if _DOMAIN.fullmatch(domain) is None:
        raise _invalid(text, f"{domain[:_SHOWN_CHARS_MAX]!r} is not a registry")
    if _PATH.fullmatch(path) is None:
        lower = _PATH.fullmatch(path.lower()) is not None
        raise _invalid(text, "the repository must be lower case" if lower else "the repository is malformed")
    if len(domain) + 1 + len(path) > NAME_CHARS_MAX:
        raise _invalid(text, f"the repository is longer than {NAME_CHARS_MAX} characters")
    if colon and _TAG.fullmatch(tag) is None:
        raise _invalid(text, "the tag must be 1 to 128 of A-Z a-z 0-9 _ . - and not begin with . or -")
    digest = digests.parse(digest_text) if at else None
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _split_domain(text: str) -> tuple[str, str]:
    head, slash, tail = text.partition("/")
    is_domain = slash and (any(mark in head for mark in ".:") or head == "localhost" or head.lower() != head)
    if not is_domain:
        return DEFAULT_DOMAIN, text
    return (DEFAULT_DOMAIN if head == _LEGACY_DEFAULT_DOMAIN else head), tail


def _invalid(text: str, why: str) -> errors.Invalid:
    shown = text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "…"
    return errors.Invalid(f"invalid image reference {shown!r}: {why}", reason="REFERENCE_INVALID")
