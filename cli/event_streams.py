"""The events of a node's daemons as one stream: each tells of its own objects, and any of them may be away."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from cli import api, clock
from cli.errors import UNREACHABLE
from cli.event_order import Order
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from beeyard.container.v1 import container_pb2
    from beeyard.image.v1 import image_pb2
    from beeyard.network.v1 import network_pb2
    from cli.session import Session
    from cli.transport.call import Call
    from cli.transport.channel import Channel

    Event: TypeAlias = container_pb2.Event | image_pb2.Event | network_pb2.Event

RETRY_S = 1.0
"""How often a daemon that is away is tried again, while others are there."""
TYPES: Mapping[str, frozenset[str]] = {
    "containerd": frozenset({"container", "volume"}),
    "imaged": frozenset({"image"}),
    "netd": frozenset({"network"}),
}
"""What each daemon tells of."""
_FILTERED = {
    "container": frozenset({"container"}),
    "image": frozenset({"container", "image"}),
    "network": frozenset({"network"}),
    "volume": frozenset({"volume"}),
}
"""Which types of events the filters by object leave over."""


class Wanted(NamedTuple):
    """Which events are asked for."""

    since: Timestamp | None
    until: Timestamp | None
    filters: Mapping[str, Sequence[str]]


def daemons(filters: Mapping[str, Sequence[str]]) -> list[str]:
    """Return who can have events that pass; one in any case, who then refuses filters that there are not."""
    types = frozenset[str]().union(*TYPES.values())
    for key, values in filters.items():
        types &= frozenset(values) if key == "type" else _FILTERED.get(key, types)
    return [daemon for daemon, told in TYPES.items() if told & types] or ["containerd"]


class _Open(NamedTuple):
    """A call in progress, and the connection that it is on."""

    channel: Channel
    call: Call[Any, Any]


class EventStreams:
    """Reads all of them at once, in one thread.

    Args:
        session: Where the daemons are.
        wanted: Which events.
    """

    def __init__(self, session: Session, wanted: Wanted) -> None:
        self._session = session
        self._wanted = wanted
        self._order: Order[Event] = Order()
        self._open: dict[str, _Open] = {}
        self._away: set[str] = set()
        self._missed: dict[str, errors.BeeyardError] = {}
        """Why a daemon is away; until it tells something again."""
        self._unsaid: list[str] = []
        """Of those, the ones that were not warned of yet: if nobody answers, that is one error and no warnings."""
        self._answered = False
        self._complete = False
        """One has told all that was wanted."""
        self._failure: errors.BeeyardError | None = None
        self._last: dict[str, Timestamp] = {}

    def read(self) -> Iterator[Event | None]:
        """Yield the events in the order of time, None where some were lost because this program is too slow.

        A daemon that is away is warned of and tried again, as long as another is there.

        Raises:
            errors.BeeyardError: None of them is there, or one refuses what is wanted.
        """
        for daemon in daemons(self._wanted.filters):
            self._begin(daemon)
            if any(error.reason == "MANAGER_UNREACHABLE" for error in self._missed.values()):
                break  # nor does it lead to the others
        self._warn()
        self._order = Order(self._open if self._wanted.since is not None else ())
        retry_at_s = clock.monotonic() + RETRY_S
        while self._open and self._failure is None:
            for daemon in list(self._open):
                yield from self._take(daemon)
            self._warn()
            yield from self._order.due(clock.monotonic())
            if self._away and clock.monotonic() >= retry_at_s:
                for daemon in list(self._away):
                    self._begin(daemon)
                retry_at_s = clock.monotonic() + RETRY_S
            self._wait(retry_at_s if self._away else None)
        yield from self._order.rest()
        if self._failure is not None:
            raise self._failure

    def _begin(self, daemon: str) -> None:
        """Begin a call."""
        method, request, values = _calls(daemon)
        filters = {key: values(values=given) for key, given in self._wanted.filters.items()}
        since, until = self._after_last(daemon) or self._wanted.since, self._wanted.until
        try:
            channel = self._session.channel(daemon)
            call = self._session.start(
                method, request(since=since, until=until, filters=filters, mark_live=True)
            )
        except errors.BeeyardError as exc:
            self._lost(daemon, exc)
        else:
            self._open[daemon] = _Open(channel, call)
            self._away.discard(daemon)

    def _take(self, daemon: str) -> Iterator[None]:
        """Take what has come from one daemon into the order; yield for what was lost."""
        call = self._open[daemon].call
        try:
            while (response := call.take()) is not None:
                self._hear(daemon)
                match response.WhichOneof("item"):
                    case "event":
                        event: Event = response.event
                        self._last[daemon] = event.time
                        self._order.add(daemon, event.time.ToNanoseconds(), event, clock.monotonic())
                    case "live":
                        self._order.caught_up(daemon)
                    case "resync":
                        yield None
                    case _:
                        pass  # what later versions may add
        except errors.BeeyardError as exc:
            self._lost(daemon, exc)
        else:
            if call.done:
                del self._open[daemon]
                self._order.caught_up(daemon)
                self._complete = True

    def _hear(self, daemon: str) -> None:
        """Note that a daemon is there."""
        self._answered = True
        if self._missed.pop(daemon, None) is not None and daemon not in self._unsaid:
            print(f"Warning: {_kinds(daemon)} events were missing until now", file=sys.stderr, flush=True)

    def _lost(self, daemon: str, error: errors.BeeyardError) -> None:
        """Note that a daemon does not answer, or refuses."""
        self._open.pop(daemon, None)
        self._order.caught_up(daemon)
        if not _is_absence(error):
            self._failure = error
            return
        self._away.add(daemon)
        if daemon not in self._missed:
            self._missed[daemon] = error
            self._unsaid.append(daemon)

    def _warn(self) -> None:
        """Warn of those who are away, if others are there; if nobody is, that is a failure."""
        if self._unsaid and not self._open and not self._complete:
            self._failure = self._failure or self._missed[self._unsaid[0]]
        elif self._answered:
            for daemon in self._unsaid:
                if daemon in self._missed:
                    why = self._missed[daemon].message
                    print(f"Warning: {_kinds(daemon)} events are missing: {why}", file=sys.stderr, flush=True)
            self._unsaid.clear()

    def _after_last(self, daemon: str) -> Timestamp | None:
        """Return the moment after what a daemon told last: it may have lived on while the way to it was broken."""
        if daemon not in self._last:
            return None
        from google.protobuf.timestamp_pb2 import Timestamp

        after = Timestamp()
        after.FromNanoseconds(self._last[daemon].ToNanoseconds() + 1)
        return after

    def _wait(self, retry_at_s: float | None) -> None:
        """Wait until something comes, something that is held is due, or a daemon is to be tried again."""
        now_s = clock.monotonic()
        waits = [self._order.wait_s(now_s), None if retry_at_s is None else max(retry_at_s - now_s, 0.0)]
        wait_s = min((wait for wait in waits if wait is not None), default=None)
        channels = [each.channel for each in self._open.values()]
        if not channels or any(channel.fileno() < 0 for channel in channels):
            return  # what was on it has ended
        ready = select.poll()
        for channel in channels:
            ready.register(
                channel.fileno(), select.POLLIN | (select.POLLOUT if channel.wants_to_write else 0)
            )
        ready.poll(None if wait_s is None else round(wait_s * 1000) + 1)
        for channel in channels:
            channel.pump(0)


def _calls(daemon: str) -> tuple[Any, Any, Any]:
    """Return the method of a daemon, the class of its request and that of a filter's values."""
    match daemon:
        case "imaged":
            from beeyard.image.v1 import image_pb2

            return api.Images.WatchEvents, image_pb2.WatchEventsRequest, image_pb2.StringList
        case "netd":
            from beeyard.network.v1 import network_pb2

            return api.Networks.WatchEvents, network_pb2.WatchEventsRequest, network_pb2.StringList
        case _:
            from beeyard.container.v1 import container_pb2, filter_pb2

            return api.Containers.WatchEvents, container_pb2.WatchEventsRequest, filter_pb2.StringList


def _is_absence(error: errors.BeeyardError) -> bool:
    """Say whether an error is about a daemon that does not answer, or is too old to tell of events."""
    return isinstance(error, errors.Unavailable | errors.Unsupported) or error.reason in UNREACHABLE


def _kinds(daemon: str) -> str:
    return " and ".join(sorted(TYPES[daemon]))
