"""The calls that look at running processes: stats and top."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.api.status_to_pb import timestamp
from services.containerd.cgroups import read
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model.events import Action
from services.containerd.model.status import Phase
from services.containerd.ocispec import resources
from services.kit import errors, subproc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from services.containerd.cgroups.control import Control
    from services.containerd.cgroups.hierarchy import Hierarchies
    from services.containerd.engine import Engine
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.kit.seams import Clock

INTERVAL_S = 1.0
PS_TIMEOUT_S = 10.0
PS_PIDS_MAX = 10_000
"""An argument has room for so many."""
_PS_DEFAULT = ("-ef",)


class Observing:
    """Looks at containers."""

    def __init__(
        self, engine: Engine, machine: Machine, hierarchies: Hierarchies, control: Control, clock: Clock
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._hierarchies = hierarchies
        self._control = control
        self._clock = clock

    async def stats(self, request: pb.GetStatsRequest) -> AsyncIterator[pb.GetStatsResponse]:
        """Yield samples, one a second; the first has no share of processor time, since it has nothing before it."""
        chosen = [self._engine.find(name).record.id for name in request.containers]
        before: dict[str, pb.ContainerStats] = {}
        while True:
            actors = [self._engine.get(key) for key in chosen] if chosen else self._newest_first()
            present = [
                actor
                for actor in actors
                if actor is not None and (chosen or request.all or actor.status.phase is Phase.UP)
            ]
            samples = [self._sample(actor) for actor in present]
            for sample in samples:
                sample.cpu_percent = _percent(before.get(sample.id), sample)
            yield pb.GetStatsResponse(time=timestamp(self._clock.now()), stats=samples)
            if request.one_shot or (chosen and not present):
                return
            before = {sample.id: sample for sample in samples}
            await self._clock.sleep(INTERVAL_S)

    async def processes(self, request: pb.ListProcessesRequest) -> pb.ListProcessesResponse:
        """Return the rows of ps that belong to the container.

        Raises:
            errors.FailedPrecondition: It does not run.
            errors.Invalid: ps refuses its arguments, or they leave out the pid.
        """
        actor = self._engine.find(request.container)
        if actor.status.phase is not Phase.UP:
            raise errors.FailedPrecondition(
                f"container {actor.record.name}: it is not running", reason="CONTAINER_NOT_RUNNING"
            )
        pids = self._control.processes(cgroup_path(actor.record, self._machine.cgroup_parent))
        try:
            completed = await run_ps(request.ps_args or _PS_DEFAULT, pids)
        except subproc.Failed as exc:
            first = exc.message.partition("\n")[0]  # what follows is how to use ps
            raise errors.Invalid(first, reason="SPEC_INVALID") from exc
        header, *lines = completed.stdout.decode(errors="replace").splitlines() or [""]
        titles = header.split()
        if "PID" not in titles:
            raise errors.Invalid("the arguments of ps leave out the column PID", reason="SPEC_INVALID")
        column = titles.index("PID")
        actor.tell(Action.TOP)
        rows = [line.split(maxsplit=len(titles) - 1) for line in lines]
        return pb.ListProcessesResponse(
            titles=titles,
            rows=[
                pb.ProcessRow(values=row)
                for row in rows
                if len(row) > column and row[column].isdecimal() and int(row[column]) in pids
            ],
        )

    def _newest_first(self) -> list[Actor]:
        return sorted(self._engine.all(), key=lambda actor: actor.record.created_at, reverse=True)

    def _sample(self, actor: Actor) -> pb.ContainerStats:
        record, host = actor.record, self._machine.host
        up = actor.status.phase is Phase.UP and record.status.run is not None
        pid = record.status.run.init.pid if record.status.run is not None else 0
        if record.spec.network.mode == "host":
            pid = 0  # what the whole host sends is not the container's
        used = read.usage(self._hierarchies, cgroup_path(record, self._machine.cgroup_parent), pid)
        cpus = record.spec.resources.cpuset_cpus
        return pb.ContainerStats(
            id=record.id,
            name=record.name,
            cpu_usage_ns=used.cpu_ns,
            system_cpu_ns=read.system_cpu_ns(),
            online_cpus=len(resources.parse_set(cpus, "cpuset-cpus")) if cpus else host.cpus,
            throttled_count=used.throttled_count,
            throttled_ns=used.throttled_ns,
            memory_bytes=used.memory_bytes,
            memory_limit_bytes=(used.memory_limit_bytes or host.memory_bytes) if up else 0,
            network_rx_bytes=used.received_bytes,
            network_tx_bytes=used.sent_bytes,
            block_read_bytes=used.read_bytes,
            block_write_bytes=used.written_bytes,
            pids=used.pids,
        )


async def run_ps(arguments: Sequence[str], pids: Collection[int]) -> subproc.Completed:
    """Run ps for these processes. Its output may have others, as not all arguments go with a choice of processes (f).

    Raises:
        subproc.Failed: It refuses the arguments.
    """
    if 0 < len(pids) <= PS_PIDS_MAX:  # without a choice, `-o` alone shows those of the daemon's terminal
        chosen = "-q" + ",".join(map(str, sorted(pids)))
        with contextlib.suppress(subproc.Failed):
            return await subproc.run(["ps", *arguments, chosen], timeout_s=PS_TIMEOUT_S)
    return await subproc.run(["ps", *arguments], timeout_s=PS_TIMEOUT_S)


def _percent(before: pb.ContainerStats | None, now: pb.ContainerStats) -> float:
    """Return the share of processor time since the last sample, in percent of one processor."""
    if before is None or now.cpu_usage_ns < before.cpu_usage_ns:
        return 0.0
    machine_ns = now.system_cpu_ns - before.system_cpu_ns
    if machine_ns <= 0:
        return 0.0
    return (now.cpu_usage_ns - before.cpu_usage_ns) / machine_ns * now.online_cpus * 100.0
