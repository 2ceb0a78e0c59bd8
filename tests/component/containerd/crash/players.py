"""A user per container, who makes its calls one after the other and keeps what was answered."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from beeyard.container.v1 import container_pb2 as pb
from beeyard.container.v1 import spec_pb2
from services.kit import errors
from services.kit.rpc import client
from tests.component.containerd.crash import machine
from tests.component.containerd.crash.history import History, Outcome
from tests.component.containerd.crash.script import Op
from tests.component.containerd.yard import spec

FOLLOW_S_MAX = 0.3
"""How long a call that lasts as long as the container is followed."""
CALL_S_MAX = 30.0
COPY_CHUNK_BYTES = 16 << 10
GONE_REASONS = frozenset({"UNAVAILABLE", "CANCELLED"})
GONE_UNDER_SENDING = "Internal error from Core"
"""What grpc.aio says where a connection ends while it sends."""


class Player:
    """A user of one container."""

    def __init__(self, stub: Any, history: History, mark: str) -> None:
        self._stub = stub
        self._history = history
        self._mark = mark
        self._name = history.container.name
        self.faults: list[str] = []

    async def play(self) -> None:
        """Make all calls, until the daemon does not answer any more."""
        for op in (Op(kind="create"), *self._history.container.ops):
            await asyncio.sleep(op.think_ms / 1000)
            if not await self._call(op):
                return

    async def _call(self, op: Op) -> bool:
        """Make one call; return whether the daemon lives."""
        call: Callable[[Op], Awaitable[None]] = getattr(self, f"_{op.kind}")
        outcome = Outcome.CUT
        try:
            async with asyncio.timeout(CALL_S_MAX):
                await call(op)
            outcome = Outcome.DONE
        except TimeoutError:
            self.faults.append(f"{self._name}: {op.kind} got no answer within {CALL_S_MAX:g} s")
        except errors.BeeyardError as exc:
            if not _is_gone(exc):
                outcome = Outcome.REFUSED
                if isinstance(exc, errors.Internal) and op.kind != "start":
                    self.faults.append(f"{self._name}: {op.kind}: {exc.reason}: {exc.message}")
        finally:
            self._history.after(op.kind, outcome)
        return outcome is not Outcome.CUT

    async def _create(self, _op: Op) -> None:
        wanted = self._history.container
        fields = {**wanted.fields}
        made = spec(
            *wanted.program.argv,
            name=self._name,
            network=fields.pop("network", "none"),
            auto_remove=wanted.auto_remove,
            restart=spec_pb2.RestartPolicy(condition=wanted.restart),
            env=[self._mark],
            **fields,
        )
        self._history.names.add(self._name)
        response = await client.call(self._stub.CreateContainer(pb.CreateContainerRequest(spec=made)))
        self._history.id = response.id

    async def _start(self, _op: Op) -> None:
        request = pb.StartContainerRequest(container=self._name)
        pid = (await client.call(self._stub.StartContainer(request))).pid
        if not self._history.container.program.ends:
            self._history.pid, self._history.ticks = pid, machine.start_ticks(pid)

    async def _stop(self, op: Op) -> None:
        request = pb.StopContainerRequest(container=self._name, grace_ms=op.value % 120)
        await client.call(self._stub.StopContainer(request))
        await self._hear()

    async def _kill(self, _op: Op) -> None:
        await client.call(
            self._stub.KillContainer(pb.KillContainerRequest(container=self._name, signal="KILL"))
        )
        await self._hear()

    async def _terminate(self, _op: Op) -> None:
        await client.call(
            self._stub.KillContainer(pb.KillContainerRequest(container=self._name, signal="TERM"))
        )

    async def _hear(self) -> None:
        """Ask how the container has ended: what is told now must be told for ever."""
        if self._history.container.restart != spec_pb2.RESTART_CONDITION_NO:
            return
        with contextlib.suppress(errors.NotFound):
            response = await client.call(
                self._stub.GetContainer(pb.GetContainerRequest(container=self._name))
            )
            if response.container.status.state == pb.CONTAINER_STATE_EXITED:
                self._history.told = response.container.status.exit_code

    async def _restart(self, op: Op) -> None:
        request = pb.RestartContainerRequest(container=self._name, grace_ms=op.value % 60)
        await client.call(self._stub.RestartContainer(request))

    async def _pause(self, _op: Op) -> None:
        await client.call(self._stub.PauseContainer(pb.PauseContainerRequest(container=self._name)))

    async def _unpause(self, _op: Op) -> None:
        await client.call(self._stub.UnpauseContainer(pb.UnpauseContainerRequest(container=self._name)))

    async def _remove(self, op: Op) -> None:
        request = pb.RemoveContainerRequest(container=self._name, force=bool(op.value % 4))
        await client.call(self._stub.RemoveContainer(request))

    async def _rename(self, op: Op) -> None:
        name = f"{self._history.container.name}-{op.value}"
        self._history.names.add(name)
        await client.call(
            self._stub.RenameContainer(pb.RenameContainerRequest(container=self._name, new_name=name))
        )
        self._name = name
        self._history.names = {name}

    async def _update(self, op: Op) -> None:
        resources = spec_pb2.Resources(memory_bytes=(64 << 20) + op.value * 4096)
        request = pb.UpdateContainerRequest(container=self._name, resources=resources)
        await client.call(self._stub.UpdateContainer(request))

    async def _commit(self, op: Op) -> None:
        request = pb.CommitContainerRequest(container=self._name, no_pause=not op.value % 4)
        await client.call(self._stub.CommitContainer(request))

    async def _copy_out(self, op: Op) -> None:
        path = "/" if op.value % 4 else "/bin"
        await self._follow(self._stub.CopyOut(pb.CopyOutRequest(container=self._name, path=path)))

    async def _copy_in(self, op: Op) -> None:
        async def requests() -> AsyncIterator[pb.CopyInRequest]:
            yield pb.CopyInRequest(spec=pb.CopyInSpec(container=self._name, path="/tmp"))
            data = _archive(op.value)
            for start in range(0, len(data), COPY_CHUNK_BYTES):
                yield pb.CopyInRequest(chunk=data[start : start + COPY_CHUNK_BYTES])

        await client.call(self._stub.CopyIn(requests()))

    async def _check(self, _op: Op) -> None:
        await client.call(self._stub.CheckHealth(pb.CheckHealthRequest(container=self._name)))

    async def _logs(self, op: Op) -> None:
        request = pb.GetLogsRequest(container=self._name, follow=bool(op.value % 2))
        await self._follow(self._stub.GetLogs(request))

    async def _wait(self, _op: Op) -> None:
        request = pb.WaitContainerRequest(container=self._name, condition=pb.WAIT_CONDITION_NOT_RUNNING)
        last = await self._follow(self._stub.WaitContainer(request))
        simple = self._history.container.restart == spec_pb2.RESTART_CONDITION_NO
        if last is not None and last.HasField("exit") and simple and self._history.starts:
            self._history.told = last.exit.exit_code

    async def _attach(self, op: Op) -> None:
        async def requests() -> AsyncIterator[pb.AttachContainerRequest]:
            opening = pb.AttachOpen(container=self._name, stdin=True, stdout=True, stderr=True)
            yield pb.AttachContainerRequest(open=opening)
            yield pb.AttachContainerRequest(stdin=b"x" * (op.value % 5000))
            await asyncio.sleep(FOLLOW_S_MAX)

        await self._follow(self._stub.AttachContainer(requests()), op.value % 100 / 1000)

    async def _exec(self, op: Op) -> None:
        await self._execute(op, ("sh", "-c", "echo in; sleep 0.05; exit 4"), tty=bool(op.value % 2))

    async def _exec_detached(self, op: Op) -> None:
        await self._execute(op, ("sleep", str(op.value % 3 * 500 + 0.1)), detach=True)

    async def _exec_missing(self, op: Op) -> None:
        await self._execute(op, ("/no/such/program",))

    async def _execute(self, op: Op, argv: tuple[str, ...], **fields: bool) -> None:
        stays = asyncio.Event()

        async def requests() -> AsyncIterator[pb.ExecRequest]:
            env = [self._mark]
            yield pb.ExecRequest(spec=pb.ExecSpec(container=self._name, argv=argv, env=env, **fields))
            await stays.wait()

        try:
            await self._follow(self._stub.Exec(requests()))
        finally:
            stays.set()

    async def _follow(self, call: Any, seconds: float = FOLLOW_S_MAX) -> Any:
        """Read a stream for a while; return the last message."""
        last = None
        responses = client.stream(call)
        async with contextlib.aclosing(responses):
            try:
                async with asyncio.timeout(seconds):
                    async for response in responses:
                        last = response
            except TimeoutError:
                pass
        return last


def _archive(size: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        member = tarfile.TarInfo("copied")
        member.size = size
        archive.addfile(member, io.BytesIO(bytes(size)))
    return written.getvalue()


def _is_gone(exc: errors.BeeyardError) -> bool:
    """Whether the daemon has died under the call, or is not there."""
    if exc.message == GONE_UNDER_SENDING:
        return True
    return isinstance(exc, errors.Unavailable) and exc.reason in GONE_REASONS
