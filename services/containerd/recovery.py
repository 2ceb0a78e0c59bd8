"""The daemon's start: what is recorded is compared with what is there, and every container goes on from where it is.

Looking is here, deciding is in `lifecycle.recover`. A watcher of exits exists before anything is looked at, so that no
end falls between.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.containerd.checkpoint import left
from services.containerd.health.put_down import put_down_left
from services.containerd.kernel import processes
from services.containerd.lifecycle import messages, recover
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model.status import Phase, Record, Status
from services.containerd.runtime import conmon, scratch
from services.kit import atomic, errors, log

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from services.containerd.cgroups.control import Control
    from services.containerd.cgroups.hierarchy import Hierarchies
    from services.containerd.engine import Engine
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.lifecycle.clean_up import CleanUp
    from services.containerd.neighbours.images import Images
    from services.containerd.neighbours.sandboxes import Sandboxes
    from services.containerd.records.store import Damaged, Store
    from services.containerd.runtime.watch import Watcher
    from services.containerd.volumes.volumes import Volumes
    from services.kit.seams import Clock

_log = log.get(__name__)

ORPHANS_RETRY_S = 30.0
_ID = re.compile(r"[0-9a-f]{64}")
_BOOT_FILE = "boot"


class Recovery:
    """Done once, before the daemon serves; removing what nobody owns goes on behind."""

    def __init__(
        self,
        *,
        engine: Engine,
        machine: Machine,
        store: Store,
        watcher: Watcher,
        control: Control,
        hierarchies: Hierarchies,
        clean_up: CleanUp,
        volumes: Volumes,
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._store = store
        self._watcher = watcher
        self._control = control
        self._hierarchies = hierarchies
        self._clean_up = clean_up
        self._volumes = volumes
        self._damaged: list[Damaged] = []

    async def run(self) -> None:
        """Adopt every recorded container, and send it on its way."""
        records, self._damaged = await self._store.load()
        for damaged in self._damaged:
            _log.error("record_damaged", container=damaged.id, reason=damaged.reason)
        await self._store.tidy()
        atomic.remove_leftovers(self._machine.layout.state)
        boot_file = self._machine.layout.state / _BOOT_FILE
        same_boot = (atomic.read(boot_file) or b"").decode() in ("", self._machine.boot_id)
        await self._settle(records)
        if removed := scratch.clear(self._machine.layout.scratch, at_start=True):
            _log.info("scratch_cleared", files=removed)
        await put_down_left(self._machine, self._control, records)
        actors = [self._engine.adopt(record) for record in records]
        await self._volumes.recover(records)
        for actor in actors:
            finding = self._look(actor.record, same_boot=same_boot)
            actor.post(messages.Recovered(finding=finding))
        for actor in actors:
            await actor.idle()
        atomic.write(boot_file, self._machine.boot_id.encode())
        _log.info("recovered", containers=len(records), same_boot=same_boot)

    async def _settle(self, records: Iterable[Record]) -> None:
        """Let what the last daemon left in the middle get to an end: checkpoints, and a conmon that creates."""
        layout = self._machine.layout
        stopping = [record for record in records if record.status.phase in (Phase.UP, Phase.CLEANING)]
        await asyncio.gather(*(left.settle(layout.bundle(record.id)) for record in stopping))
        exits = layout.exits
        conmons = {
            container_id: pid
            for pid, arguments in processes.command_lines()
            if (container_id := conmon.container_of(arguments, exits)) is not None
        }
        await asyncio.gather(
            *(
                self._clean_up.settle(record, conmons[record.id])
                for record in records
                if record.status.phase in (Phase.STARTING, Phase.CLEANING) and record.id in conmons
            )
        )

    def _look(self, record: Record, *, same_boot: bool) -> messages.Found:
        layout, run = self._machine.layout, record.status.run
        cgroup = cgroup_path(record, self._machine.cgroup_parent)
        conmon_alive = run is not None and processes.alive(run.conmon)
        exit_ = self._watcher.exit_of(record.id)  # after that: conmon's last act is to write it
        return messages.Found(
            same_boot=run.boot_id == self._machine.boot_id if run is not None else same_boot,
            exit=exit_,
            conmon_alive=conmon_alive,
            waiting_to_execute=layout.exec_fifo(record.id).exists(),
            frozen=self._control.is_frozen(cgroup),
            remains=exit_ is not None
            or layout.bundle(record.id).path.exists()
            or layout.runtime_state(record.id).exists()
            or self._control.exists(cgroup),
        )

    async def clear_orphans(self, images: Images, sandboxes: Sandboxes, clock: Clock) -> None:
        """Take down what belongs to no container, until netd and imaged have been asked too.

        Processes, mounts, groups and sandboxes go. A writable layer or a log without a record is data of somebody
        whose record was lost: it is named in the log and kept.
        """
        while True:
            try:
                # The neighbours are asked first: what is made meanwhile has a record by the time we compare.
                sandbox_ids, snapshot_ids = await sandboxes.ids(), await images.snapshots()
                traces = recover.Traces(
                    bundles=self._bundles(),
                    directories=_ids_in(self._machine.layout.containers),
                    sandboxes=sandbox_ids,
                    snapshots=snapshot_ids,
                )
                await self._clear(traces)
            except errors.BeeyardError as exc:
                _log.warning("orphans_not_cleared", error=exc.message, retry_s=ORPHANS_RETRY_S)
                await clock.sleep(ORPHANS_RETRY_S)
            else:
                return

    async def _clear(self, traces: recover.Traces) -> None:
        known = [damaged.id for damaged in self._damaged]
        for container_id in recover.orphans(known, traces):
            if self._engine.get(container_id) is not None:
                continue
            if container_id in traces.bundles or container_id in traces.sandboxes:
                _log.warning("orphan_taken_down", container=container_id)
                await self._clean_up.run(_nobody(container_id))
            if container_id in traces.directories or container_id in traces.snapshots:
                _log.warning("orphan_data_kept", container=container_id)

    def _bundles(self) -> frozenset[str]:
        layout = self._machine.layout
        places = [layout.bundles, layout.exits, layout.runtime_root]
        places += self._hierarchies.directories(self._machine.cgroup_parent)
        return frozenset().union(*(_ids_in(place) for place in places))


def _ids_in(directory: Path) -> frozenset[str]:
    if not directory.is_dir():
        return frozenset()
    return frozenset(entry.name for entry in directory.iterdir() if _ID.fullmatch(entry.name))


def _nobody(container_id: str) -> Record:
    """Return a record with which an orphan can be taken down: its runtime is not known, so the kernel's means do."""
    return Record(
        id=container_id,
        name="",
        created_at=datetime.min.replace(tzinfo=UTC),
        status=Status(phase=Phase.CLEANING),
    )
