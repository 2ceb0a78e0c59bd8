"""The node's networks and sandboxes: what the API calls. Decides, records, makes the kernel match, in this order.

One change at a time, from its decision to the kernel: whoever decides sees the outcome of all that went before. A
change runs to its end even if the caller goes away. If the process dies in between, the record says what was meant, and
the next start makes it so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from services.kit import errors, log, metrics
from services.kit.seams import Clock, NewId, Rng
from services.kit.tasks import Supervisor
from services.netd.core import filters as selection
from services.netd.core import namefiles, networks, sandboxes
from services.netd.core.namefiles import NodeNames
from services.netd.core.networks import Settings
from services.netd.core.ports import NodePorts
from services.netd.core.sandboxes import Chance
from services.netd.core.state import Change, PutSandbox, RemoveNetwork, State, freed
from services.netd.files import Files
from services.netd.model.endpoint import Endpoint, EndpointSpec
from services.netd.model.network import PREDEFINED, Network, NetworkSpec
from services.netd.model.port import HostPort, PortBinding, PortRange, PortSpec, Protocol
from services.netd.model.sandbox import Sandbox, SandboxSpec
from services.netd.reconcile import Reconciler, Report
from services.netd.records import Records

T = TypeVar("T")

_log = log.get(__name__)

_setup_seconds = metrics.histogram(
    "netd_sandbox_setup_seconds", "From the record of a sandbox to its last rule."
)
_mended = metrics.counter("netd_mended", "Operations that a periodic pass had to perform.")

PORT_ATTEMPTS_MAX = 64
"""How often ports are chosen again because a program of the node turns out to have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Time, identity and chance."""

    clock: Clock
    new_id: NewId
    rng: Rng


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the configuration decides."""

    networks: Settings
    ephemeral: PortRange
    repair_interval_s: float


class Engine:
    """The networks and sandboxes of one node.

    Args:
        records: What is recorded.
        reconciler: Makes the kernel match.
        files: The sandboxes' name files.
        namespaces: The directory of the files that hold the sandboxes' namespaces.
        node_names: Reads what the node itself has for names.
        policy: What the configuration decides.
        seams: Time, identity and chance.
        supervisor: Owns the changes that are on their way.
    """

    def __init__(
        self,
        *,
        records: Records,
        reconciler: Reconciler,
        files: Files,
        namespaces: Path,
        node_names: Callable[[], NodeNames],
        policy: Policy,
        seams: Seams,
        supervisor: Supervisor,
    ) -> None:
        self._records = records
        self._reconciler = reconciler
        self._files = files
        self._namespaces = namespaces
        self._node_names = node_names
        self._policy = policy
        self._seams = seams
        self._supervisor = supervisor
        self._lock = asyncio.Lock()
        self._state = State()

    @property
    def state(self) -> State:
        """What is recorded."""
        return self._state

    @property
    def files(self) -> Files:
        """The sandboxes' name files."""
        return self._files

    def namespace_path(self, sandbox_id: str) -> Path:
        """Return the file that holds a sandbox's namespace."""
        return self._namespaces / sandbox_id

    async def start(self) -> None:
        """Read the records, make the predefined networks if they are missing, and make everything match.

        What the kernel refuses now is logged and tried again with every periodic pass: one broken sandbox must not
        keep the others from being served.

        Raises:
            errors.BeeyardError: The records cannot be read, or the default network cannot be made.
        """
        self._state = await self._records.load(self._chance().now.timestamp())
        missing = networks.plan_predefined(
            self._state,
            settings=self._policy.networks,
            host=await self._reconciler.survey(self._links()),
            network_ids=[self._seams.new_id() for _ in PREDEFINED],
            now=self._chance().now,
        )
        await self._record(*missing)
        report = await self._reconciler.everything(self._state)
        self._ensure_files()
        self._log_failures(report)
        for obstacle in await self._reconciler.obstacles():
            _log.warning("obstacle", what=obstacle)
        _log.info(
            "netd_recovered",
            networks=len(self._state.networks),
            sandboxes=len(self._state.sandboxes),
            operations=len(report.operations),
            failures=len(report.failures),
        )

    async def obstacles(self) -> Sequence[str]:
        """Return what of others on this node is in the way of the containers' packets, as sentences."""
        return await self._reconciler.obstacles()

    async def repair_forever(self) -> None:
        """Compare the kernel with the records from time to time, and mend what somebody else has changed."""
        while True:
            await self._seams.clock.sleep(self._policy.repair_interval_s)
            await self.repair()

    async def repair(self) -> Report:
        """Compare the kernel with the records now, and mend what differs."""
        async with self._lock:
            report = await self._reconciler.everything(self._state)
            self._ensure_files()
        if report.operations:
            _mended.inc(len(report.operations))
            kinds = sorted({type(operation).__name__ for operation in report.operations})
            _log.info("kernel_mended", operations=len(report.operations), kinds=",".join(kinds))
        self._log_failures(report)
        return report

    # Networks

    async def create_network(self, spec: NetworkSpec, request_id: str = "") -> Network:
        """Make a network; the same `request_id` again returns the one that it made."""
        return await self._change(lambda: self._create_network(spec, request_id))

    async def remove_network(self, reference: str) -> Network:
        """Remove a network without endpoints; return what it was."""
        return await self._change(lambda: self._remove_network(networks.find(self._state, reference)))

    async def prune_networks(self, filters: selection.Filters) -> list[Network]:
        """Remove the networks that nobody uses; return what they were."""
        selection.check(filters, selection.PRUNE_KEYS)
        return await self._change(lambda: self._prune(filters))

    # Sandboxes

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox; one that exists with the same spec is returned as it is."""
        return await self._change(lambda: self._create_sandbox(spec))

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox and all that belongs to it; one that does not exist is fine."""
        await self._change(lambda: self._remove_sandbox(sandbox_id))

    async def connect(self, sandbox_id: str, spec: EndpointSpec) -> Endpoint:
        """Give a sandbox an endpoint in a further network; return it, also if it was there."""

        def plan(node: NodePorts) -> PutSandbox | None:
            return sandboxes.plan_connect(self._state, sandbox_id, spec, node=node, chance=self._chance())

        async def connect() -> Endpoint:
            sandbox = await self._put(sandbox_id, plan)
            network = networks.find(self._state, spec.network)
            return next(endpoint for endpoint in sandbox.endpoints if endpoint.network_id == network.id)

        return await self._change(connect)

    async def disconnect(self, sandbox_id: str, network: str) -> bool:
        """Take a sandbox out of a network; return whether it was in it."""

        async def disconnect() -> bool:
            change = sandboxes.plan_disconnect(self._state, sandbox_id, network, chance=self._chance())
            if change is not None:
                await self._replace(change)
            return change is not None

        return await self._change(disconnect)

    async def update_ports(self, sandbox_id: str, ports: Sequence[PortSpec]) -> Sandbox:
        """Publish other ports of a sandbox than before; return the sandbox."""

        def plan(node: NodePorts) -> PutSandbox | None:
            return sandboxes.plan_ports(self._state, sandbox_id, ports, node=node, chance=self._chance())

        return await self._change(lambda: self._put(sandbox_id, plan))

    # The same, one at a time

    async def _change(self, change: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a change to its end, whatever becomes of the caller, and after all that came before it."""

        async def run() -> T | errors.BeeyardError:
            async with self._lock:
                try:
                    return await change()
                except errors.BeeyardError as error:
                    return error  # the caller's; a task that fails would be logged as a fault

        outcome = await asyncio.shield(self._supervisor.spawn(run(), name="change", critical=False))
        if isinstance(outcome, errors.BeeyardError):
            raise outcome
        return outcome

    async def _create_network(self, spec: NetworkSpec, request_id: str) -> Network:
        if request_id:
            for network in self._state.networks.values():
                if network.request_id == request_id:
                    return network
        change = networks.plan_create(
            self._state,
            spec,
            settings=self._policy.networks,
            host=await self._reconciler.survey(self._links()),
            network_id=self._seams.new_id(),
            now=self._chance().now,
            request_id=request_id,
        )
        network = change.network
        await self._record(change)
        error = await self._match(
            lambda: self._reconciler.network(self._state, network.id, network.link),
            subjects=("table", f"link {network.link}"),
            what=f"network {network.name} cannot be made",
        )
        if error is not None:
            await self._record(RemoveNetwork(network_id=network.id))
            self._log_failures(await self._reconciler.network(self._state, network.id, network.link))
            raise error
        _log.info(
            "network_created",
            network=network.name,
            id=network.id[:12],
            subnet=network.ipam and network.ipam.subnet,
        )
        return network

    async def _remove_network(self, network: Network) -> Network:
        networks.check_removable(self._state, network)
        await self._record(RemoveNetwork(network_id=network.id))
        # What the kernel does not let go now, the next periodic pass removes: nobody is told that it failed.
        self._log_failures(await self._reconciler.network(self._state, network.id, network.link))
        _log.info("network_removed", network=network.name, id=network.id[:12])
        return network

    async def _prune(self, filters: selection.Filters) -> list[Network]:
        now = self._chance().now
        unused = [
            network
            for network in self._state.networks.values()
            if not network.predefined
            and network.id in self._state.pools
            and self._state.pools[network.id].used_count == 0
            and selection.fits(self._state, network, filters, now)
        ]
        return [await self._remove_network(network) for network in unused]

    async def _create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        def plan(node: NodePorts) -> PutSandbox | None:
            return sandboxes.plan_create(self._state, spec, node=node, chance=self._chance())

        return await self._put(spec.id, plan)

    async def _remove_sandbox(self, sandbox_id: str) -> None:
        change = sandboxes.plan_remove(self._state, sandbox_id, chance=self._chance())
        if change is None:
            return
        addresses = [address for _, address in freed(self._state, change)]
        await self._record(change)
        self._log_failures(await self._reconciler.sandbox(self._state, sandbox_id))
        self._files.remove(sandbox_id)
        await self._forget_flows(addresses, [])

    async def _put(self, sandbox_id: str, plan: Callable[[NodePorts], PutSandbox | None]) -> Sandbox:
        """Make or change a sandbox as `plan` decides; return it, also if nothing was to be done."""
        change = await self._plan_with_ports(sandbox_id, plan)
        if change is None:
            return sandboxes.find(self._state, sandbox_id)
        return await self._replace(change)

    async def _replace(self, change: PutSandbox) -> Sandbox:
        """Record a new or changed sandbox and make it so; if the kernel refuses, go back."""
        sandbox = change.sandbox
        before = self._state.sandboxes.get(sandbox.id)
        addresses = [address for _, address in freed(self._state, change)]
        await self._record(change)
        with _setup_seconds.time():
            error = await self._match(
                lambda: self._reconciler.sandbox(self._state, sandbox.id),
                subjects=("table", f"sandbox {sandbox.id}"),
                what=f"the network of sandbox {sandbox.id} cannot be set up",
            )
            if error is None:
                error = self._write_files(before, sandbox)
        if error is not None:
            await self._go_back(before, sandbox)
            raise error
        await self._forget_flows(addresses, _changed_ports(before, sandbox))
        return sandbox

    async def _go_back(self, before: Sandbox | None, sandbox: Sandbox) -> None:
        until = self._chance().rest_until()
        if before is None:
            removal = sandboxes.plan_remove(self._state, sandbox.id, chance=self._chance())
            assert removal is not None, f"sandbox {sandbox.id} is not recorded"
            await self._record(removal)
        else:
            await self._record(PutSandbox(sandbox=before, rest_until=until))
        self._log_failures(await self._reconciler.sandbox(self._state, sandbox.id))
        if before is None:
            self._files.remove(sandbox.id)

    async def _plan_with_ports(
        self, sandbox_id: str, plan: Callable[[NodePorts], PutSandbox | None]
    ) -> PutSandbox | None:
        """Return what `plan` decides, knowing which ports the programs of the node have."""
        foreign: dict[HostPort, str] = {}
        for _ in range(PORT_ATTEMPTS_MAX):
            change = plan(NodePorts(ephemeral=self._policy.ephemeral, foreign=foreign))
            if change is None or not change.sandbox.ports:
                return change
            before = self._state.sandboxes.get(sandbox_id)
            taken = await self._reconciler.occupied(_changed_ports(before, change.sandbox))
            if not taken:
                return change
            foreign.update(taken)
        raise errors.Exhausted(
            f"no free ports were found in {PORT_ATTEMPTS_MAX} attempts", reason="PORTS_EXHAUSTED"
        )

    async def _match(
        self, scoped: Callable[[], Awaitable[Report]], *, subjects: Sequence[str], what: str
    ) -> errors.BeeyardError | None:
        """Make one object match; if that fails, mend everything and look again. Return the error that stays."""
        try:
            report = await scoped()
            if not report.failures:
                return None
            self._log_failures(report)
            return (await self._reconciler.everything(self._state)).about(*subjects).error(what)
        except errors.BeeyardError as error:
            return error

    async def _forget_flows(self, addresses: Sequence[IPv4Address], ports: Sequence[HostPort]) -> None:
        """Forget flows that have lost their meaning. Best effort: they end by themselves, only later."""
        datagram_ports = [port for port in ports if port.protocol is Protocol.UDP]
        if not addresses and not datagram_ports:
            return
        try:
            await self._reconciler.forget_flows(addresses, datagram_ports)
        except errors.BeeyardError as error:
            _log.warning("flows_not_forgotten", addresses=len(addresses), error=str(error))

    def _write_files(self, before: Sandbox | None, sandbox: Sandbox) -> errors.BeeyardError | None:
        try:
            self._files.ensure(sandbox.id, namefiles.write(self._state, sandbox, self._node_names()))
            if before is not None:
                self._files.amend_hosts(
                    sandbox.id,
                    [line for end in before.endpoints for line in namefiles.endpoint_lines(before, end)],
                    [line for end in sandbox.endpoints for line in namefiles.endpoint_lines(sandbox, end)],
                )
        except OSError as error:
            return errors.Internal(f"the files of sandbox {sandbox.id} cannot be written: {error}")
        return None

    def _ensure_files(self) -> None:
        """Write the files that are missing, remove those of sandboxes that are gone."""
        for sandbox_id in self._files.sandboxes() - self._state.sandboxes.keys():
            self._files.remove(sandbox_id)
        node = self._node_names()
        for sandbox in self._state.sandboxes.values():
            try:
                self._files.ensure(sandbox.id, namefiles.write(self._state, sandbox, node))
            except OSError as error:
                _log.error("files_not_written", sandbox=sandbox.id, error=str(error))

    def _log_failures(self, report: Report) -> None:
        for failure in report.failures:
            _log.error("kernel_refused", operation=repr(failure.operation), error=str(failure.error))

    def _links(self) -> list[str]:
        own = [network.link for network in self._state.networks.values() if network.link]
        return [
            *own,
            *(end.host_link for sandbox in self._state.sandboxes.values() for end in sandbox.endpoints),
        ]

    def _chance(self) -> Chance:
        return Chance(now=self._seams.clock.now(), new_id=self._seams.new_id, rng=self._seams.rng)

    async def _record(self, *changes: Change) -> None:
        if changes:
            now = self._chance().now.timestamp()
            self._state = await self._records.write(self._state, changes, now)


def _changed_ports(before: Sandbox | None, after: Sandbox) -> list[HostPort]:
    """Return the ports of the node that did not lead where they lead now."""
    had: set[PortBinding] = set(before.ports) if before else set()
    return sorted({binding.host for binding in after.ports if binding not in had})
