"""Which OCI runtimes work here, found out by using them.

`create` is called with an empty root and a program that is not there. Only a runtime that has made namespaces, mounts,
limits and the seccomp filter gets as far as looking for the program: an error that names it proves all of them. No
image is needed, and it takes 12 ms with crun, 30 with runc.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.model.image import ImageConfig
from services.containerd.model.spec import ContainerSpec, Resources
from services.containerd.ocispec.build import build
from services.containerd.ocispec.capabilities import DEFAULT
from services.containerd.ocispec.facts import Placement
from services.containerd.runtime import oci_cli
from services.containerd.runtime.flavour import Flavour, Kind
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.containerd.cgroups.control import Control
    from services.containerd.ocispec.facts import HostFacts
    from services.containerd.runtime.layout import Layout
    from services.containerd.runtime.spawn import Spawner
    from services.containerd.seccomp.filters import Filters

_log = log.get(__name__)

PROBE_TIMEOUT_S = 20.0
_PREFIX = "probe-"
_MISSING = "/beeyard-probe-of-the-runtime"
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Probe:
    """Tries runtimes.

    Args:
        spawners: By `private_namespace`; one that is missing is not tried.
    """

    def __init__(
        self,
        *,
        spawners: Mapping[bool, Spawner],
        layout: Layout,
        control: Control,
        filters: Filters,
        host: HostFacts,
        cgroup_parent: str,
    ) -> None:
        self._spawners = spawners
        self._layout = layout
        self._control = control
        self._filters = filters
        self._host = host
        self._parent = f"/{cgroup_parent}"
        self._cgroup = f"/{cgroup_parent}/{_PREFIX}{os.getpid()}"

    async def working(self, wanted: str) -> tuple[Flavour, ...]:
        """Return the runtimes that work, best first.

        Args:
            wanted: "auto", or the name or path of the one that is to be the default.

        Raises:
            errors.FailedPrecondition: The wanted one, or with "auto" every one, does not work; says why.
        """
        await self._sweep()
        found: list[Flavour] = []
        refused: dict[str, str] = {}
        names = ["crun", "runc"] if wanted in ("auto", "crun", "runc") else [wanted, "crun", "runc"]
        for name in names:
            path = shutil.which(name, path=_SEARCH)
            if path is None:
                refused[name] = "it is not installed"
                continue
            kind = Kind.RUNC if "runc" in Path(path).name else Kind.CRUN
            flavour, reason = await self._try(Flavour(name=name, path=path, kind=kind))
            if flavour is not None:
                found.append(flavour)
            else:
                refused[name] = reason
        for flavour in found:
            _log.info(
                "runtime_works",
                runtime=flavour.name,
                version=flavour.version,
                private_namespace=flavour.private_namespace,
                compiled_seccomp=flavour.compiled_seccomp,
            )
        for name, reason in refused.items():
            _log.info("runtime_refused", runtime=name, reason=reason)
        if wanted != "auto":
            found.sort(key=lambda flavour: flavour.name != wanted)
        if not found or (wanted != "auto" and found[0].name != wanted):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
            raise errors.FailedPrecondition(f"no usable OCI runtime ({reasons})", reason="RUNTIME_MISSING")
        return tuple(found)

    async def _sweep(self) -> None:
        """Remove what a daemon left that was killed while it probed."""
        for name in self._control.below(self._parent):
            owner = name.removeprefix(_PREFIX)
            if name != owner and not Path("/proc", owner).exists():
                await self._control.kill(f"{self._parent}/{name}")
                await self._control.remove(f"{self._parent}/{name}")
        for directory in (self._layout.run, self._layout.runtime_root):
            for leftover in directory.glob(f"{_PREFIX}*"):
                shutil.rmtree(leftover, ignore_errors=True)

    async def _try(self, flavour: Flavour) -> tuple[Flavour | None, str]:
        """Return the flavour as it works, or why it does not."""
        reason = ""
        candidates = [flavour]
        if flavour.kind is Kind.CRUN:
            candidates.append(replace(flavour, private_namespace=True))
        for candidate in candidates:
            if candidate.private_namespace not in self._spawners:
                continue
            spawner = self._spawners[candidate.private_namespace]
            reason = await self._create(candidate, spawner, compiled=False)
            if reason:
                continue
            _, output = await spawner.run(oci_cli.version(candidate), timeout_s=PROBE_TIMEOUT_S)
            works = replace(candidate, version=oci_cli.parse_version(output))
            if works.kind is Kind.CRUN and not await self._create(candidate, spawner, compiled=True):
                works = replace(works, compiled_seccomp=True)
            return works, ""
        return None, reason

    async def _create(self, flavour: Flavour, spawner: Spawner, *, compiled: bool) -> str:
        """Return why it does not work, empty if it does."""
        bundle = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._layout.run))
        container_id = bundle.name
        try:
            (bundle / "rootfs").mkdir()
            seccomp = self._filters.default(DEFAULT)
            if not compiled:
                seccomp = replace(seccomp, bpf_base64="")
            placement = Placement(
                container_id=container_id,
                rootfs=str(bundle / "rootfs"),
                cgroup_path=self._cgroup,
                netns_path="",
                hostname="probe",
                seccomp=seccomp,
            )
            spec = ContainerSpec(
                entrypoint=(_MISSING,),
                resources=Resources(memory_bytes=64 << 20, nano_cpus=10**9, pids_max=16),
            )
            config = build(spec, ImageConfig(), placement, self._host).config
            (bundle / "config.json").write_text(json.dumps(config), encoding="utf-8")
            root = self._layout.runtime_root
            code, output = await spawner.run(
                oci_cli.create(flavour, root, bundle, container_id), timeout_s=PROBE_TIMEOUT_S
            )
            if code != 0 and _MISSING in output:
                return ""
            await spawner.run(oci_cli.delete(flavour, root, container_id), timeout_s=PROBE_TIMEOUT_S)
            return oci_cli.explain(output)
        except errors.Unavailable as exc:
            return exc.message
        finally:
            await self._control.remove(self._cgroup)
            shutil.rmtree(bundle, ignore_errors=True)
            shutil.rmtree(self._layout.runtime_state(container_id), ignore_errors=True)
