"""A daemon in a process of its own, for tests of the daemon runner: `python -m tests.component.kit.sample_daemon`."""

import asyncio
import contextlib
import dataclasses
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from services.kit import daemon, errors, log, tasks
from services.kit.config import DaemonConfig
from services.kit.rpc import server
from services.kit.rpc.types import Context
from tests.component.kit.echo import Echo, add_echo_to_server

_log = log.get(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig(DaemonConfig):
    """Which fault the daemon has."""

    fault: Literal["", "build", "task", "task_error", "listener"] = ""


@contextlib.asynccontextmanager
async def build(config: SampleConfig, supervisor: tasks.Supervisor) -> AsyncIterator[daemon.Listeners]:
    """Make an echo server beside a loop, and leave a trace of the order of the end."""
    trace = Path(config.root) / "trace"

    def record(step: str) -> None:
        with trace.open("a") as file:
            file.write(f"{step}\n")

    async def loop() -> None:
        try:
            await asyncio.sleep(0.05 if config.fault.startswith("task") else 3600)
            if config.fault == "task_error":
                raise errors.Internal("the loop broke", reason="LOOP_BROKE")
        finally:
            record("loop ended")

    async def unary(data: bytes, _context: Context) -> bytes:
        if data == b"environment":
            return str(sorted(set(os.environ) & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})).encode()
        if data == b"slow":
            record("call began")
            await asyncio.sleep(0.5)
            record("call ended")
        if data == b"stuck":
            record("call began")
            await asyncio.sleep(3600)
        return data

    echo, rpc = Echo(), server.RpcServer("sample")
    echo.on_unary = unary
    rpc.add(add_echo_to_server, echo, follows={"ServerStream"})
    rpc.listen_unix(config.run / ("x" * 200 if config.fault == "listener" else "sample.sock"), "beeyard")
    if config.fault == "build":
        raise errors.FailedPrecondition("the store cannot be read", reason="STORE_BROKEN")
    supervisor.spawn(loop(), "loop")
    record("built")
    try:
        yield [rpc]
    finally:
        record("closed")


if __name__ == "__main__":
    sys.exit(daemon.run_daemon("sample", sys.argv[1:], SampleConfig, build))
