"""Which user namespace a new container gets: the node's, one of its own, or that of a container it joins. Pure.

A process can only enter namespaces that its own user namespace owns. Who shares the network, processes, IPC, host
name or control groups of a container therefore shares its user namespace too, as with Docker, and need not say so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

from services.containerd.userns import ranges
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from services.containerd.model.idmap import IdMap
    from services.containerd.model.spec import ContainerSpec

_AUTO = re.compile(r"auto(?::size=(\d{1,10}))?")


class Kind(Enum):
    """What `--userns` asks for."""

    HOST = auto()
    REMAP = auto()
    AUTO = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`--userns`, read."""

    kind: Kind
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What this node has to give."""

    pool: tuple[IdMap, ...] = ()
    default: str = "host"
    """What containers get that do not say."""


def parse(text: str) -> Wish:
    """Return what a value of `--userns` asks for.

    Raises:
        errors.Invalid: It is none.
    """
    if text == "host":
        return Wish(kind=Kind.HOST)
    if text == "remap":
        return Wish(kind=Kind.REMAP)
    match = _AUTO.fullmatch(text)
    if match is None:
        raise _invalid(f"invalid user namespace mode {text[:80]!r}: use host, auto, auto:size=N or remap")
    size = int(match[1]) if match[1] else ranges.AUTO_SIZE_DEFAULT
    if not ranges.AUTO_SIZE_MIN <= size <= ranges.ID_MAX:
        raise _invalid(f"--userns {text}: the size is not between {ranges.AUTO_SIZE_MIN} and {ranges.ID_MAX}")
    return Wish(kind=Kind.AUTO, size=size)


def decide(
    spec: ContainerSpec, owners: Mapping[str, IdMap | None], supply: Supply, taken: Iterable[IdMap]
) -> IdMap | None:
    """Return the ids of a new container, None for those of the node.

    Args:
        spec: What is asked for.
        owners: The containers whose namespaces it joins, by name, with their ids.
        supply: What this node has.
        taken: The ids of all containers that exist.

    Raises:
        errors.Invalid: What is asked for excludes a user namespace, or belongs to different ones.
        errors.FailedPrecondition, errors.Exhausted: There are no ids, or none left.
    """
    wish = parse(spec.security.userns or supply.default)
    chosen = _joined(spec, wish, owners, supply) if owners else _own(wish, supply, taken)
    if chosen is not None:
        _check(spec)
    return chosen


def settled(spec: ContainerSpec, supply: Supply) -> ContainerSpec:
    """Return a specification that says what it gets of the node's setting, which may change, or differ elsewhere."""
    if spec.security.userns or owners_of(spec) or parse(supply.default).kind is Kind.HOST:
        return spec
    return replace(spec, security=replace(spec.security, userns=supply.default))


def owners_of(spec: ContainerSpec) -> frozenset[str]:
    """Return the containers, by reference, whose namespaces a specification joins."""
    modes = (spec.network.mode, *spec.security.modes.values())
    return frozenset(mode.partition(":")[2] for mode in modes if mode.startswith("container:"))


def _own(wish: Wish, supply: Supply, taken: Iterable[IdMap]) -> IdMap | None:
    match wish.kind:
        case Kind.HOST:
            return None
        case Kind.REMAP:
            return ranges.remap(supply.pool)
        case Kind.AUTO:
            return ranges.allocate(supply.pool, taken, wish.size)


def _joined(
    spec: ContainerSpec, wish: Wish, owners: Mapping[str, IdMap | None], supply: Supply
) -> IdMap | None:
    asked = bool(spec.security.userns)
    if asked and wish.kind is Kind.HOST:
        return None  # the node's root may enter whatever it likes
    with_ids = {name: ids for name, ids in owners.items() if ids is not None}
    if asked and wish.kind is Kind.AUTO:
        raise _invalid(
            f"--userns={spec.security.userns} asks for ids of its own, but namespaces of {', '.join(sorted(owners))}"
            " are to be shared: leave it out to share the user namespace too"
        )
    if not with_ids:
        if asked:
            raise _invalid(
                f"cannot join namespaces of {', '.join(sorted(owners))} from a user namespace: they are the node's"
            )
        return None
    if len(owners) > 1:
        raise _invalid(
            f"cannot join namespaces of {' and '.join(sorted(owners))} at once: their user namespaces differ"
        )
    theirs = next(iter(with_ids.values()))
    if asked and theirs != ranges.remap(supply.pool):
        raise _invalid(f"container {next(iter(owners))} has ids of its own: leave out --userns to share them")
    return theirs


def _check(spec: ContainerSpec) -> None:
    if spec.security.privileged:
        raise _invalid(
            "privileged mode is incompatible with user namespaces: use --userns=host with --privileged"
        )
    for what, mode in (
        ("network", spec.network.mode),
        ("PID", spec.security.pid),
        ("IPC", spec.security.ipc),
    ):
        if mode == "host":
            raise _invalid(
                f"cannot share the host's {what} namespace when user namespaces are enabled: use --userns=host"
            )


def _invalid(message: str) -> errors.Invalid:
    return errors.Invalid(message, reason="SPEC_INVALID")
