"""Unpacks one layer's tar into a directory, with everything a file system can say about a file.

What an archive may not do is refused (`Invalid`) or contained; see `tree` for how. Where Docker merges, we merge: a
directory over a directory keeps its content; anything else replaces what was there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from services.imaged.layers import limits as layer_limits
from services.imaged.layers import whiteout
from services.imaged.layers.hiding import Hiding, MergedHiding, OverlayHiding
from services.imaged.layers.tree import DIRECTORY_FLAGS, Tree, copy_attributes
from services.kit.tar import make
from services.kit.tar import path as paths
from services.kit.tar.entry import Entry, Kind, invalid, show
from services.kit.tar.reader import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.imaged.layers.limits import Limits
    from services.imaged.layers.lower import LowerTree
    from services.kit.tar.path import Parts
    from services.kit.tar.source import Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What unpacking a layer came to."""

    entry_count: int
    size_bytes: int
    """Bytes of file data, as Docker counts the size of a layer."""
    xattrs_skipped: int
    """Extended attributes that the file system or the kernel would not take."""


def apply(
    source: Source,
    root: int,
    *,
    lower: LowerTree | None,
    limits: Limits,
    on_progress: Callable[[int], None] | None = None,
) -> Applied:
    """Unpack the tar in `source` into the directory with the descriptor `root`, and read the stream to its end.

    Args:
        source: The layer, uncompressed.
        root: The target. Empty for a layer directory of its own; for a merged tree, a copy of what is below.
        lower: The layers below, for a layer directory; None means that `root` is a merged tree.
        limits: Bounds on what it may take.
        on_progress: Called now and then with the bytes of the tar read so far.

    Raises:
        errors.Invalid: With reason ARCHIVE_INVALID: the archive is malformed or hostile.
        errors.Exhausted: With reason DISK_FULL.
    """
    tree = Tree(root, lower)
    extractor = Extractor(tree, limits)
    reader = TarReader(source)
    try:
        for entry in reader:
            extractor.add(entry, reader)
            if on_progress is not None:
                on_progress(source.position)
        extractor.finish()
    except RecursionError as error:
        raise invalid("its links are nested too deeply") from error
    finally:
        tree.close()
    source.drain()
    meter = extractor.meter
    return Applied(
        entry_count=meter.entries, size_bytes=meter.size_bytes, xattrs_skipped=extractor.xattrs_skipped
    )


class Extractor:
    """Adds entries to a tree, one after the other."""

    def __init__(self, tree: Tree, limits: Limits) -> None:
        self.meter = layer_limits.Meter(limits, tree.root)
        self._maker = make.Maker(
            count_data=self.meter.count_data,
            # What would steer the overlay file system is not taken: whiteouts and redirects are ours to make.
            takes_xattr=lambda name: not whiteout.is_overlay_xattr(name),
        )
        self._tree = tree
        self._hiding: Hiding = MergedHiding(tree) if tree.lower is None else OverlayHiding(tree)
        self._directory_times: dict[Parts, int] = {}

    @property
    def xattrs_skipped(self) -> int:
        """Extended attributes that the file system or the kernel would not take."""
        return self._maker.xattrs_skipped

    def add(self, entry: Entry, reader: TarReader) -> None:
        """Make what an entry describes; `reader` stands at its data."""
        self.meter.count_entry()
        parts = paths.split(entry.name)
        try:
            if whiteout.PREFIX in entry.name and self._add_whiteout(parts):
                return
            if parts:
                self._add_node(entry, parts, reader)
            else:
                self._add_root(entry)
        except OSError as error:
            raise layer_limits.from_os_error(error, f"unpack {entry.shown_name!r}") from error

    def finish(self) -> None:
        """Do what must wait for the last entry: times of directories, which every entry in them changes."""
        self._hiding.finish()
        times = dict(self._tree.entered)
        times.update((parts, found.status.st_mtime_ns) for parts, found in self._tree.implied.items())
        times.update(self._directory_times)
        for parts, mtime_ns in times.items():
            directory = self._tree.open_exactly(parts)
            if directory is None:
                continue  # a later entry has removed or replaced it
            try:
                make.set_times(directory, mtime_ns)
            finally:
                os.close(directory)

    def _add_whiteout(self, parts: Parts) -> bool:
        """Do what a whiteout says; return whether the entry was one, or is of no concern."""
        reading = whiteout.read(parts)
        match reading.meaning:
            case whiteout.Meaning.ORDINARY:
                return False
            case whiteout.Meaning.OPAQUE:
                self._hiding.clear(*self._tree.directory(parts[:-1]))
            case whiteout.Meaning.REMOVES:
                self._hiding.remove(*self._tree.directory(parts[:-1]), reading.name)
            case whiteout.Meaning.IGNORED:
                pass
        return True

    def _add_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise invalid(f"its root is a {entry.kind.value}, not a directory")
        self._maker.set_attributes(self._tree.root, entry)
        self._directory_times[()] = entry.mtime_ns

    def _add_node(self, entry: Entry, parts: Parts, reader: TarReader) -> None:
        if entry.kind is Kind.CHAR_DEVICE and entry.device == (0, 0):
            # No real device; on disk it is the overlay file system's whiteout, so give it that meaning everywhere.
            self._hiding.remove(*self._tree.directory(parts[:-1]), parts[-1])
            return
        directory, parent = self._tree.directory(parts[:-1])
        name = parts[-1]
        match entry.kind:
            case Kind.DIRECTORY:
                self._add_directory(directory, parent, name, entry)
            case Kind.FILE:
                self._replacing(directory, name, lambda: self._maker.file(directory, name, entry, reader))
            case Kind.HARDLINK:
                self._add_hardlink(parent, name, entry)
            case Kind.SYMLINK | Kind.CHAR_DEVICE | Kind.BLOCK_DEVICE | Kind.FIFO:
                self._replacing(directory, name, lambda: self._maker.node(directory, name, entry))
        self._hiding.added((*parent, name))

    def _add_directory(self, directory: int, parent: Parts, name: bytes, entry: Entry) -> None:
        over_whiteout = False
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            status = os.lstat(name, dir_fd=directory)
            if not stat.S_ISDIR(status.st_mode):
                over_whiteout = whiteout.is_overlay_whiteout(status)
                self._tree.clear_way(directory, name)
                os.mkdir(name, 0o700, dir_fd=directory)
        made = os.open(name, DIRECTORY_FLAGS, dir_fd=directory)
        try:
            if over_whiteout:
                whiteout.mark_opaque(made)
            self._maker.set_attributes(made, entry)
        finally:
            os.close(made)
        self._directory_times[(*parent, name)] = entry.mtime_ns

    def _add_hardlink(self, parent: Parts, name: bytes, entry: Entry) -> None:
        target = paths.split(entry.link_name, "hard link target")
        if not target:
            raise invalid(f"{entry.shown_name!r} is a hard link to the root")
        try:
            source, source_parts = self._tree.directory(target[:-1], create=False)
            source = os.dup(source)
        except FileNotFoundError:
            raise self._no_link_target(entry) from None
        try:
            directory, _ = self._tree.directory(parent)
            if (*source_parts, target[-1]) == (*parent, name):
                raise invalid(f"{entry.shown_name!r} is a hard link to itself")
            self._copy_up(source, (*source_parts, target[-1]))
            status = os.lstat(target[-1], dir_fd=source)
            if stat.S_ISDIR(status.st_mode) or whiteout.is_overlay_whiteout(status):
                raise invalid(
                    f"{entry.shown_name!r} is a hard link to {show(entry.link_name)!r}, which is not a file"
                )
            self._replacing(
                directory,
                name,
                lambda: os.link(
                    target[-1], name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False
                ),
            )
        except FileNotFoundError:
            raise self._no_link_target(entry) from None
        finally:
            os.close(source)

    def _no_link_target(self, entry: Entry) -> Exception:
        return invalid(
            f"{entry.shown_name!r} is a hard link to {show(entry.link_name)!r}, which is not in the image"
        )

    def _copy_up(self, directory: int, parts: Parts) -> None:
        """Bring a file of a lower layer into this one: a link to it must be a link to something here."""
        lower = self._tree.lower
        if lower is None or _exists(directory, parts[-1]):
            return
        found = lower.find(parts)
        if found is None or not found.is_file:
            return
        made = os.open(parts[-1], make.FILE_FLAGS, 0o600, dir_fd=directory)
        try:
            with open(found.path, "rb", buffering=0) as original:  # noqa: PTH123 (the path is bytes)
                while data := original.read(make.COPY_BYTES):
                    self.meter.count_data(len(data))
                    make.write(made, memoryview(data))
            copy_attributes(found, made)
            os.utime(made, ns=(found.status.st_mtime_ns, found.status.st_mtime_ns))
        finally:
            os.close(made)

    def _replacing(self, directory: int, name: bytes, make: Callable[[], T]) -> T:
        """Run `make`; if something has the name already, remove that and run it again."""
        try:
            return make()
        except FileExistsError:
            self._tree.clear_way(directory, name)
            return make()


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.lstat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True
