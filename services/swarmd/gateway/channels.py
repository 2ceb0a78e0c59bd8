"""Channels, one for each target, shared by all calls to it."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from typing import TYPE_CHECKING, Final

from grpc import ChannelConnectivity

from services.kit.rpc import client
from services.swarmd.gateway.redialing import RedialingChannel

if TYPE_CHECKING:
    from pathlib import Path

    import grpc.aio

    from services.kit import tasks
    from services.swarmd.gateway.methods import Daemon
    from services.swarmd.gateway.tls import NodeTls

CHANNELS_MAX: Final = 512
"""Channels to other nodes that are kept; the one used least recently is retired for a new one."""
RETIRE_GRACE_S: Final = 30.0
"""How long calls on a retired channel may go on: long enough for answers, and streams are opened anew."""

LOOK_S: Final = 0.01
"""How often to look whether a channel is connected."""


async def connected(channel: grpc.aio.Channel, timeout_s: float) -> bool:
    """Return whether the channel is connected, or can be now; False as soon as an attempt has failed.

    For calls that may be made once only: what fails before this is known not to have begun.
    """
    # Looked at again and again: to be woken would leave an operation in gRPC behind when we are cancelled.
    failed_before = channel.get_state(try_to_connect=True) is ChannelConnectivity.TRANSIENT_FAILURE
    for _ in range(int(timeout_s / LOOK_S)):
        state = channel.get_state(try_to_connect=True)
        if state is ChannelConnectivity.READY:
            return True
        failed = state in {ChannelConnectivity.TRANSIENT_FAILURE, ChannelConnectivity.SHUTDOWN}
        if failed and not failed_before:
            return False
        failed_before = failed_before and failed  # of an earlier attempt: the next one counts
        await asyncio.sleep(LOOK_S)
    return False


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    address: str
    server_name: str


class LocalChannels:
    """Channels to the daemons of this node, on their unix sockets.

    A channel whose last attempt to connect has failed would refuse calls until its next attempt. Here a new one takes
    its place: a daemon that was restarted is reached by the next call.
    """

    def __init__(self, run: Path, supervisor: tasks.Supervisor) -> None:
        self._run = run
        self._supervisor = supervisor
        self._channels: dict[Daemon, grpc.aio.Channel] = {}

    def socket(self, daemon: Daemon) -> Path:
        """Return where a daemon listens."""
        return self._run / f"{daemon.value}.sock"

    def channel(self, daemon: Daemon) -> grpc.aio.Channel:
        """Return the channel to a daemon, for the next call: those who keep one take `lasting`."""
        channel = self._channels.get(daemon)
        if channel is not None and channel.get_state() is ChannelConnectivity.TRANSIENT_FAILURE:
            self._supervisor.spawn(channel.close(), "close-channel", critical=False)
            channel = None
        if channel is None:
            channel = self._channels[daemon] = client.channel_unix(self.socket(daemon))
        return channel

    def lasting(self, daemon: Daemon) -> grpc.aio.Channel:
        """Return a channel to a daemon that may be kept."""
        return RedialingChannel(lambda: self.channel(daemon))

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


class PeerChannels:
    """Channels to other nodes, over mTLS. A renewed certificate means new ones; those in use may finish."""

    def __init__(self, tls: NodeTls, supervisor: tasks.Supervisor) -> None:
        self._tls = tls
        self._supervisor = supervisor
        self._generation = tls.generation
        self._channels: collections.OrderedDict[_Target, grpc.aio.Channel] = collections.OrderedDict()

    def channel(self, address: str, server_name: str) -> grpc.aio.Channel:
        """Return the channel to "host:port", whose certificate must carry `server_name`."""
        if self._generation != self._tls.generation:
            self._generation = self._tls.generation
            for old in self._channels.values():
                self._retire(old)
            self._channels.clear()
        target = _Target(address, server_name)
        channel = self._channels.get(target)
        if channel is None:
            channel = client.channel_tls(address, self._tls.channel_credentials(), server_name)
            self._channels[target] = channel
            if len(self._channels) > CHANNELS_MAX:
                self._retire(self._channels.popitem(last=False)[1])
        self._channels.move_to_end(target)
        return channel

    async def close(self) -> None:
        """Close all channels at once."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    def _retire(self, channel: grpc.aio.Channel) -> None:
        self._supervisor.spawn(channel.close(RETIRE_GRACE_S), name="retire-channel", critical=False)
