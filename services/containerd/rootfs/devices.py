"""Devices of the host that a container asks for, looked up."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from services.containerd.ocispec.facts import DeviceNode
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.containerd.model.spec import Device, Resources

_DEV = Path("/dev")
_MADE_BY_RUNTIME = frozenset({"pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr", "console", "core"})
_DEVICES_MAX = 10_000


def resolve(wanted: Iterable[Device], *, privileged: bool) -> tuple[DeviceNode, ...]:
    """Return the nodes for `--device`, and for a privileged container every device of the host.

    Raises:
        errors.Invalid: A path is not a device or a directory of devices (DEVICE_NOT_FOUND).
    """
    nodes: dict[str, DeviceNode] = {}
    if privileged:
        nodes.update((node.path, node) for node in _below(_DEV, str(_DEV), "rwm"))
    for device in wanted:
        host, inside = Path(device.host_path), device.container_path or device.host_path
        permissions = device.permissions or "rwm"
        if not set(permissions) <= set("rwm"):
            raise errors.Invalid(
                f"device permissions {permissions!r} are not of r, w and m", reason="SPEC_INVALID"
            )
        found = (
            list(_below(host, inside, permissions)) if host.is_dir() else [_node(host, inside, permissions)]
        )
        nodes.update((node.path, node) for node in found if node is not None)
        if not found or found[0] is None:
            raise errors.Invalid(f"{host} is no device of this node", reason="DEVICE_NOT_FOUND")
    return tuple(nodes.values())


def block_numbers(resources: Resources) -> dict[str, tuple[int, int]]:
    """Return major and minor number of every block device that a limit names.

    Raises:
        errors.Invalid: A path is not a block device (DEVICE_NOT_FOUND).
    """
    numbers: dict[str, tuple[int, int]] = {}
    for limit in (
        *resources.blkio_weight_device,
        *resources.device_read_bps,
        *resources.device_write_bps,
        *resources.device_read_iops,
        *resources.device_write_iops,
    ):
        node = _node(Path(limit.path), limit.path, "rwm")
        if node is None or node.kind != "b":
            raise errors.Invalid(f"{limit.path} is no block device of this node", reason="DEVICE_NOT_FOUND")
        numbers[limit.path] = (node.major, node.minor)
    return numbers


def _below(directory: Path, inside: str, permissions: str) -> Iterator[DeviceNode]:
    count = 0
    for parent, names, files in os.walk(directory):
        if Path(parent) == _DEV:
            names[:] = [name for name in names if name not in _MADE_BY_RUNTIME]
        for name in files:
            if Path(parent) == _DEV and name in _MADE_BY_RUNTIME:
                continue
            host = Path(parent, name)
            node = _node(host, f"{inside}/{host.relative_to(directory)}", permissions, follow=False)
            count += 1
            if count > _DEVICES_MAX:
                return
            if node is not None:
                yield node


def _node(host: Path, inside: str, permissions: str, *, follow: bool = True) -> DeviceNode | None:
    try:
        found = host.stat() if follow else host.lstat()
    except OSError:
        return None
    if stat.S_ISCHR(found.st_mode):
        kind = "c"
    elif stat.S_ISBLK(found.st_mode):
        kind = "b"
    else:
        return None
    return DeviceNode(
        path=inside,
        kind=kind,
        major=os.major(found.st_rdev),
        minor=os.minor(found.st_rdev),
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        permissions=permissions,
    )
