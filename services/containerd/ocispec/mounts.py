"""Everything that is mounted into the root: the kernel's file systems, generated files, volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.containerd.model.spec import SHM_SIZE_DEFAULT_BYTES
from services.containerd.model.spec import Mount as MountSpec
from services.kit import errors

if TYPE_CHECKING:
    from services.containerd.model.spec import ContainerSpec
    from services.containerd.ocispec.facts import BoundFile, HostFacts, Placement, Section

_SHM = "/dev/shm"  # noqa: S108 (the container's)
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_RECURSIVE_SINCE = (5, 12)
"""Linux has mount_setattr(2) since then: a mount and all below it become read-only together."""


def section(spec: ContainerSpec, placement: Placement, host: HostFacts) -> list[Section]:
    """Return `mounts` in the order in which they are made: shorter targets first, so that none hides another.

    Raises:
        errors.Unsupported: The kernel cannot make a bind read-only as asked for.
    """
    taken = {mount.target for mount in placement.tmpfs} | {bind.target for bind in placement.binds}
    mounts = [mount for mount in _kernel_mounts(spec, placement) if mount["destination"] not in taken]
    files = (
        ("/etc/resolv.conf", placement.resolv_conf_path),
        ("/etc/hostname", placement.hostname_path),
        ("/etc/hosts", placement.hosts_path),
    )
    # Below a root that is read-only there is nothing to write to but what the user mounts.
    access = ("ro",) if spec.security.read_only_root else ()
    for target, source in files:
        if source and target not in taken:
            mounts.append(_bind(source, target, ("rbind", *access, "rprivate")))
    user_mounts = [(bind.target, _user_bind(bind, host)) for bind in placement.binds]
    user_mounts += [(mount.target, _tmpfs(mount)) for mount in placement.tmpfs]
    user_mounts.sort(key=lambda entry: (entry[0].rstrip("/").count("/"), entry[0]))
    mounts.extend(mount for _, mount in user_mounts)
    if placement.init_path:
        mounts.append(_bind(placement.init_path, "/sbin/docker-init", ("bind", "ro")))
    return mounts


def _kernel_mounts(spec: ContainerSpec, placement: Placement) -> list[Section]:
    system_access = "rw" if spec.security.privileged else "ro"
    mounts: list[Section] = [
        _mount("proc", "proc", "/proc", "nosuid", "noexec", "nodev"),
        _mount("tmpfs", "tmpfs", "/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "devpts",
            "devpts",
            "/dev/pts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        _mount("sysfs", "sysfs", "/sys", "nosuid", "noexec", "nodev", system_access),
        _mount("cgroup", "cgroup", "/sys/fs/cgroup", system_access, "nosuid", "noexec", "nodev"),
        _mount("mqueue", "mqueue", "/dev/mqueue", "nosuid", "noexec", "nodev"),
    ]
    if spec.security.ipc == "host":
        mounts.append(_bind("/dev/shm", "/dev/shm", ("rbind", "nosuid", "noexec", "nodev")))  # noqa: S108
    elif placement.shared_memory_path:
        mounts.append(
            _bind(placement.shared_memory_path, _SHM, ("rbind", "rprivate", "nosuid", "noexec", "nodev"))
        )
    elif spec.security.ipc != "none":
        size = spec.resources.shm_bytes or SHM_SIZE_DEFAULT_BYTES
        mounts.append(
            _mount("tmpfs", "shm", "/dev/shm", "nosuid", "noexec", "nodev", "mode=1777", f"size={size}")  # noqa: S108
        )
    return mounts


def _tmpfs(mount: MountSpec) -> Section:
    options = list(mount.tmpfs_options)
    given = frozenset(options)
    options += [option for option in _TMPFS_DEFAULTS if not given & {option, option.removeprefix("no")}]
    if mount.tmpfs_size_bytes:
        options.append(f"size={mount.tmpfs_size_bytes}")
    if not any(option.startswith("mode=") for option in options):
        options.append(f"mode={mount.tmpfs_mode or 0o1777:o}")
    if mount.read_only:
        options.append("ro")
    return _mount("tmpfs", "tmpfs", mount.target, *options)


def _user_bind(bind: BoundFile, host: HostFacts) -> Section:
    options = ["rbind" if bind.recursive else "bind"]
    if bind.read_only:
        options.append("ro")
        if bind.read_only_recursive and host.kernel >= _RECURSIVE_SINCE:
            options.append("rro")
        elif bind.must_be_recursive:
            raise errors.Unsupported(
                f"the mount at {bind.target} cannot be read-only with all below it: Linux has that since 5.12",
                reason="READ_ONLY_UNSUPPORTED",
            )
    options.extend(bind.kept_flags)
    options.append(bind.propagation)
    return _bind(bind.source, bind.target, tuple(options))


def _mount(kind: str, source: str, target: str, *options: str) -> Section:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(source: str, target: str, options: tuple[str, ...]) -> Section:
    return {"destination": target, "type": "bind", "source": source, "options": list(options)}
