"""Writes changes as a layer: a tar with whiteouts, in a fixed order, that `apply` turns into the same tree again."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.layers import whiteout
from services.imaged.layers.changes import Change, ChangeKind, read_xattrs
from services.kit.tar import writer
from services.kit.tar.entry import Entry, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.kit.tar.path import Parts

_COPY_BYTES = 1 << 20
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFIFO: Kind.FIFO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a layer came to."""

    sha256_hex: str
    """Of the tar: the layer's diff id."""
    tar_bytes: int
    size_bytes: int
    """Bytes of file data."""
    entry_count: int


def write_layer(changes: Iterable[Change], write: Callable[[bytes], object]) -> Written:
    """Write a layer's tar through `write`, which takes all that it is given.

    A file that changes while it is read is cut or padded with zeros to the size it had: the archive stays well-formed.
    """
    exporter = _Exporter(write)
    for change in changes:
        exporter.add(change)
    return exporter.finish()


class _Exporter:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._sha = hashlib.sha256()
        self._tar_bytes = 0
        self._size_bytes = 0
        self._entries = 0
        self._linked: dict[tuple[int, int], bytes] = {}

    def add(self, change: Change) -> None:
        if any(part.startswith(whiteout.PREFIX) for part in change.parts):
            return  # a file of this name cannot be said in a layer: it would remove something instead
        if change.status is None:
            assert change.kind is ChangeKind.DELETED, f"a change of kind {change.kind} without a status"
            self._header(_marker((*change.parts[:-1], whiteout.name_for(change.parts[-1]))))
            return
        self._add_node(change, change.status)
        if change.is_opaque:
            self._header(_marker((*change.parts, whiteout.OPAQUE)))

    def finish(self) -> Written:
        self._emit(writer.END)
        return Written(
            sha256_hex=self._sha.hexdigest(),
            tar_bytes=self._tar_bytes,
            size_bytes=self._size_bytes,
            entry_count=self._entries,
        )

    def _add_node(self, change: Change, status: os.stat_result) -> None:
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        name = change.parts[-1]
        entry = Entry(
            name=b"/".join(change.parts) + (b"/" if kind is Kind.DIRECTORY else b""),
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
        )
        inode = (status.st_dev, status.st_ino)
        if kind is not Kind.DIRECTORY and status.st_nlink > 1:
            first = self._linked.setdefault(inode, entry.name)
            if first != entry.name:
                entry.kind, entry.link_name = Kind.HARDLINK, first
                self._header(entry)
                return
        entry.xattrs = read_xattrs(change.directory, name)
        match kind:
            case Kind.SYMLINK:
                try:
                    entry.link_name = os.readlink(name, dir_fd=change.directory)
                except OSError:
                    return  # replaced meanwhile
            case Kind.CHAR_DEVICE | Kind.BLOCK_DEVICE:
                entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            case Kind.FILE:
                self._add_file(entry, change.directory, name)
                return
            case Kind.DIRECTORY | Kind.FIFO | Kind.HARDLINK:
                pass  # the header says it all
        self._header(entry)

    def _add_file(self, entry: Entry, directory: int, name: bytes) -> None:
        try:
            descriptor = os.open(name, _READ_FLAGS, dir_fd=directory)
        except OSError:
            return  # gone or replaced meanwhile
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return
            entry.size_bytes = left = status.st_size
            self._header(entry)
            while left and (data := os.read(descriptor, min(left, _COPY_BYTES))):
                self._emit(data)
                left -= len(data)
            while left:
                zeros = bytes(min(left, _COPY_BYTES))
                self._emit(zeros)
                left -= len(zeros)
        finally:
            os.close(descriptor)
        self._size_bytes += entry.size_bytes
        self._emit(writer.padding(entry.size_bytes))

    def _header(self, entry: Entry) -> None:
        self._entries += 1
        self._emit(writer.render(entry))

    def _emit(self, data: bytes) -> None:
        self._sha.update(data)
        self._tar_bytes += len(data)
        self._write(data)


def _marker(parts: Parts) -> Entry:
    return Entry(name=b"/".join(parts), kind=Kind.FILE, mode=0o600)
