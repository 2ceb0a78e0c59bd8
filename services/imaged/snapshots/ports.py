"""The two interfaces here: `Snapshots`, what the daemon asks for, and `Driver`, how a kind of storage does it.

Keys name snapshots. A committed snapshot is read-only and may be a parent; an active one is writable; a view shows a
committed one under another key. `tests/contract/imaged` holds the suite that every implementation passes.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.kit.tar.ids import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from services.imaged.layers.changes import ChangeKind
    from services.imaged.layers.jobs import Comparison, ExportResult
    from services.imaged.layers.limits import Limits
    from services.imaged.model.digest import Digest
    from services.kit.seams import Clock
    from services.kit.tar.ids import IdMap


class Kind(enum.Enum):
    """What may be done with a snapshot."""

    ACTIVE = "active"
    VIEW = "view"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount that the caller is to do."""

    type: str
    """Of the file system: overlay or bind."""
    source: str = ""
    options: tuple[str, ...] = ()
    lower_dirs: tuple[str, ...] = ()
    """Top first."""
    upper_dir: str = ""
    work_dir: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One entry."""

    key: str
    kind: Kind
    parent: str = ""
    manifest_digest: Digest | None = None
    """Of the image that it was prepared from."""
    labels: Mapping[str, str]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What belongs to a snapshot alone."""

    size_bytes: int
    inode_count: int


@dataclass(frozen=True, slots=True)
class PathChange:
    """A path that a snapshot has changed against its parent; what is not printable in it is escaped."""

    kind: ChangeKind
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """A layer that is to become a committed snapshot."""

    key: str
    """Its chain id."""
    parent: str
    """Chain id below it, "" for the base."""
    diff_id: Digest | None
    """What the uncompressed tar must hash to; None if the blob is that tar and its digest is known to be right."""
    limits: Limits


class Snapshots(Protocol):
    """Makes, finds and removes snapshots.

    Error reasons: SNAPSHOT_NOT_FOUND, SNAPSHOT_EXISTS, SNAPSHOT_HAS_CHILDREN, SNAPSHOT_NOT_ACTIVE, DISK_FULL.
    """

    async def prepare(
        self,
        key: str,
        parent: str,
        *,
        read_only: bool = False,
        manifest_digest: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[Mount, ...]:
        """Make an active snapshot (or a view) above a committed one, or above nothing. Idempotent."""
        ...

    async def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return how to mount it; read-only unless it is active."""
        ...

    async def commit(self, key: str, committed_key: str) -> None:
        """Turn an active snapshot into a committed one. The same call again is harmless."""
        ...

    async def unpack(
        self, layer: LayerSpec, blob: int, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Make a committed snapshot of a layer's blob (a descriptor); if it fails, nothing is left."""
        ...

    async def remove(self, key: str) -> bool:
        """Remove a snapshot without children; False if there is none. Its bytes are freed later, in the background."""
        ...

    async def get(self, key: str) -> Snapshot:
        """Return one snapshot."""
        ...

    async def page(self, *, after: str = "", limit: int) -> Sequence[Snapshot]:
        """Return snapshots by key, from the first above `after`."""
        ...

    async def usage(self, key: str) -> Usage:
        """Return what belongs to it alone."""
        ...

    def changes(
        self, key: str, mount_points: Sequence[str] = (), ids: IdMap = IDENTITY
    ) -> AsyncGenerator[Sequence[PathChange], None]:
        """Yield what it has changed against its parent, by path, in batches.

        What is at a mount point only to mount on, or to hold that, is no change. With `ids`, an upper directory was
        written to from a user namespace, and has the ids on the outside of it.
        """
        ...

    async def export(
        self, key: str, output: int, mount_points: Sequence[str] = (), ids: IdMap = IDENTITY
    ) -> ExportResult:
        """Write its changes against its parent, as `changes` lists them, as a layer's tar to a descriptor.

        The layer has the ids on the inside of `ids`.
        """
        ...


class Driver(Protocol):
    """Directories on one kind of storage. Names are chosen by the caller and never used twice.

    Parents are given as directory names, the nearest first, down to the base.
    """

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def root(self) -> Path:
        """A directory on the storage that it uses."""
        ...

    async def create(self, directory: str, parents: Sequence[str]) -> None:
        """Make a writable directory above the parents."""
        ...

    def mounts(self, directory: str, parents: Sequence[str], *, read_only: bool) -> tuple[Mount, ...]:
        """Return how a directory is mounted above its parents."""
        ...

    def target(self, directory: str) -> str:
        """Return the path that a layer is unpacked into."""
        ...

    def lower_dirs(self, parents: Sequence[str]) -> tuple[str, ...] | None:
        """Return the paths that an unpacked layer stacks on, top first; None if a directory holds the merged tree."""
        ...

    def comparison(self, directory: str, parents: Sequence[str]) -> Comparison:
        """Return what to compare to find the changes of a directory against its parents."""
        ...

    def directories(self) -> set[str]:
        """Return the names of all directories."""
        ...

    def discard(self, directory: str) -> None:
        """Take a directory out of sight at once; `purge` frees its bytes. A missing one is no error."""
        ...

    async def purge(self, clock: Clock, is_urgent: Callable[[], bool]) -> None:
        """Remove what has been discarded, slowly unless it is urgent."""
        ...
