"""A real imaged on a real socket, and archives to feed it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import tarfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio

from beeyard.image.v1 import (
    content_pb2_grpc,
    image_pb2,
    image_pb2_grpc,
    snapshot_pb2,
    snapshot_pb2_grpc,
)
from services.kit.rpc import client

REPOSITORY = Path(__file__).parents[3]
FAULT = "BEEYARD_IMAGED_FAULT"


class Daemon:
    """A daemon on a root of its own, which may be started and killed again and again."""

    def __init__(self, directory: Path, settings: str = "") -> None:
        self.root = directory / "root"
        self.run = directory / "run"
        self.state = self.root / "imaged"
        self.socket = self.run / "imaged.sock"
        self.log = directory / "log"
        self._config = directory / "imaged.toml"
        self._config.write_text(f"purge_delay_s = 0.0\n{settings}")
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None

    async def start(self, fault: str = "") -> None:
        """Start it and wait until it answers."""
        environ = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'protos'}", FAULT: fault}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.imaged", "--config", self._config),
                *("--root", self.root, "--run", self.run),
                cwd=REPOSITORY,
                env=environ,
                stdout=log,
                stderr=log,
            )
        self._channel = client.channel_unix(self.socket)
        async with asyncio.timeout(30):
            while not self._answers():
                assert self._process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def stop(self) -> int:
        """End it in good order; return its exit code."""
        process = await self._disconnect()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        return await process.wait()

    async def kill(self) -> None:
        """End it as by kill -9."""
        process = await self._disconnect()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def died(self) -> None:
        """Wait until it has died by itself."""
        process = await self._disconnect()
        async with asyncio.timeout(30):
            await process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None, "it was started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since."""
        return self._process is not None and self._process.returncode is None

    @property
    def images(self) -> Any:
        """The stub of ImageService; untyped, as the calls are what is tested."""
        return image_pb2_grpc.ImageServiceStub(self.channel)

    @property
    def content(self) -> Any:
        """The stub of ContentService."""
        return content_pb2_grpc.ContentServiceStub(self.channel)

    @property
    def snapshots(self) -> Any:
        """The stub of SnapshotService."""
        return snapshot_pb2_grpc.SnapshotServiceStub(self.channel)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection to it."""
        assert self._channel is not None, "it was started"
        return self._channel

    async def import_(self, data: bytes, reference: str = "", **spec: Any) -> image_pb2.ImportResponse:
        """Import an archive."""
        first = image_pb2.ImportRequest(spec=image_pb2.ImportSpec(reference=reference, **spec))
        parts = (image_pb2.ImportRequest(chunk=part) for part in cut(data))
        return await client.call(self.images.Import(stream(first, parts)))

    async def load(self, data: bytes, platforms: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Load an archive; return names and ids."""
        first = image_pb2.LoadRequest(spec=image_pb2.LoadSpec(platforms=platforms))
        parts = (image_pb2.LoadRequest(chunk=part) for part in cut(data))
        responses = client.stream(self.images.Load(stream(first, parts)))
        return [
            (response.image.reference, response.image.image_id)
            async for response in responses
            if response.HasField("image")
        ]

    async def save(self, *references: str, oci: bool = False) -> bytes:
        """Save images."""
        kind = image_pb2.ARCHIVE_FORMAT_OCI if oci else image_pb2.ARCHIVE_FORMAT_DOCKER
        request = image_pb2.SaveRequest(references=references, format=kind)
        return b"".join([response.chunk async for response in client.stream(self.images.Save(request))])

    async def told(self, **filters: Sequence[str]) -> list[Any]:
        """Return the events until now."""
        values = {key: image_pb2.StringList(values=value) for key, value in filters.items()}
        request = image_pb2.WatchEventsRequest(filters=values, mark_live=True)
        request.since.FromSeconds(1)
        events: list[Any] = []
        async for response in client.stream(self.images.WatchEvents(request)):
            if response.HasField("live"):
                break
            events.append(response.event)
        return events

    async def pull(self, reference: str, **fields: Any) -> tuple[list[Any], Any]:
        """Pull; return the progress and the result."""
        request = image_pb2.PullRequest(reference=reference, **fields)
        responses = [response async for response in client.stream(self.images.Pull(request))]
        return [response.progress for response in responses[:-1]], responses[-1].done

    async def list(self, **filters: Sequence[str]) -> list[Any]:
        """List images."""
        values = {key: image_pb2.StringList(values=value) for key, value in filters.items()}
        return list(
            (await client.call(self.images.ListImages(image_pb2.ListImagesRequest(filters=values)))).images
        )

    async def tags(self) -> list[str]:
        """Return all names."""
        return sorted(tag for image in await self.list() for tag in image.repo_tags)

    async def get(self, reference: str) -> Any:
        """Return one image."""
        return (await client.call(self.images.GetImage(image_pb2.GetImageRequest(reference=reference)))).image

    async def remove(self, reference: str, *, force: bool = False) -> Any:
        """Remove an image."""
        request = image_pb2.RemoveImageRequest(reference=reference, force=force)
        return await client.call(self.images.RemoveImage(request))

    async def prepare(self, key: str, image: str) -> Any:
        """Prepare a container's snapshot."""
        request = snapshot_pb2.PrepareSnapshotRequest(key=key, image=image)
        return await client.call(self.snapshots.PrepareSnapshot(request))

    async def remove_snapshot(self, key: str) -> None:
        """Remove a container's snapshot."""
        await client.call(self.snapshots.RemoveSnapshot(snapshot_pb2.RemoveSnapshotRequest(key=key)))

    def blobs(self) -> set[str]:
        """Return the blobs on the disk."""
        return {path.name for path in (self.state / "content/blobs/sha256").iterdir()}

    def ingests(self) -> list[str]:
        """Return the unfinished ones."""
        return sorted(path.name for path in (self.state / "content/ingest").iterdir())

    def directories(self, driver: str = "overlay") -> set[str]:
        """Return the directories of snapshots, the trash aside."""
        return {path.name for path in (self.state / "snapshots" / driver).iterdir()} - {"trash"}

    async def trash_is_empty(self, driver: str = "overlay") -> None:
        """Wait until what was discarded is gone."""
        async with asyncio.timeout(20):
            while any((self.state / "snapshots" / driver / "trash").iterdir()):
                await asyncio.sleep(0.02)

    def _answers(self) -> bool:
        return f"daemon_ready daemon=imaged pid={self.pid}" in self.log.read_text()

    async def _disconnect(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it was started"
        if self._channel is not None:
            await self._channel.close()
        return self._process


async def stream(first: Any, parts: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield requests."""
    yield first
    for part in parts:
        yield part


def cut(data: bytes, size: int = 100_000) -> list[bytes]:
    """Return the parts of a stream."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def tar(files: dict[str, bytes | str]) -> bytes:
    """Return an archive: content by name; a value `-> target` makes a link, a name with a slash a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            data = value.encode() if isinstance(value, str) else value
            if name.endswith("/"):
                info.type, info.mode, data = tarfile.DIRTYPE, 0o755, b""
            elif data.startswith(b"-> "):
                info.type, info.linkname, data = tarfile.SYMTYPE, data[3:].decode(), b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            member.name: reader.read()
            for member in archive
            if member.isfile() and (reader := archive.extractfile(member)) is not None
        }


ROOTFS = tar({"bin/": "", "bin/sh": b"#!" + bytes(3000), "etc/": "", "etc/hosts": "127.0.0.1 localhost\n"})
