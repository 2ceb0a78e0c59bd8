"""Which subnet a new network gets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors
from services.netd.ipam import subnets
from services.netd.model.network import NetworkSpec
from tests.unit.netd.strategies import unhurried

POOLS = [IPv4Network("172.17.0.0/16"), IPv4Network("172.18.0.0/15")]


def some_subnets() -> st.SearchStrategy[list[IPv4Network]]:
    inside = st.tuples(st.integers(0, 255), st.integers(18, 30)).map(
        lambda drawn: IPv4Network((int(IPv4Address("10.0.0.0")) + (drawn[0] << 14), drawn[1]))
    )
    return st.lists(inside, max_size=8)


@unhurried
@given(some_subnets(), st.integers(18, 24))
def test_what_is_chosen_is_free_and_the_first_that_is(occupied: list[IPv4Network], prefix: int) -> None:
    pool = IPv4Network("10.0.0.0/12")
    free = [
        candidate
        for candidate in pool.subnets(new_prefix=18)
        if not any(candidate.overlaps(barrier) for barrier in occupied)
    ]
    chosen = subnets.choose([pool], prefix, occupied)
    if chosen is None:
        assert not free
        return
    assert chosen.prefixlen == prefix
    assert chosen.subnet_of(pool)
    assert not any(chosen.overlaps(barrier) for barrier in occupied)
    if free:
        assert chosen <= next(iter(free[0].subnets(new_prefix=prefix)))


def test_the_pools_are_used_in_order() -> None:
    occupied: list[IPv4Network] = []
    for expected in ("172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16"):
        chosen = subnets.choose(POOLS, 16, occupied)
        assert str(chosen) == expected
        occupied.append(IPv4Network(expected))
    assert subnets.choose(POOLS, 16, occupied) is None


def test_a_large_barrier_is_passed() -> None:
    assert (
        str(subnets.choose([IPv4Network("10.0.0.0/8")], 24, [IPv4Network("10.0.0.0/9")])) == "10.128.0.0/24"
    )
    assert subnets.choose([IPv4Network("10.0.0.0/8")], 24, [IPv4Network("0.0.0.0/1")]) is None


def test_the_gateway_is_the_first_address_of_the_range() -> None:
    spec = NetworkSpec(name="n", ip_range=IPv4Network("10.1.5.0/24"))
    assert str(subnets.check(spec, IPv4Network("10.1.0.0/16")).gateway) == "10.1.5.0"
    spec = NetworkSpec(name="n", reserved={"router": IPv4Address("10.1.0.1")})
    assert str(subnets.check(spec, IPv4Network("10.1.0.0/16")).gateway) == "10.1.0.2"


@pytest.mark.parametrize(
    ("subnet", "fields"),
    [
        ("10.0.0.0/31", {}),
        ("0.0.0.0/0", {}),
        ("10.0.0.0/24", {"gateway": IPv4Address("10.0.1.1")}),
        ("10.0.0.0/24", {"gateway": IPv4Address("10.0.0.0")}),
        ("10.0.0.0/24", {"gateway": IPv4Address("10.0.0.255")}),
        ("10.0.0.0/24", {"ip_range": IPv4Network("10.0.0.0/23")}),
        ("10.0.0.0/24", {"reserved": {"x": IPv4Address("10.0.1.1")}}),
        ("10.0.0.0/24", {"gateway": IPv4Address("10.0.0.7"), "reserved": {"x": IPv4Address("10.0.0.7")}}),
    ],
)
def test_what_does_not_fit_is_refused(subnet: str, fields: dict[str, object]) -> None:
    with pytest.raises(errors.Invalid):
        subnets.check(NetworkSpec(name="n", **fields), IPv4Network(subnet))  # type: ignore[arg-type]
