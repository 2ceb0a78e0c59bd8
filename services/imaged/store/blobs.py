"""Complete blobs. A file in this directory is whole, verified and durable; `ingest` is the only way in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.imaged.model import digest as digests
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from services.imaged.model.digest import Digest

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob that is here."""

    digest: Digest
    size_bytes: int


class BlobStore:
    """Files named by what is in them. All methods are quick or for threads; none is bound to the event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, digest: Digest) -> Path:
        """Return where the blob is, or would be."""
        return self._directory / digest.hex

    def stat(self, digest: Digest) -> BlobInfo | None:
        """Return the blob if it is here."""
        try:
            return BlobInfo(digest, self.path(digest).stat().st_size)
        except FileNotFoundError:
            return None

    def open(self, digest: Digest) -> int:
        """Return a descriptor of the blob, which keeps its content even if the blob is removed.

        Raises:
            errors.NotFound: With reason BLOB_NOT_FOUND.
        """
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise not_found(digest) from None

    def read_small(self, digest: Digest, bytes_max: int) -> bytes:
        """Return a blob that must be small: a manifest or a configuration; checked against its digest once more.

        Raises:
            errors.NotFound: With reason BLOB_NOT_FOUND.
            errors.Invalid: It is larger than `bytes_max`.
            errors.Internal: With reason CONTENT_CORRUPT: the disk has changed it.
        """
        descriptor = self.open(digest)
        try:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes > bytes_max:
                raise errors.Invalid(
                    f"content {digest.short} has {size_bytes} bytes where at most {bytes_max} make sense",
                    reason="DOCUMENT_INVALID",
                )
            data = os.pread(descriptor, size_bytes, 0)
        finally:
            os.close(descriptor)
        if digests.of(data) != digest:
            raise corrupt(digest)
        return data

    def read(self, descriptor: int, offset: int, length: int) -> Generator[bytes, None, None]:
        """Yield `length` bytes of an open blob from `offset`, in parts of at most `READ_BYTES`."""
        end = offset + length
        while offset < end:
            data = os.pread(descriptor, min(READ_BYTES, end - offset), offset)
            if not data:
                raise errors.Internal("a blob is shorter than it was", reason="CONTENT_CORRUPT")
            offset += len(data)
            yield data

    def remove(self, digest: Digest) -> int:
        """Remove a blob; return the bytes that are free again, 0 if it was not here. Open readers are not disturbed."""
        info = self.stat(digest)
        if info is None:
            return 0
        self.path(digest).unlink(missing_ok=True)
        return info.size_bytes

    def all(self) -> Iterator[Digest]:
        """Yield every blob that is here."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if digests.is_hex(entry.name):
                    yield digests.Digest(entry.name)


def not_found(digest: Digest) -> errors.NotFound:
    """Return the error for a blob that is not here."""
    return errors.NotFound(f"content {digest} is not on this node", reason="BLOB_NOT_FOUND")


def corrupt(digest: Digest) -> errors.Internal:
    """Return the error for a blob that is not what its name says."""
    return errors.Internal(
        f"content {digest} is damaged on this node's disk: remove the images that use it and pull them again",
        reason="CONTENT_CORRUPT",
    )
