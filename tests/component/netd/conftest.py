from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from services.kit import system
from services.kit.tasks import Supervisor
from services.netd.core.namefiles import NodeNames
from services.netd.core.networks import Settings
from services.netd.engine import Engine, Policy, Seams
from services.netd.files import Files
from services.netd.kernel.ports import Kernel
from services.netd.model.port import PortRange
from services.netd.reconcile import Reconciler
from services.netd.records import Records
from tests.contract.netd.fake_kernel import FakeKernel


@dataclass
class TestClock:
    """A wall clock that stands still until a test moves it; sleeping moves it too."""

    __test__ = False

    instant: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.instant.timestamp()

    async def sleep(self, seconds: float, /) -> None:
        self.instant += timedelta(seconds=seconds)


class Node:
    """A node whose netd can be started again and again on the same records and the same kernel."""

    def __init__(self, directory: Path) -> None:
        self.kernel = FakeKernel()
        self.clock = TestClock()
        self.files = directory / "files"
        self._directory = directory

    @contextlib.asynccontextmanager
    async def netd(self, kernel: Kernel | None = None) -> AsyncIterator[Engine]:
        """Start netd; it ends with the block, in an orderly way or not makes no difference to what is recorded."""
        records = await Records.open(self._directory / "netd.sqlite")
        reconciler = Reconciler(lambda: kernel or self.kernel)
        await reconciler.open()
        try:
            async with Supervisor() as supervisor:
                engine = Engine(
                    records=records,
                    reconciler=reconciler,
                    files=Files(self.files),
                    namespaces=self._directory / "ns",
                    node_names=lambda: NodeNames(
                        hosts="", resolv_conf="", fallback=("8.8.8.8",), hostname="node"
                    ),
                    policy=Policy(
                        networks=Settings(pool=[IPv4Network("172.16.0.0/12")], prefix=24),
                        ephemeral=PortRange(first=40000, last=40999),
                        repair_interval_s=30,
                    ),
                    seams=Seams(clock=self.clock, new_id=system.new_hex_id, rng=random.Random(1)),
                    supervisor=supervisor,
                )
                await engine.start()
                yield engine
        finally:
            await reconciler.close()
            await records.close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)
