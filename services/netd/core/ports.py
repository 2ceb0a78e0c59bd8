"""Which ports of the node a sandbox gets: from what it asks for and what is taken already.

Two kinds of owners are known. Sandboxes have reservations; whether a program of the node listens on a port can only be
found out by trying. The caller tries what was decided here and, if some port turns out to be taken, decides again with
that in `foreign`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from services.kit import errors
from services.kit.seams import Rng
from services.netd.core.state import Reservation, State
from services.netd.model.port import HostPort, PortBinding, PortRange, PortSpec, Protocol
from services.netd.model.sandbox import Sandbox

BINDINGS_MAX = 4096
"""Of one sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    """What is known of the node's ports.

    Attributes:
        ephemeral: Where a port is chosen from if none is asked for.
        foreign: Ports that a program has which is not ours, and which program.
    """

    ephemeral: PortRange
    foreign: Mapping[HostPort, str] = field(default_factory=dict)


def assign(
    state: State, sandbox: Sandbox, node: NodePorts, *, host_ip: IPv4Address, rng: Rng
) -> tuple[PortBinding, ...]:
    """Return the bindings for the ports that a sandbox's spec asks for, sorted.

    Args:
        state: Has the reservations of all sandboxes; those of this one do not count.
        sandbox: Whose they will be. A choice falls on the port that it has already, if that still would do.
        node: The node's ports.
        host_ip: Where to publish what names no address.
        rng: Decides where the search for an ephemeral port begins, so that one which was freed is seldom the next.

    Raises:
        errors.FailedPrecondition: A port that is asked for is taken.
        errors.Exhausted: No port of a range, or no ephemeral one, is free.
        errors.Invalid: They are too many, or contradict each other.
    """
    specs = sandbox.spec.ports
    count = sum(len(spec.target) for spec in specs)
    if count > BINDINGS_MAX:
        raise errors.Invalid(f"{count} ports are published, more than {BINDINGS_MAX}", reason="SPEC_INVALID")
    assignment = _Assignment(state, sandbox.id, node.foreign)
    # What is particular goes first: a choice must not take away what is asked for by number.
    for spec in sorted(specs, key=_freedom):
        address = host_ip if spec.host_ip is None else spec.host_ip
        for target, candidates in _wanted(spec, node.ephemeral, rng):
            kept = _kept(sandbox.ports, spec, address, target)
            assignment.bind(spec, address, target, itertools.chain(kept, candidates))
    return assignment.bindings()


def _freedom(spec: PortSpec) -> int:
    if spec.host is None:
        return 2
    return 1 if len(spec.host) != len(spec.target) else 0


def _kept(present: Sequence[PortBinding], spec: PortSpec, address: IPv4Address, target: int) -> Iterator[int]:
    """Yield the host ports that lead to the target already and would do for `spec`."""
    for binding in present:
        same = (binding.host.protocol, binding.host.host_ip, binding.target, binding.shared)
        if same == (spec.protocol, address, target, spec.shared) and (
            spec.host is None or spec.host.first <= binding.host.port <= spec.host.last
        ):
            yield binding.host.port


def _wanted(spec: PortSpec, ephemeral: PortRange, rng: Rng) -> Iterator[tuple[int, Iterable[int]]]:
    """Yield each target port with the host ports that would do, the preferred first."""
    for offset, target in enumerate(spec.target):
        if spec.host is None:
            start = rng.randrange(len(ephemeral))
            yield (
                target,
                (ephemeral.first + (start + step) % len(ephemeral) for step in range(len(ephemeral))),
            )
        elif len(spec.host) == len(spec.target):
            yield target, (spec.host.first + offset,)
        else:
            yield target, spec.host


class _Assignment:
    def __init__(self, state: State, sandbox_id: str, foreign: Mapping[HostPort, str]) -> None:
        self._state = state
        self._sandbox_id = sandbox_id
        self._foreign = foreign
        self._bindings: dict[tuple[Protocol, int], list[PortBinding]] = {}

    def bindings(self) -> tuple[PortBinding, ...]:
        """Return what was bound, sorted."""
        return tuple(sorted(binding for group in self._bindings.values() for binding in group))

    def bind(self, spec: PortSpec, address: IPv4Address, target: int, candidates: Iterable[int]) -> None:
        """Bind the target to the first of the candidates that is free."""
        holder, host = "", None
        for port in candidates:
            host = HostPort(protocol=spec.protocol, port=port, host_ip=address)
            binding = PortBinding(host=host, target=target, shared=spec.shared)
            holder = self._holder(binding)
            if not holder:
                group = self._bindings.setdefault((host.protocol, host.port), [])
                if binding not in group:
                    group.append(binding)
                return
        assert host is not None, "a range of ports is never empty"
        if spec.host is None or len(spec.host) != len(spec.target):
            raise errors.Exhausted(
                f"all ports of {address} that could publish port {target}/{spec.protocol} on are allocated",
                reason="PORTS_EXHAUSTED",
                metadata={"port": str(target), "protocol": spec.protocol},
            )
        raise errors.FailedPrecondition(
            f"Bind for {address}:{host.port} failed: port is already allocated to {holder}",
            reason="PORT_IN_USE",
            metadata={"port": str(host.port), "protocol": spec.protocol, "holder": holder},
        )

    def _holder(self, wanted: PortBinding) -> str:
        """Return who has the port that is wanted; empty if nobody has."""
        host = wanted.host
        key = (host.protocol, host.port)
        for binding in self._bindings.get(key, ()):
            if binding.host.overlaps(host) and binding != wanted:
                return "this same sandbox"
        for claim in self._state.reservations.get(key, ()):
            if (
                claim.sandbox_id != self._sandbox_id
                and claim.host.overlaps(host)
                and not _may_share(claim, wanted)
            ):
                return self._name(claim.sandbox_id)
        for taken, holder in self._foreign.items():
            if taken.overlaps(host):
                return holder
        return ""

    def _name(self, sandbox_id: str) -> str:
        name = self._state.sandboxes[sandbox_id].spec.name
        return f"sandbox {name} ({sandbox_id[:12]})" if name else f"sandbox {sandbox_id}"


def _may_share(claim: Reservation, wanted: PortBinding) -> bool:
    return claim.shared and wanted.shared and claim.host == wanted.host
