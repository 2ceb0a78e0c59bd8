"""Reads an archive of images in one pass: every file becomes content by digest, before it is known what it is for.

An archive of Docker names its parts at its end (manifest.json), so nothing can be decided earlier. Small files are kept
in memory, large ones in the ingest directory, uncommitted: what turns out to be of no use vanishes with the staging.
Nothing is ever written to a path that the archive gives.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.imaged.layers import decompress
from services.imaged.model import digest as digests
from services.kit.tar import path as paths
from services.kit.tar.entry import Entry, Kind, invalid, show
from services.kit.tar.reader import TarReader
from services.kit.tar.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.imaged.model.digest import Digest
    from services.imaged.store.blobs import BlobInfo
    from services.imaged.store.ingest import Ingest, IngestStore
    from services.kit.tar.path import Parts

SMALL_BYTES_MAX = 1 << 20
SMALL_TOTAL_BYTES_MAX = 64 << 20
ENTRIES_MAX = 20_000
LARGE_FILES_MAX = 4096
_LINKS_FOLLOWED_MAX = 10


@dataclass(slots=True)
class StagedFile:
    """One file of the archive."""

    digest: Digest
    size_bytes: int
    head: bytes
    """Its first bytes, which show a layer's compression."""
    data: bytes | None
    """Its content if it is small."""
    ingest: Ingest | None


@dataclass(slots=True)
class Staged:
    """What an archive holds. Close it to drop what has not been committed."""

    by_path: dict[Parts, StagedFile] = field(default_factory=dict)
    by_digest: dict[Digest, StagedFile] = field(default_factory=dict)
    links: dict[Parts, Parts] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Drop what has not been committed."""
        self.stack.close()

    def find(self, name: str) -> StagedFile | None:
        """Return the file of a name in a document of the archive, links followed."""
        parts = paths.split(name.encode("utf-8", "surrogateescape"), "name in the archive")
        for _ in range(_LINKS_FOLLOWED_MAX):
            if parts in self.by_path:
                return self.by_path[parts]
            if parts not in self.links:
                return None
            parts = self.links[parts]
        raise invalid(f"{show(paths.join(parts))!r} goes through too many links")

    def document(self, name: str, bytes_max: int) -> bytes | None:
        """Return the content of a file that must be small, or None if there is no such file."""
        found = self.find(name)
        if found is None:
            return None
        if found.data is None or found.size_bytes > bytes_max:
            raise invalid(f"{name} has {found.size_bytes} bytes")
        return found.data

    def commit(self, digest: Digest, ingests: IngestStore) -> BlobInfo:
        """Put a file into the content store. Blocks."""
        staged = self.by_digest[digest]
        if staged.ingest is None:
            assert staged.data is not None, "a file is in memory or in an ingest"
            with ingests.begin() as ingest:
                ingest.write(staged.data)
                return ingest.commit(digest)
        return staged.ingest.commit(digest)

    def open(self, digest: Digest) -> int:
        """Return a descriptor of a file's content, at its start. To be called before `commit`."""
        staged = self.by_digest[digest]
        if staged.ingest is not None:
            return staged.ingest.open_again()
        assert staged.data is not None, "a file is in memory or in an ingest"
        descriptor = os.memfd_create("layer", os.MFD_CLOEXEC)
        os.write(descriptor, staged.data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor


def read(chunks: Iterator[bytes], ingests: IngestStore, on_progress: Callable[[int], None]) -> Staged:
    """Return all that an archive holds; it may be compressed as a whole. Blocks, and reads the stream to its end.

    Raises:
        errors.Invalid: With reason ARCHIVE_INVALID: damaged, or made to get out of the archive.
        errors.Exhausted: With reason DISK_FULL.
    """
    staged = Staged()
    try:
        compression, whole = decompress.peek(chunks)
        stream = decompress.decompress(whole, compression)
        source = Source(lambda: next(stream, b""))
        reader = TarReader(source)
        small_bytes = 0
        for count, entry in enumerate(reader):
            if count >= ENTRIES_MAX:
                raise invalid(f"it has more than {ENTRIES_MAX} entries")
            parts = paths.split(entry.name)
            if entry.kind is Kind.FILE:
                small_bytes += _add_file(staged, parts, entry, reader, ingests, small_bytes)
            else:
                _add_other(staged, parts, entry)
            on_progress(source.position)
        source.drain()
    except BaseException:
        staged.close()
        raise
    return staged


def _add_file(
    staged: Staged, parts: Parts, entry: Entry, reader: TarReader, ingests: IngestStore, small_bytes: int
) -> int:
    """Take one file; return how many bytes of memory it keeps."""
    if not parts or entry.sparse is not None:
        raise invalid(f"{entry.shown_name!r} is not a plain file")
    is_small = entry.size_bytes <= SMALL_BYTES_MAX and small_bytes + entry.size_bytes <= SMALL_TOTAL_BYTES_MAX
    if is_small:
        data = reader.read_all(SMALL_BYTES_MAX)
        file = StagedFile(digests.of(data), len(data), data[: decompress.MAGIC_BYTES], data, None)
    else:
        if len(staged.by_digest) >= LARGE_FILES_MAX:
            raise invalid(f"it has more than {LARGE_FILES_MAX} files")
        ingest = staged.stack.enter_context(ingests.begin())
        head = b""
        for view in reader.data():
            head += bytes(view[: decompress.MAGIC_BYTES - len(head)])
            ingest.write(view)
        file = StagedFile(ingest.digest(), ingest.offset, head, None, ingest)
    staged.by_path[parts] = file
    staged.links.pop(parts, None)
    staged.by_digest.setdefault(file.digest, file)
    return entry.size_bytes if is_small else 0


def _add_other(staged: Staged, parts: Parts, entry: Entry) -> None:
    """Take a link by name; directories mean nothing, and anything else has no business in such an archive."""
    match entry.kind:
        case Kind.DIRECTORY:
            return
        case Kind.SYMLINK | Kind.HARDLINK:
            if entry.link_name.startswith(b"/"):
                raise invalid(
                    f"{entry.shown_name!r} is a link to {show(entry.link_name)!r}, outside of the archive"
                )
            base = parts[:-1] if entry.kind is Kind.SYMLINK else ()
            staged.links[parts] = paths.split(paths.join((*base, entry.link_name)), "link")
        case _:
            raise invalid(f"{entry.shown_name!r} is a {entry.kind.value}")
