"""The queue in front of the core: what comes in which order, and what finds no room."""

from __future__ import annotations

from services.swarmd.raft.core.events import Event, Persisted, Proposal, Propose, Received, Tick
from services.swarmd.raft.core.messages import TimeoutNow
from services.swarmd.raft.shell.inbox import Inbox


def message(number: int) -> Received:
    return Received(message=TimeoutNow(sender=1, to=2, term=number))


async def take(inbox: Inbox) -> list[Event]:
    return await inbox.take()


async def test_proposals_become_one_event_and_a_tick_comes_last() -> None:
    inbox = Inbox(10)
    inbox.tick()
    inbox.propose(Proposal(request_id=1, data=b"a"))
    inbox.put(message(1))
    inbox.propose(Proposal(request_id=2, data=b"b"))
    inbox.put(message(2))
    assert await take(inbox) == [
        message(1),
        message(2),
        Propose(proposals=(Proposal(request_id=1, data=b"a"), Proposal(request_id=2, data=b"b"))),
        Tick(),
    ]


async def test_one_tick_waits_at_most() -> None:
    inbox = Inbox(10)
    for _ in range(5):
        inbox.tick()
    assert await take(inbox) == [Tick()]


async def test_messages_without_room_are_dropped() -> None:
    inbox = Inbox(2)
    assert [inbox.put(message(number)) for number in range(4)] == [True, True, False, False]
    inbox.put_certainly(Persisted(sequence=1))
    assert inbox.dropped == 2
    assert await take(inbox) == [message(0), message(1), Persisted(sequence=1)]


async def test_waking_gives_nothing() -> None:
    inbox = Inbox(1)
    inbox.wake()
    assert await take(inbox) == []
