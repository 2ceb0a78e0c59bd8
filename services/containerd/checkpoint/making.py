"""Making a checkpoint: the runtime has CRIU write its images into a directory, which gets its name when it is whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from services.containerd.checkpoint import left, said, store
from services.containerd.lifecycle import faults
from services.containerd.runtime import oci_cli
from services.kit import errors, log

if TYPE_CHECKING:
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.status import Record
    from services.kit.seams import Clock

_log = log.get(__name__)

MAKE_TIMEOUT_S: Final = 600.0


class Checkpointer:
    """Makes checkpoints."""

    def __init__(self, machine: Machine, clock: Clock) -> None:
        self._machine = machine
        self._clock = clock

    async def make(self, record: Record, directory: str, *, leave_running: bool) -> None:
        """Write the state of a container's processes, which ends them unless they are to run on.

        Raises:
            errors.AlreadyExists: CHECKPOINT_EXISTS.
            errors.FailedPrecondition: CHECKPOINT_FAILED; the processes run on.
            errors.Internal: CHECKPOINT_INCOMPLETE; they do not, if they were not to: what was written is kept.
        """
        machine, path = self._machine, Path(directory)
        flavour = machine.flavours.get(record.status.runtime)
        if flavour is None:
            raise errors.FailedPrecondition(
                f"the runtime {record.status.runtime} does not work on this node", reason="RUNTIME_MISSING"
            )
        partial = await asyncio.to_thread(store.make_room, path)
        bundle = machine.layout.bundle(record.id)
        work = left.work(bundle)
        try:
            description = store.Description(
                runtime=flavour.name,
                created_at=self._clock.now().isoformat(),
                boot_id=machine.boot_id,
                addresses=_addresses(record),
            )
            await asyncio.to_thread(store.write_description, partial, description)
            await asyncio.to_thread(left.note, bundle, partial)
            command = oci_cli.checkpoint(
                flavour,
                machine.layout.runtime_root,
                record.id,
                images=partial,
                work=work,
                leave_running=leave_running,
                tty=record.spec.tty,
            )
            spawner = machine.spawners[flavour.private_namespace]
            code, output = await spawner.run(command, timeout_s=MAKE_TIMEOUT_S)
            if code != 0:
                why = await asyncio.to_thread(said.why, work / left.DUMP_LOG, output)
                raise errors.FailedPrecondition(
                    f"container {record.name} cannot be checkpointed: {why}", reason="CHECKPOINT_FAILED"
                )
        except asyncio.CancelledError:
            raise  # the daemon ends, CRIU does not: the next one sees to it
        except BaseException:
            await asyncio.to_thread(left.forget, bundle)
            await asyncio.to_thread(store.discard, path)
            raise
        faults.reached("checkpoint.made")
        try:
            await asyncio.to_thread(store.complete, path)
            await asyncio.to_thread(left.forget, bundle)
        except OSError as exc:
            await asyncio.to_thread(left.forget, bundle)
            if leave_running:
                await asyncio.to_thread(store.discard, path)
            kept = "" if leave_running else f"; what was written of it is kept as {partial}"
            raise errors.Internal(
                f"the checkpoint of container {record.name} is not safely on the disk: {exc}{kept}",
                reason="CHECKPOINT_INCOMPLETE",
            ) from exc
        faults.reached("checkpoint.named")


def _addresses(record: Record) -> dict[str, str]:
    """Return the addresses by network, at which its connections end."""
    run = record.status.run
    network = run.network if run is not None else None
    return {endpoint.network: endpoint.ip for endpoint in network.endpoints} if network is not None else {}
