"""What becomes of a request about a sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Interface

from services.kit import errors
from services.kit.seams import NewId, Rng
from services.netd.core import networks, ports
from services.netd.core.ports import NodePorts
from services.netd.core.state import PutSandbox, RemoveSandbox, State
from services.netd.ipam import pool
from services.netd.model import sandbox as model
from services.netd.model.address import mac_of
from services.netd.model.endpoint import Endpoint, EndpointSpec
from services.netd.model.network import BRIDGE_NAME
from services.netd.model.port import PortSpec
from services.netd.model.sandbox import Mode, Sandbox, SandboxSpec

HOST_LINK_PREFIX = "veth"
_HOST_LINK_DIGITS = 10

SANDBOXES_MAX = 16_384
ENDPOINTS_MAX = 64
NAMES_MAX = 256
"""Aliases of an endpoint, extra hosts, name servers, search domains or options, each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """Where a decision gets time, identity and randomness from."""

    now: datetime
    new_id: NewId
    rng: Rng

    def rest_until(self) -> float:
        """Return until when an address rests that is freed now."""
        return (self.now + timedelta(seconds=pool.REST_S)).timestamp()


def plan_create(state: State, spec: SandboxSpec, *, node: NodePorts, chance: Chance) -> PutSandbox | None:
    """Return the sandbox that is asked for, or None if it is there already.

    Raises:
        errors.AlreadyExists: There is one of that id and another spec, or an address is in use.
        errors.Invalid: The spec is not one.
        errors.NotFound: One of its networks does not exist.
        errors.FailedPrecondition: A port is taken.
        errors.Exhausted: No address or port is free.
    """
    present = state.sandboxes.get(spec.id)
    if present is not None:
        if present.spec != spec:
            raise errors.AlreadyExists(
                f"sandbox {spec.id} exists, with another spec: remove it first", reason="SANDBOX_DIFFERS"
            )
        return None
    _check(spec)
    if len(state.sandboxes) >= SANDBOXES_MAX:
        raise errors.Exhausted(f"there are {SANDBOXES_MAX} sandboxes already", reason="TOO_MANY_SANDBOXES")
    endpoints: tuple[Endpoint, ...] = ()
    if spec.mode is Mode.NETWORKS:
        for endpoint_spec in spec.endpoints or (EndpointSpec(network=BRIDGE_NAME),):
            state, endpoint = _attach(state, endpoints, endpoint_spec, chance)
            endpoints = (*endpoints, endpoint)
    sandbox = Sandbox(spec=spec, endpoints=endpoints, ports=(), created_at=chance.now)
    return PutSandbox(sandbox=_with_ports(state, sandbox, node, chance), rest_until=chance.rest_until())


def plan_remove(state: State, sandbox_id: str, *, chance: Chance) -> RemoveSandbox | None:
    """Return the removal of a sandbox, or None if there is none."""
    if sandbox_id not in state.sandboxes:
        return None
    return RemoveSandbox(sandbox_id=sandbox_id, rest_until=chance.rest_until())


def plan_connect(
    state: State,
    sandbox_id: str,
    endpoint_spec: EndpointSpec,
    *,
    node: NodePorts,
    chance: Chance,
) -> PutSandbox | None:
    """Return the sandbox with a further endpoint, or None if it has that endpoint.

    Raises:
        errors.AlreadyExists: It has an endpoint in that network with another address.
        errors.FailedPrecondition: It shares the node's network, or is meant to have none.
        errors.NotFound, errors.Invalid, errors.Exhausted: As for `plan_create`.
    """
    sandbox = find(state, sandbox_id)
    if sandbox.spec.mode is not Mode.NETWORKS:
        raise errors.FailedPrecondition(
            f"sandbox {sandbox_id} has the network mode {sandbox.spec.mode} and cannot be connected to a network",
            reason="SANDBOX_MODE",
        )
    network = networks.find(state, endpoint_spec.network)
    present = next((found for found in sandbox.endpoints if found.network_id == network.id), None)
    if present is not None:
        if endpoint_spec.ip in {None, present.address.ip} and endpoint_spec.mac in {None, present.mac}:
            return None
        raise errors.AlreadyExists(
            f"sandbox {sandbox_id} has the address {present.address.ip} in network {network.name} already",
            reason="ENDPOINT_EXISTS",
        )
    if len(sandbox.endpoints) >= ENDPOINTS_MAX:
        raise errors.Exhausted(
            f"sandbox {sandbox_id} is in {ENDPOINTS_MAX} networks already", reason="TOO_MANY_ENDPOINTS"
        )
    state, endpoint = _attach(state, sandbox.endpoints, endpoint_spec, chance)
    changed = replace(sandbox, endpoints=(*sandbox.endpoints, endpoint))
    if not changed.ports:
        changed = _with_ports(state, changed, node, chance)
    return PutSandbox(sandbox=changed, rest_until=chance.rest_until())


def plan_disconnect(state: State, sandbox_id: str, reference: str, *, chance: Chance) -> PutSandbox | None:
    """Return the sandbox without its endpoint in a network, or None if it has none there.

    Raises:
        errors.NotFound: There is no such sandbox or network.
    """
    sandbox = find(state, sandbox_id)
    network = networks.find(state, reference)
    left = tuple(endpoint for endpoint in sandbox.endpoints if endpoint.network_id != network.id)
    if len(left) == len(sandbox.endpoints):
        return None
    changed = replace(sandbox, endpoints=left)
    if changed.gateway_endpoint is None:
        changed = replace(changed, ports=())
    return PutSandbox(sandbox=changed, rest_until=chance.rest_until())


def plan_ports(
    state: State,
    sandbox_id: str,
    specs: Sequence[PortSpec],
    *,
    node: NodePorts,
    chance: Chance,
) -> PutSandbox | None:
    """Return the sandbox with other published ports, or None if it has those.

    A port that stays asked for in the same way stays where it is, ephemeral ones included.

    Raises:
        errors.NotFound, errors.Invalid, errors.FailedPrecondition, errors.Exhausted: As for `plan_create`.
    """
    sandbox = find(state, sandbox_id)
    if tuple(specs) == sandbox.spec.ports:
        return None
    changed = replace(sandbox, spec=replace(sandbox.spec, ports=tuple(specs)))
    changed = _with_ports(state, changed, node, chance)
    return PutSandbox(sandbox=changed, rest_until=chance.rest_until())


def find(state: State, sandbox_id: str) -> Sandbox:
    """Return a sandbox.

    Raises:
        errors.NotFound: There is none.
    """
    sandbox = state.sandboxes.get(sandbox_id)
    if sandbox is None:
        raise errors.NotFound(f"sandbox {sandbox_id} not found", reason="SANDBOX_NOT_FOUND")
    return sandbox


def warnings(sandbox: Sandbox) -> list[str]:
    """Return what was asked for and cannot be had."""
    if not sandbox.spec.ports or sandbox.ports:
        return []
    match sandbox.spec.mode:
        case Mode.HOST:
            return ["Published ports are discarded when using host network mode"]
        case Mode.NONE:
            return ["Published ports are discarded: the container has no network"]
        case Mode.NETWORKS:
            return ["Published ports are discarded: all networks of the container are internal"]


def _with_ports(state: State, sandbox: Sandbox, node: NodePorts, chance: Chance) -> Sandbox:
    """Return the sandbox with its ports assigned, if they can lead anywhere."""
    leading = sandbox.gateway_endpoint
    if not sandbox.spec.ports or leading is None:
        return replace(sandbox, ports=())
    host_ip = state.networks[leading.network_id].host_ip
    bindings = ports.assign(state, sandbox, node, host_ip=host_ip, rng=chance.rng)
    return replace(sandbox, ports=bindings)


def _attach(
    state: State, present: Sequence[Endpoint], spec: EndpointSpec, chance: Chance
) -> tuple[State, Endpoint]:
    """Return an endpoint, and the state in which its address is taken, for the decisions that follow."""
    network = networks.find(state, spec.network)
    ipam = network.ipam
    if ipam is None:
        raise errors.Invalid(
            f"a sandbox cannot be connected to the network {network.name}: it has no endpoints",
            reason="SPEC_INVALID",
        )
    if any(endpoint.network_id == network.id for endpoint in present):
        raise errors.Invalid(f"network {network.name} is named twice", reason="SPEC_INVALID")
    try:
        if spec.ip is None:
            changed, address = pool.allocate(state.pools[network.id], chance.now.timestamp())
        else:
            changed, address = pool.claim(state.pools[network.id], spec.ip), spec.ip
    except errors.BeeyardError as error:
        error.metadata["network"] = network.name
        raise
    endpoint = Endpoint(
        id=chance.new_id(),
        network_id=network.id,
        address=IPv4Interface((address, ipam.subnet.prefixlen)),
        mac=spec.mac or mac_of(address),
        interface=_free_interface(present),
        host_link=HOST_LINK_PREFIX + chance.new_id()[:_HOST_LINK_DIGITS],
        gateway=None if network.internal else ipam.gateway,
        gateway_priority=spec.gateway_priority,
        aliases=spec.aliases,
    )
    return replace(state, pools={**state.pools, network.id: changed}), endpoint


def _free_interface(present: Sequence[Endpoint]) -> str:
    names = {endpoint.interface for endpoint in present}
    return next(name for number in range(len(names) + 1) if (name := f"eth{number}") not in names)


def _check(spec: SandboxSpec) -> None:
    model.check_id(spec.id)
    if spec.hostname:
        model.check_hostname(spec.hostname, "hostname")
    if spec.domainname:
        model.check_hostname(spec.domainname, "domain name")
    if spec.mode is not Mode.NETWORKS and spec.endpoints:
        raise errors.Invalid(
            f"conflicting options: the network mode {spec.mode} has no endpoints", reason="SPEC_INVALID"
        )
    if spec.user_namespace and not spec.user_namespace.startswith("/"):
        raise errors.Invalid(
            f"the user namespace {spec.user_namespace!r} is not an absolute path", reason="SPEC_INVALID"
        )
    if spec.mode is Mode.HOST and spec.user_namespace:
        raise errors.Invalid("a user namespace cannot own the node's network", reason="SPEC_INVALID")
    if spec.mode is Mode.HOST and spec.sysctls:
        raise errors.Invalid("sysctls of the network cannot be set on the node's own", reason="SPEC_INVALID")
    counts = {
        "endpoints": (len(spec.endpoints), ENDPOINTS_MAX),
        "extra hosts": (len(spec.extra_hosts), NAMES_MAX),
        "name servers": (len(spec.dns.servers), NAMES_MAX),
        "search domains": (len(spec.dns.search), NAMES_MAX),
        "resolver options": (len(spec.dns.options), NAMES_MAX),
        "sysctls": (len(spec.sysctls), NAMES_MAX),
        "aliases": (max((len(endpoint.aliases) for endpoint in spec.endpoints), default=0), NAMES_MAX),
    }
    for what, (count, limit) in counts.items():
        if count > limit:
            raise errors.Invalid(f"{count} {what} are more than {limit}", reason="SPEC_INVALID")
    for name, value in spec.sysctls:
        model.check_sysctl(name, value)
