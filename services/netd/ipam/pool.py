"""The addresses of one network: a bitmap over its subnet, as an immutable value.

An address is in one of four conditions. *Fixed*: never given out (the subnet's own two, the gateway, what the user
reserved). *Taken*: an endpoint has it. *Resting*: freed a short while ago; caches elsewhere, connection tracking and
clients may still mean its last owner. *Free*: everything else. A choice falls on the lowest free address of the range,
and on the one that has rested longest only when there is no other: a short rest is better than a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from services.kit import errors
from services.netd.model.network import Ipam

REST_S = 60.0
"""How long a freed address is not chosen again. A neighbour entry lives about as long."""

PREFIX_MIN = 8
PREFIX_MAX = 30  # room for the gateway and one endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A freed address, by its place in the subnet, and the wall-clock second until which it rests."""

    offset: int
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The state of one subnet. Bit n of a bitmap is the subnet's nth address.

    Attributes:
        window: Where addresses are chosen from.
        resting: In the order in which they were freed.
        resting_bits: The same as a bitmap.
    """

    subnet: IPv4Network
    window: int
    fixed: int
    taken: int = 0
    resting: tuple[Resting, ...] = ()
    resting_bits: int = 0

    @property
    def used_count(self) -> int:
        """How many endpoints have an address."""
        return self.taken.bit_count()

    @property
    def total_count(self) -> int:
        """How many endpoints could have one without asking for it."""
        return (self.window & ~self.fixed).bit_count()


def create(ipam: Ipam) -> Pool:
    """Return the pool of a network in which nothing is given out yet."""
    subnet = ipam.subnet
    fixed = 1 | 1 << (subnet.num_addresses - 1) | _bit(subnet, ipam.gateway)
    for address in ipam.reserved.values():
        fixed |= _bit(subnet, address)
    chosen_from = ipam.ip_range or subnet
    low = _offset(subnet, chosen_from.network_address)
    window = ((1 << chosen_from.num_addresses) - 1) << low
    return Pool(subnet=subnet, window=window, fixed=fixed)


def allocate(pool: Pool, now: float) -> tuple[Pool, IPv4Address]:
    """Choose an address; return the pool without it, and the address.

    Raises:
        errors.Exhausted: All addresses of the range are in use.
    """
    pool = expire(pool, now)
    candidates = pool.window & ~(pool.fixed | pool.taken)
    if free := candidates & ~pool.resting_bits:
        return _take(pool, (free & -free).bit_length() - 1)
    for entry in pool.resting:
        if candidates >> entry.offset & 1:
            return _take(pool, entry.offset)
    raise errors.Exhausted(
        f"no available IPv4 addresses in the pool {pool.subnet}: {pool.used_count} are in use",
        reason="ADDRESS_POOL_EXHAUSTED",
        metadata={"subnet": str(pool.subnet)},
    )


def claim(pool: Pool, address: IPv4Address) -> Pool:
    """Take one particular address, which may rest, or lie outside the range that choices are made from.

    Raises:
        errors.Invalid: It is not an address of the subnet, or a fixed one.
        errors.AlreadyExists: An endpoint has it.
    """
    if address not in pool.subnet:
        raise errors.Invalid(
            f"invalid address {address}: it does not belong to the subnet {pool.subnet}",
            reason="SPEC_INVALID",
        )
    bit = _bit(pool.subnet, address)
    if pool.fixed & bit:
        raise errors.Invalid(
            f"address {address} is reserved in the subnet {pool.subnet}", reason="SPEC_INVALID"
        )
    if pool.taken & bit:
        raise errors.AlreadyExists(f"address {address} is already in use", reason="ADDRESS_IN_USE")
    return _take(pool, _offset(pool.subnet, address))[0]


def release(pool: Pool, address: IPv4Address, until: float) -> Pool:
    """Give an address back; it rests until then."""
    offset = _offset(pool.subnet, address)
    assert pool.taken >> offset & 1, f"{address} is released but was not taken"
    return rest(replace(pool, taken=pool.taken & ~(1 << offset)), address, until)


def rest(pool: Pool, address: IPv4Address, until: float) -> Pool:
    """Let an address that nobody has rest until then."""
    offset = _offset(pool.subnet, address)
    assert not (pool.taken | pool.resting_bits) >> offset & 1, f"{address} is taken or rests already"
    return replace(
        pool,
        resting=(*pool.resting, Resting(offset=offset, until=until)),
        resting_bits=pool.resting_bits | 1 << offset,
    )


def expire(pool: Pool, now: float) -> Pool:
    """Return the pool without the rests that are over."""
    if not any(entry.until <= now for entry in pool.resting):
        return pool
    return _with_resting(pool, (entry for entry in pool.resting if entry.until > now))


def taken(pool: Pool) -> Iterator[IPv4Address]:
    """Yield the addresses that endpoints have, in order."""
    bits = pool.taken
    while bits:
        offset = (bits & -bits).bit_length() - 1
        yield pool.subnet.network_address + offset
        bits &= bits - 1


def _take(pool: Pool, offset: int) -> tuple[Pool, IPv4Address]:
    if pool.resting_bits >> offset & 1:
        pool = _with_resting(pool, (entry for entry in pool.resting if entry.offset != offset))
    return replace(pool, taken=pool.taken | 1 << offset), pool.subnet.network_address + offset


def _with_resting(pool: Pool, entries: Iterable[Resting]) -> Pool:
    kept = tuple(entries)
    bits = 0
    for entry in kept:
        bits |= 1 << entry.offset
    return replace(pool, resting=kept, resting_bits=bits)


def _offset(subnet: IPv4Network, address: IPv4Address) -> int:
    return int(address) - int(subnet.network_address)


def _bit(subnet: IPv4Network, address: IPv4Address) -> int:
    return 1 << _offset(subnet, address)
