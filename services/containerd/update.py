"""Changing a container while it runs: limits, restart policy, published ports."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from services.containerd.lifecycle import messages
from services.containerd.lifecycle.bring_up import cgroup_path
from services.containerd.model import check
from services.containerd.model.events import Action
from services.containerd.model.spec import Resources
from services.containerd.model.status import Phase
from services.containerd.ocispec import resources
from services.containerd.rootfs import devices
from services.containerd.runtime import oci_cli
from services.kit import atomic, errors

if TYPE_CHECKING:
    from services.containerd.cgroups.control import Control
    from services.containerd.lifecycle.actor import Actor
    from services.containerd.lifecycle.bring_up import Machine
    from services.containerd.model.spec import ContainerSpec, PortBinding, RestartPolicy
    from services.containerd.neighbours.sandboxes import Sandboxes

UPDATE_TIMEOUT_S = 30.0
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
    if "nano_cpus" in changed:
        changed |= {"cpu_period_us": 0, "cpu_quota_us": 0}
    elif changed.keys() & {"cpu_period_us", "cpu_quota_us"}:
        changed["nano_cpus"] = 0
    return replace(old, **changed)


class Updates:
    """Changes containers. The record is written first; when the change fails it is taken back."""

    def __init__(self, machine: Machine, sandboxes: Sandboxes, control: Control) -> None:
        self._machine = machine
        self._control = control
        self._sandboxes = sandboxes

    async def limits(self, actor: Actor, new: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
        """Change limits and restart policy; return warnings."""
        old = actor.record.spec
        wanted = replace(old, resources=merged(old.resources, new), restart=restart or old.restart)
        check.check(wanted)
        resources.check(wanted.resources, self._machine.host)
        await actor.rewrite(actor.record.name, wanted)
        warnings: tuple[str, ...] = ()
        try:
            if wanted.resources != old.resources and actor.status.phase is Phase.UP:
                warnings = await self._apply(actor, wanted)
        except BaseException:
            await actor.rewrite(actor.record.name, old)
            raise
        actor.tell(Action.UPDATE)
        return warnings

    async def ports(
        self, actor: Actor, add: tuple[PortBinding, ...], remove: tuple[PortBinding, ...]
    ) -> None:
        """Change published ports."""
        old = actor.record.spec
        gone = {_key(port) for port in remove}
        kept = tuple(port for port in old.network.ports if _key(port) not in gone)
        wanted = replace(old, network=replace(old.network, ports=(*kept, *add)))
        check.check(wanted)
        await actor.rewrite(actor.record.name, wanted)
        try:
            if actor.status.phase is Phase.UP:
                bound = await self._sandboxes.update_ports(actor.record.id, wanted, actor.record.image)
                await actor.ask(lambda ask: messages.PortsChanged(ask=ask, ports=bound))
        except BaseException:
            await actor.rewrite(actor.record.name, old)
            raise
        actor.tell(Action.UPDATE)

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
        if spec.resources.pids_max < 0:
            self._control.lift_pids(cgroup_path(actor.record, machine.cgroup_parent))
        return tuple(warnings)


def _key(port: PortBinding) -> tuple[int, str, str]:
    return port.container_port, port.protocol or "tcp", port.host_ip
