"""What netd tells of the node's networks, in docker's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from services.kit.events import Event
from services.kit.seams import Clock
from services.netd.core.state import State
from services.netd.model.network import HOST_NAME, NONE_NAME, Network
from services.netd.model.sandbox import Mode, Sandbox

TYPE = "network"
_PREDEFINED = {Mode.HOST: HOST_NAME, Mode.NONE: NONE_NAME}


class Action(StrEnum):
    """What happens to a network."""

    CREATE = "create"
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    DESTROY = "destroy"
    PRUNE = "prune"


class Events:
    """Puts what was done into events.

    Args:
        publish: Takes them.
        clock: When they happen.
    """

    def __init__(self, publish: Callable[[Event], None], clock: Clock) -> None:
        self._publish = publish
        self._clock = clock

    def tell(self, network: Network, action: Action, **attributes: str) -> None:
        """Tell of one network."""
        named = {"name": network.name, "type": str(network.driver)}
        self._send(action, network.id, {**attributes, **named})

    def pruned(self) -> None:
        """Tell that all were removed which nobody used; networks hold no bytes to be had back."""
        self._send(Action.PRUNE, "", {"reclaimed": "0"})

    def moved(self, state: State, before: Sandbox | None, after: Sandbox | None) -> None:
        """Tell which networks a sandbox has left and joined; None is one that does not exist."""
        left, joined = _networks(state, before), _networks(state, after)
        for key in left:
            if key not in joined:
                self.tell(left[key], Action.DISCONNECT, container=_container(before, after))
        for key in joined:
            if key not in left:
                self.tell(joined[key], Action.CONNECT, container=_container(before, after))

    def _send(self, action: Action, network_id: str, attributes: Mapping[str, str]) -> None:
        self._publish(
            Event(at=self._clock.now(), type=TYPE, action=action.value, id=network_id, attributes=attributes)
        )


def _networks(state: State, sandbox: Sandbox | None) -> dict[str, Network]:
    """Return the networks that a sandbox is in, by id. As docker has it, `host` and `none` are networks like others."""
    if sandbox is None:
        return {}
    if sandbox.spec.mode in _PREDEFINED:
        name = _PREDEFINED[sandbox.spec.mode]
        return {network.id: network for network in state.networks.values() if network.name == name}
    return {endpoint.network_id: state.networks[endpoint.network_id] for endpoint in sandbox.endpoints}


def _container(*sandboxes: Sandbox | None) -> str:
    """Return whose sandbox it is: containerd names sandboxes as it does their containers."""
    return next(sandbox.id for sandbox in sandboxes if sandbox is not None)
