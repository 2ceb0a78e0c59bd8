"""Where images can be fetched from.

A `Source` is a way to find images (the peers of the swarm, a registry); an `Origin` is one place that has the content
of an image that was found (a node, a registry or a mirror of it).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.model.platform import Platform
    from services.imaged.model.reference import Reference


class Origin(Protocol):
    """One place to read content from."""

    @property
    def label(self) -> str:
        """How progress and logs name it: "peer <node id>"."""
        ...

    def read(self, content: Descriptor, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield content from an offset to its end. What comes is not to be trusted.

        Raises:
            errors.NotFound: It has not got it.
            errors.Unavailable: It does not answer, or not any more.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """An image that was found."""

    target: Descriptor
    """A manifest or an index. Its size may be unknown (0), its media type too ("")."""
    origins: Sequence[Origin]
    """At least one; they are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """The image was not found, and the sentence that says why: the end of "image X is not on this node; …"."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for."""

    reference: Reference
    platform: Platform
    hints: Sequence[str] = ()
    """Ids of nodes that are known to have it."""
    registry_auth: str = ""
    """Docker's AuthConfig in base64, for a registry; never logged."""


class Source(Protocol):
    """One way to find images."""

    @property
    def name(self) -> str:
        """What a caller says who does not want it asked."""
        ...

    async def resolve(self, query: Query) -> Resolution | Absence:
        """Return where an image is, or why it is not to be had here.

        Raises:
            errors.Unavailable: It cannot be told now.
        """
        ...
