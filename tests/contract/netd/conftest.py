from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from services.netd.kernel.linux import Linux
from tests.contract.netd.fake_kernel import FakeKernel
from tests.system.netd.world import Namespace, namespace


class OnThread:
    """A kernel adapter whose calls are all made on one thread, as netd does, which lives in a namespace of its own."""

    def __init__(self, home: Namespace, directory: Path) -> None:
        self.home = home
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._executor.submit(home.enter_for_good).result()
        self._kernel = self._executor.submit(Linux, directory).result()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._kernel, name)
        return lambda *arguments: self._executor.submit(method, *arguments).result()

    def end(self) -> None:
        self._executor.submit(self._kernel.close).result()
        self._executor.shutdown()


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Each implementation of `kernel.ports.Kernel`, in a world where there is nothing yet."""
    if request.param == "fake":
        yield FakeKernel()
        return
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = tmp_path / "ns"
    directory.mkdir()
    with namespace(tmp_path) as home:
        kernel = OnThread(home, directory)
        try:
            yield kernel
        finally:
            kernel.end()
            for path in directory.iterdir():
                Namespace(path).let_go()
