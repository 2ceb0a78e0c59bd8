"""The composition root: everything that containerd consists of is made and connected here.

Order matters at the start: the watcher of exits exists before anything is compared with the records, and nothing is
served before every recorded container was sent on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from beeyard.container.v1 import container_pb2_grpc, volume_pb2_grpc
from beeyard.system.v1 import system_pb2_grpc
from services.containerd import execs_left, hostfacts
from services.containerd.api.containers import ContainerService, Parts
from services.containerd.api.system import SystemService
from services.containerd.api.volumes import VolumeService
from services.containerd.apparmor import loading
from services.containerd.cgroups import attach_speed, hierarchy
from services.containerd.cgroups.control import Control
from services.containerd.checkpoint import program
from services.containerd.checkpoint.making import Checkpointer
from services.containerd.checkpoint.support import Support
from services.containerd.engine import Engine
from services.containerd.execs import Execs
from services.containerd.files.containers import ContainerFiles
from services.containerd.files.transfers import Transfers
from services.containerd.health.probes import Probes
from services.containerd.kernel import mountinfo, processes
from services.containerd.lifecycle.actor import Surroundings
from services.containerd.lifecycle.bring_up import BringUp, Machine
from services.containerd.lifecycle.clean_up import CleanUp
from services.containerd.lifecycle.hands import Hands
from services.containerd.logs.options import LogPolicy
from services.containerd.logs.rotate import Rotator
from services.containerd.model.events import Action
from services.containerd.neighbours.calls import Neighbour
from services.containerd.neighbours.images import Images
from services.containerd.neighbours.sandboxes import Sandboxes
from services.containerd.records.store import Store
from services.containerd.recovery import Recovery
from services.containerd.runtime import scratch, sharing
from services.containerd.runtime.layout import Layout
from services.containerd.runtime.probe import Probe
from services.containerd.runtime.spawn import Spawner
from services.containerd.runtime.watch import Watcher
from services.containerd.seccomp.filters import Filters
from services.containerd.update import Updates
from services.containerd.upkeep import Upkeep
from services.containerd.userns import supply
from services.containerd.volumes.copies import Copies
from services.containerd.volumes.local import LocalDriver
from services.containerd.volumes.mounts import ContainerMounts
from services.containerd.volumes.store import VolumeStore
from services.containerd.volumes.volumes import Volumes
from services.kit import errors, log, subproc, system
from services.kit.events import Event, History
from services.kit.rpc.server import RpcServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.containerd.config import ContainerdConfig
    from services.containerd.lifecycle.messages import ConmonLost, Exited
    from services.kit import daemon
    from services.kit.tasks import Supervisor

NAME = "containerd"
SOCKET_GROUP = "beeyard"
_VERSION_TIMEOUT_S = 10.0

_log = log.get(__name__)


@contextlib.asynccontextmanager
async def build(config: ContainerdConfig, supervisor: Supervisor) -> AsyncIterator[daemon.Listeners]:
    """Recover, then yield what answers calls."""
    clock, rng = system.SystemClock(), system.system_rng()
    async with contextlib.AsyncExitStack() as stack:
        control = Control(hierarchies := hierarchy.find(mounts := mountinfo.read()))
        attach_speed.apply(mounts, config.cgroup_favordynmods)
        machine = await _machine(config, stack, hierarchies, control)
        neighbours = [
            Neighbour(name, config.run / f"{name}.sock", clock=clock, rng=rng) for name in ("imaged", "netd")
        ]
        for neighbour in neighbours:
            stack.push_async_callback(neighbour.close)
        images, sandboxes = Images(neighbours[0]), Sandboxes(neighbours[1])
        store = await Store.open(machine.layout.database, machine.layout.contents)
        stack.push_async_callback(store.close)

        events = History()
        watcher = Watcher(
            machine.layout,
            ended=lambda container_id, event: _tell_end(engine, container_id, event),
            init_died=lambda container_id: _tell_init_died(engine, container_id),
        )
        stack.callback(watcher.close)
        driver = LocalDriver(machine.layout)
        volumes = Volumes(
            VolumeStore(store.database),
            driver,
            users=lambda: engine.records(),  # noqa: PLW0108 (made below)
            publish=events.publish,
            clock=clock,
            new_id=system.new_hex_id,
        )
        container_mounts = ContainerMounts(volumes, images)
        clean_up = CleanUp(machine, control, images, sandboxes, container_mounts, clock)
        bring_up = BringUp(
            machine,
            images,
            sandboxes,
            container_mounts,
            peer=lambda reference: engine.peer(reference),  # noqa: PLW0108 (likewise)
            clean_ups_done=lambda: engine.clean_ups_done(),  # noqa: PLW0108 (likewise)
        )
        probes = Probes(machine, control, supervisor, clock, system.new_hex_id)
        transfers = await stack.enter_async_context(Transfers())
        files = ContainerFiles(transfers, images, volumes, machine.layout, clock)
        around = Surroundings(
            work=Hands(
                machine,
                control,
                images,
                bring_up,
                clean_up,
                container_mounts,
                probes,
                files,
                Checkpointer(machine, clock),
            ),
            store=store,
            watcher=watcher,
            supervisor=supervisor,
            clock=clock,
            publish=lambda event: _tell(event, events, rotator, upkeep),
            forget=lambda container_id: engine.forget(container_id),  # noqa: PLW0108 (likewise)
            default_runtime=next(iter(machine.flavours)),
        )
        engine = Engine(around, machine, images, rng=rng, new_id=system.new_hex_id)
        recovery = Recovery(
            engine=engine,
            machine=machine,
            store=store,
            watcher=watcher,
            control=control,
            hierarchies=hierarchies,
            clean_up=clean_up,
            volumes=volumes,
        )
        upkeep = Upkeep(engine, machine, clock)
        rotator = Rotator(upkeep.watched_logs, supervisor, clock)
        await recovery.run()
        execs_left.clear(machine.layout, supervisor)

        supervisor.spawn(rotator.run(), name="rotate logs")
        supervisor.spawn(upkeep.drop_stalled_clients(), name="drop stalled clients")
        supervisor.spawn(
            recovery.clear_orphans(images, sandboxes, clock), name="clear orphans", critical=False
        )

        server = RpcServer(NAME)
        server.add(
            container_pb2_grpc.add_ContainerServiceServicer_to_server,
            ContainerService(
                Parts(
                    engine=engine,
                    execs=Execs(machine, supervisor, clock, system.new_hex_id),
                    updates=Updates(machine, sandboxes, control, supervisor),
                    machine=machine,
                    images=images,
                    events=events,
                    hierarchies=hierarchies,
                    control=control,
                    files=files,
                    checkpoint_support=Support(
                        machine.flavours,
                        machine.spawners,
                        clock,
                        machine.layout.programs,
                        criu=config.criu_path,
                    ),
                    clock=clock,
                    draining=server.draining,
                )
            ),
            follows={"WaitContainer", "AttachContainer", "Exec", "GetLogs", "GetStats", "WatchEvents"},
        )
        server.add(
            volume_pb2_grpc.add_VolumeServiceServicer_to_server,
            VolumeService(volumes, Copies(volumes, driver, system.new_hex_id)),
        )
        server.add(
            system_pb2_grpc.add_SystemServiceServicer_to_server,
            SystemService(
                engine,
                machine,
                images,
                volumes,
                conmon_version=await _conmon_version(config.conmon),
                started_at=clock.now(),
            ),
        )
        server.listen_unix(config.run / f"{NAME}.sock", SOCKET_GROUP)
        yield [server]


async def _machine(
    config: ContainerdConfig,
    stack: contextlib.AsyncExitStack,
    hierarchies: hierarchy.Hierarchies,
    control: Control,
) -> Machine:
    """Return what this node can do, found out by trying."""
    layout = Layout(state=config.root / NAME, run=config.run / NAME)
    layout.make()
    if sharing.ensure(layout.bundles):
        _log.info("bundles_shared", directory=str(layout.bundles))
    host = hostfacts.read(
        hierarchies, apparmor=loading.enabled(), apparmor_default=await loading.load_default()
    )
    filters = Filters(config.seccomp_profile, layout.seccomp_cache, host)
    await asyncio.to_thread(filters.check)
    if not Path(config.conmon).is_file():
        raise errors.FailedPrecondition(
            f"{config.conmon} is not installed: install conmon", reason="CONMON_MISSING"
        )
    places = {**scratch.environment(layout.scratch), **program.environment(layout.programs)}
    spawners = {False: await stack.enter_async_context(Spawner(private=False, environment=places))}
    if hierarchies.hybrid:
        spawners[True] = await stack.enter_async_context(Spawner(private=True, environment=places))
    probe = Probe(
        spawners=spawners,
        layout=layout,
        control=control,
        filters=filters,
        host=host,
        cgroup_parent=config.cgroup_parent,
    )
    flavours = await probe.working(config.runtime)
    return Machine(
        layout=layout,
        host=host,
        flavours={flavour.name: flavour for flavour in flavours},
        spawners=spawners,
        filters=filters,
        conmon=config.conmon,
        cgroup_parent=config.cgroup_parent,
        boot_id=processes.boot_id(),
        log_default=LogPolicy(size_bytes_max=config.log_size_bytes(), files_max=config.log_max_files),
        userns=supply.read(config.userns, config.userns_range, config.userns_user),
        init_path=config.init_path,
    )


async def _conmon_version(conmon: str) -> str:
    completed = await subproc.run([conmon, "--version"], timeout_s=_VERSION_TIMEOUT_S)
    first = completed.stdout.decode(errors="replace").splitlines()[:1]
    return first[0].rpartition(" ")[2] if first else "unknown"


def _tell(event: Event, events: History, rotator: Rotator, upkeep: Upkeep) -> None:
    """Publish what happened to a container; a log must be watched before its container writes the first line."""
    events.publish(event)
    if event.action == Action.START and (watched := upkeep.watched_log(event.id)) is not None:
        rotator.started(watched)


def _tell_end(engine: Engine, container_id: str, event: Exited | ConmonLost) -> None:
    actor = engine.get(container_id)
    if actor is not None:
        with contextlib.suppress(
            errors.Unavailable
        ):  # the daemon is stopping: the next one reads the exit file
            actor.post(event)


def _tell_init_died(engine: Engine, container_id: str) -> None:
    actor = engine.get(container_id)
    if actor is not None:
        actor.hub.init_died()
