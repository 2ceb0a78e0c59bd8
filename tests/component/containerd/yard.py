"""A containerd daemon as a real process, between two fake neighbours, and a client of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import container_pb2_grpc, spec_pb2
from services.containerd.kernel import mountinfo
from services.containerd.runtime import sharing
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd import groups
from tests.component.containerd.neighbours import IMAGE, FakeImaged, FakeNetd, serve_imaged, serve_netd

START_S_MAX = 30.0


class Yard:
    """The world of one test. Made by `yard`."""

    def __init__(self, directory: Path, runtime: str, settings: Mapping[str, object]) -> None:
        self.directory = directory
        self.root, self.run = directory / "s", directory / "r"
        self.run.mkdir()
        self.cgroup_parent = f"beeyard-test-{'-'.join(directory.parts[-2:])}"
        self.imaged = FakeImaged(directory / "i")
        self.netd = FakeNetd(directory / "n")
        lines = {"runtime": runtime, "cgroup_parent": self.cgroup_parent, **settings}
        self.config = directory / "containerd.toml"
        self.config.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in lines.items()))
        self.enter: Sequence[str] = ()
        """What the daemon is started by: a program that puts it into another namespace."""
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "containerd.log"
        self.channel = client.channel_unix(self.run / "containerd.sock")
        self.stub = container_pb2_grpc.ContainerServiceStub(self.channel)
        self.servers: dict[str, Any] = {}

    async def start_daemon(self, fault: str = "") -> None:
        """Start the daemon and wait until it serves, or has died of its fault."""
        environment = {**os.environ, "PYTHONPATH": f"{os.getcwd()}/protos:{os.getcwd()}"}
        if fault:
            environment["BEEYARD_FAULT"] = fault
        command = [*self.enter, sys.executable, "-m", "services.containerd", "--config", str(self.config)]
        command += ["--root", str(self.root), "--run", str(self.run), "--log-level", "debug"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = asyncio.get_running_loop().time() + START_S_MAX
        while self.process.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self.run / "containerd.sock"))
                writer.close()
                await writer.wait_closed()
                return
            assert asyncio.get_running_loop().time() < deadline, self.log.read_text()[-3000:]
            await asyncio.sleep(0.02)
        if not fault:
            raise AssertionError(f"the daemon died: {self.log.read_text()[-3000:]}")

    async def kill_daemon(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.daemon_gone()

    async def stop_daemon(self) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await self.daemon_gone()

    async def daemon_gone(self) -> int:
        """Wait for the daemon to be dead."""
        assert self.process is not None
        async with asyncio.timeout(30):
            while (code := self.process.poll()) is None:
                await asyncio.sleep(0.01)
        return code

    async def create(self, *command: str, name: str = "", **fields: Any) -> str:
        """Create a container; return its id."""
        response = await client.call(
            self.stub.CreateContainer(pb.CreateContainerRequest(spec=spec(*command, name=name, **fields)))
        )
        return response.id

    async def start(self, container: str) -> int:
        """Start a container; return the pid of its init."""
        response = await client.call(self.stub.StartContainer(pb.StartContainerRequest(container=container)))
        return response.pid

    async def run_to_end(self, *command: str, **fields: Any) -> tuple[str, pb.ExitStatus]:
        """Create, start and wait; return the id and how it ended."""
        container = await self.create(*command, **fields)
        waiting = await self.armed_wait(container)
        await self.start(container)
        return container, await waiting

    async def armed_wait(
        self, container: str, condition: int = pb.WAIT_CONDITION_NEXT_EXIT
    ) -> asyncio.Future[Any]:
        """Return a future of the end of a container; the wait is armed when this returns."""
        request = pb.WaitContainerRequest(container=container, condition=condition)
        responses = client.stream(self.stub.WaitContainer(request))
        first = await anext(responses)
        assert first.HasField("waiting"), first

        async def rest() -> pb.ExitStatus:
            async with contextlib.aclosing(responses):
                return (await anext(responses)).exit

        return asyncio.ensure_future(rest())

    async def get(self, container: str) -> pb.Container:
        """Inspect a container."""
        response = await client.call(self.stub.GetContainer(pb.GetContainerRequest(container=container)))
        return response.container

    async def list(self, **fields: Any) -> list[pb.Container]:
        """List all containers."""
        response = await client.call(self.stub.ListContainers(pb.ListContainersRequest(all=True, **fields)))
        return list(response.containers)

    async def remove(self, container: str, *, force: bool = True) -> None:
        """Remove a container."""
        await client.call(
            self.stub.RemoveContainer(pb.RemoveContainerRequest(container=container, force=force))
        )

    async def logs(self, container: str, **fields: Any) -> list[pb.LogLine]:
        """Return the log of a container."""
        call = self.stub.GetLogs(pb.GetLogsRequest(container=container, **fields))
        return [line async for response in client.stream(call) for line in response.lines]

    async def text(self, container: str) -> str:
        """Return what a container wrote."""
        return b"".join(line.data for line in await self.logs(container)).decode()

    async def until_state(self, container: str, *states: int, seconds: float = 20.0) -> pb.Container:
        """Wait until a container is in one of the states."""
        async with asyncio.timeout(seconds):
            while (found := await self.get(container)).status.state not in states:
                await asyncio.sleep(0.02)
        return found

    def remains(self) -> list[str]:
        """Return what is left of runs: mounts, control groups, conmons, bundles, sandboxes, scratch. Empty is good."""
        left = [mount.target for mount in mountinfo.read() if f"{self.run}/containerd/c/" in mount.target]
        left += [str(path) for path in groups.below(self.cgroup_parent)]
        for place in ("c", "exits", "rt", "t"):
            left += [str(path) for path in (self.run / "containerd" / place).glob("*")]
        left += [f"sandbox {key}" for key in self.netd.sandboxes]
        left += [f"conmon {pid}" for pid in self.conmons()]
        return left

    def conmons(self) -> list[int]:
        """Return the pids of this yard's conmon processes."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().split(b"\0")
                if words[0].endswith(b"conmon") and str(self.run / "containerd/exits").encode() in words:
                    found.append(int(entry.parent.name))
        return found

    def state_left(self) -> list[str]:
        """Return what is left of containers that are gone: layers, directories, content of files. Empty is good."""
        paths = [*(self.root / "containerd/containers").glob("*"), *(self.run / "containerd/files").glob("*")]
        return [*(f"layer {key}" for key in self.imaged.layer_keys()), *(str(path) for path in paths)]

    async def clear(self) -> None:
        """Remove all containers, and make sure that nothing of them is left."""
        self.netd.failure = None
        for container in await self.list():
            with contextlib.suppress(errors.NotFound):
                await self.remove(container.id)
        async with asyncio.timeout(20):
            while self.remains() or self.state_left():
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Take everything down, whatever state it is in."""
        await self.channel.close()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            await self.daemon_gone()
        for pid in self.conmons():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await remove_groups(self.cgroup_parent)
        sharing.release(self.run / "containerd/c")
        self.netd.close()
        for server in self.servers.values():
            await server.drain(1.0)


async def remove_groups(parent: str) -> None:
    """Kill what is in the control groups below a parent, and remove them with it."""
    for group in groups.below(parent):
        groups.thaw(group)
    async with asyncio.timeout(10):
        while groups.tops(parent):
            for group in reversed([*groups.whole(parent)]):
                with contextlib.suppress(OSError):
                    for pid in groups.pids(group):
                        os.kill(pid, signal.SIGKILL)
                    group.rmdir()
            await asyncio.sleep(0.01)


def spec(*command: str, name: str = "", network: str = "none", **fields: Any) -> spec_pb2.ContainerSpec:
    """Return the specification of a container of the test image."""
    return spec_pb2.ContainerSpec(
        name=name, image=IMAGE, cmd=command, network=spec_pb2.Network(mode=network), **fields
    )


@contextlib.asynccontextmanager
async def yard(
    directory: Path, *, runtime: str = "auto", enter: Sequence[str] = (), **settings: object
) -> AsyncIterator[Yard]:
    """Make a world with a running daemon; leave nothing of it behind."""
    made = Yard(directory, runtime, settings)
    made.enter = enter
    try:
        made.servers["imaged"] = await serve_imaged(made.imaged, made.run)
        made.servers["netd"] = await serve_netd(made.netd, made.run)
        await made.start_daemon()
        yield made
    finally:
        await made.close()


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
