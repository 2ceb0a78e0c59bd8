"""The composition root: everything that imaged consists of is made and connected here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
from typing import TYPE_CHECKING

from beeyard.image.v1 import content_pb2_grpc, image_pb2_grpc, snapshot_pb2_grpc
from beeyard.system.v1 import system_pb2_grpc
from services.imaged.api.content import ContentApi
from services.imaged.api.images import ImageApi
from services.imaged.api.snapshots import SnapshotApi
from services.imaged.api.system import Facts, SystemApi
from services.imaged.images.catalog import Catalog
from services.imaged.images.collector import Collector
from services.imaged.images.committing import Committer
from services.imaged.images.documents import Documents
from services.imaged.images.events import ImageEvents
from services.imaged.images.importing import Importer
from services.imaged.images.landing import Landing
from services.imaged.images.layout_index import LayoutIndex
from services.imaged.images.loading import Loader
from services.imaged.images.naming import Naming
from services.imaged.images.registrar import Registrar
from services.imaged.images.unpack import Unpacker
from services.imaged.layers.workers import WorkerPool
from services.imaged.pull.fetch import Fetcher
from services.imaged.pull.peers import PeerSource
from services.imaged.pull.puller import Puller
from services.imaged.snapshots.local import LocalSnapshots
from services.imaged.snapshots.overlay import OverlayDriver
from services.imaged.snapshots.probe import check_overlay
from services.imaged.snapshots.vfs import VfsDriver
from services.imaged.store import layout as layouts
from services.imaged.store.blobs import BlobStore
from services.imaged.store.ingest import IngestStore
from services.imaged.store.leases import Leases
from services.imaged.store.schema import MIGRATIONS
from services.kit import system
from services.kit.events import History
from services.kit.rpc.server import RpcServer
from services.kit.sqlite import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.imaged.config import ImagedConfig
    from services.imaged.snapshots.ports import Driver
    from services.imaged.store.layout import Layout
    from services.kit.daemon import Listeners
    from services.kit.seams import Clock
    from services.kit.tasks import Supervisor

NAME = "imaged"
SWARMD_SOCKET = "swarmd.sock"
SOCKET_GROUP = "beeyard"
THREADS_MAX = 64


@contextlib.asynccontextmanager
async def build(config: ImagedConfig, supervisor: Supervisor) -> AsyncIterator[Listeners]:
    """Recover, then yield what answers calls."""
    clock = system.SystemClock()
    new_id = system.new_hex_id
    node_platform = config.node_platform(os.uname().machine)
    layout = layouts.prepare(config.root / NAME)
    # A stream from a client holds a thread while it waits for the client: the default of six would soon be used up.
    asyncio.get_running_loop().set_default_executor(
        concurrent.futures.ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="imaged")
    )
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(await Database.open(layout.database, MIGRATIONS))
        workers = await stack.enter_async_context(WorkerPool(config.unpack_workers))
        peers = PeerSource(config.run / SWARMD_SOCKET)
        stack.push_async_callback(peers.close)

        snapshots = LocalSnapshots(
            _driver(config, layout),
            database,
            workers,
            supervisor,
            clock,
            new_id,
            config.purge_delay_s,
        )
        blobs = BlobStore(layout.blobs)
        ingests = IngestStore(layout.ingest, layout.blobs)
        leases = Leases(database, clock, new_id)
        documents = Documents(blobs)
        events = ImageEvents(History(), documents, clock)
        catalog = Catalog(database, documents, snapshots.table)
        collector = Collector(database, blobs, documents, snapshots, leases, clock)
        index = LayoutIndex(database, layout.index)
        registrar = Registrar(database, clock, index)
        unpacker = Unpacker(snapshots, config.limits)
        landing = Landing(blobs, ingests, unpacker, registrar, leases, collector)
        fetcher = Fetcher(blobs, ingests, clock, system.system_rng())
        puller = Puller(catalog, documents, blobs, [peers], fetcher, unpacker, registrar, leases, events)
        naming = Naming(database, catalog, registrar, collector, snapshots.table, index, events)
        committer = Committer(database, documents, snapshots, ingests, landing, clock, node_platform, events)

        await snapshots.recover()
        await leases.recover()
        ingests.recover(clock.now().timestamp())
        await collector.collect_after_failure()
        await index.refresh()
        supervisor.spawn(_collect_forever(collector, clock, config.gc_interval_s), name="collect garbage")

        server = RpcServer(NAME)
        server.add(
            image_pb2_grpc.add_ImageServiceServicer_to_server,
            ImageApi(
                catalog,
                naming,
                puller,
                Importer(ingests, landing, clock, events),
                Loader(ingests, landing, node_platform, events),
                blobs,
                clock,
                node_platform,
                events,
            ),
            follows={"WatchEvents"},
        )
        server.add(
            snapshot_pb2_grpc.add_SnapshotServiceServicer_to_server,
            SnapshotApi(snapshots, catalog, puller, committer, database),
        )
        server.add(content_pb2_grpc.add_ContentServiceServicer_to_server, ContentApi(blobs, ingests, leases))
        facts = Facts(
            state_dir=layout.root,
            driver=config.snapshotter,
            node_platform=node_platform,
            started_at=clock.now(),
        )
        server.add(system_pb2_grpc.add_SystemServiceServicer_to_server, SystemApi(facts, catalog, blobs))
        server.listen_unix(config.run / f"{NAME}.sock", SOCKET_GROUP)
        yield [server]


def _driver(config: ImagedConfig, layout: Layout) -> Driver:
    root = layout.snapshots(config.snapshotter)
    match config.snapshotter:
        case "overlay":
            check_overlay(layout.root)
            return OverlayDriver(root)
        case "vfs":
            return VfsDriver(root)


async def _collect_forever(collector: Collector, clock: Clock, interval_s: float) -> None:
    while True:
        await clock.sleep(interval_s)
        await collector.collect_after_failure()
