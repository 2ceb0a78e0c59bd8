"""Calls of the other daemons' APIs: passed on to this node's daemons, or to another node's swarmd, which does the same.

A call goes over at most one other node: what comes with the mark of a hop is served where it arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from services.kit import errors
from services.swarmd.gateway import authorization, forward, metadata, methods, nodes, routing
from services.swarmd.gateway import slots as slots_
from services.swarmd.gateway.methods import Daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.kit.rpc.types import Context
    from services.swarmd.gateway.channels import LocalChannels
    from services.swarmd.gateway.nodes import Nodes
    from services.swarmd.gateway.ports import CallerPort
    from services.swarmd.gateway.slots import Slots

SELF: Final = "self"


class SwarmPort(Protocol):
    """What is needed of the node's membership to reach other nodes."""

    @property
    def node_id(self) -> str:
        """Id of this node; empty outside of a swarm."""
        ...

    @property
    def nodes(self) -> Nodes | None:
        """The way to other nodes; None outside of a swarm."""
        ...


class DaemonCalls:
    """Serves the methods of the other daemons, and beeyard.system of all four."""

    def __init__(
        self, *, callers: CallerPort, slots: Slots, local: LocalChannels, swarm: SwarmPort, hostname: str
    ) -> None:
        self._callers = callers
        self._slots = slots
        self._local = local
        self._swarm = swarm
        self._hostname = hostname

    async def serve(self, path: str, requests: AsyncIterator[bytes], context: Context) -> None:
        """Serve one call.

        Raises:
            errors.BeeyardError: NODE_NOT_FOUND, NODE_AMBIGUOUS, NODE_UNREACHABLE, DAEMON_UNREACHABLE, NOT_IN_SWARM;
                what the daemon raises goes through as it is.
        """
        authorization.check(self._callers.caller(context), path)
        invocation = metadata.pairs(context.invocation_metadata())
        wanted = metadata.parse(invocation)
        if wanted.node and not wanted.hop and not self._is_self(wanted.node):
            await self._pass_on(path, requests, context, wanted)
        else:
            await self._serve_here(path, requests, context, wanted)

    def _is_self(self, node: str) -> bool:
        return node in {SELF, self._swarm.node_id} or node.casefold() == self._hostname.casefold()

    async def _serve_here(
        self, path: str, requests: AsyncIterator[bytes], context: Context, wanted: metadata.Wanted
    ) -> None:
        daemon = methods.daemon_of(path, wanted.daemon)
        if daemon is None:
            raise errors.Invalid(
                f"there is no daemon {wanted.daemon!r}: use one of"
                f" {', '.join(daemon.value for daemon in Daemon)}",
                reason="DAEMON_UNKNOWN",
            )
        if daemon is Daemon.SWARMD:
            handler = self._slots.handler(path)
            if handler is None:
                raise errors.Unsupported(f"this release does not serve {path[1:]}")
            await slots_.serve(handler, requests, context)
            return
        await forward.forward(
            path,
            requests,
            context,
            self._local.channel(daemon),
            metadata=metadata.pass_on(metadata.pairs(context.invocation_metadata())),
            unreachable=lambda why: self._daemon_unreachable(daemon, why),
        )

    async def _pass_on(
        self, path: str, requests: AsyncIterator[bytes], context: Context, wanted: metadata.Wanted
    ) -> None:
        ways = self._swarm.nodes
        if ways is None:
            raise routing.not_a_manager(routing.Standing.OUTSIDE)
        place = await ways.lookup.find(wanted.node)
        added = [(metadata.HOP, "1")]
        if wanted.daemon:
            added.append((metadata.DAEMON, wanted.daemon))
        await forward.forward(
            path,
            requests,
            context,
            ways.dial_node(place),
            metadata=metadata.pass_on(metadata.pairs(context.invocation_metadata()), *added),
            unreachable=lambda why: nodes.unreachable(place, why),
        )

    def _daemon_unreachable(self, daemon: Daemon, why: str) -> errors.Unavailable:
        return errors.Unavailable(
            f"{daemon.value} of node {self._hostname} does not answer on {self._local.socket(daemon)}: {why}",
            reason="DAEMON_UNREACHABLE",
            metadata={"daemon": daemon.value, "node_id": self._swarm.node_id},
        )
