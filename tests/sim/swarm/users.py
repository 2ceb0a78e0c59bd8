"""What users do to the swarm, at random."""

from __future__ import annotations

import random

from beeyard.swarm.v1 import objects_pb2
from beeyard.swarm.v1.objects_pb2 import Node, PublishedPort, Service, ServiceSpec, UpdateConfig
from services.swarmd.api import revision
from services.swarmd.store.tables import NODES, SERVICES, copy_of
from services.swarmd.store.transaction import Tx
from tests.sim.swarm.agents import BAD_IMAGE, CRASHING_IMAGE, Agents
from tests.sim.swarm.cluster import Cluster

SERVICES_MAX = 5
NODES_MAX = 8
NODE_MEMORY = 64
ZONES = ("a", "b")


class Users:
    """They create, scale, update, roll back and remove services, and drain, pause, label, add and remove nodes."""

    def __init__(self, cluster: Cluster, agents: Agents, rng: random.Random) -> None:
        self._cluster = cluster
        self._agents = agents
        self._rng = rng
        self._names = 0

    def act(self) -> None:
        """Do one thing."""
        action = self._rng.choice(
            [
                self.create_service,
                self.change_service,
                self.change_service,
                self.change_service,
                self.roll_back,
                self.remove_service,
                self.set_availability,
                self.set_availability,
                self.set_label,
                self.cut_or_mend,
                self.cut_or_mend,
                self.cut_or_mend,
                self.add_node,
                self.remove_node,
            ]
        )
        self._cluster.update(action)

    def add_node(self, tx: Tx) -> None:
        if len(tx.list(NODES)) >= NODES_MAX:
            return
        node = Node(id=self._cluster.new_id())
        node.status.state = objects_pb2.NODE_STATE_READY
        node.status.since.CopyFrom(self._cluster.time)
        node.description.hostname = f"host-{node.id[-2:]}"
        node.description.resources.memory_bytes = NODE_MEMORY
        node.spec.annotations.labels["zone"] = self._rng.choice(ZONES)
        tx.create(NODES, node)
        self._agents.add(node.id)

    def remove_node(self, tx: Tx) -> None:
        nodes = tx.list(NODES)
        if len(nodes) <= 3 or self._rng.random() < 0.5:
            return
        node = self._rng.choice(sorted(nodes, key=lambda node: node.id))
        tx.remove(NODES, node.id)
        # Its machine is told nothing, and whatever it runs is nobody's any more.
        del self._agents.agents[node.id]

    def set_availability(self, tx: Tx) -> None:
        node = self._pick_node(tx)
        node.spec.availability = self._rng.choice(
            [
                objects_pb2.NODE_AVAILABILITY_ACTIVE,
                objects_pb2.NODE_AVAILABILITY_ACTIVE,
                objects_pb2.NODE_AVAILABILITY_PAUSE,
                objects_pb2.NODE_AVAILABILITY_DRAIN,
            ]
        )
        tx.update(NODES, node)

    def set_label(self, tx: Tx) -> None:
        node = self._pick_node(tx)
        node.spec.annotations.labels["zone"] = self._rng.choice(ZONES)
        tx.update(NODES, node)

    def cut_or_mend(self, tx: Tx) -> None:
        agent = self._rng.choice(sorted(self._agents.agents.values(), key=lambda agent: agent.node_id))
        if agent.connected:
            self._agents.cut(agent)
        else:
            agent.connected = True

    def create_service(self, tx: Tx) -> None:
        if len(tx.list(SERVICES)) >= SERVICES_MAX:
            return
        self._names += 1
        service = Service(id=self._cluster.new_id())
        service.spec.annotations.name = f"service-{self._names}"
        kind = self._rng.random()
        if kind < 0.2:
            getattr(service.spec.mode, "global").SetInParent()
        elif kind < 0.35:
            service.spec.mode.replicated_job.total_completions = self._rng.randrange(1, 7)
            service.spec.mode.replicated_job.max_concurrent = self._rng.randrange(0, 4)
            service.job.iteration = 1
        else:
            service.spec.mode.replicated.replicas = self._rng.randrange(0, 9)
        self._vary(service.spec)
        tx.create(SERVICES, service)

    def change_service(self, tx: Tx) -> None:
        service = self._pick_service(tx)
        if service is None:
            return
        spec = ServiceSpec()
        spec.CopyFrom(service.spec)
        if spec.mode.HasField("replicated") and self._rng.random() < 0.5:
            spec.mode.replicated.replicas = self._rng.randrange(0, 9)
        else:
            self._vary(spec)
        tx.update(SERVICES, revision.updated(service, spec, self._cluster.datetime))

    def roll_back(self, tx: Tx) -> None:
        service = self._pick_service(tx)
        if service is not None and service.HasField("previous_spec"):
            tx.update(SERVICES, revision.rolled_back(service, self._cluster.datetime))

    def remove_service(self, tx: Tx) -> None:
        service = self._pick_service(tx)
        if service is not None and self._rng.random() < 0.3:
            tx.remove(SERVICES, service.id)

    def calm(self) -> None:
        """Bring about a state in which everything can run."""

        def change(tx: Tx) -> None:
            for agent in self._agents.agents.values():
                agent.connected = True
            for node in tx.list(NODES):
                fresh = copy_of(node)
                if fresh.spec.availability == objects_pb2.NODE_AVAILABILITY_PAUSE:
                    fresh.spec.availability = objects_pb2.NODE_AVAILABILITY_ACTIVE
                tx.update(NODES, fresh)
            for number, node in enumerate(sorted(tx.list(NODES), key=lambda node: node.id)[:3]):
                fresh = copy_of(node)
                fresh.spec.availability = objects_pb2.NODE_AVAILABILITY_ACTIVE
                fresh.spec.annotations.labels["zone"] = ZONES[number % 2]
                tx.update(NODES, fresh)
            for service in tx.list(SERVICES):
                if not self._can_run(service):
                    spec = ServiceSpec()
                    spec.CopyFrom(service.spec)
                    spec.task.container.image = f"good-{self._rng.randrange(100)}"
                    spec.task.placement.max_replicas_per_node = 0
                    del spec.endpoint.ports[:]
                    tx.update(SERVICES, revision.updated(service, spec, self._cluster.datetime))

        self._cluster.update(change)

    def _can_run(self, service: Service) -> bool:
        """Say whether a service can come right as it is, on whatever nodes there are."""
        task = service.spec.task
        return not (
            task.container.image in {BAD_IMAGE, CRASHING_IMAGE}
            or service.HasField("update_status")
            or task.placement.max_replicas_per_node
            or any(port.mode == objects_pb2.PUBLISH_MODE_HOST for port in service.spec.endpoint.ports)
        )

    def _vary(self, spec: ServiceSpec) -> None:
        rng = self._rng
        spec.task.container.image = rng.choice(
            [f"good-{rng.randrange(100)}"] * 6 + [BAD_IMAGE, CRASHING_IMAGE]
        )
        spec.task.container.stop_grace_ms = 10_000
        spec.task.reservations.memory_bytes = rng.choice([0, 0, 1, 2, 4])
        spec.task.restart.delay_ms = rng.choice([0, 500, 5000])
        spec.task.restart.backoff_max_ms = rng.choice([0, 0, 20_000])
        del spec.task.placement.constraints[:]
        if rng.random() < 0.2:
            spec.task.placement.constraints.append(f"node.labels.zone=={rng.choice(ZONES)}")
        del spec.task.placement.spread_over[:]
        if rng.random() < 0.3:
            spec.task.placement.spread_over.append("node.labels.zone")
        del spec.endpoint.ports[:]
        if rng.random() < 0.2:
            spec.endpoint.ports.append(PublishedPort(target_port=80))
        elif rng.random() < 0.1:
            spec.endpoint.ports.append(
                PublishedPort(target_port=80, published_port=8080, mode=objects_pb2.PUBLISH_MODE_HOST)
            )
        spec.task.placement.max_replicas_per_node = rng.choice([0, 0, 0, 0, 1, 2])
        spec.update.CopyFrom(self._update_config())
        spec.rollback.CopyFrom(self._update_config())

    def _update_config(self) -> UpdateConfig:
        rng = self._rng
        return UpdateConfig(
            parallelism=rng.choice([0, 1, 1, 2]),
            delay_ms=rng.choice([0, 0, 1000]),
            failure_action=rng.choice(
                [
                    objects_pb2.UPDATE_FAILURE_ACTION_PAUSE,
                    objects_pb2.UPDATE_FAILURE_ACTION_CONTINUE,
                    objects_pb2.UPDATE_FAILURE_ACTION_ROLLBACK,
                ]
            ),
            monitor_ms=rng.choice([0, 2000, 5000]),
            max_failure_ratio=rng.choice([0.0, 0.0, 0.5]),
            order=rng.choice(
                [objects_pb2.UPDATE_ORDER_STOP_FIRST] * 2 + [objects_pb2.UPDATE_ORDER_START_FIRST]
            ),
            progress_deadline_ms=rng.choice([0, 20_000]),
        )

    def _pick_node(self, tx: Tx) -> Node:
        return copy_of(self._rng.choice(sorted(tx.list(NODES), key=lambda node: node.id)))

    def _pick_service(self, tx: Tx) -> Service | None:
        services = sorted(tx.list(SERVICES), key=lambda service: service.id)
        return self._rng.choice(services) if services else None
