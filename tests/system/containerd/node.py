"""A node of three real daemons (imaged, netd, containerd) in a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import container_pb2_grpc, spec_pb2
from beeyard.image.v1 import image_pb2, image_pb2_grpc
from services.containerd.kernel import mountinfo
from services.containerd.runtime import sharing
from services.kit.rpc import client
from tests.component.containerd import groups
from tests.component.containerd.neighbours import make_rootfs
from tests.component.containerd.yard import remove_groups
from tests.system.netd.world import ROOT, Namespace

DAEMONS = ("imaged", "netd", "containerd")
START_S_MAX = 60.0
IDS_START = 3_000_000
"""Ids of user namespaces begin here: first those that `--userns=remap` shares, 65,536 of them."""


class Node:
    """Made by `node`."""

    def __init__(self, directory: Path, namespace: Namespace) -> None:
        self.namespace = namespace
        self.root, self.run = directory / "s", directory / "r"
        self.cgroup_parent = f"beeyard-test-{directory.name}"
        self.log = directory / "log"
        directory.chmod(0o711)  # the root of a user namespace passes here
        self._config = directory / "containerd.toml"
        self._config.write_text(
            f'cgroup_parent = "{self.cgroup_parent}"\nuserns_range = "{IDS_START}-{IDS_START + (1 << 20)}"\n'
        )
        self._rootfs = directory / "rootfs"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._channels = {name: client.channel_unix(self.run / f"{name}.sock") for name in DAEMONS}
        self.containers = container_pb2_grpc.ContainerServiceStub(self._channels["containerd"])
        self.images = image_pb2_grpc.ImageServiceStub(self._channels["imaged"])

    async def start(self, *names: str) -> None:
        """Start daemons and wait until they serve."""
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'protos'}:{ROOT}"}
        for name in names:
            argv = ["nsenter", f"--net={self.namespace.path}", sys.executable, "-m", f"services.{name}"]
            argv += ["--root", str(self.root), "--run", str(self.run)]
            argv += ["--config", str(self._config)] if name == "containerd" else []
            with self.log.open("ab") as log:
                self._processes[name] = subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=log)
        async with asyncio.timeout(START_S_MAX):
            for name in names:
                while not await self._answers(name):
                    assert self._processes[name].poll() is None, self.log.read_text()[-4000:]
                    await asyncio.sleep(0.02)

    async def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            process = self._processes.pop(name)
            process.send_signal(signal.SIGKILL)
            while process.poll() is None:
                await asyncio.sleep(0.01)

    async def swarmctl(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        """Return exit code and output of a command on this node."""
        environment = {
            **os.environ,
            "BEEYARD_HOST": f"unix://{self.run}",
            "PYTHONPATH": f"{ROOT / 'protos'}:{ROOT}",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", *arguments, env=environment, stdin=-1, stdout=-1, stderr=-1
        )
        out, err = await process.communicate(stdin)
        return process.returncode or 0, out, err.decode()

    async def import_image(self, reference: str) -> None:
        """Make a small image."""
        make_rootfs(self._rootfs)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(self._rootfs, arcname=".")
        data = archive.getvalue()

        async def requests() -> AsyncIterator[image_pb2.ImportRequest]:
            yield image_pb2.ImportRequest(
                spec=image_pb2.ImportSpec(reference=reference, changes=['CMD ["sh"]'])
            )
            for offset in range(0, len(data), 1 << 20):
                yield image_pb2.ImportRequest(chunk=data[offset : offset + (1 << 20)])

        await client.call(self.images.Import(requests()))

    async def create(self, *command: str, image: str = "box", **fields: Any) -> str:
        """Create a container."""
        spec = spec_pb2.ContainerSpec(image=image, cmd=command, **fields)
        return (await client.call(self.containers.CreateContainer(pb.CreateContainerRequest(spec=spec)))).id

    async def begin(self, *command: str, **fields: Any) -> pb.Container:
        """Create and start a container."""
        container = await self.create(*command, **fields)
        await client.call(self.containers.StartContainer(pb.StartContainerRequest(container=container)))
        return await self.get(container)

    async def get(self, container: str) -> pb.Container:
        """Inspect a container."""
        response = await client.call(
            self.containers.GetContainer(pb.GetContainerRequest(container=container))
        )
        return response.container

    async def ended(self, container: str) -> int:
        """Wait until a container does not run; return its exit code."""
        request = pb.WaitContainerRequest(container=container)
        last = None
        async for response in client.stream(self.containers.WaitContainer(request)):
            last = response
        assert last is not None
        return last.exit.exit_code

    async def text(self, container: str) -> str:
        """Return what a container wrote."""
        call = self.containers.GetLogs(pb.GetLogsRequest(container=container))
        chunks = [line.data async for response in client.stream(call) for line in response.lines]
        return b"".join(chunks).decode()

    async def changes(self, container: str) -> set[tuple[int, str]]:
        """Return what a container has changed."""
        call = self.containers.DiffContainer(pb.DiffContainerRequest(container=container))
        return {(change.kind, change.path) async for batch in client.stream(call) for change in batch.changes}

    async def remove(self, container: str) -> None:
        """Remove a container by force."""
        await client.call(
            self.containers.RemoveContainer(pb.RemoveContainerRequest(container=container, force=True))
        )

    def remains(self) -> list[str]:
        """Return what is left of containers."""
        left = [mount.target for mount in mountinfo.read() if f"{self.run}/containerd/c/" in mount.target]
        left += [str(path) for path in groups.below(self.cgroup_parent)]
        left += [str(path) for path in (self.run / "containerd/c").iterdir()]
        left += [str(path) for path in (self.run / "netd/ns").iterdir()]
        return left

    async def close(self) -> None:
        """Take the node down."""
        with contextlib.suppress(Exception):
            for container in (
                await client.call(self.containers.ListContainers(pb.ListContainersRequest(all=True)))
            ).containers:
                await self.remove(container.id)
        for channel in self._channels.values():
            await channel.close()
        await self.kill(*list(self._processes))
        sharing.release(self.run / "containerd/c")
        for path in (self.run / "netd/ns").glob("*"):
            Namespace(path).let_go()
        await remove_groups(self.cgroup_parent)

    async def _answers(self, name: str) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self.run / f"{name}.sock"))
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


@contextlib.asynccontextmanager
async def node(directory: Path, namespace: Namespace) -> AsyncIterator[Node]:
    """Make a node with its daemons running and the image "box"; leave nothing of it."""
    made = Node(directory, namespace)
    try:
        await made.start(*DAEMONS)
        await made.import_image("box")
        yield made
    finally:
        await made.close()
