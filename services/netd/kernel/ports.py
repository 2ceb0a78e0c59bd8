"""What netd needs of the kernel. `linux.Linux` is the real one; tests have one in memory that passes the same suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from services.netd.core.networks import Host
from services.netd.model.port import HostPort
from services.netd.plan.observed import Observed
from services.netd.plan.operations import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What to look at. None means all; of links that is all of the node's, of sandboxes all that have a namespace.

    Attributes:
        table: Whether to read the table; it is None in the answer otherwise.
        sysctls: Of the node.
        doomed: Sandboxes that go: whether they have a namespace matters, what is in it does not and may be left out.
    """

    links: Sequence[str] | None = None
    sandboxes: Sequence[str] | None = None
    sysctls: Sequence[str] = ()
    table: bool = True
    doomed: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An operation that could not be performed, and what the kernel said."""

    operation: Operation
    error: Exception


class Kernel(Protocol):
    """Synchronous: each call is short, and one thread makes them all."""

    def observe(self, scope: Scope) -> Observed:
        """Return what the kernel looks like."""
        ...

    def apply(self, operations: Sequence[Operation]) -> list[Failure]:
        """Perform operations in their order.

        One that fails does not keep the others from being performed, except those of the same subject that come
        after it (`operations.subject`): they are left out, and not reported.
        """
        ...

    def survey(self, links: frozenset[str]) -> Host:
        """Return what of the node a new network must not collide with; `links` are ours."""
        ...

    def holder(self, port: HostPort) -> str:
        """Return which program has a port of the node; empty if none has.

        Raises:
            errors.Invalid: The address is not the node's.
        """
        ...

    def forget_flows(self, addresses: Sequence[IPv4Address], ports: Sequence[HostPort]) -> None:
        """Make connection tracking forget addresses that are gone, and UDP ports whose meaning has changed."""
        ...

    def components(self) -> Mapping[str, str]:
        """Return the programs and libraries that this rests on, with their versions."""
        ...

    def obstacles(self) -> Sequence[str]:
        """Return what of others is in the way of our packets, as sentences."""
        ...

    def close(self) -> None:
        """Let go of everything; the kernel keeps what was applied."""
        ...
