"""Namespaces of other containers that one joins: `--network`, `--pid`, `--ipc`, `--uts`, `--cgroupns container:ID`.

They are looked up at each start: the other one may have been restarted meanwhile, and has new ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.kernel import processes, syscalls
from services.containerd.model.spec import SHM_SIZE_DEFAULT_BYTES
from services.containerd.model.status import NetworkStatus, Phase, State
from services.containerd.userns import choice
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.containerd.model.status import ProcessRef, Record, Run
    from services.containerd.runtime.layout import Layout

SHAREABLE = "shareable"


def check_ipc(owner: Record) -> None:
    """Refuse to join the IPC namespace of a container that keeps it to itself.

    Raises:
        errors.Invalid: It does.
    """
    if owner.spec.security.ipc not in (SHAREABLE, "host"):
        raise errors.Invalid(
            f"cannot join the IPC namespace of container {owner.name}: it is not shareable; start that one with"
            " --ipc shareable",
            reason="SPEC_INVALID",
        )


def network(record: Record, peer: Callable[[str], Record]) -> NetworkStatus:
    """Return the network of the container that it is shared with."""
    run = _run(record.spec.network.mode, peer)
    theirs = run.network or NetworkStatus()
    return NetworkStatus(
        netns_path=f"/proc/{run.init.pid}/ns/net" if theirs.netns_path else "",
        hosts_path=theirs.hosts_path,
        resolv_conf_path=theirs.resolv_conf_path,
        hostname_path=theirs.hostname_path,
    )


def namespaces(record: Record, peer: Callable[[str], Record]) -> dict[str, str]:
    """Return the other namespaces that it joins, by kind.

    Those in which the daemon is itself are left out: who is there already need not join, and from a user namespace
    may not.
    """
    paths = {
        kind: f"/proc/{_run(mode, peer).init.pid}/ns/{kind}"
        for kind, mode in record.spec.security.modes.items()
        if mode.startswith("container:")
    }
    return {kind: path for kind, path in paths.items() if not Path(path).samefile(f"/proc/self/ns/{kind}")}


def owners(record: Record, peer: Callable[[str], Record]) -> tuple[ProcessRef, ...]:
    """Return the inits whose namespaces it joins."""
    spec = record.spec
    modes = [
        mode for mode in (spec.network.mode, *spec.security.modes.values()) if mode.startswith("container:")
    ]
    modes += [f"container:{owner}" for owner in choice.owners_of(record.spec)]
    return tuple(_run(mode, peer).init for mode in dict.fromkeys(modes))


def check_owners(inits: Iterable[ProcessRef]) -> None:
    """Refuse a run whose namespaces may be somebody else's.

    They are named by pid, and a pid is used again. An init that still lives after they were joined had it all the time.

    Raises:
        errors.FailedPrecondition: One has ended.
    """
    if not all(map(processes.alive, inits)):
        raise _unavailable("a container whose namespaces it joins has ended meanwhile")


def owner_pid(record: Record, peer: Callable[[str], Record]) -> int | None:
    """Return a process in the user namespace that it shares, None if it is to have one of its own."""
    owners = sorted(choice.owners_of(record.spec))
    return _run(f"container:{owners[0]}", peer).init.pid if owners else None


def shared_memory(record: Record, peer: Callable[[str], Record], layout: Layout) -> str:
    """Return the directory that is to be /dev/shm: of the container whose IPC it joins, or one that others may join.

    Empty leaves it to the runtime, for a container that keeps its IPC namespace to itself.
    """
    mode = record.spec.security.ipc
    if mode.startswith("container:"):
        owner = peer(mode.partition(":")[2])
        return "/dev/shm" if owner.spec.security.ipc == "host" else str(layout.bundle(owner.id).shared_memory)  # noqa: S108
    if mode != SHAREABLE:
        return ""
    target = layout.bundle(record.id).shared_memory
    _mount_shared_memory(target, record)
    return str(target)


def _mount_shared_memory(target: Path, record: Record) -> None:
    size = record.spec.resources.shm_bytes or SHM_SIZE_DEFAULT_BYTES
    root = record.status.ids.start if record.status.ids is not None else 0
    target.mkdir(mode=0o700, exist_ok=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("shm", target, "tmpfs", flags, f"mode=1777,size={size},uid={root},gid={root}")


def _run(mode: str, peer: Callable[[str], Record]) -> Run:
    """Return the run of the container that a mode names.

    Raises:
        errors.NotFound: It is gone.
        errors.FailedPrecondition: It does not run, or is being restarted.
    """
    owner = peer(mode.partition(":")[2])
    if owner.status.state is State.RESTARTING:
        raise _unavailable(f"container {owner.name} is restarting, wait until the container is running")
    if owner.status.run is None or owner.status.phase is not Phase.UP:
        raise _unavailable(f"cannot join a namespace of a non running container: {owner.name}")
    return owner.status.run


def _unavailable(message: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(message, reason="CONTAINER_NOT_RUNNING")
