"""Which manager to talk to. `choose` decides, `Managers` keeps what is known.

A node asks the leader first, as far as it knows one; else a manager at random that has not failed lately. One that did
not answer is left alone for a while, which grows with every failure, unless none is better.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final, Protocol

from services.kit import backoff, errors
from services.swarmd.gateway.ports import ManagerConnection, NodePlace
from services.swarmd.gateway.redialing import RedialingChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import grpc.aio

    from services.kit.seams import Clock, Rng

PENALTY_BASE_S: Final = 0.5
PENALTY_MAX_S: Final = 10.0
ANY_MANAGER: Final = "swarm-manager"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Penalty:
    """A manager that did not answer."""

    failures: int
    until: float
    """Monotonic time."""


def choose(
    places: Sequence[NodePlace],
    leader_address: str,
    penalties: dict[str, Penalty],
    now: float,
    rng: Rng,
) -> NodePlace | None:
    """Return whom to ask now; None where nobody is known."""
    if not places:
        return None
    healthy = [
        place for place in places if place.address not in penalties or penalties[place.address].until <= now
    ]
    if not healthy:
        return min(places, key=lambda place: penalties[place.address].until)
    leader = next((place for place in healthy if place.address == leader_address), None)
    return leader or rng.choice(healthy)


class Dial(Protocol):
    """Opens channels to nodes; the own node is reached on its own listener."""

    def __call__(self, place: NodePlace, server_name: str, /) -> grpc.aio.Channel:
        """Return the channel to a node whose certificate must carry `server_name`."""
        ...


class Managers:
    """The managers that a node knows, as a `ManagerDialer`.

    Args:
        places: Where to begin.
        dial: Opens channels.
        local_leader: Where the node is a manager itself: the leader by its own raft; else None always.
        changed: Told the managers whenever they are others than before.
        clock: For the penalties.
        rng: Chooses among equals.
    """

    def __init__(
        self,
        places: Iterable[NodePlace],
        *,
        dial: Dial,
        local_leader: Callable[[], NodePlace | None],
        changed: Callable[[Sequence[NodePlace]], None],
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._places = list(places)
        self._dial = dial
        self._local_leader = local_leader
        self._changed = changed
        self._clock = clock
        self._rng = rng
        self._leader = ""
        self._penalties: dict[str, Penalty] = {}

    @property
    def places(self) -> Sequence[NodePlace]:
        """All managers that are known."""
        return tuple(self._places)

    def replace(self, places: Iterable[NodePlace]) -> None:
        """Take over the list that the swarm gives; an empty one cannot be true and is ignored."""
        fresh = sorted(places, key=lambda place: (place.node_id, place.address))
        if not fresh or fresh == self._places:
            return
        self._places = fresh
        addresses = {place.address for place in fresh}
        self._penalties = {address: it for address, it in self._penalties.items() if address in addresses}
        self._changed(self.places)

    async def connect(self) -> ManagerConnection:
        """Return the manager to try now; see `ManagerDialer`."""
        leader = self._local_leader()
        place = leader or choose(
            self._places, self._leader, self._penalties, self._clock.monotonic(), self._rng
        )
        if place is None:
            raise errors.Unavailable("this node knows no manager of its swarm", reason="NO_MANAGER")
        name = place.node_id or ANY_MANAGER
        return ManagerConnection(place=place, channel=RedialingChannel(lambda: self._dial(place, name)))

    def leader_hint(self, address: str, node_id: str = "") -> None:
        """Remember who leads."""
        self._leader = address
        self._penalties.pop(address, None)
        if address and all(place.address != address for place in self._places):
            self._places.append(NodePlace(node_id=node_id, address=address))

    def failed(self, connection: ManagerConnection) -> None:
        """Remember that a manager did not answer."""
        address = connection.place.address
        if self._leader == address:
            self._leader = ""
        failures = self._penalties[address].failures if address in self._penalties else 0
        delay_s = backoff.delay(failures, base_s=PENALTY_BASE_S, max_s=PENALTY_MAX_S, rng=self._rng)
        self._penalties[address] = Penalty(failures=failures + 1, until=self._clock.monotonic() + delay_s)
