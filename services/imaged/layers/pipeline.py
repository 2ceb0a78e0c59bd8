"""Stages of a stream that run beside each other: reading, decompressing, hashing and unpacking on both processors.

The heavy part of each stage (read, isal, sha256, write) runs without the interpreter's lock, so threads suffice.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

T = TypeVar("T")

QUEUE_CHUNKS_MAX = 8
CHUNK_BYTES = 1 << 20


def read_chunks(descriptor: int) -> Iterator[bytes]:
    """Yield the content of a file from its present position."""
    while data := os.read(descriptor, CHUNK_BYTES):
        yield data


class Ahead(Generic[T]):
    """Runs an iterable in a thread that stays at most `QUEUE_CHUNKS_MAX` items ahead of its reader.

    An exception of the iterable is raised from the reader's loop. Leaving the `with` block early ends the thread after
    its current item.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(QUEUE_CHUNKS_MAX)
        self._stopped = False
        self._thread = threading.Thread(target=self._produce, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)  # makes room for a producer that waits
            except queue.Empty:
                continue

    def __iter__(self) -> Iterator[T]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]

    def _produce(self) -> None:
        try:
            for item in self._items:
                self._queue.put((item,))
                if self._stopped:
                    return
        except BaseException as error:  # noqa: BLE001 (raised again by the reader)
            self._queue.put(error)
        else:
            self._queue.put(None)


class Hasher:
    """Computes a sha256 in a thread, at most `QUEUE_CHUNKS_MAX` chunks behind."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE_CHUNKS_MAX)
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._thread.start()

    def tee(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks, each on its way to the hash as well."""
        for chunk in chunks:
            self._queue.put(chunk)
            yield chunk

    def finish(self) -> str:
        """Return the digest of all that went through, in hexadecimal. To be called once, also after a failure."""
        self._queue.put(None)
        self._thread.join()
        return self._sha.hexdigest()

    def _consume(self) -> None:
        while (chunk := self._queue.get()) is not None:
            self._sha.update(chunk)
