"""Entries: all or nothing, deterministic, total; views that stay as they are; snapshots."""

import itertools
import random

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from beeyard.swarm.v1 import store_pb2
from services.swarmd.store import encoding
from services.swarmd.store.changes import Committed, Refusal, Refused
from services.swarmd.store.memory import Memory
from services.swarmd.store.tables import (
    INDEXES,
    NODES,
    NODES_BY_HOSTNAME,
    SERVICES,
    SERVICES_BY_NAME,
    TABLES,
    TASKS,
    TASKS_BY_DESIRED_STATE,
    TASKS_BY_NODE,
    TASKS_BY_SERVICE,
    TASKS_BY_SLOT,
    copy_of,
)
from services.swarmd.store.transaction import Tx
from tests.unit.swarmd.store import objects

TIME = Timestamp(seconds=1_700_000_000)


def commit(memory: Memory, *steps: object) -> Committed | Refused:
    """Apply one entry made by functions of a transaction."""
    tx = Tx(memory.view())
    for step in steps:
        step(tx)  # type: ignore[operator]
    return memory.apply(memory.index + 1, tx.entry(TIME))


def create(table: object, *objs: object) -> object:
    return lambda tx: [tx.create(table, obj) for obj in objs]


def test_the_store_writes_versions_and_times() -> None:
    memory = Memory()
    commit(memory, create(SERVICES, objects.service("web")))
    made = memory.view().get(SERVICES, "id-web")
    assert made is not None
    assert (made.meta.version, made.meta.created_version, made.spec_version) == (1, 1, 1)
    assert made.meta.created_at == made.meta.updated_at == TIME
    changed = copy_of(made)
    changed.spec.mode.replicated.replicas = 2
    changed.meta.created_version = 77
    tx = Tx(memory.view())
    tx.update(SERVICES, changed)
    memory.apply(5, tx.entry(Timestamp(seconds=1_700_000_009)))
    again = memory.view().get(SERVICES, "id-web")
    assert again is not None
    assert (again.meta.version, again.meta.created_version, again.spec_version) == (5, 1, 1)
    assert (again.meta.created_at.seconds, again.meta.updated_at.seconds) == (1_700_000_000, 1_700_000_009)


def test_a_new_spec_gets_the_index_as_its_version() -> None:
    memory = Memory()
    commit(memory, create(SERVICES, objects.service("web")))
    current = memory.view().get(SERVICES, "id-web")
    assert current is not None
    revised = copy_of(current)
    revised.spec_version = 0
    commit(memory, lambda tx: tx.update(SERVICES, revised))
    stored = memory.view().get(SERVICES, "id-web")
    assert stored is not None
    assert stored.spec_version == 2


def test_indexes_follow_changes() -> None:
    memory = Memory()
    commit(memory, create(TASKS, objects.task("a", slot=1), objects.task("b", slot=2, node_id="n1")))
    view = memory.view()
    assert {task.id for task in view.find(TASKS_BY_SERVICE, "s")} == {"a", "b"}
    assert [task.id for task in view.find(TASKS_BY_NODE, "n1")] == ["b"]
    assert [task.id for task in view.find(TASKS_BY_SLOT, ("s", 2))] == ["b"]
    moved = copy_of(view.get(TASKS, "a"))  # type: ignore[type-var]
    moved.node_id = "n1"
    moved.desired_state = 640
    commit(memory, lambda tx: tx.update(TASKS, moved))
    view = memory.view()
    assert {task.id for task in view.find(TASKS_BY_NODE, "n1")} == {"a", "b"}
    assert [task.id for task in view.find(TASKS_BY_DESIRED_STATE, 640)] == ["a"]
    assert [task.id for task in view.find(TASKS_BY_DESIRED_STATE, 512)] == ["b"]
    commit(memory, lambda tx: tx.remove(TASKS, "b"))
    assert [task.id for task in memory.view().find(TASKS_BY_NODE, "n1")] == ["a"]
    assert not memory.view().find(TASKS_BY_SLOT, ("s", 2))


def test_names_are_found_and_unique_without_regard_to_case() -> None:
    memory = Memory()
    commit(memory, create(SERVICES, objects.service("Web")))
    assert [found.id for found in memory.view().find(SERVICES_BY_NAME, "web")] == ["id-Web"]
    one, other = Tx(memory.view()), Tx(memory.view())
    one.create(SERVICES, objects.service("api", "x"))
    other.create(SERVICES, objects.service("API", "y"))
    assert isinstance(memory.apply(2, one.entry(TIME)), Committed)
    refused = memory.apply(3, other.entry(TIME))
    assert refused == Refused(3, Refusal.NAME, "service", "y", "API")


def test_hostnames_need_not_be_unique() -> None:
    memory = Memory()
    commit(memory, create(NODES, objects.node("a", "host"), objects.node("b", "HOST")))
    assert len(memory.view().find(NODES_BY_HOSTNAME, "host")) == 2


def test_an_entry_made_from_an_old_version_does_not_happen() -> None:
    memory = Memory()
    commit(memory, create(TASKS, objects.task("a"), objects.task("b")))
    late = Tx(memory.view())
    for task_id in ("b", "a"):
        changed = copy_of(late.get(TASKS, task_id))  # type: ignore[type-var]
        changed.node_id = "n1"
        late.update(TASKS, changed)
    early = copy_of(memory.view().get(TASKS, "a"))  # type: ignore[type-var]
    early.slot = 9
    commit(memory, lambda tx: tx.update(TASKS, early))
    before = memory.snapshot()
    assert memory.apply(3, late.entry(TIME)) == Refused(3, Refusal.VERSION, "task", "a")
    assert not memory.view().find(TASKS_BY_NODE, "n1"), "nothing of it happened"
    assert [task.id for task in memory.view().list(TASKS)]
    assert memory.index == 3
    memory.index = 2
    assert memory.snapshot() == before


def test_what_an_entry_relies_on_is_checked_too() -> None:
    memory = Memory()
    commit(memory, create(SERVICES, objects.service("web")))
    tx = Tx(memory.view())
    tx.require_unchanged(SERVICES, "id-web")
    tx.require_unchanged(SERVICES, "none")
    tx.create(TASKS, objects.task("a", "id-web"))
    commit(memory, lambda tx: tx.remove(SERVICES, "id-web"))
    assert memory.apply(3, tx.entry(TIME)) == Refused(3, Refusal.VERSION, "service", "id-web")
    tx = Tx(memory.view())
    tx.require_unchanged(SERVICES, "id-web")
    tx.create(TASKS, objects.task("a", "id-web"))
    commit(memory, create(SERVICES, objects.service("web")))
    assert isinstance(memory.apply(5, tx.entry(TIME)), Refused), "absence is a version as well"


@pytest.mark.parametrize(("action", "refusal"), [("update", Refusal.MISSING), ("remove", Refusal.MISSING)])
def test_what_is_gone_cannot_change(action: str, refusal: Refusal) -> None:
    memory = Memory()
    commit(memory, create(TASKS, objects.task("a")))
    tx = Tx(memory.view())
    if action == "update":
        tx.update(TASKS, objects.task("a", slot=7))
    else:
        tx.remove(TASKS, "a")
    commit(memory, lambda tx: tx.remove(TASKS, "a"))
    assert memory.apply(3, tx.entry(TIME)) == Refused(3, refusal, "task", "a")


def test_an_id_is_made_once() -> None:
    memory = Memory()
    one, other = Tx(memory.view()), Tx(memory.view())
    one.create(TASKS, objects.task("a"))
    other.create(TASKS, objects.task("a", slot=2))
    memory.apply(1, one.entry(TIME))
    assert memory.apply(2, other.entry(TIME)) == Refused(2, Refusal.EXISTS, "task", "a")


def test_a_name_that_is_given_up_can_be_taken_in_the_same_entry() -> None:
    memory = Memory()
    commit(memory, create(SERVICES, objects.service("web", "old")))

    def swap(tx: Tx) -> None:
        tx.remove(SERVICES, "old")
        tx.create(SERVICES, objects.service("web", "new"))

    assert isinstance(commit(memory, swap), Committed)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_result(data: bytes) -> None:
    memory = Memory()
    result = memory.apply(1, data)
    assert isinstance(result, Committed | Refused)
    assert memory.index == 1


@pytest.mark.parametrize(
    "entry",
    [
        store_pb2.StoreTransaction(changes=[store_pb2.StoreChange(action=store_pb2.STORE_ACTION_CREATE)]),
        store_pb2.StoreTransaction(
            changes=[store_pb2.StoreChange(object=encoding.wrap(TASKS, objects.task("a")))]
        ),
        store_pb2.StoreTransaction(
            changes=[
                store_pb2.StoreChange(action=1, object=encoding.wrap(TASKS, objects.task("a"))),
                store_pb2.StoreChange(action=1, object=encoding.wrap(TASKS, objects.task(""))),
            ]
        ),
        store_pb2.StoreTransaction(unchanged={"nonsense": 1}),
    ],
)
def test_what_cannot_be_meant_is_refused_whole(entry: store_pb2.StoreTransaction) -> None:
    memory = Memory()
    assert memory.apply(1, entry.SerializeToString()) == Refused(1, Refusal.MALFORMED)
    assert not memory.view().list(TASKS)


def test_a_view_stays_as_it_is() -> None:
    memory = Memory()
    commit(memory, create(TASKS, objects.task("a", node_id="n1")))
    view = memory.view()
    assert memory.view() is view, "all who ask between two changes share one"
    moved = copy_of(view.get(TASKS, "a"))  # type: ignore[type-var]
    moved.desired_state = 640
    commit(memory, lambda tx: tx.update(TASKS, moved), create(TASKS, objects.task("b", node_id="n1")))
    commit(memory, lambda tx: tx.remove(TASKS, "a"))
    assert view.index == 1
    assert [task.desired_state for task in view.find(TASKS_BY_NODE, "n1")] == [512]
    assert view.count(TASKS) == 1
    assert [task.id for task in memory.view().find(TASKS_BY_NODE, "n1")] == ["b"]


def test_without_a_view_nothing_is_cloned() -> None:
    memory = Memory()
    commit(memory, create(TASKS, objects.task("a")))
    rows = memory._tables["task"]
    entry = encoding.dump(
        store_pb2.StoreTransaction(
            changes=[store_pb2.StoreChange(action=1, object=encoding.wrap(TASKS, objects.task("b")))]
        )
    )
    memory.apply(2, entry)
    assert memory._tables["task"] is rows
    view = memory.view()
    memory.apply(3, entry.replace(b"b", b"c"))
    assert memory._tables["task"] is not rows
    assert view.count(TASKS) == 2


def test_a_snapshot_brings_everything_back() -> None:
    memory = Memory()
    commit(
        memory, create(SERVICES, objects.service("web")), create(TASKS, objects.task("b"), objects.task("a"))
    )
    restored = Memory()
    commit(restored, create(TASKS, objects.task("to be forgotten")))
    held = restored.view()
    restored.restore(memory.snapshot())
    assert restored.index == memory.index
    assert restored.snapshot() == memory.snapshot()
    assert {task.id for task in restored.view().find(TASKS_BY_SERVICE, "s")} == {"a", "b"}
    assert held.get(TASKS, "to be forgotten") is not None


def test_a_broken_snapshot_leaves_the_store_as_it_was() -> None:
    memory = Memory()
    commit(memory, create(TASKS, objects.task("a")))
    for data in (b"\xff\xff", memory.snapshot()[:-3]):
        with pytest.raises(encoding.Malformed):
            memory.restore(data)
    assert memory.view().get(TASKS, "a") is not None


# Properties: random entries, among them ones that must be refused, on two members.

operations = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["create", "update", "remove"]), st.integers(0, 5), st.integers(0, 3)),
        max_size=4,
    ),
    max_size=12,
)


@settings(deadline=None)
@given(operations, st.randoms(use_true_random=False))
def test_members_agree_and_indexes_are_those_of_a_fresh_store(
    entries: list[list[tuple[str, int, int]]], rng: random.Random
) -> None:
    one, other = Memory(), Memory()
    held = []
    for number, steps in enumerate(entries, start=1):
        transaction = store_pb2.StoreTransaction(time=TIME)
        for action, which, value in steps:
            obj = objects.service(f"name-{value}", f"id-{which}")
            task = objects.task(f"task-{which}", f"service-{value}", value, f"node-{which}" if value else "")
            table, thing = rng.choice([(SERVICES, obj), (TASKS, task)])
            transaction.changes.append(
                store_pb2.StoreChange(
                    action=f"STORE_ACTION_{action.upper()}",  # type: ignore[arg-type]
                    object=encoding.wrap(table, thing),  # type: ignore[type-var]
                    expected_version=0 if action == "create" else rng.choice([0, 0, 0, 1, 2]),
                )
            )
        data = transaction.SerializeToString()
        if rng.random() < 0.5:
            held.append((one.view(), one.snapshot()))
        before = other.snapshot()
        results = one.apply(number, data), other.apply(number, data)
        assert results[0] == results[1]
        if isinstance(results[0], Refused):
            other.index -= 1
            assert other.snapshot() == before
            other.index += 1
    assert one.snapshot() == other.snapshot()
    fresh = Memory()
    fresh.restore(one.snapshot())
    for memory_index in INDEXES:
        table = next(table for table in TABLES if table.name == memory_index.table)
        keys = set(itertools.chain.from_iterable(memory_index.keys(obj) for obj in fresh.view().list(table)))
        for key in keys:
            found = {obj.id for obj in one.view().find(memory_index, key)}
            assert found == {obj.id for obj in fresh.view().find(memory_index, key)}
        assert set(one._tables[table.name]._buckets[memory_index.name]) == keys
    for view, snapshot in held:
        again = Memory()
        again.restore(snapshot)
        for table in TABLES:
            assert sorted(obj.id for obj in view.list(table)) == sorted(
                obj.id for obj in again.view().list(table)
            )
            for obj in view.list(table):
                assert obj == again.view().get(table, obj.id)
