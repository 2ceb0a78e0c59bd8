"""Acquiring a run: network, root file system, configuration, and the runtime's create.

Nothing here is undone on failure: the automaton orders the clean-up, the same after a failure and after a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.apparmor import loading
from services.containerd.cgroups import hierarchy
from services.containerd.checkpoint import restoring, said, store
from services.containerd.kernel import mountinfo, processes
from services.containerd.lifecycle import faults, joining
from services.containerd.lifecycle.work import BringUpError
from services.containerd.logs import files as log_files
from services.containerd.logs import options as log_options
from services.containerd.model import inline
from services.containerd.model.spec import MountKind
from services.containerd.model.status import NetworkStatus, Run
from services.containerd.neighbours import sandboxes
from services.containerd.ocispec import capabilities, resolve, user
from services.containerd.ocispec.build import build
from services.containerd.ocispec.facts import Placement
from services.containerd.ocispec.process import UNCONFINED, has_init
from services.containerd.rootfs import binds, devices, mounting
from services.containerd.rootfs.inside import Inside
from services.containerd.runtime import conmon, oci_cli
from services.containerd.runtime.conmon import CreateFailed, Streams
from services.containerd.slots import Slots
from services.containerd.userns import null, place
from services.kit import atomic, errors, log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from beeyard.network.v1.sandbox_pb2 import SandboxSpec
    from services.containerd.model.status import Record
    from services.containerd.neighbours.images import Images
    from services.containerd.neighbours.sandboxes import Sandboxes
    from services.containerd.ocispec.facts import BoundFile, HostFacts, Identity, Seccomp, Section
    from services.containerd.rootfs.mounting import RootMount
    from services.containerd.runtime.flavour import Flavour
    from services.containerd.runtime.layout import Bundle, Layout
    from services.containerd.runtime.spawn import Spawner
    from services.containerd.seccomp.filters import Filters
    from services.containerd.slots import Slot
    from services.containerd.userns.choice import Supply
    from services.containerd.volumes.mounts import ContainerMounts

_log = log.get(__name__)

STARTS_MAX = 4
"""So many starts at once: more gain little throughput and double the latency of each."""
CREATE_S_MAX = 1.5
"""A runtime that takes longer to create a container, or volumes that take longer to be mounted, wait for something, and
the next start need not wait for it."""
IN_FLIGHT_MAX = 96
"""So many starts with those whose runtime or mounts take longer: a runtime that hangs costs little but its memory."""
_CRIU_OPTIONS = "criu.conf"
_RESTORE_LOG = "restore.log"
"""CRIU's, which conmon has put into the bundle."""
_PASSWD, _GROUP = "/etc/passwd", "/etc/group"
_INIT_PATHS = ("/usr/bin/tini-static", "/usr/libexec/podman/catatonit", "/usr/bin/docker-init")
_TAKEN = frozenset({"PORT_IN_USE", "ADDRESS_IN_USE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of this node a start uses; the same for all containers."""

    layout: Layout
    host: HostFacts
    flavours: Mapping[str, Flavour]
    spawners: Mapping[bool, Spawner]
    filters: Filters
    conmon: str
    cgroup_parent: str
    boot_id: str
    log_default: log_options.LogPolicy
    userns: Supply
    init_path: str = ""


class BringUp:
    """Acquires runs.

    Args:
        mounts: Puts in place what is mounted into the root.
        peer: Returns the record of another container, for namespaces that are shared with it.
        clean_ups_done: Waits until runs that have ended hold nothing any more; returns whether there were any.
    """

    def __init__(
        self,
        machine: Machine,
        images: Images,
        sandboxes_: Sandboxes,
        mounts: ContainerMounts,
        peer: Callable[[str], Record],
        clean_ups_done: Callable[[], Awaitable[bool]],
    ) -> None:
        self._machine = machine
        self._images = images
        self._sandboxes = sandboxes_
        self._mounts = mounts
        self._peer = peer
        self._clean_ups_done = clean_ups_done
        self._slots = Slots(STARTS_MAX, in_flight_max=IN_FLIGHT_MAX)

    async def __call__(self, record: Record, *, checkpoint: str = "") -> Run:
        """Acquire a run of a container; with the directory of a checkpoint, its processes go on from that.

        Raises:
            BringUpError: Why not.
        """
        async with self._slots.take(record.id) as slot:
            try:
                return await self._acquire(record, checkpoint, slot)
            except CreateFailed as exc:
                if checkpoint:
                    log_file = self._machine.layout.bundle(record.id).path / _RESTORE_LOG
                    why = await asyncio.to_thread(said.why, log_file, exc.message)
                    raise BringUpError(why, oci_cli.EXIT_DAEMON) from exc
                argv = resolve.command(record.spec, record.image).argv
                message = oci_cli.explain(exc.message)
                raise BringUpError(message, oci_cli.start_exit_code(exc.message, argv[0])) from exc
            except errors.BeeyardError as exc:
                raise BringUpError(exc.message, oci_cli.EXIT_DAEMON) from exc
            except OSError as exc:
                raise BringUpError(f"cannot start the container: {exc}", oci_cli.EXIT_DAEMON) from exc

    async def _acquire(self, record: Record, checkpoint: str, slot: Slot) -> Run:
        machine, container_id = self._machine, record.id
        flavour = machine.flavours.get(record.status.runtime)
        if flavour is None:
            raise errors.FailedPrecondition(
                f"the runtime {record.status.runtime} does not work on this node", reason="RUNTIME_MISSING"
            )
        named = record.spec.security.apparmor
        if named not in ("", UNCONFINED) and not loading.loaded(named):
            raise errors.FailedPrecondition(
                f"--security-opt apparmor={named}: no such profile is loaded on this node (apparmor_parser loads them)",
                reason="APPARMOR_PROFILE_MISSING",
            )
        for file in record.spec.files:
            inline.content(file)  # one that is gone is said before anything is acquired
        owners = joining.owners(record, self._peer)
        bundle = machine.layout.bundle(container_id)
        for directory in (bundle.path, bundle.rootfs, bundle.persist, machine.layout.directory(container_id)):
            directory.mkdir(mode=0o700, exist_ok=True)
        if record.status.ids is not None:
            await asyncio.to_thread(
                place.prepare,
                machine.layout,
                bundle,
                record.status.ids,
                flavour,
                joining.owner_pid(record, self._peer),
            )
        origin = await asyncio.to_thread(store.describe, Path(checkpoint)) if checkpoint else None
        network, mounts = await self._neighbours(record, origin)
        faults.reached("start.sandbox")
        async with self._placed(record, bundle, network, mounts, slot) as placement:
            faults.reached("start.mounted")
            built = build(record.spec, record.image, placement, machine.host)
            for warning in built.warnings:
                _log.info("container_warning", container=container_id, warning=warning)
            config = built.config
            if origin is not None:
                config = await asyncio.to_thread(self._adapted, record, config, bundle, network, origin)
            atomic.write(bundle.config, json.dumps(config).encode(), fsync=False)
            faults.reached("start.bundled")
            spawner = machine.spawners[flavour.private_namespace]
            await spawner.see([bind.source for bind in placement.binds])
            arguments = conmon.argv(
                machine.conmon,
                flavour,
                machine.layout,
                container_id,
                name=record.name,
                streams=self._streams(record),
                checkpoint=checkpoint,
            )
            timeout_s = conmon.RESTORE_TIMEOUT_S if checkpoint else conmon.CREATE_TIMEOUT_S
            arguments = null.wrap(arguments, bundle, private_namespace=flavour.private_namespace)
            with slot.left_after(CREATE_S_MAX):
                pid = await conmon.create(spawner, arguments, bundle, timeout_s=timeout_s)
            joining.check_owners(owners)
            place.give_streams(pid, record.status.ids, placement.identity)
        faults.reached("start.created")
        return self._run(bundle, pid, network)

    def _run(self, bundle: Bundle, pid: int, network: NetworkStatus) -> Run:
        init = processes.reference(pid)
        conmon_pid = conmon.read_pid(bundle.conmon_pidfile)
        conmon_process = processes.reference(conmon_pid) if conmon_pid is not None else None
        if init is None or conmon_process is None:
            raise errors.Internal(
                "the container's processes died right after they were made", reason="RUNTIME_FAILED"
            )
        return Run(init=init, conmon=conmon_process, boot_id=self._machine.boot_id, network=network)

    def _adapted(
        self,
        record: Record,
        config: Section,
        bundle: Bundle,
        network: NetworkStatus,
        origin: store.Description,
    ) -> Section:
        """Return the configuration for a restore, and make what it names."""
        options = None
        moved = record.spec.network.mode == "host" and origin.boot_id != self._machine.boot_id
        if moved or not restoring.keeps_connections(origin.addresses, network):
            options = bundle.path / _CRIU_OPTIONS
            options.write_text(restoring.CLOSE_CONNECTIONS)
        relative = cgroup_path(record, self._machine.cgroup_parent).lstrip("/")
        groups = [root / relative for root in dict.fromkeys(hierarchy.find(mountinfo.read()).v1.values())]
        shared = any("shared" in point.mount.propagation for point in record.mounts)
        if not bundle.null.exists() and not shared:  # with the node it would have no mount that others see
            null.make(bundle)
        return restoring.adapt(config, groups, options=options)

    async def _neighbours(
        self, record: Record, origin: store.Description | None
    ) -> tuple[NetworkStatus, tuple[RootMount, ...]]:
        """Ask netd and imaged at the same time. One that is restored gets its addresses back, if they are free."""
        if record.spec.network.mode.startswith("container:"):
            network = joining.network(record, self._peer)
            return network, await self._images.mounts(record.id)
        name = hostname(record, self._peer)
        wanted = sandboxes.spec_to_pb(record.spec, record.image, name=record.name, hostname=name)
        if record.status.ids is not None:
            wanted.user_namespace_path = str(self._machine.layout.bundle(record.id).user_namespace)
        try:
            async with asyncio.TaskGroup() as group:
                made = group.create_task(self._sandbox(record.id, wanted, origin))
                mounts = group.create_task(self._images.mounts(record.id))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return made.result(), mounts.result()

    async def _sandbox(
        self, container_id: str, wanted: SandboxSpec, origin: store.Description | None
    ) -> NetworkStatus:
        """Make the sandbox; a port or address of a container that has just ended is waited for."""
        if origin is not None and (same := sandboxes.at_addresses(wanted, origin.addresses)) != wanted:
            try:
                return await self._sandboxes.create(container_id, same)
            except errors.Unavailable:
                raise
            except errors.BeeyardError as exc:
                _log.info("restore_at_other_address", container=container_id, reason=exc.message)
        try:
            return await self._sandboxes.create(container_id, wanted)
        except errors.BeeyardError as exc:
            if exc.reason not in _TAKEN or not await self._clean_ups_done():
                raise
        return await self._sandboxes.create(container_id, wanted)

    @contextlib.asynccontextmanager
    async def _placed(
        self,
        record: Record,
        bundle: Bundle,
        network: NetworkStatus,
        mounts: tuple[RootMount, ...],
        slot: Slot,
    ) -> AsyncIterator[Placement]:
        """Mount the root and look up everything that the configuration needs."""
        with contextlib.ExitStack() as opened:
            netns_path = network.netns_path or None
            if netns_path and self._machine.flavours[record.status.runtime].private_namespace:
                # By descriptor: this runtime lives in a mount namespace that does not see netd's mounts. The others
                # get the path, which they still need when they make a checkpoint.
                fd = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
                opened.callback(os.close, fd)
                netns_path = f"/proc/{os.getpid()}/fd/{fd}"
            bound: tuple[BoundFile, ...] = ()
            if record.mounts:
                await asyncio.to_thread(_mount_root, record, bundle, mounts)
                flavour = self._machine.flavours[record.status.runtime]
                with slot.left_after(CREATE_S_MAX):  # a server may not answer
                    bound = await self._mounts.bring(
                        record, bundle, private_namespace=flavour.private_namespace
                    )
                mounts = ()
            placement = await asyncio.to_thread(self._place, record, bundle, network, mounts, netns_path)
            bound = place.keep_flags((*bound, *placement.binds), record.status.ids)
            yield replace(placement, binds=bound)

    def _place(
        self,
        record: Record,
        bundle: Bundle,
        network: NetworkStatus,
        mounts: tuple[RootMount, ...],
        netns_path: str | None,
    ) -> Placement:
        spec, machine = record.spec, self._machine
        ids = record.status.ids
        log_files.mend(machine.layout.log(record.id))
        _mount_root(record, bundle, mounts)
        identity = self._look_inside(record, bundle.rootfs)
        files = mounting.mount_files(spec.files, bundle.files, ids) if spec.files else {}
        security = spec.security
        return Placement(
            container_id=record.id,
            rootfs=str(bundle.rootfs),
            cgroup_path=cgroup_path(record, machine.cgroup_parent),
            identity=identity,
            netns_path=netns_path,
            user_namespace_path=str(bundle.user_namespace) if ids is not None else "",
            ids=ids,
            shared_namespaces=joining.namespaces(record, self._peer),
            shared_memory_path=joining.shared_memory(record, self._peer, machine.layout),
            hosts_path=network.hosts_path,
            resolv_conf_path=network.resolv_conf_path,
            hostname_path=network.hostname_path,
            hostname=hostname(record, self._peer),
            init_path=self._init_path() if has_init(spec) else "",
            binds=binds.of_files(files),
            tmpfs=tuple(point.mount for point in record.mounts if point.mount.kind is MountKind.TMPFS),
            devices=devices.resolve(security.devices, privileged=security.privileged),
            block_numbers=devices.block_numbers(spec.resources),
            seccomp=self._seccomp(record),
        )

    def _look_inside(self, record: Record, root: Path) -> Identity:
        spec, image = record.spec, record.image
        with Inside(root) as inside:
            inside.check_kernel_directories()
            identity = user.resolve(
                resolve.user(spec, image),
                passwd=inside.read_text(_PASSWD),
                group=inside.read_text(_GROUP),
                groups_add=spec.groups,
                ids=record.status.ids,
            )
            if not spec.security.read_only_root:
                root_id = record.status.ids.start if record.status.ids is not None else 0
                inside.ensure_directory(resolve.workdir(spec, image), uid=root_id, gid=root_id)
        return identity

    def _seccomp(self, record: Record) -> Seccomp | None:
        security = record.spec.security
        if security.privileged or security.seccomp == "unconfined":
            return None
        bounding = capabilities.resolve(
            add=security.cap_add,
            drop=security.cap_drop,
            privileged=False,
            available=self._machine.host.capabilities,
        )
        if security.seccomp:
            return self._machine.filters.custom(security.seccomp, bounding)
        return self._machine.filters.default(bounding)

    def _init_path(self) -> str:
        candidates = (self._machine.init_path,) if self._machine.init_path else _INIT_PATHS
        for path in candidates:
            if Path(path).is_file():
                return path
        raise errors.Unsupported(
            f"no init program is installed ({', '.join(candidates)}): install tini or set `init_path`",
            reason="INIT_MISSING",
        )

    def _streams(self, record: Record) -> Streams:
        spec = record.spec
        policy = log_options.resolve(spec.log, self._machine.log_default)
        return Streams(
            tty=spec.tty,
            stdin=spec.stdin_open,
            leave_stdin_open=spec.stdin_open and (spec.tty or not spec.stdin_once),
            log_driver=policy.driver,
        )


def _mount_root(record: Record, bundle: Bundle, mounts: tuple[RootMount, ...]) -> None:
    with place.owner(bundle, record.status.ids) as owner:
        mounting.mount_root(mounts, bundle.rootfs, owner)


def hostname(record: Record, peer: Callable[[str], Record]) -> str:
    """Return the host name: its own, of whose UTS namespace it joins, the node's with its network, or the short id."""
    kind, _, owner = record.spec.security.uts.partition(":")
    if kind == "container":
        return hostname(peer(owner), peer)
    if record.spec.network.hostname:
        return record.spec.network.hostname
    return socket.gethostname() if record.spec.network.mode == "host" else record.id[:12]


def cgroup_path(record: Record, default_parent: str) -> str:
    """Return the container's control group, from the root of each hierarchy."""
    parent = record.spec.cgroup_parent or default_parent
    return f"/{parent.strip('/')}/{record.id}"
