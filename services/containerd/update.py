"""Changing a container while it runs: limits, restart policy, published ports."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeAlias

from services.containerd import owned
from services.containerd.lifecycle import messages
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model import check
from services.containerd.model import ports as published
from services.containerd.model.events import Action
from services.containerd.model.spec import Resources
from services.containerd.model.status import Phase
from services.containerd.ocispec import resources
from services.containerd.rootfs import devices
from services.containerd.runtime import oci_cli
from services.kit import atomic, errors, log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from services.containerd.cgroups.control import Control
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.spec import ContainerSpec, PortBinding, RestartPolicy
    from services.containerd.neighbours.sandboxes import Sandboxes
    from services.kit.tasks import Supervisor

    Make: TypeAlias = Callable[[Actor, ContainerSpec], Awaitable[tuple[str, ...]]]
    """Makes a change in a run, and returns warnings."""

_log = log.get(__name__)

UPDATE_TIMEOUT_S = 30.0
START_WAIT_S = 150.0
"""How long a container that is starting is waited for."""
_POLL_S = 0.02
_DISCARDED: Mapping[str, str] = {
    "host": "Published ports are discarded when using host network mode",
    "none": "Published ports are discarded: the container has no network",
}
"""What netd says of them at a start, by network."""
_LIVE_FIELDS = frozenset(
    {
        "memory_bytes",
        "memory_reservation_bytes",
        "memory_swap_bytes",
        "cpu_shares",
        "cpu_period_us",
        "cpu_quota_us",
        "cpu_rt_period_us",
        "cpu_rt_runtime_us",
        "nano_cpus",
        "cpuset_cpus",
        "cpuset_mems",
        "pids_max",
        "blkio_weight",
    }
)
"""What Docker's `update` can change too."""


def merged(old: Resources, new: Resources) -> Resources:
    """Return the limits with those that `new` sets in place of the old ones. Pure.

    Raises:
        errors.Invalid: It sets one that cannot change in a running container.
    """
    defaults = Resources()
    changed = {
        field.name: getattr(new, field.name)
        for field in fields(Resources)
        if getattr(new, field.name) != getattr(defaults, field.name)
    }
    fixed = sorted(changed.keys() - _LIVE_FIELDS)
    if fixed:
        raise errors.Invalid(f"{fixed[0]} cannot be changed: make a new container", reason="SPEC_INVALID")
    _refuse_both_ways(old, changed)
    if "nano_cpus" in changed or changed.get("cpu_quota_us") == -1:
        changed = {"cpu_quota_us": 0, "cpu_period_us": 0, "nano_cpus": 0} | changed
    return replace(old, **changed)


def _refuse_both_ways(old: Resources, changed: Mapping[str, object]) -> None:
    """Refuse processor time limited both ways, at once or one after the other; -1 lifts either."""
    quota = changed.get("cpu_quota_us", 0)
    for field, flag in (("cpu_quota_us", "CPU Quota"), ("cpu_period_us", "CPU Period")):
        if field in changed and "nano_cpus" in changed:
            raise _conflict(f"Nano CPUs and {flag} cannot both be set")
        if changed.get(field, 0) not in (0, -1) and old.nano_cpus and quota != -1:
            raise _conflict(f"{flag} cannot be updated as NanoCPUs has already been set")
        if "nano_cpus" in changed and getattr(old, field) > 0 and old.cpu_quota_us != -1:
            raise _conflict(f"Nano CPUs cannot be updated as {flag} has already been set")


def _conflict(what: str) -> errors.Invalid:
    return errors.Invalid(f"Conflicting options: {what}", reason="SPEC_INVALID")


class Updates:
    """Changes containers, each one change at a time and to its end.

    The record is written first; when the change fails it is taken back, and what was done is undone as far as can be.
    """

    def __init__(
        self, machine: Machine, sandboxes: Sandboxes, control: Control, supervisor: Supervisor
    ) -> None:
        self._machine = machine
        self._control = control
        self._sandboxes = sandboxes
        self._supervisor = supervisor

    async def limits(self, actor: Actor, new: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
        """Change limits and restart policy; return warnings."""
        return await owned.to_its_end(self._supervisor, self._limits(actor, new, restart), "update")

    async def ports(
        self, actor: Actor, add: tuple[PortBinding, ...], remove: tuple[PortBinding, ...]
    ) -> tuple[str, ...]:
        """Change published ports; return warnings."""
        return await owned.to_its_end(self._supervisor, self._ports(actor, add, remove), "update of ports")

    async def _limits(self, actor: Actor, new: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
        async with actor.changing:
            old = actor.record.spec
            wanted = replace(old, resources=merged(old.resources, new), restart=restart or old.restart)
            resources.check(wanted.resources, self._machine.host)
            differ = wanted.resources != old.resources
            return await self._change(actor, wanted, self._apply if differ else None)

    async def _ports(
        self, actor: Actor, add: tuple[PortBinding, ...], remove: tuple[PortBinding, ...]
    ) -> tuple[str, ...]:
        async with actor.changing:
            old = actor.record.spec
            kept = functools.reduce(published.without, remove, old.network.ports)
            wanted = replace(old, network=replace(old.network, ports=(*kept, *add)))
            discarded = _DISCARDED.get(old.network.mode)
            await self._change(actor, wanted, self._publish if discarded is None else None)
            return (discarded,) if discarded is not None and add else ()

    async def _change(self, actor: Actor, wanted: ContainerSpec, make: Make | None) -> tuple[str, ...]:
        """Record a change, and make it in the run if there is one; return warnings."""
        check.check(wanted)
        old = actor.record.spec
        warnings: tuple[str, ...] = ()
        await actor.rewrite(actor.record.name, wanted)
        try:
            if make is not None and await _runs(actor):
                warnings = await make(actor, wanted)
        except Exception:
            await actor.rewrite(actor.record.name, old)
            if make is not None and actor.status.phase is Phase.UP:
                with _undoing(actor):
                    await make(actor, old)
            raise
        actor.tell(Action.UPDATE)
        return warnings

    async def _publish(self, actor: Actor, spec: ContainerSpec) -> tuple[str, ...]:
        bound = await self._sandboxes.update_ports(actor.record.id, spec, actor.record.image)
        await actor.ask(lambda ask: messages.PortsChanged(ask=ask, ports=bound))
        return ()

    async def _apply(self, actor: Actor, spec: ContainerSpec) -> tuple[str, ...]:
        machine = self._machine
        flavour = machine.flavours[actor.status.runtime]
        section, warnings = resources.section(
            spec.resources, machine.host, devices.block_numbers(spec.resources)
        )
        path = machine.layout.bundle(actor.record.id).path / "update.json"
        atomic.write(path, json.dumps(section).encode(), fsync=False)
        command = oci_cli.update(flavour, machine.layout.runtime_root, path, actor.record.id)
        code, output = await machine.spawners[flavour.private_namespace].run(
            command, timeout_s=UPDATE_TIMEOUT_S
        )
        if code != 0:
            raise errors.FailedPrecondition(oci_cli.explain(output), reason="RUNTIME_FAILED")
        cgroup = cgroup_path(actor.record, machine.cgroup_parent)
        if spec.resources.pids_max < 0:
            self._control.lift_pids(cgroup)
        if spec.resources.cpu_quota_us < 0:
            self._control.lift_cpu_quota(cgroup)
        return tuple(warnings)


async def _runs(actor: Actor) -> bool:
    """Return whether there is a run to change; one that is just starting took the specification as it was."""
    try:
        async with asyncio.timeout(START_WAIT_S):
            while actor.status.phase is Phase.STARTING:  # noqa: ASYNC110 (a phase tells nobody of its end)
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise errors.Unavailable(
            f"container {actor.record.name} is still starting; try again", reason="CONTAINER_BUSY"
        ) from None
    return actor.status.phase is Phase.UP


@contextlib.contextmanager
def _undoing(actor: Actor) -> Iterator[None]:
    """Try to take a change back that failed: the failure is what the user hears of."""
    try:
        yield
    except (errors.BeeyardError, OSError) as exc:
        _log.warning("update_not_undone", container=actor.record.id[:12], error=str(exc))
