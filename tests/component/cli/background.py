"""Servers on a loop of their own thread: the command line blocks, so what it talks to must run elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from services.kit.rpc.server import RpcServer


class Background:
    """Runs servers in a thread, from `with` to its end."""

    def __init__(self, build: Callable[[], Sequence[RpcServer]]) -> None:
        self._build = build
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._failure: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop
        self.servers: Sequence[RpcServer]

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20), "the servers did not start"
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine there and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            self.servers = self._build()
            for server in self.servers:
                await server.start()
        except BaseException as exc:  # shown in the thread that waits
            self._failure = exc
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        for server in self.servers:
            await server.drain(0)
