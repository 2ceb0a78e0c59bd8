"""What a worker process can do, as messages: plain values that cross a socket as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeAlias

from services.imaged.layers.limits import Limits
from services.kit.tar.ids import IDENTITY, IdMap


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyJob:
    """Unpack a layer. Descriptors: the blob, the target directory."""

    lower_dirs: tuple[str, ...] | None
    """The layers below, top first, for a target that holds one layer; None for a target that holds the merged tree."""
    with_diff_id: bool
    """Whether the digest of the uncompressed tar is wanted: a layer that is stored uncompressed has it already."""
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyResult:
    """What `ApplyJob` came to."""

    diff_id_hex: str
    size_bytes: int
    entry_count: int
    xattrs_skipped: int
    is_compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Which trees to compare: the upper directory of an overlay with its lower ones, or a tree with another."""

    new_dir: str
    lower_dirs: tuple[str, ...] | None = None
    old_dir: str | None = None
    """Set if `lower_dirs` is None; then "" stands for an empty tree."""
    mount_points: tuple[str, ...] = ()
    """What is there only to mount on is no change."""
    ids: IdMap = IDENTITY
    """Of the user namespace whose processes have written into an upper directory; what is below it has other ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """Write a layer's tar. Descriptor: a file or pipe to write to."""

    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What `ExportJob` came to."""

    sha256_hex: str
    tar_bytes: int
    size_bytes: int
    entry_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListChangesJob:
    """Write changed paths, a line each: kind, blank, path with what is not printable escaped. Descriptor: a pipe."""

    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureJob:
    """Sum the disk usage of a tree."""

    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureResult:
    """What `MeasureJob` came to."""

    size_bytes: int
    inode_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A job without a result of its own has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Bytes of the uncompressed tar that have been unpacked so far."""

    done_bytes: int


Job: TypeAlias = ApplyJob | ExportJob | ListChangesJob | MeasureJob
Reply: TypeAlias = ApplyResult | ExportResult | MeasureResult | Done | Progress
_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        *(ApplyJob, ExportJob, ListChangesJob, MeasureJob),
        *(ApplyResult, ExportResult, MeasureResult, Done, Progress),
    )
}
_NESTED: dict[str, type[Any]] = {"limits": Limits, "comparison": Comparison, "ids": IdMap}


def encode(message: Job | Reply) -> bytes:
    """Return a message as a packet."""
    return json.dumps([type(message).__name__, asdict(message)]).encode()


def decode(data: bytes) -> Job | Reply:
    """Return the message in a packet. Both sides are the same program: what does not fit is a bug."""
    name, values = json.loads(data)
    message: Job | Reply = _build(_TYPES[name], values)
    return message


def _build(kind: type[Any], values: dict[str, Any]) -> Any:
    arguments = {}
    for field in fields(kind):
        value = values[field.name]
        if field.name in _NESTED:
            value = _build(_NESTED[field.name], value)
        arguments[field.name] = _frozen(value)
    return kind(**arguments)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
