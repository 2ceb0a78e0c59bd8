"""The supervisor: no task outlives its owner, and no failure goes unseen."""

import asyncio
import logging
from typing import NoReturn

import pytest

from services.kit import errors, tasks
from services.kit.tasks import Supervisor


async def forever() -> NoReturn:
    while True:
        await asyncio.sleep(3600)


async def fail_with(exc: BaseException, after: asyncio.Event | None = None) -> None:
    if after is not None:
        await after.wait()
    raise exc


async def test_leaving_the_block_ends_the_tasks() -> None:
    async with Supervisor() as supervisor:
        critical = supervisor.spawn(forever(), "loop")
        other = supervisor.spawn(forever(), "work", critical=False)
        await asyncio.sleep(0)
        assert supervisor.in_flight == 2
    assert critical.cancelled()
    assert other.cancelled()
    assert supervisor.in_flight == 0


async def test_a_task_returns_its_value() -> None:
    async def answer() -> int:
        return 42

    async with Supervisor() as supervisor:
        assert await supervisor.spawn(answer(), "answer", critical=False) == 42


async def test_the_failure_of_a_critical_task_ends_the_owner_and_its_siblings() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor() as supervisor:
            sibling = supervisor.spawn(forever(), "sibling")
            supervisor.spawn(fail_with(ValueError("broken")), "loop")
            await asyncio.sleep(3600)
    (failure,) = caught.value.exceptions
    assert isinstance(failure, ValueError)
    assert failure.__notes__ == ["in task loop"]
    assert sibling.cancelled()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_critical_task_that_returns_is_a_fault() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor() as supervisor:
            supervisor.spawn(asyncio.sleep(0), "loop")
            await asyncio.sleep(3600)
    (failure,) = caught.value.exceptions
    assert isinstance(failure, tasks.UnexpectedEnd)
    assert "loop" in failure.message


async def test_a_critical_task_that_is_cancelled_is_no_fault() -> None:
    async with Supervisor() as supervisor:
        await tasks.cancel(supervisor.spawn(forever(), "loop"))
        await asyncio.sleep(0)
        assert supervisor.in_flight == 0


async def test_other_failures_are_logged_and_concern_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with Supervisor() as supervisor:
        task = supervisor.spawn(fail_with(errors.NotFound("gone")), "lookup", critical=False)
        await asyncio.wait([task])
        await asyncio.sleep(0)
        await supervisor.idle()
    (record,) = caplog.records
    assert (record.levelno, record.getMessage(), record.fields["task"]) == (
        logging.ERROR,
        "task_failed",
        "lookup",
    )  # type: ignore[attr-defined]


async def test_all_failures_are_reported() -> None:
    start = asyncio.Event()
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor() as supervisor:
            supervisor.spawn(fail_with(ValueError("a"), start), "a")
            supervisor.spawn(fail_with(KeyError("b"), start), "b")
            start.set()
            await asyncio.sleep(3600)
    assert {type(failure) for failure in caught.value.exceptions} == {ValueError, KeyError}


async def test_a_failure_during_the_end_is_reported() -> None:
    async def fails_to_end() -> None:
        try:
            await forever()
        finally:
            raise RuntimeError("clean-up failed")

    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor() as supervisor:
            supervisor.spawn(fails_to_end(), "loop")
            await asyncio.sleep(0)
    assert [str(failure) for failure in caught.value.exceptions] == ["clean-up failed"]


async def test_the_owners_exception_passes_unwrapped() -> None:
    with pytest.raises(errors.Invalid):
        async with Supervisor() as supervisor:
            supervisor.spawn(forever(), "loop")
            raise errors.Invalid("of the block")


async def test_the_owners_exception_joins_the_failures() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with Supervisor() as supervisor:
            supervisor.spawn(fail_with(ValueError("task")), "loop")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise KeyError("owner") from None
    assert {type(failure) for failure in caught.value.exceptions} == {ValueError, KeyError}


async def test_cancelling_the_owner_ends_everything_and_is_passed_on() -> None:
    ended = asyncio.Event()

    async def tidy() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async def owner() -> None:
        async with Supervisor() as supervisor:
            supervisor.spawn(tidy(), "loop")
            await asyncio.sleep(3600)

    task = asyncio.create_task(owner())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_cancellation_from_outside_wins_over_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    start = asyncio.Event()

    async def owner() -> None:
        async with Supervisor() as supervisor:
            supervisor.spawn(fail_with(ValueError("broken"), start), "loop")
            await asyncio.sleep(3600)

    task = asyncio.create_task(owner())
    await asyncio.sleep(0.001)
    start.set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [record.getMessage() for record in caplog.records] in ([], ["critical_task_failed"])


async def test_it_works_under_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), Supervisor() as supervisor:
            supervisor.spawn(forever(), "loop")
            await asyncio.sleep(3600)


async def test_a_task_that_resists_once_is_waited_for() -> None:
    async def stubborn() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)

    async with Supervisor() as supervisor:
        task = supervisor.spawn(stubborn(), "work", critical=False)
        await asyncio.sleep(0)
    assert task.done()


async def test_the_number_in_flight_is_limited() -> None:
    async with Supervisor(in_flight_max=2) as supervisor:
        first = supervisor.spawn(forever(), "one")
        supervisor.spawn(forever(), "two")
        with pytest.raises(errors.Exhausted) as caught:
            supervisor.spawn(forever(), "three")
        assert caught.value.reason == "TOO_MANY_TASKS"
        await tasks.cancel(first)
        await asyncio.sleep(0)
        supervisor.spawn(forever(), "three")


async def test_nothing_starts_outside_the_block() -> None:
    supervisor = Supervisor()
    with pytest.raises(errors.Unavailable):
        supervisor.spawn(forever(), "early")
    async with supervisor:
        await supervisor.stop()
        with pytest.raises(errors.Unavailable):
            supervisor.spawn(forever(), "late")


async def test_stop_ends_the_tasks_before_the_block_ends() -> None:
    async with Supervisor() as supervisor:
        task = supervisor.spawn(forever(), "loop")
        await supervisor.stop()
        assert task.cancelled()


async def test_idle_waits_for_all() -> None:
    async with Supervisor() as supervisor:
        done = [supervisor.spawn(asyncio.sleep(0.001 * n), "nap", critical=False) for n in range(3)]
        await supervisor.idle()
        assert all(task.done() for task in done)


async def test_cancel_leaves_the_failure_of_the_end_to_the_owner(caplog: pytest.LogCaptureFixture) -> None:
    async def fails_to_end() -> None:
        try:
            await forever()
        finally:
            raise RuntimeError("clean-up failed")

    async with Supervisor() as supervisor:
        task = supervisor.spawn(fails_to_end(), "work", critical=False)
        await asyncio.sleep(0)
        await tasks.cancel(task)
    assert [record.getMessage() for record in caplog.records] == ["task_failed"]
