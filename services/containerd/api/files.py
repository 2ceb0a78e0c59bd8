"""The calls about files of containers: CopyIn, CopyOut and ExportContainer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from beeyard.container.v1 import container_pb2 as pb
from services.containerd.files.archive.packing import Stat
from services.containerd.model.events import Action
from services.kit import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from services.containerd.engine import Engine
    from services.containerd.files.containers import ContainerFiles
    from services.containerd.lifecycle.actor import Actor

CHUNK_BYTES_MAX = 1 << 20
_NS_MIN = -62_135_596_800 * 10**9
_NS_MAX = 253_402_300_799 * 10**9
"""What a timestamp can say: the years 1 to 9999; a file's may be any."""


class Files:
    """Serves copies and exports."""

    def __init__(self, engine: Engine, files: ContainerFiles) -> None:
        self._engine = engine
        self._files = files

    async def copy_out(self, request: pb.CopyOutRequest) -> AsyncIterator[pb.CopyOutResponse]:
        """Yield what is at a path, then its archive."""
        actor = self._engine.find(request.container)
        with _named(request.path, request.container):
            if request.stat_only:
                found = await self._files.look(actor, request.path, follow=request.follow_link)
                yield pb.CopyOutResponse(stat=_stat(found))
                return
            parts = self._files.read(actor, request.path, follow=request.follow_link)
            async with contextlib.aclosing(parts):
                async for part in parts:
                    yield (
                        pb.CopyOutResponse(stat=_stat(part))
                        if isinstance(part, Stat)
                        else pb.CopyOutResponse(chunk=part)
                    )
        actor.tell(Action.ARCHIVE_PATH)

    async def copy_in(self, requests: AsyncIterator[pb.CopyInRequest]) -> pb.CopyInResponse:
        """Unpack what comes."""
        opening = await anext(aiter(requests), None)
        if opening is None or not opening.HasField("spec"):
            raise errors.Invalid("the first request of a copy is `spec`", reason="SPEC_INVALID")
        wanted = opening.spec
        actor = self._engine.find(wanted.container)
        with _named(wanted.path, wanted.container):
            await self._files.write(
                actor,
                wanted.path,
                _chunks(requests),
                keep_owner=wanted.archive,
                refuse_other_kind=wanted.no_overwrite_dir_non_dir,
            )
        actor.tell(Action.EXTRACT_TO_DIR)
        return pb.CopyInResponse()

    async def export(self, request: pb.ExportContainerRequest) -> AsyncIterator[pb.ExportContainerResponse]:
        """Yield the archive of a container's own file system."""
        actor: Actor = self._engine.find(request.container)
        chunks = self._files.export(actor)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield pb.ExportContainerResponse(chunk=chunk)
        actor.tell(Action.EXPORT)


async def _chunks(requests: AsyncIterator[pb.CopyInRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if not request.HasField("chunk"):
            raise errors.Invalid("after `spec` a copy takes chunks", reason="SPEC_INVALID")
        if len(request.chunk) > CHUNK_BYTES_MAX:
            raise errors.Invalid(
                f"a chunk of {len(request.chunk)} bytes is larger than {CHUNK_BYTES_MAX}",
                reason="CHUNK_TOO_LARGE",
            )
        yield request.chunk


@contextlib.contextmanager
def _named(path: str, container: str) -> Iterator[None]:
    """Tell of a path that is not there as Docker does."""
    if not path:
        raise errors.Invalid("the path cannot be empty", reason="PATH_INVALID")
    try:
        yield
    except errors.NotFound as exc:
        if exc.reason != "PATH_NOT_FOUND":
            raise
        raise errors.NotFound(
            f"Could not find the file {path} in container {container}", reason=exc.reason
        ) from exc


def _stat(found: Stat) -> pb.PathStat:
    modified = Timestamp()
    modified.FromNanoseconds(max(min(found.mtime_ns, _NS_MAX), _NS_MIN))
    return pb.PathStat(
        name=found.name.decode("utf-8", "backslashreplace"),
        size_bytes=found.size_bytes,
        mode=found.mode,
        modified_at=modified,
        link_target=found.link_target.decode("utf-8", "backslashreplace"),
    )
