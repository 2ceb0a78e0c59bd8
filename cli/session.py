"""One invocation's connections: which daemon is reached how, opened when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from services.kit import errors

if TYPE_CHECKING:
    from grpc.aio import (
        StreamStreamMultiCallable,
        StreamUnaryMultiCallable,
        UnaryStreamMultiCallable,
        UnaryUnaryMultiCallable,
    )

    from cli.target import Target
    from cli.transport.call import Call
    from cli.transport.channel import Channel

Request = TypeVar("Request")
Response = TypeVar("Response")

DAEMONS = ("imaged", "containerd", "netd", "swarmd")
NODE_METADATA = "beeyard-node"
DAEMON_METADATA = "beeyard-daemon"


class Session:
    """The global options of one invocation, and its channels. Methods are those of `cli.api`.

    Args:
        target: Where the daemons are.
        node: Act on this node of the swarm, through the gateway.
    """

    def __init__(self, *, target: Target, node: str = "") -> None:
        self.target = target
        self.node = node
        self._channels: dict[str, Channel] = {}
        self._others: list[Session] = []

    @overload
    def start(
        self,
        method: UnaryUnaryMultiCallable[Request, Response] | UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
        daemon: str = "",
    ) -> Call[Request, Response]: ...

    @overload
    def start(
        self,
        method: StreamUnaryMultiCallable[Request, Response] | StreamStreamMultiCallable[Request, Response],
        *,
        timeout_s: float | None = None,
        daemon: str = "",
    ) -> Call[Request, Response]: ...

    def start(
        self, method: Any, request: Any = None, *, timeout_s: float | None = None, daemon: str = ""
    ) -> Call[Any, Any]:
        """Begin a call.

        Args:
            method: What to call.
            request: The request, if the method takes one; else the call is open for many.
            timeout_s: After this time it fails; None is for calls that may last.
            daemon: Who is to serve it, where all do (`api.System`).

        Raises:
            errors.BeeyardError: Nothing answers there; the message says what to check.
        """
        channel = self.channel(daemon or method.daemon)
        return channel.start(method.path, method.response, request, timeout_s=timeout_s)

    def call(
        self,
        method: UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
        daemon: str = "",
    ) -> Response:
        """Call and wait for the response.

        Raises:
            errors.BeeyardError: What the daemon answered, or that it did not.
        """
        return self.start(method, request, timeout_s=timeout_s, daemon=daemon).result()

    def channel(self, daemon: str) -> Channel:
        """Return the connection on which a daemon's services answer; a new one if the last was lost."""
        channel = self._channels.get(daemon)
        if channel is None or not channel.usable:
            channel = self._channels[daemon] = self._connect(daemon)
        return channel

    def on_node(self, node: str) -> Session:
        """Return a session that acts on another node of the swarm; closed with this one."""
        other = Session(target=self.target, node=node)
        self._others.append(other)
        return other

    def pause(self, seconds: float) -> None:
        """Let time pass, while the connections stay alive."""
        from cli import clock

        end = clock.monotonic() + seconds
        while (left := end - clock.monotonic()) > 0:
            channels = [channel for channel in self._channels.values() if channel.usable]
            if not channels:
                clock.sleep(left)
            for channel in channels:
                channel.pump(min(left / len(channels), 0.5))

    def close(self) -> None:
        """Close what was opened."""
        for other in self._others:
            other.close()
        for channel in self._channels.values():
            channel.close()

    def _connect(self, daemon: str) -> Channel:
        from cli.transport import connect

        assert daemon in DAEMONS, f"no daemon {daemon!r}"
        through_gateway = bool(self.node) or not self.target.directory
        metadata: list[tuple[str, str]] = []
        if through_gateway and daemon != "swarmd":
            metadata.append((DAEMON_METADATA, daemon))
        if self.node and daemon != "swarmd":
            if not self.node.isprintable() or not self.node.isascii():
                raise errors.Invalid(
                    f"--node {self.node!r}: give an id or a host name", reason="NODE_INVALID"
                )
            metadata.append((NODE_METADATA, self.node))
        if not self.target.directory:
            return connect.manager(self.target.managers, self.target.credentials, metadata, daemon)
        name = "swarmd" if through_gateway else daemon
        peer = f"{daemon} of {self.node}" if self.node and daemon != "swarmd" else daemon
        return connect.unix(self.target.directory, name, metadata, peer)
