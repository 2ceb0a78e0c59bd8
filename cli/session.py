"""One invocation's connections: which daemon is reached how, opened when first used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from services.kit import errors

if TYPE_CHECKING:
    from pathlib import Path

    import grpc.aio

    from cli.target import Credentials, Target

Daemon = Literal["imaged", "containerd", "netd", "swarmd"]
NODE_METADATA = "beeyard-node"
DAEMON_METADATA = "beeyard-daemon"
CONNECT_TIMEOUT_S = 3.0


@dataclass(slots=True, kw_only=True)
class Session:
    """The global options of one invocation, and its channels."""

    target: Target
    node: str = ""
    """Act on this node of the swarm, through the gateway."""
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    async def channel(self, daemon: Daemon) -> grpc.aio.Channel:
        """Return the channel on which a daemon's services answer.

        Raises:
            errors.Unavailable: Nothing answers there; the message says what to check.
        """
        through_gateway = bool(self.node) or self.target.directory is None
        metadata: tuple[tuple[str, str], ...] = ()
        if through_gateway and daemon != "swarmd":
            metadata = ((DAEMON_METADATA, daemon),)
            if self.node:
                metadata = (*metadata, (NODE_METADATA, self.node))
        if daemon not in self._channels:
            if self.target.directory is not None:
                socket = self.target.directory / f"{'swarmd' if through_gateway else daemon}.sock"
                self._channels[daemon] = self._unix(socket, metadata)
            else:
                self._channels[daemon] = await self._manager(metadata)
        return self._channels[daemon]

    @staticmethod
    def _unix(socket: Path, metadata: tuple[tuple[str, str], ...]) -> grpc.aio.Channel:
        from services.kit.rpc import client

        if not socket.exists():
            raise errors.Unavailable(
                f"cannot connect to {socket.stem} at unix://{socket}: is the daemon running? "
                f"(systemctl status beeyard-{socket.stem}; --host aims elsewhere)",
                reason="DAEMON_UNREACHABLE",
            )
        return client.channel_unix(socket, metadata)

    async def _manager(self, metadata: tuple[tuple[str, str], ...]) -> grpc.aio.Channel:
        """Connect to the first manager that answers."""
        import asyncio

        import grpc

        from services.kit.rpc import client

        credentials = _tls(self.target.credentials)
        for address in self.target.managers:
            channel = client.channel_tls(address, credentials, "swarm-manager", metadata)
            try:
                await asyncio.wait_for(channel.channel_ready(), CONNECT_TIMEOUT_S)
            except (TimeoutError, grpc.RpcError):
                await channel.close()
            else:
                return channel
        raise errors.Unavailable(
            f"no manager answers at {', '.join(self.target.managers)} within {CONNECT_TIMEOUT_S:.0f} s each",
            reason="MANAGER_UNREACHABLE",
        )

    async def close(self) -> None:
        """Close what was opened."""
        for channel in self._channels.values():
            await channel.close()


def _tls(credentials: Credentials | None) -> grpc.ChannelCredentials:
    """Read the client's certificate."""
    import grpc

    if credentials is None:
        raise errors.Invalid(
            "managers are reached with a client certificate: set BEEYARD_CERT_PATH, or make a context with "
            "`swarmctl context create`",
            reason="CREDENTIALS_MISSING",
        )
    try:
        return grpc.ssl_channel_credentials(
            credentials.ca.read_bytes(), credentials.key.read_bytes(), credentials.certificate.read_bytes()
        )
    except OSError as exc:
        raise errors.Invalid(f"client certificate: {exc}", reason="CREDENTIALS_MISSING") from exc
