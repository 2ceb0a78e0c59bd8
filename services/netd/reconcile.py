"""Making the kernel match: look, compare, act. On a thread of its own, one pass at a time.

A pass over everything reads all there is and mends whatever differs. A pass over one network or sandbox looks only at
that, and trusts its memory of the table; if it fails, somebody else has changed something, and a pass over everything
is the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TypeVar

from services.kit import errors, log
from services.netd.core.networks import Host
from services.netd.core.state import State
from services.netd.firewall.table import Table
from services.netd.kernel.ports import Failure, Kernel, Scope
from services.netd.model.port import HostPort
from services.netd.plan import desired as plans
from services.netd.plan import operations as op
from services.netd.plan.desired import Desired
from services.netd.plan.diff import diff
from services.netd.plan.operations import Operation

T = TypeVar("T")

_log = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a pass did, and what of it failed."""

    operations: Sequence[Operation]
    failures: Sequence[Failure]

    def error(self, what: str) -> errors.Internal | None:
        """Return the failures as one error about `what`; None if there are none."""
        if not self.failures:
            return None
        details = "; ".join(
            f"{type(failure.operation).__name__}: {failure.error}" for failure in self.failures[:5]
        )
        return errors.Internal(f"{what}: {details}", reason="KERNEL_FAILED")

    def about(self, *subjects: str) -> Report:
        """Return the report with the failures of these subjects only."""
        kept = [failure for failure in self.failures if op.subject(failure.operation) in subjects]
        return replace(self, failures=kept)


class Reconciler:
    """Brings the kernel into the form that a state asks for. Calls must not overlap: the caller orders them.

    Args:
        open_kernel: Makes the kernel's adapter, on the thread that will use it.
    """

    def __init__(self, open_kernel: Callable[[], Kernel]) -> None:
        self._open_kernel = open_kernel
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kernel")
        self._opened: Kernel | None = None
        self._applied: Table | None = None
        self._derived: tuple[object, object, Table] | None = None

    async def open(self) -> None:
        """Open the kernel.

        Raises:
            errors.Unsupported: It, or the system, lacks something that we need.
        """
        self._opened = await self._run(self._open_kernel)

    async def close(self) -> None:
        """Let go of the kernel, which keeps everything that was applied."""
        if self._opened is not None:
            await self._run(self._kernel.close)
        self._thread.shutdown(wait=False)

    async def everything(self, state: State) -> Report:
        """Make the whole kernel match, and remove what is ours and not wanted."""
        wanted = plans.derive(state, self._table(state))
        return await self._run(lambda: self._everything(wanted))

    async def network(self, state: State, network_id: str, link: str) -> Report:
        """Make the bridge of a network match, be it to come, to be mended or to go; `link` is its name."""
        wanted = plans.derive_network(state, network_id, self._table(state))
        sysctls = [name for bridge in wanted.bridges.values() for name in bridge.sysctls]
        return await self._run(lambda: self._pass(wanted, links=[link], sandboxes=[], sysctls=sysctls))

    async def sandbox(self, state: State, sandbox_id: str) -> Report:
        """Make the namespace and links of a sandbox match, be it to come, to be changed or to go."""
        wanted = plans.derive_sandbox(state, sandbox_id, self._table(state))
        links = [end.host_link for namespace in wanted.namespaces.values() for end in namespace.attachments]
        return await self._run(lambda: self._pass(wanted, links=links, sandboxes=[sandbox_id], sysctls=[]))

    async def match(
        self,
        state: State,
        scoped: Callable[[State], Awaitable[Report]],
        *,
        subjects: Sequence[str],
        what: str,
    ) -> errors.BeeyardError | None:
        """Make one object match; if that fails, mend everything and look again. Return the error that stays.

        Args:
            state: What everything is to match.
            scoped: The pass over the object alone.
            subjects: What of a failure concerns the object.
            what: Begins the error.
        """
        try:
            report = await scoped(state)
            if not report.failures:
                return None
            log_failures(report)
            return (await self.everything(state)).about(*subjects).error(what)
        except errors.BeeyardError as error:
            return error

    async def survey(self, links: Iterable[str]) -> Host:
        """Return what of the node a new network must not collide with; `links` are ours."""
        ours = frozenset(links)
        return await self._run(lambda: self._kernel.survey(ours))

    async def occupied(self, ports: Iterable[HostPort]) -> dict[HostPort, str]:
        """Return those of the ports that a program of the node has, and which program.

        Raises:
            errors.Invalid: The address of one is not the node's.
        """
        wanted = list(ports)

        def probe() -> dict[HostPort, str]:
            return {port: holder for port in wanted if (holder := self._kernel.holder(port))}

        return await self._run(probe)

    async def forget_flows(self, addresses: Sequence[IPv4Address], ports: Sequence[HostPort]) -> None:
        """Make connection tracking forget addresses that are gone, and UDP ports whose meaning has changed."""
        await self._run(lambda: self._kernel.forget_flows(addresses, ports))

    async def components(self) -> Mapping[str, str]:
        """Return the programs and libraries that this rests on, with their versions."""
        return await self._run(self._kernel.components)

    async def obstacles(self) -> Sequence[str]:
        """Return what of others is in the way of our packets, as sentences."""
        return await self._run(self._kernel.obstacles)

    @property
    def _kernel(self) -> Kernel:
        assert self._opened is not None, "the kernel is not open"
        return self._opened

    def _table(self, state: State) -> Table:
        """Return the table for a state; of the last one again if that did not differ in what makes the table."""
        known = self._derived
        if known is None or known[0] is not state.networks or known[1] is not state.reservations:
            known = self._derived = (state.networks, state.reservations, plans.derive_table(state))
        return known[2]

    def _everything(self, wanted: Desired) -> Report:
        sysctls = [*wanted.sysctls, *(name for bridge in wanted.bridges.values() for name in bridge.sysctls)]
        self._applied = None
        return self._pass(wanted, links=None, sandboxes=None, sysctls=sysctls)

    def _pass(
        self,
        wanted: Desired,
        *,
        links: Sequence[str] | None,
        sandboxes: Sequence[str] | None,
        sysctls: Sequence[str],
    ) -> Report:
        remembered = self._applied
        doomed = [sandbox for sandbox in sandboxes or () if sandbox not in wanted.namespaces]
        scope = Scope(
            links=links, sandboxes=sandboxes, sysctls=sysctls, table=remembered is None, doomed=doomed
        )
        observed = self._kernel.observe(scope)
        if remembered is not None:
            observed = replace(observed, table=remembered.seen)
        operations = diff(wanted, observed)
        failures = self._kernel.apply(operations)
        table_failed = any(isinstance(failure.operation, op.ApplyTable) for failure in failures)
        self._applied = None if table_failed else wanted.table
        return Report(operations=operations, failures=failures)

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except OSError as error:
            raise errors.Internal(
                f"the kernel does not answer as expected: {error}", reason="KERNEL_FAILED"
            ) from error


def log_failures(report: Report) -> None:
    """Log what a pass could not do; the next periodic one tries it again."""
    for failure in report.failures:
        _log.error("kernel_refused", operation=repr(failure.operation), error=str(failure.error))
