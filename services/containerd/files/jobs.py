"""What a file worker does, as messages: plain values that cross a socket as JSON. Both sides are the same program."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from services.containerd.files.archive.packing import Packing, Stat
from services.containerd.files.archive.unpacking import Unpacked, Unpacking
from services.containerd.model import idmap
from services.containerd.rootfs.mounting import RootMount
from services.kit.tar.ids import IDENTITY, IdMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Something of the host that a container has at a path."""

    source: str
    target: str
    read_only: bool = False
    recursive: bool = True
    with_ids: bool = False
    """Whether it holds the ids of containers, and is shown with those of the container's user namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The root of a container that does not run: put together by the worker, in a mount namespace of its own."""

    mounts: tuple[RootMount, ...]
    binds: tuple[Bind, ...]
    directory: str
    """An existing directory to mount it on."""
    read_only: bool = False
    ids: idmap.IdMap | None = None
    """Of the container's user namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackJob:
    """Pack. Descriptors: where to write, and the root unless it is to be assembled."""

    path: str
    packing: Packing
    assembly: Assembly | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackJob:
    """Unpack. Descriptors: where to read, and the root unless it is to be assembled."""

    path: str
    unpacking: Unpacking
    assembly: Assembly | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookJob:
    """Say what is at a path. Descriptor: the root unless it is to be assembled."""

    path: str
    follow: bool
    assembly: Assembly | None = None


Job: TypeAlias = PackJob | UnpackJob | LookJob


def encode_job(job: Job) -> bytes:
    """Return a job as a packet."""
    return json.dumps([type(job).__name__, asdict(job)]).encode()


def decode_job(packet: bytes) -> Job:
    """Return the job in a packet."""
    name, values = json.loads(packet)
    values["assembly"] = _assembly(values["assembly"])
    match name:
        case "PackJob":
            options = values.pop("packing")
            options["hollow"] = tuple(options["hollow"])
            return PackJob(packing=Packing(**{**options, "ids": _ids(options["ids"])}), **values)
        case "UnpackJob":
            options = values.pop("unpacking")
            return UnpackJob(unpacking=Unpacking(**{**options, "ids": _ids(options["ids"])}), **values)
        case _:
            return LookJob(**values)


def encode_stat(stat: Stat) -> bytes:
    """Return what is at a path as a packet."""
    names = {"name": stat.name.hex(), "link_target": stat.link_target.hex()}
    return json.dumps(["stat", {**asdict(stat), **names}]).encode()


def decode_stat(packet: bytes) -> Stat | None:
    """Return what is at a path, None if the packet is something else."""
    name, values = json.loads(packet)
    if name != "stat":
        return None
    names = {key: bytes.fromhex(values[key]) for key in ("name", "link_target")}
    return Stat(**{**values, **names})


def encode_done(unpacked: Unpacked | None = None) -> bytes:
    """Return the end of a job as a packet."""
    return json.dumps(["done", asdict(unpacked) if unpacked is not None else None]).encode()


def decode_unpacked(packet: bytes) -> Unpacked:
    """Return what unpacking came to."""
    return Unpacked(**json.loads(packet)[1])


def _ids(values: dict[str, list[list[int]]]) -> IdMap:
    found = IdMap(
        uids=tuple((first, outside, count) for first, outside, count in values["uids"]),
        gids=tuple((first, outside, count) for first, outside, count in values["gids"]),
    )
    return IDENTITY if found == IDENTITY else found


def _assembly(values: dict[str, Any] | None) -> Assembly | None:
    if values is None:
        return None
    mounts = [_tuples(mount) for mount in values.pop("mounts")]
    binds = (Bind(**bind) for bind in values.pop("binds"))
    ids = values.pop("ids")
    return Assembly(
        mounts=tuple(RootMount(**mount) for mount in mounts),
        binds=tuple(binds),
        ids=idmap.IdMap(**ids) if ids is not None else None,
        **values,
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
