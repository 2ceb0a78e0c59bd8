"""Addresses of one network. The oracle is a plain set."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.kit import errors
from services.netd.ipam import pool
from services.netd.model.network import Ipam

SUBNET = IPv4Network("10.0.0.0/28")
GATEWAY = IPv4Address("10.0.0.1")
PRINTER = IPv4Address("10.0.0.9")


def make(**fields: object) -> pool.Pool:
    return pool.create(Ipam(**{"subnet": SUBNET, "gateway": GATEWAY, **fields}))  # type: ignore[arg-type]


class PoolMachine(RuleBasedStateMachine):
    """Any sequence of takings and givings back."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = make(reserved={"printer": PRINTER})
        self.now = 1000.0
        self.held: set[IPv4Address] = set()
        self.rest_ends: dict[IPv4Address, float] = {}

    @rule()
    def allocate(self) -> None:
        possible = set(SUBNET.hosts()) - {GATEWAY, PRINTER} - self.held
        if not possible:
            with pytest.raises(errors.Exhausted):
                pool.allocate(self.pool, self.now)
            return
        self.pool, address = pool.allocate(self.pool, self.now)
        assert address in possible, "handed out twice, or never to be handed out"
        resting = {address for address, until in self.rest_ends.items() if until > self.now}
        if possible - resting:
            assert address not in resting, "handed out again at once although others were free"
        self.held.add(address)
        self.rest_ends.pop(address, None)

    @rule(number=st.integers(0, 17))
    def claim(self, number: int) -> None:
        address = SUBNET.network_address + number
        if address in self.held:
            with pytest.raises(errors.AlreadyExists):
                pool.claim(self.pool, address)
        elif address not in set(SUBNET.hosts()) - {GATEWAY, PRINTER}:
            with pytest.raises(errors.Invalid):
                pool.claim(self.pool, address)
        else:
            self.pool = pool.claim(self.pool, address)
            self.held.add(address)
            self.rest_ends.pop(address, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        address = data.draw(st.sampled_from(sorted(self.held)))
        self.pool = pool.release(self.pool, address, self.now + pool.REST_S)
        self.held.remove(address)
        self.rest_ends[address] = self.now + pool.REST_S

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_counts_right(self) -> None:
        assert set(pool.taken(self.pool)) == self.held
        assert self.pool.used_count == len(self.held)
        assert self.pool.total_count == 12


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(deadline=None, max_examples=50)


def test_the_lowest_free_address_is_chosen() -> None:
    first, address = pool.allocate(make(), 0)
    assert str(address) == "10.0.0.2"
    assert str(pool.allocate(first, 0)[1]) == "10.0.0.3"


def test_a_freed_address_rests() -> None:
    state, address = pool.allocate(make(), 0)
    state = pool.release(state, address, 60)
    assert pool.allocate(state, 59)[1] != address
    assert pool.allocate(state, 60)[1] == address


def test_what_has_rested_longest_is_better_than_nothing() -> None:
    state = make(ip_range=IPv4Network("10.0.0.4/31"))
    for _ in range(2):
        state, _ = pool.allocate(state, 0)
    state = pool.release(state, IPv4Address("10.0.0.5"), 61)
    state = pool.release(state, IPv4Address("10.0.0.4"), 62)
    state, address = pool.allocate(state, 1)
    assert str(address) == "10.0.0.5"


def test_choices_stay_in_the_range_but_claims_need_not() -> None:
    state = make(ip_range=IPv4Network("10.0.0.8/30"), gateway=IPv4Address("10.0.0.8"))
    for expected in ("10.0.0.9", "10.0.0.10", "10.0.0.11"):
        state, address = pool.allocate(state, 0)
        assert str(address) == expected
    with pytest.raises(errors.Exhausted) as caught:
        pool.allocate(state, 0)
    assert caught.value.reason == "ADDRESS_POOL_EXHAUSTED"
    assert pool.claim(state, IPv4Address("10.0.0.3")).used_count == 4


def test_a_large_pool_is_quick_to_choose_from() -> None:
    state = make(subnet=IPv4Network("10.0.0.0/8"))
    for _ in range(3):
        state, _ = pool.allocate(state, 0)
    assert state.used_count == 3
