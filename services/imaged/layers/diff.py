"""Writes changes as a layer: a tar with whiteouts, in a fixed order, that `apply` turns into the same tree again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.layers import whiteout
from services.imaged.layers.changes import Change, ChangeKind
from services.kit.tar.entry import Entry, Kind
from services.kit.tar.ids import IDENTITY, IdMap
from services.kit.tar.pack import Packer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.kit.tar.path import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a layer came to."""

    sha256_hex: str
    """Of the tar: the layer's diff id."""
    tar_bytes: int
    size_bytes: int
    """Bytes of file data."""
    entry_count: int


def write_layer(
    changes: Iterable[Change], write: Callable[[bytes], object], ids: IdMap = IDENTITY
) -> Written:
    """Write a layer's tar through `write`, which takes all that it is given; with the ids on the inside of `ids`.

    A file that changes while it is read is cut or padded with zeros to the size it had: the archive stays well-formed.
    """
    exporter = _Exporter(write, ids)
    for change in changes:
        exporter.add(change)
    return exporter.finish()


class _Exporter:
    def __init__(self, write: Callable[[bytes], object], ids: IdMap) -> None:
        self._write = write
        self._sha = hashlib.sha256()
        self._packer = Packer(
            self._emit,
            takes_xattr=lambda name: not whiteout.is_overlay_xattr(name),
            owner=lambda status: ids.inside(status.st_uid, status.st_gid),
            xattr=ids.xattr_inside,
        )

    def add(self, change: Change) -> None:
        if any(part.startswith(whiteout.PREFIX) for part in change.parts):
            return  # a file of this name cannot be said in a layer: it would remove something instead
        if change.status is None:
            assert change.kind is ChangeKind.DELETED, f"a change of kind {change.kind} without a status"
            self._packer.header(_marker((*change.parts[:-1], whiteout.name_for(change.parts[-1]))))
            return
        self._packer.add(change.directory, change.parts[-1], change.status, b"/".join(change.parts))
        if change.is_opaque:
            self._packer.header(_marker((*change.parts, whiteout.OPAQUE)))

    def finish(self) -> Written:
        self._packer.finish()
        return Written(
            sha256_hex=self._sha.hexdigest(),
            tar_bytes=self._packer.tar_bytes,
            size_bytes=self._packer.size_bytes,
            entry_count=self._packer.entry_count,
        )

    def _emit(self, data: bytes) -> None:
        self._sha.update(data)
        self._write(data)


def _marker(parts: Parts) -> Entry:
    return Entry(name=b"/".join(parts), kind=Kind.FILE, mode=0o600)
