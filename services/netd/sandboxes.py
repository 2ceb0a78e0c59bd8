"""The sandboxes of the node's containers: decided, recorded, made so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from services.kit import errors, log, metrics
from services.netd.core import namefiles, networks, sandboxes
from services.netd.core.namefiles import NodeNames
from services.netd.core.ports import NodePorts
from services.netd.core.state import PutSandbox, freed
from services.netd.events import Events
from services.netd.files import Files
from services.netd.ledger import Ledger
from services.netd.model.endpoint import Endpoint, EndpointSpec
from services.netd.model.port import HostPort, PortBinding, PortRange, PortSpec, Protocol
from services.netd.model.sandbox import Sandbox, SandboxSpec
from services.netd.reconcile import Reconciler, log_failures

_log = log.get(__name__)

_setup_seconds = metrics.histogram(
    "netd_sandbox_setup_seconds", "From the record of a sandbox to its last rule."
)

PORT_ATTEMPTS_MAX = 64
"""How often ports are chosen again because a program of the node turns out to have one."""


class Sandboxes:
    """Makes, changes and removes sandboxes.

    Args:
        ledger: What is recorded.
        reconciler: Makes the kernel match.
        files: The sandboxes' name files.
        node_names: Reads what the node itself has for names.
        ephemeral: Where a published port is chosen from if none is asked for.
        events: Tells which networks they join and leave.
    """

    def __init__(
        self,
        ledger: Ledger,
        reconciler: Reconciler,
        files: Files,
        node_names: Callable[[], NodeNames],
        ephemeral: PortRange,
        events: Events,
    ) -> None:
        self._ledger = ledger
        self._reconciler = reconciler
        self._files = files
        self._node_names = node_names
        self._ephemeral = ephemeral
        self._events = events

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox; one that exists with the same spec is returned as it is."""

        def plan(node: NodePorts) -> PutSandbox | None:
            return sandboxes.plan_create(self._ledger.state, spec, node=node, chance=self._ledger.chance())

        return await self._ledger.change(lambda: self._put(spec.id, plan))

    async def remove(self, sandbox_id: str) -> None:
        """Remove a sandbox and all that belongs to it; one that does not exist is fine."""
        await self._ledger.change(lambda: self._remove(sandbox_id))

    async def connect(self, sandbox_id: str, spec: EndpointSpec) -> Endpoint:
        """Give a sandbox an endpoint in a further network; return it, also if it was there."""

        def plan(node: NodePorts) -> PutSandbox | None:
            chance = self._ledger.chance()
            return sandboxes.plan_connect(self._ledger.state, sandbox_id, spec, node=node, chance=chance)

        async def connect() -> Endpoint:
            sandbox = await self._put(sandbox_id, plan)
            network = networks.find(self._ledger.state, spec.network)
            return next(endpoint for endpoint in sandbox.endpoints if endpoint.network_id == network.id)

        return await self._ledger.change(connect)

    async def disconnect(self, sandbox_id: str, network: str) -> bool:
        """Take a sandbox out of a network; return whether it was in it."""

        async def disconnect() -> bool:
            chance = self._ledger.chance()
            change = sandboxes.plan_disconnect(self._ledger.state, sandbox_id, network, chance=chance)
            if change is not None:
                await self._replace(change)
            return change is not None

        return await self._ledger.change(disconnect)

    async def update_ports(self, sandbox_id: str, ports: Sequence[PortSpec]) -> Sandbox:
        """Publish other ports of a sandbox than before; return the sandbox."""

        def plan(node: NodePorts) -> PutSandbox | None:
            chance = self._ledger.chance()
            return sandboxes.plan_ports(self._ledger.state, sandbox_id, ports, node=node, chance=chance)

        return await self._ledger.change(lambda: self._put(sandbox_id, plan))

    async def _remove(self, sandbox_id: str) -> None:
        change = sandboxes.plan_remove(self._ledger.state, sandbox_id, chance=self._ledger.chance())
        if change is None:
            return
        before = self._ledger.state.sandboxes.get(sandbox_id)
        addresses = [address for _, address in freed(self._ledger.state, change)]
        await self._ledger.record(change)
        log_failures(await self._reconciler.sandbox(self._ledger.state, sandbox_id))
        self._files.remove(sandbox_id)
        await self._forget_flows(addresses, [])
        self._events.moved(self._ledger.state, before, None)

    async def _put(self, sandbox_id: str, plan: Callable[[NodePorts], PutSandbox | None]) -> Sandbox:
        """Make or change a sandbox as `plan` decides; return it, also if nothing was to be done."""
        change = await self._plan_with_ports(sandbox_id, plan)
        if change is None:
            return sandboxes.find(self._ledger.state, sandbox_id)
        return await self._replace(change)

    async def _plan_with_ports(
        self, sandbox_id: str, plan: Callable[[NodePorts], PutSandbox | None]
    ) -> PutSandbox | None:
        """Return what `plan` decides, knowing which ports the programs of the node have."""
        foreign: dict[HostPort, str] = {}
        for _ in range(PORT_ATTEMPTS_MAX):
            change = plan(NodePorts(ephemeral=self._ephemeral, foreign=foreign))
            if change is None or not change.sandbox.ports:
                return change
            before = self._ledger.state.sandboxes.get(sandbox_id)
            taken = await self._reconciler.occupied(_changed_ports(before, change.sandbox))
            if not taken:
                return change
            foreign.update(taken)
        raise errors.Exhausted(
            f"no free ports were found in {PORT_ATTEMPTS_MAX} attempts", reason="PORTS_EXHAUSTED"
        )

    async def _replace(self, change: PutSandbox) -> Sandbox:
        """Record a new or changed sandbox and make it so; if the kernel refuses, go back."""
        sandbox = change.sandbox
        before = self._ledger.state.sandboxes.get(sandbox.id)
        addresses = [address for _, address in freed(self._ledger.state, change)]
        await self._ledger.record(change)
        with _setup_seconds.time():
            error = await self._reconciler.match(
                self._ledger.state,
                lambda state: self._reconciler.sandbox(state, sandbox.id),
                subjects=("table", f"sandbox {sandbox.id}"),
                what=f"the network of sandbox {sandbox.id} cannot be set up",
            )
            error = error or self._write_files(before, sandbox)
        if error is not None:
            await self._go_back(before, sandbox)
            raise error
        await self._forget_flows(addresses, _changed_ports(before, sandbox))
        self._events.moved(self._ledger.state, before, sandbox)
        return sandbox

    async def _go_back(self, before: Sandbox | None, sandbox: Sandbox) -> None:
        chance = self._ledger.chance()
        if before is None:
            removal = sandboxes.plan_remove(self._ledger.state, sandbox.id, chance=chance)
            assert removal is not None, f"sandbox {sandbox.id} is not recorded"
            await self._ledger.record(removal)
        else:
            await self._ledger.record(PutSandbox(sandbox=before, rest_until=chance.rest_until()))
        log_failures(await self._reconciler.sandbox(self._ledger.state, sandbox.id))
        if before is None:
            self._files.remove(sandbox.id)

    def _write_files(self, before: Sandbox | None, sandbox: Sandbox) -> errors.BeeyardError | None:
        try:
            texts = namefiles.write(self._ledger.state, sandbox, self._node_names())
            self._files.ensure(sandbox.id, texts)
            if before is not None:
                self._files.amend_hosts(
                    sandbox.id,
                    [line for end in before.endpoints for line in namefiles.endpoint_lines(before, end)],
                    [line for end in sandbox.endpoints for line in namefiles.endpoint_lines(sandbox, end)],
                )
        except OSError as error:
            return errors.Internal(f"the files of sandbox {sandbox.id} cannot be written: {error}")
        return None

    async def _forget_flows(self, addresses: Sequence[IPv4Address], ports: Sequence[HostPort]) -> None:
        """Forget flows that have lost their meaning. Best effort: they end by themselves, only later."""
        datagram_ports = [port for port in ports if port.protocol is Protocol.UDP]
        if not addresses and not datagram_ports:
            return
        try:
            await self._reconciler.forget_flows(addresses, datagram_ports)
        except errors.BeeyardError as error:
            _log.warning("flows_not_forgotten", addresses=len(addresses), error=str(error))


def _changed_ports(before: Sandbox | None, after: Sandbox) -> list[HostPort]:
    """Return the ports of the node that did not lead where they lead now."""
    had: set[PortBinding] = set(before.ports) if before else set()
    return sorted({binding.host for binding in after.ports if binding not in had})
