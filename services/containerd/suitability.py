"""What keeps this node from running a container that somebody would bring here. Looked up without making anything.

Only what can be seen beforehand: a start may still fail, and whoever moves a container is ready for that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.model import names, ports
from services.containerd.model.spec import MountKind
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.containerd.engine import Engine
    from services.containerd.model.spec import ContainerSpec

NAME, PORT, BIND, DEVICE, NAMESPACE, RUNTIME, USERNS, SPEC = (
    "name",
    "port",
    "bind",
    "device",
    "namespace",
    "runtime",
    "userns",
    "spec",
)
_REASONS = {"RUNTIME_MISSING": RUNTIME, "USERNS_NO_IDS": USERNS, "USERNS_EXHAUSTED": USERNS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that the container needs and this node does not have."""

    kind: str
    subject: str
    message: str


class Suitability:
    """Compares specifications with this node."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def problems(self, name: str, spec: ContainerSpec) -> list[Problem]:
        """Return what is in the way, in a stable order."""
        found = [*self._name(name), *self._namespaces(spec), *self._ports(spec)]
        found += await asyncio.to_thread(lambda: [*_binds(spec), *_devices(spec)])
        if not any(problem.kind == NAMESPACE for problem in found):
            try:
                self._engine.check(spec)
                self._engine.ids_for(spec)
            except errors.BeeyardError as exc:
                found.append(Problem(kind=_REASONS.get(exc.reason, SPEC), subject="", message=exc.message))
        return found

    def _name(self, name: str) -> Iterator[Problem]:
        try:
            names.check(name)
        except errors.Invalid as exc:
            yield Problem(kind=NAME, subject=name, message=exc.message)
            return
        holder = self._engine.named(name)
        if holder is not None:
            message = f"the name {name} is in use by container {holder.id[:12]}"
            yield Problem(kind=NAME, subject=name, message=message)

    def _namespaces(self, spec: ContainerSpec) -> Iterator[Problem]:
        modes = {"network": spec.network.mode, **spec.security.modes}
        for kind, mode in modes.items():
            if mode.startswith("container:"):
                reference = mode.partition(":")[2]
                try:
                    self._engine.peer(reference)
                except errors.BeeyardError:
                    message = f"it shares the {kind} namespace of container {reference[:12]}"
                    yield Problem(kind=NAMESPACE, subject=mode, message=message)

    def _ports(self, spec: ContainerSpec) -> Iterator[Problem]:
        for other in self._engine.all():
            run = other.status.run
            for bound in run.network.ports if run is not None and run.network is not None else ():
                for wanted in spec.network.ports:
                    if ports.clash(wanted, bound):
                        message = f"port {bound.host_port} is in use by container {other.record.name}"
                        yield Problem(kind=PORT, subject=str(bound.host_port), message=message)


def _binds(spec: ContainerSpec) -> Iterator[Problem]:
    for mount in spec.mounts:
        if mount.kind is MountKind.BIND and not Path(mount.source).exists():
            message = f"the path {mount.source}, which it has at {mount.target}, is not there"
            yield Problem(kind=BIND, subject=mount.source, message=message)


def _devices(spec: ContainerSpec) -> Iterator[Problem]:
    for device in spec.security.devices:
        if not Path(device.host_path).exists():
            message = f"the device {device.host_path} is not there"
            yield Problem(kind=DEVICE, subject=device.host_path, message=message)
