"""The life of a daemon, from its flags to its exit code.

flags → config → directories → lock → build (recover) → serve → READY → signal or fault → STOPPING → drain → exit

A daemon's `__main__` is two lines: it names its config class and its `build`, the async context manager that makes all
components and yields what listens. A daemon may be killed at any point of this; the orderly end only is quicker.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from services.kit import config as configs
from services.kit import errors, lock, log, metrics, notify, tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

_log = log.get(__name__)

CONFIG_DIRECTORY = Path("/etc/beeyard")
DRAIN_GRACE_S = 10.0
EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: starting again cannot help, and the service manager is told not to."""


class Listener(Protocol):
    """What the daemon serves on: an `rpc.server.RpcServer`, or whatever else answers from outside."""

    async def start(self) -> None:
        """Begin to answer."""
        ...

    async def drain(self, grace_s: float, /) -> None:
        """Refuse new work, let the present finish for `grace_s`, then end it."""
        ...


Listeners: TypeAlias = "Sequence[Listener]"
C = TypeVar("C", bound=configs.DaemonConfig)
Build: TypeAlias = "Callable[[C, tasks.Supervisor], AbstractAsyncContextManager[Listeners]]"


def run_daemon(name: str, argv: Sequence[str], config_cls: type[C], build: Build[C]) -> int:
    """Run a daemon until a signal or a fault ends it; return the exit code for `sys.exit`.

    SIGTERM and SIGINT drain it; a second one ends it at once. SIGUSR1 writes the stacks of all threads to stderr.

    Args:
        name: "imaged": names the config file, the state directory and the lock.
        argv: The arguments after the program's name.
        config_cls: The settings.
        build: Makes the components, recovers their state and yields the listeners, which are not started yet. Tasks
            that it starts under the supervisor are ended after the drain and before its own clean-up.
    """
    flags = _parser(name).parse_args(argv)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    os.umask(0o022)  # decides who may connect to a socket between bind and chmod
    log.setup("info", "auto")
    try:
        config = load_config(name, config_cls, flags)
        log.setup(config.log_level, config.log_format)
        if config.metrics_listen:
            metrics.collect()
    except errors.BeeyardError as exc:
        sys.stderr.write(f"{name}: {exc.message}\n")
        return EXIT_CONFIG
    _raise_file_limit()
    if sys.version_info < (
        3,
        12,
    ):  # later versions choose it by themselves; the default here is a thread per child
        asyncio.get_event_loop_policy().set_child_watcher(asyncio.PidfdChildWatcher())
    try:
        with _directories(name, config):
            asyncio.run(_live(name, config, build))
    except Exception as exc:  # noqa: BLE001 (the last border: everything is reported)
        _report(name, exc)
        return EXIT_FAILED
    return EXIT_OK


def load_config(name: str, config_cls: type[C], flags: argparse.Namespace) -> C:
    """Return the config that the flags ask for; the default file may be absent, a file that was named may not."""
    default = CONFIG_DIRECTORY / f"{name}.toml"
    path: Path | None = flags.config or (default if default.exists() else None)
    return configs.load(config_cls, path, {key: getattr(flags, key) for key in ("root", "run", "log_level")})


async def _live(name: str, config: C, build: Build[C]) -> None:
    notifier = notify.Notifier.from_environ()
    stop = _stop_signal()
    async with tasks.Supervisor() as supervisor, build(config, supervisor) as listeners:
        try:
            async with metrics.serve(config.metrics_listen) as port:
                if port:
                    _log.info("metrics_served", listen=config.metrics_listen, port=port)
                for listener in listeners:
                    await listener.start()
                gc.collect()
                gc.freeze()  # what is there now stays to the end: no collection need visit it
                if notifier.watchdog_s:
                    supervisor.spawn(notifier.watchdog(), name="watchdog")
                notifier.send(READY="1", STATUS="serving")
                _log.info("daemon_ready", daemon=name, pid=os.getpid())
                await stop.wait()
                notifier.send(STOPPING="1", STATUS="draining")
                _log.info("daemon_draining", daemon=name, grace_s=DRAIN_GRACE_S)
        finally:
            await _drain(listeners)
            await supervisor.stop()
    _log.info("daemon_stopped", daemon=name)


async def _drain(listeners: Listeners) -> None:
    """Drain all listeners at the same time; the failure of one does not stop the others."""
    outcomes = await asyncio.gather(
        *(listener.drain(DRAIN_GRACE_S) for listener in listeners), return_exceptions=True
    )
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            _log.failure("drain_failed", outcome)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            _log.warning("daemon_killed", signal=number.name)
            os._exit(
                128 + number
            )  # asked twice: no clean-up, as after kill -9, from which we recover as well
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


@contextlib.contextmanager
def _directories(name: str, config: configs.DaemonConfig) -> Iterator[None]:
    """Make the daemon's directories and hold its lock."""
    state, runtime = config.root / name, config.run / name
    try:
        config.root.mkdir(mode=0o711, parents=True, exist_ok=True)
        config.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        for private in (state, runtime):
            private.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise errors.FailedPrecondition(f"cannot make {exc.filename}: {exc.strerror}") from exc
    with lock.exclusive(state / "lock", name):
        yield


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=f"The {name} daemon of Beeyard.")
    default = CONFIG_DIRECTORY / f"{name}.toml"
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"settings (TOML); default: {default}, if present"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="directory of persistent state")
    parser.add_argument("--run", type=Path, metavar="DIR", help="directory of sockets and runtime files")
    parser.add_argument("--log-level", choices=log.LEVELS, metavar="LEVEL", help=", ".join(log.LEVELS))
    return parser


def _raise_file_limit() -> None:
    """Allow as many open files as the kernel lets us: every container and stream costs some."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _report(name: str, exc: Exception) -> None:
    """Log why the daemon ends: an operating error as a sentence, anything else with its traceback."""
    failures = exc.exceptions if isinstance(exc, ExceptionGroup) else (exc,)
    for failure in failures:
        if isinstance(failure, errors.BeeyardError):
            _log.error("daemon_failed", daemon=name, reason=failure.reason, error=failure.message)
        else:
            _log.failure("daemon_failed", failure, daemon=name)
