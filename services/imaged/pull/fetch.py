"""Fetches content by digest from any of several equal origins: resumed where it broke off, verified, written once.

Two pulls that want the same blob share the work: the second waits and then finds it. Bytes that are here survive the
failure of an origin, of the pull and of the daemon.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from services.imaged import streams
from services.imaged.images.progress import Step
from services.imaged.keyed import KeyedLocks
from services.kit import errors, log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.imaged.images.progress import Feed
    from services.imaged.model.descriptor import Descriptor
    from services.imaged.pull.ports import Origin
    from services.imaged.store.blobs import BlobStore
    from services.imaged.store.ingest import Ingest, IngestStore
    from services.kit.seams import Clock, Rng

_log = log.get(__name__)

ATTEMPTS_MAX = 6
BACKOFF_S = 0.2
BACKOFF_MAX_S = 3.0
MANIFEST_BYTES_MAX = 8 << 20


class Fetcher:
    """Brings blobs into the content store. What it fetches must be under a lease."""

    def __init__(self, blobs: BlobStore, ingests: IngestStore, clock: Clock, rng: Rng) -> None:
        self._blobs = blobs
        self._ingests = ingests
        self._clock = clock
        self._rng = rng
        self._locks = KeyedLocks()

    async def fetch(self, content: Descriptor, origins: Sequence[Origin], feed: Feed) -> bool:
        """Make content present; return whether it had to be fetched.

        Args:
            content: What to fetch; a size of 0 is unknown, and then the content must be small.
            origins: Where to read it, the first one first.
            feed: Is told of the progress.

        Raises:
            errors.Unavailable: No origin could deliver it.
            errors.Exhausted: With reason DISK_FULL.
        """
        async with self._locks.hold(str(content.digest)):
            if self._blobs.stat(content.digest) is not None:
                feed.report(Step(id=str(content.digest), phase="exists", total_bytes=content.size_bytes))
                return False
            ingest = await streams.in_thread(self._ingests.resume, str(content.digest))
            with ingest:
                await self._fill(ingest, content, origins, feed)
                feed.report(_step(content, "verifying", content.size_bytes))
                await streams.in_thread(ingest.commit, content.digest)
        feed.report(_step(content, "downloaded", content.size_bytes))
        return True

    async def _fill(self, ingest: Ingest, content: Descriptor, origins: Sequence[Origin], feed: Feed) -> None:
        """Read until the ingest has the content: from the next origin after each failure."""
        usable = list(origins)
        failure: errors.BeeyardError | None = None
        for attempt in range(ATTEMPTS_MAX):
            if not usable:
                break
            origin = usable[attempt % len(usable)]
            if attempt >= len(usable):
                bound = min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt)
                await self._clock.sleep(self._rng.uniform(bound / 2, bound))
            try:
                await self._read(ingest, content, origin, feed)
                if ingest.digest() == content.digest:
                    return
                # Whoever sent the wrong bytes, there is no telling which: begin again, without the one that ended it.
                raise errors.Invalid(
                    f"{origin.label} sent other content than asked for", reason="DIGEST_MISMATCH"
                )
            except (errors.Invalid, errors.NotFound, errors.Unsupported, errors.PermissionDenied) as error:
                failure = error
                usable.remove(origin)
                if isinstance(error, errors.Invalid):
                    ingest.restart()
            except (errors.Unavailable, errors.Internal, errors.FailedPrecondition) as error:
                failure = error
            _log.warning(
                "fetch_interrupted",
                digest=content.digest,
                origin=origin.label,
                at=ingest.offset,
                error=failure.message,
            )
        why = failure.message if failure is not None else "nobody has it"
        raise errors.Unavailable(f"cannot fetch {content.digest}: {why}", reason="CONTENT_UNAVAILABLE")

    async def _read(self, ingest: Ingest, content: Descriptor, origin: Origin, feed: Feed) -> None:
        bytes_max = content.size_bytes or MANIFEST_BYTES_MAX
        if ingest.offset >= bytes_max:
            return
        async with contextlib.aclosing(origin.read(content, ingest.offset)) as chunks:
            async for chunk in chunks:
                if ingest.offset + len(chunk) > bytes_max:
                    raise errors.Invalid(
                        f"{origin.label} sent more than the {bytes_max} bytes of {content.digest.short}",
                        reason="DIGEST_MISMATCH",
                    )
                await streams.in_thread(ingest.write, chunk)
                feed.report(_step(content, "downloading", ingest.offset, origin.label))
        if ingest.offset < content.size_bytes:
            raise errors.Unavailable(f"{origin.label} ended early", reason="CONTENT_TRUNCATED")


def _step(content: Descriptor, phase: str, done_bytes: int, source: str = "") -> Step:
    return Step(
        id=str(content.digest),
        phase=phase,
        done_bytes=done_bytes,
        total_bytes=content.size_bytes,
        source=source,
    )
