"""The whole store: updates that race, watches, and proposers that lag or fail."""

import asyncio
import random

import pytest

from services.kit import errors
from services.swarmd.store.changes import Committed, Refusal, Refused, Resync
from services.swarmd.store.refusals import error_of
from services.swarmd.store.store import Store
from services.swarmd.store.tables import SERVICES, TASKS, copy_of
from services.swarmd.store.transaction import Tx
from tests.unit.swarmd.store import objects
from tests.unit.swarmd.store.proposers import DirectProposer, LaggingProposer, LostLeader, StillClock


def direct(**options: int) -> tuple[Store, DirectProposer]:
    store = Store(StillClock(), **options)
    proposer = DirectProposer(store)
    store.bind(proposer)
    return store, proposer


def lagging(seed: int = 0) -> tuple[Store, LaggingProposer]:
    store = Store(StillClock())
    proposer = LaggingProposer(store, random.Random(seed))
    store.bind(proposer)
    return store, proposer


def add(name: str):
    return lambda tx: tx.create(SERVICES, objects.service(name))


def raise_replicas(tx: Tx) -> int:
    current = tx.get(SERVICES, "id-web")
    assert current is not None
    changed = copy_of(current)
    changed.spec.mode.replicated.replicas += 1
    tx.update(SERVICES, changed)
    return changed.spec.mode.replicated.replicas


async def test_an_update_returns_what_its_function_returned() -> None:
    store, proposer = direct()
    await store.update(add("web"))
    assert await store.update(raise_replicas) == 2
    assert (store.index, proposer.entries) == (2, 2)


async def test_an_update_without_writes_proposes_nothing() -> None:
    store, proposer = direct()
    assert await store.update(lambda tx: len(tx.list(SERVICES))) == 0
    assert proposer.entries == 0


async def test_what_the_function_raises_is_raised_and_nothing_happens() -> None:
    store, proposer = direct()

    def change(tx: Tx) -> None:
        tx.create(SERVICES, objects.service("web"))
        raise errors.Invalid("no")

    with pytest.raises(errors.Invalid):
        await store.update(change)
    assert proposer.entries == 0


@pytest.mark.parametrize("seed", range(5))
async def test_updates_of_one_object_do_not_race(seed: int) -> None:
    store, _ = lagging(seed)
    await store.update(add("web"))
    values = await asyncio.gather(*(store.update(raise_replicas, retry=False) for _ in range(20)))
    assert sorted(values) == list(range(2, 22))


async def test_updates_of_different_objects_are_under_way_together() -> None:
    store, proposer = lagging()
    await asyncio.gather(*(store.update(add(f"s{number}")) for number in range(20)))
    assert proposer.in_flight_most == 20
    assert len(store.view().list(SERVICES)) == 20


async def test_of_two_that_want_a_name_one_is_told() -> None:
    store, _ = lagging()
    results = await asyncio.gather(
        *(
            store.update(lambda tx, i=i: tx.create(SERVICES, objects.service("web", f"id{i}")))
            for i in range(2)
        ),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), errors.AlreadyExists]


def foreign(store: Store):
    """Another leader writes the service, without this one knowing before."""

    def write() -> None:
        tx = Tx(store.view())
        raise_replicas(tx)
        time = store._timestamp()
        store._memory.apply(store.index + 1, tx.entry(time))

    return write


async def test_a_conflict_with_another_leader_is_repeated_or_told() -> None:
    store, proposer = lagging()
    await store.update(add("web"))
    times = iter([True, False, True])
    write = foreign(store)
    proposer.before_apply = lambda: write() if next(times, False) else None
    assert await store.update(raise_replicas) == 3
    with pytest.raises(errors.Conflict) as caught:
        await store.update(raise_replicas, retry=False)
    assert caught.value.reason == "VERSION_MISMATCH"


async def test_conflicts_without_an_end_are_told() -> None:
    store, proposer = lagging()
    await store.update(add("web"))
    proposer.before_apply = foreign(store)
    with pytest.raises(errors.Conflict):
        await store.update(raise_replicas)


async def test_without_a_leader_updates_fail() -> None:
    store = Store(StillClock())
    with pytest.raises(errors.Unavailable) as unbound:
        await store.update(add("web"))
    assert unbound.value.reason == "NOT_A_MANAGER"
    store.bind(LostLeader())
    with pytest.raises(errors.Unavailable):
        await store.update(add("web"))
    with pytest.raises(errors.Unavailable):
        tx = Tx(store.view())
        for number in range(500):
            tx.create(TASKS, objects.task(f"t{number}"))
        await store.write(tx, lambda write: write.id)
    store.bind(DirectProposer(store))
    await store.update(add("web"))
    assert not store._in_flight


async def test_a_large_write_is_divided_and_what_is_refused_is_returned() -> None:
    store, proposer = lagging()
    tx = Tx(store.view())
    for number in range(450):
        tx.create(TASKS, objects.task(f"t{number:03d}"))
    await store.update(lambda tx: tx.create(TASKS, objects.task("t250")))
    undone = await store.write(tx, lambda write: write.id)
    assert {write.id for write in undone} == {f"t{number:03d}" for number in range(200, 400)}
    assert len(store.view().list(TASKS)) == 251
    assert proposer.in_flight_most == 3


async def test_a_write_does_not_propose_what_is_under_way() -> None:
    store, _ = lagging()
    await store.update(lambda tx: tx.create(TASKS, objects.task("a")))

    def shut(tx: Tx) -> None:
        changed = copy_of(tx.get(TASKS, "a"))  # type: ignore[type-var]
        changed.desired_state = 640
        tx.update(TASKS, changed)

    update = asyncio.gather(store.update(shut))
    await asyncio.sleep(0)
    tx = Tx(store.view())
    tx.remove(TASKS, "a")
    index = store.index
    assert [write.id for write in await store.write(tx, lambda write: write.id)] == ["a"]
    await update
    assert store.index == index + 1, "no entry was spent on it"


async def test_a_watch_sees_every_commit_in_order() -> None:
    store, _ = direct()
    watch = store.watch()
    await store.update(add("web"))
    await store.update(raise_replicas)
    await store.update(lambda tx: tx.remove(SERVICES, "id-web"))
    seen = [await anext(watch) for _ in range(3)]
    assert [item.index for item in seen] == [1, 2, 3]
    changes = [change for item in seen if isinstance(item, Committed) for change in item.of(SERVICES)]
    assert [(change.old is None, change.new is None) for change in changes] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert not [change for item in seen if isinstance(item, Committed) for change in item.of(TASKS)]
    assert not watch.read_now()


async def test_a_watch_waits() -> None:
    store, _ = lagging()
    watch = store.watch()
    reading = asyncio.gather(watch.read())
    await store.update(add("web"))
    ((item,),) = await reading
    assert item.index == 1


async def test_a_watch_resumes_where_another_left_off() -> None:
    store, _ = direct()
    for number in range(5):
        await store.update(add(f"s{number}"))
    assert [item.index for item in store.watch(since=3).read_now()] == [4, 5]
    assert store.watch(since=0).read_now()[0].index == 1
    assert not store.watch(since=5).read_now()


async def test_one_who_falls_behind_is_told_to_read_anew() -> None:
    store, _ = direct(changes_kept_max=3)
    watch = store.watch()
    for number in range(6):
        await store.update(add(f"s{number}"))
    assert watch.read_now() == (Resync(6),)
    await store.update(add("more"))
    assert [item.index for item in watch.read_now()] == [7]


async def test_a_snapshot_makes_all_read_anew() -> None:
    store, _ = direct()
    other, _ = direct()
    await store.update(add("web"))
    await store.update(add("api"))
    watch = other.watch()
    other.restore(store.snapshot()())
    assert watch.read_now() == (Resync(2),)
    assert len(other.view().list(SERVICES)) == 2


async def test_a_snapshot_is_of_its_moment_whatever_comes_after() -> None:
    store, _ = direct()
    await store.update(add("web"))
    snapshot = store.snapshot()
    expected = snapshot()
    await store.update(raise_replicas)
    assert await asyncio.to_thread(snapshot) == expected
    restored, _ = direct()
    restored.restore(expected)
    assert restored.index == 1


async def test_watches_end_with_the_store() -> None:
    store, _ = direct()
    watch = store.watch()
    await store.update(add("web"))
    reading = asyncio.gather(*(anext(watch, None) for _ in range(1)))
    await reading
    waiting = asyncio.gather(anext(watch, None))
    await asyncio.sleep(0)
    store.close()
    assert await waiting == [None]
    assert await store.watch(since=0).read()
    assert await store.watch().read() == ()


def test_refusals_are_errors_that_say_what_to_do() -> None:
    kinds = {refusal: type(error_of(Refused(1, refusal, "service", "x", "web"))) for refusal in Refusal}
    assert kinds == {
        Refusal.VERSION: errors.Conflict,
        Refusal.EXISTS: errors.AlreadyExists,
        Refusal.NAME: errors.AlreadyExists,
        Refusal.MISSING: errors.NotFound,
        Refusal.MALFORMED: errors.Internal,
    }
