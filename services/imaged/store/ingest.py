"""The way into the content store: temporary file, hash while writing, sync, compare, rename, sync of the directory.

A crash at any point leaves either a complete blob or a file in the ingest directory. Such a file either has a name that
its writer can come back to ("r-…", resumable) or not ("t-…", removed at the next start).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Self

from services.imaged import disk, faults
from services.imaged.model.digest import Digest
from services.imaged.store.blobs import BlobInfo
from services.kit import atomic, errors

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

RESUMABLE_FOR_S = 24 * 3600
REF_CHARS_MAX = 1024
_RESUMABLE_PREFIX = "r-"
_TEMPORARY_PREFIX = "t-"
_BLOB_MODE = 0o400
_HASH_BYTES = 1 << 20


class IngestStore:
    """Makes and finds ingests. One process has the directory for itself."""

    def __init__(self, directory: Path, blobs: Path) -> None:
        self._directory = directory
        self._blobs = blobs
        self._busy: set[str] = set()

    def begin(self) -> Ingest:
        """Return an ingest of content that nobody could send a second time: dropped if it does not complete."""
        return self._open(_TEMPORARY_PREFIX + secrets.token_hex(16))

    def resume(self, ref: str) -> Ingest:
        """Return the ingest `ref`, with what an earlier attempt has written; it is kept if it does not complete.

        Raises:
            errors.FailedPrecondition: With reason INGEST_BUSY: it is open.
        """
        return self._open(_resumable_name(ref))

    def offset(self, ref: str) -> int:
        """Return how many bytes of the ingest `ref` are here."""
        try:
            return (self._directory / _resumable_name(ref)).stat().st_size
        except FileNotFoundError:
            return 0

    def recover(self, now_s: float) -> int:
        """Remove what nobody can resume, and what nobody has resumed for a day; return how many. For the start."""
        removed = 0
        for path in self._directory.iterdir():
            resumable = path.name.startswith(_RESUMABLE_PREFIX)
            if not resumable or path.stat().st_mtime < now_s - RESUMABLE_FOR_S:
                path.unlink()
                removed += 1
        return removed

    def _open(self, name: str) -> Ingest:
        if name in self._busy:
            raise errors.FailedPrecondition(
                "another call is writing the same content: wait for it to end", reason="INGEST_BUSY"
            )
        self._busy.add(name)
        try:
            return Ingest(self._directory / name, self._blobs, self._busy)
        except BaseException:
            self._busy.discard(name)
            raise


class Ingest:
    """One blob on its way in. A context manager: leaving it without `commit` ends the attempt.

    Blocking: each call belongs into a thread, one at a time.
    """

    def __init__(self, path: Path, blobs: Path, busy: set[str]) -> None:
        self._path = path
        self._blobs = blobs
        self._busy = busy
        self._is_resumable = path.name.startswith(_RESUMABLE_PREFIX)
        self._sha = hashlib.sha256()
        self._adopted: Digest | None = None
        self.offset = 0
        """Bytes that are here."""
        self._reserve = disk.Reserve(blobs)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _BLOB_MODE | 0o200)
        faults.point("ingest.opened")
        self._read_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close(keep=self._is_resumable and self.offset > 0 and not _forbids_resuming(exc))

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`.

        Raises:
            errors.Exhausted: With reason DISK_FULL. What there is of a resumable ingest is dropped with it.
        """
        self._reserve.take(len(data))
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._descriptor, view)
                self._sha.update(view[:written])
                self.offset += written
                view = view[written:]
        except OSError as error:
            raise disk.full() if disk.is_full(error) else error from error
        faults.point("ingest.half_written")

    @property
    def descriptor(self) -> int:
        """Where another program of ours may write the whole content, to be followed by `adopt`."""
        assert self._descriptor >= 0, "the ingest has ended"
        return self._descriptor

    def adopt(self, digest: Digest, size_bytes: int) -> None:
        """Take the word of the program that has written to `descriptor` for what it has written."""
        assert os.fstat(self._descriptor).st_size == size_bytes, "the writer has not written what it says"
        self._adopted, self.offset = digest, size_bytes

    def digest(self) -> Digest:
        """Return the digest of what has been written so far."""
        return self._adopted or Digest(self._sha.hexdigest())

    def open_again(self) -> int:
        """Return a new descriptor of what is written, at its start; it outlives the ingest and the commit."""
        return os.open(f"/proc/self/fd/{self._descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    def restart(self) -> None:
        """Drop what has been written."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._sha = hashlib.sha256()
        self.offset = 0

    def commit(self, expected: Digest | None = None, size_bytes: int | None = None) -> BlobInfo:
        """Make the blob visible, durably, and end the ingest.

        Args:
            expected: What the digest must be.
            size_bytes: What the length must be.

        Raises:
            errors.Invalid: With reason DIGEST_MISMATCH; the content is dropped.
            errors.Unavailable: With reason CONTENT_TRUNCATED: it is shorter than `size_bytes`, and kept.
            errors.Exhausted: With reason DISK_FULL.
        """
        info = BlobInfo(self.digest(), self.offset)
        if size_bytes is not None and size_bytes > info.size_bytes:
            raise errors.Unavailable(
                f"the content ended after {info.size_bytes} of {size_bytes} bytes: send the rest",
                reason="CONTENT_TRUNCATED",
            )
        if size_bytes is not None and size_bytes != info.size_bytes:
            raise errors.Invalid(
                f"content of {info.size_bytes} bytes arrived where {size_bytes} were announced",
                reason="DIGEST_MISMATCH",
            )
        if expected is not None and expected != info.digest:
            raise errors.Invalid(
                f"content with digest {info.digest} arrived where {expected} was expected",
                reason="DIGEST_MISMATCH",
            )
        if (self._blobs / info.digest.hex).exists():
            self.close(keep=False)
            return info
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise disk.full() if disk.is_full(error) else error from error
        os.fchmod(self._descriptor, _BLOB_MODE)
        faults.point("ingest.before_rename")
        self._path.rename(self._blobs / info.digest.hex)
        atomic.fsync_dir(self._blobs)
        faults.point("ingest.after_rename")
        self.close(keep=True)
        return info

    def close(self, *, keep: bool) -> None:
        """End the attempt; `keep` leaves what was written for another one. Harmless after the end."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        if not keep:
            self._path.unlink(missing_ok=True)
        self._busy.discard(self._path.name)

    def _read_back(self) -> None:
        while data := os.read(self._descriptor, _HASH_BYTES):
            self._sha.update(data)
            self.offset += len(data)


def _forbids_resuming(exc: BaseException | None) -> bool:
    """Return whether more of the same cannot help: the bytes are wrong, or there is no room for them."""
    return isinstance(exc, errors.Invalid | errors.Exhausted)


def _resumable_name(ref: str) -> str:
    if not 0 < len(ref) <= REF_CHARS_MAX:
        raise errors.Invalid(f"an ingest's name has 1 to {REF_CHARS_MAX} characters", reason="REF_INVALID")
    return _RESUMABLE_PREFIX + hashlib.sha256(ref.encode("utf-8", "surrogateescape")).hexdigest()
