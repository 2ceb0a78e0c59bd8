"""The daemon runner as a real process: READY, drain, exit codes, and the guard of its root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from services.kit import daemon, errors
from services.kit.rpc import client
from tests.component.kit.echo import EchoStub
from tests.component.kit.sample_daemon import SampleConfig

REPOSITORY = Path(__file__).parents[3]


class Daemon:
    """A started daemon, with the service manager's socket that it reports to."""

    def __init__(self, process: asyncio.subprocess.Process, root: Path, manager: socket.socket) -> None:
        self.process = process
        self.root = root
        self.socket = root / "run" / "sample.sock"
        self._manager = manager

    async def told(self) -> str:
        """Return the next message to the service manager."""
        async with asyncio.timeout(20):
            return (await asyncio.get_running_loop().sock_recv(self._manager, 1000)).decode()

    async def ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was logged."""
        async with asyncio.timeout(20):
            _, stderr = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, stderr.decode()

    def trace(self) -> list[str]:
        """Return the steps that the daemon has recorded."""
        path = self.root / "trace"
        return path.read_text().splitlines() if path.exists() else []

    async def reached(self, step: str) -> None:
        """Wait until the daemon has recorded a step."""
        async with asyncio.timeout(20):
            while step not in self.trace():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def started(root: Path, *flags: str, environ: dict[str, str] | None = None) -> AsyncIterator[Daemon]:
    """Start a daemon on `root`; at the end of the block it is gone, whatever happened."""
    address = root / f"notify-{len(list(root.glob('notify-*')))}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(address))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-W", "error", "-m", "tests.component.kit.sample_daemon"),
            *("--root", str(root), "--run", str(root / "run"), *flags),
            stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/protos",
                "NOTIFY_SOCKET": str(address),
            }
            | (environ or {}),
        )
        try:
            yield Daemon(process, root, manager)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def test_a_whole_life(socket_dir: Path) -> None:
    async with started(socket_dir) as one:
        assert await one.told() == "READY=1\nSTATUS=serving"
        async with client.channel_unix(one.socket) as channel:
            slow = asyncio.ensure_future(client.call(EchoStub(channel).Unary(BytesValue(value=b"slow"))))
            await one.reached("call began")
            one.process.send_signal(signal.SIGTERM)
            assert await one.told() == "STOPPING=1\nSTATUS=draining"
            assert (await slow).value == b"slow", "calls in flight finish"
        code, logged = await one.ended()
    assert code == 0
    assert one.trace() == ["built", "call began", "call ended", "loop ended", "closed"]
    assert "daemon_ready" in logged
    assert "daemon_stopped" in logged
    assert "Warning" not in logged
    assert "Traceback" not in logged
    assert not one.socket.exists()


async def test_directories_and_their_modes(socket_dir: Path) -> None:
    root = socket_dir / "new" / "root"
    async with started(socket_dir, "--root", str(root), "--run", str(socket_dir / "run")) as one:
        await one.told()
    modes = {path: path.stat().st_mode & 0o777 for path in (root, root / "sample", socket_dir / "run/sample")}
    assert modes == {root: 0o711, root / "sample": 0o700, socket_dir / "run/sample": 0o700}
    assert (socket_dir / "run").stat().st_mode & 0o777 == 0o755


async def test_a_follower_does_not_delay_the_end(socket_dir: Path) -> None:
    async with started(socket_dir) as one:
        await one.told()
        async with client.channel_unix(one.socket) as channel:
            responses = client.stream(EchoStub(channel).ServerStream(BytesValue(value=b"!")))
            await anext(responses)
            one.process.send_signal(signal.SIGINT)
            with pytest.raises(errors.Unavailable) as caught:
                await anext(responses)
            assert caught.value.reason == "SHUTTING_DOWN"
        assert (await one.ended())[0] == 0


async def test_a_second_signal_ends_it_at_once(socket_dir: Path) -> None:
    async with started(socket_dir) as one:
        await one.told()
        async with client.channel_unix(one.socket) as channel:
            stuck = asyncio.ensure_future(client.call(EchoStub(channel).Unary(BytesValue(value=b"stuck"))))
            await one.reached("call began")
            one.process.send_signal(signal.SIGTERM)
            await one.told()
            one.process.send_signal(signal.SIGTERM)
            code, logged = await one.ended()
            assert code == 128 + signal.SIGTERM
            assert "daemon_killed" in logged
            with pytest.raises(errors.Unavailable):
                await stuck


async def test_a_second_daemon_on_the_same_root_is_refused(socket_dir: Path) -> None:
    async with started(socket_dir) as one:
        await one.told()
        async with started(socket_dir, "--run", str(socket_dir / "other")) as second:
            code, logged = await second.ended()
        assert code == 1
        assert f"another sample (pid {one.process.pid}) uses {socket_dir}/sample" in logged
        assert "Traceback" not in logged
        async with client.channel_unix(one.socket) as channel:
            assert (await client.call(EchoStub(channel).Unary(BytesValue(value=b"a")))).value == b"a"


async def test_a_killed_daemon_is_replaced_at_once(socket_dir: Path) -> None:
    async with started(socket_dir) as one:
        await one.told()
        one.process.kill()
        await one.ended()
        assert one.socket.exists(), "nothing tidied up"
        async with started(socket_dir) as two:
            assert await two.told() == "READY=1\nSTATUS=serving"


async def test_the_watchdog_is_fed_and_the_environment_is_ours_alone(socket_dir: Path) -> None:
    async with started(socket_dir, environ={"WATCHDOG_USEC": "200000"}) as one:
        told = [await one.told() for _ in range(3)]
        assert sorted(told) == ["READY=1\nSTATUS=serving", "WATCHDOG=1", "WATCHDOG=1"]
        async with client.channel_unix(one.socket) as channel:
            seen = await client.call(EchoStub(channel).Unary(BytesValue(value=b"environment")))
        assert seen.value == b"[]"


async def test_a_hanging_loop_lets_the_watchdog_starve(socket_dir: Path) -> None:
    async with started(socket_dir, environ={"WATCHDOG_USEC": "100000"}) as one:
        await one.told()
        one.process.send_signal(signal.SIGSTOP)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    await one.told()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await one.told()
        one.process.send_signal(signal.SIGCONT)
        assert await one.told() == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("build", 'reason=STORE_BROKEN error="the store cannot be read"'),
        ("task", "reason=TASK_ENDED"),
        ("task_error", 'reason=LOOP_BROKE error="the loop broke"'),
        ("listener", "reason=SOCKET_PATH_TOO_LONG"),
    ],
)
async def test_a_fault_ends_it_with_its_reason(socket_dir: Path, fault: str, words: str) -> None:
    (socket_dir / "x.toml").write_text(f'fault = "{fault}"\n')
    async with started(socket_dir, "--config", str(socket_dir / "x.toml")) as one:
        code, logged = await one.ended()
    assert code == 1
    assert words in logged
    assert "Traceback" not in logged
    assert one.trace() == ([] if fault == "build" else ["built", "loop ended", "closed"])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("fualt = 1\n", "sample: {path}:1: unknown key 'fualt', did you mean 'fault'?\n"),
        (
            "log_level = 'loud'\n",
            "sample: unknown log level 'loud': use one of debug, info, warning, error\n",
        ),
    ],
)
async def test_a_bad_config_has_an_exit_code_of_its_own(socket_dir: Path, config: str, words: str) -> None:
    path = socket_dir / "x.toml"
    path.write_text(config)
    async with started(socket_dir, "--config", str(path)) as one:
        assert await one.ended() == (78, words.format(path=path))


async def test_a_bad_metrics_address_is_a_config_error_too(socket_dir: Path) -> None:
    (socket_dir / "x.toml").write_text('metrics_listen = "nowhere"\n')
    async with started(socket_dir, "--config", str(socket_dir / "x.toml")) as one:
        code, logged = await one.ended()
    assert code == 1
    assert "metrics_listen must be host:port" in logged


async def test_stacks_on_request(socket_dir: Path) -> None:
    async with started(socket_dir) as one:
        await one.told()
        one.process.send_signal(signal.SIGUSR1)
        one.process.send_signal(signal.SIGTERM)
        code, logged = await one.ended()
    assert code == 0
    assert "most recent call first" in logged


def test_help_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        daemon.run_daemon("sample", ["--help"], SampleConfig, lambda *_: contextlib.nullcontext([]))
    assert caught.value.code == 0
    assert "/etc/beeyard/sample.toml" in capsys.readouterr().out
