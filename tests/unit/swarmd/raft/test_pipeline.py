"""The order of writes and messages, whatever comes when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.swarmd.raft.core.effects import Persist, Send
from services.swarmd.raft.core.messages import TimeoutNow
from services.swarmd.raft.core.pipeline import Pipeline
from services.swarmd.raft.core.types import HardState


def persist(sequence: int) -> Persist:
    return Persist(sequence=sequence, hard_state=HardState(term=1))


def send(number: int, after: int) -> Send:
    return Send(message=TimeoutNow(sender=1, to=2, term=number), after=after)


def numbers(pipeline: Pipeline) -> list[int]:
    return [message.term for message in pipeline.take_messages()]


def test_messages_that_need_nothing_pass() -> None:
    pipeline = Pipeline()
    pipeline.persist(persist(1))
    pipeline.send(send(1, after=1))
    pipeline.send(send(2, after=0))
    assert numbers(pipeline) == [2]
    assert pipeline.next_write() == (persist(1),)
    assert numbers(pipeline) == []
    assert pipeline.written() == 1
    assert numbers(pipeline) == [1]


def test_one_write_at_a_time_takes_all_that_waits() -> None:
    pipeline = Pipeline()
    assert pipeline.next_write() == ()
    pipeline.persist(persist(1))
    assert pipeline.next_write() == (persist(1),)
    pipeline.persist(persist(2))
    pipeline.persist(persist(3))
    assert pipeline.next_write() == ()
    assert pipeline.written() == 1
    assert pipeline.next_write() == (persist(2), persist(3))
    assert pipeline.written() == 3


def test_an_end_without_a_write_is_a_fault() -> None:
    with pytest.raises(AssertionError):
        Pipeline().written()


@given(st.lists(st.sampled_from(["persist", "send", "free", "write", "written"]), max_size=40))
def test_no_message_leaves_before_its_write_and_none_is_lost(steps: list[str]) -> None:
    pipeline, sequence, durable, number = Pipeline(), 0, 0, 0
    needs: dict[int, int] = {}
    left: list[int] = []
    writing = False
    for step in [*steps, "written", "write", "written"]:
        match step:
            case "persist":
                sequence += 1
                pipeline.persist(persist(sequence))
            case "send" | "free":
                number += 1
                needs[number] = sequence if step == "send" else 0
                pipeline.send(send(number, needs[number]))
            case "write":
                writing = bool(pipeline.next_write()) or writing
            case "written":
                if writing:
                    durable = pipeline.written()
                    writing = False
            case _:
                raise AssertionError(step)
        for leaving in numbers(pipeline):
            assert needs[leaving] <= durable
            left.append(leaving)
    assert sorted(left) == sorted(needs)
