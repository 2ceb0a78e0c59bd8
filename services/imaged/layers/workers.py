"""The worker processes for layers, as the daemon sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from services.imaged.layers import jobs
from services.kit.workers import pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

R = TypeVar("R")

WORKERS_MAX = 2
IDLE_S = 10.0


class WorkerPool(pool.WorkerPool):
    """Runs the jobs of `jobs`."""

    def __init__(self, workers_max: int = WORKERS_MAX, idle_s: float = IDLE_S) -> None:
        super().__init__(
            "services.imaged.layers.worker", "layer worker", workers_max=workers_max, idle_s=idle_s
        )

    async def apply(
        self, job: jobs.ApplyJob, blob: int, target: int, on_progress: Callable[[int], None] | None = None
    ) -> jobs.ApplyResult:
        """Unpack the layer in `blob` (a descriptor at its start) into the directory `target` (a descriptor).

        Raises:
            errors.BeeyardError: As `layers.apply.apply`; the target then holds a part of the layer.
        """
        return await self._job(job, (blob, target), jobs.ApplyResult, on_progress)

    async def export(self, job: jobs.ExportJob, output: int) -> jobs.ExportResult:
        """Write the layer that a comparison makes to `output`; the caller reads or closes the other end."""
        return await self._job(job, (output,), jobs.ExportResult)

    async def list_changes(self, job: jobs.ListChangesJob, output: int) -> None:
        """Write changed paths to `output`."""
        await self._job(job, (output,), jobs.Done)

    async def measure(self, directory: str) -> jobs.MeasureResult:
        """Return the disk usage of a tree."""
        return await self._job(jobs.MeasureJob(directory=directory), (), jobs.MeasureResult)

    async def _job(
        self,
        job: jobs.Job,
        descriptors: Sequence[int],
        expected: type[R],
        on_progress: Callable[[int], None] | None = None,
    ) -> R:
        def on_packet(packet: bytes) -> bool:
            reply = jobs.decode(packet)
            if not isinstance(reply, jobs.Progress):
                return True
            if on_progress is not None:
                on_progress(reply.done_bytes)
            return False

        reply = jobs.decode(await self.run(jobs.encode(job), descriptors, on_packet))
        assert isinstance(reply, expected), f"{type(job).__name__} was answered with {type(reply).__name__}"
        return reply
