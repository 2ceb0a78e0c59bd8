"""The metadata by which a caller says where its call is to be served, and what of it goes on. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from services.kit import errors
from services.kit.rpc.errors import STATUS_DETAILS

if TYPE_CHECKING:
    from collections.abc import Iterable

NODE: Final = "beeyard-node"
"""Id, unique prefix or host name of the node whose daemons serve the call."""
DAEMON: Final = "beeyard-daemon"
"""Which daemon serves a call of beeyard.system.v1: imaged, containerd, netd or swarmd (the default)."""
HOP: Final = "beeyard-hop"
"""Set by a gateway on a call that it passes to another node, which serves it itself, whatever else the call says."""
ASKED_NODE: Final = "beeyard-asked-node"
"""Set by a manager that passes a call to the leader: the node that the user asked. Believed of managers only."""

NODE_CHARS_MAX: Final = 253

Metadata: TypeAlias = "tuple[tuple[str, str | bytes], ...]"

_OURS: Final = frozenset({NODE, DAEMON, HOP, ASKED_NODE})
_TRANSPORT: Final = frozenset({"user-agent", "content-type", "te", "host"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the metadata of a call asks for; empty is "not said"."""

    node: str = ""
    daemon: str = ""
    hop: bool = False
    asked_node: str = ""


def parse(metadata: Iterable[tuple[str, str | bytes]]) -> Wanted:
    """Return what a call asks for.

    Raises:
        errors.Invalid: A value is no text, or too long for what it names, or given twice.
    """
    values: dict[str, str] = {}
    for key, value in metadata:
        if key not in _OURS:
            continue
        if not isinstance(value, str) or len(value) > NODE_CHARS_MAX:
            raise errors.Invalid(f"the metadata {key} is not a text of at most {NODE_CHARS_MAX} characters")
        if values.setdefault(key, value) != value:
            raise errors.Invalid(f"the metadata {key} is given twice")
    return Wanted(
        node=values.get(NODE, ""),
        daemon=values.get(DAEMON, ""),
        hop=HOP in values,
        asked_node=values.get(ASKED_NODE, ""),
    )


def pass_on(metadata: Iterable[tuple[str, str | bytes]], *added: tuple[str, str]) -> Metadata:
    """Return the metadata of a call as it goes on: without what belongs to this hop's transport, and with `added`."""
    kept = [(key, value) for key, value in metadata if key not in _OURS and not _of_transport(key)]
    return (*kept, *added)


def pass_back(metadata: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """Return initial or trailing metadata as it goes back to the caller, status details included."""
    return tuple((key, value) for key, value in metadata or () if not _of_transport(key))


def pairs(metadata: Any) -> Metadata:
    """Return what gRPC gives as metadata, which may be None, as pairs."""
    return tuple((key, value) for key, value in metadata or ())


def _of_transport(key: str) -> bool:
    return key in _TRANSPORT or key.startswith(":") or (key.startswith("grpc-") and key != STATUS_DETAILS)
