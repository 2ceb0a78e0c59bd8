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
from services.kit.events import Event
from services.kit.tasks import Supervisor
from services.netd.core.namefiles import NodeNames
from services.netd.core.networks import Settings
from services.netd.core.state import State
from services.netd.events import Events
from services.netd.files import Files
from services.netd.kernel.ports import Kernel
from services.netd.ledger import Ledger, Seams
from services.netd.model.port import PortRange
from services.netd.networks import Networks
from services.netd.reconcile import Reconciler
from services.netd.records import Records
from services.netd.sandboxes import Sandboxes
from services.netd.upkeep import Upkeep
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


@dataclass(kw_only=True)
class Netd:
    """What the daemon is made of, without its API."""

    ledger: Ledger
    files: Files
    networks: Networks
    sandboxes: Sandboxes
    upkeep: Upkeep
    told: list[Event]

    @property
    def state(self) -> State:
        return self.ledger.state


def node_names() -> NodeNames:
    return NodeNames(hosts="", resolv_conf="", fallback=("8.8.8.8",), hostname="node")


class Node:
    """A node whose netd can be started again and again on the same records and the same kernel."""

    def __init__(self, directory: Path) -> None:
        self.kernel = FakeKernel()
        self.clock = TestClock()
        self.files = directory / "files"
        self._directory = directory

    @contextlib.asynccontextmanager
    async def netd(self, kernel: Kernel | None = None) -> AsyncIterator[Netd]:
        """Start netd; it ends with the block, in an orderly way or not makes no difference to what is recorded."""
        records = await Records.open(self._directory / "netd.sqlite")
        reconciler = Reconciler(lambda: kernel or self.kernel)
        await reconciler.open()
        try:
            async with Supervisor() as supervisor:
                seams = Seams(clock=self.clock, new_id=system.new_hex_id, rng=random.Random(1))
                ledger = Ledger(records, seams, supervisor)
                files = Files(self.files)
                settings = Settings(pool=[IPv4Network("172.16.0.0/12")], prefix=24)
                told: list[Event] = []
                events = Events(told.append, self.clock)
                ports = PortRange(first=40000, last=40999)
                netd = Netd(
                    ledger=ledger,
                    files=files,
                    networks=Networks(ledger, reconciler, settings, events),
                    sandboxes=Sandboxes(ledger, reconciler, files, node_names, ports, events),
                    told=told,
                    upkeep=Upkeep(ledger, reconciler, files, node_names, settings),
                )
                await netd.upkeep.start()
                yield netd
        finally:
            await reconciler.close()
            await records.close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)
