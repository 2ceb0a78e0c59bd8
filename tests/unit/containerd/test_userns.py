"""Which ids of the node a container gets, and which wishes exclude a user namespace."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.containerd.model.idmap import ID_NOBODY, IdMap
from services.containerd.model.spec import ContainerSpec, Network, Security
from services.containerd.ocispec import user
from services.containerd.userns import choice, ranges
from services.containerd.userns.choice import Supply
from services.kit import errors

POOL = (IdMap(start=1_000_000, size=4 * 65_536),)
SUPPLY = Supply(pool=POOL)
REMAPPED = IdMap(start=1_000_000, size=65_536)
THEIRS = IdMap(start=1_065_536, size=65_536)


def spec(userns: str = "", network: str = "none", **fields: object) -> ContainerSpec:
    return ContainerSpec(
        image="web", network=Network(mode=network), security=Security(userns=userns, **fields)
    )


pools = st.lists(
    st.builds(IdMap, start=st.integers(70_000, 75_000), size=st.integers(1, 2_000)), min_size=1, max_size=4
).map(ranges.union)


@given(st.builds(IdMap, start=st.integers(65_536, 1 << 30), size=st.integers(1, 1 << 20)), st.data())
def test_ids_go_there_and_back(ids: IdMap, data: st.DataObject) -> None:
    inside = data.draw(st.integers(0, ids.size - 1))
    assert ids.to_container(ids.to_host(inside)) == inside
    assert ids.to_container(ids.end) == ids.to_container(ids.start - 1) == ID_NOBODY
    assert ids.holds(ids.to_host(ids.size + inside)), (
        "an id that is not there must not become one of the node's"
    )


@given(pools, st.integers(1, 700), st.integers(1, 40))
def test_no_id_is_given_twice(pool: tuple[IdMap, ...], size: int, count: int) -> None:
    taken: list[IdMap] = []
    for _ in range(count):
        try:
            given_ = ranges.allocate(pool, taken, size)
        except errors.Exhausted:
            break
        assert given_.size == size
        assert any(part.start <= given_.start and given_.end <= part.end for part in pool)
        assert not any(given_.overlaps(other) for other in [*taken, ranges.remap(pool)])
        taken.append(given_)
    if taken:  # what is given back can be had again
        assert ranges.allocate(pool, taken[1:], size).start <= taken[0].start


@given(st.lists(st.builds(IdMap, start=st.integers(0, 60), size=st.integers(1, 20)), max_size=6))
def test_union_keeps_the_ids(parts: list[IdMap]) -> None:
    merged = ranges.union(parts)
    assert _members(merged) == _members(parts)
    assert all(one.end < other.start for one, other in itertools.pairwise(merged))


@given(
    st.lists(st.builds(IdMap, start=st.integers(0, 60), size=st.integers(1, 20)), max_size=4),
    st.lists(st.builds(IdMap, start=st.integers(0, 60), size=st.integers(1, 20)), max_size=4),
)
def test_intersection_is_what_both_have(users: list[IdMap], groups: list[IdMap]) -> None:
    assert _members(ranges.intersection(users, groups)) == _members(users) & _members(groups)


def _members(parts: Iterable[IdMap]) -> set[int]:
    return {number for part in parts for number in range(part.start, part.end)}


@given(st.text())
def test_reading_subordinate_ids_is_total(text: str) -> None:
    ranges.parse_subordinate(text, "beeyard")


def test_subordinate_ids() -> None:
    text = "# who\nother:100000:65536\nbeeyard:200000:65536\nbeeyard:265536:10\nbeeyard:5:10\nbeeyard:x:1\n"
    assert ranges.parse_subordinate(text, "beeyard") == (IdMap(start=200_000, size=65_546),)
    assert ranges.parse_subordinate(text, "nobody") == ()


@pytest.mark.parametrize(
    "text", ["", "5", "9-8", "1-2", "65535-70000", "70000-9999999999", "a-b", "70000-80000,"]
)
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(errors.Invalid):
        ranges.parse(text)


@pytest.mark.parametrize(
    "text", ["", "x", "auto:", "auto:size=", "auto:size=10", "auto:size=99999999999", "remap:1"]
)
def test_modes_that_are_none(text: str) -> None:
    with pytest.raises(errors.Invalid):
        choice.parse(text)


@pytest.mark.parametrize(
    ("wanted", "default", "expected"),
    [
        (spec(), "host", None),
        (spec("host"), "auto", None),
        (spec("remap"), "host", REMAPPED),
        (spec(), "remap", REMAPPED),
        (spec("auto"), "host", IdMap(start=1_065_536, size=65_536)),
        (spec("auto:size=2000"), "host", IdMap(start=1_065_536, size=2_000)),
        (spec(), "auto:size=1024", IdMap(start=1_065_536, size=1_024)),
    ],
)
def test_own_ids(wanted: ContainerSpec, default: str, expected: IdMap | None) -> None:
    assert choice.decide(wanted, {}, replace(SUPPLY, default=default), []) == expected


def test_the_next_one_gets_others() -> None:
    first = choice.decide(spec("auto"), {}, SUPPLY, [])
    assert first is not None
    second = choice.decide(spec("auto"), {}, SUPPLY, [first])
    assert second == IdMap(start=first.end, size=65_536)
    with pytest.raises(errors.Exhausted, match="no 65536 ids in a row are free"):
        choice.decide(spec("auto"), {}, SUPPLY, [first, second, IdMap(start=second.end, size=1)])


def test_no_ids_at_all() -> None:
    for mode in ("auto", "remap"):
        with pytest.raises(errors.FailedPrecondition, match="/etc/subuid"):
            choice.decide(spec(mode), {}, Supply(), [])


@pytest.mark.parametrize(
    ("wanted", "owners", "expected"),
    [
        (spec(network="container:a"), {"a": THEIRS}, THEIRS),
        (spec(network="container:a"), {"a": None}, None),
        (spec("host", network="container:a"), {"a": THEIRS}, None),
        (spec("remap", network="container:a"), {"a": REMAPPED}, REMAPPED),
        (spec(pid="container:a", ipc="container:a"), {"a": THEIRS}, THEIRS),
    ],
)
def test_joining(wanted: ContainerSpec, owners: dict[str, IdMap | None], expected: IdMap | None) -> None:
    assert choice.decide(wanted, owners, SUPPLY, [THEIRS]) == expected


@pytest.mark.parametrize(
    ("wanted", "owners"),
    [
        (spec("auto", network="container:a"), {"a": THEIRS}),
        (spec("remap", pid="container:a"), {"a": None}),
        (spec("remap", pid="container:a"), {"a": THEIRS}),
        (spec(pid="container:a", ipc="container:b"), {"a": THEIRS, "b": THEIRS}),
        (spec(pid="container:a", ipc="container:b"), {"a": THEIRS, "b": None}),
        (spec("auto", privileged=True), {}),
        (spec("remap", network="host"), {}),
        (spec("auto", pid="host"), {}),
        (spec("remap", ipc="host"), {}),
        (spec(network="container:a", privileged=True), {"a": THEIRS}),
    ],
)
def test_what_excludes_a_user_namespace(wanted: ContainerSpec, owners: dict[str, IdMap | None]) -> None:
    with pytest.raises(errors.Invalid):
        choice.decide(wanted, owners, SUPPLY, [])


@pytest.mark.parametrize(
    ("name", "groups", "why"),
    [
        ("2000", (), "user id 2000 "),
        ("alice", (), "user id 5000 "),
        ("1:5000", (), "group id 5000 "),
        ("1", ("5000",), "group id 5000 "),
    ],
)
def test_a_user_outside_the_ids(name: str, groups: tuple[str, ...], why: str) -> None:
    alice = "alice:x:5000:1::/:/bin/sh"
    ids = IdMap(start=1_000_000, size=2_000)
    with pytest.raises(errors.Invalid, match=f"{why}.*0 to 1999") as refused:
        user.resolve(name, passwd=alice, group="", groups_add=groups, ids=ids)
    assert refused.value.reason == "ID_NOT_MAPPED"
    user.resolve(name, passwd=alice, group="", groups_add=groups)
    user.resolve("1999:1999", passwd=alice, group="", ids=ids)


def test_what_is_joined() -> None:
    wanted = spec(network="container:a", pid="container:b", ipc="container:a")
    assert choice.owners_of(wanted) == {"a", "b"}
    assert choice.owners_of(spec(uts="container:a", cgroupns="container:b")) == {"a", "b"}


def test_what_the_setting_gives_is_written_down() -> None:
    given_ = Supply(pool=POOL, default="auto:size=2000")
    assert choice.settled(spec(), given_).security.userns == "auto:size=2000"
    for asked, supply in (
        (spec("host"), given_),
        (spec("remap"), given_),
        (spec(network="container:web"), given_),
        (spec(), SUPPLY),
    ):
        assert choice.settled(asked, supply) is asked
