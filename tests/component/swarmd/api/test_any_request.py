"""Whatever a client sends, it is served or refused: nothing else comes out of a servicer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beeyard.swarm.v1 import control_pb2, objects_pb2
from services.kit import errors
from services.kit.system import SystemClock, new_base36_id
from services.swarmd.api.configs import ConfigServicer
from services.swarmd.api.execs import ExecServicer
from services.swarmd.api.networks import NetworkServicer
from services.swarmd.api.nodes import NodeServicer
from services.swarmd.api.ports import Manager
from services.swarmd.api.secrets import SecretServicer
from services.swarmd.api.services import ServiceServicer
from services.swarmd.api.tasks import TaskServicer
from services.swarmd.store.store import Store
from services.swarmd.store.tables import CLUSTERS, CONFIGS, NODES, SECRETS, SERVICES, TASKS
from tests.component.swarmd.api.desk import Raft, Resolver
from tests.component.swarmd.dispatcher.seat import Callers, Leadership, Log, node, task
from tests.unit.swarmd.api.messages import messages

SERVICERS = ("Service", "Node", "Task", "Network", "Secret", "Config", "Exec")
METHODS = {
    f"{name}Service/{method.name}": (name, method)
    for name in SERVICERS
    for method in control_pb2.DESCRIPTOR.services_by_name[f"{name}Service"].methods
}


class Nobody:
    """The context of a call that nobody made."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


async def serve(name: str, method: str, requests: list[Any]) -> list[errors.BeeyardError | None]:
    """Serve requests one after the other on a store that has one object of each kind."""
    store = Store(SystemClock())
    store.bind(Log(store))
    manager = Manager(
        store=store,
        leader=Leadership(),
        callers=Callers(),
        clock=SystemClock(),
        new_id=new_base36_id,
    )
    servicer: Any = {
        "Service": lambda: ServiceServicer(manager, Resolver()),
        "Node": lambda: NodeServicer(manager, Raft()),
        "Task": lambda: TaskServicer(manager),
        "Network": lambda: NetworkServicer(manager),
        "Secret": lambda: SecretServicer(manager),
        "Config": lambda: ConfigServicer(manager),
        "Exec": lambda: ExecServicer(manager),
    }[name]()

    def fill(tx: Any) -> None:
        service = objects_pb2.Service(id="web")
        service.spec.annotations.name = "web"
        tx.create(SERVICES, service)
        tx.create(CLUSTERS, objects_pb2.Cluster(id="web"))
        tx.create(NODES, node("web"))
        tx.create(TASKS, task("web"))
        for table, message in ((SECRETS, objects_pb2.Secret), (CONFIGS, objects_pb2.Config)):
            obj = message(id="web")
            obj.spec.annotations.name = "web"
            tx.create(table, obj)

    await store.update(fill)
    refusals: list[errors.BeeyardError | None] = []
    for request in requests:
        try:
            await getattr(servicer, method)(request, Nobody())
            refusals.append(None)
        except errors.BeeyardError as exc:
            refusals.append(exc)
    return refusals


@pytest.mark.parametrize("path", METHODS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(data=st.data())
def test_any_request_is_served_or_refused(path: str, data: st.DataObject) -> None:
    name, method = METHODS[path]
    kind = GetMessageClass(method.input_type)
    requests = data.draw(st.lists(messages(kind), min_size=1, max_size=4))
    for refusal in asyncio.run(serve(name, method.name, requests)):
        if refusal is not None:
            assert not isinstance(refusal, errors.Internal)
            assert refusal.message
            assert refusal.reason
