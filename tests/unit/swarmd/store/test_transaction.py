"""Transactions: they read their own writes, merge them, and fit into entries."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit import errors
from services.swarmd.store.memory import Memory
from services.swarmd.store.refusals import CHANGES_MAX, TRANSACTION_BYTES_MAX
from services.swarmd.store.tables import SECRETS, SERVICES, TASKS, TASKS_BY_SERVICE, copy_of
from services.swarmd.store.transaction import Tx
from tests.unit.swarmd.store import objects

TIME = Timestamp(seconds=1)


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    tx = Tx(memory.view())
    tx.create(TASKS, objects.task("a"))
    tx.create(TASKS, objects.task("b"))
    tx.create(SERVICES, objects.service("web"))
    memory.apply(1, tx.entry(TIME))
    return memory


def test_it_reads_its_own_writes(memory: Memory) -> None:
    tx = Tx(memory.view())
    tx.remove(TASKS, "a")
    tx.create(TASKS, objects.task("c"))
    moved = copy_of(tx.get(TASKS, "b"))  # type: ignore[type-var]
    moved.service_id = "other"
    tx.update(TASKS, moved)
    assert tx.get(TASKS, "a") is None
    assert {task.id for task in tx.list(TASKS)} == {"b", "c"}
    assert [task.id for task in tx.find(TASKS_BY_SERVICE, "s")] == ["c"]
    assert [task.id for task in tx.find(TASKS_BY_SERVICE, "other")] == ["b"]
    assert {task.id for task in memory.view().list(TASKS)} == {"a", "b"}, "others see nothing of it"


def test_writes_of_one_object_merge(memory: Memory) -> None:
    tx = Tx(memory.view())
    tx.create(TASKS, objects.task("c"))
    tx.update(TASKS, objects.task("c", slot=5))
    tx.create(TASKS, objects.task("d"))
    tx.remove(TASKS, "d")
    original = tx.get(TASKS, "a")
    assert original is not None
    changed = copy_of(original)
    changed.slot = 7
    tx.update(TASKS, changed)
    tx.update(TASKS, copy_of(original))
    assert [(write.id, write.old, write.new.slot) for write in tx.writes()] == [("c", None, 5)]
    assert tx.size == 1


def test_a_change_that_changes_nothing_is_none(memory: Memory) -> None:
    tx = Tx(memory.view())
    tx.update(TASKS, copy_of(tx.get(TASKS, "a")))  # type: ignore[type-var]
    assert not tx.writes()


def test_what_is_removed_can_be_made_anew(memory: Memory) -> None:
    tx = Tx(memory.view())
    tx.remove(TASKS, "a")
    tx.create(TASKS, objects.task("a", slot=3))
    (write,) = tx.writes()
    assert (write.old.slot, write.new.slot) == (1, 3)
    memory.apply(2, tx.entry(TIME))
    stored = memory.view().get(TASKS, "a")
    assert stored is not None
    assert stored.slot == 3


def test_errors_name_the_object(memory: Memory) -> None:
    tx = Tx(memory.view())
    with pytest.raises(errors.AlreadyExists):
        tx.create(TASKS, objects.task("a"))
    with pytest.raises(errors.AlreadyExists, match="'WEB'") as taken:
        tx.create(SERVICES, objects.service("WEB"))
    assert taken.value.reason == "NAME_IN_USE"
    with pytest.raises(errors.NotFound, match="task x") as missing:
        tx.update(TASKS, objects.task("x"))
    assert missing.value.reason == "TASK_NOT_FOUND"
    with pytest.raises(errors.NotFound):
        tx.remove(TASKS, "x")
    with pytest.raises(errors.Conflict, match="update out of sequence") as stale:
        tx.update(TASKS, objects.task("a"), version=7)
    assert stale.value.reason == "VERSION_MISMATCH"
    with pytest.raises(errors.Conflict):
        tx.remove(TASKS, "a", version=7)
    assert not tx.writes()


def test_a_transaction_has_limits(memory: Memory) -> None:
    tx = Tx(memory.view())
    for number in range(CHANGES_MAX + 1):
        tx.create(TASKS, objects.task(f"t{number}"))
    with pytest.raises(errors.Exhausted, match="201 changes"):
        tx.entry(TIME)
    large = Tx(memory.view())
    large.create(SECRETS, objects.secret("large", bytes(3 << 20)))
    with pytest.raises(errors.Exhausted) as caught:
        large.entry(TIME)
    assert caught.value.reason == "SPEC_TOO_LARGE"
    with pytest.raises(errors.Exhausted):
        list(large.entries(TIME, lambda write: write.id))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([10, 1000, 100_000, 500_000])), max_size=60))
def test_entries_hold_everything_within_the_limits(shape: list[tuple[int, int]]) -> None:
    memory = Memory()
    tx = Tx(memory.view())
    units: dict[str, int] = {}
    for number, (unit, size) in enumerate(shape):
        secret = objects.secret(f"s{number}", bytes(size))
        units[secret.id] = unit
        tx.create(SECRETS, secret)
    entries = list(tx.entries(TIME, lambda write: units[write.id]))
    assert sorted(write.id for entry in entries for write in entry.writes) == sorted(units)
    for entry in entries:
        assert len(entry.data) <= TRANSACTION_BYTES_MAX
        assert len(entry.writes) <= CHANGES_MAX
    sizes = {unit: sum(size for other, size in shape if other == unit) for unit, _ in shape}
    for unit, size in sizes.items():
        if size < TRANSACTION_BYTES_MAX - 50_000:
            holding = [entry for entry in entries if any(units[write.id] == unit for write in entry.writes)]
            assert len(holding) == 1, "a unit that fits is not divided"
    for index, entry in enumerate(entries, start=1):
        memory.apply(index, entry.data)
    assert memory.view().count(SECRETS) == len(shape)


def test_few_changes_are_one_entry(memory: Memory) -> None:
    tx = Tx(memory.view())
    for number in range(CHANGES_MAX):
        tx.create(TASKS, objects.task(f"t{number}"))
    assert len(list(tx.entries(TIME, lambda write: write.id))) == 1


def test_a_unit_that_does_not_fit_is_divided(memory: Memory) -> None:
    tx = Tx(memory.view())
    for number in range(CHANGES_MAX + 50):
        tx.create(TASKS, objects.task(f"t{number}"))
    large = Tx(memory.view())
    for number in range(4):
        large.create(SECRETS, objects.secret(f"s{number}", bytes(500_000)))
    assert [len(entry.writes) for entry in tx.entries(TIME, lambda _: "one")] == [CHANGES_MAX, 50]
    assert [len(entry.writes) for entry in large.entries(TIME, lambda _: "one")] == [3, 1]
