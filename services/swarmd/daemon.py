"""The composition root: everything that swarmd consists of, whatever the node is in its swarm, is made here.

What only a member needs is made by `members.member`, what only a manager needs by `manager`.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from beeyard.swarm.v1 import control_pb2_grpc
from beeyard.system.v1 import system_pb2_grpc
from services.kit import system
from services.kit.rpc.server import RpcServer
from services.kit.version import VERSION
from services.swarmd.api.cluster import ClusterServicer
from services.swarmd.api.system import SystemServicer
from services.swarmd.gateway.callers import Callers
from services.swarmd.gateway.channels import LocalChannels
from services.swarmd.gateway.control import ControlCalls
from services.swarmd.gateway.front import Front
from services.swarmd.gateway.proxy import DaemonCalls
from services.swarmd.gateway.slots import Slots
from services.swarmd.identity import IdentityStore
from services.swarmd.members.ground import Ground
from services.swarmd.members.standpoint import Standpoint
from services.swarmd.node import Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.kit.daemon import Listeners
    from services.kit.tasks import Supervisor
    from services.swarmd.config import SwarmdConfig

NAME = "swarmd"


@contextlib.asynccontextmanager
async def build(config: SwarmdConfig, supervisor: Supervisor) -> AsyncIterator[Listeners]:
    """Make the node, and yield what answers calls: the local socket, and the node with the listeners of a member."""
    clock = system.SystemClock()
    started_at = clock.now()
    directory = config.root / NAME
    standpoint, slots, local = Standpoint(), Slots(), LocalChannels(config.run, supervisor)
    hostname = config.hostname or socket.gethostname()
    callers = Callers(standpoint)
    control = ControlCalls(callers=callers, slots=slots, situation=standpoint, dial=standpoint.dial)
    daemons = DaemonCalls(callers=callers, slots=slots, local=local, swarm=standpoint, hostname=hostname)
    front = Front(callers=callers, slots=slots, situation=standpoint, control=control, daemons=daemons)
    ground = Ground(
        config=config,
        directory=directory,
        hostname=hostname,
        version=VERSION,
        identity=IdentityStore(directory),
        standpoint=standpoint,
        slots=slots,
        callers=callers,
        local=local,
        front=front,
        clock=clock,
        rng=system.system_rng(),
        new_id=system.new_base36_id,
    )
    node = Node(ground, supervisor)
    slots.install(
        control_pb2_grpc.add_ClusterServiceServicer_to_server, ClusterServicer(node, callers, clock)
    )
    slots.install(
        system_pb2_grpc.add_SystemServiceServicer_to_server,
        SystemServicer(
            facts=node,
            hostname=hostname,
            version=ground.version,
            state_dir=directory,
            started_at=started_at,
        ),
    )
    server = RpcServer(NAME)
    front.serve_local(server)
    server.listen_unix(config.run / f"{NAME}.sock", config.group)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(local.close)
        yield [server, node]
