"""ContentService."""

# ruff: noqa: ARG002, N802 (the protos name the methods and their arguments)

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from beeyard.image.v1 import content_pb2, content_pb2_grpc
from services.imaged import streams
from services.imaged.api import requests
from services.imaged.model import digest as digests
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.imaged.model.digest import Digest
    from services.imaged.store.blobs import BlobInfo, BlobStore
    from services.imaged.store.ingest import Ingest, IngestStore
    from services.imaged.store.leases import Leases
    from services.kit.rpc.types import Context

DIGESTS_MAX = 1000


class ContentApi(content_pb2_grpc.ContentServiceServicer):
    """See content.proto."""

    def __init__(self, blobs: BlobStore, ingests: IngestStore, leases: Leases) -> None:
        self._blobs = blobs
        self._ingests = ingests
        self._leases = leases

    async def Stat(self, request: content_pb2.StatRequest, context: Context) -> content_pb2.StatResponse:
        """Say which blobs are here."""
        if len(request.digests) > DIGESTS_MAX:
            raise errors.Invalid(f"stat takes at most {DIGESTS_MAX} digests", reason="TOO_MANY")
        infos = [self._blobs.stat(digests.parse(text)) for text in request.digests]
        return content_pb2.StatResponse(blobs=[_info(info) for info in infos if info is not None])

    async def Read(
        self, request: content_pb2.ReadRequest, context: Context
    ) -> AsyncIterator[content_pb2.ReadResponse]:
        """Stream a blob from an offset."""
        descriptor = self._blobs.open(digests.parse(request.digest))
        try:
            size_bytes = os.fstat(descriptor).st_size
            if request.offset > size_bytes:
                raise errors.Invalid(
                    f"offset {request.offset} is beyond the {size_bytes} bytes of the blob",
                    reason="OFFSET_INVALID",
                )
            left = size_bytes - request.offset
            length = min(request.length, left) if request.length else left
            blob = streams.produce(self._blobs.read(descriptor, request.offset, length))
            async with contextlib.aclosing(blob) as chunks:
                async for chunk in chunks:
                    yield content_pb2.ReadResponse(chunk=chunk)
        finally:
            os.close(descriptor)

    async def Write(
        self, request_iterator: AsyncIterator[content_pb2.WriteRequest], context: Context
    ) -> content_pb2.WriteResponse:
        """Add a blob."""
        spec = (await requests.first(request_iterator)).spec
        expected = digests.parse(spec.digest)
        lease_id = spec.lease_id or (await self._leases.create(is_resumable=True)).id
        await self._leases.add(lease_id, (expected,))
        if (present := self._blobs.stat(expected)) is not None:
            return content_pb2.WriteResponse(blob=_info(present))
        ingest = await streams.in_thread(self._ingests.resume, spec.ref or spec.digest)
        info = await streams.consume(
            requests.chunks(request_iterator),
            lambda chunks: _write(ingest, chunks, spec.offset, expected, spec.size_bytes or None),
        )
        return content_pb2.WriteResponse(blob=_info(info))

    async def GetIngest(
        self, request: content_pb2.GetIngestRequest, context: Context
    ) -> content_pb2.GetIngestResponse:
        """Tell how far an unfinished write is."""
        return content_pb2.GetIngestResponse(offset=self._ingests.offset(request.ref))


def _write(
    ingest: Ingest, chunks: Iterator[bytes], offset: int, expected: Digest, size_bytes: int | None
) -> BlobInfo:
    """Take a stream into an ingest and commit it; blocks."""
    with ingest:
        if offset == 0:
            ingest.restart()
        if offset != ingest.offset:
            # Not `Invalid`, which would drop what is here: the caller may ask again where to go on.
            raise errors.FailedPrecondition(
                f"the write begins at {offset}, but {ingest.offset} bytes are here", reason="OFFSET_INVALID"
            )
        for chunk in chunks:
            ingest.write(chunk)
        return ingest.commit(expected, size_bytes)


def _info(info: BlobInfo) -> content_pb2.BlobInfo:
    return content_pb2.BlobInfo(digest=str(info.digest), size_bytes=info.size_bytes)
