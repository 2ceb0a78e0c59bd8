"""A bounded broadcast: one publisher, any number of readers, and no reader that can hold up or fill up the process."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Resync:
    """Stands for the items that a slow reader has missed: read the state again, then go on."""


class Broadcast(Generic[T]):
    """Sends each item to all who are subscribed at that moment.

    Args:
        buffer_max: How many items wait for one reader. When one more comes, what waits is dropped and the reader finds
            a `Resync` in its place.
    """

    def __init__(self, buffer_max: int) -> None:
        assert buffer_max > 0, f"a buffer of {buffer_max} items holds nothing"
        self._buffer_max = buffer_max
        self._subscriptions: set[Subscription[T]] = set()
        self._closed = False

    @property
    def subscribers(self) -> int:
        """How many read at the moment."""
        return len(self._subscriptions)

    def publish(self, item: T) -> None:
        """Hand `item` to every subscription. Never waits."""
        for subscription in self._subscriptions:
            subscription.put(item, self._buffer_max)

    def subscribe(self) -> Subscription[T]:
        """Return a subscription, which begins when its `async with` block is entered.

        Subscribe first and read the state then: what changes in between is waiting.
        """
        return Subscription(self)

    def close(self) -> None:
        """End all subscriptions, present and future, after what waits in them."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.finish()

    def attach(self, subscription: Subscription[T]) -> None:
        """Begin a subscription; called by it."""
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.finish()

    def detach(self, subscription: Subscription[T]) -> None:
        """End a subscription; called by it."""
        self._subscriptions.discard(subscription)


class Subscription(Generic[T]):
    """One reader's view of a `Broadcast`: `async with` bounds it, `async for` reads it."""

    def __init__(self, broadcast: Broadcast[T]) -> None:
        self._broadcast = broadcast
        self._items: collections.deque[T | Resync] = collections.deque()
        self._wakeup = asyncio.Event()
        self._finished = False

    def put(self, item: T, buffer_max: int) -> None:
        """Add an item, or `Resync` in place of all that wait."""
        if len(self._items) >= buffer_max:
            self._items.clear()
            self._items.append(Resync())
        else:
            self._items.append(item)
        self._wakeup.set()

    def finish(self) -> None:
        """Let the reader's loop end when it has read what waits."""
        self._finished = True
        self._wakeup.set()

    async def __aenter__(self) -> Self:
        self._broadcast.attach(self)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._broadcast.detach(self)
        self._items.clear()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T | Resync:
        while not self._items:
            if self._finished:
                raise StopAsyncIteration
            self._wakeup.clear()
            await self._wakeup.wait()
        return self._items.popleft()
