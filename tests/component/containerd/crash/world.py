"""A yard whose daemons come from a zygote, and die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from beeyard.container.v1 import container_pb2_grpc
from services.kit.rpc import client
from tests.component.containerd.crash.machine import Places, Seen, look
from tests.component.containerd.crash.zygote import Daemon, Zygote
from tests.component.containerd.neighbours import serve_imaged, serve_netd
from tests.component.containerd.yard import START_S_MAX, Yard


class World(Yard):
    """The neighbours live as long as it; daemons come and go."""

    def __init__(self, directory: Path, zygote: Zygote) -> None:
        super().__init__(directory, "auto", {"userns_range": "3000000-3999999"})
        self._zygote = zygote
        self.mark = f"BEEYARD_CRASHES={directory.name}"
        self.places = Places(
            run=self.run,
            root=self.root,
            layers=self.imaged.directory / "layers",
            sandboxes=self.netd.directory,
            cgroup_parent=self.cgroup_parent,
            mark=self.mark,
        )

    async def start_daemon(self, fault: str = "", mutation: str = "") -> None:
        """Start a daemon, and return when it serves or has died."""
        await self.channel.close()
        (self.run / "containerd.sock").unlink(missing_ok=True)
        arguments = ["--config", str(self.config), "--root", str(self.root), "--run", str(self.run)]
        arguments += ["--log-level", "debug"]
        daemon = self._zygote.start(arguments, self.log, fault=fault, mutation=mutation)
        self.process = daemon  # type: ignore[assignment]
        self.channel = client.channel_unix(self.run / "containerd.sock")
        self.stub = container_pb2_grpc.ContainerServiceStub(self.channel)
        deadline = asyncio.get_running_loop().time() + START_S_MAX
        while daemon.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self.run / "containerd.sock"))
                writer.close()
                await writer.wait_closed()
                return
            assert asyncio.get_running_loop().time() < deadline, "the daemon does not get ready"
            await asyncio.sleep(0.005)

    @property
    def daemon(self) -> Daemon | None:
        """The last daemon."""
        return self.process  # type: ignore[return-value]

    async def look(self) -> Seen:
        """Look at the machine."""
        return await asyncio.to_thread(look, self.places)


@contextlib.asynccontextmanager
async def world(directory: Path, zygote: Zygote) -> AsyncIterator[World]:
    """Make a world without a daemon; leave nothing of it behind."""
    made = World(directory, zygote)
    try:
        made.servers["imaged"] = await serve_imaged(made.imaged, made.run)
        made.servers["netd"] = await serve_netd(made.netd, made.run)
        yield made
    finally:
        await made.close()
