"""All containers of the daemon: finding, creating, and the calls that concern one of them."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from services.containerd import owned
from services.containerd.lifecycle import faults, joining, messages
from services.containerd.lifecycle.actor import Actor
from services.containerd.logs import journald
from services.containerd.logs import options as log_options
from services.containerd.model import check, names, ports
from services.containerd.model.events import Action
from services.containerd.model.status import Phase, Record, State, Status
from services.containerd.ocispec import capabilities, devices, honoured, resolve, resources, rlimits
from services.containerd.runtime import signals
from services.containerd.streams.control import ControlFifo
from services.containerd.streams.hub import Hub
from services.containerd.userns import choice
from services.containerd.volumes.core import settle
from services.kit import errors
from services.kit import names as inventing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from services.containerd.lifecycle.actor import Exit, Surroundings
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.lifecycle.work import Images
    from services.containerd.model.idmap import IdMap
    from services.containerd.model.image import ImageConfig
    from services.containerd.model.mounts import MountPoint
    from services.containerd.model.spec import ContainerSpec
    from services.containerd.model.status import Health
    from services.kit.seams import NewId, Rng

CONTAINERS_MAX = 10_000
GONE_MAX = 1_000
"""The ends of so many containers that were removed are kept in mind, for those who waited when the daemon died."""
REQUEST_ID_CHARS_MAX = 128
HOLDER_CHARS_MAX = 128
PREFIX_CHARS_MIN = 1
CLEAN_UP_WAIT_S = 5.0
CHECKPOINT_POLL_S = 0.05
NAME_WAIT_S = 15.0
"""How long a new container waits for a name whose holder is being removed."""


class Engine:
    """The containers.

    Args:
        around: What every container works with.
        machine: What is known of this node.
        images: The image store.
    """

    def __init__(
        self, around: Surroundings, machine: Machine, images: Images, *, rng: Rng, new_id: NewId
    ) -> None:
        self._around = around
        self._machine = machine
        self._images = images
        self._rng = rng
        self._new_id = new_id
        self._actors: dict[str, Actor] = {}
        self._ids: dict[str, str] = {}
        self._requests: dict[str, str] = {}
        self._gone: collections.OrderedDict[str, Exit] = collections.OrderedDict()

    def adopt(self, record: Record) -> Actor:
        """Take a container on: a recorded one at the start, a new one from `create`."""
        directory = self._machine.layout.bundle(record.id).path
        clock = self._around.clock
        actor = Actor(record, self._around, Hub(clock), ControlFifo(directory, clock))
        self._actors[record.id] = actor
        self._ids[record.name] = record.id
        if record.request_id:
            self._requests[record.request_id] = record.id
        return actor

    def forget(self, container_id: str) -> None:
        """Drop a container that is gone."""
        actor = self._actors.pop(container_id)
        if actor.status.finished_at is not None:
            self._gone[container_id] = actor.last_exit()
            if len(self._gone) > GONE_MAX:
                self._gone.popitem(last=False)
        if self._ids.get(actor.record.name) == container_id:
            del self._ids[actor.record.name]
        self._requests.pop(actor.record.request_id, None)

    def exit_of_gone(self, container_id: str) -> Exit | None:
        """Return how a container ended that was removed a while ago, None if that is not known any more."""
        return self._gone.get(container_id)

    def all(self) -> Iterable[Actor]:
        """Return the containers that exist for users, in no order."""
        return [actor for actor in self._actors.values() if actor.visible]

    def records(self) -> list[Record]:
        """Return the records of all containers, those under creation and removal included."""
        return [actor.record for actor in self._actors.values()]

    def get(self, container_id: str) -> Actor | None:
        """Return a container by its full id."""
        return self._actors.get(container_id)

    def find(self, reference: str) -> Actor:
        """Return the container that an id, a name or a unique prefix of an id names, in this order.

        Raises:
            errors.NotFound: None (CONTAINER_NOT_FOUND).
            errors.Invalid: More than one (REFERENCE_AMBIGUOUS), or the reference is empty (REFERENCE_EMPTY).
        """
        if not reference:
            raise errors.Invalid("the name of a container is empty", reason="REFERENCE_EMPTY")
        actor = self._actors.get(reference) or self._actors.get(
            self._ids.get(reference.removeprefix("/"), "")
        )
        if actor is None and len(reference) >= PREFIX_CHARS_MIN:
            matching = [key for key in self._actors if key.startswith(reference)]
            if len(matching) > 1:
                raise errors.Invalid(
                    f"more than one container's id begins with {reference}", reason="REFERENCE_AMBIGUOUS"
                )
            actor = self._actors[matching[0]] if matching else None
        if actor is None or not actor.visible:
            raise _no_such(reference)
        return actor

    async def clean_ups_done(self) -> bool:
        """Wait, not for ever, until no run is being taken down; return whether one was.

        An end is told before what the run held is given back; who then finds a port taken asks here.
        """
        deadline = self._around.clock.monotonic() + CLEAN_UP_WAIT_S
        waited = False
        while any(actor.status.phase is Phase.CLEANING for actor in self._actors.values()):
            if self._around.clock.monotonic() >= deadline:
                break
            waited = True
            await self._around.clock.sleep(0.02)
        return waited

    def named(self, name: str) -> Record | None:
        """Return the record of the container that has a name, also while it is being made or removed."""
        actor = self._named(name)
        return actor.record if actor is not None else None

    def peer(self, reference: str) -> Record:
        """Return the record of a container that another one shares namespaces with."""
        return self.find(reference).record

    async def create(
        self, name: str, spec: ContainerSpec, *, request_id: str = "", image_id: str = ""
    ) -> Actor:
        """Make a container, of another image than its specification names if `image_id` says so.

        Raises:
            errors.BeeyardError: See the RPC.
        """
        if len(request_id) > REQUEST_ID_CHARS_MAX:
            raise errors.Invalid(f"the request id is longer than {REQUEST_ID_CHARS_MAX} characters")
        if name:
            name = names.given(name)
        if (again := self._repeated(request_id)) is not None and not await self._undone(again):
            return await self._created(again)
        spec = choice.settled(self._pinned(spec), self._machine.userns)
        self.check(spec)
        self.ids_for(spec)  # what cannot be had is said before anything is fetched
        image = await self._images.config(image_id or spec.image, "" if image_id else spec.platform)
        resolve.command(spec, image)
        resolve.workdir(spec, image)
        resolve.check_health(spec, image)
        signals.number(resolve.stop_signal(spec, image))
        if spec.network.publish_all:
            ports.check_publish_all({*image.exposed_ports, *spec.network.expose})
        if name:
            await self._until_free(name)
        making = self._made(name, spec, image, request_id)
        return await owned.to_its_end(self._around.supervisor, making, "create")

    async def _made(self, name: str, spec: ContainerSpec, image: ImageConfig, request_id: str) -> Actor:
        # Until the record is being written nothing is awaited: names and requests are checked and taken in one step.
        if (again := self._repeated(request_id)) is not None:
            return await self._created(again)
        if name:
            self._check_free(name)
        ids = self.ids_for(spec)
        mounts = settle.settle(spec.mounts, image.volumes, self._sources(spec), self._new_id)
        actor = self.adopt(self._new_record(name, spec, image, mounts, request_id, ids))
        async with actor.changing:  # who repeats the call waits here
            try:
                await self._around.store.insert(actor.record)
            except BaseException:
                self.forget(actor.record.id)
                raise
        faults.reached("create.recorded")
        await actor.ask(lambda ask: messages.CreateAsked(ask=ask))
        return actor

    def warnings(self, spec: ContainerSpec) -> tuple[str, ...]:
        """Return what of a specification cannot be had fully on this node."""
        host = self._machine.host
        _, limits = resources.section(spec.resources, host, collections.defaultdict(lambda: (0, 0)))
        _, ulimits = rlimits.section(spec.resources.ulimits, host.hard_limits)
        unused = ("published ports are discarded: the container has the node's own network",)
        return (*limits, *ulimits, *(unused if spec.network.mode == "host" and spec.network.ports else ()))

    async def start(self, actor: Actor, *, holder: str = "") -> int:
        """Start it; return the pid of its init."""
        await actor.ask(lambda ask: messages.StartAsked(ask=ask, holder=holder))
        return actor.status.run.init.pid if actor.status.run is not None else 0

    async def restore(self, actor: Actor, checkpoint: Path, *, holder: str = "") -> int:
        """Start it from a checkpoint; return the pid of its init."""
        await actor.ask(lambda ask: messages.StartAsked(ask=ask, holder=holder, checkpoint=str(checkpoint)))
        return actor.status.run.init.pid if actor.status.run is not None else 0

    async def checkpoint(self, actor: Actor, checkpoint: Path, *, leave_running: bool) -> None:
        """Make a checkpoint; returns when it is on the disk, and nothing of the run is left unless it runs on."""
        await actor.ask(
            lambda ask: messages.CheckpointAsked(
                ask=ask, directory=str(checkpoint), leave_running=leave_running
            )
        )

    async def checkpointed(self, actor: Actor) -> None:
        """Return when no checkpoint of it is being made."""
        while actor.status.checkpointing:
            await self._around.clock.sleep(CHECKPOINT_POLL_S)

    async def stop(self, actor: Actor, *, signal: str, grace_s: float | None) -> None:
        """Stop it; returns when it does not run."""
        name, grace = self._stop_of(actor, signal, grace_s)
        await actor.ask(lambda ask: messages.StopAsked(ask=ask, signal=name, grace_s=grace))

    async def restart(self, actor: Actor, *, signal: str, grace_s: float | None) -> None:
        """Stop and start it; returns when it runs."""
        name, grace = self._stop_of(actor, signal, grace_s)
        await actor.ask(lambda ask: messages.RestartAsked(ask=ask, signal=name, grace_s=grace))
        actor.tell(Action.RESTART)

    async def kill(self, actor: Actor, signal: str) -> None:
        """Send one signal. SIGKILL and the stop signal are meant to end it."""
        name = signals.normalize(signal or "SIGKILL")
        stop_signal = signals.normalize(resolve.stop_signal(actor.record.spec, actor.record.image))
        final = name in ("SIGKILL", stop_signal)
        await actor.ask(lambda ask: messages.KillAsked(ask=ask, signal=name, final=final))

    async def pause(self, actor: Actor) -> None:
        """Freeze it."""
        await actor.ask(lambda ask: messages.PauseAsked(ask=ask))

    async def unpause(self, actor: Actor) -> None:
        """Thaw it."""
        await actor.ask(lambda ask: messages.UnpauseAsked(ask=ask))

    async def check_health(self, actor: Actor) -> Health:
        """Run its health check now; return its health, with the result as the newest."""
        await actor.ask(lambda ask: messages.CheckAsked(ask=ask))
        assert actor.status.health is not None, "what was checked has a health"
        return actor.status.health

    async def remove(self, actor: Actor, *, force: bool, volumes: bool, holder: str = "") -> None:
        """Remove it; returns when nothing of it is left."""
        await actor.ask(
            lambda ask: messages.RemoveAsked(ask=ask, force=force, volumes=volumes, holder=holder)
        )

    async def hold(self, actor: Actor, holder: str) -> None:
        """Keep it for one holder, who alone starts or removes it until the release."""
        if not holder or len(holder) > HOLDER_CHARS_MAX:
            raise errors.Invalid(f"a holder is named by 1 to {HOLDER_CHARS_MAX} characters")
        await actor.ask(lambda ask: messages.HoldAsked(ask=ask, holder=holder))

    async def release(self, actor: Actor, holder: str, *, force: bool) -> None:
        """End a hold."""
        await actor.ask(lambda ask: messages.ReleaseAsked(ask=ask, holder=holder, force=force))

    async def rename(self, actor: Actor, name: str) -> None:
        """Give it another name."""
        name = names.given(name)
        await owned.to_its_end(self._around.supervisor, self._renamed(actor, name), "rename")

    async def _renamed(self, actor: Actor, name: str) -> None:
        async with actor.changing:
            if self._ids.get(name) == actor.record.id:
                raise errors.Invalid(f"the container is named {name} already", reason="SPEC_INVALID")
            await self._until_free(name)
            if self._actors.get(actor.record.id) is not actor:
                raise _no_such(actor.record.name)
            old = actor.record.name
            self._ids[name] = actor.record.id
            try:
                await actor.rewrite(name, actor.record.spec)
            except Exception:
                del self._ids[name]
                raise
            self._ids.pop(old, None)
            if self._actors.get(actor.record.id) is not actor:  # removed meanwhile: what it had is free
                self._ids.pop(name, None)
                raise _no_such(old)
            actor.tell(Action.RENAME, oldName=old)

    def _pinned(self, spec: ContainerSpec) -> ContainerSpec:
        """Return the specification with other containers named by id: their names may change hands.

        Raises:
            errors.NotFound: There is no such container.
        """

        def pinned(mode: str) -> str:
            kind, separator, reference = mode.partition(":")
            return (
                f"container:{self.find(reference).record.id}" if kind == "container" and separator else mode
            )

        def pinned_source(text: str) -> str:
            name, _ = settle.parse_source(text)
            return self.find(name).record.id + text[len(name) :]

        modes = {kind: pinned(mode) for kind, mode in spec.security.modes.items()}
        security = replace(
            spec.security, pid=modes["pid"], ipc=modes["ipc"], uts=modes["uts"], cgroupns=modes["cgroup"]
        )
        return replace(
            spec,
            security=security,
            network=replace(spec.network, mode=pinned(spec.network.mode)),
            volumes_from=tuple(pinned_source(text) for text in spec.volumes_from),
        )

    def _sources(self, spec: ContainerSpec) -> list[settle.Source]:
        """Return the mounts of the containers that --volumes-from names."""
        sources: list[settle.Source] = []
        for text in spec.volumes_from:
            name, modes = settle.parse_source(text)
            sources.append(settle.Source(points=self.find(name).record.mounts, read_only="ro" in modes))
        return sources

    def check(self, spec: ContainerSpec) -> None:
        """Refuse what can be seen to fail without looking at the image."""
        check.check(spec)
        honoured.check(spec, self._machine.host)
        resources.check(spec.resources, self._machine.host)
        rlimits.check(spec.resources.ulimits)
        devices.check_rules(spec.security.device_cgroup_rules)
        journald.check(log_options.resolve(spec.log, self._machine.log_default))
        capabilities.resolve(
            add=spec.security.cap_add,
            drop=spec.security.cap_drop,
            privileged=spec.security.privileged,
            available=self._machine.host.capabilities,
        )
        if spec.runtime and spec.runtime not in self._machine.flavours:
            known = ", ".join(self._machine.flavours)
            raise errors.Invalid(
                f"unknown runtime {spec.runtime!r}: this node has {known}", reason="SPEC_INVALID"
            )
        if len(self._actors) >= CONTAINERS_MAX:
            raise errors.Exhausted(
                f"this node has {CONTAINERS_MAX} containers already", reason="TOO_MANY_CONTAINERS"
            )

    def ids_for(self, spec: ContainerSpec) -> IdMap | None:
        """Return the node's ids that a new container gets; its record keeps them from everybody else."""
        if spec.security.ipc.startswith("container:"):
            joining.check_ipc(self.peer(spec.security.ipc.partition(":")[2]))
        owners = [self.peer(reference) for reference in choice.owners_of(spec)]
        statuses = (actor.status for actor in self._actors.values())
        return choice.decide(
            spec,
            {owner.name: owner.status.ids for owner in owners},
            self._machine.userns,
            [status.ids for status in statuses if status.ids is not None],
        )

    def _new_record(
        self,
        name: str,
        spec: ContainerSpec,
        image: ImageConfig,
        mounts: tuple[MountPoint, ...],
        request_id: str,
        ids: IdMap | None,
    ) -> Record:
        attempt = 0
        while not name or name in self._ids:
            name = inventing.invent(self._rng, attempt=attempt)
            attempt += 1
        return Record(
            id=self._new_id(),
            name=name,
            created_at=self._around.clock.now(),
            spec=spec,
            image=image,
            request_id=request_id,
            mounts=mounts,
            status=Status(runtime=spec.runtime or self._around.default_runtime, ids=ids),
        )

    def _repeated(self, request_id: str) -> Actor | None:
        return self._actors.get(self._requests.get(request_id, "")) if request_id else None

    async def _created(self, actor: Actor) -> Actor:
        """Return a container that an earlier call with the same request id makes, or has made."""
        if not actor.visible:
            async with actor.changing:  # its record is on disk, or it is forgotten
                pass
            if self._actors.get(actor.record.id) is not actor:
                raise errors.Unavailable("the creation has failed; try again", reason="CREATE_FAILED")
            await actor.ask(lambda ask: messages.CreateAsked(ask=ask))
        return actor

    async def _undone(self, actor: Actor) -> bool:
        """Return whether a creation was never acknowledged and is taken back, as after a crash; wait until it is."""
        if actor.visible or actor.status.phase is not Phase.REMOVING:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NAME_WAIT_S):
                await actor.gone()
        return True

    async def _until_free(self, name: str) -> None:
        """Return when no container has the name; one that is going away is waited for.

        Raises:
            errors.AlreadyExists: It is in use (NAME_IN_USE).
        """
        try:
            async with asyncio.timeout(NAME_WAIT_S):
                while (leaving := self._named(name)) is not None and _is_leaving(leaving):
                    await leaving.gone()
        except TimeoutError:
            pass
        self._check_free(name)

    def _check_free(self, name: str) -> None:
        holder = self._named(name)
        if holder is not None:
            raise errors.AlreadyExists(
                f"the name {name} is in use by container {holder.record.id[:12]}: remove or rename that one",
                reason="NAME_IN_USE",
                metadata={"container": holder.record.id},
            )

    def _named(self, name: str) -> Actor | None:
        return self._actors.get(self._ids.get(name, ""))

    def _stop_of(self, actor: Actor, signal: str, grace_s: float | None) -> tuple[str, float]:
        record = actor.record
        name = signals.normalize(signal or resolve.stop_signal(record.spec, record.image))
        return name, resolve.stop_grace_s(record.spec) if grace_s is None else grace_s


def _no_such(reference: str) -> errors.NotFound:
    return errors.NotFound(f"no such container: {reference[:80]}", reason="CONTAINER_NOT_FOUND")


def _is_leaving(actor: Actor) -> bool:
    status = actor.status
    ending = actor.record.spec.auto_remove and status.phase is Phase.CLEANING
    return (
        status.phase is Phase.REMOVING or ending or (status.remove_wanted and status.state is not State.DEAD)
    )
