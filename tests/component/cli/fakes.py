"""Daemons in miniature: enough of their contracts to talk to, with programs that are Python functions."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import container_pb2_grpc
from beeyard.image.v1 import image_pb2, image_pb2_grpc
from beeyard.network.v1 import network_pb2, network_pb2_grpc
from beeyard.system.v1 import system_pb2, system_pb2_grpc
from services.kit import errors
from services.kit.rpc.server import RpcServer
from services.kit.rpc.types import Context

DETACH = b"\x10\x11"


@dataclasses.dataclass
class Process:
    """A running program: what it reads, what it wrote, and what it was told."""

    argv: list[str]
    tty: bool
    stdin: asyncio.Queue[bytes | None] = dataclasses.field(default_factory=asyncio.Queue)
    output: asyncio.Queue[pb.Output | None] = dataclasses.field(default_factory=asyncio.Queue)
    signals: asyncio.Queue[int] = dataclasses.field(default_factory=asyncio.Queue)
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    ended: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    exit_code: int = 0
    task: asyncio.Task[None] | None = None

    def write(self, text: bytes, *, stderr: bool = False) -> None:
        stream = pb.OUTPUT_STREAM_STDERR if stderr else pb.OUTPUT_STREAM_STDOUT
        self.output.put_nowait(pb.Output(stream=stream, data=text))

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        self.exit_code = await PROGRAMS[self.argv[0]](self)
        self.output.put_nowait(None)
        self.ended.set()


async def _echo(process: Process) -> int:
    process.write(" ".join(process.argv[1:]).encode() + b"\n")
    return 0


async def _both(process: Process) -> int:
    process.write(b"out\n")
    process.write(b"err\n", stderr=True)
    return 0


async def _exit(process: Process) -> int:
    return int(process.argv[1])


async def _cat(process: Process) -> int:
    while (data := await process.stdin.get()) is not None:
        process.write(data)
    return 0


async def _sleep(process: Process) -> int:
    return 128 + await process.signals.get()


async def _trap(process: Process) -> int:
    """Say which signal came, and end with 42."""
    process.write(b"ready\n")
    number = await process.signals.get()
    process.write(f"got {signal.Signals(number).name}\n".encode())
    return 42


async def _shell(process: Process) -> int:
    """A line at a time: `size` prints the sizes it was told, `exit N` ends."""
    process.write(b"$ ")
    line = b""
    while (data := await process.stdin.get()) is not None:
        line += data.replace(b"\n", b"\r")
        while b"\r" in line:
            command, _, line = line.partition(b"\r")
            if command == b"size":
                process.write(f"{process.sizes[-1]}\r\n$ ".encode())
            elif command.startswith(b"exit"):
                return int(command.split()[1])
            else:
                process.write(b"? " + command + b"\r\n$ ")
    return 0


PROGRAMS: dict[str, Callable[[Process], Awaitable[int]]] = {
    "echo": _echo,
    "both": _both,
    "exit": _exit,
    "cat": _cat,
    "sleep": _sleep,
    "trap": _trap,
    "sh": _shell,
}


class Containers(container_pb2_grpc.ContainerServiceServicer):  # type: ignore[misc]
    """containerd, whose containers are tasks."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self.by_id: dict[str, pb.Container] = {}
        self.processes: dict[str, Process] = {}
        self.calls: list[tuple[str, object]] = []
        self.watch_s = 0.0
        """So long a watch of events goes on."""

    def find(self, name: str) -> pb.Container:
        for container in self.by_id.values():
            if container.name == name or (name and container.id.startswith(name)):
                return container
        raise errors.NotFound(f"no such container: {name}", reason="CONTAINER_NOT_FOUND")

    async def CreateContainer(
        self, request: pb.CreateContainerRequest, context: Context
    ) -> pb.CreateContainerResponse:
        self.calls.append(("create", request))
        if request.spec.image not in self._images.names:
            raise errors.NotFound(f"image {request.spec.image} is not here", reason="IMAGE_NOT_FOUND")
        number = len(self.by_id) + 1
        container = pb.Container(
            id=f"{number:02d}".ljust(64, "a"),
            name=request.spec.name or f"made_up_{number}",
            spec=request.spec,
            argv=request.spec.cmd,
            status=pb.ContainerStatus(state=pb.CONTAINER_STATE_CREATED),
        )
        container.created_at.GetCurrentTime()
        self.by_id[container.id] = container
        self.processes[container.id] = Process(list(request.spec.cmd), request.spec.tty)
        return pb.CreateContainerResponse(
            id=container.id, name=container.name, warnings=self._images.warnings
        )

    async def StartContainer(
        self, request: pb.StartContainerRequest, context: Context
    ) -> pb.StartContainerResponse:
        container = self.find(request.container)
        process = self.processes[container.id]
        if process.ended.is_set():
            process = self.processes[container.id] = Process(process.argv, process.tty)
        if process.argv[0] not in PROGRAMS:
            raise errors.FailedPrecondition(
                f"cannot start container {container.name}: {process.argv[0]}: not found",
                reason="START_FAILED",
                metadata={"exit_code": "127"},
            )
        container.status.state = pb.CONTAINER_STATE_RUNNING
        process.start()
        return pb.StartContainerResponse(pid=1)

    async def AttachContainer(
        self, requests: AsyncIterator[pb.AttachContainerRequest], context: Context
    ) -> AsyncIterator[pb.AttachContainerResponse]:
        opening = (await anext(aiter(requests))).open
        container = self.find(opening.container)
        self.calls.append(("attach", opening))
        process = self.processes[container.id]
        if opening.HasField("size"):
            process.sizes.append((opening.size.rows, opening.size.columns))
        detached = asyncio.Event()
        typing = asyncio.get_running_loop().create_task(self._type(process, requests, detached))
        try:
            yield pb.AttachContainerResponse(opened=pb.AttachOpened(tty=process.tty))
            while True:
                getting = asyncio.get_running_loop().create_task(process.output.get())
                leaving = asyncio.get_running_loop().create_task(detached.wait())
                await asyncio.wait({getting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                if detached.is_set():
                    getting.cancel()
                    yield pb.AttachContainerResponse(detached=pb.Detached())
                    return
                output = getting.result()
                if output is None:
                    break
                yield pb.AttachContainerResponse(output=output)
            await process.ended.wait()
            container.status.state = pb.CONTAINER_STATE_EXITED
            container.status.exit_code = process.exit_code
            if container.spec.auto_remove:
                self.by_id.pop(container.id, None)
            yield pb.AttachContainerResponse(exit=pb.ExitStatus(exit_code=process.exit_code))
        finally:
            typing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await typing

    @staticmethod
    async def _type(
        process: Process, requests: AsyncIterator[pb.AttachContainerRequest], detached: asyncio.Event
    ) -> None:
        async for request in requests:
            match request.WhichOneof("part"):
                case "stdin" if process.tty and request.stdin.endswith(DETACH):
                    detached.set()
                case "stdin":
                    process.stdin.put_nowait(request.stdin)
                case "stdin_end":
                    process.stdin.put_nowait(None)
                case "resize":
                    process.sizes.append((request.resize.rows, request.resize.columns))

    async def KillContainer(
        self, request: pb.KillContainerRequest, context: Context
    ) -> pb.KillContainerResponse:
        self.calls.append(("kill", request))
        self.processes[self.find(request.container).id].signals.put_nowait(signal.Signals[request.signal])
        return pb.KillContainerResponse()

    async def RemoveContainer(
        self, request: pb.RemoveContainerRequest, context: Context
    ) -> pb.RemoveContainerResponse:
        self.calls.append(("remove", request))
        try:
            container = self.find(request.container)
        except errors.NotFound:
            if request.ignore_missing:
                return pb.RemoveContainerResponse()
            raise
        process = self.processes[container.id]
        if process.task is not None and not process.ended.is_set():
            if not request.force:
                raise errors.FailedPrecondition(
                    f"container {container.name} runs", reason="CONTAINER_RUNNING"
                )
            process.task.cancel()
            process.output.put_nowait(None)
            process.ended.set()
        del self.by_id[container.id]
        return pb.RemoveContainerResponse()

    async def StopContainer(
        self, request: pb.StopContainerRequest, context: Context
    ) -> pb.StopContainerResponse:
        self.calls.append(("stop", request))
        self.find(request.container)
        await asyncio.sleep(0.2)  # one after the other, fifty of these would take ten seconds
        return pb.StopContainerResponse()

    async def ListContainers(
        self, request: pb.ListContainersRequest, context: Context
    ) -> pb.ListContainersResponse:
        """Page by two, whatever is asked for: a client that forgets the pages is found out."""
        self.calls.append(("list", request))
        found = [self.by_id[key] for key in sorted(self.by_id) if key > request.page_token]
        page = found[:2]
        return pb.ListContainersResponse(
            containers=page, next_page_token=page[-1].id if len(found) > len(page) else ""
        )

    async def GetContainer(
        self, request: pb.GetContainerRequest, context: Context
    ) -> pb.GetContainerResponse:
        return pb.GetContainerResponse(container=self.find(request.container))

    async def WaitContainer(
        self, request: pb.WaitContainerRequest, context: Context
    ) -> AsyncIterator[pb.WaitContainerResponse]:
        process = self.processes[self.find(request.container).id]
        yield pb.WaitContainerResponse(waiting=pb.Waiting())
        await process.ended.wait()
        yield pb.WaitContainerResponse(exit=pb.ExitStatus(exit_code=process.exit_code))

    async def GetLogs(
        self, request: pb.GetLogsRequest, context: Context
    ) -> AsyncIterator[pb.GetLogsResponse]:
        self.calls.append(("logs", request))
        self.find(request.container)
        for number in range(2):
            lines = []
            for stream, text in ((1, b"out %d\n"), (2, b"err %d\n")):
                line = pb.LogLine(stream=stream, data=text % number, attributes={"tag": "x"})
                line.time.FromSeconds(1_700_000_000 + number)
                lines.append(line)
            yield pb.GetLogsResponse(lines=lines, lost_bytes=2_000_000 if request.until.seconds else 0)
        if request.follow:
            await asyncio.sleep(3600)

    async def Exec(
        self, requests: AsyncIterator[pb.ExecRequest], context: Context
    ) -> AsyncIterator[pb.ExecResponse]:
        spec = (await anext(aiter(requests))).spec
        self.calls.append(("exec", spec))
        self.find(spec.container)
        if spec.argv[0] not in PROGRAMS:
            raise errors.FailedPrecondition(
                f"{spec.argv[0]}: not found", reason="START_FAILED", metadata={"exit_code": "127"}
            )
        process = Process(list(spec.argv), spec.tty)
        process.start()
        yield pb.ExecResponse(started=pb.ExecStarted(exec_id="x", pid=2))
        if spec.detach:
            return
        typing = asyncio.get_running_loop().create_task(self._type_exec(process, requests))
        try:
            while (output := await process.output.get()) is not None:
                yield pb.ExecResponse(output=output)
            yield pb.ExecResponse(exit=pb.ExitStatus(exit_code=process.exit_code))
        finally:
            typing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await typing

    @staticmethod
    async def _type_exec(process: Process, requests: AsyncIterator[pb.ExecRequest]) -> None:
        async for request in requests:
            process.stdin.put_nowait(request.stdin if request.WhichOneof("part") == "stdin" else None)

    async def UpdateContainer(
        self, request: pb.UpdateContainerRequest, context: Context
    ) -> pb.UpdateContainerResponse:
        self.calls.append(("update", request))
        self.find(request.container)
        return pb.UpdateContainerResponse(warnings=["no swap limit here"])

    async def ListProcesses(
        self, request: pb.ListProcessesRequest, context: Context
    ) -> pb.ListProcessesResponse:
        self.calls.append(("top", request))
        rows = [pb.ProcessRow(values=["1", "sh -c x"]), pb.ProcessRow(values=["22"])]
        return pb.ListProcessesResponse(titles=["PID", "CMD"], rows=rows)

    async def DiffContainer(
        self, request: pb.DiffContainerRequest, context: Context
    ) -> AsyncIterator[pb.DiffContainerResponse]:
        for kind, path in ((1, "/etc"), (2, "/etc/new"), (3, "/bin/sh")):
            yield pb.DiffContainerResponse(changes=[pb.PathChange(kind=kind, path=path)])

    async def CommitContainer(
        self, request: pb.CommitContainerRequest, context: Context
    ) -> pb.CommitContainerResponse:
        self.calls.append(("commit", request))
        return pb.CommitContainerResponse(image_id="sha256:committed")

    async def GetStats(
        self, request: pb.GetStatsRequest, context: Context
    ) -> AsyncIterator[pb.GetStatsResponse]:
        """Sample as containerd does: the first has no share of processor time."""
        for percent in (0.0, 12.5, 50.0):
            used = pb.ContainerStats(
                id="5" * 64, name="box", cpu_percent=percent, memory_bytes=1 << 20, memory_limit_bytes=1 << 22,
                network_rx_bytes=1500, pids=3,
            )  # fmt: skip
            yield pb.GetStatsResponse(stats=[used])

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        self.calls.append(("events", request))
        for action, second in (("create", 0), ("start", 2)):
            event = pb.Event(
                type="container", action=action, id="5" * 64, attributes={"name": "box", "image": "img"}
            )
            event.time.FromSeconds(1_700_000_000 + second)
            yield pb.WatchEventsResponse(event=event)
            yield pb.WatchEventsResponse(resync=pb.Resync())
        yield pb.WatchEventsResponse(live=pb.Live())
        await asyncio.sleep(self.watch_s)

    async def PruneContainers(
        self, request: pb.PruneContainersRequest, context: Context
    ) -> pb.PruneContainersResponse:
        self.calls.append(("prune", request))
        return pb.PruneContainersResponse(deleted=["a" * 64], reclaimed_bytes=1_500_000)


class Images(image_pb2_grpc.ImageServiceServicer):  # type: ignore[misc]
    """imaged, whose images are names."""

    def __init__(self) -> None:
        self.names = {"img"}
        self.remote = {"far:1"}
        self.warnings: list[str] = []
        self.received = b""
        self.specs: list[object] = []
        self.archive = [b"archive-", b"of-images"]
        self.refusal: errors.BeeyardError | None = None

    async def WatchEvents(
        self, request: image_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[image_pb2.WatchEventsResponse]:
        """Tell of the image after the others have told of what came later."""
        await asyncio.sleep(0.02)
        event = image_pb2.Event(type="image", action="tag", id="sha256:7", attributes={"name": "img:latest"})
        event.time.FromSeconds(1_699_999_999)
        yield image_pb2.WatchEventsResponse(event=event)
        yield image_pb2.WatchEventsResponse(live=image_pb2.Live())

    async def Pull(
        self, request: image_pb2.PullRequest, context: Context
    ) -> AsyncIterator[image_pb2.PullResponse]:
        if request.reference not in self.remote:
            raise errors.NotFound(f"image {request.reference} is nowhere", reason="IMAGE_NOT_FOUND")
        for phase, done in (("downloading", 0), ("downloading", 500), ("extracting", 1000)):
            progress = image_pb2.Progress(
                id="sha256:" + "b" * 64, phase=phase, done_bytes=done, total_bytes=1000, source="peer n1"
            )
            yield image_pb2.PullResponse(progress=progress)
        self.names.add(request.reference)
        done_ = image_pb2.PullDone(
            reference=request.reference, image_id="sha256:i", manifest_digest="sha256:m", fetched=True
        )
        yield image_pb2.PullResponse(done=done_)

    async def Import(
        self, requests: AsyncIterator[image_pb2.ImportRequest], context: Context
    ) -> image_pb2.ImportResponse:
        async for request in requests:
            if request.WhichOneof("part") == "spec":
                self.specs.append(request.spec)
            else:
                self.received += request.chunk
                if self.refusal is not None:
                    raise self.refusal
        return image_pb2.ImportResponse(image_id="sha256:imported")

    async def Load(
        self, requests: AsyncIterator[image_pb2.LoadRequest], context: Context
    ) -> AsyncIterator[image_pb2.LoadResponse]:
        async for request in requests:
            self.received += request.chunk
            if request.chunk:
                yield image_pb2.LoadResponse(progress=image_pb2.Progress(id="layer", phase="unpacking"))
        yield image_pb2.LoadResponse(image=image_pb2.LoadedImage(reference="a:1", image_id="sha256:a"))
        yield image_pb2.LoadResponse(image=image_pb2.LoadedImage(image_id="sha256:b"))

    async def Save(
        self, request: image_pb2.SaveRequest, context: Context
    ) -> AsyncIterator[image_pb2.SaveResponse]:
        self.specs.append(request)
        for chunk in self.archive:
            yield image_pb2.SaveResponse(chunk=chunk)
        if self.refusal is not None:
            raise self.refusal

    async def ListImages(
        self, request: image_pb2.ListImagesRequest, context: Context
    ) -> image_pb2.ListImagesResponse:
        names = sorted(name for name in self.names if name > request.page_token)
        images = [image_pb2.Image(id="sha256:" + "1" * 64, repo_tags=[name]) for name in names[:1]]
        return image_pb2.ListImagesResponse(images=images, next_page_token=names[0] if len(names) > 1 else "")

    async def GetImage(
        self, request: image_pb2.GetImageRequest, context: Context
    ) -> image_pb2.GetImageResponse:
        if request.reference not in self.names:
            raise errors.NotFound(f"no such image: {request.reference}", reason="IMAGE_NOT_FOUND")
        return image_pb2.GetImageResponse(image=image_pb2.Image(id="sha256:i", repo_tags=[request.reference]))

    async def RemoveImage(
        self, request: image_pb2.RemoveImageRequest, context: Context
    ) -> image_pb2.RemoveImageResponse:
        if request.reference not in self.names:
            raise errors.NotFound(f"no such image: {request.reference}", reason="IMAGE_NOT_FOUND")
        self.names.remove(request.reference)
        return image_pb2.RemoveImageResponse(untagged=[request.reference], deleted=["sha256:1"])


class Networks(network_pb2_grpc.NetworkServiceServicer):  # type: ignore[misc]
    """netd, with a bridge."""

    def __init__(self) -> None:
        self.made: list[network_pb2.NetworkSpec] = []
        self.absences = 0
        """So many watches end as if netd went away."""

    async def WatchEvents(
        self, request: network_pb2.WatchEventsRequest, context: Context
    ) -> AsyncIterator[network_pb2.WatchEventsResponse]:
        if self.absences:
            self.absences -= 1
            raise errors.Unavailable("netd is not there", reason="DAEMON_UNREACHABLE")
        event = network_pb2.Event(
            type="network", action="connect", id="e" * 64, attributes={"name": "web", "type": "bridge"}
        )
        event.time.FromSeconds(1_700_000_001)
        yield network_pb2.WatchEventsResponse(event=event)
        yield network_pb2.WatchEventsResponse(live=network_pb2.Live())

    async def CreateNetwork(
        self, request: network_pb2.CreateNetworkRequest, context: Context
    ) -> network_pb2.CreateNetworkResponse:
        self.made.append(request.spec)
        return network_pb2.CreateNetworkResponse(network=network_pb2.Network(id="e" * 64))

    async def GetNetwork(
        self, request: network_pb2.GetNetworkRequest, context: Context
    ) -> network_pb2.GetNetworkResponse:
        if request.network != "bridge":
            raise errors.NotFound(f"network {request.network} not found", reason="NETWORK_NOT_FOUND")
        spec = network_pb2.NetworkSpec(name="bridge")
        return network_pb2.GetNetworkResponse(network=network_pb2.Network(id="b" * 64, spec=spec))


class System(system_pb2_grpc.SystemServiceServicer):  # type: ignore[misc]
    """What every daemon answers."""

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon

    async def GetVersion(
        self, request: system_pb2.GetVersionRequest, context: Context
    ) -> system_pb2.GetVersionResponse:
        return system_pb2.GetVersionResponse(
            daemon=self._daemon, version="9.9", apis=["x"], os="linux", arch="amd64"
        )


class Node:
    """A node without a swarm: containerd, imaged and netd in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.images = Images()
        self.containers = Containers(self.images)
        self.networks = Networks()

    def servers(self) -> list[RpcServer]:
        """Build a server for each daemon."""
        built = []
        for daemon, adder, servicer in (
            ("containerd", container_pb2_grpc.add_ContainerServiceServicer_to_server, self.containers),
            ("imaged", image_pb2_grpc.add_ImageServiceServicer_to_server, self.images),
            ("netd", network_pb2_grpc.add_NetworkServiceServicer_to_server, self.networks),
        ):
            server = RpcServer(daemon)
            server.add(adder, servicer)
            server.add(system_pb2_grpc.add_SystemServiceServicer_to_server, System(daemon))
            server.listen_unix(self.directory / f"{daemon}.sock")
            built.append(server)
        return built
