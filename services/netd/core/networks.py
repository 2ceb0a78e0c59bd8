"""What becomes of a request about networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network

from services.kit import errors
from services.netd.core import options
from services.netd.core.state import AddNetwork, State, endpoints_of
from services.netd.ipam import subnets
from services.netd.model import network as networks
from services.netd.model.address import ANY
from services.netd.model.network import BRIDGE_NAME, HOST_NAME, NONE_NAME, Driver, Ipam, Network, NetworkSpec

DEFAULT_ALIAS = "default"
"""What `docker run --network` calls the network `bridge`, unless a network has that name."""

LINK_DEFAULT = "beeyard0"
LINK_PREFIX = "by-"
_LINK_ID_DIGITS = 12
_ID_PREFIX_MIN = 1

NETWORKS_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration says about networks.

    Attributes:
        pool: Where the subnets of bridge networks are taken from.
        prefix: How long the prefix of such a subnet is.
        default_subnet: Of the network `bridge`; None takes the first that is free of the pool.
        mtu: Of bridge networks that name none.
    """

    pool: Sequence[IPv4Network]
    prefix: int
    default_subnet: IPv4Network | None = None
    mtu: int = networks.MTU_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSubnet:
    """A subnet that the node reaches through a link that is not ours."""

    subnet: IPv4Network
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What of the node a new network must not collide with.

    Attributes:
        subnets: Of its routes and addresses.
        links: The names of its links, ours included.
    """

    subnets: Sequence[HostSubnet]
    links: frozenset[str]


def find(state: State, reference: str) -> Network:
    """Return the network of that name, id, or prefix of an id, in this order; "default" is "bridge".

    Raises:
        errors.NotFound: There is none.
        errors.Invalid: Several ids begin with it.
    """
    by_name = {network.name: network for network in state.networks.values()}
    for name in (reference, BRIDGE_NAME if reference == DEFAULT_ALIAS else reference):
        if name in by_name:
            return by_name[name]
    if reference in state.networks:
        return state.networks[reference]
    fitting = [
        network
        for network_id, network in state.networks.items()
        if reference and network_id.startswith(reference)
    ]
    if len(fitting) > 1:
        raise errors.Invalid(
            f"network {reference} is ambiguous: {len(fitting)} ids begin with it", reason="SPEC_INVALID"
        )
    if not fitting:
        raise errors.NotFound(f"network {reference} not found", reason="NETWORK_NOT_FOUND")
    return fitting[0]


def plan_create(
    state: State,
    spec: NetworkSpec,
    *,
    settings: Settings,
    host: Host,
    network_id: str,
    now: datetime,
    request_id: str = "",
) -> AddNetwork:
    """Return the network that a user asks for.

    Raises:
        errors.AlreadyExists: The name is taken.
        errors.Invalid: The spec contradicts itself.
        errors.Unsupported: There is no such driver.
        errors.FailedPrecondition: The subnet or the interface is in use.
        errors.Exhausted: No subnet is free.
    """
    networks.check_name(spec.name)
    if any(network.name == spec.name for network in state.networks.values()):
        raise errors.AlreadyExists(f"network with name {spec.name} already exists", reason="NETWORK_EXISTS")
    if len(state.networks) >= NETWORKS_MAX:
        raise errors.Exhausted(f"there are {NETWORKS_MAX} networks already", reason="TOO_MANY_NETWORKS")
    if spec.driver in {Driver.HOST, Driver.NULL}:
        raise errors.PermissionDenied(
            f"only one instance of the {spec.driver!r} network is allowed", reason="NETWORK_PREDEFINED"
        )
    if spec.driver != Driver.BRIDGE:
        raise errors.Unsupported(
            f"network driver {spec.driver!r} is not supported", reason="DRIVER_UNSUPPORTED"
        )
    _check_labels(spec)
    return _bridge(
        state,
        spec,
        settings=settings,
        host=host,
        network_id=network_id,
        now=now,
        request_id=request_id,
        link="",
    )


def plan_predefined(
    state: State, *, settings: Settings, host: Host, network_ids: Sequence[str], now: datetime
) -> list[AddNetwork]:
    """Return those of the three predefined networks that are missing. `network_ids` are new ones for them.

    Raises:
        errors.FailedPrecondition: The configured subnet of `bridge` is in use.
        errors.Exhausted: No subnet is free for it.
    """
    missing: list[AddNetwork] = []
    names = {network.name for network in state.networks.values()}
    for name, network_id in zip(networks.PREDEFINED, network_ids, strict=True):
        if name in names:
            continue
        if name == BRIDGE_NAME:
            spec = NetworkSpec(name=name, subnet=settings.default_subnet)
            change = _bridge(
                state,
                spec,
                settings=settings,
                host=host,
                network_id=network_id,
                now=now,
                request_id="",
                link=LINK_DEFAULT,
            )
            missing.append(change)
        else:
            driver = {HOST_NAME: Driver.HOST, NONE_NAME: Driver.NULL}[name]
            missing.append(AddNetwork(network=_addressless(name, driver, network_id, now)))
    return missing


def check_removable(state: State, network: Network) -> None:
    """Refuse to remove what is predefined or in use.

    Raises:
        errors.PermissionDenied: It is predefined.
        errors.FailedPrecondition: Sandboxes are attached to it.
    """
    if network.predefined:
        raise errors.PermissionDenied(
            f"{network.name} is a pre-defined network and cannot be removed", reason="NETWORK_PREDEFINED"
        )
    attached = sorted(sandbox.spec.name or sandbox.id for sandbox, _ in endpoints_of(state, network.id))
    if attached:
        shown = ", ".join(attached[:5]) + (", ..." if len(attached) > 5 else "")
        raise errors.FailedPrecondition(
            f"network {network.name} has active endpoints ({shown}): disconnect or remove them first",
            reason="NETWORK_IN_USE",
            metadata={"endpoints": str(len(attached))},
        )


def _bridge(
    state: State,
    spec: NetworkSpec,
    *,
    settings: Settings,
    host: Host,
    network_id: str,
    now: datetime,
    request_id: str,
    link: str,
) -> AddNetwork:
    bridge = options.parse(spec.driver_opts)
    link = bridge.link or link or LINK_PREFIX + network_id[:_LINK_ID_DIGITS]
    if link in host.links or any(network.link == link for network in state.networks.values()):
        raise errors.FailedPrecondition(f"there is an interface {link} already", reason="INTERFACE_EXISTS")
    return AddNetwork(
        network=Network(
            id=network_id,
            name=spec.name,
            driver=Driver.BRIDGE,
            ipam=_addressing(state, spec, settings, host),
            link=link,
            mtu=bridge.mtu or settings.mtu,
            internal=spec.internal,
            attachable=spec.attachable,
            masquerade=bridge.masquerade,
            host_ip=bridge.host_ip,
            labels=dict(spec.labels),
            driver_opts=dict(spec.driver_opts),
            created_at=now,
            request_id=request_id,
        )
    )


def _addressing(state: State, spec: NetworkSpec, settings: Settings, host: Host) -> Ipam:
    own = {network.ipam.subnet: network.name for network in state.networks.values() if network.ipam}
    if spec.subnet is None:
        if spec.gateway or spec.ip_range or spec.reserved:
            raise errors.Invalid(
                "a gateway, range or auxiliary address needs a subnet that it is part of",
                reason="SPEC_INVALID",
            )
        occupied = [*own, *(known.subnet for known in host.subnets)]
        subnet = subnets.choose(settings.pool, settings.prefix, occupied)
        if subnet is None:
            raise errors.Exhausted(
                "could not find an available, non-overlapping IPv4 subnet among the pools"
                f" {', '.join(map(str, settings.pool))} to assign to the network",
                reason="ADDRESS_POOL_EXHAUSTED",
            )
        return subnets.check(spec, subnet)
    for subnet, name in own.items():
        if subnet.overlaps(spec.subnet):
            raise errors.FailedPrecondition(
                f"subnet {spec.subnet} overlaps with {subnet} of network {name}",
                reason="SUBNET_OVERLAP",
                metadata={"subnet": str(subnet), "network": name},
            )
    for known in host.subnets:
        if known.subnet.overlaps(spec.subnet):
            raise errors.FailedPrecondition(
                f"subnet {spec.subnet} overlaps with {known.subnet}, which this node reaches through {known.link}",
                reason="SUBNET_OVERLAP",
                metadata={"subnet": str(known.subnet), "interface": known.link},
            )
    return subnets.check(spec, spec.subnet)


def _addressless(name: str, driver: Driver, network_id: str, now: datetime) -> Network:
    return Network(
        id=network_id,
        name=name,
        driver=driver,
        ipam=None,
        link="",
        mtu=0,
        internal=False,
        attachable=False,
        masquerade=False,
        host_ip=ANY,
        labels={},
        driver_opts={},
        created_at=now,
    )


def _check_labels(spec: NetworkSpec) -> None:
    size = sum(len(key) + len(value) for key, value in (*spec.labels.items(), *spec.driver_opts.items()))
    if size > networks.LABELS_BYTES_MAX:
        raise errors.Invalid(
            f"labels and options of network {spec.name} take {size} characters,"
            f" more than {networks.LABELS_BYTES_MAX}",
            reason="SPEC_INVALID",
        )
