"""The composition root: everything that netd consists of is made and connected here."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from beeyard.network.v1 import dataplane_pb2_grpc, network_pb2_grpc, sandbox_pb2_grpc
from beeyard.system.v1 import system_pb2_grpc
from services.kit import daemon, system
from services.kit.events import History
from services.kit.rpc.server import RpcServer
from services.kit.tasks import Supervisor
from services.netd.api.dataplane import DataplaneService
from services.netd.api.networks import NetworkService
from services.netd.api.sandboxes import SandboxService
from services.netd.api.system import Facts, SystemService
from services.netd.api.to_pb import Places
from services.netd.config import NetdConfig
from services.netd.events import Events
from services.netd.files import Files
from services.netd.kernel.linux import Linux
from services.netd.ledger import Ledger, Seams
from services.netd.networks import Networks
from services.netd.node_names import NodeNamesReader
from services.netd.reconcile import Reconciler
from services.netd.records import Records
from services.netd.sandboxes import Sandboxes
from services.netd.upkeep import Upkeep

NAME = "netd"
SOCKET_GROUP = "beeyard"


@contextlib.asynccontextmanager
async def build(config: NetdConfig, supervisor: Supervisor) -> AsyncIterator[daemon.Listeners]:
    """Recover, then yield what answers calls."""
    state, runtime = config.root / NAME, config.run / NAME
    namespaces = _directory(runtime / "ns")
    clock = system.SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        records = await Records.open(state / "netd.sqlite")
        stack.push_async_callback(records.close)
        reconciler = Reconciler(lambda: Linux(namespaces))
        await reconciler.open()
        stack.push_async_callback(reconciler.close)
        seams = Seams(clock=clock, new_id=system.new_hex_id, rng=system.system_rng())
        ledger = Ledger(records, seams, supervisor)
        files = Files(runtime / "files")
        node_names = NodeNamesReader(config.dns_fallback)
        history = History()
        events = Events(history.publish, clock)
        networks = Networks(ledger, reconciler, config.networks, events)
        sandboxes = Sandboxes(ledger, reconciler, files, node_names, config.ephemeral, events)
        upkeep = Upkeep(ledger, reconciler, files, node_names, config.networks)
        await upkeep.start()
        supervisor.spawn(upkeep.repair_forever(clock, config.repair_interval_s), name="repair")
        facts = Facts(state_dir=state, started_at=clock.now(), components=await reconciler.components())
        server = RpcServer(NAME)
        server.add(
            network_pb2_grpc.add_NetworkServiceServicer_to_server,
            NetworkService(ledger, networks, sandboxes, history, clock),
            follows={"WatchEvents"},
        )
        server.add(
            sandbox_pb2_grpc.add_SandboxServiceServicer_to_server,
            SandboxService(ledger, sandboxes, Places(namespaces=namespaces, files=files)),
        )
        server.add(dataplane_pb2_grpc.add_DataplaneServiceServicer_to_server, DataplaneService())
        server.add(system_pb2_grpc.add_SystemServiceServicer_to_server, SystemService(ledger, upkeep, facts))
        server.listen_unix(config.run / f"{NAME}.sock", SOCKET_GROUP)
        yield [server]


def _directory(path: Path) -> Path:
    path.mkdir(mode=0o711, exist_ok=True)
    return path
