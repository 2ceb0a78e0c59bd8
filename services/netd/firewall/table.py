"""An nftables table as a value.

Rules are nftables' own text: no other notation says it better. What varies with networks and sandboxes is kept out of
them, in sets and maps, so that nearly every change adds or removes elements and leaves the rules alone.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

FOREIGN = "?"
"""Begins the text of what the kernel shows and we did not make; it equals nothing that is wanted."""

COMMENT_BYTES_MAX = 127  # nftables stores no longer one
_DIGEST_DIGITS = 8
_IDENTITIES_MAX = 1024

Atoms: TypeAlias = tuple[str, ...]
"""A key or value of a set or map: its concatenated parts, each as nftables writes it, without quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: a name for people, and the statement."""

    name: str
    text: str

    @property
    def identity(self) -> str:
        """The comment that the rule carries in the kernel.

        It tells whether a rule there is this one. The text itself does not: nftables prints a rule differently from
        how it was written, and every version in its own way.
        """
        return _identity(self.name, self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where the kernel enters a chain."""

    kind: str
    hook: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain; without a hook only other chains lead to it."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A set, or a map where `value` is given; both are the types of the concatenated parts.

    Attributes:
        interval: Whether elements may be ranges and prefixes.
        elements: Key to value; the values of a set are empty.
    """

    name: str
    key: Atoms
    value: Atoms = ()
    interval: bool = False
    elements: Mapping[Atoms, Atoms] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A whole table, as it is wanted."""

    family: str
    name: str
    lookups: tuple[Lookup, ...]
    chains: tuple[Chain, ...]

    @functools.cached_property
    def seen(self) -> Seen:
        """What the kernel shows of this table."""
        return Seen(
            lookups={lookup.name: lookup for lookup in self.lookups},
            chains={
                chain.name: SeenChain(hook=chain.hook, rules=tuple(rule.identity for rule in chain.rules))
                for chain in self.chains
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenChain:
    """A chain as the kernel shows it: its rules by their comments."""

    hook: Hook | None
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A table as the kernel shows it."""

    lookups: Mapping[str, Lookup]
    chains: Mapping[str, SeenChain]


@functools.lru_cache(maxsize=_IDENTITIES_MAX)
def _identity(name: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_DIGITS]
    identity = f"{name} {digest}"
    assert len(identity.encode()) <= COMMENT_BYTES_MAX, f"rule name {name!r} is too long"
    return identity


def is_foreign(atom: str) -> bool:
    """Return whether a part of an element could not be understood."""
    return atom.startswith(FOREIGN)
