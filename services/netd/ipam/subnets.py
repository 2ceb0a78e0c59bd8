"""The subnets of new networks: the first of the pool that touches nothing that is there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network

from services.kit import errors
from services.netd.ipam.pool import PREFIX_MAX, PREFIX_MIN
from services.netd.model.network import Ipam, NetworkSpec


def choose(pools: Sequence[IPv4Network], prefix: int, occupied: Iterable[IPv4Network]) -> IPv4Network | None:
    """Return the first subnet of that prefix length in `pools` which overlaps nothing occupied, or None.

    A pool that is itself smaller than the prefix says is one candidate.
    """
    barriers = sorted(occupied)
    for pool in pools:
        length = max(prefix, pool.prefixlen)
        size = 1 << (32 - length)
        start, end = int(pool.network_address), int(pool.broadcast_address)
        while start <= end:
            candidate = IPv4Network((start, length))
            blocking = next((barrier for barrier in barriers if barrier.overlaps(candidate)), None)
            if blocking is None:
                return candidate
            # A large barrier is passed in one step; a small one lies within the candidate.
            start = max(start + size, int(blocking.broadcast_address) + 1)
    return None


def check(spec: NetworkSpec, subnet: IPv4Network) -> Ipam:
    """Return the addressing of a network in `subnet`, with what the user wants of it.

    Raises:
        errors.Invalid: The gateway, the range or a reserved address does not fit into the subnet.
    """
    if not PREFIX_MIN <= subnet.prefixlen <= PREFIX_MAX:
        raise errors.Invalid(
            f"invalid subnet {subnet}: the prefix length must be {PREFIX_MIN} to {PREFIX_MAX}",
            reason="SPEC_INVALID",
        )
    if spec.ip_range is not None and not spec.ip_range.subnet_of(subnet):
        raise errors.Invalid(
            f"invalid ip-range {spec.ip_range}: it is not contained in the subnet {subnet}",
            reason="SPEC_INVALID",
        )
    for name, address in spec.reserved.items():
        _check_inside(address, subnet, f"auxiliary address {name}")
    if spec.gateway is not None:
        _check_inside(spec.gateway, subnet, "gateway")
        if spec.gateway in spec.reserved.values():
            raise errors.Invalid(
                f"gateway {spec.gateway} is reserved as an auxiliary address", reason="SPEC_INVALID"
            )
    gateway = spec.gateway or _first_unreserved(subnet, spec.ip_range, spec.reserved)
    return Ipam(subnet=subnet, gateway=gateway, ip_range=spec.ip_range, reserved=dict(spec.reserved))


def _check_inside(address: IPv4Address, subnet: IPv4Network, what: str) -> None:
    if address not in subnet or address in {subnet.network_address, subnet.broadcast_address}:
        raise errors.Invalid(
            f"invalid {what} {address}: it is not a host address of the subnet {subnet}",
            reason="SPEC_INVALID",
        )


def _first_unreserved(
    subnet: IPv4Network, ip_range: IPv4Network | None, reserved: Mapping[str, IPv4Address]
) -> IPv4Address:
    """Return the gateway: the first address of the range, as Docker has it, or else of the subnet."""
    not_hosts = {subnet.network_address, subnet.broadcast_address, *reserved.values()}
    for chosen_from in (ip_range, subnet):
        if chosen_from is not None:
            gateway = next((address for address in chosen_from if address not in not_hosts), None)
            if gateway is not None:
                return gateway
    raise errors.Invalid(f"no address of the subnet {subnet} is left for the gateway", reason="SPEC_INVALID")
